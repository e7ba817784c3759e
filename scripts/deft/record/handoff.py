"""The hand-off: which weights to deploy, at which threshold, and a spec that runs them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from deft.core import layout
from deft.core.files import write_json_atomic, write_text_atomic
from deft.core.schemas import validate
from deft.core.weight_files import BACKBONE_KEY
from deft.record.best import Best, read_best
from deft.record.phase_files import dig
from deft.record.records import refuse
from deft.record.run_files import RunFiles
from deft.record.strict import Strict

MODEL_FILE = layout.BEST_MODEL_FILE
SPEC_FILE = "best_model_inference_spec.yaml"  # for NVIDIA's container, with its mounts
HOST_SPEC_FILE = "best_model_inference_spec_host.yaml"  # for this machine
# Where NVIDIA's command for a hand-off mounts weights and backbones (docs/deploy.md).
CONTAINER_WEIGHTS = "/model/best.pth"
CONTAINER_BACKBONES = "/data/pretrained_models"
BOUNDS = ("recall_pct", "recall_lower95_pct", "far_upper95_pct", "tp", "fn", "fp", "tn")
DROPPED_DATASETS = (
    "train_dataset",
    "validation_dataset",
    "test_dataset",
    "quant_calibration_dataset",
)
# Of the training spec's inference section, what is about the machine and not about one run.
INFERENCE_KEYS = ("batch_size", "gpu_ids", "num_gpus", "num_nodes", "vis_after_n_batches")


def write_handoff(run_dir: str | Path, workspace: str | Path, decision: Path) -> dict[str, Any]:
    """Write ``best_model.json`` and both forms of the inference spec; return the former.

    ``decision``: the file of the decision that ended the loop.

    Raises
    ------
    HardStop when anything that the hand-off speaks of is absent, damaged or contradicts the rest;
    nothing is written then, and an earlier hand-off stays.
    """
    best = read_best(run_dir, workspace, decision)
    model = best_model(best)
    validate("best_model", model)
    on_host = model["backbone"] if model["backbone_container_path"] else ""
    for name, checkpoint, backbone in (
        (SPEC_FILE, CONTAINER_WEIGHTS, model["backbone_container_path"] or ""),
        (HOST_SPEC_FILE, model["checkpoint"], on_host),
    ):
        # TAO's own inference scores one view, whatever the export does.
        threshold = model.get("one_view", model)["threshold"]
        spec = inference_spec(best.spec, checkpoint, threshold, backbone)
        write_text_atomic(best.files.run.dir / name, yaml.safe_dump(spec, sort_keys=True))
    write_json_atomic(best.files.run.dir / MODEL_FILE, model)
    return model


def best_model(best: Best) -> dict[str, Any]:
    """Return the content of ``best_model.json``."""
    files, point = best.files, best.point
    classify = dig(best.spec, "dataset", "classify")
    backbone, inside = backbone_paths(files)
    return {
        "schema_version": 1,
        "checkpoint": str(best.checkpoint),
        "checkpoint_sha256": best.metrics["weights"]["sha256"],
        "checkpoint_kind": best.metrics["chosen"],
        "threshold": best.export["parity"]["at_safe_threshold"]["threshold"],
        "kpi_threshold": point["threshold"],
        "rule": "NO_PASS if siamese_score > threshold",
        "far_pct": point["far_pct"],
        "bounds": {name: point[name] for name in BOUNDS if name in point},
        "iteration": best.phase,
        "backbone": str(backbone),
        "backbone_container_path": inside,
        "backbone_type": dig(best.spec, "model", "backbone", "type"),
        "backbone_frozen": bool(dig(best.spec, "model", "backbone", "freeze_backbone")),
        "lights": list(classify.get("input_map") or {}),
        "images_dir": str(layout.image_root(files.workspace).resolve()),
        "kpi_target": files.target,
        "kpi_met": best.decision["kpi_met"],
        **_views(best),
        **_by_contract(best),
        "mining_arm": files.arm,
        "run": files.name,
        "training_spec": str(best.spec_path),
        "onnx": onnx_pointer(best),
    }


def backbone_paths(files: RunFiles) -> tuple[Path, str | None]:
    """Return the backbone's weight file, absolute, and the path that a container has it at.

    The file is the one that the pre-flight found. Where the network started from random numbers
    there is none: then the folder for such files (what NVIDIA's own script gives) and None.
    """
    found = files.checks.get("backbone_file")
    if not found:
        return (files.workspace / layout.BACKBONE_DIR).resolve(), None
    path = (files.workspace / str(found)).resolve()
    # A path that the user's spec has for a container is kept: commands are written for it.
    named = dig(Strict().yaml(files.workspace / layout.SPEC), *BACKBONE_KEY.split("."))
    kept = (
        isinstance(named, str)
        and named.startswith(f"{CONTAINER_BACKBONES}/")
        and Path(named).suffix == path.suffix
    )
    return path, str(named) if kept else f"{CONTAINER_BACKBONES}/{path.name}"


def _views(best: Best) -> dict[str, Any]:
    """Return what a score is, where it is not TAO's of one view, and the operating point of that.

    ``checkpoint`` in TAO's inference gives scores of one view: ``threshold`` is not theirs.
    """
    views = best.metrics.get("score_views", "one")
    if views == "one":
        return {}
    one = best.metrics.get("views", {}).get("one")
    if one is None:
        path = best.files.run.phase(best.phase) / "metrics.json"
        refuse(path, f"its scores are of score_views {views}, and one view is not told")
    told = {
        name: one["recall_point"][name]
        for name in ("far_pct", *BOUNDS)
        if name in one["recall_point"]
    }
    return {"score_views": views, "one_view": {"threshold": one["threshold_to_set"], **told}}


def _by_contract(best: Best) -> dict[str, Any]:
    """Return the contract that chose the phase and its answer, where FAR did not."""
    contract = best.files.contract
    if contract is None or best.metric_result is None:
        return {}
    passed = {"passed": not contract.failed(best.metric_result)}
    return {
        "metric_contract": contract.as_dict(),
        "metric_result": {**best.metric_result, **passed},
    }


def onnx_pointer(best: Best) -> dict[str, Any]:
    """Return where the exported form lies, its digest and the threshold it is used at."""
    folder, record = best.files.run.best_model.resolve(), best.export
    return {
        "path": str(folder / record["file"]),
        "sha256": record["sha256"],
        "preprocessing": str(folder / "preprocessing.json"),
        "example": str(folder / "score_pair.py"),
        "threshold": record["parity"]["at_safe_threshold"]["threshold"],
        "phase": record["phase"],
    }


def inference_spec(
    spec: dict[str, Any], checkpoint: str, threshold: float, backbone: str = ""
) -> dict[str, Any]:
    """Return a TAO inference spec made from a training spec.

    Model and dataset settings are copied, so that pictures are prepared as in training. Four fields
    are empty for whoever uses it: both paths of ``infer_dataset`` and both ``results_dir``.
    ``checkpoint``, ``backbone``: paths as whoever runs it sees them.
    """
    out: dict[str, Any] = {"task": spec.get("task", "classify"), "results_dir": ""}
    if "encryption_key" in spec:
        out["encryption_key"] = spec["encryption_key"]
    out["model"] = copy.deepcopy(spec.get("model") or {})
    out["model"].setdefault("classify", {})["eval_margin"] = threshold
    out["model"].setdefault("backbone", {})["pretrained_backbone_path"] = backbone
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
    inference = spec.get("inference")
    given = inference if isinstance(inference, dict) else {}
    out["inference"] = {name: given[name] for name in INFERENCE_KEYS if name in given}
    out["inference"] |= {"checkpoint": checkpoint, "results_dir": ""}
    return out


def without_augmentation(config: dict[str, Any]) -> dict[str, Any]:
    """Return an ``augmentation_config`` with every switch off and the normalisation kept."""
    out: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, bool):
            out[name] = False
        elif isinstance(value, dict) and "enable" in value:
            out[name] = {**value, "enable": False}
        else:
            out[name] = value
    return out
