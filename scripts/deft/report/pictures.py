"""What the report shows as pictures: weak samples, their neighbours, a synthetic pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deft.causes.find import EXAMPLES, WORDS
from deft.rca.spot_check import FOLDER, example_name
from deft.rca.weakness import wrong_side
from deft.record.causes import looked_for, named_causes
from deft.record.phase_files import PhaseFiles
from deft.record.rows import shown_neighbours, shown_weak_parts
from deft.record.run_files import RunFiles
from deft.report.thumbs import Thumbnails
from deft.tables.labels import is_ng


def rca_view(files: RunFiles, phase: PhaseFiles, thumbs: Thumbnails) -> dict[str, Any]:
    """Return the weak samples of a phase as test / golden pairs."""
    pairs = []
    for i, (_, row) in enumerate(shown_weak_parts(phase).iterrows()):
        pairs.append(
            {
                "key": f"{phase.name}.rca.shown.{i}",
                "label": str(row["label"]),
                "wrong": wrong_side(row["weakness"], is_ng(str(row["label"]))),
                "object": str(row.get("object_name", "") or Path(str(row["filepath"])).stem),
                "light": str(row.get("light", "") or ""),
                "test": thumbs(row.get("filepath")),
                "golden": thumbs(row.get("golden_filepath")),
            }
        )
    return {"name": phase.name, "pairs": pairs}


def causes_view(phase: PhaseFiles, thumbs: Thumbnails) -> dict[str, Any] | None:
    """Return the named root causes of a phase; None where nobody looked for any."""
    if not looked_for(phase):
        return None
    found = []
    for number, one in enumerate(named_causes(phase), start=1):
        folder = (phase.rca_dir or phase.dir) / FOLDER
        shown = [thumbs(folder / example_name(number, i)) for i in range(1, EXAMPLES + 1)]
        sides = [
            {"key": f"{one.key}.{side}", "words": WORDS[side], "lift": counted.get("lift")}
            for side, counted in one.sides.items()
        ]
        found.append({**one.cause, "sides": sides, "pictures": [p for p in shown if p]})
    return {"name": phase.name, "causes": found}


def neighbours_view(phase: PhaseFiles, thumbs: Thumbnails) -> dict[str, Any]:
    """Return some weak pictures with the pool pictures that were nearest to them."""
    strips = []
    for i, (target, group) in enumerate(shown_neighbours(phase)):
        strips.append(
            {
                "target": thumbs(target),
                "name": Path(target).stem,
                "label": str(group.iloc[0].get("target_label", "") or ""),
                "found": [
                    {
                        "key": f"{phase.name}.neighbours.{i}.{j}.similarity",
                        "picture": thumbs(row["source"]),
                        "label": str(row.get("source_label", "") or ""),
                        "provenance": str(row.get("provenance", "") or ""),
                    }
                    for j, (_, row) in enumerate(group.iterrows())
                ],
            }
        )
    return {"name": phase.name, "strips": strips}


def synthetic_pair(files: RunFiles, thumbs: Thumbnails) -> dict[str, Any] | None:
    """Return the first synthetic NG / OK pair by name, or None."""
    folder = files.run.synth_pool / "images"
    defects = sorted((folder / "synth_ng").glob("*")) if folder.is_dir() else []
    for defect in defects:
        good = folder / "synth_ok" / defect.name
        pictures = (thumbs(defect), thumbs(good) if good.is_file() else None)
        if all(pictures):
            return {"name": defect.stem, "ng": pictures[0], "ok": pictures[1]}
    return None
