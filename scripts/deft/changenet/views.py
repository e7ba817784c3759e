"""Views of a pair: its quarter turns and mirror images, whose mean output is a steadier score.

The classifier reads the flattened map of differences place by place, so one view of a part is one
vote of several, and their mean hangs less on where a part lies. No training is needed.

Each light's picture is turned in its own tile of the joined picture, test and goldens alike. A
quarter turn of tiles that are no square would change the network's input: then only the half turn
and the mirror images are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from deft.changenet.spec import Spec


class View(NamedTuple):
    """One way to look at a picture: transposed first, then its rows, then its columns reversed."""

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False


ONE = (View(),)
TURNS = (View(), View(True, True, False), View(False, True, True), View(True, False, True))
MIRRORED = tuple(View(v.transposed, v.upside_down, not v.mirrored) for v in TURNS)
# Each begins with the views of the one before it: those need no scoring of their own.
VIEWS = {"one": ONE, "turns": TURNS, "dihedral": TURNS + MIRRORED}


def views_of(name: str, spec: Spec) -> tuple[View, ...]:
    """Return the views of a ``score_views`` that keep the shape of the spec's pictures."""
    height, width = spec.picture_size
    return tuple(view for view in VIEWS[name] if height == width or not view.transposed)


def contained(name: str) -> list[str]:
    """Return the names whose views are among those of ``name``, itself last."""
    names = list(VIEWS)
    return names[: names.index(name) + 1]


def tiles_of(spec: Spec) -> tuple[int, int]:
    """Return how many lights stand (below each other, side by side) in the joined picture."""
    across, down = spec.grid or (1, len(spec.lights))
    return down, across


def turned(pictures: torch.Tensor, view: View, tiles: tuple[int, int]) -> torch.Tensor:
    """Return pictures (…, H, W), each of their ``tiles`` (down, across) turned in its place.

    A transposed view wants square tiles.
    """
    if view == View():
        return pictures
    *front, height, width = pictures.shape
    down, across = tiles
    apart = pictures.reshape(*front, down, height // down, across, width // across)
    if view.transposed:
        apart = apart.transpose(-3, -1)
    axes = [axis for axis, on in ((-3, view.upside_down), (-1, view.mirrored)) if on]
    return (torch.flip(apart, axes) if axes else apart).reshape(*front, height, width)


def over_views(
    forward: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    views: Sequence[View],
    tiles: tuple[int, int],
    test: torch.Tensor,
    golden: torch.Tensor,
) -> torch.Tensor:
    """Return a network's mean outputs (B, 2) or (B,) over the views of pairs: for its export.

    The views go through ``forward`` as one batch, so a graph has each of its nodes once. ``test``
    is (B, 3, H, W), ``golden`` the same or (B, N, 3, H, W).
    """
    sides = [torch.cat([turned(side, view, tiles) for view in views]) for side in (test, golden)]
    found = forward(*sides)
    return found.reshape(len(views), -1, *found.shape[1:]).mean(dim=0)
