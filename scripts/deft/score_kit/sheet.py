"""A page of pictures to look at: parts that were rejected, likely false calls first. One file."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import cv2
import numpy as np

from .files import write_text
from .partial import shortest
from .prepare import Facts, Preparer
from .table import FIRST_LINE, PASS, Parts

SHOWN = 200  # parts on a page
SIDE_PX = 160
STYLE = """
:root{color-scheme:light dark}body{font:14px/1.4 system-ui,sans-serif;margin:1rem;max-width:80rem}
ul{list-style:none;padding:0;display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(22rem,1fr))}
li{border:1px solid #8886;border-radius:6px;padding:.5rem;break-inside:avoid;overflow-wrap:anywhere}
img{width:10rem;max-width:47%;margin-right:.5rem;vertical-align:top}
img{border:1px solid #888;box-sizing:border-box}
@media(max-width:24rem){ul{grid-template-columns:1fr}}
"""


def candidates(
    scores: np.ndarray, threshold: float, labels: list[str] | None
) -> tuple[list[int], str]:
    """Return the rows to look at, first the likeliest, and in words which ones they are.

    With labels: the false calls, worst last, then the misses. Without: what is rejected, nearest
    to the threshold first, where false calls are.
    """
    above = scores > np.float32(threshold)
    order = np.argsort(scores, kind="stable")
    if labels is None or not any(label.strip() for label in labels):
        return [int(i) for i in order if above[i]], "rejected, nearest to the threshold first"
    false = [int(i) for i in order if above[i] and labels[i] == PASS]
    missed = [int(i) for i in order if not above[i] and labels[i].strip() not in ("", PASS)]
    text = f"{len(false)} false calls, nearest to the threshold first, then {len(missed)} misses"
    return false + missed, text


def write_sheet(
    path: Path,
    parts: Parts,
    scores: np.ndarray,
    facts: Facts,
    shown: tuple[list[int], str],
) -> None:
    """Write the page: golden and test side by side, with score, margin and names."""
    rows, text = shown
    preparer = Preparer(facts)
    more = f" The first {SHOWN} are shown." if len(rows) > SHOWN else ""
    items = []
    for row in rows[:SHOWN]:
        score = float(scores[row])
        verdict = "NO_PASS" if np.float32(score) > np.float32(facts.threshold) else "PASS"
        known = ", ".join(
            f"{name} {cell}"
            for name, cell in zip(parts.header, parts.rows[row], strict=True)
            if cell
        )
        golden = parts.golden[row][0]
        seen = (
            ("golden", preparer.pixels(golden)),
            ("test", preparer.test(parts.test[row], golden)),
        )
        pictures = "".join(
            f'<img alt="{side}" title="{side}" src="{_thumbnail(picture)}">'
            for side, picture in seen
        )
        items.append(
            f"<li>{pictures}<br><b>{score:.6g}</b> {verdict}, margin "
            f"{score - facts.threshold:+.3g}<br>row {row + FIRST_LINE}: {html.escape(known)}</li>"
        )
    name = html.escape(parts.source.name)
    body = f"<ul>{''.join(items)}</ul>" if items else "<p>There is none.</p>"
    write_text(
        path,
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>False-call candidates: {name}</title><style>{STYLE}</style>"
        f"<h1>False-call candidates: {name}</h1><p>{len(rows)} of {len(parts)} parts: "
        f"{text}.{more} Left the golden, right the test picture. Threshold "
        f"{shortest(np.float32(facts.threshold))}.</p>{body}</html>\n",
    )


def _thumbnail(picture: np.ndarray) -> str:
    """Return a picture as the network sees it, at most 160 px a side, as data: address."""
    scale = min(1.0, SIDE_PX / max(picture.shape[:2]))
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}" if done else ""
