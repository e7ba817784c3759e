"""The user's targets and the verdict: rules over the JSON."""

from __future__ import annotations

import difflib
from typing import Any

from . import sizes
from .conditions import conditions
from .folder import Folder
from .metrics import METRICS, SIZELESS, known_answers, measured
from .outcomes import CONDITIONAL, GO, NO_GO, UNDECIDED, OpenInput, one_each
from .quality import FEW_KNOWN, QUALITY, known_of, plural_answers, quality, rate
from .steps import FIRST_OF_REPORTS

NAMES = (
    "parameters", "io_contract", "inputs", "inference", "stats", "profile", "train_check",
    "quality", "verdict", "dependencies", "provenance", "environment", "steps", "figures",
)  # fmt: skip
UNREQUIRED = ("14_profile.py", "16_train_check.py", "20_visualize.py")
MANY_STEPS = 20  # with fewer a loss need not have fallen


def facts_of(folder: Folder) -> dict[str, Any]:
    """Return every JSON file of ``outputs/`` by name, ``{}`` for what is not there."""
    return {name: folder.read(name, {}) for name in NAMES}


def judge(folder: Folder) -> str:
    """Write ``outputs/quality.json`` and ``outputs/verdict.json``; return the summary line."""
    folder.write("quality", quality(folder.read("inference", {}), folder.read("io_contract", {})))
    found = verdict(facts_of(folder))
    folder.write("verdict", found)
    counts = ", ".join(
        f"{len(found[part])} {part}" for part in ("blocking", "undecided", "conditions")
    )
    return f"{found['verdict']}: {counts}"


def verdict(facts: dict[str, Any]) -> dict[str, Any]:
    """Return ``outputs/verdict.json``: the outcome, its reasons, and the open inputs.

    ``blocking`` is proven, ``undecided`` wants an open input before anything is said,
    ``conditions`` must be settled although it runs and meets what was asked.
    """
    targets = judged(facts)
    blocking, undecided, needs = reasons(facts, targets)
    open_points, further = conditions(facts, targets)
    word = NO_GO if blocking else UNDECIDED if undecided else CONDITIONAL if open_points else GO
    return {
        "verdict": word, "blocking": blocking, "undecided": undecided, "conditions": open_points,
        # The first are those without which nothing is decided.
        "needs": one_each(needs), "further_needs": [
            n for n in one_each(further) if n["key"] not in {m["key"] for m in needs}
        ],
        "targets": targets,
    }  # fmt: skip


