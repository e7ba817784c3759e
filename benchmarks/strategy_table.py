"""What the trials of strategies say: arms by a steady figure, the noise floor beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from paired import sign_flip_p

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft.causes.statistics import holm  # noqa: E402
from deft.rca.markdown import table_lines  # noqa: E402

FIGURE = "far_geometric_mean_pct"
CHANCE = "random"
SURE = 0.05
HEAD = ("regime", "lap", "arm", "seeds", "geometric mean of FAR", "middle half of the seeds")
HEAD += (f"times {CHANCE}", "noise alone", "better on", "p (Holm)", "FAR at 99 %")
Row = dict


def noise_sd(rows: Sequence[Row], regime: str, lap: int) -> tuple[float, int]:
    """Return the standard deviation of log FAR between trainings of one table, and their number.

    Pooled over the tables that were trained more than once (``repeat`` above 0); NaN without any.
    """
    tables: dict[tuple, list[float]] = {}
    for r in rows:
        if (r["regime"], r["lap"]) == (regime, lap):
            key = r["shift"], r["seed"], r["arm"]
            tables.setdefault(key, []).append(float(np.log(r[FIGURE])))
    several = [np.array(v) for v in tables.values() if len(v) > 1]
    freedom = sum(len(v) - 1 for v in several)
    if not freedom:
        return float("nan"), 0
    squares = sum(float(((v - v.mean()) ** 2).sum()) for v in several)
    return float(np.sqrt(squares / freedom)), sum(map(len, several))


def by_arm(rows: Sequence[Row], regime: str, lap: int) -> dict[str, dict[tuple, Row]]:
    """Return arm -> (shift, seed) -> its trial, the first training of each table alone."""
    found: dict[str, dict[tuple, Row]] = {}
    for r in rows:
        if (r["regime"], r["lap"], r["repeat"]) == (regime, lap, 0):
            found.setdefault(r["arm"], {})[r["shift"], r["seed"]] = r
    return found


def against_chance(rows: Sequence[Row], regime: str, lap: int) -> list[Row]:
    """Return a dict per arm: geometric mean over its seeds, and its ratio to chance on pairs.

    ``ratio``, ``p``, ``better``: None for chance itself, and for an arm without a common pair.
    ``p``: exact, one-sided, over flips of the pairs' signs of log FAR, corrected for the arms.
    ``noise``: the ratio that trainings alone reach one time in twenty either way; NaN if unknown.
    """
    arms = by_arm(rows, regime, lap)
    sd, _ = noise_sd(rows, regime, lap)
    out: list[Row] = []
    for arm in sorted(arms):
        values = np.log([r[FIGURE] for r in arms[arm].values()])
        quarters = np.exp(np.quantile(values, [0.25, 0.75]))
        at_99 = float(np.mean([r["far"]["99"] for r in arms[arm].values()]))
        found: Row = {"arm": arm, "seeds": len(values), "mean": float(np.exp(values.mean()))}
        found |= {"middle": quarters.tolist(), "at_99": at_99}
        found |= {"ratio": None, "p": None, "better": None, "noise": float("nan")}
        pairs = sorted(set(arms[arm]) & set(arms.get(CHANCE, {})))
        if arm != CHANCE and pairs:
            ours, others = (np.log([arms[a][p][FIGURE] for p in pairs]) for a in (arm, CHANCE))
            found["ratio"] = float(np.exp((ours - others).mean()))
            found["better"] = f"{int((ours < others).sum())} of {len(pairs)}"
            found["p"] = sign_flip_p(ours, others)
            found["noise"] = float(np.exp(1.96 * sd * np.sqrt(2 / len(pairs))))
        out.append(found)
    tested = [found for found in out if found["p"] is not None]
    for found, p in zip(tested, holm([found["p"] for found in tested]), strict=True):
        found["p"] = p
    return sorted(out, key=lambda found: found["mean"])


def sentence(rows: Sequence[Row], regime: str, lap: int) -> str:
    """Return what a regime's trials recommend; chance, where nothing is surely better."""
    found = against_chance(rows, regime, lap)
    if not found:
        return f"{regime}: no trial yet."
    sd, trainings = noise_sd(rows, regime, lap)
    noise = (
        f"two trainings of one table differ {np.exp(np.sqrt(2) * sd):.2f} times ({trainings} of "
        "them)"
        if trainings
        else "the noise floor was not measured"
    )
    sure = [
        f
        for f in found
        if f["ratio"] is not None
        and f["p"] < SURE
        and (np.isnan(f["noise"]) or f["ratio"] < 1 / f["noise"])
    ]
    if sure:
        best = sure[0]
        return (
            f"{regime}, lap {lap}: `{best['arm']}`, {best['ratio']:.2f} times the FAR of a random "
            f"choice (better on {best['better']} seeds, p {best['p']:.3f}); {noise}."
        )
    return f"{regime}, lap {lap}: chance; no strategy is surely better than it; {noise}."


def markdown(rows: Sequence[Row]) -> str:
    """Return the table, and a sentence for each regime's last lap."""
    table: list[list[object]] = []
    regimes = list(dict.fromkeys(r["regime"] for r in rows))
    for regime in regimes:
        for lap in sorted({r["lap"] for r in rows if r["regime"] == regime}):
            for f in against_chance(rows, regime, lap):
                low, high = f["middle"]
                cells = [regime, lap, f["arm"], f["seeds"], f"{f['mean']:.2f} %"]
                cells += [f"{low:.2f} to {high:.2f} %"]
                if f["ratio"] is None:
                    cells += ["", "", "", ""]
                else:
                    noise = "?" if np.isnan(f["noise"]) else f"{1 / f['noise']:.2f}"
                    cells += [f"{f['ratio']:.2f}", noise, f["better"], f"{f['p']:.3f}"]
                table.append([*cells, f"{f['at_99']:.2f} %"])
    lines = [*table_lines(HEAD, table), ""]
    for regime in regimes:
        last = max(r["lap"] for r in rows if r["regime"] == regime)
        lines.append(f"- {sentence(rows, regime, last)}")
    return "\n".join(lines)
