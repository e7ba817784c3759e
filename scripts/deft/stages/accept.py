"""The sealed acceptance set: opened once per hand-off, at the threshold that was frozen before.

The only stage that scores it. What it writes are counts: no score of a part, no picture and no
table, so that nothing can be tuned on the set.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deft.changenet.infer import score_table
from deft.changenet.spec import load_spec
from deft.core.errors import HardStop
from deft.core.files import read_json, write_json_atomic
from deft.core.layout import ACCEPTANCE_TABLE
from deft.kpi.acceptance import by_label, paired, wanting
from deft.kpi.promotion import Counts, judge, judge_alone
from deft.record.acceptance_set import SIDE, Opened, open_set
from deft.record.champion import Production, production
from deft.record.openings import add_opening, read_openings, seen_before
from deft.record.records import read_record
from deft.run.stage_files import read, written
from deft.run.state import utc_now
from deft.score_kit.errors import Stop
from deft.score_kit.loop import score_rows
from deft.score_kit.network import open_network
from deft.score_kit.prepare import FACTS, read_facts
from deft.score_kit.table import find_missing, read_parts
from deft.settings.kpi_target import KpiTarget
from deft.stages.context import Context
from deft.tables.changenet_table import read_table, write_table
from deft.tables.leakage import Side, compare, stop_of

MARGIN_PCT = 5.0  # where promotion_margin_pct is null
RATES = {"far_pct": float, "recall_pct": float, "tp": int, "fn": int, "fp": int, "tn": int}
RECORD = {  # what is said again of a hand-off that was judged before
    "asked": dict,
    "opening": int,
    "parts_seen_before": int,
    "set": {"rows": int},
    "gate": {"outcome": str},
    "challenger": RATES,
}
NONE = ""  # the champion's name where nothing is in production


@dataclass(frozen=True)
class Files:
    """What :func:`accept` reads and writes; beside them the ledger of openings."""

    export: Path = read("export.json of best_model/, the model beside it")
    record: Path = written("acceptance.json")
    combined: tuple[Path, ...] = read("the table that the best phase was trained on", default=())


def accept(
    context: Context,
    files: Files,
    target: KpiTarget,
    *,
    champion: str | None,
    champion_spec: str | None,
    margin_pct: float | None,
    device: str,
    threads: int,
) -> str:
    """Open the set for this hand-off, judge its promotion, write both; returns the summary.

    A hand-off that was judged on this very set against this champion is not opened again.

    Raises HardStop ``leakage`` for a part that the model was trained on, ``config_invalid`` for a
    hand-off whose threshold was edited, and what scoring raises; the set then counts as unopened.
    """
    export = read_record("export", files.export)
    opened = open_set(context.workspace)
    against = production(context.workspace, context.run.name, champion, champion_spec)
    handed_off = {
        "phase": export["phase"],
        "weights_sha256": export["weights_sha256"],
        "model_sha256": export["sha256"],
        "threshold": export["parity"]["at_safe_threshold"]["threshold"],
        "champion": against.name if against else NONE,
    }
    asked: dict[str, Any] = {
        "handed_off": handed_off,
        "set_sha256": opened.sha256,
        "target": target.as_dict(),
        "margin_pct": margin_pct or MARGIN_PCT,
        "champion_sha256": list(against.digests) if against else [],
    }
    kept: dict[str, Any] = {}
    if files.record.is_file():
        with suppress(HardStop):  # a damaged record answers nothing: the set is opened again
            kept = read_json(files.record, RECORD)
    if kept.get("asked") == asked:
        return f"{_said(kept)}; judged before, not opened again"
    openings = read_openings(context.workspace)
    refuse_edited(files.export.parent, handed_off["threshold"])
    refuse_trained(context, opened, files.combined)
    rejected = scored(context, Production("", files.export.parent), opened, device, threads)
    before = None
    if against is not None:
        before = scored(context, against, opened, device, threads)
    counts, labels = Counts.of(rejected, opened.ng), by_label(opened.labels, rejected)
    gate = (
        judge_alone(counts, target)
        if before is None
        else judge(before, rejected, opened.ng, asked["margin_pct"])
    )
    content = {
        "schema_version": 1,
        "run": context.run.name,
        "asked": asked,
        "set": _set(opened),
        "openings_of_set": 1 + sum(o["set_sha256"] == opened.sha256 for o in openings),
        "parts_seen_before": seen_before(openings, opened.parts),
        "earlier": [f"{o['at']} {o['run']} {o['phase']}: {o['outcome']}" for o in openings],
        "challenger": {**counts.as_dict(), "labels": labels},
        "champion": None if before is None else Counts.of(before, opened.ng).as_dict(),
        "paired": None if before is None else paired(before, rejected, opened.ng),
        "gate": gate.as_dict(),
        "certify": wanting(labels, counts, target, gate),
    }
    # First the opening: whoever reads the outcome finds it counted.
    content["opening"] = add_opening(
        context.workspace,
        {
            **{name: handed_off[name] for name in ("phase", "weights_sha256", "threshold")},
            "champion": handed_off["champion"],
            "at": utc_now(),
            "run": context.run.name,
            "set_sha256": opened.sha256,
            "parts": opened.parts,
            "outcome": gate.outcome,
        },
    )
    write_json_atomic(files.record, content)
    return _said(content)


def refuse_edited(folder: Path, threshold: float) -> None:
    """Stop where the hand-off decides at another threshold than the one it was made with."""
    file = folder / FACTS
    found = read_json(file, {"threshold": float})["threshold"]
    if np.float32(found) != np.float32(threshold):
        raise HardStop(
            "config_invalid",
            f"threshold is {found:.9g}, and {threshold:.9g} was handed off: the {SIDE} is opened "
            "for a hand-off as it was made",
            file=file,
            fix=f"write {threshold:.9g} back, and try other thresholds in a copy of the folder",
        )


def refuse_trained(context: Context, opened: Opened, tables: Sequence[Path]) -> None:
    """Stop with ``leakage`` where a training table has a part of the set, by key or picture."""
    side = Side(SIDE, opened.table, opened.rows)
    for path in tables:
        found = compare(
            side,
            Side("training", path, read_table(path)),
            workspace=context.workspace,
            lights=context.lights,
            ext=context.ext,
            levels=context.picture_levels,
        )
        for kind in ("key", "content"):
            if getattr(found, kind):
                raise stop_of(found, kind)


def scored(
    context: Context, model: Production, opened: Opened, device: str, threads: int
) -> np.ndarray:
    """Return which parts a model rejects at its own threshold, bool (n,)."""
    if model.spec is not None:
        spec = load_spec(model.spec)
        scores, _ = score_table(
            spec,
            model.path,
            opened.table,
            context.image_root,
            device=device,
            threads=threads,
            levels=context.picture_levels,
            workspace=context.root,
        )
        return np.asarray(scores > np.float32(spec.model.classify.eval_margin))
    with tempfile.TemporaryDirectory(dir=context.run.dir, prefix=".accept.") as folder:
        # The hand-off's own reader of tables knows one root: the workspace.
        table = write_table(opened.rows.assign(label=opened.labels), Path(folder) / "rows.csv")
        try:
            return _by_kit(model.path, table, context.root, device, threads)
        except Stop as stop:
            file = opened.table if stop.file == table else stop.file
            told = f"{stop.message} (while the {SIDE} was scored)"
            raise HardStop(stop.code, told, file=file, row=stop.rows, fix=stop.fix) from None


def _by_kit(folder: Path, table: Path, root: Path, device: str, threads: int) -> np.ndarray:
    facts = read_facts(folder)
    parts = read_parts(table, root, facts)
    find_missing(parts)
    network = open_network(folder, facts, device=device, threads=threads)
    scores = np.full(len(parts), np.nan, np.float32)

    def done(rows: Sequence[int], found: np.ndarray, features: np.ndarray | None) -> None:
        scores[list(rows)] = found

    score_rows(parts, network, range(len(parts)), workers=max(2, threads), done=done)
    return np.asarray(scores > np.float32(facts.threshold))


def _set(opened: Opened) -> dict[str, Any]:
    defects = int(opened.ng.sum())
    return {
        "path": ACCEPTANCE_TABLE,
        "sha256": opened.sha256,
        "rows": len(opened.ng),
        "good": len(opened.ng) - defects,
        "defects": defects,
    }


def _said(content: dict[str, Any]) -> str:
    told, gate = content["challenger"], content["gate"]
    champion = content["asked"]["handed_off"]["champion"]
    text = (
        f"{gate['outcome']}"
        + (f" (in production: {champion})" if champion else " (nothing is in production)")
        + f": FAR {told['far_pct']:.2f}% ({told['fp']}/{told['fp'] + told['tn']}), recall "
        f"{told['recall_pct']:.2f}% ({told['tp']}/{told['tp'] + told['fn']}) on the {SIDE}, "
        f"opening {content['opening']}"
    )
    seen = content["parts_seen_before"]
    if seen:
        text += f" (warning: {seen} of {content['set']['rows']} parts were opened before)"
    return text
