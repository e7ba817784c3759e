"""Where a run writes, and what may stand in the way: a foreign file, a folder, a link to elsewhere.

Read while the Snakefile is parsed, so that the answer comes before Snakemake makes its own folders:
standard library only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from deft.core.errors import HardStop
from deft.core.layout import CURRENT_RUN, Run, phase_name

KNOWLEDGE = "knowledge_base"
KNOWLEDGE_PAGES = {  # page -> its title; each run adds its sections to them
    "data/datasets.md": "Data sets: tables, digests, what each is for",
    "decisions/decisions.md": "Decisions: what was chosen after each phase, and why",
    "literature/methods.md": "Literature: the methods that the loop rests on",
    "methodology_traces/evaluation.md": "Evaluation: protocol and counts of each phase",
}
RUN_FOLDERS = ("preflight", "logs", "benchmarks", "hard_stops", ".jobs", "best_model", "kpi_facts")
POOL_FOLDERS = ("images/synth_ng", "images/synth_ok", "shards")
PHASE_FOLDERS = (
    "train",
    "train_resume",
    "restore_resume",
    "inference/best_val",
    "inference/latest",
    "decide",
    "anomalygen",
    "mining_filter",
    "dataset",
)
RUN_FILES = (
    "deft_state.json",
    "loop_log.jsonl",
    ".state.lock",
    "DEFT_Loop_Report.html",
    "best_model.json",
    "best_model_inference_spec.yaml",
    "best_model_inference_spec_host.yaml",
    "model_card.md",
    "mining_history.json",
)
RECORD_FILES = ("manifest.json", "summary.json", "analysis.json")
PHASE_FILES = ("metrics.json", "report.html", "causes.json", "causes.csv")
BRACES = re.compile(r"\{.*\}")
FIX = "move it away, or choose another workspace or run"


def first_needed(run: Run) -> tuple[list[str], list[str]]:
    """Return (folders, files) that even a pre-flight writes, relative to the workspace."""
    root = f"results/{run.name}"
    files = [f"{root}/{name}" for name in RUN_FILES[:3]]
    return [f"{root}/preflight", f"{root}/logs"], [CURRENT_RUN, *files]


def all_needed(run: Run, max_iterations: int) -> tuple[list[str], list[str]]:
    """Return (folders, files) that the loop writes to its end, relative to the workspace."""
    root, record = f"results/{run.name}", f"artifacts/runs/{run.name}"
    folders = [f"{root}/{name}" for name in RUN_FOLDERS]
    folders += [f"{root}/synth_pool/{name}" for name in POOL_FOLDERS]
    folders.append(record)
    files = [CURRENT_RUN, *(f"{root}/{name}" for name in RUN_FILES)]
    files += [f"{record}/{name}" for name in RECORD_FILES]
    files += [f"{KNOWLEDGE}/{name}" for name in KNOWLEDGE_PAGES]
    for phase in map(phase_name, range(max_iterations + 1)):
        by_time = (f"rca_results/{run.ts}/rca_images", f"routing_results/{run.ts}")
        folders += [f"{root}/{phase}/{name}" for name in (*PHASE_FOLDERS, *by_time)]
        files += [f"{root}/{phase}/{name}" for name in PHASE_FILES]
        files.append(f"{root}/{phase}_summary.md")
    return folders, files


def stops(workspace: Path, folders: Iterable[str], files: Iterable[str]) -> Iterator[HardStop]:
    """Yield a stop for each place that is taken, leads elsewhere or cannot be written.

    The first level below the workspace (``results``) may be a link to another disk; below it
    nothing may lead out of where that lies.
    """
    seen: set[str] = set()
    for name in dict.fromkeys(folders):
        yield from _folder(workspace, name, seen)
    for name in dict.fromkeys(files):
        parent = name.rpartition("/")[0]
        yield from _folder(workspace, parent, seen)
        path = workspace / name
        if not os.access(path.parent, os.X_OK):
            continue  # the folder is not there yet, or was told of above
        if path.is_dir():
            yield _taken(path, "a folder stands where the loop writes a file")
        elif path.exists() and not os.access(path, os.W_OK):
            yield _taken(path, "the loop writes this file, and it cannot be written")


def _folder(workspace: Path, name: str, seen: set[str]) -> Iterator[HardStop]:
    """Look at each part of a folder's path from the top; a place is told of once."""
    top, path, deepest = _resolved(workspace), workspace, workspace
    for depth, part in enumerate(name.split("/")):
        path = path / part
        if not (path.is_symlink() or path.exists()):
            break
        resolved = _resolved(path)
        if depth == 0:
            top = resolved
        known = str(path) in seen
        seen.add(str(path))
        if not path.exists():
            if not known:
                what = f"the loop needs a folder here; this is a link to {resolved}, not there"
                yield _taken(path, what)
            return
        if not path.is_dir():
            if not known:
                yield _taken(path, "a file stands where the loop needs a folder")
            return
        if depth and top != resolved and top not in resolved.parents:
            if not known:
                yield HardStop(
                    "path_escape",
                    f"the loop writes here, but it is a link that leads outside, to {resolved}",
                    file=path,
                    fix=f"remove the link; only {name.split('/')[0]}/ itself may lie elsewhere",
                )
            return
        deepest = path
        if not os.access(path, os.X_OK):  # then nothing can be said of what is in it
            break
    key = f"{deepest}/"
    if key not in seen and not os.access(deepest, os.W_OK | os.X_OK):
        yield _taken(deepest, "the loop writes into this folder, and it cannot be written")
    seen.add(key)


def _resolved(path: Path) -> Path:
    """Return where a path leads; a link that leads back to itself stays (``resolve`` raises)."""
    return Path(os.path.realpath(path))


def _taken(path: Path, what: str) -> HardStop:
    return HardStop("config_invalid", what, file=path, fix=FIX)


def require_path(workspace: Path) -> None:
    """Raise ``config_invalid`` for a path that Snakemake itself would take for a pattern."""
    for path in (workspace, _resolved(workspace)):
        if BRACES.search(str(path)):
            raise HardStop(
                "config_invalid",
                "the path of a workspace may hold no {…}: Snakemake reads it as a wildcard",
                file=path,
                fix="rename the folder, or set another: --config workspace=DIR",
            )


def require(workspace: Path, run: Run) -> None:
    """Raise the first stop of what a pre-flight writes, before anything is written."""
    for stop in stops(workspace, *first_needed(run)):
        raise stop


def outside(workspace: Path) -> dict[str, Path]:
    """Return first-level output folder -> where it really lies, for links out of the workspace."""
    root = _resolved(workspace)
    names = ("results", "artifacts", KNOWLEDGE)
    found = {name: _resolved(workspace / name) for name in names if (workspace / name).is_symlink()}
    return {name: path for name, path in found.items() if root not in path.parents}


def found(name: str, typed_in: Path, workspace: Path) -> Path:
    """Return a path that was typed: absolute, below where it was typed, or below the workspace."""
    path = Path(name).expanduser()
    choices = (typed_in / path, workspace / path)
    return next((choice for choice in choices if choice.exists()), choices[0])
