"""Durations as a person reads them."""

from __future__ import annotations


def short_duration(seconds: float) -> str:
    """Return ``42s``, ``2m`` or ``1h05m``."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes = int(seconds // 60)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
