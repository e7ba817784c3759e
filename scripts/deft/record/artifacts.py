"""``artifacts/runs/<tag>/``: manifest, summary and analysis of a run (tag = run name).

The three files follow the lab's artifact contract: any tool that writes a paper or compares runs
reads them. Every quoted number points to ``analysis.json:results.<key>``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deft
from deft.core import layout
from deft.core.files import sha256_file, write_json_atomic
from deft.core.schemas import validate
from deft.core.workspace_source import SOURCE_FILE
from deft.kpi.metric_definitions import METRICS, PRIMARY, definitions
from deft.pool.corrected_laps import KEPT_FILE
from deft.record.handoff import HOST_SPEC_FILE, MODEL_FILE, SPEC_FILE
from deft.record.knowledge import write_knowledge
from deft.record.phase_files import PhaseFiles, dig
from deft.record.provenance import environment
from deft.record.results import collect_results
from deft.record.run_files import RunFiles, load_run
from deft.record.strict import Strict
from deft.record.verdict import verdict_of
from deft.run.state import utc_now
from dl_lab.record import (
    SCHEMA_VERSION,
    file_entries,
    git_state,
    relative,
    without_credentials,
)

# name, state key, default path, what the table is for
TABLES = (
    ("base_training_set", "training_csv", layout.BASE_TABLE, "seed rows; every lap adds to them"),
    (
        "validation_set",
        "validation_csv",
        layout.VALIDATION_TABLE,
        "held out from training; its loss picks the best_val weights",
    ),
    (
        "kpi_testing_set",
        "kpi_test_csv",
        layout.KPI_TABLE,
        "real pictures only; picks the threshold, the weights and the weak samples and ends the "
        "loop, so it is no sealed acceptance set",
    ),
    ("mining_pool", None, layout.POOL_TABLE, "production samples, append-only; source of mining"),
    ("corrections", None, layout.CORRECTIONS, "verdicts on rows of these tables; optional"),
)
PHASE_OUTPUTS = (
    "metric_result.json",
    "mining_filter/mining_history_summary.json",
    "metrics.json",
    "train/weights.json",
    "train/experiment.yaml",
    "inference/best_val/inference.csv",
    "inference/latest/inference.csv",
    "mining_filter/mining_pool.csv",
    "mining_filter/knn_summary.csv",
)


def artifacts_dir(workspace: str | Path, run_name: str) -> Path:
    """Return ``<workspace>/artifacts/runs/<run name>``."""
    return Path(workspace) / "artifacts" / "runs" / run_name


def write_artifacts(
    run_dir: str | Path,
    workspace: str | Path,
    *,
    command: str,
    seed: int | None,
    code_dir: str | Path,
) -> Path:
    """Write the three files and the knowledge base; return the folder of the files.

    Called again on an unchanged run it writes the same bytes, ``created_at`` included.

    Parameters
    ----------
    command: the command line of the run; values of credentials are taken out.
    seed: the run's seed.
    code_dir: folder of the pipeline's code, for its git state.
    """
    files = load_run(run_dir, workspace, Strict())
    results = collect_results(files)
    folder = artifacts_dir(files.workspace, files.name)
    analysis = {
        "schema_version": SCHEMA_VERSION,
        "tag": files.name,
        "results": results,
        "history": [history_entry(p, results) for p in files.phases],
        "verdict": verdict_record(files, results),
    }
    summary = summary_of(files, results)
    _write("analysis", analysis, folder)
    _write("summary", summary, folder)
    manifest = manifest_of(files, results, command=command, seed=seed, code_dir=code_dir)
    written = [folder / "analysis.json", folder / "summary.json"]
    manifest["outputs"] = file_entries([*_outputs(files), *written], files.workspace)
    manifest["created_at"] = _created_at(folder / "manifest.json", manifest)
    _write("manifest", manifest, folder)
    write_knowledge(files, results, manifest["data"])
    return folder


def check_records(run_dir: str | Path, workspace: str | Path) -> None:
    """Read everything that the lab record is made of, and write nothing.

    Raises
    ------
    HardStop for the first damaged file; called before the hand-off, so that none is left half done.
    """
    files = load_run(run_dir, workspace, Strict())
    summary_of(files, collect_results(files))
    data_entries(files)


def record_knowledge(run_dir: str | Path, workspace: str | Path) -> Path:
    """Write the knowledge base as far as the run has come; the end writes it once more."""
    files = load_run(run_dir, workspace, Strict())
    return write_knowledge(files, collect_results(files), data_entries(files))


def _write(name: str, content: dict[str, Any], folder: Path) -> None:
    validate(name, content)
    write_json_atomic(folder / f"{name}.json", content)


def _created_at(path: Path, manifest: dict[str, Any]) -> str:
    """Return the time of the manifest on disk when nothing else changed, else the time now."""
    before = Strict().record(path)
    created = before.pop("created_at", None)
    return created if created and before == manifest else utc_now()


def history_entry(phase: PhaseFiles, results: dict[str, float]) -> dict[str, Any]:
    """Return a phase's direct numbers (``iter1.far_pct`` as ``far_pct``), by name."""
    prefix = f"{phase.name}."
    entry: dict[str, Any] = {
        key.removeprefix(prefix): value
        for key, value in results.items()
        if key.startswith(prefix) and (key.count(".") == 1 or key.split(".")[1] == "dataset")
    }
    entry["phase"] = phase.name
    entry["chosen"] = phase.chosen if phase.metrics else None
    entry["decision"] = phase.decision.get("reason")
    entry["against_previous"] = dig(phase.metrics, "against_previous", "verdict")
    return entry


