#!/usr/bin/env bash
# The whole loop inside one SLURM allocation, on the local executor: for small data, where a job's
# wait in the queue costs more than its work. Submit it from the repository's folder, with what you
# would give to snakemake:
#
#   sbatch -p gpu --gpus=1 profiles/slurm/allocation.sh --config workspace=/data/line7 approve=true
#
#SBATCH --job-name=deft_allocation
#SBATCH --cpus-per-task=8
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --output=deft_allocation_%j.log
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?is not set: submit this script with sbatch}"
[[ -f Snakefile && -d profiles/slurm ]] || {
    echo "$PWD is not the repository: submit from its folder" >&2
    exit 1
}
# An activated environment comes along, unless the shell had none or sbatch keeps it back
# (--export=NONE): then the one that `make` installs into the repository.
bin=${VENV:-.venv}/bin
if ! command -v snakemake >/dev/null && [[ -x $bin/snakemake ]]; then
    PATH=$(cd "$bin" && pwd):$PATH
    export PATH
fi
command -v snakemake >/dev/null || {
    echo "no snakemake here, and no $bin/snakemake: \`make .venv/.installed\` installs one;" \
        "or activate an environment that has it, then submit" >&2
    exit 1
}

# The machine may be larger than the allocation, so that `cores: all` would take too many.
cores=${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-1}}
gpus=${SLURM_GPUS_ON_NODE:-0}
[[ $gpus == 0 && -n ${CUDA_VISIBLE_DEVICES:-} ]] && gpus=$(awk -F, '{print NF}' <<<"$CUDA_VISIBLE_DEVICES")
limits=(--cores "$cores" --resources "gpu=$gpus")
[[ -n ${SLURM_MEM_PER_NODE:-} ]] && limits=("${limits[@]}" "mem_mb=$SLURM_MEM_PER_NODE")
profile=profiles/default
[[ $gpus != 0 ]] && profile=profiles/gpu

# A job that SLURM starts again finds the lock of its first life, all of whose processes are gone.
if [[ ${SLURM_RESTART_COUNT:-0} != 0 ]]; then
    snakemake --workflow-profile "$profile" "$@" --unlock
fi

# SLURM's warning before the time limit goes to all stages, in their own process group: a training
# saves where it is, and the same command submitted again goes on from there.
set -m
snakemake --workflow-profile "$profile" "${limits[@]}" "$@" &
trap 'kill -TERM -- "-$!"' TERM
status=0
wait $! || status=$?
# The trap ends the first wait; the second gets snakemake's own end.
if ((status > 128)); then
    status=0
    wait $! || status=$?
fi
exit "$status"
