"""Staging the source pool, once per run: real rows and pre-generated pairs under one table."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from deft.core import layout
from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import replace_atomically, sha256_file, sha256_texts
from deft.pool.pregen.listing import paired_pregen, pregen_digest
from deft.pool.pregen.parts import SynthPart
from deft.tables.changenet_table import (
    COLUMNS,
    clean_label,
    csv_text,
    image_name,
    in_contract_order,
    rows_of,
)
from deft.tables.coordinates import pool_rows
from deft.tables.fingerprint import decode

SOURCE_COLUMNS = (*COLUMNS, "provenance", "light", "filepath")


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
        replace_atomically(target, lambda p: shutil.copyfile(source, p))
        return

    rgb = decode(source, levels)
    as_jpeg: dict[str, Any] = {"quality": 95, "subsampling": 0}
    options = as_jpeg if target.suffix.lower() != ".png" else {}
    try:
        replace_atomically(target, lambda path: rgb.save(path, **options))
    except OSError as error:
        if error.errno is not None:
            raise
        raise HardStop(  # longer than a JPEG's sides may be, say
            "image_invalid",
            f"a picture of {rgb.width} x {rgb.height} px cannot be written as {target.suffix} "
            f"({error})",
            file=source,
            fix="give it in the spec's image_ext, or smaller",
        ) from None


def per_light(rows: pd.DataFrame, workspace: Path, lights: list[str], ext: str) -> pd.DataFrame:
    """Return one row per part and light with its absolute ``filepath``."""
    # Many rows name few folders: each is put together once.
    root = workspace.resolve()
    whole = {folder: str(root / folder) for folder in rows["input_path"].unique().tolist()}
    frames = []
    for light in lights:
        paths = [
            f"{whole[folder]}/{image_name(name, light, ext)}"
            for folder, name in rows_of(rows, "input_path", "object_name")
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
    spellings: Mapping[str, str],
) -> dict[str, Any]:
    """Return ``manifest.json``: counts, digests, where things lie (relative to the workspace).

    ``encoder`` is the name of the one that is to embed the pool; its digest stands beside the
    embeddings. ``spellings``: how the user writes each label
    (:func:`deft.tables.labels.first_spellings`); everything else here has the form
    that labels have inside.
    """
    provenance = pool["provenance"].value_counts()
    content = sha256_texts(csv_text(pool.drop(columns="filepath")))
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
        "label_spelling": dict(sorted(spellings.items())),
        "paths": {
            "pool_table": layout.POOL_TABLE,
            "reconstructed_image": layout.PREGEN_NG,
            "original_image": layout.PREGEN_OK,
            "images": "synth_pool/images",
            "sdg_rows": "synth_pool/sdg_rows.csv",
            "source_pool": "synth_pool/source_pool.parquet",
        },
        "digests": {"pregen": pregen_digest(workspace), "source_pool": content},
    }


def check_pregen_unchanged(workspace: str | Path, manifest_: dict[str, Any], path: Path) -> None:
    """Raise ``pregen_mutated`` when the folders differ from what the run staged."""
    paired_pregen(workspace)
    if pregen_digest(workspace) != manifest_["digests"]["pregen"]:
        raise HardStop(
            "pregen_mutated",
            "the pre-generated pictures changed while the run is unfinished",
            file=Path(workspace) / layout.PREGEN_DIR,
            fix=f"restore them, or start another run: {again('preflight', run='new')}",
            evidence={"manifest": str(path), "manifest_sha256": sha256_file(path)},
        )
