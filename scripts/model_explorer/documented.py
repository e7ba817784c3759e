"""Packages that a source folder documents, with their versions: METADATA of a wheel, requirement
and setup files, its README.
"""

from __future__ import annotations

import ast
import codecs
import configparser
import os
import re
import tomllib
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

PIP_LINE = re.compile(r"pip3?\s+install\s+([^\n`#;|&]+)")
PATTERNS = ("requirements*.txt", "requirements/*.txt", "envs/requirements*.txt")
# pip's old way to name a package of a repository: git+https://host/owner/name@ref#egg=package
OF_REPOSITORY = re.compile(
    r"^(?:-e\s+|--editable\s+)?(?P<url>git\+\S+?/(?P<stem>[\w.-]+?)(?:\.git)?(?:@[\w./-]+)?)"
    r"(?:#(?:\S*&)?egg=(?P<egg>[\w.-]+)\S*|#\S*)?$"
)
CONDA = ("environment*.y*ml", "conda*.y*ml")
METADATA = ("*.dist-info/METADATA", "*.egg-info/PKG-INFO")


def documented(source: Path) -> dict[str, tuple[str, str]]:
    """Return normalised distribution -> (specifier, file it stands in); the first file that pins
    wins. A package of a repository has ``@ ADDRESS`` for a specifier.
    """
    found: dict[str, tuple[str, str]] = {}
    for file, lines in _sources(source):
        for line in lines:
            wanted = _requirement(line)
            if wanted is None:
                continue
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            name = canonicalize_name(wanted.name)
            known = found.get(name)
            version = f" @ {wanted.url}" if wanted.url else str(wanted.specifier)
            if known is None or (not known[0] and version):
                found[name] = (version, file)
    return found


def _requirement(line: str) -> Requirement | None:
    of_repository = OF_REPOSITORY.match(line.strip())
    if of_repository:
        name = of_repository["egg"] or of_repository["stem"]
        line = f"{name} @ {of_repository['url']}"
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _sources(source: Path) -> list[tuple[str, list[str]]]:
    out: list[tuple[str, list[str]]] = []
    # An unpacked wheel has its METADATA beside the package; other packages' may lie there too.
    for folder in (source, source.parent):
        for path in sorted(p for pattern in METADATA for p in folder.glob(pattern)):
            if folder == source or _is_of(path.parent, source.name):
                out.append((f"{path.parent.name}/{path.name}", _metadata(path)))
    for pattern in PATTERNS:
        for path in sorted(source.glob(pattern)):
            out.append((path.relative_to(source).as_posix(), _lines(path)))
    for path in sorted(p for pattern in CONDA for p in source.glob(pattern)):
        out.append((path.name, _conda(path)))
    out.append(("pyproject.toml", _pyproject(source / "pyproject.toml")))
    out.append(("setup.cfg", _setup_cfg(source / "setup.cfg")))
    out.append(("setup.py", _setup_py(source / "setup.py")))
    for path in sorted(source.glob("README*")):
        out.append((path.name, _readme(path)))
    return out


def _text(path: Path) -> str:
    try:
        data = path.read_bytes() if path.is_file() else b""
    except (OSError, ValueError):  # a name with a null byte is no file
        return ""
    # PowerShell writes what `pip freeze` says as UTF-16.
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig", "replace")


def _is_of(info: Path, package: str) -> bool:
    """Return whether a package's ``*-info`` folder speaks of a folder beside it."""
    listed = _text(info / "top_level.txt").split()
    rows = _text(info / "RECORD").splitlines()
    return package in listed or any(row.startswith(f"{package}/") for row in rows)


def _metadata(path: Path) -> list[str]:
    found = HeaderParser().parsestr(_text(path)).get_all("Requires-Dist") or []
    return [str(line) for line in found]


def _lines(path: Path, seen: set[Path] | None = None) -> list[str]:
    """Return the lines of a requirement file and of those that it includes, each file once."""
    seen = seen if seen is not None else set()
    if path in seen:
        return []
    seen.add(path)
    out = []
    for line in _text(path).splitlines():
        words = re.sub(r"(^|\s)#(?!egg=).*", "", line).strip()
        include = re.match(r"(?:-r|--requirement)[ =]*(\S+)", words)
        if include:
            out += _lines(Path(os.path.normpath(path.parent / include[1])), seen)
        elif words and (not words.startswith("-") or OF_REPOSITORY.match(words)):
            out.append(re.sub(r"\s+--(hash|global-option|config-settings)\b.*", "", words))
    return out


def _pyproject(path: Path) -> list[str]:
    try:
        data = tomllib.loads(_text(path))
        project = data.get("project") or {}
        listed = list(project.get("dependencies") or [])
        for extra in (project.get("optional-dependencies") or {}).values():
            listed += extra
        return [str(line) for line in listed] + _poetry(data)
    except (ValueError, TypeError, AttributeError, RecursionError):  # no TOML, or no such table
        return []


def _conda(path: Path) -> list[str]:
    """Return what a conda environment takes from pip; conda's own names are others."""
    try:
        data = yaml.safe_load(_text(path))
        listed = [d["pip"] for d in data["dependencies"] if isinstance(d, dict) and "pip" in d]
        return [str(line) for lines in listed for line in lines]
    except (yaml.YAMLError, LookupError, TypeError, RecursionError):
        return []


def _poetry(data: dict[str, Any]) -> list[str]:
    """Return poetry's own table as requirements; its ``^`` and ``~`` become ranges."""
    table = ((data.get("tool") or {}).get("poetry") or {}).get("dependencies") or {}
    out = []
    for name, value in table.items():
        version = value.get("version", "") if isinstance(value, dict) else str(value)
        parts = re.match(r"^([~^]?)(\d+)(?:\.(\d+))?([\w.]*)$", version)
        if name == "python":
            continue
        if parts and parts[1]:
            major, minor = int(parts[2]), int(parts[3] or 0)
            is_major = parts[1] == "^" and major > 0 or parts[3] is None
            end = f"{major + 1}" if is_major else f"{major}.{minor + 1}"
            version = f">={version[1:]},<{end}"
        elif parts:
            version = f"=={version}"
        out.append(f"{name}{'' if version == '*' else version}")
    return out


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
    except (SyntaxError, ValueError, RecursionError, MemoryError):
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
