"""From plain YAML data to the typed spec: references resolved, types and ranges checked.

Every complaint names the dotted key, as in ``dataset.classify.batch_size``.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from pathlib import Path
from typing import Any

import yaml

from deft.changenet.spec.schema import Rule
from deft.core.errors import HardStop
from deft.core.yaml_files import DEEPEST, YamlProblem, load_yaml, shown

REFERENCE = re.compile(r"\$\{([^{}]*)\}")
MERGE_TAG = "tag:yaml.org,2002:merge"
MOST_REFERENCES = 10_000  # that are followed; a spec has a handful
MOST_VALUES = 100_000  # once references are replaced by what they name
MOST_CHARACTERS = 100_000  # of a text that references make
MOST_FINDINGS = 20  # told at once
PYTHON_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


class SpecProblem(Exception):
    """A broken rule of the spec; becomes a hard stop with the file's name.

    ``key``: the dotted key at fault, where the file itself shows it.
    """

    def __init__(self, message: str, fix: str | None = None, key: str = "") -> None:
        super().__init__(message)
        self.fix, self.key = fix, key

    def as_stop(self, file: str | Path | None) -> HardStop:
        """Return the hard stop ``spec_invalid``."""
        return HardStop("spec_invalid", str(self), file=file, fix=self.fix)


def together(problems: list[SpecProblem]) -> SpecProblem:
    """Return one problem that tells them all, each with its advice; ``problems`` is not empty."""
    if len(problems) == 1:
        return problems[0]
    fixes = [f"({i}) {p.fix}" for i, p in enumerate(problems, start=1) if p.fix]
    told = "; ".join(f"({i}) {p}" for i, p in enumerate(problems, start=1))
    more = " or more" if len(problems) >= MOST_FINDINGS else ""
    return SpecProblem(f"{len(problems)}{more} findings: {told}", "; ".join(fixes) or None)


class _Loader(yaml.SafeLoader):
    """YAML with plain exponents as numbers (``1e-4``) and doubled keys refused, as TAO reads it.

    Merge keys (``<<: *anchor``) work as in PyYAML: a mapping's own keys win.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.checked: set[yaml.Node] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge as PyYAML does, after a look at the mapping's own keys, before others join them."""
        if node not in self.checked:
            self.checked.add(node)
            self._check_own_keys(node)
        super().flatten_mapping(node)

    def _check_own_keys(self, node: yaml.MappingNode) -> None:
        seen = set()
        for name_node, _ in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, yaml.ScalarNode):
                raise SpecProblem(
                    f"a key must be a plain word, found a list or mapping (line {line})"
                )
            merge = name_node.tag == MERGE_TAG
            name = "<<" if merge else self.construct_object(name_node, deep=True)
            if name in seen:
                raise SpecProblem(f"key {shown(name)} stands twice (line {line})")
            if not isinstance(name, str):
                raise SpecProblem(
                    f"a key must be a word, and YAML reads {shown(name_node.value)} as "
                    f"{_kind(name)} (line {line})",
                    "put it in quotes",
                )
            seen.add(name)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def _kind(value: Any) -> str:
    words = {bool: "true or false", type(None): "nothing", int: "a number", float: "a number"}
    return words.get(type(value), f"a {type(value).__name__}")


def parse_yaml(text: str) -> dict[str, Any]:
    """Return the mapping that ``text`` holds, or raise :class:`SpecProblem`."""
    try:
        data = load_yaml(text, _Loader)
    except YamlProblem as problem:
        raise SpecProblem(str(problem), problem.fix) from None
    if data is None:
        raise SpecProblem("the file is empty")
    if not isinstance(data, dict):
        raise SpecProblem(f"a spec is a mapping of keys, found {type(data).__name__}")
    return data


def resolve_references(data: dict[str, Any]) -> dict[str, Any]:
    """Return ``data`` with every ``${a.b}`` replaced by the value at ``a.b``."""

    followed = walked = 0

    def lookup(name: str, trail: tuple[str, ...]) -> Any:
        nonlocal followed
        followed += 1
        if name in trail:
            raise SpecProblem(f"reference ${{{name}}} leads back to itself: {' -> '.join(trail)}")
        if followed > MOST_REFERENCES or len(trail) > DEEPEST:
            raise SpecProblem(
                f"references lead to references, more than {MOST_REFERENCES} of them or more than "
                f"{DEEPEST} one after another",
                "write the value itself",
            )
        value: Any = data
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                raise SpecProblem(
                    f"reference ${{{name}}} names a key that the spec does not have",
                    "write the value, or a dotted name from the top of the file",
                )
            value = value[part]
        return walk(value, (*trail, name))

    def walk(value: Any, trail: tuple[str, ...]) -> Any:
        nonlocal walked
        walked += 1
        if walked > MOST_VALUES:
            raise SpecProblem(
                f"references stand for more than {MOST_VALUES} values", "write the value itself"
            )
        if isinstance(value, dict):
            return {name: walk(inner, trail) for name, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner, trail) for inner in value]
        if not isinstance(value, str):
            return value
        whole = REFERENCE.fullmatch(value.strip())
        if whole:  # a reference alone keeps the type of what it names
            return lookup(whole[1].strip(), trail)
        text = REFERENCE.sub(lambda found: _in_text(lookup(found[1].strip(), trail)), value)
        if len(text) > MOST_CHARACTERS:
            raise SpecProblem(f"references make a text of more than {MOST_CHARACTERS} characters")
        return text

    return walk(data, ())


def _in_text(value: Any) -> str:
    if isinstance(value, dict | list):
        raise SpecProblem(f"a reference inside a text must name one value, found {shown(value)}")
    return str(value)


def build(kind: type, data: Any, where: str, problems: list[SpecProblem]) -> Any:
    """Return an instance of the dataclass ``kind`` from plain data, every key checked.

    What is wrong is added to ``problems``; its key then has the default.
    """
    if data is None:
        return kind()
    if not isinstance(data, dict):
        message = f"{where or 'the spec'} must hold keys, found {shown(data)}"
        problems.append(SpecProblem(message, key=where))
        return kind()
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in dataclasses.fields(kind) if f.init}
    values = {}
    for name, value in data.items():
        dotted = f"{where}.{name}" if where else str(name)
        if len(problems) >= MOST_FINDINGS:
            break
        try:
            if name not in known:
                raise _unknown_key(dotted, str(name), list(known))
            hint, rule = hints[name], known[name].metadata.get("rule", Rule())
            if isinstance(hint, type) and dataclasses.is_dataclass(hint):
                values[name] = build(hint, value, dotted, problems)
            elif value is not None or name == "input_map":
                values[name] = _value(hint, value, rule, dotted)
        except SpecProblem as problem:
            problem.key = dotted
            problems.append(problem)
    return kind(**values)


def _unknown_key(dotted: str, name: str, siblings: list[str]) -> SpecProblem:
    near = difflib.get_close_matches(name, siblings, n=1)
    parent = dotted.rpartition(".")[0]
    fix = (
        f"did you mean {parent + '.' if parent else ''}{near[0]}?"
        if near
        else (f"remove it; known here: {', '.join(siblings)}")
    )
    return SpecProblem(f"unknown key {dotted}", fix)


def _value(hint: Any, value: Any, rule: Rule, dotted: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is list:
        if not isinstance(value, list):
            raise SpecProblem(f"{dotted} must be a list, found {shown(value)}")
        if rule.length is not None and len(value) != rule.length:
            raise SpecProblem(f"{dotted} must have {rule.length} entries, found {len(value)}")
        inner = typing.get_args(hint)[0]
        return [_scalar(inner, v, rule, f"{dotted}[{i}]") for i, v in enumerate(value)]
    if origin is dict:
        return _light_map(value, dotted)
    if hint is dict:
        if not isinstance(value, dict):
            raise SpecProblem(f"{dotted} must hold keys, found {shown(value)}")
        return value
    return _scalar(hint, value, rule, dotted)


def _light_map(value: Any, dotted: str) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SpecProblem(f"{dotted} must map lights to numbers, found {shown(value)}")
    for name, number in value.items():
        if not isinstance(name, str) or not name.strip() or "/" in name or not name.isprintable():
            raise SpecProblem(f"{dotted} has a light with the name {shown(name)}")
        if isinstance(number, bool) or not isinstance(number, int):
            raise SpecProblem(f"{dotted}.{name} must be a whole number, found {shown(number)}")
    return dict(value)


def _scalar(hint: Any, value: Any, rule: Rule, dotted: str) -> Any:
    if isinstance(hint, types.UnionType):
        raise TypeError(f"schema error at {dotted}")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint is str and isinstance(value, int) and not isinstance(value, bool) and rule.choices:
        value = str(value)  # precision: 32
    if not isinstance(value, hint) or (hint is not bool and isinstance(value, bool)):
        raise SpecProblem(f"{dotted} must be {PYTHON_NAMES[hint]}, found {shown(value)}")
    if hint is float and not math.isfinite(value):
        raise SpecProblem(f"{dotted} must be finite, found {shown(value)}")
    if rule.choices and value not in rule.choices:
        raise SpecProblem(
            f"{dotted} must be one of {', '.join(rule.choices)}; found {shown(value)}",
            _nearest(value, rule.choices),
        )
    low = rule.low is not None and value < rule.low
    high = rule.high is not None and value > rule.high
    if low or high:
        bounds = " and ".join(
            text
            for text, bound in (
                (f"at least {rule.low}", rule.low),
                (f"at most {rule.high}", rule.high),
            )
            if bound is not None
        )
        raise SpecProblem(f"{dotted} must be {bounds}, found {shown(value)}")
    return value


def _nearest(value: str, choices: tuple[str, ...]) -> str | None:
    near = difflib.get_close_matches(value, choices, n=1)
    return f"did you mean {near[0]!r}?" if near else None
