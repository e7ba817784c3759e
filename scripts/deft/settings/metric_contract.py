"""The metric contract: what the loop is judged by, in the words of NVIDIA's current workflow.

By default that is FAR at the required recall, as the setting ``kpi`` says. The setting
``metric_contract`` names another metric: an operator and a target decide whether a phase passes and
which phase is best, constraints must hold beside it, and a command (or a system that delivers a
file) gives the numbers. Imported while the Snakefile is parsed: standard library only.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from deft.core.errors import HardStop
from deft.settings.kpi_target import KpiTarget, parse_kpi

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
WORDS = {"lt": "<", "le": "<=", "lte": "<=", "gt": ">", "ge": ">=", "gte": ">="}
NAME = re.compile(r"[a-z][a-z0-9_]*")
FAR, RECALL, PERCENT = "far_pct", "recall_pct", "%"
BUILTIN = "far_at_recall"
PLACE = "{iter_label}"  # of an artifact's path: the phase
KEYS = ("name", "display_name", "operator", "target", "unit")
TYPES = {
    "builtin": ("id", "parameters"),
    "command": ("path", "args"),
    "artifact": ("producer", "path_template"),
}
FIX = "docs/metric.md shows a whole metric_contract"


@dataclass(frozen=True)
class Bound:
    """One metric with its bound: ``operator`` is ``<``, ``<=``, ``>`` or ``>=``."""

    name: str
    display_name: str
    operator: str
    target: float
    unit: str

    def met(self, value: float) -> bool:
        """Return whether a value is within the bound."""
        return OPERATORS[self.operator](value, self.target)

    def gap(self, value: float) -> float:
        """Return how far a value is from the target on the wrong side; below zero on the right."""
        return value - self.target if self.operator in ("<", "<=") else self.target - value

    def told(self) -> str:
        """Return the bound as it is shown: ``Escape cost <= 0.02 cost/board``."""
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.display_name} {self.operator} {self.target!r}{unit}"

    def as_dict(self) -> dict[str, Any]:
        """Return NVIDIA's form of it."""
        return {key: getattr(self, key) for key in KEYS}


