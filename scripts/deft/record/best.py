"""What the hand-off is made of: the best phase and all that it consists of, read strictly.

The best phase is the decision's. Everything is compared before anything is written: decision,
metrics, weights and export must speak of one phase, one weight file and one threshold, and the
files themselves must have the recorded digests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import read_json, target_of
from deft.core.layout import Run
from deft.core.reading import lines_of, read_text
from deft.kpi.decision import PROVEN, Judged, best_phase, phase_far_pct
from deft.record.phase_files import dig
from deft.record.proof import best_proven
from deft.record.records import (
    decided_phases,
    read_decision,
    read_metric_result,
    read_metrics,
    read_record,
    read_weights,
    refuse,
)
from deft.record.run_files import RunFiles, load_run
from deft.record.strict import Strict
from deft.settings.kpi_target import KpiTarget
from deft.tables import sealed

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
    if decision.get("best_by") == PROVEN:
        lowest = _proven(files, list(metrics)) or lowest
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


def _proven(files: RunFiles, names: list[str]) -> str | None:
    """Return the best proven of the decided phases; a lap that began since counts nothing."""
    own = [phase for phase in files.phases if phase.name in names]
    return best_proven(replace(files, phases=own, memo={}))


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
