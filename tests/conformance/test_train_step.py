"""One whole training step against TAO's: loss, gradients, batch norms, AdamW."""

from __future__ import annotations

import gc

import pytest
import torch
from tao_reference import FOLDER, LOGITS_TOLERANCE, load_json
from whole_models import built, inputs

STEPS = sorted(path.stem for path in (FOLDER / "train").glob("train_step_*.json"))
TOLERANCE = 1e-5
NORM_TOLERANCE = 1e-3  # relative
SMALL_GRADIENT = 1e-6  # AdamW's first step is lr * sign, which means nothing below this


def _precise_classifier(classifier: torch.nn.Module) -> None:
    """Let the classifier reckon in float64.

    Each of its first sums has 802 816 products, and batch norm over three pairs magnifies their
    rounding twice: with float32, logits differ by 8e-5 from one BLAS to the next (both upstream's
    and ours are 5e-5 from the exact ones), which would hide what is compared here.
    """
    classifier.double()
    classifier.register_forward_pre_hook(lambda _module, given: (given[0].double(),))


@pytest.fixture(scope="module", params=STEPS)
def step(request):
    """Yield the recorded facts and what the same step gives here."""
    facts = load_json(f"train/{request.param}.json")
    network = built(facts["case"])
    network.train()
    network.model.backbone.pretrained_part.eval()  # the recorded step has no random positions
    _precise_classifier(network.model.decoder.classifier)
    options = facts["optimizer"]
    assert options["type"] == "AdamW"
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=options["lr"],
        weight_decay=options["weight_decay"],
        betas=tuple(options["betas"]),
        eps=options["eps"],
    )
    output = network(*inputs(facts["case"]))
    loss = network.criterion(output, torch.tensor(facts["labels"])[:, None])
    buffers = {
        k: v.clone() for k, v in network.named_buffers() if k in facts["buffers_after_forward"]
    }
    loss.backward()
    optimizer.step()
    yield facts, network, output.detach(), loss.item(), buffers
    del network, optimizer, output, loss
    gc.collect()


def test_loss_and_scores(step):
    facts, network, output, loss, _ = step
    assert loss == pytest.approx(facts["loss"], abs=TOLERANCE)
    found = network.score(output).tolist()
    assert found == pytest.approx(facts["score_train_mode"], abs=LOGITS_TOLERANCE)
    wanted = [value for row in facts["logits_train_mode"] for value in row]
    assert output.flatten().tolist() == pytest.approx(wanted, abs=LOGITS_TOLERANCE)


def test_gradients(step):
    facts, network, *_ = step
    found = {k: v.grad for k, v in network.named_parameters()}
    assert [k for k, v in found.items() if v is None] == facts["params_without_grad"]
    assert list(found) == list(facts["grad"])
    largest = max(wanted["l2"] for wanted in facts["grad"].values())
    for name, wanted in facts["grad"].items():
        # A bias in front of a batch norm has no gradient but rounding.
        assert found[name].double().norm().item() == pytest.approx(
            wanted["l2"], rel=NORM_TOLERANCE, abs=1e-6 * largest
        ), name


def test_batch_norms(step):
    facts, *_, buffers = step
    assert buffers.keys() == facts["buffers_after_forward"].keys()
    for name, wanted in facts["buffers_after_forward"].items():
        first = buffers[name].flatten()[:4].double().tolist()
        assert first == pytest.approx(wanted["first4"], abs=TOLERANCE), name
        mean = buffers[name].double().mean().item()
        assert mean == pytest.approx(wanted["mean"], abs=TOLERANCE), name


def test_adamw(step):
    facts, network, *_ = step
    compared = 0
    parameters = dict(network.named_parameters())
    for name, wanted in facts["params_after_one_adamw_step"].items():
        first = parameters[name].detach().flatten()[:4].tolist()
        slopes = facts["grad"][name]["first4"]
        for found, after, slope in zip(first, wanted["first4_after"], slopes, strict=True):
            if abs(slope) > SMALL_GRADIENT:
                compared += 1
                assert found == pytest.approx(after, abs=TOLERANCE), name
    assert compared > len(facts["grad"])
