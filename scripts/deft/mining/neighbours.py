"""The neighbours of the weak samples in the pool, and the selection of rows from them.

Neighbours are those of :mod:`deft.mining.search`; ties go to the smaller ``filepath``, so the
result does not depend on block size, thread count or the order of the pool.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deft.embedding.vectors import VectorTable
from deft.mining.approximate import Search
from deft.tables.labels import shown

PAIR_COLUMNS = {
    "target": "str",
    "source": "str",
    "rank": "int64",
    "similarity": "float64",
    "target_label": "str",
    "source_label": "str",
    "light": "str",
    "provenance": "str",
}
SHARES = {0.1: "a tenth", 0.5: "a half"}  # of the candidates that another cutoff would keep
PART = ("input_path", "golden_path", "label", "object_name")  # what one part is, all lights
SLICE_ROWS = 65_536  # of the pool whose cells are Python strings at a time
DECIMALS = 6  # of a cosine, where it is shown
SPREAD = {
    "min": 0.0,
    "5%": 0.05,
    "10%": 0.1,
    "25%": 0.25,
    "median": 0.5,
    "75%": 0.75,
    "90%": 0.9,
    "95%": 0.95,
    "max": 1.0,
}
QUARTILES = {"min": 0.0, "q1": 0.25, "median": 0.5, "q3": 0.75, "max": 1.0}


def knn_pairs(
    targets: pd.DataFrame,
    target_vectors: np.ndarray,
    sources: pd.DataFrame,
    source_vectors: np.ndarray | VectorTable,
    *,
    k: int,
    search: Search | None = None,
    left_out: np.ndarray | None = None,
) -> pd.DataFrame:
    """Return the ``k`` nearest sources of each target, within the same light.

    Both frames have ``filepath, label, light``; sources also ``provenance``. Vectors are in the
    order of their frame. ``search`` defaults to the exact one; ``left_out`` (sources,) bool marks
    sources that are nobody's neighbours. Columns of the result: target, source, rank (1 =
    nearest), similarity, target_label, source_label, light, provenance; ordered by target, then
    rank.
    """
    targets, sources = targets.reset_index(drop=True), sources.reset_index(drop=True)
    lights = sorted(targets["light"].unique())
    codes = {light: code for code, light in enumerate(lights)}
    rank = path_ranks(sources["filepath"])
    group = np.full(len(sources), -1, np.int64)
    for light, code in codes.items():  # not by `map`, which makes a Python string of each
        group[(sources["light"] == light).to_numpy(bool)] = code
    if left_out is not None:
        group = np.where(left_out, -1, group)
    index, cosine = (search or Search()).top_k(
        target_vectors,
        source_vectors,
        k,
        rank=rank,
        target_group=targets["light"].map(codes).to_numpy(np.int64),
        source_group=group,
    )
    frames = []
    for light in lights:
        t = targets[targets["light"] == light].sort_values("filepath", kind="stable")
        there = index[t.index] >= 0
        flat = index[t.index][there]
        frames.append(
            pd.DataFrame(
                {
                    "target": np.repeat(t["filepath"].to_numpy(), there.sum(axis=1)),
                    # Chosen before they become Python strings: the pool's are many.
                    "source": sources["filepath"].iloc[flat].to_numpy(),
                    "rank": np.nonzero(there)[1] + 1,
                    "similarity": cosine[t.index][there],
                    "target_label": np.repeat(t["label"].to_numpy(), there.sum(axis=1)),
                    "source_label": sources["label"].iloc[flat].to_numpy(),
                    "light": light,
                    "provenance": sources["provenance"].iloc[flat].to_numpy(),
                }
            )
        )
    if not frames:  # no weak sample was routed here
        return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in PAIR_COLUMNS.items()})
    pairs = pd.concat(frames, ignore_index=True)
    return pairs.sort_values(["target", "rank"], kind="stable", ignore_index=True)


def path_ranks(paths: pd.Series) -> np.ndarray:
    """Return the place (n,) int64 of each path in the order of all; of equal ones the first first.

    By Arrow, whose order of text is Python's too: pandas would make a Python string of each.
    """
    ranks = np.empty(len(paths), np.int64)
    ranks[pc.sort_indices(pa.array(paths, pa.large_string())).to_numpy()] = np.arange(len(paths))
    return ranks


def in_order_of(pool: pd.DataFrame, paths: pd.Series) -> pd.DataFrame:
    """Return the rows of the pool in the order of ``paths``; mostly they lie in it already.

    Raises KeyError for a path that the pool has not.
    """
    if pool["filepath"].equals(paths):
        return pool.reset_index(drop=True)
    return pool.set_index("filepath", drop=False).loc[paths].reset_index(drop=True)


@dataclass(frozen=True)
class Selection:
    """What a strategy chose: source rows (one a light), and the counts behind it."""

    rows: pd.DataFrame
    candidate_count: int
    kept_count: int
    warnings: list[str] = field(default_factory=list)

    @property
    def rejected_count(self) -> int:
        """Distinct candidates below the cutoff."""
        return self.candidate_count - self.kept_count


def select_nearest(pairs: pd.DataFrame, sources: pd.DataFrame, min_similarity: float) -> Selection:
    """Return the union over targets of the neighbours at or above ``min_similarity``."""
    kept = set(pairs.loc[pairs["similarity"] >= min_similarity, "source"])
    rows = sources[sources["filepath"].isin(kept)].sort_values("filepath", kind="stable")
    return Selection(rows, pairs["source"].nunique(), len(kept))


def part_keys(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return (input_path, golden_path, label, object_name) of each row: one part, all lights."""
    return list(zip(*(rows[c].tolist() for c in PART), strict=True))


