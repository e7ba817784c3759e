"""A real SLURM on this machine alone: munge, a controller and three nodes, as root.

Each node is a host of its own where the kernel has network namespaces (:mod:`hosts`), with its own
name and address; else all listen on loopback and bear this machine's name.

`python tests/slurm/cluster.py start|stop|refusal` does by hand what the suite does.

It takes over `/etc/slurm/slurm.conf` (the executor plugin's job step strips `SLURM_CONF`), so it
refuses a machine that has a cluster of its own, before anything is installed or written.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from guard import DAEMONS, MARK, OWN_CONFS, Refused, ours, refusal, slurm
from hosts import PREFIX, Hosts

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
NODES = {"cpu1": 17001, "cpu2": 17002, "gpu1": 17003}  # name -> port
HEAD = "head"  # the controller's host, where hosts can be made
CONTROLLER_PORT = 16817
NODE_MEMORY_MB = 16000  # told, not measured: no test uses that much
START_S = 60
STOP_S = 30
INSTALL_S = 900


def missing_packages() -> list[str]:
    """Return the Debian packages that are not there."""
    programs = dict(zip(PACKAGES, ("slurmctld", "slurmd", "squeue", "munged"), strict=True))
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return [
        package for package, program in programs.items() if not shutil.which(program, path=path)
    ]


@contextmanager
def no_services() -> Iterator[None]:
    """Keep a package's installation from starting its service."""
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        yield
    finally:
        if made:
            policy.unlink()


def install() -> None:
    """Install what is missing; raises :class:`Refused` where there is no apt or no network."""
    packages = missing_packages()
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise Refused(f"not installed, and there is no apt-get: {', '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-y", "-q", "--no-install-recommends"]
    with no_services():
        for command in (["update", "-q"], ["install", *options, *packages]):
            done = subprocess.run(
                ["apt-get", *command],
                env=environment,
                capture_output=True,
                text=True,
                timeout=INSTALL_S,
            )
    if done.returncode:
        raise Refused(f"apt-get could not install {', '.join(packages)}:\n{done.stdout[-1500:]}")


def slurm_conf(base: Path, host: str, hosts: Hosts | None) -> str:
    """Return the configuration of a cluster that lies in one folder."""
    cpus = 2
    head = f"{PREFIX}{HEAD}({hosts.address[HEAD]})" if hosts else f"{host}(127.0.0.1)"
    # On this machine's own addresses but loopback nobody listens; a host of its own has no others.
    bound = "" if hosts else "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"

    def place(node: str) -> str:
        return hosts.place(node) if hosts else f"NodeHostname={host} NodeAddr=127.0.0.1"

    nodes = "\n".join(
        f"NodeName={name} {place(name)} Port={port} CPUs={cpus} RealMemory={NODE_MEMORY_MB}"
        " State=UNKNOWN" + (" Gres=gpu:fake:1" if name.startswith("gpu") else "")
        for name, port in NODES.items()
    )
    return f"""ClusterName=deft
SlurmctldHost={head}
SlurmctldPort={CONTROLLER_PORT}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={base}/munge/munge.sock
{bound}
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool.%n
SlurmctldPidFile={base}/run/slurmctld.pid
SlurmdPidFile={base}/run/slurmd.%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdTimeout=20
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=5,batch_sched_delay=0,sched_min_interval=0
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=7200
KillWait=5
OverTimeLimit=0
UnkillableStepTimeout=120
MailProg=/bin/true
JobCompType=jobcomp/filetxt
JobCompLoc={base}/log/jobcomp.log
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=cpu Nodes=cpu1,cpu2 Default=YES MaxTime=INFINITE DefaultTime=10 State=UP
PartitionName=gpu Nodes=gpu1 MaxTime=INFINITE DefaultTime=10 State=UP
"""


