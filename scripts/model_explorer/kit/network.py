"""A network that weights were filled into, whoever built it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Network:
    """A filled module and what its own configuration says of inputs and outputs."""

    module: Any
    inputs: list[dict[str, Any]]
    facts: dict[str, Any]
    unknowns: list[dict[str, str]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
