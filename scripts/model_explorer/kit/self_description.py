"""What the model says of itself, for both reports: names, decoding, size, licence."""

from __future__ import annotations

from typing import Any

from .markdown import table
from .metadata import known, licences_disagree
from .sizes import stated as sizes_stated

SHOWN_NAMES, NAME_LETTERS, LETTERS = 8, 60, 600
DECODING = {
    "softmax_top": "softmax over its logits gives the share of each class",
    "probabilities": "its numbers are the shares of the classes",
    "sigmoid": "the sigmoid of each number says whether that class is there",
    "boxes": "boxes: centre, width and height in pixels, then a score for each class; overlapping "
    "boxes are taken out",
    "embedding": "features, to be compared by cosine",
    "changenet": "a score, high = defective, against the threshold",
    "unknown": "unknown",
}


def said(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what metadata and neighbours state; see :func:`.metadata.known`."""
    return known(facts["parameters"], (facts["io_contract"] or {}).get("facts") or {})


def licences(facts: dict[str, Any]) -> list[dict[str, str]]:
    """Return every licence that was seen, with who says so: the file, its package, the source."""
    seen = list((said(facts).get("licence") or {}).get("value") or [])
    for ref in (facts["provenance"] or {}).get("refs") or []:
        if ref.get("licence"):
            seen.append({"licence": ref["licence"], "source": f"the source {ref['name']}"})
    return seen


def disagreement(facts: dict[str, Any]) -> str | None:
    """Return one sentence when licences of two kinds are stated."""
    odd = licences_disagree(said(facts))
    if not odd:
        return None
    shown = ", ".join(f"{entry['licence']} ({entry['source']})" for entry in odd)
    return f"licences of two kinds are stated: {shown}; its owner must say which holds"


def section(facts: dict[str, Any]) -> list[str]:
    """Return the table of a report; a fact that nothing states says so."""
    found, contract = said(facts), facts["io_contract"] or {}
    post = contract.get("postprocess") or {}
    names = post.get("labels") or (found.get("labels") or {}).get("value") or []
    source = post.get("labels_source") or (found.get("labels") or {}).get("source")
    shown = ", ".join(str(n)[:NAME_LETTERS] for n in names[:SHOWN_NAMES])
    more = f" … ({len(names)} in all)" if len(names) > SHOWN_NAMES else ""
    rows: list[tuple[str, Any, Any]] = [
        ("names of the classes", f"{shown}{more}" if names else "not stated", source),
        (
            "decoding",
            DECODING[post.get("kind") or "unknown"],
            post.get("source"),
        ),
    ]
    seen = licences(facts)
    for entry in seen:
        rows.append(("licence", entry["licence"], entry["source"]))
    if not seen:
        rows.append(("licence", "not stated", None))
    for name in ("task", "size_px", "length", "stride", "sampling_rate_hz", "author", "version"):
        if name in found:
            rows.append((name.replace("_", " "), found[name]["value"], found[name]["source"]))
    package = (facts["parameters"]["model"].get("beside") or {}).get("package")
    if package:
        rows.append(("package", f"{package['name']} {package['version']}", package["source"]))
    for entry in contract.get("inputs") or []:
        if sizes_stated(entry):
            rows.append((f"free sizes of {entry['name']}", sizes_stated(entry), None))
    # A file may say anything of itself, at any length.
    rows = [(what, str(value)[:LETTERS], by) for what, value, by in rows]
    return ["## What it says of itself", "", *table(("what", "value", "stated by"), rows)]
