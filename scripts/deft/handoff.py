"""The hand-off: which weights to deploy, at which threshold, and a spec that runs them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from deft import layout
from deft.files import write_json_atomic, write_text_atomic
from deft.report.lenient import dig, yaml_or_empty
from deft.report.reading import PhaseFiles, RunFiles, load_run, training_spec
from deft.report.viewmodel import met_of
from deft.schemas import validate

MODEL_FILE = layout.BEST_MODEL_FILE
SPEC_FILE = "best_model_inference_spec.yaml"
BOUNDS = ("recall_pct", "recall_lower95_pct", "far_upper95_pct", "tp", "fn", "fp", "tn")
DROPPED_DATASETS = (
    "train_dataset",
    "validation_dataset",
    "test_dataset",
    "quant_calibration_dataset",
)
# Of the training spec's inference section, what is about the machine and not about one run.
INFERENCE_KEYS = ("batch_size", "gpu_ids", "num_gpus", "num_nodes", "vis_after_n_batches")


def write_handoff(run_dir: str | Path, workspace: str | Path) -> dict[str, Any]:
    """Write ``best_model.json`` and ``best_model_inference_spec.yaml``; return the former.

    The best phase is the one with the lowest FAR at the required recall, the baseline included;
    between equals the earlier one. Returns ``{}``, writing nothing, when no phase was evaluated.
    """
    files = load_run(run_dir, workspace)
    best = files.best
    if best is None:
        return {}
    model = best_model(files, best)
    spec_path, spec = _training_spec(files, best)
    model["training_spec"] = str(spec_path)
    if files.export:
        model["onnx"] = onnx_pointer(files)
    validate("best_model", model)
    text = yaml.safe_dump(
        inference_spec(spec, model["checkpoint"], model["threshold"]), sort_keys=True
    )
    write_text_atomic(files.run.dir / SPEC_FILE, text)
    write_json_atomic(files.run.dir / MODEL_FILE, model)
    return model


def weights_path(phase: PhaseFiles) -> Path:
    """Return the absolute path of a phase's chosen weights (a pre-seeded one lies elsewhere)."""
    recorded = Path(str(dig(phase.metrics, "weights", "path") or ""))
    return (phase.dir / recorded).resolve()


def best_model(files: RunFiles, best: PhaseFiles) -> dict[str, Any]:
    """Return the content of ``best_model.json`` without the training spec's path."""
    _, spec = _training_spec(files, best)
    recorded = files.inside(dig(files.state, "config", "images_dir"))
    images = recorded or layout.image_root(files.workspace)
    classify = dig(spec, "dataset", "classify") or {}
    return {
        "schema_version": 1,
        "checkpoint": str(weights_path(best)),
        "checkpoint_sha256": dig(best.metrics, "weights", "sha256"),
        "checkpoint_kind": best.chosen,
        "threshold": best.point["threshold"],
        "rule": "NO_PASS if siamese_score > threshold",
        "far_pct": best.point["far_pct"],
        "bounds": {name: best.point[name] for name in BOUNDS if name in best.point},
        "iteration": best.name,
        "backbone": dig(spec, "model", "backbone", "type"),
        "lights": list(classify.get("input_map") or {}),
        "images_dir": str(images.resolve()),
        "kpi_target": files.target,
        "kpi_met": met_of(files, best.far_pct),
        "mining_arm": files.arm,
        "run": files.name,
    }


def onnx_pointer(files: RunFiles) -> dict[str, Any]:
    """Return where the exported form lies, its digest and the threshold it is used at."""
    folder, record = files.run.best_model.resolve(), files.export
    return {
        "path": str(folder / record["file"]),
        "sha256": record["sha256"],
        "preprocessing": str(folder / "preprocessing.json"),
        "example": str(folder / "score_pair.py"),
        "threshold": record["parity"]["at_safe_threshold"]["threshold"],
        "phase": record["phase"],
    }


def _training_spec(files: RunFiles, phase: PhaseFiles) -> tuple[Path, dict[str, Any]]:
    """Return the spec that a phase was trained with, else (weights handed in) the user's."""
    path = phase.dir / "train" / "experiment.yaml"
    spec = training_spec(phase)
    if not spec:
        path = files.workspace / layout.SPEC
        spec = yaml_or_empty(path)
    return path.resolve(), spec


def inference_spec(spec: dict[str, Any], checkpoint: str, threshold: float) -> dict[str, Any]:
    """Return a TAO inference spec made from a training spec.

    Model and dataset settings are copied, so that pictures are prepared as in training; the
    paths of ``infer_dataset`` are left for whoever uses it.
    """
    out: dict[str, Any] = {"task": spec.get("task", "classify"), "results_dir": ""}
    if "encryption_key" in spec:
        out["encryption_key"] = spec["encryption_key"]
    out["model"] = copy.deepcopy(spec.get("model") or {})
    out["model"].setdefault("classify", {})["eval_margin"] = threshold
    classify = copy.deepcopy(dig(spec, "dataset", "classify") or {})
    for name in DROPPED_DATASETS:
        classify.pop(name, None)
    classify["infer_dataset"] = {"csv_path": "", "images_dir": ""}
    if isinstance(classify.get("augmentation_config"), dict):
        classify["augmentation_config"] = without_augmentation(classify["augmentation_config"])
    out["dataset"] = {"classify": classify}
    # TAO builds the criterion again when it loads the weights.
    loss = dig(spec, "train", "classify", "loss")
    out["train"] = {"classify": {"loss": loss} if loss else {}}
    given = spec.get("inference") if isinstance(spec.get("inference"), dict) else {}
    out["inference"] = {name: given[name] for name in INFERENCE_KEYS if name in given}
    out["inference"]["checkpoint"] = checkpoint
    return out


def without_augmentation(config: dict[str, Any]) -> dict[str, Any]:
    """Return an ``augmentation_config`` with every switch off and the normalisation kept."""
    out = {}
    for name, value in config.items():
        if isinstance(value, bool):
            out[name] = False
        elif isinstance(value, dict) and "enable" in value:
            out[name] = {**value, "enable": False}
        else:
            out[name] = value
    return out
