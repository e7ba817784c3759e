"""Whether downloads are forbidden, and seeing to it that no library tries one.

``AIR_GAPPED=1`` is this project's switch, ``HF_HUB_OFFLINE=1`` the hub library's own. Standard
library only: it is imported with the package, before any library that reads the environment.
"""

from __future__ import annotations

import os

OWN, HUB = "AIR_GAPPED", "HF_HUB_OFFLINE"
NO = frozenset({"", "0", "false", "no", "off"})
# What the libraries that we load read at their import; without them they look for newer files of
# a model that is in the cache, or report their use.
IMPLIED = {HUB: "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def offline() -> bool:
    """Return whether downloads are forbidden by the environment."""
    return any(_is_set(name) for name in (OWN, HUB))


def air_gapped() -> bool:
    """Return whether every connection is forbidden, not only those to the model hub."""
    return _is_set(OWN)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in NO


def enforce() -> None:
    """Set the libraries' own switches where ours is set; every job inherits them."""
    if offline():
        os.environ.update(IMPLIED)
