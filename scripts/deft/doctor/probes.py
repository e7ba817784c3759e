"""The probes in the order of the table: what each measures, its time limit, what a hang means.

``python -m deft.doctor.probes NAME`` runs one and prints its findings as JSON, for the runner.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from deft.core.hardware import cpus, gpus
from deft.doctor import judge_devices, judge_machine, judge_software, measure
from deft.doctor.finding import BROKEN, WARN, Finding

MARK = "DEFT-FINDINGS "  # before the JSON: libraries print what they like


@dataclass(frozen=True)
class Surroundings:
    """What the probes are told.

    Parameters
    ----------
    problem: why the configuration was refused, or empty.
    cluster: whether the command's jobs go to a cluster.
    """

    workspace: str
    device: str = "auto"
    problem: str = ""
    cluster: bool = False

    def folder(self) -> Path:
        """Return the workspace, or the temporary folder when it is not there."""
        path = Path(self.workspace).expanduser()
        return path.resolve() if path.is_dir() else Path(tempfile.gettempdir())

    def as_json(self) -> str:
        """Return the form that a probe's process reads."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Probe:
    """One probe. ``hang`` and ``advice`` make the row when it is cut off or dies."""

    name: str
    look: Callable[[Surroundings], list[Finding]]
    limit_s: float = 30.0
    hang: str = BROKEN
    advice: str = "run it alone: python scripts/doctor.py --only NAME"


def _configuration(around: Surroundings) -> list[Finding]:
    exists = Path(around.workspace).expanduser().is_dir()
    return [judge_software.configuration(around.problem, around.workspace, exists)]


def _packages(around: Surroundings) -> list[Finding]:
    wanted = measure.wanted_packages()
    python = ".".join(str(part) for part in sys.version_info[:3])
    return [judge_software.pins(python, measure.installed(wanted), wanted)]


def _torch(around: Surroundings) -> list[Finding]:
    return [judge_devices.torch_pair(*measure.torch_pair())]


def _cards(around: Surroundings) -> list[Finding]:
    return [judge_devices.cards(gpus())]


def _cuda(around: Surroundings) -> list[Finding]:
    driver, count = measure.driver_version(), len(gpus())
    facts = judge_devices.UNUSED if around.device == "cpu" else measure.cuda()
    return [judge_devices.cuda(around.device, driver, count, facts)]


def _onnx(around: Surroundings) -> list[Finding]:
    facts = measure.onnx(around.device)
    return [judge_devices.onnx_provider(around.device, len(gpus()), facts)]


def _shared_memory(around: Surroundings) -> list[Finding]:
    return [judge_machine.shared_memory(*measure.shared_memory())]


def _limits(around: Surroundings) -> list[Finding]:
    kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_NPROC)
    files, locked, processes = (measure.soft_limit(kind) for kind in kinds)
    return [judge_machine.limits(files, locked, processes, len(gpus()))]


def _threads(around: Surroundings) -> list[Finding]:
    return [judge_machine.threads(os.environ, cpus())]


def _disk(name: str, path: Path) -> Finding:
    facts = os.statvfs(path)
    free = facts.f_bavail * facts.f_frsize
    return judge_machine.disk(name, str(path), free, *measure.inodes(path))


def _workspace_disk(around: Surroundings) -> list[Finding]:
    return [_disk("workspace", around.folder())]


def _temp_disk(around: Surroundings) -> list[Finding]:
    temp = Path(tempfile.gettempdir())
    return [_disk("temp", temp)]


def _leftovers(around: Surroundings) -> list[Finding]:
    found = measure.training_folders(Path(tempfile.gettempdir()))
    return [judge_machine.leftovers([*found, *measure.run_folders(around.folder())])]


def _file_system(around: Surroundings) -> list[Finding]:
    mounts = measure.MOUNTS.read_text(encoding="utf-8") if measure.MOUNTS.is_file() else ""
    folder = around.folder()
    return [judge_machine.file_system(str(folder), measure.file_system(folder, mounts))]


def _locks(around: Surroundings) -> list[Finding]:
    folder = around.folder()
    return [judge_machine.locks(str(folder), measure.try_locks(folder))]


def _slurm(around: Surroundings) -> list[Finding]:
    plugin = measure.version("snakemake-executor-plugin-slurm")
    return [judge_software.slurm(measure.slurm_ping(), plugin, used=around.cluster)]


def _tools(what: str, purpose: str, *names: str) -> list[Finding]:
    found = [tool for name in names if (tool := measure.tool(name))]
    return [judge_software.tools(what, purpose, found)]


def _conda(around: Surroundings) -> list[Finding]:
    return _tools("conda", "--sdm conda", "conda", "mamba", "micromamba")


def _apptainer(around: Surroundings) -> list[Finding]:
    return _tools("apptainer", "--sdm apptainer", "apptainer", "singularity")


def _docker(around: Surroundings) -> list[Finding]:
    client = measure.tool("docker")
    engine, error = measure.docker_engine() if client and not client.error else (None, "")
    return [judge_software.docker(client, engine, error or (client.error if client else ""))]


DISK_HANGS = "the file system does not answer: ask whoever keeps it, or use another workspace"
# An import of torch from a cold or remote disk takes its time.
IMPORT_LIMIT_S = 180.0
PROBES = (
    Probe("configuration", _configuration, advice=DISK_HANGS),
    Probe("packages", _packages),
    Probe("torch", _torch, IMPORT_LIMIT_S),
    Probe("gpus", _cards, advice="nvidia-smi: the driver does not answer; a restart may mend it"),
    Probe(
        "cuda", _cuda, IMPORT_LIMIT_S, advice="nvidia-smi: a card may be lost or its memory full"
    ),
    Probe("onnx", _onnx, IMPORT_LIMIT_S),
    Probe("shared_memory", _shared_memory),
    Probe("limits", _limits),
    Probe("threads", _threads),
    Probe("workspace_disk", _workspace_disk, advice=DISK_HANGS),
    Probe("temp_disk", _temp_disk, advice="set TMPDIR to a folder on a working disk"),
    Probe("leftovers", _leftovers, hang=WARN, advice=DISK_HANGS),
    Probe("file_system", _file_system, advice=DISK_HANGS),
    Probe("locks", _locks, advice="the lock server does not answer: mount with local locks"),
    Probe("slurm", _slurm, advice="ask for slurmctld and the network to it"),
    Probe("conda", _conda, 45.0, WARN, advice="needed only for --sdm conda"),
    Probe("apptainer", _apptainer, hang=WARN, advice="needed only for --sdm apptainer"),
    Probe("docker", _docker, hang=WARN, advice="needed only for the container and engine: tao"),
)


def main() -> None:
    """Run the probe that the command line names, told by standard input."""
    probe = next(probe for probe in PROBES if probe.name == sys.argv[1])
    found = probe.look(Surroundings(**json.load(sys.stdin)))
    print(MARK + json.dumps([finding.as_dict() for finding in found]), flush=True)
    # No clean-up of CUDA or of threads: a library that hangs at exit has no say in the table.
    os._exit(0)


if __name__ == "__main__":
    main()