@dataclass(frozen=True)
class Contract:
    """What decides about stop and best phase: a metric, its constraints, and who measures them."""

    primary: Bound
    constraints: tuple[Bound, ...]
    evaluator: Mapping[str, Any]

    @property
    def measured(self) -> bool:
        """Whether somebody else than the loop's own evaluation measures it."""
        return bool(self.evaluator["type"] != "builtin")

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """The metric and its constraints."""
        return (self.primary, *self.constraints)

    def told(self) -> str:
        """Return the whole contract on one line."""
        held = ", ".join(bound.told() for bound in self.constraints)
        return self.primary.told() + (f" while {held}" if held else "")

    def as_dict(self) -> dict[str, Any]:
        """Return NVIDIA's ``metric_contract``."""
        held = [bound.as_dict() for bound in self.constraints]
        return {**self.primary.as_dict(), "evaluator": dict(self.evaluator), "constraints": held}

    def asked(self) -> dict[str, Any]:
        """Return what a measurement depends on; targets and operators only judge it."""
        wanted = {bound.name: bound.unit for bound in self.constraints}
        primary = {"name": self.primary.name, "unit": self.primary.unit}
        return {**primary, "evaluator": dict(self.evaluator), "constraints": wanted}

    def command(self, inference_csv: Path, output_json: Path) -> list[str]:
        """Return the argument list of a command evaluator; both paths are absolute."""
        given = [self.evaluator["path"], *self.evaluator["args"]]
        return [*given, "--inference-csv", str(inference_csv), "--output-json", str(output_json)]

    def artifact(self, phase: str) -> Path:
        """Return where an artifact evaluator's result of a phase lies."""
        return Path(self.evaluator["path_template"].replace(PLACE, phase))

    def programs(self) -> list[str]:
        """Return the files that a command consists of: itself, and files among its arguments."""
        if self.evaluator["type"] != "command":
            return []
        named = [a for a in self.evaluator["args"] if os.path.isabs(a) and os.path.isfile(a)]
        return [self.evaluator["path"], *named]

    def value_of(self, result: Mapping[str, Any], bound: Bound) -> float:
        """Return a bound's value in a result that :meth:`check` has seen."""
        held = result["value"] if bound is self.primary else result["constraints"][bound.name]
        return float(held)

    def failed(self, result: Mapping[str, Any]) -> list[Bound]:
        """Return the bounds that a result does not meet, the metric first."""
        return [bound for bound in self.bounds if not bound.met(self.value_of(result, bound))]

    def best(self, results: Iterable[Mapping[str, Any]]) -> int:
        """Return the position of the best result: constraints held first, then the metric.

        Where no result holds every constraint the best metric counts. Ties go to the earlier one.
        """
        found = list(results)

        def rank(at: int) -> tuple[bool, float]:
            broken = any(bound is not self.primary for bound in self.failed(found[at]))
            value = self.value_of(found[at], self.primary)
            return broken, value if self.primary.operator in ("<", "<=") else -value

        return min(range(len(found)), key=rank)

    def check(self, result: Any) -> str:
        """Return what is wrong with an evaluator's answer, or ``""``."""
        if not isinstance(result, dict):
            return "it is no JSON object"
        primary = self.primary
        if result.get("name") != primary.name:
            return f"name is {result.get('name')!r}, the contract's is {primary.name!r}"
        if "unit" not in result or result["unit"] != primary.unit:
            return f"unit is {result.get('unit')!r}, the contract's is {primary.unit!r}"
        held = result.get("constraints", {})
        if not isinstance(held, dict):
            return "constraints is no object of names and numbers"
        absent = [bound.name for bound in self.constraints if bound.name not in held]
        if absent:
            return f"constraints lacks {', '.join(absent)}"
        numbers = {"value": result.get("value"), **{f"constraints.{k}": held[k] for k in held}}
        if result.get("threshold") is not None:
            numbers["threshold"] = result["threshold"]
        wrong = {name: value for name, value in numbers.items() if not is_number(value)}
        for name, value in wrong.items():
            return f"{name} is {str(value)[:60]!r} and no finite number"
        if not isinstance(result.get("diagnostics", {}), dict):
            return "diagnostics is no object"
        return ""


def is_number(value: Any) -> bool:
    """Return whether a value of JSON is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def far_contract(target: KpiTarget) -> Contract:
    """Return the contract that a KPI sentence means: FAR, while the recall is reached."""
    parameters = {"recall_target_pct": target.recall_pct}
    return Contract(
        Bound(FAR, "FAR", "<" if target.strict else "<=", target.far_max_pct, PERCENT),
        (Bound(RECALL, "Recall", ">=", target.recall_pct, PERCENT),),
        {"type": "builtin", "id": BUILTIN, "parameters": parameters},
    )


def contract_of(config: Mapping[str, Any]) -> Contract:
    """Return what a configuration is judged by.

    Raises
    ------
    HardStop ``kpi_invalid`` for a contract that cannot be read, and for a built-in one that
    contradicts ``kpi``.
    """
    target = parse_kpi(str(config["kpi"]))
    given = config.get("metric_contract")
    if given is None:
        return far_contract(target)
    contract = parse_contract(given)
    own = far_contract(target)
    if not contract.measured and contract.bounds != own.bounds:
        _refuse(f"it asks for {contract.told()}, and kpi for {own.told()}: set kpi alone")
    return contract


def measured_by(config: Mapping[str, Any]) -> Contract | None:
    """Return the contract whose numbers are asked for, or None where the loop's own FAR counts."""
    contract = contract_of(config)
    return contract if contract.measured else None


