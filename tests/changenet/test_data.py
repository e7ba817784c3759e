import numpy as np
import pandas as pd
import pytest
import torch
from changenet_pairs import COLUMNS, spec_data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deft.changenet.data import augment, pairs
from deft.changenet.data.images import PictureCache, PictureError, read_picture
from deft.changenet.data.pairs import PairData, batches, join_lights, open_pairs
from deft.changenet.data.sampling import (
    draw_epoch,
    epoch_generator,
    sampling_weights,
    training_weights,
)
from deft.changenet.spec import from_dict, render
from deft.changenet.spec.schema import Augmentation
from deft.core.errors import HardStop


def opened(spec, workspace, **options):
    return open_pairs(spec, workspace / "train.csv", workspace / "images", **options)


def test_tensor_is_pil_resize_then_mean_and_std(spec, workspace):
    batch = opened(spec, workspace).batch([4])
    picture = Image.open(workspace / "images/in/p4_A.png").resize((32, 32), 2)
    plain = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.full(3, 0.226)
    wanted = (plain - mean[:, None, None]) / std[:, None, None]
    assert np.abs(batch.test[0].numpy() - wanted).max() < 1e-6
    assert batch.label.shape == (1, 1)


def test_labels_compare_the_literal(spec):
    labels = ["PASS", "pass", "PASS ", "", "bridge"]
    table = pd.DataFrame([("a", "b", label, "o") for label in labels], columns=COLUMNS)
    assert PairData(spec, table, "x").labels.tolist() == [0, 1, 1, 1, 1]


def test_workers_change_no_number(spec, workspace):
    data = opened(spec, workspace, training=True, seed=3)
    order = draw_epoch(training_weights(data), epoch_generator(3, 1))
    one = list(batches(data, order, 5, epoch=1, workers=0))
    fresh = opened(spec, workspace, training=True, seed=3)
    many = list(batches(fresh, order, 5, epoch=1, workers=4))
    assert len(one) == len(many) == 4
    for a, b in zip(one, many, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
    assert not torch.equal(one[0].test, next(batches(data, order, 5, epoch=2)).test)


def test_each_file_is_decoded_once(spec, workspace):
    cache = PictureCache()
    data = opened(spec, workspace, cache=cache)
    for _ in range(3):
        list(batches(data, range(18), 6, workers=3))
    assert cache.decoded == 36


def test_a_full_cache_still_gives_the_same(spec, workspace):
    small = opened(spec, workspace, cache=PictureCache(max_bytes=5000))
    large = opened(spec, workspace)
    for _ in range(2):
        assert torch.equal(small.batch(range(18)).golden, large.batch(range(18)).golden)
    assert small.cache.bytes <= 5000
    assert small.cache.decoded > 36


@pytest.mark.parametrize("kind", ["empty", "truncated", "text", "missing"])
def test_broken_pictures_are_named(spec, tmp_path, kind):
    (tmp_path / "d").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    for name in ("a", "b"):
        Image.fromarray(noise).save(tmp_path / f"d/{name}_A.png", "JPEG")
    bad = tmp_path / "d/b_A.png"
    whole = bad.read_bytes()
    if kind == "missing":
        bad.unlink()
    else:
        bad.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"hi"}[kind])
    rows = [("d", "d", "PASS", "a"), ("d", "d", "ng", "b")]
    csv = tmp_path / "t.csv"
    pd.DataFrame(rows, columns=COLUMNS).to_csv(csv, index=False)
    with pytest.raises(HardStop) as caught:
        list(batches(open_pairs(spec, csv, tmp_path), range(2), 1, workers=2))
    assert caught.value.code == ("missing_input" if kind == "missing" else "image_invalid")
    assert caught.value.rows == [3]
    assert caught.value.file == str(csv)
    assert "b_A.png" in str(caught.value)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100))
