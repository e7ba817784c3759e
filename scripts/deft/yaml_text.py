"""YAML that others wrote, read without being led into endless work or memory.

Anchors let 300 bytes stand for gigabytes: a value that is named in two places, which is named in
two places, and so on. What YAML text holds is counted as it would be written out, and refused
beyond :data:`MOST_VALUES`; so is nesting beyond :data:`DEEPEST` levels.
"""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Any

import yaml

from deft.errors import HardStop
from deft.reading import read_text, shortened

DEEPEST = 32  # mappings and lists inside one another; a spec has 6
MOST_VALUES = 100_000
MOST_CHARACTERS = 1_000_000
BRACKETS, BRACKETS_OPEN = re.compile(r"[\[{\]}]"), 200  # also those in texts are counted
# What PyYAML raises besides its own class: dates that do not exist, values of a wrong tag, ...
SLIPS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 120
SHORT.maxlevel = 3


class YamlProblem(ValueError):
    """What is wrong with the text, in one line; ``fix`` says what to do."""

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


class BoundedLoader(yaml.SafeLoader):
    """Plain data only; merge keys cannot multiply themselves."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge as PyYAML does, and stop where merges of merges grow without sense."""
        super().flatten_mapping(node)
        if len(node.value) > MOST_VALUES:
            raise _too_many()


def load_yaml(text: str, loader: type[yaml.SafeLoader] = BoundedLoader) -> Any:
    """Return what YAML text holds; raises :class:`YamlProblem`."""
    if len(text) > MOST_CHARACTERS:
        raise YamlProblem(f"more than {MOST_CHARACTERS} characters; no settings are that long")
    # PyYAML's time grows with the square of the open brackets, before it tells their depth.
    depth = deepest = 0
    for bracket in BRACKETS.finditer(text):
        depth = max(0, depth + (1 if bracket[0] in "[{" else -1))
        deepest = max(deepest, depth)
    if deepest > BRACKETS_OPEN:
        raise _too_deep()
    try:
        data = yaml.load(text, Loader=loader)  # noqa: S506 - a subclass of SafeLoader
    except YamlProblem:
        raise
    except yaml.YAMLError as error:
        raise YamlProblem(f"not readable as YAML: {shortened(error)}") from None
    except RecursionError:
        raise _too_deep() from None
    except SLIPS as error:
        raise YamlProblem(
            f"a value is not what it looks like: {shortened(error)}",
            "put quotes around text that looks like a date or a number",
        ) from None
    _check_depth(data)
    if _count(data, {}) > MOST_VALUES:
        raise _too_many()
    return data


def read_yaml(path: str | Path, *, code: str) -> Any:
    """Return what a YAML file holds; raises HardStop ``code`` for what cannot be read."""
    try:
        return load_yaml(read_text(path, code=code))
    except YamlProblem as problem:
        raise HardStop(code, str(problem), file=path, fix=problem.fix) from None


def shown(value: Any) -> str:
    """Return a value for a message, never longer than a line or two."""
    return SHORT.repr(value)


def _check_depth(data: Any) -> None:
    """Refuse what is nested beyond sense; an anchor inside itself is nested without end."""
    todo, seen = [(data, 1)], set()
    while todo:
        value, depth = todo.pop()
        if not isinstance(value, dict | list | set) or (id(value), depth) in seen:
            continue
        if depth > DEEPEST:
            raise _too_deep()
        seen.add((id(value), depth))
        todo += [(part, depth + 1) for part in _parts(value)]


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list | set | tuple) else []


def _count(value: Any, known: dict[int, int]) -> int:
    """Return the number of values in a tree of limited depth, each counted as often as named."""
    parts = _parts(value)
    if not parts:
        return 1
    if id(value) not in known:
        known[id(value)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(value)]


def _too_deep() -> YamlProblem:
    return YamlProblem(
        f"more than {DEEPEST} levels of keys and lists inside one another, or an anchor inside "
        "itself",
        "write the values where they belong",
    )


def _too_many() -> YamlProblem:
    return YamlProblem(
        f"anchors and merge keys (&name, *name, <<) stand for more than {MOST_VALUES} values",
        "write the values where they belong",
    )
