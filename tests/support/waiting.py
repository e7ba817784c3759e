"""Waiting in a test for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
WAIT_S = 180.0


def until(holds: Callable[[], Found], what: str, seconds: float = WAIT_S) -> Found:
    """Return ``holds()`` as soon as it is true; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.02)
    return found
