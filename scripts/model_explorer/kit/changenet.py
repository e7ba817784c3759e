"""What TAO Visual ChangeNet (classify) wants and gives: a test and a golden picture, one score."""

from __future__ import annotations

from typing import Any

NAMES = ("input_1", "input_2")  # TAO's names of the test and the golden picture
RULE = "score > threshold means NO_PASS"


def golden_pair(
    spec: Any, source: str, facts: dict[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, str]], dict[str, Any]]:
    """Return inputs, facts, unknowns and pre-/postprocessing that a checked spec gives."""
    data = spec.dataset.classify
    extra = from_bundle(spec_facts(spec, source), f"the experiment spec {source}")
    shape = ["batch", 3, *spec.tensor_size]
    many = ["batch", data.num_golden, 3, *spec.tensor_size]
    shapes = (shape, many if data.num_golden > 1 else shape)
    inputs = [
        {"name": name, "dtype": "float32", "shape": s, "source": f"the experiment spec {source}"}
        for name, s in zip(NAMES, shapes)  # noqa: B905
    ]
    return inputs, facts, [], extra


def spec_facts(spec: Any, source: str) -> dict[str, Any]:
    """Return what a hand-off's ``preprocessing.json`` would hold, from a checked spec."""
    data = spec.dataset.classify
    grid = spec.grid or (1, len(spec.lights))
    height, width = spec.picture_size
    return {
        "lights": spec.lights, "height_px": height, "width_px": width,
        "join_x": grid[0], "join_y": grid[1],
        "mean": list(data.augmentation_config.rgb_input_mean),
        "std": list(data.augmentation_config.rgb_input_std),
        "num_golden": data.num_golden,
        "output": "logits" if spec.learnable else "distance",
        "threshold": spec.model.classify.eval_margin,
        "threshold_source": f"model.classify.eval_margin of {source}",
    }  # fmt: skip


def from_bundle(facts: dict[str, Any], source: str) -> dict[str, Any]:
    """Return pre- and postprocessing from a hand-off's ``preprocessing.json`` (or a spec's
    values).
    """
    common = {
        "kind": "image", "colour_order": "RGB", "resample": "bilinear", "crop_fraction": 1.0,
        "resize_mode": "squash", "source": source,
        **{k: facts[k] for k in ("height_px", "width_px", "lights", "join_x", "join_y")},
        "mean": list(facts["mean"]), "std": list(facts["std"]),
    }  # fmt: skip
    return {
        "preprocess": {
            NAMES[0]: {**common, "side": "test", "pictures": 1},
            NAMES[1]: {**common, "side": "golden", "pictures": int(facts.get("num_golden", 1))},
        },
        "postprocess": {
            "kind": "changenet", "output": facts["output"], "threshold": float(facts["threshold"]),
            "threshold_source": facts.get("threshold_source", source), "rule": RULE,
            "labels": ["PASS", "NO_PASS"], "source": source,
        },
    }  # fmt: skip
