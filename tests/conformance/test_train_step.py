"""One whole training step against TAO's: loss, gradients, batch norms, the optimizer's step.

Whatever cases the folder holds: either difference module, any backbone. What a case does not record
is skipped by name, and so is a case of a kind that is not known here.
"""

from __future__ import annotations

import gc

import pytest
import torch
from tao_reference import FOLDER, LOGITS_TOLERANCE, load_json
from train_steps import precise_step
from whole_models import built

from deft.core.errors import HardStop

pytestmark = pytest.mark.long

STEPS = sorted(path.stem for path in (FOLDER / "train").glob("train_step_*.json"))
TOLERANCE = 1e-5
NORM_TOLERANCE = 1e-3  # relative
SMALL_GRADIENT = 1e-6  # AdamW's first step is lr * sign, which means nothing below this
NORM_OF_NOISE = 1e-6  # of the largest gradient's: what a bias before a batch norm has
OPTIMIZERS = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam, "SGD": torch.optim.SGD}
AFTER = "params_after_one_"  # the optimizer's name follows


def _in_recorded_mode(network: torch.nn.Module, mode: str) -> None:
    """Everything trains; a transformer that draws random positions may have been left out."""
    network.train()
    if "eval()" in mode:
        part = getattr(network.model.backbone, "pretrained_part", None)
        if part is None:
            pytest.skip(f"the recorded mode is not known for this backbone: {mode}")
        part.eval()


def recorded(facts: dict, name: str):
    """Return what a case records, or skip."""
    if facts.get(name) is None:
        pytest.skip(f"{facts['case']}: the case does not record {name}")
    return facts[name]


@pytest.fixture(scope="module", params=STEPS)
def step(request):
    """Yield the recorded facts and what the same step gives here."""
    facts = load_json(f"train/{request.param}.json")
    options = dict(recorded(facts, "optimizer"))
    kind = OPTIMIZERS.get(options.pop("type"))
    if kind is None:
        pytest.skip(f"{request.param}: optimizer {facts['optimizer']['type']} is not known here")
    try:
        # TAO's contrastive loss is the one that compares all pairs with all labels.
        network = built(facts["case"], upstream_compat=True)
    except HardStop as stop:
        pytest.skip(f"{request.param}: not supported: {stop.message}")
    _in_recorded_mode(network, facts.get("mode", ""))
    if "betas" in options:
        options["betas"] = tuple(options["betas"])
    optimizer = kind(network.parameters(), **options)
    labels = recorded(facts, "labels")
    output, loss, buffers = precise_step(network, optimizer, facts["case"], labels)
    wanted = facts.get("buffers_after_forward") or {}
    yield facts, network, output, loss, {k: v for k, v in buffers.items() if k in wanted}
    del network, optimizer, output, loss, buffers
    gc.collect()


def test_loss_and_scores(step):
    facts, network, output, loss, _ = step
    assert loss == pytest.approx(recorded(facts, "loss"), abs=TOLERANCE)
    found = network.score(output).tolist()
    assert found == pytest.approx(recorded(facts, "score_train_mode"), abs=LOGITS_TOLERANCE)
    if not network.learnable:  # its output is the distance, which is the score
        return
    wanted = [value for row in recorded(facts, "logits_train_mode") for value in row]
    assert output.flatten().tolist() == pytest.approx(wanted, abs=LOGITS_TOLERANCE)


def test_gradients(step):
    facts, network, *_ = step
    wanted = recorded(facts, "grad")
    found = {k: v.grad for k, v in network.named_parameters()}
    assert [k for k, v in found.items() if v is not None] == list(wanted)
    without = [k for k, v in found.items() if v is None]
    assert without == facts.get("params_without_grad", without)
    largest = max(one["l2"] for one in wanted.values())
    for name, one in wanted.items():
        # A bias in front of a batch norm has no gradient but rounding.
        assert found[name].double().norm().item() == pytest.approx(
            one["l2"], rel=NORM_TOLERANCE, abs=NORM_OF_NOISE * largest
        ), name


def test_batch_norms(step):
    facts, *_, buffers = step
    wanted = recorded(facts, "buffers_after_forward")
    assert buffers.keys() == wanted.keys()
    for name, one in wanted.items():
        first = buffers[name].flatten()[:4].double().tolist()
        assert first == pytest.approx(one["first4"], abs=TOLERANCE), name
        mean = buffers[name].double().mean().item()
        assert mean == pytest.approx(one["mean"], abs=TOLERANCE), name


def test_optimizer_step(step):
    facts, network, *_ = step
    (key,) = [name for name in facts if name.startswith(AFTER)] or [f"{AFTER}step"]
    after, slopes_of = recorded(facts, key), recorded(facts, "grad")
    noise = NORM_OF_NOISE * max(one["l2"] for one in slopes_of.values())
    compared = 0
    parameters = dict(network.named_parameters())
    for name, wanted in after.items():
        first = parameters[name].detach().flatten()[:4].tolist()
        slopes = slopes_of[name]["first4"]
        # The first step is lr * sign: of a slope within the gradients' own tolerance no sign is
        # certain (seen: 0.005 beside 6.6 in one tensor, turned by another BLAS).
        largest = slopes_of[name].get("absmax", max(map(abs, slopes)))
        certain = max(SMALL_GRADIENT, noise, NORM_TOLERANCE * largest)
        for found, value, slope in zip(first, wanted["first4_after"], slopes, strict=True):
            if abs(slope) > certain:
                compared += 1
                assert found == pytest.approx(value, abs=TOLERANCE), name
    assert compared > len(after)
