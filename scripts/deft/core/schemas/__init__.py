"""JSON schemas of files: what other programs read is validated when written, records when read."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from deft.core.errors import HardStop

FOLDER = Path(__file__).parent


@cache
def validator(name: str) -> Draft202012Validator:
    """Return the validator of ``<name>.schema.json``."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


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
