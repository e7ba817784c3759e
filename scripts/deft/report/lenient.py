"""Read a file of a run that may be absent or half written: what cannot be read is left out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from deft.errors import HardStop
from deft.reading import read_json
from deft.yaml_text import read_yaml

logger = logging.getLogger(__name__)


def json_or(path: Path, default: Any) -> Any:
    """Return the content of a JSON file, or ``default`` when it is absent or broken.

    Broken is also what has another type than ``default``.
    """
    if not path.exists():
        return default
    try:
        return read_json(path, None if default is None else type(default))
    except (OSError, HardStop) as error:
        logger.warning("left out %s: %s", path, error)
        return default


def table_or_empty(path: Path | None) -> pd.DataFrame:
    """Return a CSV (every cell text) or parquet table, or an empty frame."""
    if path is None or not path.is_file():
        return pd.DataFrame()
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except Exception as error:  # a half-written or foreign file must not stop the report
        logger.warning("left out %s: %s", path, error)
        return pd.DataFrame()


def yaml_or_empty(path: Path) -> dict[str, Any]:
    """Return a YAML mapping, or ``{}``."""
    try:
        content = read_yaml(path, code="missing_input") if path.exists() else {}
    except (OSError, HardStop) as error:
        logger.warning("left out %s: %s", path, error)
        return {}
    return content if isinstance(content, dict) else {}


def dig(data: Any, *keys: str) -> Any:
    """Return ``data[k1][k2]…``, or None as soon as a level is missing."""
    for key in keys:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data
