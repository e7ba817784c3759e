"""The page's pairs whose label is doubtful, with the verdict that a person gives each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deft.core.layout import CORRECTIONS
from deft.record.run_files import RunFiles
from deft.report.thumbs import Thumbnails
from deft.tables.corrections import COLUMNS, VERDICTS, WRONG
from deft.tables.exchange import ROW

SHOWN_MOST = 60
BUDGET_BYTES = 400_000
FOLDER = "label_doubts"
WORDS = {
    "label_right": "label right",
    "label_wrong": "label wrong →",
    "bad_golden": "bad golden",
    "bad_picture": "bad picture",
    "leave_out": "leave out",
}


def doubts_view(files: RunFiles, levels: int | None = None) -> dict[str, Any] | None:
    """Return the most doubtful rows of the newest phase that ranked them, or None."""
    ranked = [p for p in files.phases if (p.dir / FOLDER / "label_doubts.csv").is_file()]
    if not ranked:
        return None
    phase = ranked[-1]
    table = files.reader.table(phase.dir / FOLDER / "label_doubts.csv")
    facts = files.reader.record(phase.dir / FOLDER / "label_doubts.json")
    if not {*ROW, "suggested", "test_file", "golden_file"} <= set(table.columns):
        return None
    thumbs = Thumbnails(budget_bytes=BUDGET_BYTES, levels=levels)
    rows = []
    for _, row in table.head(SHOWN_MOST).iterrows():
        test, golden = (thumbs(files.workspace / row[f"{n}_file"]) for n in ("test", "golden"))
        if test and golden:
            cells = {name: str(row[name]) for name in ROW}
            told = {k: str(row[k]) for k in ("suggested", "row")}
            told |= {"score": f"{float(row['score']):.4g}", "doubt": f"{float(row['doubt']):.2f}"}
            rows.append({"cells": cells, **told, "test": test, "golden": golden})
    return {
        "phase": phase.name,
        "rows": rows,
        "more": len(table) - len(rows),
        "labels": list(facts.get("labels") or _labels(rows)),
        "columns": list(COLUMNS),
        "before": files.corrections,  # the saved file takes the place of the one that is there
        "verdicts": [
            {"value": v, "words": WORDS[v], "key": str(k)} for k, v in enumerate(VERDICTS, 1)
        ],
        "wrong": WRONG,
        "file": CORRECTIONS,
    }


def _labels(rows: Sequence[dict[str, Any]]) -> list[str]:
    return sorted({row["cells"]["label"] for row in rows} | {row["suggested"] for row in rows})