def far_answer(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operating point as an answer to a contract on FAR."""
    return {
        "name": FAR,
        "value": point["far_pct"],
        "unit": PERCENT,
        "threshold": point.get("threshold"),
        "constraints": {RECALL: point["recall_pct"]},
    }


def far_result(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return an operating point as the built-in evaluator's answer, with what stands beside it."""
    shown = ("recall_pct", "precision", "f1", "tp", "fn", "fp", "tn")
    bounds = ("recall_lower95_pct", "far_upper95_pct")
    return far_answer(point) | {"diagnostics": {name: point[name] for name in (*shown, *bounds)}}


def recorded_contract(kept: Any) -> Contract | None:
    """Return the contract of :meth:`Contract.as_dict` whose numbers were asked for, else None."""
    try:
        contract = parse_contract(kept)
    except HardStop:
        return None
    return contract if contract.measured else None


def parse_contract(given: Any) -> Contract:
    """Read the setting ``metric_contract``: NVIDIA's dictionary, with nothing left out in silence.

    Raises HardStop ``kpi_invalid`` that names the key.
    """
    if not isinstance(given, Mapping):
        _refuse("it is no group of keys")
    _known(given, (*KEYS, "evaluator", "constraints"), "")
    primary = _bound(given, "")
    held = given.get("constraints", [])
    if not isinstance(held, list):
        _refuse("constraints is no list")
    constraints = []
    for at, one in enumerate(held):
        where = f"constraints[{at}]."
        if not isinstance(one, Mapping):
            _refuse(f"{where[:-1]} is no group of keys")
        _known(one, KEYS, where)
        constraints.append(_bound(one, where))
    names = [bound.name for bound in (primary, *constraints)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        _refuse(f"{', '.join(twice)} stands twice")
    return Contract(primary, tuple(constraints), _evaluator(given.get("evaluator"), primary))


def _bound(given: Mapping[str, Any], where: str) -> Bound:
    name = given.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        _refuse(f"{where}name is {name!r}: small letters, digits and _ are wanted")
    shown, unit = given.get("display_name", name), given.get("unit", "")
    if not isinstance(shown, str) or not shown.strip():
        _refuse(f"{where}display_name is {shown!r} and no text")
    if not isinstance(unit, str):
        _refuse(f"{where}unit is {unit!r} and no text")
    if name.endswith("_pct") and unit != PERCENT:
        _refuse(f"{where}unit is {unit!r}; {name} is a percentage: write unit: '%'")
    sign = str(given.get("operator", ""))
    sign = WORDS.get(sign.strip().lower(), sign.strip())
    if sign not in OPERATORS:
        _refuse(f"{where}operator is {sign!r}, none of {', '.join(OPERATORS)}")
    target = given.get("target")
    if not is_number(target):
        _refuse(f"{where}target is {target!r} and no finite number")
    return Bound(name, shown.strip(), sign, float(target), unit)  # type: ignore[arg-type]


def _evaluator(given: Any, primary: Bound) -> dict[str, Any]:
    kind = given.get("type") if isinstance(given, Mapping) else given
    if not isinstance(given, Mapping) or kind not in list(TYPES):  # kind may be unhashable
        _refuse(f"evaluator.type is {kind!r}, none of {', '.join(TYPES)}")
    _known(given, ("type", *TYPES[kind]), "evaluator.")
    if kind == "builtin":
        if given.get("id") != BUILTIN or primary.name != FAR:
            _refuse(f"the built-in evaluator is {BUILTIN}, and its metric {FAR}")
        return dict(given)
    if kind == "command":
        path, args = _text(given, "path"), given.get("args", [])
        if not isinstance(args, list) or not all(isinstance(a, str) for a in args):
            _refuse("evaluator.args is no list of texts")
        if any("\0" in text for text in (path, *args)):
            _refuse("evaluator.path and args hold a NUL character")
        return {"type": kind, "path": _absolute(path, "evaluator.path"), "args": list(args)}
    template = _absolute(_text(given, "path_template"), "evaluator.path_template")
    if PLACE not in template or re.search(r"[{}]", template.replace(PLACE, "")):
        _refuse(f"evaluator.path_template is {template!r}: {PLACE} and no other place is wanted")
    return {"type": kind, "producer": _text(given, "producer"), "path_template": template}


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value.strip():
        _refuse(f"evaluator.{key} is {value!r} and no text")
    return value


def _absolute(path: str, where: str) -> str:
    found = os.path.expanduser(path)
    if not os.path.isabs(found):
        _refuse(f"{where} is {path!r}: an absolute path is wanted")
    return found


def _known(given: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    unknown = [str(key) for key in given if key not in keys]
    if unknown:
        _refuse(f"unknown key {where}{unknown[0]}; known: {', '.join(keys)}")


def _refuse(what: str) -> NoReturn:
    raise HardStop("kpi_invalid", f"metric_contract: {what}", fix=FIX)
