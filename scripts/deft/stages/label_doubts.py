"""Rank the rows whose label is doubtful, for a person to look at (``corrections.csv``)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.changenet.infer import score_table
from deft.core.files import write_json_atomic, write_text_atomic
from deft.embedding.encoders.base import Encoder
from deft.mining.doubts import Doubts, difference_vectors, find_doubts
from deft.pool.digest import pool_prefix
from deft.run.stage_files import read, written
from deft.stages.context import Context
from deft.stages.encoder import vectors_of
from deft.stages.weights import chosen_weights
from deft.tables.changenet_table import (
    MANDATORY,
    image_file,
    line_of,
    read_table,
    rows_of,
    write_table,
)
from deft.tables.corrected import is_out, matches, picture_digest, placed_rows, relabelled
from deft.tables.corrections import POOL, TABLES, read_corrections
from deft.tables.exchange import fiftyone_files, label_studio_interface, label_studio_tasks
from deft.tables.labels import clean_label, first_spellings, is_ng, shown
from deft.tao.embed import TaoEncoder

POOL_MOST = 20_000  # parts of the pool that are looked at: the first ones of its table
LISTED_MOST = 1000  # rows of the file, the most doubtful ones
LISTED_FROM = 0.5  # doubt from which a row is listed: one of the two witnesses speaks against it
LABEL_STUDIO, INTERFACE = "label_studio.json", "label_studio.xml"
FIFTYONE = "fiftyone"


@dataclass(frozen=True)
class Files:
    """What :func:`label_doubts` reads and writes."""

    metrics: Path = read("metrics.json of the phase whose weights score")
    table: Path = written("label_doubts.csv; the formats of other tools go beside it")
    facts: Path = written("label_doubts.json")


@dataclass(frozen=True)
class Means:
    """With what rows are looked at."""

    encoder: Encoder | TaoEncoder
    cache: Path | None  # folder of embedded pictures; None = keep none
    device: str
    threads: int
    memory_mb: float


def label_doubts(context: Context, files: Files, means: Means) -> str:
    """Write the ranking of the KPI, training and pool rows whose label is doubtful.

    Rows that ``corrections.csv`` speaks of count as it says, and are not listed again.
    """
    rows = all_rows(context)
    scores = _scores(context, rows, chosen_weights(context, files.metrics), means)
    doubts = find_doubts(
        [clean_label(label) for label in rows["label"]],
        rows["label"].map(is_ng).to_numpy(bool),
        scores.astype(np.float64),
        _vectors(context, rows, means),
        memory_mb=means.memory_mb,
    )
    found = listed(context, rows, scores, doubts)
    write_table(found, files.table)
    labels = sorted(set(rows["label"]), key=lambda label: (is_ng(label), label))
    _for_others(context, files.table.parent, found.to_dict("records"), labels)
    facts: dict[str, Any] = {
        "looked_at": {name: int((rows["table"] == name).sum()) for name in TABLES},
        "doubtful": {name: int((found["table"] == name).sum()) for name in TABLES},
        "listed_from": LISTED_FROM,
        "labels": labels,
    }
    write_json_atomic(files.facts, facts)
    each = [f"{name} {n} of {facts['looked_at'][name]}" for name, n in facts["doubtful"].items()]
    return f"doubtful labels: {', '.join(each)}"


def all_rows(context: Context) -> pd.DataFrame:
    """Return the parts of the three tables, with the labels that are corrected.

    Columns: ``table``, ``row`` (CSV line), the mandatory cells as the tables have them (the label
    in one spelling), ``folder`` and ``golden_folder`` (relative to the workspace), ``settled``
    (a correction speaks of it).
    """
    corrections, frames = read_corrections(context.workspace), []
    for name, path in TABLES.items():
        known = pool_prefix(context.run.dir) if name == POOL else None  # this run's rows
        raw = read_table(context.workspace / path, first_bytes=known)
        placed = placed_rows(raw, name, context.workspace)
        own = [one for one in corrections if one.table == name]
        each = matches(placed, own, context.workspace)
        rows = relabelled(raw, each).assign(
            table=name,
            row=[line_of(i) for i in raw.index],
            folder=placed["input_path"],
            golden_folder=placed["golden_path"],
            settled=[one is not None for one in each],
        )
        rows = rows[[not is_out(one) for one in each]]
        if name == POOL:
            rows = rows.drop_duplicates(["folder", "object_name"]).head(POOL_MOST)
        further = ["folder", "golden_folder", "settled"]
        frames.append(rows[["table", "row", *MANDATORY, *further]])
    both = pd.concat(frames, ignore_index=True)
    spelling = first_spellings(both["label"])
    return both.assign(label=[shown(label, spelling) for label in both["label"]])


def _scores(context: Context, rows: pd.DataFrame, weights: Path, means: Means) -> np.ndarray:
    placed = rows.assign(input_path=rows["folder"], golden_path=rows["golden_folder"])
    with tempfile.TemporaryDirectory(dir=context.run.dir, prefix=".label_doubts.") as folder:
        table = write_table(placed[list(MANDATORY)], Path(folder) / "rows.csv")
        scores, _ = score_table(
            context.spec,
            weights,
            table,
            context.root,
            device=means.device,
            threads=means.threads,
            levels=context.picture_levels,
            workspace=context.root,
        )
    return scores


def _files(context: Context, rows: pd.DataFrame, light: str) -> tuple[list[str], list[str]]:
    """Return the test and the golden picture of each row, relative to the workspace."""
    beside, columns = context.goldens.beside, ["folder", "golden_folder", "object_name"]
    tests: list[str] = []
    goldens: list[str] = []
    for folder, golden, name in rows_of(rows, *columns):
        tests.append(str(image_file("", folder, name, light, context.ext)))
        goldens.append(str(image_file("", golden, beside(golden, name), light, context.ext)))
    return tests, goldens


def _vectors(context: Context, rows: pd.DataFrame, means: Means) -> np.ndarray:
    """Return unit vectors (n, d times lights) of how each test picture differs from its golden."""
    each = []
    for light in context.lights:
        test, golden = (
            [context.absolute(path) for path in side] for side in _files(context, rows, light)
        )
        what = f"embed {light}".strip()
        with vectors_of(means.encoder, [*test, *golden], means.cache, means.threads, what) as found:
            vectors = found.array()
        each.append(difference_vectors(vectors[: len(test)], vectors[len(test) :]))
    return np.hstack(each) / np.float32(len(each) ** 0.5)


def listed(
    context: Context, rows: pd.DataFrame, scores: np.ndarray, doubts: Doubts
) -> pd.DataFrame:
    """Return the doubtful rows, most doubtful first, with what speaks against each."""
    spelling = first_spellings(rows["label"])
    other = [shown(label, spelling) if label else "" for label in doubts.suggested]
    flipped = ["PASS" if is_ng(label) else "" for label in rows["label"]]
    tests, goldens = _files(context, rows, context.lights[0])
    table = rows.assign(
        # Where the nearest agree with the label it is the score that does not.
        suggested=[a or b for a, b in zip(other, flipped, strict=True)],
        doubt=doubts.doubt.round(6),
        by_score=doubts.by_score.round(6),
        by_neighbours=doubts.by_neighbours.round(6),
        score=[float(str(score)) for score in scores.astype(np.float32)],
        test_file=tests,
        golden_file=goldens,
    )
    table = table[(table["doubt"] >= LISTED_FROM) & ~table["settled"]]
    table = table.sort_values(["doubt", "table", "row"], ascending=[False, True, True])
    table = table.head(LISTED_MOST).reset_index(drop=True)
    parts = zip(table["folder"], table["golden_folder"], table["object_name"], strict=True)
    levels = context.picture_levels
    prints = [picture_digest(context.root, p, context.lights, context.ext, levels) for p in parts]
    table = table.drop(columns=["folder", "golden_folder", "settled"])
    return table.assign(picture=prints)


def _for_others(
    context: Context, folder: Path, rows: list[dict[Any, Any]], labels: list[str]
) -> None:
    """Write the same rows for Label Studio and FiftyOne."""
    write_json_atomic(folder / LABEL_STUDIO, label_studio_tasks(rows))
    write_text_atomic(folder / INTERFACE, label_studio_interface(labels))
    names, pictures = fiftyone_files(rows)
    write_json_atomic(folder / FIFTYONE / "labels.json", names)
    where = {name: context.absolute(path) for name, path in pictures.items()}
    write_json_atomic(folder / FIFTYONE / "data.json", where)
