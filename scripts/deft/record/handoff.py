"""The hand-off: which weights to deploy, at which threshold, and a spec that runs them.

The best phase is the decision's. Everything is read strictly and compared before anything is
written: decision, metrics, weights and export must speak of one phase, one weight file and one
threshold, and the files themselves must have the recorded digests.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deft.core import layout
from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import read_json, target_of, write_json_atomic, write_text_atomic
from deft.core.layout import Run
from deft.core.reading import lines_of, read_text
from deft.core.schemas import validate
from deft.core.weight_files import BACKBONE_KEY
from deft.kpi.decision import Judged, best_phase, phase_far_pct
from deft.record.records import (
    decided_phases,
    read_decision,
    read_metric_result,
    read_metrics,
    read_record,
    read_weights,
    refuse,
)
from deft.record.run_files import RunFiles, dig, load_run
from deft.record.strict import Strict
from deft.settings.kpi_target import KpiTarget
from deft.tables import sealed

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
EXPORT_RULE = "export_best"


@dataclass(frozen=True)
class Best:
    """The best phase with everything that the hand-off says of it, read and compared."""

    phase: str
    decision: dict[str, Any]
    metrics: dict[str, Any]
    checkpoint: Path
    spec_path: Path
    spec: dict[str, Any]
    export: dict[str, Any]
    files: RunFiles
    metric_result: dict[str, Any] | None = None

    @property
    def point(self) -> dict[str, Any]:
        """Operating point of the phase's chosen weights."""
        point: dict[str, Any] = self.metrics["kinds"][self.metrics["chosen"]]["recall_point"]
        return point


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
        spec = inference_spec(best.spec, checkpoint, model["threshold"], backbone)
        write_text_atomic(best.files.run.dir / name, yaml.safe_dump(spec, sort_keys=True))
    write_json_atomic(best.files.run.dir / MODEL_FILE, model)
    return model


def read_best(run_dir: str | Path, workspace: str | Path, decision_path: Path) -> Best:
    """Read and compare what :func:`write_handoff` writes from; raises as it does."""
    files = load_run(run_dir, workspace, Strict())
    run = files.run
    decision_path = files.workspace / decision_path
    decision = read_decision(decision_path)
    if not decision["stop"]:
        refuse(decision_path, "the loop goes on after this decision, so it has no best phase yet")
    metrics = {
        phase: read_metrics(run.phase(phase) / "metrics.json") for phase in decided_phases(decision)
    }
    phase = decision["best_phase"]
    if phase not in metrics:
        refuse(decision_path, f"its best phase {phase} was not evaluated: {', '.join(metrics)}")
    judged = _judged(decision_path, decision, metrics, files)
    _same_choice(decision_path, decision, metrics, files, judged)
    checkpoint = _weights(run, phase, metrics[phase])
    spec_path, spec = _training_spec(run, phase)
    export = _export(run, phase, metrics[phase])
    result = None if judged is None else judged.results[list(metrics).index(phase)]
    return Best(phase, decision, metrics[phase], checkpoint, spec_path, spec, export, files, result)


def _judged(
    path: Path, decision: dict[str, Any], metrics: dict[str, dict[str, Any]], files: RunFiles
) -> Judged | None:
    """Return what the phases were measured by, the same for decision and pre-flight."""
    contract = files.contract
    told = decision.get("metric_contract")
    if told != (None if contract is None else contract.as_dict()):
        wanted = "FAR" if contract is None else contract.told()
        refuse(path, f"it judges by another metric than the pre-flight, which has {wanted}")
    if contract is None:
        return None
    found = [
        read_metric_result(files.run.phase(name) / "metric_result.json", contract, of)
        for name, of in metrics.items()
    ]
    judged = Judged(contract, tuple(found))
    best = judged.verdict(list(metrics).index(decision["best_phase"]))
    if best != decision["best_metric"] or best["passed"] != decision["kpi_met"]:
        refuse(path, f"it has {decision['best_metric']}, and metric_result.json gives {best}")
    return judged


def _same_choice(
    path: Path,
    decision: dict[str, Any],
    metrics: dict[str, dict[str, Any]],
    files: RunFiles,
    judged: Judged | None,
) -> None:
    """Compare the decision with the metrics that it was made of, and with the target."""
    phase = decision["best_phase"]
    lowest = best_phase(list(metrics.values()), judged)["phase"]
    far = phase_far_pct(metrics[phase])
    if lowest != phase or far != decision["best_far_pct"]:
        refuse(
            files.run.phase(lowest if lowest != phase else phase) / "metrics.json",
            f"by the metrics {lowest} is the best phase and {phase} has {far:g} %; the decision "
            f"({path.name} of {decision['phase']}) says {phase} with {decision['best_far_pct']:g} "
            "%. One of the two is damaged",
        )
    told = metrics[phase]
    point = told["kinds"][told["chosen"]]["recall_point"]
    for key, value in (
        ("best_threshold", point["threshold"]),
        ("best_weights_sha256", told["weights"]["sha256"]),
    ):
        if key in decision and decision[key] != value:
            refuse(
                files.run.phase(phase) / "metrics.json",
                f"it has {value}, and the decision has {key} {decision[key]}",
            )
    checks = files.run.preflight / "checks.json"
    target = files.target
    try:
        wanted = KpiTarget(
            float(target["far_max_pct"]),
            float(target["min_recall"]),
            bool(target.get("strict", True)),
            "",
        )
    except (KeyError, TypeError, ValueError):
        refuse(checks, f"kpi_target is {target!r}")
    far_met = decision["kpi_met"] if judged else wanted.met(far)  # else it is not FAR's
    if wanted.far_max_pct != decision["target_far_pct"] or far_met != decision["kpi_met"]:
        refuse(
            path,
            f"it judges by a FAR of {decision['target_far_pct']:g} % (met: "
            f"{decision['kpi_met']}), the pre-flight by {wanted.far_max_pct:g} %",
        )


