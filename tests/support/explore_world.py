"""Models of the world: downloads the packages of ``tests/model_explorer/world.yaml`` and explores
every model in them, as a user does.

Each is explored with nothing told but what the list says. What could not be had is counted, never
passed over in silence. ``--table`` writes the table of docs/explore.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve()
PROJECT = HERE.parents[2]
LIST = PROJECT / "tests" / "model_explorer" / "world.yaml"
PAGE = PROJECT / "docs" / "explore.md"
BEGIN, END = "<!-- the world: begin -->", "<!-- the world: end -->"
TIMEOUT_S = 1800
HEAD = ("model", "outcome", "run with", "median, ms", "licence as stated")


def listed() -> dict[str, Any]:
    """Return the list of packages and models."""
    return dict(yaml.safe_load(LIST.read_text(encoding="utf-8")))


def place_of(root: Path, name: str, package: dict[str, Any]) -> Path:
    """Return the folder that a package is unpacked in."""
    return root / f"{name.replace('@', '').replace('/', '-')}-{package['version']}"


def have(root: Path, name: str, package: dict[str, Any]) -> str | None:
    """Download and unpack a package unless it is there; return why it cannot be had, or None."""
    try:
        return _fetched(root, name, package)
    except (OSError, KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        return f"{type(error).__name__}: {error}"


def _fetched(root: Path, name: str, package: dict[str, Any]) -> str | None:
    place = place_of(root, name, package)
    if place.is_dir():
        return None
    fetched = root / "fetched" / place.name
    shutil.rmtree(fetched, ignore_errors=True)
    fetched.mkdir(parents=True)
    wanted = f"{name}=={package['version']}"
    if package["registry"] == "npm":
        command = ["npm", "pack", f"{name}@{package['version']}", "--silent"]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--only-binary", ":all:", "--disable-pip-version-check", wanted]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=fetched, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        return str(error)
    files = [p for p in fetched.iterdir() if p.is_file()]
    if done.returncode or len(files) != 1:
        return (done.stderr.strip().splitlines() or ["nothing came"])[-1]
    staging = fetched / "unpacked"
    if files[0].suffix == ".whl":
        with zipfile.ZipFile(files[0]) as archive:
            archive.extractall(staging)
    else:
        with tarfile.open(files[0]) as archive:
            archive.extractall(staging, filter="data")
    inner = package.get("unpack")  # a model that the package keeps zipped
    if inner:
        with zipfile.ZipFile(staging / inner) as archive:
            archive.extractall((staging / inner).with_suffix(""))
    staging.rename(place)
    shutil.rmtree(fetched)
    return None


def explored(root: Path, model: dict[str, Any], packages: dict[str, Any], number: int) -> Any:
    """Explore one model in a process of its own; return what came of it, for the table."""

    def folder(name: str) -> Path:
        return place_of(root, name, packages[name])

    place = root / "explored" / f"{number:02d}"
    shutil.rmtree(place, ignore_errors=True)
    (root / "workspace").mkdir(exist_ok=True)
    settings = {
        "name": f"{model['package']} {Path(model['file']).name}", "warm_runs": 10,
        "batch_sizes": [1, 2], "environment": "running", "directory": str(place),
        "checkpoint": str(folder(model["package"]) / model["file"]), **model.get("settings", {}),
    }  # fmt: skip
    if model.get("needs"):  # packages that this project does not have: the answer to the question
        settings["install"] = "new-venv"
    if "source" in settings:
        settings["source"] = str(folder(settings["source"]))
    command = [sys.executable, str(PROJECT / "scripts" / "explore.py"), "--workspace",
               str(root / "workspace"), "--device", "cpu", "--config-json",
               json.dumps(settings)]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "scripts")}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=env, timeout=TIMEOUT_S, check=False
        )
        errors = done.stderr
    except subprocess.TimeoutExpired:
        errors = f"HARD STOP: no end after {TIMEOUT_S} s"
    said = next((line for line in errors.splitlines() if line.startswith("HARD STOP")), "")
    out = {"model": model, "said": said, "traceback": "Traceback" in errors}

    def read(name: str) -> Any:
        path = place / "outputs" / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    contract, stats = read("io_contract"), read("stats")
    out["outcome"] = read("verdict").get("verdict") or out["said"].partition(": ")[2]
    out["ran"] = bool(stats)
    out["sizes"] = "; ".join(_input(entry) for entry in contract.get("inputs") or [])
    out["median_ms"] = stats["warm"]["total_ms"]["median"] if stats else None
    beside = (read("parameters").get("model") or {}).get("beside") or {}
    licences = [entry["licence"] for entry in beside.get("licences") or []]
    licences += [v for k, v in (contract.get("facts", {}).get("metadata") or {}).items()
                 if k.lower() in ("license", "licence")]  # fmt: skip
    out["licence"] = ", ".join(dict.fromkeys(" ".join(x.split())[:60] for x in licences))
    return out


def _input(entry: dict[str, Any]) -> str:
    """Return one input as the table shows it; a guessed size has a question mark."""
    sizes = entry.get("sizes") or {}
    shown = ", ".join(
        f"{size}{'?' if sizes.get(str(axis), {}).get('guessed') else ''}"
        for axis, size in enumerate(entry["run_shape"])
    )
    fill = entry.get("fill") or {}
    value = f" = {fill['value']}{'?' if fill.get('guessed') else ''}" if "value" in fill else ""
    return f"{entry['name']} [{shown}]{value}"


def table(found: list[dict[str, Any]]) -> str:
    """Return the table of docs/explore.md."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    for row in found:
        model = row["model"]
        cells = (
            f"{model['package']}: `{Path(model['file']).name}`",
            re.split(r" \(|\. | in the ", row["outcome"])[0][:120], row["sizes"],
            f"{row['median_ms']:.1f}" if row["median_ms"] is not None else "",
            _shortest(row["licence"]) or "none",
        )  # fmt: skip
        lines.append("| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |")
    return "\n".join(lines)


