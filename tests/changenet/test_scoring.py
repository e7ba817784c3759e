"""Scoring a table: every picture embedded once, and caching changes nothing but float noise."""

import shutil

import numpy as np
import pytest
import torch
from changenet_pairs import spec_data
from shared_goldens import GOLDENS, ROWS, shared_goldens

from deft.changenet.data.pairs import normalise
from deft.changenet.embeddings import EmbeddingMemory, digest, training_forward
from deft.changenet.model import build_model
from deft.changenet.scoring import TableScorer, load, outputs
from deft.changenet.spec import from_dict
from deft.changenet.speed import prepare
from deft.core.errors import HardStop

CPU = torch.device("cpu")


def plain(model, data):
    """Return every row's output from the network itself, row by row."""
    with torch.inference_mode():
        batches = [data.batch([row]) for row in range(len(data))]
        return torch.cat([model(b.test, b.golden) for b in batches])


@pytest.mark.parametrize("euclidean", [False, True])
@pytest.mark.parametrize("cache_bytes", [0, 20_000, 1 << 30])
def test_caching_changes_no_score(tmp_path, euclidean, cache_bytes):
    spec, model, data = shared_goldens(tmp_path, euclidean)
    wanted = model.score(plain(model, data))
    for batch_size in (1, 4, 100):
        out = outputs(model, data, batch_size, CPU, cache_bytes=cache_bytes)
        assert torch.allclose(model.score(out), wanted, atol=1e-6, rtol=0)
        again = outputs(model, data, batch_size, CPU, cache_bytes=cache_bytes)
        assert torch.equal(out, again)
    few = outputs(model, data, 4, CPU, rows=[5, 0, 9], cache_bytes=cache_bytes)
    assert torch.allclose(model.score(few), wanted[[5, 0, 9]], atol=1e-6, rtol=0)


def test_each_distinct_picture_is_embedded_once(tmp_path):
    _, model, data = shared_goldens(tmp_path)
    scorer = TableScorer(model, CPU)
    scorer.outputs(data, 3)
    assert scorer.embedded == ROWS + GOLDENS
    # Without memory a golden is still shared within its batch.
    forgetful = TableScorer(model, CPU, cache_bytes=0)
    forgetful.outputs(data, ROWS)
    assert forgetful.embedded == ROWS + GOLDENS
    forgetful = TableScorer(model, CPU, cache_bytes=0)
    forgetful.outputs(data, 1)
    assert forgetful.embedded == 2 * ROWS


def test_the_memory_for_goldens_is_bounded(tmp_path):
    _, model, data = shared_goldens(tmp_path)
    one = model.model.embed(data.batch([0]).golden)
    size = sum(part.numel() * 4 for part in one)
    scorer = TableScorer(model, CPU, cache_bytes=2 * size)
    scorer.outputs(data, 2)
    assert len(scorer.cache) == 2
    assert scorer.cache.bytes == 2 * size


def test_cache_drops_the_longest_unused():
    cache = EmbeddingMemory(max_bytes=8)
    for name in (b"a", b"b"):
        cache.put(name, [torch.ones(1, 1)])
    assert cache.get(b"a") is not None
    cache.put(b"c", [torch.ones(1, 1)])
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None
    cache.put(b"d", [torch.ones(1, 3)])  # more than all of it
    assert cache.get(b"d") is None
    assert cache.bytes == 8


def test_kept_parts_are_copies():
    cache, batch = EmbeddingMemory(), torch.zeros(4, 2)
    cache.put(b"a", [batch[:1]])
    batch += 1
    assert cache.get(b"a")[0].tolist() == [[0, 0]]


def test_digest_tells_shapes_apart():
    flat = np.zeros((2, 6, 3), np.uint8)
    assert digest(flat) == digest(flat.copy())
    assert digest(flat) != digest(flat.reshape(6, 2, 3))
    assert digest(flat) != digest(flat + 1)


def test_a_test_picture_equal_to_its_golden_is_one_picture(tmp_path, monkeypatch):
    _, _, data = shared_goldens(tmp_path)
    golden = data.golden_files(0)[0]
    monkeypatch.setattr(data, "test_files", lambda row: golden)
    loaded = load(data, [0])
    assert loaded.test == loaded.golden[0]
    assert len(loaded.pictures) == 1


