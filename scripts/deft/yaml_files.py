"""YAML that others wrote, read without being led into endless work or memory.

An alias costs one character and may stand for everything before it, so some hundred bytes can mean
millions of values: they are counted as they would be written out, before they are built. Imported
while the Snakefile is parsed.
"""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Any

import yaml

from deft.errors import HardStop
from deft.reading import kind_of, read_text, shortened

MAX_VALUES = 100_000  # the largest setting of this project has some dozens
MAX_CHARACTERS = 4_000_000
DEEPEST = 32  # mappings and lists inside one another; a spec has 6
BRACKETS, BRACKETS_OPEN = re.compile(r"[\[{\]}]"), 200  # also those in texts are counted
# What PyYAML raises besides its own class: dates that do not exist, values of a wrong tag, ...
SLIPS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 120
SHORT.maxlevel = 3
WRITE_OUT = "write the values where they belong"


class YamlProblem(yaml.YAMLError, ValueError):
    """What is wrong with the text, in one line; ``fix`` says what to do."""

    def __init__(self, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.fix = fix


class TooLarge(YamlProblem):
    """The text means more values than a file of settings can need."""


class TooDeep(TooLarge):
    """Nested beyond the reader's means, or without end: an anchor inside itself."""


def load_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Return what ``text`` holds, as plain data.

    Raises
    ------
    YamlProblem, whatever is wrong: :class:`TooLarge` for more than ``MAX_VALUES`` values once
    aliases are written out, :class:`TooDeep` for nesting beyond ``DEEPEST`` and for an anchor
    inside itself. What ``loader`` itself raises beside PyYAML's classes passes.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(f"{len(text)} characters; settings have at most {MAX_CHARACTERS}")
    # PyYAML's time grows with the square of the open brackets, before it tells their depth.
    depth = deepest = 0
    for bracket in BRACKETS.finditer(text):
        depth = max(0, depth + (1 if bracket[0] in "[{" else -1))
        deepest = max(deepest, depth)
    if deepest > BRACKETS_OPEN:
        raise _too_deep()
    try:
        reader = loader(text)
        try:
            node = reader.get_single_node()
            if node is None:
                return None
            check_values(node)
            return reader.construct_document(node)
        finally:
            reader.dispose()
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


def check_values(top: yaml.Node) -> None:
    """Raise for a node that is too much, or too deep, with all its aliases written out."""
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    begun: set[int] = set()
    todo = [top]
    while todo:
        node = todo[-1]
        inner = _inner(node)
        unknown = [part for part in inner if id(part) not in sizes]
        if unknown and id(node) not in begun:
            begun.add(id(node))
            todo += unknown
            continue
        if unknown:  # seen again before its parts were measured: one of them leads back to it
            raise TooDeep(f"an anchor inside itself (line {_line(node)})", WRITE_OUT)
        sizes[id(node)] = 1 + sum(sizes[id(part)] for part in inner)
        depths[id(node)] = 1 + max((depths[id(part)] for part in inner), default=0)
        if sizes[id(node)] > MAX_VALUES:
            told = f"more than {MAX_VALUES} values once its aliases (*name) are written out"
            raise TooLarge(f"{told} (line {_line(node)})", WRITE_OUT)
        if depths[id(node)] > DEEPEST + 1:  # the innermost is a value
            raise _too_deep()
        todo.pop()


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _too_deep() -> TooDeep:
    return TooDeep(f"more than {DEEPEST} levels of keys and lists inside one another", WRITE_OUT)


def read_yaml(path: str | Path, *, code: str) -> Any:
    """Return what a YAML file holds; raises HardStop ``code`` for what cannot be read."""
    try:
        return load_yaml(read_text(path, code=code))
    except YamlProblem as problem:
        raise HardStop(code, str(problem), file=path, fix=problem.fix) from None


def read_mapping(path: str | Path, *, code: str) -> dict[str, Any]:
    """Return the mapping of a YAML file, empty for an empty one; raises ``code`` for others."""
    found = read_yaml(path, code=code)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise HardStop(code, f"holds {kind_of(found)} and no keys", file=path)
    return found


def shown(value: Any) -> str:
    """Return a value for a message, never longer than a line or two."""
    return SHORT.repr(value)
