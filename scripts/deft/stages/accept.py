"""The sealed acceptance set: opened once per hand-off, at the threshold that was frozen before.

The only stage that scores it. What it writes are counts: no score of a part, no picture and no
table, so that nothing can be tuned on the set.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.changenet.infer import score_table
from deft.changenet.spec import load_spec
from deft.core import layout
from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file, write_json_atomic
from deft.kpi import certify
from deft.kpi.flips import compared
from deft.kpi.operating_point import far_upper_bound, recall_lower_bound
from deft.kpi.promotion import Counts, Gate, judge, judge_alone
from deft.record.openings import (
    add_opening,
    best_model_of,
    last_promoted,
    part_digests,
    read_openings,
    seen_before,
)
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
from deft.tables.changenet_table import is_ng, line_of, read_table, write_table
from deft.tables.coordinates import base_rows
from deft.tables.labels import first_spellings, shown
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
SIDE = "acceptance set"


@dataclass(frozen=True)
class Files:
    """What :func:`accept` reads and writes; beside them the ledger of openings."""

    export: Path = read("export.json of best_model/, the model beside it")
    record: Path = written("acceptance.json")
    combined: tuple[Path, ...] = read("the table that the best phase was trained on", default=())


@dataclass(frozen=True)
class Production:
    """The model that production runs. ``spec``: of a ``.pth`` file, whose threshold it has."""

    name: str
    path: Path
    spec: Path | None = None


@dataclass(frozen=True)
class Opened:
    """The parts of the set: ``rows`` relative to the workspace, ``ng`` bool (n,)."""

    table: Path
    sha256: str
    rows: pd.DataFrame
    labels: list[str]
    ng: np.ndarray
    parts: list[str] = field(default_factory=list)


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

    Raises HardStop ``leakage`` for a part that the model was trained on, and what scoring raises;
    the set then counts as unopened.
    """
    export = read_record("export", files.export)
    opened = open_set(context)
    against = production(context, champion, champion_spec)
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
    }
    kept: dict[str, Any] = {}
    if files.record.is_file():
        with suppress(HardStop):  # a damaged record answers nothing: the set is opened again
            kept = read_json(files.record, RECORD)
    if kept.get("asked") == asked:
        return f"{_said(kept)}; judged before, not opened again"
    refuse_trained(context, opened, files.combined)
    rejected = scored(context, Production("", files.export.parent), opened, device, threads)
    before = None
    if against is not None:
        before = scored(context, against, opened, device, threads)
    openings = read_openings(context.workspace)
    counts = Counts.of(rejected, opened.ng)
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
        "opening": len(openings) + 1,
        "openings_of_set": 1 + sum(o["set_sha256"] == opened.sha256 for o in openings),
        "parts_seen_before": seen_before(openings, opened.parts),
        "earlier": [f"{o['at']} {o['run']} {o['phase']}: {o['outcome']}" for o in openings],
        "challenger": {**counts.as_dict(), "labels": by_label(opened, rejected)},
        "champion": None if before is None else Counts.of(before, opened.ng).as_dict(),
        "paired": None if before is None else paired(before, rejected, opened.ng),
        "gate": gate.as_dict(),
        "certify": wanting(opened, rejected, counts, target, gate),
    }
    # First the opening: whoever reads the outcome finds it counted.
    add_opening(
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


def open_set(context: Context) -> Opened:
    """Read the table of the sealed set."""
    path = context.workspace / layout.ACCEPTANCE_TABLE
    table = read_table(path)
    rows = base_rows(table, context.workspace)
    spelling = first_spellings(rows["label"])
    labels = [shown(label, spelling) for label in rows["label"]]
    parts = part_digests(zip(rows["input_path"], rows["object_name"], strict=True))
    ng = np.array([is_ng(label) for label in rows["label"]], bool)
    return Opened(path, sha256_file(path), rows, labels, ng, parts)


def production(context: Context, champion: str | None, spec: str | None) -> Production | None:
    """Return the model in production: the one that is named, else the one promoted last."""
    if champion is None:
        last = last_promoted(context.workspace, other_than=context.run.name)
        if last is None:
            return None
        folder = best_model_of(context.workspace, last)
        return Production(f"{last['run']}, {last['phase']}", folder)
    path = context.workspace / Path(champion).expanduser()
    if (path / FACTS).is_file():
        return Production(champion, path)
    if not path.is_file():
        raise HardStop(
            "missing_input",
            "the champion is neither a best_model/ folder nor a model file",
            file=path,
            fix="correct champion: the folder best_model/ of a hand-off, or a .pth file with "
            "champion_spec",
        )
    if spec is None:
        raise HardStop(
            "config_invalid",
            f"the champion {champion} is a model file, and champion_spec is not set",
            file=path,
            fix="name the inference spec that it is used with; its model.classify.eval_margin is "
            "the threshold: " + again(champion=champion, champion_spec="FILE"),
        )
    return Production(champion, path, context.workspace / Path(spec).expanduser())


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


def paired(before: np.ndarray, now: np.ndarray, ng: np.ndarray) -> dict[str, Any]:
    """Return what turned, and the 2 x 2 tables of champion against challenger by kind of part."""
    tables = {}
    for name, of in (("good", ~ng), ("defects", ng)):
        tables[name] = {
            "both_pass": int((of & ~before & ~now).sum()),
            "both_reject": int((of & before & now).sum()),
            "champion_alone_rejects": int((of & before & ~now).sum()),
            "challenger_alone_rejects": int((of & ~before & now).sum()),
        }
    return {**compared(before, now, ng).as_dict(), "tables": tables}


def by_label(opened: Opened, rejected: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return per label how many parts there are and how many are rejected, with the bound."""
    out: dict[str, dict[str, Any]] = {}
    names = np.array(opened.labels, object)
    for label in sorted(set(opened.labels)):
        of = names == label
        count, above = int(of.sum()), int((of & rejected).sum())
        told: dict[str, Any] = {"count": count}
        if is_ng(label):
            told |= {"caught": above}
            told["recall_lower95_pct"] = 100 * float(recall_lower_bound(above, count))
        else:
            told |= {"rejected": above}
            told["far_upper95_pct"] = 100 * float(far_upper_bound(above, count))
        out[label] = told
    return out


def wanting(
    opened: Opened, rejected: np.ndarray, counts: Counts, target: KpiTarget, gate: Gate
) -> dict[str, Any]:
    """Return how many more parts would certify the target, in all and per label; None: no number.

    Of a label whose required recall no number proves (100 %) the needed parts are those of
    ``CERTIFY_RECALL``.
    """
    recall = target.min_recall if target.min_recall < 1 else certify.CERTIFY_RECALL
    return {
        "recall_pct": 100 * recall,
        "more_good": certify.good_parts_needed(counts.fp, counts.good, target),
        "more_defects": certify.defects_needed(counts.tp, counts.defects, recall),
        "more_defects_to_promote": gate.numbers["more_defects"],
        "labels": {
            label: certify.defects_needed(told["caught"], told["count"], recall)
            for label, told in by_label(opened, rejected).items()
            if is_ng(label)
        },
    }


def _set(opened: Opened) -> dict[str, Any]:
    doubled = opened.rows.duplicated(subset=["input_path", "object_name"])
    if doubled.any():
        raise HardStop(
            "csv_invalid",
            f"{int(doubled.sum())} part(s) stand twice in the {SIDE}: each would count twice",
            file=opened.table,
            row=[line_of(int(i)) for i in opened.rows.index[doubled]],
            fix="remove the repeated rows",
        )
    defects = int(opened.ng.sum())
    return {
        "path": layout.ACCEPTANCE_TABLE,
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
