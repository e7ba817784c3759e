"""The results of a scoring: the table with its new columns, the summary, words for a terminal."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .files import cannot_write, write_text
from .network import Network
from .partial import shortest
from .prepare import Facts
from .statistics import FEW, counted, drift
from .table import ADDED, PASS, Parts

REJECTED = "NO_PASS"


def scores_text(parts: Parts, scores: np.ndarray, facts: Facts) -> str:
    """Return the table with ``score, verdict, margin``; a margin above 0 means NO_PASS."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*parts.header, *ADDED])
    cut = np.float32(facts.threshold)
    for cells, score in zip(parts.rows, np.asarray(scores, np.float32), strict=True):
        verdict = REJECTED if score > cut else PASS
        writer.writerow([*cells, shortest(score), verdict, shortest(score - cut)])
    return text.getvalue()


def keep_earlier(files: Sequence[Path], table: str) -> Path | None:
    """Move a result away whose table, the first of ``files``, is not ``table``; return where to.

    The folder beside its own bears its name and the time of the result (UTC).
    Raises Stop ``missing_input`` where it cannot be moved.
    """
    first = files[0]
    try:
        if not first.exists() or first.read_bytes() == table.encode("utf-8"):
            return None
        made = time.strftime("%Y%m%d_%H%M%S", time.gmtime(first.stat().st_mtime))
        kept, number = first.parent.with_name(f"{first.parent.name}.{made}"), 2
        while kept.exists():
            kept = first.parent.with_name(f"{first.parent.name}.{made}-{number}")
            number += 1
        kept.mkdir()
        for file in filter(Path.exists, reversed(files)):
            file.rename(kept / file.name)
    except OSError as error:
        raise cannot_write(first, error) from None
    return kept


def summary_of(
    parts: Parts, scores: np.ndarray, network: Network, kpi: dict[str, Any]
) -> dict[str, Any]:
    """Return what ``*.summary.json`` holds."""
    facts, labels = network.facts, parts.labels
    out = {
        "schema_version": 1,
        "rows": len(parts),
        "threshold": facts.threshold,
        "rejected": int((scores > np.float32(facts.threshold)).sum()),
        "model_sha256": network.sha256,
        "provider": network.provider,
        "drift": drift(scores, kpi),
        "embeddings": {"drifted": None, "compared": None},  # without a reference of this network
        "kpi": kpi["counts"],
    }
    if labels is not None and any(label.strip() for label in labels):
        out["measured"] = counted(scores, labels, facts.threshold)
    return out


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write the summary as JSON."""
    write_text(path, json.dumps(summary, indent=2, sort_keys=True) + "\n")


def words(summary: dict[str, Any]) -> list[str]:
    """Return the summary's lines for a terminal."""
    rows, rejected = summary["rows"], summary["rejected"]
    used, handed_off = (
        shortest(np.float32(summary[name])) for name in ("threshold", "handed_off_threshold")
    )
    told = f"NO_PASS {rejected} of {rows} ({100 * rejected / rows:.3g} %) at the"
    lines = [f"{told} handed-off threshold {used}"]
    if used != handed_off:
        lines = [
            f"{told} threshold {used} of preprocessing.json; handed off was {handed_off}, which "
            "the report's FAR and recall are of"
        ]
    found = summary.get("measured")
    if found:
        lines += [_measured(found)]
    warnings = [f"WARNING {text}" for text in summary["warnings"]]
    return [*lines, *warnings, _drift(summary["drift"]), _embeddings(summary["embeddings"])]


def _measured(found: dict[str, Any]) -> str:
    good, defects = found["fp"] + found["tn"], found["tp"] + found["fn"]
    far = (
        f"FAR {found['far_pct']:.3g} % ({found['fp']}/{good}, at most "
        f"{found['far_upper95_pct']:.3g} %)"
        if good
        else "FAR not measured: no row is labelled PASS"
    )
    recall = (
        f"recall {found['recall_pct']:.4g} % ({found['tp']}/{defects}, at least "
        f"{found['recall_lower95_pct']:.4g} %)"
        if defects
        else "recall not measured: no row is labelled as a defect"
    )
    return f"{found['labelled']} labelled: {far}; {recall}; bounds at 95 %"


def _embeddings(found: dict[str, Any]) -> str:
    if found["compared"] is None:
        return "embeddings: not compared, the hand-off has none of the KPI set for this network"
    if found["drifted"] is None:
        return (
            f"embeddings: not judged, {found['parts']} new and {found['kpi_parts']} KPI parts are "
            f"there and {FEW} of each are needed"
        )
    word = "THE PICTURES HAVE DRIFTED" if found["drifted"] else "no drift of the pictures"
    return (
        f"embeddings: {word} ({found['compared']} against the KPI set's: distance "
        f"{found['distance']:.3f} {found['measure']}, p = {found['p']:.2g} for all measures)"
    )


def _drift(found: dict[str, Any]) -> str:
    if found["drifted"] is None:
        return (
            f"drift: not judged, {found['passing']} new and {found['kpi_good_passing']} KPI parts "
            f"pass and {FEW} of each are needed"
        )
    word = "SCORES HAVE DRIFTED" if found["drifted"] else "no drift of the scores"
    return (
        f"drift: {word} (parts that pass against the KPI set's: distance {found['distance']:.3f}, "
        f"p = {found['p']:.2g}; median {found['quantiles']['50']:.3g}, there "
        f"{found['kpi_quantiles']['50']:.3g}; rejected {found['rejected_pct']:.3g} %, there "
        f"{found['kpi_rejected_pct']:.3g} %)"
    )