def test_any_cut_of_a_jpeg_is_found_or_harmless(tmp_path_factory, percent):
    path = tmp_path_factory.mktemp("cut") / "a.jpg"
    noise = np.random.default_rng(1).integers(0, 255, (48, 48, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path, quality=95)
    whole = path.read_bytes()
    wanted = read_picture(path, (48, 48))
    path.write_bytes(whole[: len(whole) * percent // 100])
    try:
        assert np.array_equal(read_picture(path, (48, 48)), wanted)
    except PictureError:
        assert percent < 100


def test_joins():
    tiles = [np.full((2, 3, 3), i, np.uint8) for i in range(4)]
    assert join_lights(tiles, None).shape == (8, 3, 3)
    grid = join_lights(tiles, (2, 2))
    assert grid[::2, ::3, 0].tolist() == [[0, 1], [2, 3]]


def test_sampling_weights():
    labels = np.array([0] * 8 + [1] * 2, np.float32)
    weights = sampling_weights(labels, 0.1)
    assert weights.dtype == torch.float64
    assert weights.tolist() == [1.0] * 8 + [float(np.float32(0.4))] * 2


def test_tables_that_cannot_train(spec, workspace, tmp_path):
    data = opened(spec, workspace)
    data.labels[:] = 1
    with pytest.raises(HardStop, match="only defective"):
        training_weights(data)
    big = render(spec, {"dataset.classify.batch_size": 19})
    with pytest.raises(HardStop, match="18 training rows") as caught:
        training_weights(opened(big, workspace))
    assert caught.value.code == "spec_invalid"
    empty = tmp_path / "e.csv"
    empty.write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(HardStop, match="no rows"):
        open_pairs(spec, empty, workspace)


def test_augmentation_off_is_inference(workspace):
    data = spec_data()
    data["dataset"]["classify"]["augmentation_config"] = {"augment": False}
    spec = from_dict(data)
    plain = opened(spec, workspace).batch([1, 2])
    training = opened(spec, workspace, training=True).batch([1, 2], epoch=4)
    assert torch.equal(plain.test, training.test)


@given(st.integers(0, 2**32 - 1))
def test_draws_stay_in_range(seed):
    config = Augmentation(augment=True)
    change = augment.draw(config, np.random.default_rng(seed))
    assert change.angle in (0.0, 90.0, 180.0, 270.0)
    assert 0.7 <= change.brightness <= 1.3
    assert -0.3 <= change.hue <= 0.3
    picture = np.random.default_rng(0).integers(0, 255, (20, 28, 3)).astype(np.uint8)
    out = augment.apply(picture, change)
    assert out.shape == picture.shape
    assert out.dtype == np.uint8


def test_same_picture_stays_a_pair_of_equals():
    picture = np.random.default_rng(0).integers(0, 255, (20, 20, 3)).astype(np.uint8)
    for seed in range(20):
        change = augment.draw(Augmentation(), np.random.default_rng(seed))
        assert np.array_equal(augment.apply(picture, change), augment.apply(picture.copy(), change))


def test_constants_of_the_normalisation_are_copied_to_a_device_once(spec, monkeypatch):
    made = []
    tensor = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda *a, **k: made.append(a) or tensor(*a, **k))
    pairs._constant.cache_clear()
    pictures = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    config = spec.dataset.classify.augmentation_config
    full, mean, std = (
        np.array(values, np.float32).reshape(-1, 1, 1)
        for values in ([255.0], config.rgb_input_mean, config.rgb_input_std)
    )
    with torch.inference_mode():
        first = pairs.normalise(spec, pictures)
    again = pairs.normalise(spec, pictures)
    wanted = (pictures.transpose(0, 3, 1, 2).astype(np.float32) / full - mean) / std
    assert np.array_equal(again.numpy(), wanted) and torch.equal(first, again)
    assert len(made) == 3
    weight = torch.ones(1, requires_grad=True)  # a constant made for scoring serves a training
    (again * weight * pairs._constant(tuple(config.rgb_input_std), again.device)).sum().backward()
    assert weight.grad is not None
