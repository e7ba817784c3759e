"""Values that no setting can have, found before anything copies, prints or compares them.

What YAML and JSON can say is more than a setting can mean: aliases that stand for millions of
values, numbers that are none, text with line breaks. Imported while the Snakefile is parsed.
"""

from __future__ import annotations

import math
from typing import Any

from deft.core.errors import HardStop

MAX_VALUES = 10_000
MAX_DEPTH = 32
MAX_TEXT = 10_000  # characters of one value
MAX_INTEGER = 2**63
SHOWN = 80  # characters of a value in a message
MULTILINE = ("kpi", "quote_files")  # read word by word: a folded block ends with a line break
QUOTE_IT = (
    "YAML reads yes, no, on and off as true or false and digits as a number: write it in quotes"
)


def check_values(given: dict[str, Any]) -> None:
    """Raise ``config_invalid`` for the first value that cannot be a setting's.

    Each list and mapping is looked at once, however often aliases name it.
    """
    sizes: dict[int, int] = {}
    _size(given, (), sizes, set())


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut where it is long; never expands aliases."""
    if isinstance(value, list | dict | tuple | set):
        kind = "a mapping" if isinstance(value, dict) else "a list"
        return f"{kind} of {len(value)} value{'s' if len(value) != 1 else ''}"
    if isinstance(value, bool) or value is None:
        return "null (nothing)" if value is None else str(value).lower()
    text = repr(value[:SHOWN] if isinstance(value, str | bytes) else value)
    too_long = isinstance(value, str | bytes) and len(value) > SHOWN
    return text + (f"… ({len(value)} characters)" if too_long else "")


def _size(value: Any, path: tuple[str, ...], sizes: dict[int, int], open_: set[int]) -> int:
    if not isinstance(value, dict | list):
        _check_leaf(value, path)
        return 1
    known = sizes.get(id(value))
    if known is not None:
        return known
    if id(value) in open_ or len(path) > MAX_DEPTH:
        inside = "an anchor stands inside itself" if id(value) in open_ else "nested too deeply"
        raise _stop(path[:3], f"{inside}", "write the values where they belong")
    open_.add(id(value))
    size = 1
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in pairs:
        if isinstance(value, dict):
            _check_key(name, path)
        size += _size(part, (*path, str(name)), sizes, open_)
        if size > MAX_VALUES:
            raise _stop(
                path[:3] or (str(name),),
                f"more than {MAX_VALUES} values once YAML's aliases (*name) are written out",
                "write the values that are meant",
            )
    open_.discard(id(value))
    sizes[id(value)] = size
    return size


def _check_key(name: Any, path: tuple[str, ...]) -> None:
    if isinstance(name, str):
        _check_text(name, (*path, "a key"))
    else:
        raise _stop(path, f"the key {shown(name)} is no text", QUOTE_IT)


def _check_leaf(value: Any, path: tuple[str, ...]) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _stop(path, f"{value} is no number that a setting can have")
    elif isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise _stop(path, "the number is too large for any setting")
    elif value is not None and not isinstance(value, int | float):
        kind = type(value).__name__
        raise _stop(path, f"{str(value)[:SHOWN]!r} is read by YAML as a {kind}", QUOTE_IT)


def _check_text(text: str, path: tuple[str, ...]) -> None:
    if len(text) > MAX_TEXT:
        raise _stop(path, f"a text of {len(text)} characters; a setting has at most {MAX_TEXT}")
    if text and not text.strip():
        raise _stop(path, f"{text[:SHOWN]!r} is blank", "leave the key out for its default")
    kept = "\n\r\t" if path[:1] and path[0] in MULTILINE else ""
    for at, character in enumerate(text):
        if (ord(character) < 32 or ord(character) == 127) and character not in kept:
            told = f"character {at + 1} of {text[:SHOWN]!r} is a control character"
            raise _stop(path, f"{told} (U+{ord(character):04X})")
        if "\ud800" <= character <= "\udfff":
            raise _stop(path, f"character {at + 1} of {text[:SHOWN]!r} is not UTF-8")


def _stop(path: tuple[str, ...], message: str, fix: str | None = None) -> HardStop:
    where = ".".join(part[:SHOWN] for part in path) or "the configuration"
    top = path[0][:SHOWN] if path else "the keys"
    standard = f"see {top} in config/config.yaml for its meaning and default"
    return HardStop("config_invalid", f"{where}: {message}", fix=fix or standard)
