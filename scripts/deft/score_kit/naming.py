"""Where the pictures of a row lie; TAO's rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def image_name(object_name: str, light: str, ext: str) -> str:
    """Return the file name of one light's picture; an empty light adds no suffix."""
    return f"{object_name}_{light}{ext}" if light else f"{object_name}{ext}"


def evenly(names: Sequence[T], count: int) -> list[T]:
    """Return ``count`` of the names in order: neighbours in a folder are often alike."""
    return [names[i * len(names) // count] for i in range(count)]
