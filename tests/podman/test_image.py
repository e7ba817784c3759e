"""Our Dockerfile, built for real on a base made by debootstrap, from carried wheels, and run.

What this leaves open: the base is Debian's own Python of the same minor version, since no registry
is asked for the real one; and torch with its family, gigabytes, is mounted from this environment.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from podman_machine import Podman, install
from workflow_tools import CONFIG, PARTS_OF_THE_REPOSITORY, REPOSITORY, RUN, draw

from deft.settings.environments import table

pytestmark = [pytest.mark.podman, pytest.mark.slow]

DEBIAN, MIRROR = "bookworm", "http://deb.debian.org/debian"
LIGHT = "requirements-light.txt"
MOUNTED = (
    *("torch", "torchvision", "timm", "open-clip-torch", "pytorch-lightning"),
    *("torchmetrics", "lightning-utilities"),
)
IMAGE = "deft-aoi-loop"
SOMEBODY = "12345:12346"
BUILD_S = 1500


def do(*words: str, **more) -> bytes:
    done = subprocess.run(words, capture_output=True, timeout=BUILD_S, check=False, **more)
    assert done.returncode == 0, f"{words}\n{(done.stdout + done.stderr).decode()[-3000:]}"
    return done.stdout


def link_family(folder: Path) -> None:
    """Link what the image lacks, and what that needs, into a folder for PYTHONPATH."""
    folder.mkdir()
    todo, seen = list(MOUNTED), set()
    while todo:
        name = todo.pop()
        if name.lower() in seen:
            continue
        seen.add(name.lower())
        found = metadata.distribution(name)
        for top in {f.parts[0] for f in found.files or [] if f.parts[0] != ".."}:
            link = folder / top
            if not link.is_symlink():
                link.symlink_to(Path(str(found.locate_file(top))).resolve())
        needs = [Requirement(text) for text in found.requires or []]
        todo += [r.name for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]


@pytest.fixture(scope="module")
def image(session_podman: Podman, tmp_path_factory) -> Iterator[Path]:
    """The image, built with the network cut off from pip; yields the folder of torch's family."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip(f"{DEBIAN}'s Python is 3.11, this one's wheels are of another")
    install(debootstrap="debootstrap")
    folder = tmp_path_factory.mktemp("image")
    base, context = folder / "base", folder / "context"
    more = "--include=python3,python3-venv"
    do("debootstrap", "--variant=minbase", more, DEBIAN, str(base), MIRROR)
    (base / "usr/bin/python").symlink_to("python3")
    tree = do("tar", "-C", str(base), "--exclude=./dev/*", "-c", ".")
    shutil.rmtree(base)
    name = f"docker.io/library/{table().base_image}"
    session_podman.answer("import", "--quiet", "-", name, data=tree, plain=True)
    context.mkdir()
    for part in (*PARTS_OF_THE_REPOSITORY, "LICENSE", "Dockerfile", ".dockerignore"):
        source = REPOSITORY / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, context / part)
    pinned = (context / "envs/requirements.txt").read_text().splitlines(keepends=True)
    light = [line for line in pinned if line.split("==")[0] not in MOUNTED]
    assert len(pinned) - len(light) == len(MOUNTED)
    (context / "envs" / LIGHT).write_text("".join(light))
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(context / "wheels"))
    do(*pip, "-r", str(context / "envs" / LIGHT))
    arguments = (f"REQUIREMENTS={LIGHT}", "PIP_ARGS=--no-index --find-links /wheels")
    session_podman.answer(
        # chroot: no limits and cgroups of its own, which a sandbox's root may not set.
        *("build", "--isolation=chroot", "--pull=never", "--format=docker", "--tag", IMAGE),
        *(word for argument in arguments for word in ("--build-arg", argument)),
        str(context),
        plain=True,
    )
    shutil.rmtree(context)
    link_family(folder / "family")
    yield folder / "family"


def run(podman: Podman, family: Path, workspace: Path, *words: str) -> str:
    """Run the image as the page says, read-only and as somebody it does not know."""
    prefixes = {
        Path(sys.prefix),
        Path(sys.prefix).resolve(),
        *(p.resolve() for p in family.iterdir()),
    }
    mounts = [f"--volume={p}:{p}:ro" for p in sorted(prefixes)]
    head = ("run", "--rm", "--user", SOMEBODY, "--shm-size=1g", "--network=none", "--read-only")
    mounts += [f"--volume={workspace}:/data", f"--volume={family}:/family:ro"]
    done = podman.run(*head, *mounts, "--env=PYTHONPATH=/family", *words, plain=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def test_the_doctor_has_nothing_to_say_in_the_image(session_podman, image, tmp_path):
    workspace = draw(tmp_path / "line 7")
    do("chown", "-R", SOMEBODY, str(workspace))
    said = run(session_podman, image, workspace, IMAGE, "doctor", "--config", "workspace=/data")
    assert re.search(r"\d+ ok, \d+ to look at, 0 broken", said), said
    assert "have the pinned version" in said


def test_the_loop_runs_in_the_image_and_writes_the_workspace_alone(session_podman, image, tmp_path):
    workspace = draw(tmp_path / "line 7")
    do("chown", "-R", SOMEBODY, str(workspace))
    values = {**CONFIG, "workspace": "/data", "max_iterations": 1, "training_epochs": 1}
    pairs = [f"{k}={v}" for k, v in values.items()]
    limits = ("--cores", "2", "--max-threads", "1")
    said = run(session_podman, image, workspace, IMAGE, *limits, "--config", *pairs)
    assert "report: /data/results/" in said and "Traceback" not in said
    assert (workspace / "results" / RUN / "DEFT_Loop_Report.html").is_file()
    assert {p.lstat().st_uid for p in workspace.rglob("*")} == {int(SOMEBODY.split(":")[0])}
    script = (
        "touch /opt/deft/x /opt/venv/x 2>/dev/null && echo written; id -u; touch /data/x $HOME/x"
    )
    said = run(session_podman, image, workspace, "--entrypoint=sh", IMAGE, "-c", script)
    assert said.split() == [SOMEBODY.split(":")[0]] and os.geteuid() == 0
