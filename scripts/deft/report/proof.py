"""What the page says of noise, proof and the acceptance set: words and keys, no numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deft.kpi.promotion import KEEP, PROMOTE
from deft.record.phase_files import dig
from deft.record.proof import acceptance, best_proven, comparisons
from deft.record.run_files import RunFiles

NOISE_KEY = "noise.factor"


def proof_view(files: RunFiles, results: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the section on noise and proof, None before there are two phases."""
    found = comparisons(files)
    if not found and NOISE_KEY not in results:
        return None
    rows = []
    for phase in files.evaluated:
        told = found.get(phase.name, {})
        said = {of: turned.verdict for of, turned in told.items()}
        rows.append(
            {
                "name": phase.name,
                "previous": said.get("against_previous"),
                "baseline": said.get("against_baseline"),
            }
        )
    lowest = min(files.evaluated, key=lambda p: p.far_pct or 0.0, default=None)
    return {
        "rows": rows,
        "noise": NOISE_KEY in results,
        "lowest": lowest.name if lowest else None,
        "proven": best_proven(files),
        "by": "proven" if files.by_proof else "contract" if files.contract else "lowest",
    }


def acceptance_view(files: RunFiles) -> dict[str, Any] | None:
    """Return the section on the acceptance set, None where none was opened for this hand-off."""
    told = acceptance(files)
    if not told:
        return None
    outcome = str(dig(told, "gate", "outcome"))
    return {
        "outcome": outcome,
        "kind": {PROMOTE: "met", KEEP: "gap"}.get(outcome, "progress"),
        "champion": dig(told, "asked", "handed_off", "champion") or None,
        "reasons": _texts(dig(told, "gate", "reasons")),
        "earlier": _texts(told.get("earlier")),
        "verdicts": {kind: dig(told, "paired", kind, "verdict") for kind in ("good", "defects")},
        "paired": isinstance(told.get("paired"), dict),
        "labels": _labels(told),
    }


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _labels(told: Mapping[str, Any]) -> list[str]:
    found = dig(told, "certify", "labels")
    return sorted(found) if isinstance(found, dict) else []
