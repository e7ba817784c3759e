"""JSON schemas of the files that other programs read; every write is validated."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

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
