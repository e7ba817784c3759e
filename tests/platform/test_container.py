"""The image's definition fits the project, and jobs go into it as they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_workspace import make_tiny_workspace
from workflow_tools import (
    PARTS_OF_THE_REPOSITORY,
    REPOSITORY,
    clean_environment,
    snakemake_command,
    working_folder,
)

from deft.core import airgap
from deft.core.errors import HardStop
from deft.settings.environments import files, table
from deft.settings.session import check_container, container_environment

pytestmark = pytest.mark.long

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
# One instruction a line, comments out.
CODE = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
INSTRUCTIONS = [tuple(line.split(None, 1)) for line in CODE.splitlines() if line.strip()]


def arguments(name: str) -> list[str]:
    return [rest for word, rest in INSTRUCTIONS if word == name]


def test_base_image_is_pinned_and_of_the_lists_python():
    base = table().base_image
    assert f"BASE={base}" in arguments("ARG")
    # Python to its last number, and the distribution by name: no tag that moves on.
    assert re.fullmatch(rf"python:{re.escape(table().python)}\.\d+-slim-[a-z]+", base)
    assert all(image.startswith("${BASE}") for image in arguments("FROM"))


def test_packages_come_from_the_made_lists_alone():
    default = next(a.split("=")[1] for a in arguments("ARG") if a.startswith("REQUIREMENTS="))
    assert default in files(table()) and '"/envs/${REQUIREMENTS}"' in DOCKERFILE
    installs = re.findall(r"(?:pip|apt-get|conda|curl|wget)[^&]*(?:install|download|http)", CODE)
    assert len(installs) == 1 and "==" not in CODE


def test_it_holds_what_the_workflow_reads_and_nothing_of_a_user():
    sources = {s.rstrip("/") for copy in arguments("COPY") for s in copy.split()[:-1]}
    assert set(PARTS_OF_THE_REPOSITORY) <= sources
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"  # what is not named stays out
    named = {line[1:] for line in rules if line.startswith("!")}
    assert named == {s for s in sources if not s.startswith(("-", "/"))} - {"wheels*"} | {"wheels"}
    assert {"**/.env", "**/*.pth", "**/*.safetensors"} <= set(rules)
    assert not arguments("ADD")


def test_no_secret_and_no_root():
    words = " ".join(arguments("ARG") + arguments("ENV") + arguments("LABEL")).upper()
    for secret in ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY"):
        assert secret not in words
    user = re.fullmatch(r"(\d+):(\d+)", arguments("USER")[-1])
    assert user and int(user[1]) > 0 and int(user[2]) > 0
    last = [word for word, _ in INSTRUCTIONS]
    assert last.index("USER") > max(i for i, word in enumerate(last) if word in ("RUN", "COPY"))


def test_it_starts_in_a_folder_that_any_user_may_write():
    # Snakemake keeps its log where it is started; the code belongs to root.
    (folder,) = arguments("WORKDIR")
    assert re.search(rf"install -d -m 1777 [^&]*{re.escape(folder)}\b", CODE)
    (start,) = arguments("ENTRYPOINT")
    assert json.loads(start) == ["snakemake", "--snakefile", "/opt/deft/Snakefile"]
    assert "Snakefile LICENSE /opt/deft/" in " ".join(arguments("COPY"))
    # Where everybody may write whatever is mounted there: podman's own /tmp of `--read-only` keeps
    # the names of folders in it, not that everybody may write into them.
    assert re.search(r"HOME=(\S+)", " ".join(arguments("ENV")))[1] == "/tmp"


def test_hadolint_has_nothing_to_say():
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("needs hadolint (requirements-dev.txt)")
    done = subprocess.run(
        [program, str(REPOSITORY / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_apptainer_is_told_of_the_code_and_the_gpu_beside_what_the_user_binds():
    told = container_environment({"APPTAINER_BIND": "/pictures:/pictures:ro"}, "/repo", "auto")
    assert told == {
        "APPTAINER_BIND": "/pictures:/pictures:ro,/repo",
        "APPTAINER_NV": "1",
        "SINGULARITY_BIND": "/repo",
        "SINGULARITY_NV": "1",
    }
    assert "APPTAINER_NV" not in container_environment({}, "/repo", "cpu")


def test_an_image_that_is_not_there_stops_before_anything_is_fetched(tmp_path, monkeypatch):
    (tmp_path / "deft.sif").write_bytes(b"")
    for name in (airgap.OWN, airgap.HUB):
        monkeypatch.delenv(name, raising=False)
    for image in (None, "deft.sif", str(tmp_path / "deft.sif"), "docker://deft-aoi-loop"):
        check_container(image, tmp_path)
    with pytest.raises(HardStop, match="does not exist"):
        check_container("other.sif", tmp_path)
    monkeypatch.setenv(airgap.OWN, "1")
    check_container("deft.sif", tmp_path)
    with pytest.raises(HardStop, match="apptainer build"):
        check_container("docker://deft-aoi-loop", tmp_path)


# Notes how it was called, then does the job here as the real one does in the image.
STAND_IN = """\
#!{python}
import json, os, sys
if sys.argv[1:] == ["--version"]:
    print("apptainer version 1.3.6")
    sys.exit()
