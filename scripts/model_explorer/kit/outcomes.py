"""The four outcomes, and what is asked for when the fourth is given.

*No-go* needs a proof: a missed target, or a failure for which nothing is left to be told. What
this command does not know is no fault of the model; it is asked for as an :class:`OpenInput`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

GO = "GO"
CONDITIONAL = "GO WITH CONDITIONS"
NO_GO = "NO-GO"
UNDECIDED = "NOT DECIDED"
WORDS = {
    GO: "Go", CONDITIONAL: "Go with conditions", NO_GO: "No-go", UNDECIDED: "Not decided",
}  # fmt: skip
GUESS = "a guess, put yours"


@dataclass(frozen=True)
class OpenInput:
    """One fact that only the user has.

    ``what``: the fact, as a phrase (``the size of input images``). ``key``: its key below
    ``explore:``, with dots (``contract.inputs.images.shape``). ``value``: the best guess.
    ``is_guess``: False where the value is no guess but what must be written.
    ``why``: what is known to speak for or against the guess, one sentence without a full stop.
    """

    what: str
    key: str
    value: Any
    is_guess: bool = True
    why: str = ""

    @property
    def line(self) -> str:
        """The line of YAML below ``explore:`` that settles it; a guess is marked as one."""
        return yaml_line(self.key, self.value) + (f"  # {GUESS}" if self.is_guess else "")

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, with its line."""
        return {**asdict(self), "line": self.line}


def yaml_line(key: str, value: Any) -> str:
    """Return one line of YAML for a key with dots; JSON's spelling is YAML's.

    >>> yaml_line("contract.inputs.x.shape", ["batch", 3])
    'contract: {inputs: {x: {shape: ["batch", 3]}}}'
    """
    parts = split_key(key)
    text = json.dumps(value, ensure_ascii=False)
    for part in reversed(parts[1:]):
        text = f"{{{_name(part)}: {text}}}"
    return f"{_name(parts[0])}: {text}"


def split_key(key: str) -> list[str]:
    """Split a key at its dots; ``"quoted.parts"`` stay whole."""
    out, rest = [], key
    while rest:
        if rest.startswith('"'):
            part, end = json.JSONDecoder().raw_decode(rest)
            rest = rest[end:].removeprefix(".")
        else:
            part, _, rest = rest.partition(".")
        out.append(str(part))
    return out


def key(*parts: str) -> str:
    """Return the key of nested names, those with odd letters quoted.

    >>> key("contract", "inputs", "serving_default_x:0", "shape")
    'contract.inputs."serving_default_x:0".shape'
    """
    return ".".join(_name(p) for p in parts)


def _name(text: str) -> str:
    plain = text.isidentifier() and text.isascii()
    # YAML reads these as something else than a name.
    odd = text.lower() in ("y", "n", "yes", "no", "on", "off", "true", "false", "null")
    return text if plain and not odd else json.dumps(text, ensure_ascii=False)


def yaml_block(needs: Iterable[dict[str, Any]]) -> list[str]:
    """Return one ``explore:`` group with all open inputs, to be pasted into a file."""
    tree: dict[str, Any] = {}
    for need in needs:
        place: Any = tree
        *above, last = split_key(need["key"])
        for part in above:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if isinstance(place, dict):  # else a line above it says it all
            place.setdefault(last, (need["value"], need["is_guess"]))
    return ["explore:", *_lines(tree, "  ")]


def _lines(tree: dict[str, Any], indent: str) -> list[str]:
    out = []
    for name, node in tree.items():
        if isinstance(node, dict):
            out += [f"{indent}{_name(name)}:", *_lines(node, indent + "  ")]
        else:
            mark = f"  # {GUESS}" if node[1] else ""
            out.append(f"{indent}{_name(name)}: {json.dumps(node[0], ensure_ascii=False)}{mark}")
    return out


def one_each(needs: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the open inputs with one entry a line, in their order."""
    return list({n["line"]: n for n in reversed(list(needs))}.values())[::-1]


def asked_for(needs: Iterable[dict[str, Any]]) -> str:
    """Return open inputs in one sentence: what, and the line for each."""
    return "; ".join(f"{n['what']} (explore: {n['line']})" for n in needs)
