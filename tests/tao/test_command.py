"""The command line of a container: exact, and nothing secret on it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deft.core.errors import HardStop
from deft.run.containers import command as commands
from deft.run.containers.command import Container, Mount, command, hydra
from deft.settings.config import resolve
from deft.settings.tao import needed_images, settings
from deft.tao.mounts import mounts_for
from deft.tao.stages import container_for, give_back

SPEC = "/w/results/run_a/baseline/tao/train/spec.yaml"
LABELS = (("deft.run", "run_a"), ("deft.workspace", "/w"), ("deft.stage", "baseline/train"))


def container(**more) -> Container:
    facts = {
        "image": "nvcr.io/nvidia/tao/tao-toolkit:7.1.0-pyt",
        "argv": ("visual_changenet", "train", "-e", SPEC),
        "name": "deft-1",
        "labels": LABELS,
        "mounts": (Mount(Path("/w")), Mount(Path("/w/results/run_a/baseline"), writable=True)),
        "workdir": Path("/w/results/run_a/baseline"),
        "env": (("HOME", "/w/results/run_a/baseline/home"),),
        "user": "1000:1000",
    }
    return Container(**{**facts, **more})


def test_the_whole_command():
    assert command(container(env_names=("HF_TOKEN",))) == [
        *("docker", "run", "--rm", "--init", "--pull", "never", "--name", "deft-1"),
        *("--label", "deft.run=run_a", "--label", "deft.workspace=/w"),
        *("--label", "deft.stage=baseline/train"),
        *("--gpus", "all", "--shm-size", "8g"),
        *("--ulimit", "memlock=-1", "--ulimit", "stack=67108864", "--stop-timeout", "20"),
        *("--user", "1000:1000"),
        *("--mount", "type=bind,source=/w,target=/w,readonly"),
        "--mount",
        "type=bind,source=/w/results/run_a/baseline,target=/w/results/run_a/baseline",
        *("--workdir", "/w/results/run_a/baseline"),
        *("--env", "HOME=/w/results/run_a/baseline/home", "--env", "HF_TOKEN"),
        "nvcr.io/nvidia/tao/tao-toolkit:7.1.0-pyt",
        *("visual_changenet", "train", "-e", SPEC),
    ]


def test_gpus_network_and_the_other_runtime(monkeypatch):
    assert '"device=0,2"' in command(container(gpus="0,2"))
    assert "device=3" in command(container(gpus="3"))
    assert "--gpus" not in command(container(gpus=None))
    line = command(container(network=False))
    assert line[line.index("--network") + 1] == "none"
    monkeypatch.setattr(commands.os, "getuid", lambda: 1000)
    podman = command(container(runtime="podman", gpus="0,1"))
    assert podman[0] == "podman" and "--gpus" not in podman
    assert podman.count("--device") == 2 and "nvidia.com/gpu=1" in podman
    assert podman[podman.index("--userns") + 1] == "keep-id"


@pytest.mark.parametrize(
    ("runtime", "hard", "may_raise", "given"),
    [
        ("podman", 8388608, False, ["memlock=8388608", "stack=8388608"]),
        ("podman", 1 << 30, False, [f"memlock={1 << 30}", "stack=67108864"]),
        ("podman", -1, False, ["memlock=-1", "stack=67108864"]),
        ("podman", 8388608, True, ["memlock=-1", "stack=67108864"]),
        ("docker", 8388608, False, ["memlock=-1", "stack=67108864"]),
    ],
)
def test_podman_is_asked_for_no_more_than_the_caller_may(
    monkeypatch, runtime, hard, may_raise, given
):
    """Above a hard limit it says `setrlimit RLIMIT_MEMLOCK: Operation not permitted`."""
    monkeypatch.setattr(commands.resource, "getrlimit", lambda number: (hard, hard))
    monkeypatch.setattr(commands, "_may_raise_limits", lambda: may_raise)
    line = command(container(runtime=runtime))
    assert [line[i + 1] for i, word in enumerate(line) if word == "--ulimit"] == given


def test_a_secret_is_never_passed_by_value():
    with pytest.raises(ValueError, match="by name"):
        container(env=(("HF_TOKEN", "hf_x"),))
    with pytest.raises(ValueError, match="by name"):
        container(env=(("NGC_API_KEY", "x"),))


@given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1))
def test_any_name_survives_the_mount_option(name):
    path = Path("/w") / name.replace("/", "_")
    (fields,) = csv.reader(io.StringIO(Mount(path).option()))
    assert fields == ["type=bind", f"source={path}", f"target={path}", "readonly"]


def test_hydra_quotes_what_its_grammar_does_not_take_bare():
    assert hydra("results_dir", "/a/b-1.c") == "results_dir=/a/b-1.c"
    assert hydra("results_dir", "/my boards/o'x=1") == "results_dir='/my boards/o\\'x=1'"
    with pytest.raises(HardStop):
        hydra("results_dir", "/a\nb")


def test_mounts_follow_links_and_write_one_folder(tmp_path):
    real, root = tmp_path / "disk", tmp_path / "w"
    pictures, lake = tmp_path / "nas/pictures", tmp_path / "lake"
    for folder in (real / "kpi", pictures, lake, real / "results/run_a/baseline/tao/train"):
        folder.mkdir(parents=True)
    root.symlink_to(real)
    (real / "kpi/images").symlink_to(pictures)
    (lake / "board1.png").write_text("")
    (pictures / "board1.png").symlink_to(lake / "board1.png")
    weights = tmp_path / "weights.pth"
    weights.write_text("")
    scratch = root / "results/run_a/baseline/tao/train"
    found = mounts_for(root, scratch, [weights, tmp_path / "absent"])
    read = {m.source for m in found if not m.writable}
    assert {root, pictures, lake, weights} <= read and tmp_path / "absent" not in read
    assert [m.source for m in found if m.writable] == [scratch]
    assert all(m.inside == m.source for m in found)


def test_the_workspaces_credentials_are_hidden(tmp_path):
    (tmp_path / "results/run_a").mkdir(parents=True)
    assert all(m.source == m.inside for m in mounts_for(tmp_path, tmp_path / "results/run_a"))
    (tmp_path / ".env").write_text("NGC_API_KEY=x\n")
    found = mounts_for(tmp_path, tmp_path / "results/run_a")
    (hidden,) = [m for m in found if m.inside == tmp_path / ".env"]
    assert hidden.source == Path("/dev/null") and not hidden.writable


def test_results_on_another_disk_are_written_where_they_lie(tmp_path):
    root, disk = tmp_path / "w", tmp_path / "disk"
    (disk / "run_a/tao").mkdir(parents=True)
    root.mkdir()
    (root / "results").symlink_to(disk)
    (written,) = [m for m in mounts_for(root, root / "results/run_a/tao") if m.writable]
    assert written.source == disk / "run_a/tao"


def stage_container(tmp_path, monkeypatch, **config):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    scratch = tmp_path / "results/run_a/baseline/tao/train"
    return container_for(
        settings(config),
        "train",
        ("visual_changenet", "train", "-e", str(scratch / "spec.yaml")),
        root=tmp_path,
        run="run_a",
        phase="baseline",
        scratch=scratch,
    )


def test_user_and_air_gap(tmp_path, monkeypatch):
    monkeypatch.setenv("AIR_GAPPED", "1")
    made = stage_container(tmp_path, monkeypatch)
    assert not made.network and ("HF_HUB_OFFLINE", "1") in made.env
    assert made.user == f"{commands.os.getuid()}:{commands.os.getgid()}"
    (passwd,) = [m for m in made.mounts if str(m.inside) == "/etc/passwd"]
    assert f":x:{commands.os.getuid()}:" in passwd.source.read_text() and not passwd.writable
    monkeypatch.setenv("AIR_GAPPED", "0")
    assert stage_container(tmp_path, monkeypatch).network


def test_root_gives_its_files_back(tmp_path, monkeypatch):
    made = stage_container(tmp_path, monkeypatch, container_user="root")
    assert made.user is None and not [m for m in made.mounts if str(m.inside) == "/etc/passwd"]
    line = command(give_back(made, made.workdir))
    assert line[line.index("--entrypoint") + 1] == "chown" and "--gpus" not in line
    assert line[-3:] == ["-R", f"{commands.os.getuid()}:{commands.os.getgid()}", str(made.workdir)]


@pytest.mark.parametrize(
    ("runtime", "uid", "owner"),
    [("docker", 1000, "1000:1000"), ("podman", 1000, "0:0"), ("podman", 0, "0:0")],
)
def test_the_callers_ids_are_those_that_the_container_calls_so(
    tmp_path, monkeypatch, runtime, uid, owner
):
    """Root of a podman without root is the caller; 1000 there is an id that is nobody's."""
    monkeypatch.setattr(commands.os, "getuid", lambda: uid)
    monkeypatch.setattr(commands.os, "getgid", lambda: uid)
    made = stage_container(tmp_path, monkeypatch, container_user="root", container_runtime=runtime)
    assert command(give_back(made, made.workdir))[-2] == owner


