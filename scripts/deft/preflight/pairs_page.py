"""Pictures that checks found too much alike, side by side in one page that opens offline."""

from __future__ import annotations

from html import escape

from deft.core.files import write_text_atomic
from deft.preflight.check import Context, Suspect
from deft.report.thumbs import Thumbnails

PAIRS_FILE = "preflight/pairs.html"
SHOWN = 100  # pairs; the first of each check come first
STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif }
body { max-width: 72rem; margin: 1rem auto; padding: 0 1rem }
main { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(21rem, 100%), 1fr)) }
figure { margin: 0; padding: .6rem; border: 1px solid #8886; border-radius: .4rem;
  overflow-wrap: anywhere }
.two { display: flex; gap: .4rem } .two > * { flex: 1; min-width: 0; min-height: 4rem }
img { width: 100%; image-rendering: pixelated }
figcaption { margin-top: .4rem; font-size: .85rem }
"""


def write_pairs(ctx: Context) -> int:
    """Write a run's page and return how many pairs there are; without one there is no page."""
    path = ctx.run_dir / PAIRS_FILE
    found = list(dict.fromkeys(ctx.suspects))
    if not found:
        path.unlink(missing_ok=True)
        return 0
    thumbs = Thumbnails(levels=ctx.config.get("picture_levels"))
    shown = _some_of_each(found)
    figures = "\n".join(_figure(ctx, pair, thumbs) for pair in shown)
    more = f"; shown are {len(shown)}" if len(shown) < len(found) else ""
    title = f"Suspicious pairs of {escape(ctx.run_dir.name)}"
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}'
    )
    page = (
        f"<!doctype html><html lang=en><head>{head}</title><style>{STYLE}</style></head><body>"
        f"<h1>{title}</h1><p>{len(found)} pairs{more}. The same part twice, or two parts that look "
        f"alike by nature?</p><main>\n{figures}\n</main></body></html>\n"
    )
    write_text_atomic(path, page)
    return len(found)


def _some_of_each(found: list[Suspect]) -> list[Suspect]:
    """Return the first pairs of every check in turn, at most ``SHOWN``, ordered by check."""
    places: dict[str, int] = {}
    ranked = []
    for pair in found:
        places[pair.check] = places.get(pair.check, 0) + 1
        ranked.append((places[pair.check], pair))
    kept = [pair for _, pair in sorted(ranked, key=lambda one: one[0])[:SHOWN]]
    return sorted(kept, key=lambda pair: list(places).index(pair.check))


def _figure(ctx: Context, pair: Suspect, thumbs: Thumbnails) -> str:
    cells = []
    for name in (pair.left, pair.right):
        address = thumbs(ctx.workspace / name)
        picture = f'<img src="{address}" alt="">' if address else "<p>not shown</p>"
        cells.append(f"<div>{picture}<br><small>{escape(name)}</small></div>")
    told = f"<b>{escape(pair.check)}</b> {escape(pair.what)}"
    return (
        f'<figure><div class="two">{"".join(cells)}</div><figcaption>{told}</figcaption></figure>'
    )