def are_taken(rows: pd.DataFrame, taken: Collection[tuple[str, ...]]) -> np.ndarray:
    """Return which rows (n,) bool are of a part of ``taken``; a slice has keys at a time."""
    out = np.zeros(len(rows), bool)
    for start in range(0, len(rows) if taken else 0, SLICE_ROWS):
        part = slice(start, start + SLICE_ROWS)
        out[part] = [key in taken for key in part_keys(rows.iloc[part])]
    return out


def free_parts(pool: pd.DataFrame, taken: Collection[tuple[str, ...]]) -> int:
    """Return how many parts of the pool are not of ``taken``."""
    each = pool.loc[~pool.duplicated(list(PART)), list(PART)]
    return len(each) - int(are_taken(each, taken).sum())


def label_table(pairs: pd.DataFrame, selection: Selection, min_similarity: float) -> pd.DataFrame:
    """Return one row a label, in order: what its weak samples found and what was chosen.

    ``targets``: weak samples. ``candidates``: distinct neighbours of theirs; ``above_cutoff`` and
    ``same_label_candidates``: pairs of them. ``mined_with_label``: chosen rows of the label.
    ``mined_for_label``: chosen rows that are neighbours of its weak samples. ``similarity_*``:
    quartiles over the pairs, missing for a label without weak samples.
    """
    rows = []
    kept = set(selection.rows["filepath"])
    for label in sorted(set(pairs["target_label"]) | set(selection.rows["label"])):
        mine = pairs[pairs["target_label"] == label]
        same = mine["source_label"] == label
        similarity = mine["similarity"]
        rows.append(
            {
                "label": label,
                "targets": mine["target"].nunique(),
                "candidates": mine["source"].nunique(),
                "above_cutoff": int((similarity >= min_similarity).sum()),
                "same_label_candidates": int(same.sum()),
                "mined_with_label": int((selection.rows["label"] == label).sum()),
                "mined_for_label": mine.loc[mine["source"].isin(kept), "source"].nunique(),
                **{
                    f"similarity_{name}": float(similarity.quantile(q)) if len(mine) else None
                    for name, q in QUARTILES.items()
                },
            }
        )
    return pd.DataFrame(rows)


def coverage_warnings(
    target_labels: set[str], pool_labels: set[str], spellings: Mapping[str, str] | None = None
) -> list[str]:
    """Return a warning for each target label that the pool does not have (both clean)."""
    return [
        f"no pool sample is labelled {shown(label, spellings or {})!r}: its weak samples can only "
        "find other labels"
        for label in sorted(target_labels - pool_labels)
    ]