def _shortest(licences: str) -> str:
    """Return stated licences without those that another one says in more words."""
    found = licences.split(", ")
    return ", ".join(x for x in found if not any(x != y and x.lower() in y.lower() for y in found))


def write_table(found: list[dict[str, Any]]) -> None:
    """Put the table into docs/explore.md, between its marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(found)}\n\n{END}{after}", encoding="utf-8")


def _sources(model: dict[str, Any]) -> list[str]:
    """Return the package that a model's source is in, if the list names one."""
    return [s for s in [(model.get("settings") or {}).get("source")] if s]


def as_expected(row: dict[str, Any]) -> bool:
    """Return whether the outcome is the list's, and no traceback was shown."""
    return not row["traceback"] and row["model"]["outcome"] in row["outcome"]


def main(argv: list[str] | None = None) -> int:
    """Download, explore, print a line a model and the count of what could not be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where packages are kept")
    parser.add_argument("--only", default="", help="models whose package or file has this in it")
    parser.add_argument("--table", action="store_true", help="write the table of docs/explore.md")
    args = parser.parse_args(argv)
    world, root = listed(), args.folder.absolute()
    root.mkdir(parents=True, exist_ok=True)
    titles = [f"{m['package']} {m['file']}" for m in world["models"]]
    asked = [n for n, title in enumerate(titles) if args.only in title]
    needed = [{world["models"][n]["package"], *_sources(world["models"][n])} for n in asked]
    tried = {
        name: have(root, name, package)
        for name, package in world["packages"].items()
        if any(name in names for names in needed)
    }
    missing = {name: why for name, why in tried.items() if why}
    kept = root / "found.json"  # so that --only adds to what other calls found
    rows = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    found, passed, failed = [], 0, 0
    for number, names in zip(asked, needed, strict=True):
        if names & missing.keys():
            continue
        title, model = titles[number], world["models"][number]
        row = explored(root, model, world["packages"], number)
        good = as_expected(row)
        passed, failed = passed + good, failed + (not good)
        found.append(row)
        rows[title] = row
        kept.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        more = "" if good else f", expected {model['outcome']}"
        print(f"{'ok  ' if good else 'FAIL'} {title}: {row['outcome'][:300]}{more}", flush=True)
    for name, why in missing.items():
        print(f"not had: {name}: {why}")
    unknown = [title for title in titles if title not in rows]
    if args.table and unknown:
        print(f"the table was left as it is, these were never explored: {', '.join(unknown)}")
        failed += 1
    elif args.table:
        write_table([rows[title] for title in titles])
    ran = sum(row["ran"] for row in found)
    print(
        f"{len(found)} of {len(asked)} models explored, {ran} ran; "
        f"{len(missing)} of {len(tried)} packages could not be had"
    )
    print(f"{passed} passed, {failed} failed")
    return int(bool(failed or not found))


if __name__ == "__main__":
    sys.exit(main())
