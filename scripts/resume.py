"""After a crash: end the orphans of a run, so that nothing writes beside its second copy; go on."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from deft import layout
from deft.cli import launch, parser
from deft.jobs import end_orphans
from deft.preflight.start import CONFIG_FILE

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"
SLURM_PREFIX = "deft"
POLL_S = 2


def current_run(workspace: Path) -> str:
    """Return the name of the current run, or stop."""
    path = workspace / layout.CURRENT_RUN
    if not path.is_file():
        sys.exit(f"{workspace} has no run to resume")
    return path.read_text(encoding="utf-8").strip()


def end_slurm_jobs(name: str) -> list[str]:
    """Cancel the run's SLURM jobs by name and wait until they are gone."""
    if not shutil.which("squeue"):
        return []

    def listed() -> list[str]:
        command = ["squeue", "-h", "--me", "-o", "%i %j"]
        out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        wanted = f"{SLURM_PREFIX}-{name}"
        return [line.split()[0] for line in out.splitlines() if line.split()[1].startswith(wanted)]

    found = listed()
    if found:
        subprocess.run(["scancel", *found], check=False)
        while listed():
            time.sleep(POLL_S)
    return [f"cancelled SLURM job {job}" for job in found]


def go_on(run, extra: list[str]) -> int:
    """Unlock and run with the settings that the run passed the gate with."""
    settings = run.dir.resolve() / CONFIG_FILE
    given = ["--configfile", str(settings)] if settings.is_file() else []
    # --configfile takes several files: last, so that it does not swallow a target.
    command = [sys.executable, "-m", "snakemake", "-s", str(SNAKEFILE), *extra, *given]
    if not given:
        command += ["--config", f"workspace={Path(run.workspace).resolve()}"]
    return (
        subprocess.run([*command, "--unlock"], check=False).returncode
        or subprocess.run(command, check=False).returncode
    )


def body(args, run):
    """End what is left of an earlier command; with --go-on, unlock and run."""
    for line in [*end_orphans(run.dir), *end_slurm_jobs(run.name)] or ["no orphan found"]:
        print(line, flush=True)
    return go_on(run, args.snakemake) if args.go_on else 0


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--go-on", action="store_true", help="then unlock and run the loop")
    options.add_argument("snakemake", nargs="*", help="further arguments of snakemake, after --")
    if "--run" not in sys.argv:
        where = options.parse_known_args(["--run", "-", *sys.argv[1:]])[0].workspace
        sys.argv[1:1] = ["--run", current_run(where)]
    # The snakemake that it starts takes the signals itself; an exception here would kill it.
    launch(options.parse_args(), body, stops_in_order=False)
