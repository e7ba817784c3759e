"""Whether a workspace's test pictures were laid on their goldens, and how: its own record.

Written by whoever makes such a workspace; read by what hands the model off, since new boards must
then be laid on their goldens the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import sha256_file, write_json_atomic
from deft.core.layout import REGISTERED, TABLES
from deft.core.reading import check_shape, read_json

OFF = "off"
COUNTS = ("parts", "moved", "doubtful", "unread")


def read_record(workspace: str | Path) -> dict[str, Any]:
    """Return the record, ``{}`` where there is none; raises HardStop ``missing_input`` if damaged.

    Keys: ``register`` (shift, euclidean) and ``counts`` of parts.
    """
    path = Path(workspace) / REGISTERED
    found: dict[str, Any] = read_json(path, {}) if path.is_file() else {}
    shape = {"register": str, "counts": dict.fromkeys(COUNTS, int)}
    problem = check_shape(found, shape) if path.is_file() else ""
    if problem:
        raise HardStop(
            "missing_input",
            f"the record of registered pictures is damaged: {problem}",
            file=path,
            fix="run register_pictures again: what is there is kept",
        )
    return found


def kind_of(workspace: str | Path) -> str:
    """Return ``off``, ``shift`` or ``euclidean``."""
    return str(read_record(workspace).get("register", OFF))


def write_record(workspace: str | Path, kind: str, counts: Mapping[str, int], **more: Any) -> None:
    """Say in a workspace that its pictures are registered; ``counts``: of :data:`COUNTS`."""
    record = {"schema_version": 1, "register": kind, "counts": dict(counts), **more}
    write_json_atomic(Path(workspace) / REGISTERED, record)


def grown_since(workspace: str | Path) -> list[str]:
    """Return the tables that have changed in the source, where it is still there."""
    record = read_record(workspace)
    root, texts = Path(record.get("root", "")), record.get("texts", {})
    names = [name for name in TABLES.values() if name in texts and (root / name).is_file()]
    return [name for name in names if sha256_file(root / name) != texts[name]]


def require(workspace: str | Path, asked: str | bool) -> None:
    """Raise HardStop ``config_invalid`` where the pictures are not what the setting says.

    ``asked``: the setting ``register``; off (in YAML also ``False``) asks for nothing.
    """
    found = kind_of(workspace)
    if asked in (OFF, False, found):
        return
    there = "as they were taken" if found == OFF else f"registered by {found}"
    raise HardStop(
        "config_invalid",
        f"register is {asked}, and the pictures of {str(workspace)!r} are {there}",
        fix="make a registered workspace, then go on with that: "
        + again("register_pictures", register=asked, register_from=str(workspace), workspace="DIR"),
    )
