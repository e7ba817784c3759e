"""A podman of this suite's own: its storage in one folder, and an image that answers as TAO.

The image holds a few empty folders and two programs. Python, its packages and this project are
mounted into every container read-only (`volumes` of podman's own configuration), so that nothing
is fetched, installed or copied. The machine's own images and containers are never looked at.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

# Program -> Debian's package. runc: crun refuses cgroups of both versions at once.
PACKAGES = {"podman": "podman", "runc": "runc", "catatonit": "catatonit"}
INSTALL_S, ANSWER_S = 900, 180
REPOSITORY = Path(__file__).resolve().parents[2]
INSIDE = Path(__file__).with_name("inside.py")
FAULTS = "/standin"
ENTRY_POINTS = ("visual_changenet", "gap_analysis", "embedding")
# An answer to `--device nvidia.com/gpu=all` where no card is: a device that adds a variable alone.
CDI = Path("/var/run/cdi/deft_podman_test.json")
CDI_FOLDERS = (Path("/etc/cdi"), CDI.parent)
CAPPED = ("RLIMIT_NOFILE", "RLIMIT_NPROC")
# Podman asks for these two limits by itself; root of a sandbox may not raise them. Nothing else is
# changed: what this project asks for reaches runc as it is.
SHIM = """\
#!{python}
import json, os, resource, sys
words = sys.argv[1:]
if "--bundle" in words:
    path = os.path.join(words[words.index("--bundle") + 1], "config.json")
    with open(path) as file:
        config = json.load(file)
    for limit in config["process"].get("rlimits", []):
        if limit["type"] in {capped!r}:
            top = resource.getrlimit(getattr(resource, limit["type"]))[1]
            if top != resource.RLIM_INFINITY:
                limit.update(hard=min(limit["hard"], top), soft=min(limit["soft"], top))
    with open(path, "w") as file:
        json.dump(config, file)
