"""``torchmetrics`` without what it draws and filters with; Lightning imports it and wants a class.

It loads matplotlib and scipy.signal where they are installed, a second of a tiny training. It does
without them where they are not, so it is told that for the time of its import.
"""

from __future__ import annotations

from collections.abc import Callable

from lightning_utilities.core import imports

ABSENT = ("matplotlib", "scipy")
_available, _check = imports.package_available, imports.RequirementCache._check_available


def _package_available(name: str) -> bool:
    return name not in ABSENT and _available(name)


def _check_available(self: imports.RequirementCache) -> None:
    if self.requirement in ABSENT:
        self.available, self.message = False, f"{self.requirement} is left out"
    _check(self)


def _answer(package: Callable[[str], bool], check: Callable[..., None]) -> None:
    for where, name, answer in (
        (imports, "package_available", package),
        (imports.RequirementCache, "_check_available", check),
    ):
        setattr(where, name, answer)


_answer(_package_available, _check_available)
try:
    import torchmetrics as torchmetrics
finally:
    _answer(_available, _check)