keep = {{k: os.environ.get(k) for k in ("APPTAINER_BIND", "APPTAINER_NV", "DEFT_WORKSPACE")}}
with open({log!r}, "a") as log:
    log.write(json.dumps({{"args": sys.argv[1:], "env": keep}}) + "\\n")
if "exec" in sys.argv:
    os.execvp(sys.argv[-3], sys.argv[-3:])
"""


@pytest.mark.workflow
def test_jobs_run_in_the_configured_image(tmp_path):
    workspace = make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=6, pool=6, pregen=2)
    bin_folder, log, image = tmp_path / "bin", tmp_path / "calls.jsonl", tmp_path / "deft.sif"
    bin_folder.mkdir()
    image.write_bytes(b"")
    program = bin_folder / "apptainer"
    program.write_text(STAND_IN.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    env = clean_environment()
    env["PATH"] = f"{bin_folder}:{env['PATH']}"
    command = snakemake_command(
        workspace, "preflight", config={"container": image}, args=["--sdm=apptainer"]
    )
    done = subprocess.run(
        command, cwd=working_folder(workspace), env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (call,) = [json.loads(line) for line in log.read_text().splitlines()]
    args = call["args"]
    assert args[args.index("exec") :][:3] == ["exec", "--home", str(workspace)]
    assert str(image) in args and "scripts/preflight.py" in args[-1]
    assert str(REPOSITORY) in call["env"]["APPTAINER_BIND"].split(",")
    assert call["env"]["DEFT_WORKSPACE"] == str(workspace)
    assert call["env"]["APPTAINER_NV"] is None  # device: cpu


CONDA = """\
#!/bin/sh
case "$*" in
*info*) echo '{"conda_prefix": "/nowhere", "platform": "linux-64"}' ;;
*config*) echo '{"get": {"channel_priority": "strict"}}' ;;
*) echo "conda 26.1.0" ;;
esac
"""


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("device", "files"),
    [
        ("cpu", {"loop.yaml", "torch.yaml", "embed.yaml"}),
        ("cuda", {"loop.yaml", "torch-gpu.yaml", "embed-gpu.yaml"}),
    ],
)
def test_snakemake_finds_an_environment_of_every_family(tmp_path, device, files):
    """`--sdm conda` as far as it goes without conda: which files it would build from."""
    workspace = make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=6, pool=6, pregen=2)
    (tmp_path / "conda").write_text(CONDA)
    (tmp_path / "conda").chmod(0o755)
    env = clean_environment()
    env["PATH"] = f"{tmp_path}:{env['PATH']}"
    command = snakemake_command(
        workspace,
        "results/run_a/iter1/dataset/validation.json",
        config={"device": device},
        args=["--sdm", "conda", "--list-conda-envs"],
    )
    done = subprocess.run(
        command, cwd=working_folder(workspace), env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(re.findall(r"envs/([\w-]+\.yaml)\t", done.stdout)) == files
