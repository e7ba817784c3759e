"""A new research project whose runs leave the lab record."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from deft.core.errors import HardStop

HERE = Path(__file__).resolve().parent
TEMPLATE = HERE / "template"
LAB = HERE.parent
SCHEMAS = HERE.parents[1] / "deft" / "core" / "schemas"
RECORD_SCHEMAS = ("manifest", "summary", "analysis")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")
# What a template may not be called: it would act on this repository.
HIDDEN = {"gitignore": ".gitignore"}


def scaffold(out: str | Path, name: str, versions: dict[str, str]) -> list[Path]:
    """Write a project into ``out``; return its files, relative to it, sorted.

    Parameters
    ----------
    versions: ``JSONSCHEMA``, ``MARKDOWN_IT_PY`` and ``PYTEST``, which the project is pinned to.

    Raises
    ------
    HardStop ``config_invalid`` for a name that is none, or when ``out`` holds anything.
    """
    out = Path(out).expanduser().absolute()
    if not NAME.fullmatch(name):
        raise HardStop(
            "config_invalid",
            f"the name {name!r} may hold letters, digits, blanks, '.', '_' and '-' only",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HardStop(
            "config_invalid",
            "the project's place is taken",
            file=out,
            fix="name a folder that is empty or not there yet",
        )
    values = {"NAME": name, **versions}
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        for source, target in _files():
            place = partial / target
            place.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            if source.is_relative_to(TEMPLATE):
                for key, value in values.items():
                    text = text.replace(f"@{key}@", value)
            place.write_text(text, encoding="utf-8")
        for folder in ("artifacts/runs", "data", "models"):
            (partial / folder).mkdir(parents=True)
            (partial / folder / ".gitkeep").touch()
        if out.is_dir():
            out.rmdir()  # empty, as checked
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())


def _files() -> list[tuple[Path, Path]]:
    found = []
    for path in sorted(TEMPLATE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            place = path.relative_to(TEMPLATE)
            found.append((path, place.with_name(HIDDEN.get(place.name, place.name))))
    found += [(path, Path("scripts/lab") / path.name) for path in sorted(LAB.glob("*.py"))]
    found += [
        (SCHEMAS / f"{name}.schema.json", Path("schemas") / f"{name}.schema.json")
        for name in RECORD_SCHEMAS
    ]
    return found
