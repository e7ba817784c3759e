"""A bundle: packed here, carried, verified and installed without a connection."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from guarded import attempts, guarded
from tiny_workspace import make_tiny_workspace
from workflow_tools import REPOSITORY

from deft.bundle import install
from deft.bundle.collect import BundleRequest, make_bundle, read_facts
from deft.core.errors import HardStop
from deft.core.layout import SPEC
from deft.settings.config import resolve
from deft.settings.environments import files, table

pytestmark = pytest.mark.long


def wheel(folder: Path, name: str, version: str, needs: str = "") -> Path:
    """Write a pure wheel whose module says its version."""
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = []
    for path, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record.append(f"{path},sha256={digest.decode()},{len(text)}")
    contents[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,"]) + "\n"
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in contents.items():
            archive.writestr(member, text)
    return path


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A package index of two wheels in place of the world's; returns the pip list of one."""
    wheel(tmp_path / "shelf", "tinyone", "1.0", needs="tinytwo>=2")
    wheel(tmp_path / "shelf", "tinytwo", "2.1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "shelf"))
    listed = tmp_path / "tiny.txt"
    listed.write_text("tinyone==1.0\n")
    return listed


def make(tmp_path: Path, listed: Path, **more) -> Path:
    more = {"code": False, **more}
    return make_bundle(BundleRequest(tmp_path / "bundle", listed, **more), log=lambda text: None)


def install_from(
    bundle: Path, *args: str, env: dict[str, str] | None = None, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Run the bundle's own installer."""
    command = [python, str(bundle / "install.py"), *args]
    return subprocess.run(
        command, env=env, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_end_to_end_from_one_machine_to_another_without_a_connection(tmp_path, shelf):
    bundle = make(tmp_path, shelf)
    shutil.rmtree(tmp_path / "shelf")  # the index is not there any more
    log, venv = tmp_path / "guard.log", tmp_path / "venv"
    env = guarded(log)
    env.pop("PYTHONPATH")  # the installer stands alone …
    env["PIP_INDEX_URL"] = "https://example.org/simple"  # … and asks no index that pip knows
    done = install_from(bundle, "--venv", str(venv), env=env)
    assert done.returncode == 0, done.stdout
    code = "import tinyone, tinytwo; print(tinyone.version, tinytwo.version)"
    said = subprocess.run([venv / "bin/python", "-c", code], capture_output=True, text=True)
    assert said.stdout.split() == ["1.0", "2.1"], said.stderr
    again = install_from(bundle, "--venv", str(venv), env=guarded(log))
    assert again.returncode == 0 and attempts(log) == []


def test_sums_are_those_of_the_usual_program(tmp_path, shelf):
    bundle = make(tmp_path, shelf)
    command = ["sha256sum", "--check", "--quiet", "--strict", install.SUMS]
    assert subprocess.run(command, cwd=bundle, check=False).returncode == 0
    listed = set(install.read_sums(bundle))
    there = {p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()}
    assert there - listed == {install.SUMS} and listed <= there
    assert {f"envs/{name}" for name in files(table())} <= listed


@pytest.mark.parametrize("harm", ["damaged", "missing", "not of this bundle"])
def test_a_harmed_file_is_named_and_nothing_is_installed(tmp_path, shelf, harm):
    bundle = make(tmp_path, shelf)
    victim = next((bundle / "wheels").glob("tinytwo*"))
    if harm == "damaged":
        victim.write_bytes(victim.read_bytes()[:-1] + b"X")
    elif harm == "missing":
        victim.unlink()
    else:
        victim = victim.with_name("evil-1-py3-none-any.whl")
        victim.write_bytes(b"")
    done = install_from(bundle, "--venv", str(tmp_path / "venv"))
    assert done.returncode == 1 and f"{harm}: wheels/{victim.name}" in done.stdout
    assert "Traceback" not in done.stdout and not (tmp_path / "venv").exists()
    assert install_from(bundle, "--verify").returncode == 1


@pytest.mark.parametrize("place", ["weights/0/encoder/modeling.py", "extra/more", "envs/new.txt"])
def test_a_file_that_was_added_anywhere_is_named(tmp_path, shelf, place):
    bundle = make(tmp_path, shelf)
    (bundle / place).parent.mkdir(parents=True, exist_ok=True)
    (bundle / place).write_text("")
    assert install.faults(bundle) == [f"not of this bundle: {place}"]


def test_what_file_managers_leave_is_no_fault_and_is_not_carried_on(tmp_path, shelf):
    """A stick that was opened on another machine has them in every folder."""
    bundle = make(tmp_path, shelf)
    for name in (".DS_Store", "wheels/Thumbs.db", "envs/desktop.ini", "._install.py"):
        (bundle / name).write_bytes(b"x")
    assert install.faults(bundle) == []
    (bundle / "._other.py").write_text("")
    (bundle / "wheels/.DS_Store").symlink_to("/etc/passwd")
    assert install.faults(bundle) == [
        "not of this bundle: ._other.py",
        "not of this bundle: wheels/.DS_Store",
    ]


def test_a_list_of_the_users_own_is_not_taken_for_the_projects(tmp_path, shelf):
    own = tmp_path / "mine" / "requirements.txt"
    own.parent.mkdir()
    own.write_text(shelf.read_text())
    bundle = make(tmp_path, own)
    assert (bundle / read_facts(bundle)["requirements"]).read_text() == shelf.read_text()


def test_another_python_is_refused(tmp_path, shelf):
    facts = read_facts(make(tmp_path, shelf))
    install.check_machine(facts)
    for key, value in (("python", "3.9"), ("machine", "riscv"), ("system", "darwin")):
        with pytest.raises(install.Refused, match=value):
            install.check_machine({**facts, key: value})


@pytest.fixture
def staged(tmp_path):
    """A workspace whose spec and configuration name weights in three places."""
    workspace = make_tiny_workspace(tmp_path / "w", base=4, validation=3, kpi=4, pool=4, pregen=2)
    outside = tmp_path / "elsewhere" / "model.pth"
    outside.parent.mkdir()
    outside.write_bytes(b"model")
    (workspace / "augmentation/backbone").mkdir()
    (workspace / "augmentation/backbone/radio.safetensors").write_bytes(b"backbone")
    blob = tmp_path / "blob"
    blob.write_bytes(b"encoder")
    encoder = tmp_path / "siglip"
    encoder.mkdir()
    (encoder / "open_clip_config.json").write_text("{}")
    (encoder / "open_clip_model.safetensors").symlink_to(blob)  # as in the hub's cache
    (encoder / ".cache").mkdir()
    (encoder / ".cache/lock").write_text("of no use")
    spec = yaml.safe_load((workspace / SPEC).read_text())
    path = "augmentation/backbone/radio.safetensors"
    spec["model"]["backbone"]["pretrained_backbone_path"] = path
    spec["train"]["pretrained_model_path"] = str(outside)
    (workspace / SPEC).write_text(yaml.safe_dump(spec))
    return workspace, resolve({"encoder": "siglip", "encoder_weights": str(encoder)})


def test_weights_travel_and_land_where_the_settings_say(tmp_path, shelf, staged):
    workspace, config = staged
    (workspace / ".env").write_text("HF_TOKEN=hf_secret_value\n")
    bundle = make(tmp_path, shelf, workspace=workspace, config=config)
    there = tmp_path / "there"
    done = install_from(bundle, "--workspace", str(there))
    assert done.returncode == 0, done.stdout
    landed = {
        p.relative_to(there).as_posix(): p.read_bytes() for p in there.rglob("*.*") if p.is_file()
    }
    assert landed == {
        "augmentation/backbone/radio.safetensors": b"backbone",
        "augmentation/backbone/model.pth": b"model",
        "augmentation/encoder/siglip/open_clip_config.json": b"{}",
        "augmentation/encoder/siglip/open_clip_model.safetensors": b"encoder",
    }
    assert "encoder_weights: augmentation/encoder/siglip" in done.stdout
    assert "train.pretrained_model_path: augmentation/backbone/model.pth" in done.stdout
    everything = b"".join(p.read_bytes() for p in bundle.rglob("*") if p.is_file())
    assert b"secret_value" not in everything
    # The same again is no harm; other contents under the name are not overwritten.
    assert install_from(bundle, "--workspace", str(there)).returncode == 0
    (there / "augmentation/backbone/model.pth").write_bytes(b"mine")
    done = install_from(bundle, "--workspace", str(there))
    assert done.returncode == 1 and "other contents" in done.stdout
    assert (there / "augmentation/backbone/model.pth").read_bytes() == b"mine"


def test_all_that_is_missing_is_told_at_once_and_nothing_is_left(tmp_path, shelf, staged):
    workspace, config = staged
    (workspace / "augmentation/backbone/radio.safetensors").unlink()
    with pytest.raises(HardStop) as stop:
        make(
            tmp_path, shelf, workspace=workspace, extra=(tmp_path / "deft.sif",),
            config={**config, "encoder_weights": None},
        )  # fmt: skip
    assert stop.value.code == "missing_input"
    for missing in ("radio.safetensors", "deft.sif", "encoder siglip"):
        assert missing in stop.value.message
    assert not any("bundle" in p.name for p in tmp_path.iterdir())


def test_a_failed_download_leaves_nothing(tmp_path, shelf):
    shelf.write_text("tinyone==9\n")
    with pytest.raises(RuntimeError, match="pip could not"):
        make(tmp_path, shelf)
    assert not any("bundle" in p.name for p in tmp_path.iterdir())


def test_a_target_that_exists_is_refused(tmp_path, shelf):
    (tmp_path / "bundle").mkdir()
    with pytest.raises(HardStop, match="exists"):
        make(tmp_path, shelf)
    assert list((tmp_path / "bundle").iterdir()) == []


def test_a_bundle_cannot_lead_out_of_its_folders(tmp_path):
    for name in ("../x", "/etc/x", "a/../../x", ""):
        with pytest.raises(install.Refused):
            install.inside(tmp_path, name)
    (tmp_path / "w.pth").write_bytes(b"1")
    entry = {"key": "k", "path": "w.pth", "target": "../out.pth"}
    with pytest.raises(install.Refused):
        install.place_weights(tmp_path, [entry], tmp_path / "workspace")


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../out", tarfile.REGTYPE),
        ("/out", tarfile.REGTYPE),
        ("in", tarfile.SYMTYPE),
        ("in", tarfile.LNKTYPE),
    ],
)
def test_a_tar_file_cannot_lead_out_either(tmp_path, monkeypatch, name, kind, filters):
    """With Python 3.11.2 too, which has no filters of its own."""
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with tarfile.open(tmp_path / "code.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("good"))
        bad = tarfile.TarInfo(name)
        bad.type, bad.linkname = kind, "/etc/passwd"
        tar.addfile(bad)
    target = tmp_path / "there" / "project"
    target.mkdir(parents=True)
    with tarfile.open(tmp_path / "code.tar") as tar, pytest.raises(install.Refused):
        install.unpack(tar, target)
    assert not list(target.iterdir()) and not (tmp_path / "there" / "out").exists()


def test_one_tar_file_with_the_code(tmp_path, shelf):
    image = tmp_path / "deft.sif"
    image.write_bytes(b"image")
    out = make_bundle(
        BundleRequest(tmp_path / "b.tar", shelf, extra=(image,)), log=lambda text: None
    )
    with tarfile.open(out) as tar:
        install.unpack(tar, tmp_path / "carried")
    bundle = tmp_path / "carried" / "b"
    assert (bundle / "extra/deft.sif").read_bytes() == b"image"
    done = install_from(bundle, "--code", str(tmp_path / "project"))
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "project/Snakefile").is_file() and (tmp_path / "project/envs").is_dir()
    assert install_from(bundle, "--code", str(tmp_path / "project")).returncode == 1
    assert [p.name for p in tmp_path.glob(".*.part")] == []


def test_command_line_of_both_ends(tmp_path, shelf):
    command = [sys.executable, str(REPOSITORY / "scripts/make_bundle.py")]
    bad = tmp_path / "bad.yaml"
    bad.write_text("max_iteration: 3\n")
    args = ["--out", str(tmp_path / "bundle"), "--requirements", str(shelf), "--no-code"]
    done = subprocess.run(
        [*command, *args, "--workspace", str(tmp_path), "--configfile", str(bad)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "config_invalid" in done.stderr
    done = subprocess.run([*command, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "install.py --venv" in done.stdout, done.stderr
    assert json.loads((tmp_path / "bundle/bundle.json").read_text())["weights"] == []
    assert "compare the digests" in install_from(tmp_path / "bundle", "--help").stdout
    nothing = install_from(tmp_path / "bundle")
    assert nothing.returncode == 2 and "name --verify" in nothing.stdout


@pytest.mark.slow
def test_real_packages_from_the_real_index(tmp_path):
    """Snakemake, which needs a package that is published as source alone."""
    pins = {package.name: package.version for package in table().packages}
    listed = tmp_path / "one.txt"
    listed.write_text(f"snakemake=={pins['snakemake']}\n")
    try:
        bundle = make(tmp_path, listed)
    except RuntimeError as error:
        pytest.skip(f"no package index: {error}")
    assert list((bundle / "wheels").glob("connection_pool-*.whl"))
    log, venv = tmp_path / "guard.log", tmp_path / "venv"
    command = ["unshare", "-rn"] if shutil.which("unshare") else []
    if command and subprocess.run([*command, "true"], check=False).returncode:
        command = []
    done = subprocess.run(
        [*command, sys.executable, str(bundle / "install.py"), "--venv", str(venv)],
        env=guarded(log), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    said = subprocess.run([venv / "bin/snakemake", "--version"], capture_output=True, text=True)
    assert said.stdout.strip() == pins["snakemake"], said.stderr
    assert attempts(log) == []


def _without_line(bundle: Path, name: str) -> None:
    sums = bundle / install.SUMS
    lines = sums.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.endswith(f"  {name}\n")]
    assert len(kept) == len(lines) - 1
    sums.write_text("".join(kept))


@pytest.mark.parametrize("name", ["code.tar", "install.py", "bundle.json", "envs/packages.yaml"])
@pytest.mark.parametrize("harm", ["damaged", "as it was", "gone too"])
def test_a_line_that_is_missing_from_the_list_is_told(tmp_path, shelf, name, harm):
    """Above all of a file that lies beside the folders: the code's archive was not looked at."""
    bundle = make(tmp_path, shelf, code=True)
    _without_line(bundle, name)
    if harm == "damaged" and name != "install.py":
        (bundle / name).write_bytes((bundle / name).read_bytes()[:-600] + b" " * 600)
    if harm == "gone too" and name != "install.py":
        (bundle / name).unlink()
    done = install_from(bundle, "--code", str(tmp_path / "project"))
    assert done.returncode == 1 and name in done.stdout, done.stdout
    assert "Traceback" not in done.stdout and not (tmp_path / "project").exists()


@pytest.mark.parametrize(
    "line",
    [
        "twice",
        "0" * 64 + "  ../out\n",
        "0" * 64 + "  /etc/passwd\n",
        "0" * 63 + "  envs/packages.yaml\n",
        "0" * 64 + " envs/packages.yaml\n",
        "\x00\n",
        "envs\n",
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path, shelf, line):
    bundle = make(tmp_path, shelf)
    sums = bundle / install.SUMS
    text = sums.read_text()
    sums.write_text(text + (text.splitlines(keepends=True)[0] if line == "twice" else line))
    done = install_from(bundle, "--verify")
    assert done.returncode == 1 and done.stdout.count("REFUSED") == 1, done.stdout
    assert "Traceback" not in done.stdout


def test_what_lies_beside_the_folders_is_not_of_the_bundle_either(tmp_path, shelf):
    bundle = make(tmp_path, shelf)
    (bundle / "sitecustomize.py").write_text("")
    (bundle / "more").symlink_to("/etc")
    assert install.faults(bundle) == [
        "not of this bundle: more",
        "not of this bundle: sitecustomize.py",
    ]


def test_a_listed_file_that_is_a_link_out_of_the_bundle_is_refused(tmp_path, shelf):
    bundle = make(tmp_path, shelf)
    wheel_file = next((bundle / "wheels").glob("tinytwo*"))
    wheel_file.rename(tmp_path / "elsewhere.whl")
    wheel_file.symlink_to(tmp_path / "elsewhere.whl")
    assert f"leads out of the bundle: wheels/{wheel_file.name}" in install.faults(bundle)


def test_the_digest_of_the_list_can_be_asked_for(tmp_path, shelf):
    said = []
    bundle = make_bundle(BundleRequest(tmp_path / "bundle", shelf, code=False), log=said.append)
    digest = said[-1].split()[-1]
    assert install_from(bundle, "--verify", "--sums", digest).returncode == 0
    done = install_from(bundle, "--verify", "--sums", "0" * 64)
    assert done.returncode == 1 and digest in done.stdout


def test_an_environment_inside_the_bundle_is_refused(tmp_path, shelf):
    bundle = make(tmp_path, shelf)
    done = install_from(bundle, "--venv", str(bundle / "venv"))
    assert done.returncode == 1 and "must stay as it is" in done.stdout
    assert not (bundle / "venv").exists()
