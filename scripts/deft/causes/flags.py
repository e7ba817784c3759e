"""Which causes hold of a part: its facts against those of the training parts.

Scores are not looked at, so whether a cause goes with wrong decisions is a question of its own
(:mod:`.find`). Limits come from the training parts; where they say little, from the least that
matters. A fact that another cause spoils is not judged: what differs from a wrong golden is no
small difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from deft.causes.catalogue import BY_ID
from deft.causes.facts import Parts, Z, against
from deft.tables.spread import spread_rows

FENCE = 3.0  # interquartile ranges beyond the quartile: Tukey's far out
LEAST_SHIFT_PCT, LEAST_TURN_DEG = 2.5, 2.0
WORST_MATCH, WRONG_AREA_PCT = 0.7, 8.0
ODD_Z = 5.0
NEIGHBOURS, AGREE = 10, 0.9  # of the nearest parts, so many of the other side make a label doubtful
REFERENCE_MOST = 5000  # KPI parts that are anybody's neighbours, spread over the table
RIM = PLACE = 1 / 8  # of the side
FEW = 20  # training defects below which their places and sizes set no limit
SMALL_QUANTILE, FAR_QUANTILE = 0.05, 0.99
BLOCK = 512
SIMILARITY_DECIMALS = 6  # so that the last bits, which hang on the machine, decide nothing


@dataclass(frozen=True)
class Flags:
    """Of n KPI parts: ``facts`` as a person reads them, ``flags`` (n, causes) bool, ``limits``."""

    facts: pd.DataFrame
    flags: pd.DataFrame
    limits: dict[str, float]


@dataclass(frozen=True)
class Labelled:
    """Parts and their labels (n,) in clean form; ``ng`` (n,) bool, defective."""

    parts: Parts
    labels: np.ndarray
    ng: np.ndarray


def raise_flags(kpi: Labelled, training: Labelled, known_labels: set[str]) -> Flags:
    """Return which causes hold of each KPI part.

    ``training``: the rows that were measured; ``known_labels``: of all training rows, clean form.
    """
    parts = against(kpi.parts, training.parts)
    numbers = parts.numbers
    near = distances(kpi, training)
    limits = _limits(training)
    differs = numbers["area_pct"].to_numpy() > 0
    place = numbers[["place_x", "place_y"]].to_numpy(np.float64)
    edge = np.where(differs, np.minimum(place, 1 - place).min(axis=1), 0.5)
    to_place = _to_nearest_place(place, training)
    raised = {
        "wrong_golden": (numbers["match"].to_numpy() < limits["match"])
        & (numbers["area_pct"].to_numpy() > limits["area_pct"]),
        "registration": (numbers["shift_pct"].to_numpy() > limits["shift_pct"])
        | (numbers["rotation_deg"].to_numpy() > limits["rotation_deg"]),
        **{name: np.abs(numbers[z].to_numpy()) > ODD_Z for name, z in Z.items()},
        "unseen_type": kpi.ng & ~np.isin(kpi.labels, sorted(known_labels)),
        "label_doubt": near["label_doubt"].to_numpy() >= AGREE,
        "rim": differs & (edge < RIM),
        "unseen_place": kpi.ng & differs & (edge >= RIM) & (to_place > PLACE),
        "unseen_look": near["nearest_training"].to_numpy() > limits["nearest_training"],
        "small_difference": kpi.ng & (numbers["area_pct"].to_numpy() < limits["small_area_pct"]),
    }
    _spoiled(raised)
    flags = pd.DataFrame({name: raised[name] for name in BY_ID})
    facts = numbers.drop(columns=["match_before"]).assign(to_training_defect=to_place, **near)
    return Flags(facts, flags, limits)


def _spoiled(raised: dict[str, np.ndarray]) -> None:
    """Take back what cannot be told of parts of which a graver cause holds."""
    picture = ["wrong_golden", "registration", *Z]
    before: dict[str, list[str]] = {
        "registration": ["wrong_golden"],
        "label_doubt": [*picture, "unseen_type"],
        "rim": ["wrong_golden", "registration"],
        "unseen_place": ["wrong_golden", "registration"],
        "unseen_look": [*picture, "unseen_type"],
        "small_difference": [*picture, "label_doubt"],
    }
    for name, others in before.items():
        raised[name] = raised[name] & ~np.any([raised[other] for other in others], axis=0)


def _fence(values: pd.Series, *, high: bool) -> float:
    low, upper = values.quantile([0.25, 0.75])
    reach = FENCE * (upper - low)
    return float(upper + reach if high else low - reach)


def _limits(training: Labelled) -> dict[str, float]:
    numbers = training.parts.numbers
    area = numbers["area_pct"]
    bad = area[training.ng] if training.ng.sum() >= FEW else area
    own = nearest(training.parts.signatures, training.parts.signatures, 1, same=True)[1]
    far = float(np.quantile(1 - own, FAR_QUANTILE)) if own.size else np.inf
    enough = int(training.ng.sum()) >= FEW
    return {
        "match": min(WORST_MATCH, _fence(numbers["match"], high=False)),
        "area_pct": max(WRONG_AREA_PCT, _fence(bad, high=True)),
        "shift_pct": max(LEAST_SHIFT_PCT, _fence(numbers["shift_pct"], high=True)),
        "rotation_deg": max(LEAST_TURN_DEG, _fence(numbers["rotation_deg"], high=True)),
        "small_area_pct": float(area[training.ng].quantile(SMALL_QUANTILE)) if enough else 0.0,
        "nearest_training": 2 * far,
    }


def _to_nearest_place(place: np.ndarray, training: Labelled) -> np.ndarray:
    """Return how far each place (n, 2) is from the nearest training defect's, share of the side."""
    known = training.parts.numbers.loc[training.ng, ["place_x", "place_y"]].dropna().to_numpy()
    found = np.zeros(len(place))
    if len(known) < FEW:
        return found
    for start in range(0, len(place), BLOCK):
        gap = np.abs(place[start : start + BLOCK, None, :] - known[None, :, :]).max(axis=2)
        found[start : start + BLOCK] = gap.min(axis=1)
    return np.nan_to_num(found)


