"""Builds, fills and runs the recorded whole-model cases."""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from tao_reference import fill, load_json, picture, spread

from deft.changenet.model import ChangeNet
from deft.changenet.spec import Spec, from_dict

TEST_SEED, GOLDEN_SEED, SECOND_GOLDEN_SEED = 101, 201, 301
PAIRS = 3
INTERACTION = r"interaction(\d+)"


def case_spec(case: str) -> Spec:
    """Return a recorded case as a spec; HardStop ``spec_invalid`` where it is not supported."""
    facts = load_json(f"model/{case}.json")
    model = copy.deepcopy(facts["spec"])
    model["backbone"] = {k: v for k, v in model["backbone"].items() if v is not None}
    data = dict(facts["dataset"])
    data["input_map"] = {f"light{i}": i for i in range(data["num_input"])}
    return from_dict(
        {
            "model": model,
            "dataset": {"classify": data},
            "train": {"classify": {"loss": facts["loss"]}},
        }
    )


def backbone_of(case: str) -> str:
    """Return a case's backbone name."""
    return load_json(f"model/{case}.json")["spec"]["backbone"]["type"]


def built(case: str, *, upstream_compat: bool = False) -> ChangeNet:
    """Return the case's network, filled and in evaluation mode."""
    network = ChangeNet(case_spec(case), upstream_compat=upstream_compat)
    fill(network)
    return network


def inputs(case: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the case's test pictures (B, 3, H, W) and goldens (the same, or (B, N, 3, H, W))."""
    facts = load_json(f"model/{case}.json")
    size = facts["input_hw"]
    test, golden = picture(TEST_SEED, PAIRS, *size), picture(GOLDEN_SEED, PAIRS, *size)
    golden[-1] = test[-1]
    goldens = facts["dataset"]["num_golden"]
    if goldens == 1:
        return test, golden
    if goldens > 2:
        pytest.skip(f"{case}: the seeds of more than two goldens are not known")
    return test, torch.stack([golden, picture(SECOND_GOLDEN_SEED, PAIRS, *size)], dim=1)


def module_of_stage(network: ChangeNet, stage: str) -> tuple[torch.nn.Module, int | None]:
    """Return the module whose output a stage is, and which item of a tuple."""
    name, item = re.fullmatch(r"(.+?)(?:\[(\d+)\])?", stage).groups()
    model, backbone = network.model, network.model.backbone
    if name.startswith("feature"):
        return backbone, int(name.removeprefix("feature")) - 1
    if name.startswith(("decoder.", "fc1")):
        return model.get_submodule(name), None
    if name == "patch_generator":
        return backbone.pretrained_part.vit.patch_generator, None
    if name.startswith("block"):
        return backbone.vit.blocks[int(name.removeprefix("block"))], None
    name = re.sub(INTERACTION, r"interactions.\1", name)
    return backbone.get_submodule(name), None if item is None else int(item)


def run(case: str, network: ChangeNet, stages: list[str]) -> tuple[torch.Tensor, dict[str, Any]]:
    """Run the case; return its output and, per stage, the outputs of all calls in one batch."""
    seen: dict[str, list[torch.Tensor]] = defaultdict(list)
    hooks = []
    for stage in stages:
        if stage == "summary":  # no module of its own: what enters the euclidean head
            hooks.append(
                network.model.fc1.register_forward_pre_hook(
                    lambda _module, given: seen["summary"].append(given[0])
                )
            )
            continue
        module, item = module_of_stage(network, stage)

        def keep(_module, _inputs, output, stage=stage, item=item):
            seen[stage].append(output if item is None else output[item])

        hooks.append(module.register_forward_hook(keep))
    try:
        with torch.no_grad():
            output = network(*inputs(case))
    finally:
        for hook in hooks:
            hook.remove()
    return output, {stage: torch.cat(outputs) for stage, outputs in seen.items()}


def stage_differences(
    found: dict[str, torch.Tensor], recorded: dict[str, np.ndarray], facts: dict[str, Any]
) -> dict[str, float]:
    """Return, per recorded stage ``name#call``, the largest difference over the largest value.

    Calls of upstream follow each other; here they may be one batch, so each takes its rows.
    """
    differences = {}
    for stage, outputs in found.items():
        start = 0
        for call in range(len(recorded)):
            name = f"{stage}#{call}"
            if name not in facts:
                break
            batch = facts[name]["shape"][0]
            part = outputs[start : start + batch]
            start += batch
            assert list(part.shape) == facts[name]["shape"], name
            wanted = recorded[f"stage/{name}"]
            scale = max(1.0, float(np.abs(wanted).max()))
            sample = part.flatten()[: len(wanted)] if part.numel() <= 256 else spread(part)
            differences[name] = float(np.abs(np.asarray(sample) - wanted).max()) / scale
    return differences
