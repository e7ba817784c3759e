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

from deft.core.errors import HardStop
from deft.core.reading import kind_of, read_text, shortened

MAX_VALUES = (
    20_000  # the largest file of this project has some hundreds; PyYAML reads 10,000 in 1 s
)
MAX_CHARACTERS = 1_000_000
MAX_INTEGER = 2**63
DEEPEST = 32  # mappings and lists inside one another; a spec has 6
BRACKETS, BRACKETS_OPEN = re.compile(r"[\[{\]}]"), 200  # also those in texts are counted
# What PyYAML raises besides its own class: dates that do not exist, values of a wrong tag, ...
SLIPS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError)
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = SHORT.maxlong = 120
SHORT.maxlevel = 3
WRITE_OUT = "write the values where they belong"
QUOTE_IT = "put quotes around text that looks like a date or a number"


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
    inside itself. Also for values that are no text, number, true, false or nothing (dates, bytes),
    numbers that nothing can hold and text that no file can. What ``loader`` itself raises beside
    PyYAML's classes passes.
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
        _count_nodes(reader)
        try:
            node = reader.get_single_node()
            if node is None:
                return None
            check_values(node)
            data = reader.construct_document(node)
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
            QUOTE_IT,
        ) from None
    _check_plain(data, (), set())
    return data


def _count_nodes(reader: yaml.SafeLoader) -> None:
    """Have a reader stop at too many values while it composes: what follows would take minutes."""
    compose, count = reader.compose_node, 0

    def counted(parent: Any, index: Any) -> yaml.Node | None:
        nonlocal count
        count += 1
        if count > MAX_VALUES:
            raise TooLarge(
                f"more than {MAX_VALUES} values (line {reader.peek_event().start_mark.line + 1})",
                "keep in the file what its reader needs",
            )
        return compose(parent, index)

    reader.compose_node = counted  # type: ignore[method-assign]


def _check_plain(value: Any, path: tuple[str, ...], seen: set[int]) -> None:
    """Raise for a value that settings cannot have, though YAML can say it. No anchor is inside
    itself here; each list and mapping is looked at once, however often aliases name it.
    """
    if isinstance(value, dict | list):
        if id(value) in seen:
            return
        seen.add(id(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, part in pairs:
            if isinstance(value, dict):
                _check_plain(name, path, seen)
            _check_plain(part, (*path, shown(name).strip("'")), seen)
        return
    where = f"{'.'.join(path)}: " if path else ""
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise YamlProblem(f"{where}the number is too large for any setting")
    if isinstance(value, str):
        at = next((i for i, c in enumerate(value) if c == "\0" or "\ud800" <= c <= "\udfff"), None)
        if at is not None:
            told = f"character {at + 1} of {shown(value)} is U+{ord(value[at]):04X}"
            raise YamlProblem(f"{where}{told}, which no text of a setting can hold")
    elif value is not None and not isinstance(value, int | float):
        kind = type(value).__name__
        raise YamlProblem(f"{where}{shown(value)} is read by YAML as a {kind}", QUOTE_IT)


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
