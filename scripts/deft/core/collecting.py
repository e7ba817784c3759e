"""How often Python looks for objects that refer to each other alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

USUAL = gc.get_threshold()
# An import or a table makes objects by the million, and all of them stay: at Python's own numbers a
# tenth of an import and a quarter of a pre-flight of 10^5 rows go into looking through them.
SELDOM = (50_000, 20, 100)


def collect_seldom() -> None:
    """For a process that reads, computes and ends: what it leaves behind is small."""
    gc.set_threshold(*SELDOM)


@contextmanager
def usual_collection() -> Iterator[None]:
    """For days of steps that may each leave tensors in a circle."""
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    try:
        yield
    finally:
        gc.set_threshold(*before)
