"""Stages for tests: each finds its files where the rules put them, as `(context, phase, …)`.

In the workflow every file is named by the rule; a test that calls a stage names the run alone.
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

from deft.core import layout
from deft.core.layout import BASELINE, Run, phase_name, phase_number

Named = dict[str, Any]


def _dataset(run: Run, phase: str) -> Named:
    folder = run.phase(phase) / "dataset"
    return {
        "record": folder / "assembly.json",
        "combined": folder / f"train_combined_{phase}.csv",
        "provenance": folder / f"train_combined_{phase}_provenance.csv",
        "validation": folder / "validation.json",
    }


def _previous(run: Run, phase: str) -> Named:
    before = layout.previous_phase(phase)
    if before == BASELINE:
        return {}
    found = _dataset(run, before)
    names = {"previous": "record", "previous_combined": "combined"}
    names["previous_provenance"] = "provenance"
    return {name: found[of] for name, of in names.items()}


def _scores(run: Run, phase: str) -> Named:
    return {"inference": run.phase(phase) / "inference/inference.json"}


def evaluate_files(run: Run, phase: str) -> Named:
    folder = run.phase(phase)
    before = None if phase == BASELINE else layout.previous_phase(phase)
    return {
        "gate": run.preflight / "gate.json",
        **_scores(run, phase),
        "weights": folder / "train/weights.json",
        "metrics": folder / "metrics.json",
        "previous": before and run.phase(before) / "metrics.json",
        "previous_inference": before and run.phase(before) / "inference/inference.json",
    }


def decide_files(run: Run, phase: str, question: str = "kpi") -> Named:
    folder = run.phase(phase)
    found: Named = {"decision": folder / "decide" / f"{question}.json"}
    if question == "kpi":
        upto = [phase_name(n) for n in range(phase_number(phase) + 1)]
        found["inference"] = tuple(run.phase(p) / "inference/inference.json" for p in upto)
        return {**found, "metrics": tuple(run.phase(p) / "metrics.json" for p in upto)}
    found["mining"] = folder / "mining_filter/mining.json"
    return {**found, "previous": run.phase(layout.previous_phase(phase)) / "decide/kpi.json"}


def rca_files(run: Run, phase: str) -> Named:
    gaps = run.rca(phase) / "kpi_gaps.parquet"
    folder = run.phase(phase)
    own = {} if phase == BASELINE else _dataset(run, phase)
    return {
        "metrics": folder / "metrics.json",
        **_scores(run, phase),
        "gaps": gaps,
        **_parts(run),
        "assembled": own.get("record"),
        "combined": own.get("combined"),
        "provenance": own.get("provenance"),
        "causes": folder / "causes.json",
    }


def _parts(run: Run) -> Named:
    """The facts of the parts, where they were measured."""
    facts = run.dir / "kpi_facts/parts.parquet"
    if not facts.is_file():
        return {}
    return {"parts": facts, "parts_record": facts.with_name("parts.json")}


def measure_parts(context: Any) -> str:
    from deft.stages.measure_parts import Files, measure_parts

    folder = context.run.dir / "kpi_facts"
    return measure_parts(context, Files(folder / "parts.parquet", folder / "parts.json"))


def tao_rca_files(run: Run, phase: str) -> Named:
    return {**rca_files(run, phase), "experiment": run.phase(phase) / "train/experiment.yaml"}


def route_files(run: Run, phase: str) -> Named:
    before, out = run.rca(layout.previous_phase(phase)), run.routing(phase)
    return {
        "gaps": before / "kpi_gaps.parquet",
        "analysis": before / "metrics.json",
        "manifest": run.synth_pool / "manifest.json",
        "mining": out / "mining_gaps.parquet",
        "anomalygen": out / "anomalygen_gaps.parquet",
        "summary": out / "routing_summary.txt",
        "report": out / "Routing_Report.md",
    }


def stage_pool_files(run: Run) -> Named:
    names = {"manifest": "manifest.json", "sdg": "sdg_rows.csv", "table": "source_pool.csv"}
    names |= {"parquet": "source_pool.parquet", "images": "images"}
    found = {name: run.synth_pool / file for name, file in names.items()}
    return {"gate": run.preflight / "gate.json", **found}


def embed_shard_files(run: Run, item: str) -> Named:
    pool = run.synth_pool
    names = {"manifest": "manifest.json", "pool": "source_pool.parquet"}
    found = {name: pool / file for name, file in names.items()}
    return {**found, "shard": pool / "shards" / f"{item}.parquet"}


def embed_pool_files(run: Run, shards: list[Path]) -> Named:
    return {
        "manifest": run.synth_pool / "manifest.json",
        "embeddings": run.synth_pool / "source_embeddings.parquet",
        "facts": run.synth_pool / "source_embeddings.json",
        "shards": tuple(shards),
    }


def mine_files(run: Run, phase: str) -> Named:
    before, pool = layout.previous_phase(phase), run.synth_pool
    mining = run.phase(before) / "mining_filter/mining.json"
    return {
        "gaps": run.routing(phase) / "mining_gaps.parquet",
        "manifest": pool / "manifest.json",
        "pool": pool / "source_pool.parquet",
        "embedded": pool / "source_embeddings.json",
        "embeddings": pool / "source_embeddings.parquet",
        "facts": run.phase(phase) / "mining_filter/mining.json",
        **_previous(run, phase),
        "previous_mining": None if before == BASELINE else mining,
    }


def assemble_files(run: Run, phase: str) -> Named:
    out, mining = _dataset(run, phase), run.phase(phase) / "mining_filter"
    return {
        "mined": mining / "mining.json",
        "table": mining / "mining_pool.csv",
        "facts": out["record"],
        "combined": out["combined"],
        "provenance": out["provenance"],
        **_previous(run, phase),
    }


def validate_files(run: Run, phase: str) -> Named:
    found = _dataset(run, phase)
    found["assembled"] = found.pop("record")
    return found


def train_files(run: Run, phase: str) -> Named:
    found: Named = {"weights": run.phase(phase) / "train/weights.json"}
    if phase == BASELINE:
        return found
    dataset = _dataset(run, phase)
    return {
        **found,
        "validated": dataset["validation"],
        "combined": dataset["combined"],
        "assembled": dataset["record"],
        "previous": run.phase(layout.previous_phase(phase)) / "metrics.json",
    }


def infer_files(run: Run, phase: str) -> Named:
    out = run.phase(phase) / "inference"
    return {
        "weights": run.phase(phase) / "train/weights.json",
        "facts": out / "inference.json",
        "best_val": out / "best_val/inference.csv",
        "latest": out / "latest/inference.csv",
    }


def export_best_files(run: Run, decision: Path, best: str) -> Named:
    metrics = run.phase(best) / "metrics.json"
    facts = run.best_model / "export.json"
    return {"decision": decision, "metrics": metrics, **_scores(run, best), "facts": facts}


# Stages that share the dataclass of another.
FILES_OF = {"tao_infer": "infer", "tao_train": "train", "restore_weights": "train"}


def files(stage: str, run: Run, *which: Any) -> Any:
    """Return the files of a stage for `which` (a phase, for most)."""
    of = FILES_OF.get(stage, stage)
    kind = import_module(f"deft.stages.{of}").Files
    return kind(**globals()[f"{of}_files"](run, *which))


def arguments(stage: str, run: Run, *which: Any) -> list[str]:
    """Return the options by which a command line names the files of a stage."""
    found = files(stage, run, *which)
    options = []
    for field in fields(found):
        value = getattr(found, field.name)
        if value is not None:
            values = value if isinstance(value, tuple) else (value,)
            options += [f"--{field.name.replace('_', '-')}", *map(str, values)]
    return options


def _called(stage: str) -> Any:
    def call(context: Any, phase: str, *args: Any, **more: Any) -> str:
        found = files(stage, context.run, phase)
        work = getattr(import_module(f"deft.stages.{stage}"), stage)
        return work(context, found, phase, *args, **more)

    return call


evaluate, rca, route, mine = map(_called, ("evaluate", "rca", "route", "mine"))
assemble, validate, train, infer = map(_called, ("assemble", "validate", "train", "infer"))
tao_train, tao_infer, tao_rca = map(_called, ("tao_train", "tao_infer", "tao_rca"))


def stage_pool(context: Any, encoder: str) -> str:
    from deft.stages.stage_pool import stage_pool as work

    return work(context, files("stage_pool", context.run), encoder)


def embed_shard(context: Any, encoder: Any, item: str, cache: Path | None, threads: int) -> str:
    from deft.stages.embed_shard import embed_shard as work

    return work(context, files("embed_shard", context.run, item), encoder, item, cache, threads)


def embed_pool(context: Any, shards: list[Path]) -> str:
    from deft.stages.embed_pool import embed_pool as work

    return work(files("embed_pool", context.run, shards))
