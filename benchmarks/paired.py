"""Do two arms differ? Comparison over the seeds that both have, as lines of a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import permutation_test

HEAD = ("arm", "against", "lap", "pairs", "mean", "of the other", "ratio", "better on", "p")


def sign_flip_p(ours: np.ndarray, others: np.ndarray) -> float:
    """Return the exact one-sided p of "ours are not lower" by flips of the pairs' signs.

    ``ours``, ``others``: (n,) float, paired, n at least 1. Of the 2^n ways to swap the members of
    pairs, the share with a mean difference as low as found; so at best 2^-n.
    """
    if len(ours) == 1:
        return 0.5 if ours[0] < others[0] else 1.0
    found = permutation_test(
        (np.asarray(ours, float), np.asarray(others, float)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
        alternative="less",
    )
    return float(found.pvalue)


def compared(
    results: Mapping[str, Mapping[tuple, float]], arms: Sequence[str], lap: int
) -> list[tuple]:
    """Return one tuple (of ``HEAD``) per two arms, the later in ``arms`` against each before it.

    ``results``: arm -> what names a pair (seed, shift) -> FAR in percent. Arms without a common
    pair are left out.
    """
    out = []
    for i, arm in enumerate(arms):
        for other in arms[:i]:
            pairs = sorted(set(results.get(arm, {})) & set(results.get(other, {})))
            if not pairs:
                continue
            ours = np.array([results[arm][pair] for pair in pairs])
            others = np.array([results[other][pair] for pair in pairs])
            ratio = ours.mean() / others.mean() if others.mean() > 0 else float("nan")
            better = f"{int((ours < others).sum())} of {len(pairs)}"
            means = (f"{ours.mean():.2f} %", f"{others.mean():.2f} %")
            p = f"{sign_flip_p(ours, others):.3f}"
            out.append((arm, other, lap, len(pairs), *means, f"{ratio:.2f}", better, p))
    return out
