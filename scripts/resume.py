"""After a crash: end the orphans of a run, so that nothing writes beside its second copy; go on."""

import argparse
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.core.yaml_files import read_mapping
from deft.preflight.start import CONFIG_FILE
from deft.run import slurm
from deft.run.cli import launch, parser
from deft.run.jobs import commands, end_orphans, is_alive
from deft.run.place import foreign_place
from deft.settings.run_name import current_run, require_run

SNAKEFILE = Path(__file__).resolve().parents[1] / "Snakefile"


def run_to_resume(workspace: Path, named: str | None) -> str:
    """Return the run's name: given, or the current one of the workspace; stops without it."""
    if not workspace.is_dir():
        raise HardStop(
            "missing_input",
            f"the workspace {str(workspace)!r} is not a folder",
            fix="make resume WORKSPACE=DIR",
        )
    return require_run(workspace, named or current_run(workspace))


def leave_the_originals(run: Run, notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the notes of this workspace's own commands; say whose the others are."""
    places = [foreign_place(note, run.dir) for note in notes]
    for folder in sorted({place for place in places if place}):
        print(f"this run is a copy of {folder}: that one's commands and jobs are left alone")
    return [note for note, place in zip(notes, places, strict=True) if not place]


def refuse_beside_a_living_command(notes: list[dict[str, Any]]) -> None:
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


def end_slurm_jobs(notes: list[dict[str, Any]]) -> list[str]:
    """Cancel the SLURM jobs of the run's commands by name and wait until they are gone."""
    names = {note["slurm_name"] for note in notes if note["slurm_name"]}
    try:
        return [f"cancelled SLURM job {number}" for number in slurm.cancel(names)]
    except slurm.Silent as error:
        sys.exit(f"{error}\nwithout an answer nobody knows which jobs still write: not resumed")


def recorded_settings(run: Run) -> list[str]:
    """Return the options that set what the run passed the gate with; say what was elsewhere."""
    settings = run.dir.resolve() / CONFIG_FILE
    if not settings.is_file():
        return []
    kept = read_mapping(settings, code="config_invalid")
    here, there = str(Path(run.workspace).resolve()), kept.get("workspace")
    if isinstance(there, str) and there != here:
        print(f"the settings were recorded in {there}; this resumes {here}")
        for key, value in kept.items():
            if key != "workspace" and isinstance(value, str) and value.startswith(f"{there}/"):
                print(f'{key} still names {value}: set it with ARGS="--config {key}=…" if it moved')
    return ["--configfile", str(settings)]


def as_typed(text: str) -> str:
    """Return how a text is typed behind ``--config key=`` so that it arrives as it is.

    Snakemake strips quotes from both ends and reads the rest as YAML, where ``: `` and `` #`` part
    a path. A tag in front and an empty comment behind keep the quotes from being stripped.
    """
    plain = re.fullmatch(r"/[\w./+@%=~-]*|run_[\w.-]+", text)
    if plain:
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # its pairs of surrogates are no YAML
    # YAML folds these line ends to blanks, and takes no control character as it is.
    quoted = re.sub("[\x7f-\x9f\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", quoted)
    return f"!!str {quoted} #"


def with_config(arguments: list[str], **values: str) -> list[str]:
    """Return Snakemake's arguments with settings that win over every other source of them.

    A second ``--config`` would replace the user's, and of two values of a key the later one counts:
    ours are appended to the user's last one.
    """
    ours = [f"{key}={as_typed(value)}" for key, value in values.items()]
    joined = (re.fullmatch(r"(--config=|-C=?)(.+)", a, re.DOTALL) for a in arguments)
    arguments = [
        part
        for argument, found in zip(arguments, joined, strict=True)
        for part in (("--config", found[2]) if found else (argument,))
    ]
    places = [i for i, a in enumerate(arguments) if a in ("--config", "-C")]
    if not places:
        return [*arguments, "--config", *ours]
    end = places[-1] + 1
    while end < len(arguments) and not arguments[end].startswith("-"):
        end += 1
    return [*arguments[:end], *ours, *arguments[end:]]


def go_on(run: Run, extra: list[str]) -> int:
    """Unlock and run with the settings that the run passed the gate with, in this workspace."""
    # --configfile takes several files: last, so that it does not swallow a target.
    arguments = with_config(
        [*extra, *recorded_settings(run)],
        workspace=str(Path(run.workspace).resolve()),
        run=run.name,
    )
    command = [sys.executable, "-m", "snakemake", "-s", str(SNAKEFILE), *arguments]
    return (
        subprocess.run([*command, "--unlock"], check=False).returncode
        or subprocess.run(command, check=False).returncode
    )


def body(args: argparse.Namespace, run: Run) -> int:
    """End what is left of an earlier command; with --go-on, unlock and run."""
    workspace = Path(run.workspace).expanduser()
    run = Run(workspace, run_to_resume(workspace, args.run))
    notes = leave_the_originals(run, commands(run.workspace, run.name))
    refuse_beside_a_living_command(notes)
    # SLURM's first: a job that waits would start while another is being ended.
    for line in [*end_slurm_jobs(notes), *end_orphans(run.dir)] or ["no orphan found"]:
        print(line, flush=True)
    return go_on(run, args.snakemake) if args.go_on else 0


if __name__ == "__main__":
    options = parser(__doc__, phase=False, run_is_required=False)
    options.add_argument("--go-on", action="store_true", help="then unlock and run the loop")
    options.add_argument("snakemake", nargs="*", help="further arguments of snakemake, after --")
    # The snakemake that it starts takes the signals itself; an exception here would kill it.
    launch(options.parse_args(), body, stops_in_order=False)
