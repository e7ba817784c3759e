"""What of a run goes to an experiment tracker: parameters, metrics, tags, files. No tracker here.

The numbers are those of the run's own record (``analysis.json``), a phase's at the step of its
iteration; texts are the record's too. :mod:`deft.stages.track` hands them to MLflow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core import layout
from deft.core.files import sha256_file
from deft.record.artifacts import artifacts_dir, data_entries, history_entry, summary_of
from deft.record.handoff import HOST_SPEC_FILE, MODEL_FILE, SPEC_FILE
from deft.record.model_card import CARD_FILE
from deft.record.phrases import plain
from deft.record.results import collect_results
from deft.record.run_files import RunFiles
from deft.record.verdict import verdict_of

PREFIX = "deft."  # of the tags, beside those of others
IDENTITY = f"{PREFIX}id"  # one run of the tracker for one run of ours, however often it is logged
MODEL_TAG = f"{PREFIX}best_model.sha256"
OTHER = re.compile(r"[^\w./ -]")  # what a name in MLflow may not hold
HANDED = (MODEL_FILE, SPEC_FILE, HOST_SPEC_FILE)
PAGE = "DEFT_Loop_Report.html"
OF_PHASE = ("report.html", "metrics.json")
OUTSIDE = {"workspace", "mlflow_uri", "mlflow_experiment"}  # say where, not what


@dataclass(frozen=True)
class Metric:
    """A number at a step, which is the iteration: 0 for the baseline."""

    name: str
    value: float
    step: int


@dataclass(frozen=True)
class Tracked:
    """A run as a tracker takes it; ``files`` are paths with the tracker's folder of each."""

    name: str
    params: dict[str, str]
    metrics: list[Metric]
    tags: dict[str, str]
    files: list[tuple[Path, str]]

    @property
    def identity(self) -> str:
        """The run's name and beginning, which a moved workspace keeps."""
        return self.tags[IDENTITY]


def tracked(files: RunFiles) -> Tracked:
    """Return what is logged of a run, as far as it has come."""
    results = collect_results(files)
    return Tracked(
        files.name,
        {
            clean(str(one["name"])): as_text(one.get("value"))
            for one in files.parameters
            if one["name"] not in OUTSIDE
        },
        list(_metrics(files, results)),
        _tags(files, results),
        list(_files(files)),
    )


def clean(name: str) -> str:
    """Return a name as MLflow takes it: letters, digits, ``_ . - /`` and blanks.

    >>> clean("type_3 <shift>")
    'type_3 _shift_'
    """
    return OTHER.sub("_", name)


def as_text(value: Any) -> str:
    """Return a parameter's value as YAML shows it: ``null``, ``true``, a text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _metrics(files: RunFiles, results: dict[str, float]) -> Iterator[Metric]:
    """Yield each phase's numbers, then the headline of the run at its last phase's step."""
    last = 0
    for phase in files.evaluated:
        last = layout.phase_number(phase.name)
        for name, value in history_entry(phase, results).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                yield Metric(clean(name), float(value), last)
    if files.evaluated:
        for name, value in summary_of(files, results)["metrics"].items():
            yield Metric(clean(f"run/{name}"), float(value), last)


def _tags(files: RunFiles, results: dict[str, float]) -> dict[str, str]:
    verdict = verdict_of(files, files.best, results) if files.best else None
    told: dict[str, Any] = {
        "id": f"{files.name} {files.state.get('started_at') or ''}".strip(),
        "run": files.name,
        "state": files.state.get("status"),
        "stop_reason": files.stop_reason,
        "kpi": files.target.get("sentence"),
        "best_phase": files.best.name if files.best else None,
        "engine": files.parameter("engine"),
        "mining": files.arm,
        "hard_stop": files.hard_stop.get("code"),
    }
    for entry in data_entries(files):
        told[f"data.{entry['name']}.sha256"] = entry["sha256"]
        told[f"data.{entry['name']}.rows"] = entry["rows"]
    model = files.run.best_model / "export.json"
    out = {f"{PREFIX}{clean(k)}": str(v) for k, v in told.items() if v is not None}
    if model.is_file():
        out[MODEL_TAG] = sha256_file(model)  # it has the digests of all others
    if verdict is not None:
        for one in verdict.judgements:
            out[f"{PREFIX}verdict.{one.name}"] = plain(one.state, results).replace("\u00a0", " ")
        out["mlflow.note.content"] = "\n\n".join([f"**{files.name}**", *verdict.lines(results)])
    return out


def is_model(folder: str) -> bool:
    """Return whether a tracker's folder is one of the best model's."""
    return folder.split("/")[0] == layout.Run(Path(), "").best_model.name


def _files(files: RunFiles) -> Iterator[tuple[Path, str]]:
    found: list[tuple[Path, str]] = [(files.run.dir / PAGE, "")]
    for phase in files.evaluated:
        found += [(phase.dir / name, phase.name) for name in OF_PHASE]
        found.append((files.run.dir / f"{phase.name}_summary.md", phase.name))
    record = artifacts_dir(files.workspace, files.name)
    found += [(record / f"{name}.json", "record") for name in ("manifest", "summary", "analysis")]
    found += [(files.run.dir / name, "") for name in (*HANDED, CARD_FILE)]
    found.append((files.run.preflight / "summary.md", "preflight"))
    folder = files.run.best_model
    if (folder / "export.json").is_file():  # written last: the folder is whole
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if "__pycache__" not in path.parts:
                found.append((path, path.parent.relative_to(folder.parent).as_posix()))
    yield from ((path, folder) for path, folder in found if path.is_file())
