"""Reading YAML that others wrote: the size of what it says is known before it is built.

An alias costs one character and may stand for everything before it, so some hundred bytes can
mean millions of values. Imported while the Snakefile is parsed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from deft.errors import HardStop

MAX_VALUES = 100_000  # the largest setting of this project has some dozens
MAX_CHARACTERS = 4_000_000


class TooLarge(yaml.YAMLError):
    """The text means more values than a file of settings can need."""


class TooDeep(TooLarge):
    """Nested beyond the reader's means, or without end: an anchor inside itself."""


def load_yaml(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """Return what ``text`` holds, as plain data.

    Raises
    ------
    TooLarge (a ``yaml.YAMLError``) for more than ``MAX_VALUES`` values once aliases are written
    out, for an anchor inside itself and for nesting without end; else what PyYAML raises.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(f"{len(text)} characters; settings have at most {MAX_CHARACTERS}")
    reader = loader(text)
    try:
        node = reader.get_single_node()
        if node is None:
            return None
        check_values(node)
        return reader.construct_document(node)
    except RecursionError:
        raise TooDeep("lists and keys are nested too deeply") from None
    finally:
        reader.dispose()


def check_values(top: yaml.Node) -> None:
    """Raise :class:`TooLarge` for a node that is too much with all its aliases written out."""
    sizes: dict[int, int] = {}
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
            raise TooDeep(f"an anchor inside itself (line {node.start_mark.line + 1})")
        sizes[id(node)] = 1 + sum(sizes[id(part)] for part in inner)
        if sizes[id(node)] > MAX_VALUES:
            line = node.start_mark.line + 1
            told = f"more than {MAX_VALUES} values once its aliases (*name) are written out"
            raise TooLarge(f"{told} (line {line})")
        todo.pop()


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def read_mapping(path: Path, *, code: str) -> dict[str, Any]:
    """Return the mapping of a YAML file, empty for an empty one; raises ``code`` for others."""
    try:
        found = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HardStop(code, f"cannot be read: {error.strerror}", file=path) from None
    except (ValueError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise HardStop(code, f"not readable as YAML: {told}", file=path) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise HardStop(code, f"holds {type(found).__name__} and no keys", file=path)
    return found