def _weights(run: Run, phase: str, metrics: dict[str, Any]) -> Path:
    """Return the chosen weight file: the one that was trained, scored and judged."""
    table, chosen = read_weights(run, phase), metrics["chosen"]
    record = run.phase(phase) / "metrics.json"
    told = metrics["weights"]
    trained = {entry["path"]: entry["sha256"] for entry in table["files"]}
    name = Path(told["path"]).name
    if table[chosen] != name or trained.get(name) != told["sha256"]:
        refuse(
            record,
            f"its weights are {name} ({told['sha256'][:12]}…); weights.json has "
            f"{table[chosen]} as {chosen} ({trained.get(table[chosen], '')[:12]}…)",
        )
    inference = run.phase(phase) / "inference" / "inference.json"
    scored = dig(read_json(inference), "kinds", chosen, "weights_sha256")
    if scored != told["sha256"]:
        refuse(inference, f"{chosen} was scored with other weights ({str(scored)[:12]}…)")
    table_path = inference.parent / chosen / "inference.csv"
    seal = sealed.seal_of_kind(read_json(inference), chosen)
    _check(table_path, seal, inference, "infer")
    path = run.phase(phase) / "train" / name
    _check(path, {"sha256": told["sha256"]}, record, "restore_weights")
    return path.resolve()


def _check(
    path: Path, told: dict[str, Any], record: Path, rule: str, target: tuple[str, ...] | None = None
) -> None:
    """``target``: the words typed for Snakemake to have ``path`` again; default: the path."""
    sealed.check(path, told, record, rule=rule, target=target or target_of(path))


def _training_spec(run: Run, phase: str) -> tuple[Path, dict[str, Any]]:
    """Return the spec that a phase was trained with; it must have what the hand-off copies."""
    path = run.phase(phase) / "train" / "experiment.yaml"
    if not path.is_file():
        raise HardStop(
            "missing_input",
            "the spec that the best phase was trained with is gone",
            file=path,
            fix=f"put it back, or run: {again('-R', target_of(path.with_name('weights.json')))}",
        )
    spec = Strict().yaml(path)
    absent = [
        ".".join(keys)
        for keys in (
            ("model", "backbone", "type"),
            ("model", "classify"),
            ("dataset", "classify", "input_map"),
            ("dataset", "classify", "augmentation_config"),
            ("train", "classify", "loss"),
        )
        if dig(spec, *keys) is None
    ]
    if absent:
        refuse(path, f"it has no {', '.join(absent)}")
    return path.resolve(), spec


def _export(run: Run, phase: str, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the export's record: of this phase, these weights, this threshold, and whole."""
    folder = run.best_model
    path = folder / "export.json"
    record = read_record("export", path)
    kpi = metrics["kinds"][metrics["chosen"]]["recall_point"]["threshold"]
    parity = record["parity"]
    safe = parity["at_safe_threshold"]["threshold"]
    for what, found, wanted in (
        ("phase", record["phase"], phase),
        ("weights_sha256", record["weights_sha256"], metrics["weights"]["sha256"]),
        ("KPI threshold", _float32(parity["at_kpi_threshold"]["threshold"]), _float32(kpi)),
    ):
        if found != wanted:
            refuse(path, f"{what} is {found} here and {wanted} in the decision and the metrics")
    # Some files (model.onnx.data, model.int8.onnx) are no rule's output, so the rule is forced.
    again = (target_of(path), "-R", EXPORT_RULE)
    told = {record["file"]: record["sha256"], **record.get("files", {})}
    if record.get("data_file"):
        told[record["data_file"]] = record["data_sha256"]
    sums = folder / "model.onnx.sha256"
    told |= {name: digest for name, digest in _listed(sums).items() if name not in told}
    for name, digest in told.items():
        _check(folder / name, {"sha256": digest}, path, EXPORT_RULE, again)
    for name, digest in _listed(sums).items():
        if digest != told[name]:
            refuse(sums, f"{name} has another digest here than in {path.name}")
    facts_path = folder / "preprocessing.json"
    facts = read_json(facts_path)
    for key, wanted in (
        ("sha256", record["sha256"]),
        ("threshold", _float32(safe)),
        ("kpi_threshold", _float32(kpi)),
    ):
        found = facts.get(key) if isinstance(facts, dict) else None
        same = _float32(found) == wanted if isinstance(wanted, np.float32) else found == wanted
        if not same:
            refuse(facts_path, f"{key} is {found} here and {wanted} in {path.name}")
    if "score_pair.py" not in told:  # an earlier version's record
        _check(folder / "score_pair.py", {}, path, EXPORT_RULE, again)
    return record


def _float32(value: Any) -> Any:
    return np.float32(value) if isinstance(value, int | float) else value


def _listed(path: Path) -> dict[str, str]:
    """Return name -> SHA-256 of a checksum file."""
    try:
        lines = lines_of(read_text(path))
        return {name: digest for digest, name in (line.split(None, 1) for line in lines if line)}
    except ValueError as error:  # a line without a name
        refuse(path, str(error))


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