def distances(kpi: Labelled, training: Labelled) -> pd.DataFrame:
    """Return, per KPI part, how far it is from others by how they differ from their golden.

    ``nearest_training``, ``nearest_own_label``, ``nearest_other_label``: 1 - cosine to the nearest
    training part, to the nearest with the part's own and with another label; NaN where there is
    none. ``label_doubt``: share of its ten nearest, in training and KPI set, of the other side
    (good, defective); 0 where there are fewer.
    """
    mine, theirs = kpi.parts.signatures, training.parts.signatures
    # Spread over the table, so that every board has its share of the neighbours.
    step = spread_rows(len(mine), REFERENCE_MOST)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("all", "own", "other", "doubt")}
    ng = np.concatenate([training.ng, kpi.ng[step]])
    everybody = np.vstack([theirs, mine[step]])
    for start in range(0, len(mine), BLOCK):
        here = slice(start, start + BLOCK)
        cosine = np.round((mine[here] @ everybody.T).astype(np.float64), SIMILARITY_DECIMALS)
        known = cosine[:, : len(theirs)]
        same = kpi.labels[here, None] == training.labels[None, :]
        columns["all"].append(known.max(axis=1, initial=-np.inf))
        columns["own"].append(np.where(same, known, -np.inf).max(axis=1, initial=-np.inf))
        columns["other"].append(np.where(same, -np.inf, known).max(axis=1, initial=-np.inf))
        rows = np.arange(start, min(start + BLOCK, len(mine)))
        cosine[:, len(theirs) :][rows[:, None] == step[None, :]] = -np.inf  # nobody's own neighbour
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
        other = (ng[order] != kpi.ng[here, None]).mean(axis=1)
        enough = len(everybody) > NEIGHBOURS
        columns["doubt"].append(other if enough else np.zeros(len(rows)))

    def joined(name: str) -> np.ndarray:
        return np.concatenate(columns[name]) if columns[name] else np.zeros(0)

    def distance(name: str) -> np.ndarray:
        cosine = joined(name)
        gone: np.ndarray = np.where(np.isfinite(cosine), 1 - cosine, np.nan)
        return gone

    return pd.DataFrame(
        {
            "nearest_training": distance("all"),
            "nearest_own_label": distance("own"),
            "nearest_other_label": distance("other"),
            "label_doubt": joined("doubt"),
        }
    )


def nearest(
    vectors: np.ndarray, others: np.ndarray, k: int, *, same: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k nearest of ``others`` (m, d) to each unit vector (n, d): rows, cosines (n, k).

    ``same``: both are one set, and nobody is its own neighbour. Equally near ones come in order.
    """
    rows, cosines = [], []
    for start in range(0, len(vectors), BLOCK):
        cosine = np.round(
            (vectors[start : start + BLOCK] @ others.T).astype(np.float64), SIMILARITY_DECIMALS
        )
        if same:
            here = np.arange(len(cosine))
            cosine[here, start + here] = -np.inf
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :k]
        rows.append(order)
        cosines.append(np.take_along_axis(cosine, order, axis=1))
    if not rows:
        return np.zeros((0, k), np.int64), np.zeros((0, k))
    return np.vstack(rows), np.vstack(cosines)
