"""A stage's options from the settings' declarations: type, choices, default and help of each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from deft.settings.known import from_words, kinds_of, only_word, rule_of

PARSERS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "array": json.loads,
    "object": json.loads,
    "string": str,
}


def add_option(
    parser: argparse.ArgumentParser, name: str, flag: str | None = None, **more: Any
) -> None:
    """Add the option of a setting: ``--top-k-per-label`` for ``top_k_per_label``, or ``flag``.

    Its value is read and refused as on Snakemake's command line, and bears the option's name;
    ``more`` goes to ``add_argument`` and wins, e.g. ``required=True``.
    """
    rule = rule_of(name)
    unit = f" ({rule['x-unit']})" if "x-unit" in rule else ""
    given = {
        "type": _reader(rule),
        "default": rule["default"],
        "help": (rule["description"] + unit).replace("%", "%%"),
        "choices": rule.get("enum"),
        "metavar": None if "enum" in rule else kinds_of(rule)[0].upper(),
    }
    parser.add_argument(flag or f"--{name.replace('_', '-')}", **(given | more))


def _reader(rule: dict[str, Any]) -> Callable[[str], Any]:
    kinds = [kind for kind in kinds_of(rule) if kind != "null"]

    def read(text: str) -> Any:
        value = from_words(rule, text)
        if value is None or isinstance(value, bool):
            return value
        if text == only_word(rule):
            return text
        if kinds == ["boolean"]:
            raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
        value = PARSERS[kinds[0]](text) if kinds else text
        for bound, below in (("minimum", True), ("maximum", False)):
            if bound in rule and (value < rule[bound] if below else value > rule[bound]):
                told = f"{text} is {'below' if below else 'above'} {rule[bound]}"
                raise argparse.ArgumentTypeError(told)
        return value

    # What argparse says of a text that the reader cannot parse: invalid integer value: 'x'.
    read.__name__ = kinds[0] if kinds else "choice"
    return read
