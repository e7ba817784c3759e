"""The gap analysis in TAO's container: its choice of weak samples, our tables and report.

The container chooses the threshold and the weak samples. The threshold must make the same decisions
as the KPI's own rule (the same required recall, best F1, precision, higher threshold); then its
samples are taken over with the columns that the later stages read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from deft.core.errors import HardStop, StageFailed
from deft.core.files import write_json_atomic, write_text_atomic
from deft.core.parquet import read_frame
from deft.core.reading import read_text
from deft.kpi import operating_point
from deft.kpi.evaluation import read_scores
from deft.rca.spot_check import Pictures
from deft.record.records import read_metrics
from deft.run.stage_files import read
from deft.stages import rca as native
from deft.stages.context import Context
from deft.stages.run_tables import kpi_correct, scored_table
from deft.tables.changenet_table import SCORE_COLUMN, is_ng, read_table, write_table
from deft.tao.stages import gap_arguments
from deft.tao.work import Work

STAGE = "rca"
UNREACHABLE = "unreachable_kpi.txt"
NEAR = 1e-6  # of a threshold, relative above 1


@dataclass(frozen=True, kw_only=True)
class Files(native.Files):
    """What :func:`tao_rca` reads and writes."""

    experiment: Path = read("experiment.yaml of the training")


def tao_rca(context: Context, files: Files, phase: str, min_recall: float, top_k: int) -> str:
    """Write ``rca_results/<TS>/`` of a phase from TAO's gap analysis.

    Raises
    ------
    HardStop ``missing_input``, ``kpi_invalid`` (no threshold reaches the recall, or TAO's decides
    otherwise than the KPI rule), StageFailed.
    """
    metrics = read_metrics(files.metrics)
    folder = files.inference.parent / metrics["chosen"]
    work = Work(context, phase, STAGE)
    image = work.image()
    work.clear()
    work.scratch.mkdir(parents=True, exist_ok=True)
    spec = work.scratch / "spec.yaml"
    write_text_atomic(spec, yaml.safe_dump({"min_recall": min_recall, "top_k_per_label": top_k}))
    images = context.root / context.relative(context.image_root)
    checked = scored_table(context, files.inference, metrics["chosen"])
    correct = kpi_correct(context, metrics.get("corrections", []))
    table, scored = read_scores(checked, correct), folder
    if correct is not None:  # the container reads the table that we read
        scored = work.scratch / "corrected"
        scored.mkdir(parents=True, exist_ok=True)
        raw = read_table(checked, check_labels=False)
        write_table(correct(raw), scored / "inference.csv")
    argv = gap_arguments(
        spec,
        inference=Path(context.absolute(scored)),
        train_config=Path(context.absolute(files.experiment)),
        images=images,
        out=work.out,
    )
    try:
        work.run(argv, read=[images])
    except StageFailed:
        if not (work.out / UNREACHABLE).is_file():
            raise
        said = (work.out / UNREACHABLE).read_text(encoding="utf-8").strip()
        raise HardStop(
            "kpi_invalid",
            f"TAO's gap analysis finds no threshold that reaches recall {min_recall:.4%}: {said}",
            file=folder / "inference.csv",
        ) from None
    threshold = read_threshold(work.out)
    check_threshold(table, threshold, min_recall, work.out)
    wanted = weak_files(work.out)
    pictures = Pictures(
        images,
        context.lights,
        context.ext,
        workspace=context.root,
        num_golden=context.goldens.count,
    )
    rows = rows_of(table, wanted, pictures, work.out)
    summary = native.rca(context, files, phase, min_recall, top_k, rows=rows)
    facts: dict[str, Any] = {
        "image": image.name,
        "image_id": image.id,
        "threshold": threshold,
        "files": len(wanted),
    }
    write_json_atomic(files.gaps.with_name("tao.json"), facts)
    return f"{summary} (TAO's gap analysis)"


def read_threshold(folder: Path) -> float:
    """Return the threshold of ``threshold.txt``."""
    path = folder / "threshold.txt"
    try:
        threshold = float(read_text(path).strip())
        if not math.isfinite(threshold):
            raise ValueError(threshold)
        return threshold
    except (OSError, HardStop, ValueError):
        raise HardStop(
            "kpi_invalid",
            "TAO's gap analysis ended in good order, but left no threshold",
            file=path,
            fix="see the stage's log",
        ) from None


def check_threshold(table: pd.DataFrame, threshold: float, min_recall: float, folder: Path) -> None:
    """Raise ``kpi_invalid`` unless TAO's threshold rejects the very parts that the KPI's does."""
    scores = table[SCORE_COLUMN].to_numpy(dtype=np.float32)
    swept = operating_point.sweep(scores, table["label"].map(is_ng).to_numpy())
    index = operating_point.recall_point(swept, min_recall)
    ours = None if index is None else float(swept["threshold"][index])
    # A threshold that was printed with fewer digits lies on either side of its own score.
    clear = np.abs(scores.astype(np.float64) - threshold) > NEAR * max(1.0, abs(threshold))
    rejected = scores.astype(np.float64) > threshold
    if ours is None or not np.array_equal(rejected[clear], (scores > np.float32(ours))[clear]):
        raise HardStop(
            "kpi_invalid",
            f"TAO's gap analysis decides at threshold {threshold!r}, the KPI rule at {ours!r}, and "
            "they reject different parts",
            file=folder / "threshold.txt",
            fix="set engine: native for this run, and report the two tables",
        )


def weak_files(folder: Path) -> set[str]:
    """Return the pictures of ``kpi_gaps.parquet``."""
    path = folder / "kpi_gaps.parquet"
    if not path.is_file():
        raise HardStop(
            "kpi_invalid",
            "TAO's gap analysis ended in good order, but left no kpi_gaps.parquet",
            file=path,
            fix="see the stage's log",
        )
    return set(
        read_frame(path, ["filepath"], only=True, code="kpi_invalid")["filepath"].astype(str)
    )


def rows_of(table: pd.DataFrame, wanted: set[str], pictures: Pictures, folder: Path) -> np.ndarray:
    """Return the positions of the rows whose pictures TAO names, or stop at a foreign one."""
    known: dict[str, list[int]] = {}
    for i, (_, row) in enumerate(table.iterrows()):
        for light in pictures.lights:
            known.setdefault(str(Path(pictures.test(row, light)).absolute()), []).append(i)
    strange = sorted(wanted - known.keys())
    if strange:
        raise HardStop(
            "kpi_invalid",
            f"TAO's gap analysis names {len(strange)} picture(s) that no KPI row has, first "
            f"{strange[0]}",
            file=folder / "kpi_gaps.parquet",
        )
    return np.array(sorted({i for name in wanted for i in known[name]}), dtype=int)