def judged(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each target with what was measured, by how far, and whether it is met.

    ``met`` is None for what was not measured or cannot be judged; ``why`` says so then, ``needs``
    what would settle it.
    """
    values = measured(facts)
    out = []
    for name, goal in sorted((facts["parameters"].get("targets") or {}).items()):
        unit, higher, how = METRICS.get(name, ("", True, ""))
        value = values.get(name)
        met = None if value is None else (value >= goal if higher else value <= goal)
        entry: dict[str, Any] = {
            "name": name, "target": goal, "unit": unit, "measured": value, "met": met,
            "rule": "at least" if higher else "at most", "how": how,
            "delta": None if value is None else value - goal, "why": None, "needs": [],
        }  # fmt: skip
        if value is None:
            entry.update(why="not measured", settle=_settle(name, how))
            entry["needs"] = _unmeasured(name, goal, facts)
        elif name not in SIZELESS and sizes.guessed(facts["io_contract"]):
            entry["met"] = None
            entry["why"] = f"measured{sizes.phrase(facts['io_contract'])}"
            entry["settle"] = "the size that is meant"
            entry["needs"] = sizes.asked(facts["io_contract"])
        elif name in QUALITY:
            _by_chance(entry, facts)
        out.append(entry)
    return out


def _by_chance(entry: dict[str, Any], facts: dict[str, Any]) -> None:
    """Leave a rate open that few answers, or chance, keep from being judged."""
    found = facts["quality"]
    name, goal = entry["name"], entry["target"]
    known = known_of(name, found)
    entry["rate"] = rate(name, found)
    bounds = (found.get("bounds") or {}).get(name)
    entry["bounds"] = bounds
    higher = entry["rule"] == "at least"
    if known < FEW_KNOWN:
        entry["met"] = None
        entry["why"] = f"only {plural_answers(known)} (fewer than {FEW_KNOWN}) say it"
    elif bounds and not entry["met"]:
        # Missed only where chance does not explain it.
        proven = bounds[1] < goal if higher else bounds[0] > goal
        if not proven:
            entry["met"] = None
            entry["why"] = f"{known} known answers leave open which side of the target it is on"
    elif bounds:
        entry["sure"] = bool(bounds[0] >= goal if higher else bounds[1] <= goal)
    if entry["met"] is None:
        entry["settle"] = "more inputs with known answers"
        entry["needs"] = known_answers(facts, more=True)


def _unmeasured(name: str, goal: float, facts: dict[str, Any]) -> list[dict[str, Any]]:
    if name in QUALITY:
        needs = known_answers(facts)
        post = facts["io_contract"].get("postprocess") or {}
        if post.get("kind") == "boxes":
            return []
        if post.get("kind") in (None, "unknown", "embedding"):
            needs.append(
                OpenInput(
                    "how its outputs become an answer", "contract.postprocess", "softmax_top"
                ).as_dict()
            )
        if name in ("recall_pct", "far_pct") and post.get("kind") != "changenet":
            return [_renamed(name, "accuracy_pct", goal)]
        return needs
    if name == "peak_vram_mib":
        return [_renamed(name, "peak_ram_mib", goal)]
    if name in METRICS:
        return []  # the benchmark did not come to its end; that is told on its own
    near = difflib.get_close_matches(name, METRICS, 1, 0.5) or ["accuracy_pct"]
    return [_renamed(name, near[0], goal)]


def _renamed(name: str, near: str, goal: float) -> dict[str, Any]:
    return OpenInput(
        f"a target that this command measures in place of {name}", f"targets.{near}", goal,
        why=f"it measures {', '.join(METRICS)}",
    ).as_dict()  # fmt: skip


def _settle(name: str, how: str) -> str:
    if name in QUALITY:
        return "inputs with known answers: explore.inputs and explore.labels (or a KPI table)"
    if name == "peak_vram_mib":
        return "a run on a graphics card with PyTorch"
    if not how:
        return f"an evaluation script for {name}; this command measures {', '.join(METRICS)}"
    return "a benchmark that runs to its end"


def reasons(
    facts: dict[str, Any], targets: list[dict[str, Any]]
) -> tuple[list[str], list[str], list[dict[str, Any]]]:
    """Return what is proven against use, what cannot be said yet, and the open inputs for that."""
    blocking: list[str] = []
    undecided: list[str] = []
    needs: list[dict[str, Any]] = []
    for step in facts["steps"] or []:
        if step["status"] not in ("failed", "refused") or step["script"] in UNREQUIRED:
            continue
        if step["script"] >= FIRST_OF_REPORTS:
            continue
        if step.get("proven"):
            blocking.append(f"it does not run here: {step['what']} failed ({step.get('said')})")
        else:
            undecided.append(f"this step did not get through: {step['what']} ({step.get('said')})")
            needs += step.get("needs") or _helpful(step["script"])
    if not blocking and not undecided and not facts["stats"]:
        undecided.append("it was not run to its end")
    _numbers(facts, blocking, undecided, needs)
    for target in targets:
        if target["met"] is False:
            said = target.get("rate") or f"{target['measured']:.4g}"
            blocking.append(
                f"target missed: {target['name']} is {said}, wanted "
                f"{target['rule']} {target['target']:.4g}"
            )
        elif target["met"] is None:
            undecided.append(f"the target {target['name']} is not judged: {target['why']}")
            needs += target["needs"]
    _training(facts["train_check"], blocking, undecided, needs)
    return blocking, undecided, needs


def _helpful(script: str) -> list[dict[str, Any]]:
    """Return what often helps a step that says nothing itself."""
    if script in ("02_contract.py", "03_inputs.py", "10_infer.py"):
        what = "inputs as the model takes them (.npz, its arrays named as the inputs)"
        return [OpenInput(what, "inputs", "my_inputs.npz").as_dict()]
    if script == "12_benchmark.py":
        return [OpenInput("smaller batches", "batch_sizes", [1]).as_dict()]
    return []


def _numbers(
    facts: dict[str, Any],
    blocking: list[str],
    undecided: list[str],
    needs: list[dict[str, Any]],
) -> None:
    """Numbers that are not finite speak against a model only where its inputs were right."""
    count = facts["inference"].get("not_finite")
    if not count:
        return
    said = f"{count} output numbers are not finite (NaN or infinite)"
    made_up = facts["inputs"] and facts["inputs"]["kind"] == "synthesised"
    if made_up and facts["io_contract"].get("unknown"):
        undecided.append(f"{said}, on made-up inputs that may be none that it was made for")
        needs.append(OpenInput("real inputs", "inputs", "my_inputs").as_dict())
    else:
        blocking.append(said)


def _training(
    training: dict[str, Any],
    blocking: list[str],
    undecided: list[str],
    needs: list[dict[str, Any]],
) -> None:
    if not training:
        return
    settings = training.get("settings") or {}
    if not training.get("runs"):
        said = f"it cannot be trained here: {training.get('why')}"
        if training.get("proven"):
            blocking.append(said)
            return
        undecided.append(said)
        size = 2 * int(settings.get("batch_size") or 2)
        needs.append(OpenInput("another batch of training", "train_batch_size", size).as_dict())
    elif not training.get("fell"):
        steps = int(settings.get("steps") or 0)
        undecided.append(
            f"the loss does not fall in the training check ({steps} steps, this learning rate)"
        )
        if steps < MANY_STEPS:
            needs.append(OpenInput("more training steps", "train_steps", MANY_STEPS).as_dict())
        rate_ = float(settings.get("learning_rate") or 1e-3) / 10
        needs.append(
            OpenInput("another learning rate", "learning_rate", float(f"{rate_:.2g}")).as_dict()
        )