def yield_warning(new: int, previous: int | None) -> list[str]:
    """Return a warning when a lap found less than half as many new parts as the lap before.

    New ones: neighbours that are in the training table already are found again in every lap.
    """
    if previous and new < previous / 2:
        return [f"new parts fell from {previous} to {new}: the pool may be running out"]
    return []


def similarity_facts(pairs: pd.DataFrame, cutoff: float) -> dict[str, Any]:
    """Return how near the candidates are, what the cutoff keeps, and what others would keep.

    A candidate counts once, by its highest cosine to a weak sample, as the cutoff judges it.
    ``quantiles`` (name -> cosine) and ``cutoffs`` (``share`` wanted, ``min_similarity`` to set,
    ``keeps``) are empty without a candidate. Equal cosines are kept or rejected together, so
    ``keeps`` may be more than the share.
    """
    best = np.sort(pairs.groupby("source")["similarity"].max().to_numpy(np.float64))[::-1]
    facts: dict[str, Any] = {
        "candidates": len(best),
        "kept": int((best >= cutoff).sum()),
        "quantiles": {},
        "cutoffs": [],
    }
    if not len(best):
        return facts
    facts["quantiles"] = {k: round(float(np.quantile(best, q)), 6) for k, q in SPREAD.items()}
    for share in SHARES:
        value = float(best[max(1, round(share * len(best))) - 1])
        # As it is shown and typed; rounded up it would reject the candidate that it is named for.
        shown = round(value, DECIMALS)
        value = shown if shown <= value else round(shown - 10**-DECIMALS, DECIMALS)
        keeps = int((best >= value).sum())
        facts["cutoffs"].append({"share": share, "min_similarity": value, "keeps": keeps})
    return facts


def cutoff_warning(facts: dict[str, Any], cutoff: float) -> list[str]:
    """Return a warning when the cutoff makes no choice: it rejects nothing, or everything.

    ``facts``: of :func:`similarity_facts`.
    """
    count, kept = facts["candidates"], facts["kept"]
    if not count or 0 < kept < count:
        return []
    spread = facts["quantiles"]
    found = f"their cosines lie between {spread['min']:.6f} and {spread['max']:.6f}"
    what = (
        f"min_similarity {cutoff:g} rejects none of the {count} candidates"
        if kept
        else f"min_similarity {cutoff:g} rejects all {count} candidates"
    )
    return [f"{what}: {found}, median {spread['median']:.6f}. {cutoffs_text(facts)}"]


def cutoffs_text(facts: dict[str, Any]) -> str:
    """Return which cutoffs would keep a tenth and a half of the candidates."""
    named = [
        f"{one['min_similarity']:.6f} would keep {SHARES[one['share']]} ({one['keeps']})"
        for one in facts["cutoffs"]
    ]
    return f"A cutoff of {', one of '.join(named)}" if named else ""


def summary_text(facts: dict[str, Any], labels: pd.DataFrame) -> str:
    """Return ``mining_summary.txt``."""
    lines = [
        f"strategy: {facts['strategy']}   encoder: {facts['encoder'].get('name', '-')}",
        f"targets: {facts['targets']}   candidates: {facts['candidate_count']}   "
        f"kept: {facts['kept_count']}   rejected: {facts['rejected_count']}   "
        f"cutoff: {facts['similarity_threshold']}",
        f"new parts: {facts['new_rows']} ({facts['new_real']} real, {facts['new_sdg']} synthetic)",
        *_spread_lines(facts["similarity"]),
        "",
        labels.to_string(index=False, float_format=lambda x: f"{x:.4f}"),
    ]
    lines += [f"warning: {w}" for w in facts["warnings"]]
    return "\n".join(lines) + "\n"


def _spread_lines(found: dict[str, Any]) -> list[str]:
    if not found["candidates"]:
        return []
    spread = "   ".join(f"{name} {value:.6f}" for name, value in found["quantiles"].items())
    return [
        f"highest cosine of each of {found['candidates']} candidates to a weak sample:",
        f"  {spread}",
        f"  {cutoffs_text(found)}",
    ]
