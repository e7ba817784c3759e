"""Versions that a source folder documents: setup files, requirement files, its README."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

PIP_LINE = re.compile(r"pip3?\s+install\s+([^\n`#;|&]+)")
PATTERNS = ("requirements*.txt", "requirements/*.txt", "envs/requirements*.txt")


def documented(source: Path) -> dict[str, tuple[str, str]]:
    """Return normalised distribution -> (specifier, file it stands in); the first file that pins
    wins.
    """
    found: dict[str, tuple[str, str]] = {}
    for file, lines in _sources(source):
        for line in lines:
            try:
                wanted = Requirement(line)
            except InvalidRequirement:
                continue
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            name = canonicalize_name(wanted.name)
            known = found.get(name)
            if known is None or (not known[0] and str(wanted.specifier)):
                found[name] = (str(wanted.specifier), file)
    return found


def _sources(source: Path) -> list[tuple[str, list[str]]]:
    out: list[tuple[str, list[str]]] = []
    for pattern in PATTERNS:
        for path in sorted(source.glob(pattern)):
            out.append((path.relative_to(source).as_posix(), _lines(path)))
    out.append(("pyproject.toml", _pyproject(source / "pyproject.toml")))
    out.append(("setup.cfg", _setup_cfg(source / "setup.cfg")))
    out.append(("setup.py", _setup_py(source / "setup.py")))
    for path in sorted(source.glob("README*")):
        out.append((path.name, _readme(path)))
    return out


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _lines(path: Path) -> list[str]:
    lines = [line.split(" #")[0].strip() for line in _text(path).splitlines()]
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def _pyproject(path: Path) -> list[str]:
    try:
        data = tomllib.loads(_text(path))
    except ValueError:
        return []
    project = data.get("project") or {}
    listed = list(project.get("dependencies") or [])
    for extra in (project.get("optional-dependencies") or {}).values():
        listed += extra
    return [str(line) for line in listed]


def _setup_cfg(path: Path) -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(path))
    except configparser.Error:
        return []
    return parser.get("options", "install_requires", fallback="").strip().splitlines()


def _setup_py(path: Path) -> list[str]:
    """Return literal ``install_requires`` of a setup script; the script is not run."""
    try:
        tree = ast.parse(_text(path))
    except (SyntaxError, ValueError):
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "install_requires":
            try:
                return [str(line) for line in ast.literal_eval(node.value)]
            except (ValueError, TypeError):
                return []
    return []


def _readme(path: Path) -> list[str]:
    found: list[str] = []
    for match in PIP_LINE.findall(_text(path)):
        found += [w.strip("\"'") for w in match.split() if not w.startswith("-")]
    return found
