"""Running Snakemake from a test: the command, what it plans, what it changes on disk."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tiny_workspace import make_tiny_workspace
from warm_snakemake import run_warm

from deft.tables.sealed import count_rows, seal

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = "run_a"
# Small enough for a CPU, and every lap finds new rows: few weak samples, which change by phase.
CONFIG = {
    "run": RUN,
    "encoder": "changenet",
    "device": "cpu",
    "approve": "true",
    "max_iterations": 2,
    "training_epochs": 2,
    "min_similarity": 0.0,
    "top_k_per_target": 2,
    "top_k_per_label": 2,
    "live_report": "false",
}
POOL = "augmentation/mining_pool/mining_pool.csv"
POOL_ROWS = 60
PADDING = 20_000  # characters a row of the pool
PARTS_OF_THE_REPOSITORY = ("Snakefile", "rules", "config", "profiles", "envs", "scripts")
NOTHING = "Nothing to be done"
TIMEOUT_S = 900


def draw(workspace: Path) -> Path:
    """Draw the workspace of the finished run: a pool with something new for two laps.

    Its table is larger than 1 MB, above which Snakemake compares time stamps and no content.
    """
    make_tiny_workspace(workspace, pool=POOL_ROWS)
    path = workspace / POOL
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        columns, rows = list(reader.fieldnames or []), list(reader)
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, "description": "x" * PADDING} for row in rows)
    return workspace


def clean_environment() -> dict[str, str]:
    """Return the environment without this project's variables, one thread, no colours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DEFT_", "SNAKEMAKE_"))}
    kept.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", NO_COLOR="1", PYTHONUNBUFFERED="1")
    return kept


def snakemake_command(
    workspace: Path,
    *targets: str,
    config: Mapping[str, object] | None = None,
    args: Iterable[str] = (),
    repository: Path = REPOSITORY,
) -> list[str]:
    """Return the command line; a config value of None leaves the key out."""
    values = {**CONFIG, "workspace": str(workspace), **(config or {})}
    pairs = [f"{k}={v}" for k, v in values.items() if v is not None]
    head = [sys.executable, "-m", "snakemake", "--snakefile", str(repository / "Snakefile")]
    # Two jobs beside each other, one thread each: torch's threads would fight for two cores.
    limits = ["--cores", "2", "--max-threads", "1"]
    return [*head, *limits, *args, *targets, "--config", *pairs]


def as_documented(text: str) -> str:
    """Return advice as it stands in the documents: without what a test's command line adds."""
    pair = r"(?:'[^']*'|\w+=[^\s;,)`]+)"
    head, limits = re.escape(f"{sys.executable} -m snakemake"), "(?: --[a-z-]+ [^ ]+)*"
    snakefile = "--snakefile [^ ]+/Snakefile"
    command = rf"{head}((?: (?!--snakefile)[^ ]+)*) {snakefile}{limits} --config((?: {pair})*)"

    def short(found: re.Match[str]) -> str:
        last = found[2].rpartition(" ")[2]  # what the advice itself sets
        return f"snakemake{found[1]}" + (f" --config {last}" if last.startswith("run=") else "")

    return re.sub(command, short, text)


def working_folder(workspace: Path) -> Path:
    """Return the folder that the command is typed in; not the workspace, not the repository."""
    folder = workspace.with_name(f"{workspace.name}.typed_here")
    folder.mkdir(exist_ok=True)
    return folder