def test_workers_change_no_output(tmp_path):
    _, model, data = shared_goldens(tmp_path)
    one = outputs(model, data, 3, CPU)
    data.spec.dataset.classify.workers = 3
    assert torch.equal(outputs(model, data, 3, CPU), one)


def frozen(root, **classify):
    spec, _, data = shared_goldens(root, **classify)
    spec.model.backbone.freeze_backbone = True
    torch.manual_seed(0)
    return spec, prepare(build_model(spec), CPU).train(), data


@pytest.mark.parametrize("euclidean", [False, True])
def test_frozen_features_train_alike(tmp_path, euclidean):
    _, model, data = frozen(tmp_path, euclidean=euclidean)
    calls = []
    model.model.backbone.net.register_forward_hook(lambda *_: calls.append(1))
    forward = training_forward(model, augmented=False)
    batch = data.batch([0, 5, 9, 3])
    for repeat in range(2):
        grads = []
        for run in (model, forward):
            model.zero_grad(set_to_none=True)
            calls.clear()
            run(batch.test, batch.golden).square().sum().backward()
            grads.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        # rows 0 and 3, 5 and 9 have goldens with equal pixels.
        assert len(calls) == (0 if repeat else 4 + 2)
        assert grads[0].keys() == grads[1].keys()
        assert not any("backbone" in name for name in grads[1])
        for name, grad in grads[0].items():
            assert torch.allclose(grad, grads[1][name], atol=1e-4, rtol=1e-3), name


def test_features_do_not_depend_on_company(tmp_path):
    """So a resumed training, with an empty memory, goes on in the same bytes."""
    _, model, data = frozen(tmp_path)
    model.eval()
    batch, alone = data.batch([0, 5, 9]), data.batch([5, 6, 7])
    used = training_forward(model, augmented=False)
    used(batch.test, batch.golden)
    fresh = training_forward(model, augmented=False)
    assert torch.equal(used(alone.test, alone.golden), fresh(alone.test, alone.golden))


def test_nothing_is_kept_of_what_learns_or_is_augmented(tmp_path):
    _, model, _ = shared_goldens(tmp_path)
    assert training_forward(model, augmented=False) is model
    _, model, _ = frozen(tmp_path)
    assert training_forward(model, augmented=True) is model


def test_normalise_takes_bytes_of_any_batch(tmp_path):
    spec, _, data = shared_goldens(tmp_path)
    pixels = data.pixels([0, 1])
    both = np.stack([pixels.golden, pixels.test], axis=1)
    found = normalise(spec, both, CPU)
    assert found.shape == (2, 2, 3, 32, 32)
    assert torch.equal(found[:, 0], data.batch([0, 1]).golden)
    assert torch.equal(normalise(spec, torch.from_numpy(pixels.test)), data.batch([0, 1]).test)
    assert found.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_prepare_keeps_keys_and_says_when_it_cannot_compile(tmp_path, monkeypatch):
    _, model, _ = shared_goldens(tmp_path)
    keys = list(model.state_dict())
    weight = next(p for p in prepare(model, CPU).parameters() if p.dim() == 4)
    assert weight.is_contiguous(memory_format=torch.channels_last)

    def refuse(*_, **__):
        raise RuntimeError("no compiler\nand a trace")

    monkeypatch.setattr(torch, "compile", refuse)
    with pytest.raises(HardStop, match="no compiler") as caught:
        prepare(model, CPU, compile=True)
    assert caught.value.code == "config_invalid"
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function: compiled.append(function) or function)
    assert list(prepare(model, CPU, compile=True).state_dict()) == keys
    assert {function.__name__ for function in compiled} >= {"features_of", "embed", "compare"}


@pytest.mark.slow
def test_compiled_parts_give_the_same_features_and_scores():
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler, which torch.compile needs on a CPU")
    data = spec_data()
    data["model"]["backbone"]["type"] = "timm:test_convnext"
    torch.manual_seed(0)
    model = build_model(from_dict(data)).eval()
    test, golden = torch.randn(2, 2, 3, 32, 32)
    network = prepare(model, CPU).model

    def results():
        with torch.inference_mode():
            sides = network.embed(test), network.embed(golden)
            return [*sides[0], *sides[1], network.compare(*sides)]

    wanted, plain = results(), network.embed
    prepare(model, CPU, compile=True)
    assert network.embed is not plain and hasattr(network.embed, "_torchdynamo_orig_callable")
    for found, expected in zip(results(), wanted, strict=True):
        assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)
