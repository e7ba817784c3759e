"""A module that is missing although the packages that were asked for are there: they want it."""

from __future__ import annotations

from .outcomes import OpenInput, key

# Modules that a package no longer has -> the versions of it that do.
GONE = {"pkg_resources": ("setuptools", "<82")}


def needs_of(error: ImportError) -> list[OpenInput]:
    """Return what asks for the package that an absent module comes from."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return []
    module = error.name.partition(".")[0]
    guess = "".join(GONE.get(module, (module,)))
    return [OpenInput(f"the package of {module}", key("packages", module), guess)]
