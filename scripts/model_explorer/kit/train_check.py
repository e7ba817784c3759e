"""Can it be trained here: a few steps on one batch, in which the loss must fall. No real
training.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .arrays import alike, flatten, stack
from .folder import Folder, Refusal, first_line
from .models import open_model
from .preprocess import item

FELL_BY = 0.95  # the last loss must be below this share of the first
ASSUMPTION = (
    "made-up targets, one batch, no data loading and no augmentation: it shows that forward, "
    "backward "
    "and update run, not that the model learns its task"
)


def check(folder: Folder) -> str:
    """Write ``outputs/train_check.json``; return the summary line."""
    parameters, contract = folder.parameters, folder.need("io_contract")
    model = open_model(folder, parameters)
    settings = parameters["train"]
    record: dict[str, Any] = {"settings": settings, "assumptions": ASSUMPTION, "runs": False}
    if not model.trainable:
        record["proven"] = True
        record["why"] = "an ONNX file has no gradients; train the network that it was exported from"
    else:
        try:
            record.update(_steps(folder, contract, model, settings, int(parameters["seed"])))
        except Refusal as refusal:
            record.update(why=str(refusal), proven=True)
        except Exception as error:  # a finding about the model, told in the report
            record["why"] = first_line(error)
    folder.write("train_check", record)
    if not record["runs"]:
        return f"cannot be trained here: {record['why']}"
    losses = record["losses"]
    return f"loss {losses[0]:.4g} -> {losses[-1]:.4g} in {len(losses)} steps"


def _steps(
    folder: Folder, contract: dict[str, Any], model: Any, settings: dict[str, Any], seed: int
) -> dict[str, Any]:
    import torch

    torch.manual_seed(seed)
    module = model.module
    weights = [p for p in module.parameters() if p.is_floating_point()]
    if not weights:
        raise Refusal("the file holds no parameters that could be trained")
    for weight in weights:
        weight.requires_grad_(True)
    try:
        module.train()
        mode = "training mode"
    except NotImplementedError:  # an exported program knows only the mode it was exported in
        mode = "the mode it was exported in"
    samples = folder.need("inputs")["samples"]
    axes = {i["name"]: i["batch_axis"] for i in contract["inputs"]}
    size = int(settings["batch_size"]) if contract["batch"]["free"] else 1
    feeds = [item(folder, contract, samples[i % len(samples)]) for i in range(size)]
    feeds = [alike(feeds)[i % len(alike(feeds))] for i in range(size)]
    placed, named = model.call(stack(feeds, axes) if size > 1 else feeds[0])
    adam = torch.optim.Adam(weights, lr=float(settings["learning_rate"]))
    losses, goal = [], None
    for _ in range(int(settings["steps"])):
        adam.zero_grad()
        outputs = [v for v in flatten(module(*placed, **named)).values() if torch.is_tensor(v)]
        outputs = [v.float() for v in outputs if v.is_floating_point() and v.requires_grad]
        if not outputs:
            raise Refusal("no output depends on the weights through a gradient")
        if goal is None:
            rng = np.random.default_rng(seed)
            goal = [
                torch.as_tensor(rng.standard_normal(tuple(o.shape)), dtype=o.dtype, device=o.device)
                for o in outputs
            ]
        parts = [torch.nn.functional.mse_loss(o, g) for o, g in zip(outputs, goal)]  # noqa: B905
        loss: Any = sum(parts)
        loss.backward()
        adam.step()
        losses.append(float(loss.detach()))
    return {
        "runs": True,
        "losses": losses,
        "fell": losses[-1] < FELL_BY * losses[0],
        "optimizer": "Adam",
        "loss": "mean squared error to random targets",
        "precision": str(weights[0].dtype).replace("torch.", ""),
        "mode": mode,
        "batch_size": size,
        "trainable_parameters": sum(w.numel() for w in weights),
    }
