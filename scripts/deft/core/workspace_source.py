"""Where a made workspace came from: one small file that keeps a second making honest.

A workspace that somebody filled is never written into. One that the same request made is left as it
is; one that the same request began and did not finish is made again over itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from deft.core.errors import HardStop
from deft.core.files import sha256_text, to_json, write_json_atomic
from deft.core.reading import parse_json, read_json, shortened

SOURCE_FILE = "workspace_source.json"
INPUT_FOLDERS = ("specs", "train", "kpi", "augmentation", "images")


def request_digest(kind: str, request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what was asked for; paths must not be in it."""
    return sha256_text(to_json({"kind": kind, "request": dict(request)}))


def already_made(out: str | Path, kind: str, request: Mapping[str, Any]) -> bool:
    """Return whether this very request already made ``out``; nothing is written.

    Raises
    ------
    HardStop ``config_invalid`` when the folder holds a workspace of another origin or request.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise HardStop("config_invalid", "the workspace's place is taken by a file", file=out)
    digest = request_digest(kind, request)
    source = out / SOURCE_FILE
    if source.is_file():
        found = read_json(source, {}, code="config_invalid")
        if found.get("request_sha256") != digest:
            raise HardStop(
                "config_invalid",
                f"the folder holds a workspace of another request ({_difference(found, request)})",
                file=source,
                fix="choose an empty folder, or remove the old workspace yourself",
            )
        if found.get("complete"):
            return True
    else:
        taken = [name for name in INPUT_FOLDERS if _holds_files(out / name)]
        if taken:
            raise HardStop(
                "config_invalid",
                f"the folder already holds {', '.join(taken)}, which this command did not make",
                file=out,
                fix="choose an empty folder; nothing was written",
            )
    return False


def begin(out: str | Path, kind: str, request: Mapping[str, Any]) -> None:
    """Claim ``out`` for a request, before its first file is written."""
    record = _record(kind, request, complete=False, counts={})
    write_json_atomic(Path(out) / SOURCE_FILE, record)


def finish(
    out: str | Path, kind: str, request: Mapping[str, Any], counts: Mapping[str, Any]
) -> None:
    """Record that the workspace is whole; ``counts`` are facts about it."""
    write_json_atomic(Path(out) / SOURCE_FILE, _record(kind, request, complete=True, counts=counts))


def with_values(template: str, values: Mapping[str, str]) -> str:
    """Return YAML text in which each key's one line ``key: value`` has a new value.

    Comments stay, which a load and dump would lose. Raises ``ValueError`` when a key does not stand
    exactly once with a value on its own line.
    """
    for key, value in values.items():

        def replaced(found: re.Match[str], value: str = value) -> str:
            return found[1] + value + found[3]

        pattern = re.compile(rf"^(\s*{re.escape(key)}:[ ]+)([^\s#][^#\n]*?)([ ]*(?:#.*)?)$", re.M)
        template, found = pattern.subn(replaced, template)
        if found != 1:
            raise ValueError(f"the template has {found} lines {key!r} with a value, expected 1")
    return template


def batch_that_fits(template: str, training_rows: int) -> str:
    """Return the template's ``batch_size``; half the rows where they would not fill one batch.

    A spec whose batch is above the training rows makes no training step.
    """
    batch = int(yaml.safe_load(template)["dataset"]["classify"]["batch_size"])
    return str(batch if training_rows >= batch else max(2, training_rows // 2))


def read_group(text: str | None, group: str, known: Sequence[str]) -> dict[str, Any]:
    """Return a settings group given as JSON text or as the name of a JSON file (``{}`` for none).

    Raises HardStop ``config_invalid`` for text that is no JSON object or for an unknown key.
    """
    if not text:
        return {}
    try:
        given = (
            parse_json(text)
            if text.lstrip().startswith("{")
            else read_json(text, code="config_invalid")
        )
    except ValueError as error:
        told = shortened(error)
        raise HardStop("config_invalid", f"the {group} settings are no JSON ({told})") from None
    if not isinstance(given, dict):
        raise HardStop("config_invalid", f"the {group} settings must be an object, found {given!r}")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise HardStop(
            "config_invalid",
            f"unknown setting(s) in {group}: {', '.join(unknown)}",
            fix=f"known: {', '.join(known)}",
        )
    return given


def told(out: str | Path, counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return what a maker prints: one line a table, or that nothing was to do."""
    if not counts:
        return f"{out}: already made by this request, nothing to do"
    lines = []
    for role, labels in counts.items():
        shown = ", ".join(f"{label} {n}" for label, n in labels.items())
        lines.append(f"{role:<11}{sum(labels.values()):>6} rows  {shown}")
    return "\n".join(lines)


def _record(
    kind: str, request: Mapping[str, Any], *, complete: bool, counts: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "kind": kind,
        "request": dict(request),
        "request_sha256": request_digest(kind, request),
        "complete": complete,
        "counts": dict(counts),
    }


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(p.is_file() for p in folder.rglob("*"))


def _difference(found: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    old = found.get("request")
    old = old if isinstance(old, dict) else {}
    changed = sorted(k for k in {*old, *request} if old.get(k) != request.get(k))
    if not changed:
        return f"made as {found.get('kind')!r}"
    return "; ".join(f"{k}: there {old.get(k)!r}, asked {request.get(k)!r}" for k in changed[:3])
