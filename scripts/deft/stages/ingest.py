"""Which pre-generated pairs a lap uses, and that they are unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core.files import read_json, sha256_file, write_json_atomic
from deft.pool.source_pool import check_pregen_unchanged
from deft.run.stage_files import read, written
from deft.run.state import update_phase
from deft.stages.context import Context


@dataclass(frozen=True)
class Files:
    """What :func:`ingest` reads and writes."""

    manifest: Path = read("manifest.json of the staged pool")
    summary: Path = written("ingest_summary.json")


def ingest(context: Context, files: Files, phase: str) -> str:
    """Write the manifest in use, after checking that no pair changed since it was made."""
    manifest: dict[str, Any] = read_json(files.manifest)
    check_pregen_unchanged(context.workspace, manifest, files.manifest)
    write_json_atomic(
        files.summary,
        {
            "manifest": context.relative(files.manifest),
            "manifest_sha256": sha256_file(files.manifest),
            "counts": manifest["counts"],
            "sdg_per_defect": manifest["sdg_per_defect"],
            "pregen_unchanged": True,
        },
    )
    update_phase(
        context.run.dir,
        phase,
        stage_completed="anomalygen",
        anomalygen_ingest=context.absolute(files.summary),
    )
    return f"{manifest['counts']['sdg_rows']} pre-generated rows, unchanged since the run began"
