"""After a crash: end the orphans of a run, so that nothing writes beside its second copy; go on."""

import socket
import subprocess
import sys
from pathlib import Path

from deft import layout, slurm
from deft.cli import launch, parser
from deft.jobs import commands, end_orphans, is_alive
from deft.preflight.start import CONFIG_FILE

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"


def current_run(workspace: Path) -> str:
    """Return the name of the current run, or stop."""
    path = workspace / layout.CURRENT_RUN
    if not path.is_file():
        sys.exit(f"{workspace} has no run to resume")
    return path.read_text(encoding="utf-8").strip()


def refuse_beside_a_living_command(notes: list[dict]) -> None:
    """Stop while a Snakemake works on the run: its jobs are no orphans."""
    for note in filter(is_alive, notes):
        if note["host"] == socket.gethostname():
            where, end = f"process {note['pid']}", "end it first if it hangs"
        else:
            where = f"SLURM job {note['slurm_job']} on {note['host']}, if SLURM has not ended it"
            end = f"wait for it, or end it with: scancel {note['slurm_job']}"
        told = f"Snakemake itself still works on {note['run']} ({where}): nothing to resume"
        sys.exit(f"{told}; {end}")
    if notes and notes[-1]["host"] != socket.gethostname():
        last = notes[-1]
        print(f"the last command ran on {last['host']} (process {last['pid']}): it must have ended")


def end_slurm_jobs(notes: list[dict]) -> list[str]:
    """Cancel the SLURM jobs of the run's commands by name and wait until they are gone."""
    names = {note["slurm_name"] for note in notes if note["slurm_name"]}
    try:
        return [f"cancelled SLURM job {number}" for number in slurm.cancel(names)]
    except slurm.Silent as error:
        sys.exit(f"{error}\nwithout an answer nobody knows which jobs still write: not resumed")


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
    notes = commands(run.workspace, run.name)
    refuse_beside_a_living_command(notes)
    # SLURM's first: a job that waits would start while another is being ended.
    for line in [*end_slurm_jobs(notes), *end_orphans(run.dir)] or ["no orphan found"]:
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
