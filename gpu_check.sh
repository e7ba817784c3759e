#!/usr/bin/env bash
# Check and measure this project on a machine with a CUDA PyTorch, without a network: docs/gpu_check.md.
#
#   bash gpu_check.sh                 # the GPU, within 8 minutes
#   bash gpu_check.sh --device cpu    # the same checks, small, on this CPU
#
# PYTHON names another interpreter. Wheels of the kit (make gpu-kit) beside this file go into a
# temporary folder; nothing is installed.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
code=$here kit=$here/gpu_kit
[ -d "$here/code" ] && code=$here/code kit=$here
python=${PYTHON:-}
if [ -z "$python" ]; then
    python=python3
    [ -x "$here/.venv/bin/python" ] && python=$here/.venv/bin/python
fi
paths=$code/scripts:$code/benchmarks
# An environment of this project's own has everything already.
if [ "$python" != "$here/.venv/bin/python" ] && compgen -G "$kit/wheels/*.whl" >/dev/null; then
    site=$(mktemp -d) || exit 2
    trap 'rm -rf "$site"' EXIT
    install=("$python" -m pip install -q --disable-pip-version-check --no-index --no-deps --no-compile
        --no-cache-dir --upgrade --target "$site")
    if ! "${install[@]}" "$kit"/wheels/*.whl; then
        echo "not all wheels of the kit fit this Python; installing those that do" >&2
        for wheel in "$kit"/wheels/*.whl; do
            "${install[@]}" "$wheel" || echo "left out: ${wheel##*/}" >&2
        done
    fi
    paths=$site:$paths
fi
[ -d "$kit/data/workspace" ] && export GPU_CHECK_WORKSPACE=$kit/data/workspace
[ -f "$kit/kit.json" ] && GPU_CHECK_KIT=$(cat "$kit/kit.json") && export GPU_CHECK_KIT
export HF_HUB_OFFLINE=1 PYTHONPATH=$paths${PYTHONPATH:+:$PYTHONPATH}
# Not exec: the temporary folder must go. A signal to this shell is passed on.
"$python" -m gpu_check "$@" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM INT
wait "$child"
status=$?
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    status=$?
done
exit "$status"
