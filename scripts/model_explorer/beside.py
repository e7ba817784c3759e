"""What lies beside a model file and speaks of it: configurations, names, the package it came in.

Raw facts only; :mod:`model_explorer.kit.metadata` says what they mean.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path, PurePosixPath
from typing import Any

from deft.core.errors import HardStop
from deft.core.reading import read_bytes, read_json
from deft.core.yaml_files import read_mapping
from model_explorer.kit.metadata import EXTRA, is_read, licence_family
from model_explorer.refs import LICENCES

CONFIGS = (
    "preprocessor_config.json", "sentence_bert_config.json", "tokenizer_config.json",
    "config.json", "config.min.json", "generation_config.json", "metadata.json",
)  # fmt: skip
LABELS = ("labels.txt", "classes.txt", "names.txt", "label.txt", "class_names.txt", "labels.json",
          "classes.json", "id2label.json")  # fmt: skip
LARGEST = 4 << 20  # bytes of a configuration that is read
LARGEST_RECORD = 64 << 20  # of a wheel's list of files
LEVELS = 6  # a model lies at most so deep in its package
LICENCE_LETTERS = 4000  # of its text are read to tell its kind
LEVELS_OF_CONFIGS, MOST_CONFIGS = 2, 20
EXPORT_FOLDERS = ("onnx",)  # of a hub's folder, whose configurations lie above it


def beside(file: Path) -> dict[str, Any]:
    """Return ``{"configs": {name: {...}}, "labels": {...}, "licences": [...], "package": {...}}``.

    Only what could be read; a damaged or foreign neighbour says nothing.
    """
    places = [file.parent]
    if file.parent.name in EXPORT_FOLDERS:
        places.append(file.parent.parent)
    configs: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    for place in places:
        for name in (*CONFIGS, f"{file.stem}.json", f"{file.name}.json"):
            data = _json(place / name)
            if isinstance(data, dict):
                configs.setdefault(name, _read_of(data))
        for name in (*LABELS, f"{file.stem}.labels.txt"):
            found = _labels(place / name)
            if found and not labels:
                labels = {"names": found, "source": name}
    inner = _extra_file(file)
    if inner:
        configs[EXTRA] = inner
    package = package_of(file)
    configs.update(_naming(file))
    licences = []
    if package and package.get("licence"):
        licences.append({"licence": package["licence"], "source": package["source"]})
    for place in dict.fromkeys([*places, *([Path(package["root"])] if package else [])]):
        licences += _licence_file(place, "beside the model" if place in places else "")
    if package:
        del package["root"]
    return {"configs": configs, "labels": labels, "licences": licences, "package": package}


def _licence_file(place: Path, where: str) -> list[dict[str, str]]:
    """Return what the first licence file of a folder is: its kind by its text, else its first
    line.
    """
    for file in (f for pattern in LICENCES for f in sorted(place.glob(pattern)) if f.is_file()):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")[:LICENCE_LETTERS]
        except OSError:
            continue
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = licence_family(text) or (lines[0][:80] if lines else None)
        if said:
            return [{"licence": said, "source": f"{file.name} {where}".strip()}]
    return []


def _extra_file(file: Path) -> dict[str, Any]:
    """Return what an exporter put into a TorchScript archive: Ultralytics's extra/config.txt."""
    try:
        with zipfile.ZipFile(file) as archive:
            name = next((n for n in archive.namelist() if n.endswith(f"/{EXTRA}")), None)
            if name is None or archive.getinfo(name).file_size > LARGEST:
                return {}
            data = json.loads(archive.read(name))
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError,
            NotImplementedError, RuntimeError):  # fmt: skip
        return {}
    return {str(k): v for k, v in data.items()} if isinstance(data, dict) else {}


def _read_of(data: dict[str, Any]) -> dict[str, Any]:
    """Return the entries that are read; a configuration may hold anything, a token too."""
    return {str(k): v for k, v in data.items() if is_read(str(k))}