def summary_of(files: RunFiles, results: dict[str, float]) -> dict[str, Any]:
    """Return ``summary.json``: the headline numbers with the meaning of each."""
    metrics = {name: results[key] for name, (key, *_) in METRICS.items() if key in results}
    best = files.best
    pointer = None
    if best is not None:
        recorded = best.metrics.get("weights") or {}
        pointer = {
            "path": relative(weights_path(best), files.workspace),
            "selected_by": "the best proven phase by McNemar's test on the KPI set"
            if files.by_proof
            else "lowest FAR at the required recall on the KPI set over all phases"
            if files.contract is None
            else f"metric contract over all phases: {files.contract.told()}",
            "epoch": recorded.get("epoch"),
            "sha256": recorded.get("sha256"),
            "phase": best.name,
        }
    return {
        "schema_version": SCHEMA_VERSION,
        "tag": files.name,
        "primary_metric": PRIMARY if PRIMARY in metrics else None,
        "metrics": metrics,
        "metric_definitions": definitions(metrics),
        "best_checkpoint": pointer,
        "verdict": verdict_record(files, results),
    }


def verdict_record(files: RunFiles, results: dict[str, float]) -> dict[str, Any] | None:
    """Return the verdict on the best phase as texts, or None before the first evaluation."""
    verdict = verdict_of(files, files.best, results) if files.best else None
    return verdict.record(results) if verdict else None


def manifest_of(
    files: RunFiles,
    results: dict[str, float],
    *,
    command: str,
    seed: int | None,
    code_dir: str | Path,
) -> dict[str, Any]:
    """Return ``manifest.json`` without ``created_at`` and ``outputs``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "tag": files.name,
        "code": {"git": git_state(code_dir), "version": deft.__version__},
        "environment": environment(),
        "data": data_entries(files),
        "hyperparameters": {
            "seed": seed,
            "config": {
                str(p.get("name")): {"value": p.get("value"), "source": p.get("source")}
                for p in files.parameters
                if p.get("name") != "workspace"  # every path here is relative to it
            },
        },
        "inputs": file_entries(_inputs(files), files.workspace),
        "paths_are_relative_to": "project_root",
        "run": {
            "command": without_credentials(command),
            "run_dir": relative(files.run.dir, files.workspace),
            "duration_seconds": results["run.duration_seconds"],
        },
    }


def _tables(files: RunFiles) -> list[tuple[str, Path, str]]:
    found = [
        (
            name,
            files.table_path(key, default) if key else files.workspace / default,
            notes + _roots_of(files, default),
        )
        for name, key, default, notes in TABLES
    ]
    staged = files.run.synth_pool / "sdg_rows.csv"
    found.append(("synthetic_rows", staged, "staged pre-generated pairs; part of the source pool"))
    return found


def _roots_of(files: RunFiles, table: str) -> str:
    """Return where the pre-flight found a table's pictures, as the end of its note."""
    names = {str(dig(told, "file")): name for name, told in _dict(files, "dataset").items()}
    roots = _dict(files, "table_roots").get(names.get(table, ""))
    paths = [str(dig(root, "path")) for root in roots] if isinstance(roots, list) else []
    return f"; pictures under {', '.join(paths)}" if paths else ""


def _dict(files: RunFiles, name: str) -> dict[str, Any]:
    found = files.checks.get(name)
    return found if isinstance(found, dict) else {}


def data_entries(files: RunFiles) -> list[dict[str, Any]]:
    """Return name, path, digest, rows and role of every input table and combined set."""
    tables = _tables(files)
    for phase in files.phases:
        combined = phase.dir / "dataset" / f"train_combined_{phase.name}.csv"
        tables.append((f"train_combined_{phase.name}", combined, f"training rows of {phase.name}"))
    return [
        {
            "name": name,
            "path": relative(path, files.workspace),
            "sha256": sha256_file(path),
            "rows": len(files.reader.table(path)),
            "notes": notes,
        }
        for name, path, notes in tables
        if path.is_file()
    ]


def _inputs(files: RunFiles) -> list[Path]:
    named = [path for _, path, _ in _tables(files)]
    return [
        *named,
        files.workspace / layout.SPEC,
        files.workspace / layout.DEFECT_SPEC,
        files.workspace / SOURCE_FILE,
        files.run.preflight / "inputs.json",
        files.run.dir / KEPT_FILE,
    ]


def _outputs(files: RunFiles) -> list[Path]:
    """Files of the run that others build on. The report is none: it is rendered at any time."""
    out = [files.run.dir / name for name in (MODEL_FILE, SPEC_FILE, HOST_SPEC_FILE)]
    # The whole folder: an int8 form or numbers beside the model are there or not.
    out += sorted(p for p in files.run.best_model.glob("*") if p.is_file())
    out += [files.run.synth_pool / "manifest.json"]
    out += [files.run.dir / name for name in (layout.ACCEPTANCE_FILE, layout.NOISE_FILE)]
    for phase in files.phases:
        out += [phase.dir / name for name in PHASE_OUTPUTS]
        out.append(phase.dir / "dataset" / f"train_combined_{phase.name}.csv")
        out.append(phase.dir / "dataset" / f"train_combined_{phase.name}_provenance.csv")
        out.append(files.run.dir / f"{phase.name}_summary.md")
        if phase.metrics:
            out.append(weights_path(phase))
    return out


def weights_path(phase: PhaseFiles) -> Path:
    """Return the absolute path of a phase's chosen weights."""
    return (phase.dir / str((phase.metrics.get("weights") or {}).get("path") or "")).resolve()