class Cluster:
    """One cluster; `start` raises :class:`Refused` or leaves it ready, `stop` leaves nothing."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.hosts: Hosts | None = None

    @classmethod
    def running(cls) -> Cluster | None:
        """Return the cluster of this suite that this machine's slurm.conf belongs to."""
        bases = [ours(Path("/") / name) for name in OWN_CONFS]
        return next((cls(base) for base in bases if base), None)

    @classmethod
    def start(cls) -> Cluster:
        """Install what is missing and start a cluster, after what an ended suite left behind."""
        reason = refusal()
        if reason:
            raise Refused(reason)
        left = cls.running()
        if left:
            left.stop()
        install()
        reason = refusal()  # an installation may have brought a cluster with it
        if reason:
            raise Refused(reason)
        cluster = cls(Path(tempfile.mkdtemp(prefix="deft_slurm_", dir="/tmp")))
        try:
            cluster._begin()
        except BaseException:
            print(cluster.logs(), file=sys.stderr)
            cluster.stop()
            raise
        return cluster

    def _begin(self) -> None:
        (self.base / MARK).write_text(str(os.getpid()))
        self.base.chmod(0o755)
        for name in ("state", "run", "log", *(f"spool.{node}" for node in NODES)):
            (self.base / name).mkdir()
        host = socket.gethostname().split(".")[0]
        self.hosts = Hosts.made([HEAD, *NODES])
        print(f"nodes: {'hosts of their own' if self.hosts else 'all on loopback'}")
        (self.base / "slurm.conf").write_text(slurm_conf(self.base, host, self.hosts))
        (self.base / "gres.conf").write_text("NodeName=gpu1 Name=gpu Type=fake File=/dev/null\n")
        for link in (Path("/") / name for name in OWN_CONFS):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(self.base / link.name)
        self._munge()
        self._on(HEAD, "slurmctld")
        for node in NODES:
            self._on(node, "slurmd", "-N", node)
        until(self.ready, "the cluster to be ready", START_S)

    def _on(self, host: str, program: str, *arguments: str) -> None:
        inside = self.hosts.inside(host) if self.hosts else []
        daemon(*inside, sbin(program), *arguments)

    def _munge(self) -> None:
        folder = self.base / "munge"
        folder.mkdir(mode=0o755)
        (folder / "munge.key").write_bytes(secrets.token_bytes(128))
        (folder / "munge.key").chmod(0o600)
        for path in (folder, folder / "munge.key"):
            shutil.chown(path, "munge", "munge")
        files = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid"}
        files |= {"log-file": "munged.log", "seed-file": "munged.seed"}
        options = [f"--{name}={folder / file}" for name, file in files.items()]
        daemon("runuser", "-u", "munge", "--", sbin("munged"), *options)
        check = ["munge", "-n", "-S", str(folder / "munge.sock")]
        until(
            lambda: subprocess.run(check, capture_output=True, timeout=START_S).returncode == 0,
            "munged",
            START_S,
        )

    def ready(self) -> bool:
        """Bring every node back and return whether all are idle."""
        self.tell("update", f"NodeName={','.join(NODES)}", "State=RESUME")
        states = slurm("sinfo", "-h", "-N", "-o", "%N %T").split()
        return states[1::2] == ["idle"] * len(NODES)

    def tell(self, *words: str) -> str:
        """Return what scontrol answers."""
        return slurm("scontrol", *words)

    def jobs(self) -> dict[int, str]:
        """Return job id -> state of all jobs that the controller knows, ended ones too."""
        lines = slurm("squeue", "-h", "--states=all", "-o", "%i %T").splitlines()
        return {int(line.split()[0]): line.split()[1] for line in lines}

    def lose(self, node: str) -> None:
        """Let a node die: its daemon and all processes of its jobs, at once."""
        pid = self.pid(f"slurmd.{node}")
        jobs = slurm("squeue", "-h", "-w", node, "-o", "%i").split()
        steps = [p for p in psutil.process_iter(["name"]) if p.info["name"] == "slurmstepd"]
        # A step's daemon calls itself `slurmstepd: [<job>.<step>]`.
        own = [p for p in steps if any(f"[{job}." in " ".join(p.cmdline()) for job in jobs)]
        assert own, f"no job runs on {node}"
        dead = own + [c for p in own for c in p.children(recursive=True)]
        os.kill(pid, signal.SIGKILL)
        for process in dead:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def revive(self, node: str) -> None:
        """Start a lost node again."""
        self._on(node, "slurmd", "-N", node)
        until(self.ready, f"{node} to be back", START_S)

    def pid(self, name: str) -> int:
        """Return the process id of a daemon."""
        return int((self.base / "run" / f"{name}.pid").read_text())

    def logs(self, characters: int = 3000) -> str:
        """Return the ends of the daemons' logs."""
        found = sorted((self.base / "log").glob("*.log"))
        return "\n".join(f"== {p.name}\n{p.read_text()[-characters:]}" for p in found)

    def empty(self) -> None:
        """Cancel all jobs and wait until the nodes are idle."""
        slurm("scancel", "-u", getpass.getuser())
        until(self.ready, "idle nodes", START_S)

    def stop(self) -> None:
        """End jobs and daemons and remove every trace of this cluster."""
        with suppress(subprocess.SubprocessError, OSError):
            slurm("scancel", "-u", getpass.getuser())
            until(lambda: not slurm("squeue", "-h", "-o", "%i"), "the jobs' end", STOP_S)
        pid_files = [*(self.base / "run").glob("slurmd.*.pid"), self.base / "run/slurmctld.pid"]
        for path in [*pid_files, self.base / "munge/munged.pid"]:
            end_daemon(path)
        for link in (Path("/") / name for name in OWN_CONFS):
            if ours(link) == self.base:
                link.unlink()
        Hosts.remove([HEAD, *NODES])
        shutil.rmtree(self.base, ignore_errors=True)


def sbin(program: str) -> str:
    """Return the path of a daemon."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return found or program


def daemon(program: str, *arguments: str) -> None:
    """Start a daemon, which puts itself into the background."""
    done = subprocess.run(
        [sbin(program), *arguments], capture_output=True, text=True, timeout=START_S
    )
    if done.returncode:
        raise RuntimeError(f"{program} did not start: {done.stderr or done.stdout}")


def until(what, why: str, seconds: float):
    """Return `what()` as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.2)
    raise TimeoutError(f"waited {seconds:.0f} s for {why}")


def end_daemon(pid_file: Path) -> None:
    """End the daemon of a pid file if it is still that program."""
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        process = psutil.Process(int(pid_file.read_text()))
        if process.name() in (*DAEMONS, "munged"):
            process.terminate()
            try:
                process.wait(STOP_S)
            except psutil.TimeoutExpired:
                process.kill()


def main(word: str) -> None:
    """Start, stop, or say why not."""
    if word == "start":
        print(Cluster.start().base)
    elif word == "stop":
        cluster = Cluster.running()
        if cluster:
            cluster.stop()
    elif word == "refusal":
        print(refusal() or "this machine may have a cluster")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "")
    except Refused as error:
        sys.exit(f"refused: {error}")
