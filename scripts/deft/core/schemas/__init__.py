"""JSON schemas of files: what other programs read is validated when written, records when read.

Beside the words of JSON Schema they have ``x-key-of``: the text is a key of these objects beside
it, which no word of the standard can say. Other validators pass over it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from deft.core.errors import HardStop

FOLDER = Path(__file__).parent


def _properties(
    validator: Any, properties: dict[str, Any], record: Any, schema: Any
) -> Iterator[ValidationError]:
    yield from Draft202012Validator.VALIDATORS["properties"](validator, properties, record, schema)
    for name, own in properties.items() if isinstance(record, dict) else ():
        for place in own.get("x-key-of", ()) if isinstance(own, dict) else ():
            keys = record.get(place)
            if isinstance(keys, dict) and record.get(name) not in (None, *keys):
                yield ValidationError(f"{name}: {record[name]!r} is no key of {place}")


Validator: type[Draft202012Validator] = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {"properties": _properties}
)


@cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of ``<name>.schema.json``."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Validator(schema)


def validate(name: str, content: Any) -> None:
    """Raise ``jsonschema.ValidationError`` naming the place when ``content`` breaks a schema."""
    validator(name).validate(content)


def checked(name: str, content: Any, file: str | Path, fix: str) -> dict[str, Any]:
    """Return a record of the loop's own that was read; one that breaks its schema is damaged.

    Raises
    ------
    HardStop ``missing_input`` naming the place; ``fix`` says how the file is made again.
    """
    worst = best_match(validator(name).iter_errors(content))
    if worst is not None:
        place = ".".join(str(part) for part in worst.absolute_path)
        raise HardStop(
            "missing_input",
            f"the record is damaged{f' at {place}' if place else ''}: {worst.message[:200]}",
            file=file,
            fix=fix,
        )
    record: dict[str, Any] = content
    return record