os.execv({runc!r}, ["runc", *words])
"""


class Refused(RuntimeError):
    """This machine is not one to run containers on."""


def refusal() -> str | None:
    """Return why no container may be run on this machine, or None. Reads only."""
    if os.geteuid() != 0:
        return "needs root"
    for folder in CDI_FOLDERS:
        for path in folder.glob("*"):
            if path != CDI and "nvidia.com/gpu" in path.read_text(errors="replace"):
                return f"{path}: this machine's containers have GPUs of their own"
    return None


def install(**programs: str) -> None:
    """Install the packages of programs that are missing; raises :class:`Refused`."""
    from cluster import no_services

    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    wanted = (programs or PACKAGES).items()
    missing = [package for program, package in wanted if not shutil.which(program, path=path)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Refused(f"not installed, and there is no apt-get: {', '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services():
        for words in (
            ["update", "-q"],
            ["install", "-y", "-q", "--no-install-recommends", *missing],
        ):
            done = subprocess.run(
                ["apt-get", *words],
                env=environment, capture_output=True, text=True, timeout=INSTALL_S,
            )  # fmt: skip
    if done.returncode:
        raise Refused(f"apt-get could not install {', '.join(missing)}:\n{done.stdout[-1500:]}")


def mounted() -> list[Path]:
    """Return the folders of this machine that every container sees, read-only."""
    found = [Path("/usr"), REPOSITORY]
    for folder in (sys.prefix, sys.base_prefix):
        found += [Path(folder), Path(folder).resolve()]
    outer: list[Path] = []
    for folder in sorted(set(found), key=lambda p: len(p.parts)):
        if not any(o == folder or o in folder.parents for o in outer):
            outer.append(folder)
    return outer


class Podman:
    """The suite's podman; `environment` makes every command use it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.faults = folder, folder / "faults"
        self.environment = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    @classmethod
    def start(cls, folder: Path) -> Podman:
        """Install what is missing and configure; raises :class:`Refused`."""
        if reason := refusal():
            raise Refused(reason)
        install()
        self = cls(folder)
        CDI.parent.mkdir(parents=True, exist_ok=True)
        self.lock = CDI.open("a")  # of this machine, so of one suite alone
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"{CDI} is held by another run of this suite") from None
        self.faults.mkdir(parents=True)
        shim = folder / "runc_capped"
        path = os.environ["PATH"] + ":/usr/sbin:/sbin"
        runc = shutil.which("runc", path=path)
        shim.write_text(SHIM.format(python="/usr/bin/env python3", capped=CAPPED, runc=runc))
        shim.chmod(0o755)
        volumes = [f"{path}:{path}:ro" for path in mounted()] + [f"{self.faults}:{FAULTS}:ro"]
        env = [f"STANDIN_DIR={FAULTS}", "OMP_NUM_THREADS=1", "OMP_WAIT_POLICY=PASSIVE"]
        engine = (
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
            f'[engine.runtimes]\nrunc = ["{shim}"]\n'
        )
        own = f"[containers]\nvolumes = {json.dumps(volumes)}\nenv = {json.dumps(env)}\n"
        (folder / "containers.conf").write_text(own + engine)
        (folder / "plain.conf").write_text(engine)
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\n'
            f'runroot = "{folder}/run"\n'
        )
        edits = {"env": ["STANDIN_GPU=all"]}
        spec = {"cdiVersion": "0.3.0", "kind": "nvidia.com/gpu"}
        CDI.write_text(json.dumps({**spec, "devices": [{"name": "all", "containerEdits": edits}]}))
        return self

    def run(
        self, *words: str, data: bytes | None = None, plain: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run podman with what it prints kept as text; ``plain``: nothing is mounted by itself."""
        conf = {"CONTAINERS_CONF": str(self.folder / "plain.conf")} if plain else {}
        done = subprocess.run(
            ["podman", *words],
            input=data,
            env={**os.environ, **self.environment, **conf},
            capture_output=True,
            timeout=INSTALL_S if plain else ANSWER_S,
            check=False,
        )
        texts = (done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        return subprocess.CompletedProcess(done.args, done.returncode, *texts)

    def answer(self, *words: str, data: bytes | None = None, plain: bool = False) -> str:
        """Return what podman printed; a bad end fails the test."""
        done = self.run(*words, data=data, plain=plain)
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
        return done.stdout

    def have(self, *images: str) -> None:
        """Make the image under these names."""
        path = "--change=ENV PATH=/opt/tao:/usr/bin:/bin"
        digest = self.answer("import", "--quiet", path, "-", data=image()).strip()
        for name in images:
            self.answer("tag", digest, name)

    def fail(self, **faults: str) -> None:
        """Have stages inside go wrong, as the stand-in knows it."""
        (self.faults / "faults.json").write_text(json.dumps(faults))

    def containers(self) -> list[str]:
        """Return the names of all containers, whatever their state."""
        return self.answer("ps", "--all", "--format", "{{.Names}}").split()

    def pid(self, name: str) -> int:
        """Return the process id of a container's first process, as this machine sees it."""
        return int(self.answer("inspect", "--format", "{{.State.Pid}}", name))

    def stop(self) -> None:
        """Leave nothing: no container, no image, no mount."""
        self.run("rm", "--all", "--force", "--time", "0")
        self.run("rmi", "--all", "--force")
        CDI.unlink(missing_ok=True)
        self.lock.close()
        for point in re.findall(rf"^\S+ ({re.escape(str(self.folder))}\S*)", _mounts(), re.M)[::-1]:
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _mounts() -> str:
    return Path("/proc/mounts").read_text()


def image() -> bytes:
    """Return the root file system of the image, a tar: `/results` is root's alone, as it may be."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in ("bin", "sbin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
        folders = {"usr": 0o755, "etc": 0o755, "opt/tao": 0o755, "tmp": 0o1777, "results": 0o755}
        for name, mode in folders.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        for name in ENTRY_POINTS:
            text = f'#!/bin/sh\nexec "{sys.executable}" "{INSIDE}" {name} "$@"\n'.encode()
            entry = tarfile.TarInfo(f"opt/tao/{name}")
            entry.size, entry.mode = len(text), 0o755
            tar.addfile(entry, io.BytesIO(text))
    return made.getvalue()