def test_one_gpu_of_several(tmp_path, monkeypatch):
    made = stage_container(tmp_path, monkeypatch)
    assert made.gpus == "all"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert commands.gpus_of_job() == "2,3"


def test_names_differ_by_workspace_run_phase_and_stage():
    name = commands.container_name
    names = {
        name(Path(w), run, phase, stage)
        for w in ("/a", "/b")
        for run in ("run_a", "run_b")
        for phase in ("baseline", "iter1")
        for stage in ("train", "rca")
    }
    assert len(names) == 16


def test_images_come_from_the_table_and_the_configuration_wins():
    found = settings(resolve({"engine": "tao"}))
    assert found.image("train") == found.image("inference") != found.image("embed")
    mine_alone = {"tao_pyt_image": "registry.local/tao:1"}
    mine = resolve({"engine": "tao", **mine_alone})
    assert settings(mine).image("train") == "registry.local/tao:1"
    assert list(needed_images(mine)) == ["registry.local/tao:1", found.image("embed")]
    newer = settings(resolve({"engine": "tao", "tao_release": "7.2.0", **mine_alone}))
    assert newer.image("train") == "registry.local/tao:1"
    assert newer.image("rca") == "nvcr.io/nvidia/tao/tao-toolkit:7.2.0-data-services"
    ours = resolve({"engine": "tao", "encoder": "changenet", "embed_precision": "bfloat16"})
    assert needed_images(ours)[found.image("rca")] == ["rca"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"accumulate_steps": 2}, "accumulate_steps: 2"),
        ({"select_weights_by": "val_far"}, "set select_weights_by: val_loss"),
        ({"early_stop_epochs": 3}, "set early_stop_epochs: null"),
        ({"runtime": "onnx"}, "runtime: onnx"),
        ({"device": "cpu"}, "need an NVIDIA GPU"),
        ({"mining": "none"}, "control arm"),
        ({"embed_precision": "bfloat16"}, "embed_precision: bfloat16"),
    ],
)
def test_settings_that_a_container_would_ignore_are_refused(given, words):
    with pytest.raises(HardStop) as stop:
        resolve({"engine": "tao", **given})
    assert stop.value.code == "config_invalid" and words in stop.value.text()
    resolve({**given, "engine": "native"})
