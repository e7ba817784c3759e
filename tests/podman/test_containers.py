"""What the containers' command line is for, seen from inside a container."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from podman_machine import Podman
from tao_docker import tao_workspace

from deft.core.errors import HardStop, StageFailed
from deft.run.containers import running
from deft.run.containers.command import Container, Mount
from deft.run.containers.launch import require_image, run_container
from deft.settings.tao import settings
from deft.tao.mounts import default_results, prepare_scratch
from deft.tao.stages import container_for, give_back

pytestmark = pytest.mark.podman

IMAGE = next(iter(settings({}).images.values()))
SOMEBODY = 12345  # an id that neither this machine nor the image knows


def container(folder: Path, script: str, **more) -> Container:
    """Return a container that sees a folder read-only, writes `out` in it and runs a script."""
    (folder / "out").mkdir(exist_ok=True)
    facts = {
        "image": IMAGE,
        "argv": ("sh", "-c", script),
        "name": f"deft-test-{os.getpid()}",
        "labels": (("deft.run", "run_a"), ("deft.workspace", str(folder))),
        "mounts": (Mount(folder), Mount(folder / "out", writable=True)),
        "workdir": folder / "out",
        "runtime": "podman",
    }
    return Container(**{**facts, **more})


def lines_of(folder: Path, made: Container, **more) -> list[str]:
    return run_container(made, folder / "run", phase="baseline", stage="train", **more)


def test_it_writes_its_one_folder_and_nothing_else(podman: Podman, folder: Path):
    (folder / "table.csv").write_text("as it was\n")
    (folder / ".env").write_text("NGC_API_KEY=never\n")
    hidden = Mount(Path("/dev/null"), folder / ".env")
    made = container(
        folder,
        "echo made > file; cat ../table.csv ../.env; echo x >> ../table.csv; touch ../new; "
        "touch /usr/new; id -u; id -g; echo end",
        user=f"{SOMEBODY}:{SOMEBODY + 1}",
    )
    for path in (folder, folder / "table.csv", folder / "out"):  # no rights but the mounts' own
        path.chmod(0o777)
    made = replace(made, mounts=(*made.mounts, hidden))
    said = lines_of(folder, made)
    assert [said[0], *said[-3:]] == ["as it was", str(SOMEBODY), str(SOMEBODY + 1), "end"]
    refused = [line for line in said if "Read-only file system" in line]
    assert len(refused) == 3 and not any("never" in line for line in said), said
    assert (folder / "table.csv").read_text() == "as it was\n" and not (folder / "new").exists()
    stat = (folder / "out/file").stat()
    assert (stat.st_uid, stat.st_gid) == (SOMEBODY, SOMEBODY + 1)
    assert podman.containers() == [] and running.notes(folder / "run") == []


def test_memory_limits_devices_and_variables(podman: Podman, folder: Path):
    made = container(
        folder,
        "df --output=size -B1 /dev/shm | tail -1; ulimit -s; "
        "cat /proc/1/cmdline | tr '\\0' ' '; echo; echo $STANDIN_GPU $HF_TOKEN",
        shm="1g",
        user=f"{SOMEBODY}:{SOMEBODY}",
        env_names=("HF_TOKEN",),
    )
    said = lines_of(folder, made, secrets={"HF_TOKEN": "by-name"})
    assert said[:2] == [str(1 << 30), "65536"]
    assert "init" in said[2], "without an init the first process takes no SIGTERM"
    assert said[3] == "all by-name"


def test_the_default_folder_of_results_is_the_callers(podman: Podman, folder: Path):
    """It is there in the image and belongs to root, whose rights a tmpfs would have."""
    (folder / "out").mkdir()
    prepare_scratch(folder / "out")
    os.chown(folder / "out/home/results", SOMEBODY, SOMEBODY)
    made = container(folder, "touch /results/x && echo written", user=f"{SOMEBODY}:{SOMEBODY}")
    made = replace(made, mounts=(*made.mounts, default_results(folder / "out")))
    assert lines_of(folder, made) == ["written"]


@pytest.mark.parametrize("network", [False, True])
def test_a_container_without_a_network_reaches_not_even_this_machine(
    podman: Podman, folder: Path, network: bool
):
    script = "import os; print(sorted(os.listdir('/sys/class/net')))"
    made = container(folder, f'python3 -c "{script}"', network=network)
    said = lines_of(folder, made)
    assert (said == ["['lo']"]) is not network, said


@pytest.mark.parametrize(
    ("script", "status", "told"),
    [
        ("echo bad luck; exit 3", 2, "ended with status 3.*bad luck"),
        ("kill -9 $$", 137, "ended with status 137"),
        ("echo Execution status: FAIL", 2, "says 'Execution status: FAIL'"),
        ("echo torch.OutOfMemoryError: CUDA out of memory; exit 1", 137, "ran out of GPU memory"),
    ],
)
def test_a_bad_end_is_told_with_its_status(podman, folder, script, status, told):
    with pytest.raises(StageFailed, match=f"(?s){told}") as failed:
        lines_of(folder, container(folder, script))
    assert failed.value.status == status


def test_what_cannot_start_says_why(podman: Podman, folder: Path):
    for more, told in (
        ({"gpus": "7"}, "(?s)did not start.*nvidia.com/gpu=7"),
        ({"argv": ("no-such-program",)}, "(?s)status 1\\..*failed to exec"),
        ({"mounts": (Mount(folder / "absent"),)}, "(?s)did not start.*absent"),
    ):
        with pytest.raises(StageFailed, match=told):
            lines_of(folder, container(folder, "true", **more))


def test_an_image_that_is_not_here_is_not_fetched(podman: Podman):
    assert require_image("podman", IMAGE).id
    with pytest.raises(HardStop, match="none is fetched") as stop:
        require_image("podman", "nvcr.io/nvidia/tao/other:1")
    assert "podman pull nvcr.io" in str(stop.value)


def test_what_a_container_of_root_wrote_is_given_back(podman: Podman, folder: Path, monkeypatch):
    workspace = tao_workspace(folder / "w", base=4, validation=4, kpi=4, pool=4, pregen=1)
    scratch = workspace / "results/run_a/baseline/tao/train"
    found = settings({"container_runtime": "podman", "container_user": "root"})
    made = container_for(
        found, "train", ("sh", "-c", "id -u; touch out/by_root"),
        root=workspace, run="run_a", phase="baseline", scratch=scratch,
    )  # fmt: skip
    assert lines_of(folder, made) == ["0"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: SOMEBODY)
        patch.setattr(os, "getgid", lambda: SOMEBODY)
        back = give_back(replace(made, runtime="docker"), scratch)  # whose caller is not root
    lines_of(folder, replace(back, runtime="podman"))
    assert (scratch / "out/by_root").stat().st_uid == SOMEBODY


def test_a_second_container_of_the_name_is_refused(podman: Podman, folder: Path):
    made = container(folder, "true")
    podman.answer("create", "--name", made.name, IMAGE, "true")
    with pytest.raises(StageFailed, match="of an earlier command still works"):
        lines_of(folder, made)
    running.stop("podman", made.name)
    assert lines_of(folder, made) == []


def test_a_name_finds_its_own_container_alone(podman: Podman, folder: Path):
    podman.answer("create", "--name", "deft-a-bc", IMAGE, "true")
    assert running.runs("podman", "deft-a-bc") and not running.runs("podman", "deft-a-b")
    assert not running.runs("podman", "deft-a.bc")
    running.stop("podman", "deft-a-bc")
    assert not running.runs("podman", "deft-a-bc")
