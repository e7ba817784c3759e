"""Staging the source pool, once per run: real rows and pre-generated pairs under one table."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from deft import layout
from deft.errors import HardStop
from deft.files import replace_atomically, sha256_file, sha256_listing, sha256_text
from deft.fingerprint import decode
from deft.pool_rows import pool_rows
from deft.tables import COLUMNS, clean_label, image_file, image_name, in_contract_order

PICTURES = (".jpg", ".jpeg", ".png")
SOURCE_COLUMNS = (*COLUMNS, "provenance", "light", "filepath")
STEM = re.compile(r"^(?P<board>.+)\+(?P<defect>.+)_(?P<number>\d+)$")
UNKNOWN_DEFECT = "ng"


@dataclass(frozen=True)
class SynthPart:
    """One pre-generated pair: its stem, label, board and the files of each light."""

    stem: str
    label: str
    board: str
    ng: dict[str, Path]  # light -> file; the key "" serves every light
    ok: dict[str, Path]


def list_pictures(folder: Path, code_missing: str, code_empty: str) -> dict[str, Path]:
    """Return stem -> file of a flat folder of pictures."""
    if not folder.is_dir():
        raise HardStop(code_missing, "the folder of pre-generated pictures is missing", file=folder)
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p.is_file())
    if not files:
        raise HardStop(code_empty, "the folder holds no *.jpg or *.png", file=folder)
    stems: dict[str, Path] = {}
    for file in files:
        if file.stem in stems:
            raise HardStop(
                "pregen_unpaired",
                f"two pictures share the stem {file.stem!r}: {stems[file.stem].name}, {file.name}",
                file=folder,
                fix="keep one of them",
            )
        stems[file.stem] = file
    return stems


def paired_pregen(workspace: str | Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return the NG and OK pictures by stem.

    Raises ``pregen_missing``, ``pregen_empty`` or ``pregen_unpaired`` (naming the stems).
    """
    root = Path(workspace)
    ng = list_pictures(root / layout.PREGEN_NG, "pregen_missing", "pregen_empty")
    ok = list_pictures(root / layout.PREGEN_OK, "pregen_missing", "pregen_empty")
    lonely = sorted(set(ng) ^ set(ok))
    if lonely:
        side = layout.PREGEN_NG if lonely[0] in ng else layout.PREGEN_OK
        raise HardStop(
            "pregen_unpaired",
            f"{len(lonely)} picture(s) have no partner of the same stem; first: {lonely[0]!r}",
            file=root / side,
            fix="every stem must be in reconstructed_image/ and in original_image/",
            evidence={"stems": lonely[:20]},
        )
    return ng, ok


def pregen_digest(workspace: str | Path) -> str:
    """Return the digest of the pre-generated pictures and their specification, by content."""
    folder = Path(workspace) / layout.PREGEN_DIR
    names = [
        p.relative_to(folder).as_posix()
        for sub in ("reconstructed_image", "original_image")
        for p in (folder / sub).glob("*")
        if p.is_file()
    ]
    if (Path(workspace) / layout.DEFECT_SPEC).is_file():
        names.append("defect_spec.jsonl")
    return sha256_listing(folder, names)


def read_defect_spec(workspace: str | Path) -> list[dict[str, Any]]:
    """Return the objects of ``defect_spec.jsonl`` (``[]`` when there is none)."""
    path = Path(workspace) / layout.DEFECT_SPEC
    if not path.is_file():
        return []
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise HardStop("csv_invalid", f"not JSON: {error}", file=path, row=number) from None
        if not isinstance(entry, dict) or "defect_type" not in entry:
            raise HardStop("csv_invalid", "no defect_type in the object", file=path, row=number)
        entries.append(entry)
    return entries


def pregen_parts(workspace: str | Path, lights: list[str]) -> list[SynthPart]:
    """Return the pre-generated pairs as parts, one per stem without its light.

    A stem that ends in ``_<light>`` of a known light is that light's picture of the part;
    a stem without one serves every light.
    """
    ng, ok = paired_pregen(workspace)
    stated = {str(e["defect_type"]).strip().lower() for e in read_defect_spec(workspace)}
    grouped: dict[str, dict[str, str]] = {}
    for stem in ng:
        light = next((x for x in lights if x and stem.endswith(f"_{x}")), "")
        part = stem.removesuffix(f"_{light}") if light else stem
        grouped.setdefault(part, {})[light] = stem
    parts = []
    for part, by_light in sorted(grouped.items()):
        absent = [] if "" in by_light else [x for x in lights if x not in by_light]
        if absent:
            raise HardStop(
                "pregen_unpaired",
                f"the pre-generated part {part!r} has no picture of light(s) {absent}",
                file=Path(workspace) / layout.PREGEN_NG,
                fix="generate every light of the spec, or name the files without a light",
            )
        label, board = label_of(part, stated)
        parts.append(
            SynthPart(
                part,
                label,
                board,
                {light: ng[stem] for light, stem in by_light.items()},
                {light: ok[stem] for light, stem in by_light.items()},
            )
        )
    return parts


def label_of(stem: str, stated: set[str]) -> tuple[str, str]:
    """Return (label, board) of a stem ``<board>+<defect>_<n>``.

    Otherwise the longest defect type of ``defect_spec.jsonl`` that the stem contains, else ``ng``.
    """
    match = STEM.match(stem)
    if match:
        return clean_label(match["defect"]), match["board"]
    hits = [defect for defect in sorted(stated) if defect and defect in stem.lower()]
    return (max(hits, key=len) if hits else UNKNOWN_DEFECT), ""