def _bytes(path: Path, most: int = LARGEST) -> bytes:
    """Return a file's bytes, none of what is no regular file, is larger or cannot be read."""
    try:
        return read_bytes(path) if path.stat().st_size <= most else b""
    except (OSError, HardStop):
        return b""


def _json(path: Path) -> Any:
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return None
        return read_json(path, not_finite=True)
    except (OSError, HardStop):
        return None


def _naming(file: Path) -> dict[str, Any]:
    """Return the parts of YAML configurations in the folders above that name this very file."""
    out: dict[str, Any] = {}
    for place in list(file.absolute().parents)[: LEVELS_OF_CONFIGS + 1]:
        for path in sorted([*place.glob("*.yaml"), *place.glob("*.yml")])[:MOST_CONFIGS]:
            try:
                if file.name.encode() not in _bytes(path):
                    continue
                data = read_mapping(path, code="config_invalid")
            except (OSError, HardStop):
                continue
            for where, part in _parts_naming(data, file.name):
                if where != "explore":  # the user's own question
                    out.setdefault(f"{path.name}{f' ({where})' if where else ''}", _read_of(part))
    return out


def _parts_naming(data: Any, name: str, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(data, dict):
        return
    if any(isinstance(v, str) and PurePosixPath(v).name == name for v in data.values()):
        yield where, data
    for key, value in data.items():
        yield from _parts_naming(value, name, f"{where}.{key}".strip("."))


def _labels(path: Path) -> list[str]:
    if path.suffix == ".json":
        data = _json(path)
        if isinstance(data, dict) and all(str(k).isdecimal() for k in data):
            data = [data[k] for k in sorted(data, key=int)]
        return [str(n) for n in data] if isinstance(data, list) else []
    try:
        lines = _bytes(path).decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    return [line.strip() for line in lines if line.strip()]


def package_of(file: Path) -> dict[str, Any] | None:
    """Return name, version and licence of the package that holds a file: a wheel's ``dist-info``
    whose RECORD lists it, else the nearest npm ``package.json``.
    """
    file = file.absolute()
    for root in list(file.parents)[:LEVELS]:
        inside = file.relative_to(root).as_posix()
        for info in sorted(root.glob("*.dist-info")):
            if _listed(info / "RECORD", inside):
                return _wheel(info)
        data = _json(root / "package.json")
        if isinstance(data, dict) and data.get("name") and data.get("version"):
            said = data.get("license")
            said = said.get("type") if isinstance(said, dict) else said
            return {
                "name": str(data["name"]), "version": str(data["version"]),
                "licence": str(said) if said else None, "root": str(root),
                "source": f"package.json of {data['name']} {data['version']}",
            }  # fmt: skip
    return None


def _listed(record: Path, inside: str) -> bool:
    text = _bytes(record, LARGEST_RECORD).decode("utf-8", errors="replace")
    return any(line.startswith((f"{inside},", f'"{inside}",')) for line in text.splitlines())


def _wheel(info: Path) -> dict[str, Any]:
    text = _bytes(info / "METADATA").decode("utf-8", errors="replace")
    head = HeaderParser().parsestr(text)
    name, version = head.get("Name") or info.stem.split("-")[0], head.get("Version") or "?"
    return {
        "name": name, "version": version, "licence": _stated(head, info), "root": str(info),
        "source": f"METADATA of {name} {version}",
    }  # fmt: skip


def _stated(head: Any, info: Path) -> str | None:
    """Return a wheel's licence: the expression, the field, the classifiers, in this order."""
    for key in ("License-Expression", "License"):
        text = str(head.get(key) or "").strip()
        if text and text.upper() != "UNKNOWN":
            return text.splitlines()[0][:80]
    kinds = [
        c.rpartition("::")[2].strip()
        for c in head.get_all("Classifier") or []
        if c.startswith("License ::")
    ]
    if kinds:
        return ", ".join(kinds)
    return next((f["licence"] for f in _licence_file(info / "licenses", "")), None)
