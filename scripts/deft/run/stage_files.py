"""A stage's files: one dataclass holds what its rule declares, and gives the options that name it.

Each field is a file, with the option's help as metadata: ``Path`` must be given, ``Path | None`` is
absent where the rule has none (an empty text), ``tuple[Path, ...]`` is any number.
"""

from __future__ import annotations

import argparse
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

Files = TypeVar("Files")


def read(what: str, **more: Any) -> Any:
    """Return the field of a file that a stage reads; ``more``: of :func:`dataclasses.field`."""
    return field(metadata={"help": f"reads {what}"}, **more)


def written(what: str, **more: Any) -> Any:
    """Return the field of a file that a stage writes; ``more``: of :func:`dataclasses.field`."""
    return field(metadata={"help": f"writes {what}"}, **more)


def add_files(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add an option for every file of a stage."""
    types = get_type_hints(kind)
    for one in fields(kind):
        option: dict[str, Any] = {"type": Path, "required": one.default is MISSING}
        if types[one.name] == Path | None:
            option["type"] = path_or_none
        elif types[one.name] != Path:
            option |= {"nargs": "*", "default": (), "required": False}
        name = f"--{one.name.replace('_', '-')}"
        parser.add_argument(name, metavar="FILE", help=one.metadata["help"], **option)


def files_of(args: argparse.Namespace, kind: type[Files]) -> Files:
    """Return the files that a command line names."""
    given = {one.name: getattr(args, one.name) for one in fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def path_or_none(text: str) -> Path | None:
    """Return the path that an option names; an empty text is none."""
    return Path(text) if text else None