def check_allocation(parts: list[SynthPart], workspace: str | Path) -> None:
    """Raise ``allocation_mismatch`` when ``defect_spec.jsonl`` states other counts."""
    counted: dict[str, int] = {}
    for part in parts:
        counted[part.label] = counted.get(part.label, 0) + 1
    for entry in read_defect_spec(workspace):
        count = next((entry[k] for k in ("count", "num_images", "n") if k in entry), None)
        if count is None:
            continue
        label = clean_label(str(entry["defect_type"]))
        found = counted.get(label, 0)
        if found != int(count):
            raise HardStop(
                "allocation_mismatch",
                f"defect type {label!r}: defect_spec.jsonl says {count} pair(s), {found} found",
                file=Path(workspace) / layout.DEFECT_SPEC,
                fix="correct the count or add the missing pairs",
                evidence={"defect_type": label, "stated": int(count), "found": found},
            )


def stage_parts(
    parts: list[SynthPart],
    images_dir: Path,
    workspace: Path,
    lights: list[str],
    ext: str,
    levels: int | None = None,
) -> pd.DataFrame:
    """Copy each pair once per light and return the SDG rows, relative to the workspace.

    ``levels``: full scale of pictures deeper than 8 bits.
    """
    rows = []
    for part in parts:
        for side, files in (("synth_ng", part.ng), ("synth_ok", part.ok)):
            for light in lights:
                source = files.get(light) or files[""]
                _stage(source, images_dir / side / image_name(part.stem, light, ext), levels)
        folder = images_dir.relative_to(workspace).as_posix()
        rows.append(
            {
                "input_path": f"{folder}/synth_ng",
                "golden_path": f"{folder}/synth_ok",
                "label": part.label,
                "object_name": part.stem,
                "boardname": part.board,
            }
        )
    return in_contract_order(pd.DataFrame(rows)).fillna("")


def _stage(source: Path, target: Path, levels: int | None) -> None:
    same_kind = {source.suffix.lower(), target.suffix.lower()} <= {".jpg", ".jpeg"}
    if same_kind or source.suffix.lower() == target.suffix.lower():
        replace_atomically(target, lambda p: shutil.copyfile(source, p) and None)
        return

    rgb = decode(source, levels)
    options = {"quality": 95, "subsampling": 0} if target.suffix.lower() != ".png" else {}
    replace_atomically(target, lambda path: rgb.save(path, **options))


def per_light(rows: pd.DataFrame, workspace: Path, lights: list[str], ext: str) -> pd.DataFrame:
    """Return one row per part and light with its absolute ``filepath``."""
    frames = []
    for light in lights:
        paths = [
            str(image_file(workspace.resolve(), folder, name, light, ext))
            for folder, name in zip(rows["input_path"], rows["object_name"], strict=True)
        ]
        frames.append(rows.assign(light=light, filepath=paths))
    return pd.concat(frames, ignore_index=True)


def build_source_pool(
    real: pd.DataFrame, sdg: pd.DataFrame, workspace: Path, lights: list[str], ext: str
) -> tuple[pd.DataFrame, int]:
    """Return the source pool (one row per part and light) and the number of doubled pool rows.

    ``real`` is the pool table as read. Labels are cleaned, rows sorted by (light, filepath).
    """
    real = in_contract_order(pool_rows(real, workspace))
    real = real.assign(label=real["label"].map(clean_label), provenance="real")
    doubled = real.duplicated(subset=["input_path", "object_name"])
    sdg = sdg.assign(provenance="sdg")
    both = pd.concat([real[~doubled], sdg], ignore_index=True).fillna("")
    pool = per_light(both, workspace, lights, ext)
    pool = pool.sort_values(["light", "filepath"], kind="stable", ignore_index=True)
    return pool, int(doubled.sum())


def manifest(
    pool: pd.DataFrame,
    sdg: pd.DataFrame,
    doubled: int,
    *,
    workspace: Path,
    lights: list[str],
    encoder: str,
) -> dict[str, Any]:
    """Return ``manifest.json``: counts, digests, where things lie (relative to the workspace).

    ``encoder`` is the name of the one that is to embed the pool; its digest stands beside the
    embeddings.
    """
    provenance = pool["provenance"].value_counts()
    content = pool.drop(columns="filepath").to_csv(index=False, lineterminator="\n")
    return {
        "schema_version": 1,
        "counts": {
            "real_rows": int(provenance.get("real", 0)),
            "sdg_rows": int(provenance.get("sdg", 0)),
            "total_rows": len(pool),
            "duplicate_pool_rows": doubled,
        },
        "encoder": encoder,
        "lights": lights,
        "sdg_per_defect": {k: int(v) for k, v in sdg["label"].value_counts().sort_index().items()},
        "labels": {k: int(v) for k, v in pool["label"].value_counts().sort_index().items()},
        "paths": {
            "pool_table": layout.POOL_TABLE,
            "reconstructed_image": layout.PREGEN_NG,
            "original_image": layout.PREGEN_OK,
            "images": "synth_pool/images",
            "sdg_rows": "synth_pool/sdg_rows.csv",
            "source_pool": "synth_pool/source_pool.parquet",
        },
        "digests": {"pregen": pregen_digest(workspace), "source_pool": sha256_text(content)},
    }


def check_pregen_unchanged(workspace: str | Path, manifest_: dict[str, Any], path: Path) -> None:
    """Raise ``pregen_mutated`` when the folders differ from what the run staged."""
    paired_pregen(workspace)
    if pregen_digest(workspace) != manifest_["digests"]["pregen"]:
        raise HardStop(
            "pregen_mutated",
            "the pre-generated pictures changed while the run is unfinished",
            file=Path(workspace) / layout.PREGEN_DIR,
            fix="restore them, or start another run: snakemake preflight --config run=new",
            evidence={"manifest": str(path), "manifest_sha256": sha256_file(path)},
        )