def run_to_end(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; stdout holds stderr too, in the order of a terminal."""
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def snakemake(
    workspace: Path,
    *targets: str,
    config: Mapping[str, object] | None = None,
    args: Iterable[str] = (),
    repository: Path = REPOSITORY,
    own_start: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake to its end; stdout holds stderr too, in the order of a terminal.

    ``own_start``: start Python and import Snakemake, as a user does, and do not fork it.
    """
    command = snakemake_command(
        workspace, *targets, config=config, args=args, repository=repository
    )
    folder = working_folder(workspace)
    if own_start:
        return run_to_end(command, folder)
    return run_warm(command, folder, clean_environment(), TIMEOUT_S)


def script(workspace: Path, name: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a rule's own command line in the workspace."""
    command = [sys.executable, str(REPOSITORY / "scripts" / f"{name}.py"), *args]
    return run_to_end(command, workspace)


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    """Return the output of a command that ended well; else fail with its end."""
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout[-4000:]}"
    return done.stdout


def planned_rules(output: str) -> dict[str, int]:
    """Return rule -> count of the jobs that `-n` plans; `{}` when nothing is to be done.

    `all` is left out: it only says that something else is planned.
    """
    if NOTHING in output:
        return {}
    tables = re.findall(r"^job +count\n(.*?)^total +\d+$", output, re.DOTALL | re.MULTILINE)
    assert tables, f"no plan in:\n{output[-3000:]}"
    rows = re.findall(r"^(\w+) +(\d+)$", tables[-1], re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule != "all"}


def plan(
    workspace: Path,
    *targets: str,
    config: Mapping[str, object] | None = None,
    args: Iterable[str] = (),
    repository: Path = REPOSITORY,
) -> dict[str, int]:
    """Return the jobs that a dry run plans."""
    done = snakemake(workspace, *targets, config=config, args=["-n", *args], repository=repository)
    return planned_rules(succeed(done))


def copy_of(finished: Path, target: Path) -> Path:
    """Copy a finished workspace with `.snakemake` and all time stamps, and return the copy."""
    shutil.copytree(finished, target, copy_function=shutil.copy2, symlinks=True)
    return target


def copy_in_its_place(finished: Path, target: Path) -> Path:
    """Copy a finished workspace as if it had run where the copy lies, and return the copy.

    A moved run writes its hand-off again, which is tested by itself (test_moved.py).
    """
    copy = copy_of(finished, target)
    for checks in copy.glob("results/*/preflight/checks.json"):
        status = checks.stat()
        text = checks.read_text(encoding="utf-8")
        checks.write_text(text.replace(f'"{finished}"', f'"{copy}"'), encoding="utf-8")
        os.utime(checks, ns=(status.st_atime_ns, status.st_mtime_ns))
    return copy


def copy_of_repository(target: Path) -> Path:
    """Copy what Snakemake reads of the repository, with its time stamps, and return the copy."""
    target.mkdir(parents=True)
    for name in PARTS_OF_THE_REPOSITORY:
        source = REPOSITORY / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target / name, copy_function=shutil.copy2, ignore=ignore)
        else:
            shutil.copy2(source, target / name)
    return target


def reseal(table: Path, record: Path) -> None:
    """Let the record of a stage speak of a table as it is now: as if the stage had written it so.

    Whoever reads a table that was edited behind its stage's back stops at its seal, and what lies
    behind the seal is not reached.
    """
    facts = json.loads(record.read_text(encoding="utf-8"))
    now = seal(table, count_rows(table))
    if "kinds" in facts:  # of an inference: a table for each kind of weights
        told = {"csv_sha256": now["sha256"], "rows": now["rows"]}
        facts["kinds"][table.parent.name] |= told
    else:
        facts["tables"][table.relative_to(record.parent).as_posix()] = now
    record.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def tree(folder: Path, *, without: Iterable[str] = (".snakemake",)) -> dict[str, str]:
    """Return relative path -> SHA-256 of every file below a folder, left out the named folders."""
    left_out = set(without)
    found = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [f for f in folders if f not in left_out]
        for name in names:
            path = Path(base, name)
            key = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[key] = f"-> {os.readlink(path)}"
            else:
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """Return path -> `new`, `gone` or `changed`."""
    out = {path: "new" for path in after.keys() - before.keys()}
    out |= {path: "gone" for path in before.keys() - after.keys()}
    out |= {p: "changed" for p in before.keys() & after.keys() if before[p] != after[p]}
    return dict(sorted(out.items()))


def log_entries(workspace: Path, run: str = RUN) -> list[dict]:
    """Return the loop log."""
    path = workspace / "results" / run / "loop_log.jsonl"
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def state(workspace: Path, run: str = RUN) -> dict:
    """Return `deft_state.json`, or `{}`."""
    path = workspace / "results" / run / "deft_state.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def load(workspace: Path, name: str, run: str = RUN) -> dict:
    """Return a JSON file of the run."""
    return json.loads((workspace / "results" / run / name).read_text(encoding="utf-8"))
