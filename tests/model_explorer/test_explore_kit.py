"""Preprocessing against timm and open_clip, decoding, and statistics."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from explore_tools import SEED
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model_explorer.kit import (
    arrays,
    bench,
    contract,
    decode,
    figures,
    markdown,
    meanings,
    metrics,
    preprocess,
    quality,
    settle,
    steps,
)
from model_explorer.kit import folder as kit_folder
from model_explorer.kit.folder import Refusal, plain
from model_explorer.kit.shapes import compatible


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(SEED)
    coarse = rng.integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(50, 50), (83, 47), (47, 83), (300, 120)])
@pytest.mark.parametrize("fraction", [0.875, 0.95, 1.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_timm_picture_is_prepared_as_timm_does(tmp_path, size, fraction, interpolation):
    from timm.data import create_transform

    mean, std = (0.1, 0.4, 0.5), (0.2, 0.3, 0.4)
    drawn = picture(*size)
    drawn.save(tmp_path / "p.png")
    wanted = create_transform(
        (3, 32, 32), interpolation=interpolation, mean=mean, std=std, crop_pct=fraction
    )(drawn).numpy()
    rule = {"height_px": 32, "width_px": 32, "resample": interpolation, "crop_fraction": fraction,
            "mean": list(mean), "std": list(std)}  # fmt: skip
    found = preprocess.pictures([tmp_path / "p.png"], rule, "float32")
    assert found.shape == (1, 3, 32, 32) and found.dtype == np.float32
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)


def test_squash_is_open_clips_and_the_loops_resize(tmp_path):
    drawn = picture(70, 40)
    drawn.save(tmp_path / "p.png")
    rule = {"height_px": 24, "width_px": 32, "resize_mode": "squash", "resample": "bilinear"}
    found = preprocess.resized(tmp_path / "p.png", rule)
    assert (found == np.asarray(drawn.resize((32, 24), Image.Resampling.BILINEAR))).all()


def test_colours_layouts_scales_and_lights(tmp_path):
    for name, colour in (("a", (10, 20, 30)), ("b", (40, 50, 60))):
        Image.new("RGB", (4, 4), colour).save(tmp_path / f"{name}.png")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    rule = {"height_px": 4, "width_px": 4, "scale": 1.0, "resize_mode": "squash"}
    bgr = preprocess.pictures(files[:1], {**rule, "colour_order": "BGR"}, "float32")
    assert bgr[0, :, 0, 0].tolist() == [30, 20, 10]
    last = preprocess.pictures(files[:1], {**rule, "layout": "NHWC"}, "uint8")
    assert last.shape == (1, 4, 4, 3) and last.dtype == np.uint8
    grey = preprocess.pictures(files[:1], {**rule, "colour_order": "L"}, "float32")
    assert grey.shape == (1, 1, 4, 4)
    lights = {**rule, "lights": ["x", "y"], "join_x": 2, "join_y": 1}
    joined = preprocess.pictures(files, lights, "float32")
    assert joined.shape == (1, 3, 4, 8) and joined[0, 0, 0].tolist() == [10] * 4 + [40] * 4
    below = preprocess.pictures(files, {**lights, "join_x": 1, "join_y": 2}, "float32")
    assert below.shape == (1, 3, 8, 4)
    goldens = preprocess.pictures(files, {**rule, "pictures": 2}, "float32")
    assert goldens.shape == (1, 2, 3, 4, 4)


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=60))
def test_statistics_agree_with_numpy(values):
    found = bench.summary(values)
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["median"] == pytest.approx(np.median(values))
    assert found["p95"] == np.percentile(values, 95, method="inverted_cdf")
    assert found["min"] <= found["median"] <= found["p95"] <= found["max"]


def test_answers_are_decoded_as_the_contract_says():
    contract = {"postprocess": {"kind": "softmax_top", "labels": ["a", "b"]}}
    out = decode.answer(contract, {"logits": np.array([[0.0, 2.0, 1.0]], np.float32)})
    assert out["label"] == "b" and out["top"][1]["label"] == "class 2"
    assert sum(t["probability"] for t in out["top"]) == pytest.approx(1)
    assert out["score"] == pytest.approx(np.exp(2) / (1 + np.exp(1) + np.exp(2)))
    rule = {"kind": "changenet", "output": "logits", "threshold": 0.5}
    for logits, label in (((0.0, 1.0), "NO_PASS"), ((1.0, 0.0), "PASS"), ((0.0, 0.0), "PASS")):
        found = decode.answer({"postprocess": rule}, {"o": np.array([logits], np.float32)})
        assert found["label"] == label
    rule = {"kind": "changenet", "output": "distance", "threshold": 1.5}
    assert decode.answer({"postprocess": rule}, {"o": np.array([2.0])})["label"] == "NO_PASS"
    out = decode.answer({"postprocess": {"kind": "unknown"}}, {"a": [{0: 0.25}], "b": np.ones(3)})
    assert decode.words(out) == "a: [{0: 0.25}]; b: [1.0, 1.0, 1.0]"


def test_outputs_of_any_nesting_get_names():
    one = np.ones(1)
    assert list(arrays.flatten(one)) == ["output"]
    assert list(arrays.flatten({"a": one, "b": {"c": one}, "d": None})) == ["a", "b.c"]
    assert list(arrays.flatten((one, [one, one]))) == ["output_0", "output_1_0", "output_1_1"]
    assert arrays.difference([{0: 1.0}], [{0: 1.5}]) == 0.5
    assert arrays.difference(np.ones(2), np.ones(3)) is None
    assert plain({"x": np.float32("nan"), "y": np.arange(2)}) == {"x": "nan", "y": [0, 1]}


def test_shapes_that_only_fill_free_axes_are_compatible():
    assert compatible(None, [1, 2]) and compatible(["n", 3], ["batch", 3])
    assert compatible(["n", 3, "h"], ["n", 3, 64])
    assert not compatible(["n", 3], ["n", 4]) and not compatible(["n", 3], ["n", 3, 3])


def test_what_is_tried_follows_the_first_weights():
    shapes = [
        c[0] for c in settle.candidates([("conv.weight", (8, 5, 3, 3)), ("fc.weight", (2, 8))])
    ]
    assert shapes[0] == [1, 5, 224, 224] and [1, 8] in shapes
    assert settle.candidates([("fc.weight", (2, 8))])[0][0] == [1, 8]
    assert settle.candidates([("c.weight", (4, 6, 3))])[0][0] == [1, 6, 16]


def test_quality_counts_answers_rows_and_classes():
    def sample(truth, label):
        return {"truth": truth, "label": label}

    pairs = [("a", "a"), ("a", "b"), ("b", "b"), (None, "b"), ("b", None)]
    found = quality.quality({"samples": [sample(*p) for p in pairs]}, {})
    assert (found["commonest_answer"], round(found["commonest_pct"])) == ("a", 67)
    assert found["inputs_with_known_answer"] == 3 and found["accuracy_pct"] == pytest.approx(
        200 / 3
    )
    from sklearn.metrics import f1_score

    wanted = 100 * f1_score(["a", "a", "b"], ["a", "b", "b"], average="macro")
    assert found["f1_pct"] == pytest.approx(wanted)
    pairs = [("bridge", "NO_PASS"), ("missing", "PASS"), ("PASS", "NO_PASS"), ("PASS", "PASS")]
    changenet = {"postprocess": {"kind": "changenet"}}
    found = quality.quality({"samples": [sample(*p) for p in pairs]}, changenet)
    assert (found["recall_pct"], found["far_pct"], found["accuracy_pct"]) == (50, 50, 50)
    assert quality.quality({}, {}) == {"inputs_with_known_answer": 0}


def test_without_class_names_only_numbers_are_compared():
    def found(*pairs, **rule):
        samples = [{"truth": t, "label": label} for t, label in pairs]
        contract = {"postprocess": {"kind": "softmax_top", **rule}}
        return quality.quality({"samples": samples}, contract)

    numbered = found(("3", "class 3"), ("4", "class 3"), ("cat", "class 0"))
    assert (numbered["inputs_with_known_answer"], numbered["accuracy_pct"]) == (2, 50)
    assert found(("cat", "class 0")) == {"inputs_with_known_answer": 0}
    assert found(("cat", "cat"), labels=["cat"])["accuracy_pct"] == 100


def test_markdown_cells_cannot_break_a_table():
    assert markdown.cell("a|b\n<script>") == "a\\|b &lt;script>"
    assert [markdown.number(v) for v in (0, 12.345, 0.01234, 1234567.0, None, 1e-9)] == [
        "0", "12.3", "0.0123", "1,234,567", "–", "1.00e-09",
    ]  # fmt: skip


def test_the_bars_of_the_times_are_as_long_as_the_tables_say():
    """The medians of the parts add up to something else than the median of whole runs."""
    warm = {"runs": 3, "total_ms": {"median": 0.6}, "preprocess_ms": {"median": 0.3},
            "model_ms": {"median": 0.1}, "postprocess_ms": {"median": 0.1}}  # fmt: skip
    cold = {"preprocess_ms": 3.0, "model_ms": 1.0, "postprocess_ms": 0.5, "total_ms": 4.5}
    (_, first), (name, middle) = figures.bars_of({"cold": cold, "warm": warm})
    assert name == "warm, median of 3" and sum(middle.values()) == pytest.approx(0.6)
    assert middle["preprocess"] == pytest.approx(0.36)
    assert sum(first.values()) == cold["total_ms"]
    assert metrics.shares({f"{p}_ms": {"median": 0.0} for p in metrics.PARTS})["model"] == 0


def entry(*shape: int | str) -> dict:
    return {"name": "x", "role": "data", "shape": list(shape), "dtype": "float32"}


@pytest.mark.parametrize("shape", [("n", 1, 9, 9), (1, 9, 9, 1)])
def test_one_channel_in_the_shape_means_grey_pictures(shape, tmp_path):
    rule = contract.user_preprocess({"mean": [0.5], "std": [0.5]}, entry(*shape))
    assert (rule["colour_order"], rule["colour_order_source"]) == ("L", "its shape has one channel")
    picture(9, 9).save(tmp_path / "a.png")
    made = preprocess.pictures([tmp_path / "a.png"], rule, "float32")
    assert made.shape == (1, *shape[1:])
    assert contract.user_preprocess({}, entry(1, 3, 9, 9))["colour_order"] == "RGB"
    assert contract.user_preprocess({}, entry(1, "c", 9, 9))["colour_order"] == "RGB"


@pytest.mark.parametrize(
    ("given_", "channels", "words", "line"),
    [
        ({"colour_order": "BGR"}, 1, "takes 1 channel: colour_order BGR makes 3", '"L"'),
        ({"colour_order": "L"}, 3, "takes 3 channels: colour_order L makes 1", '"RGB"'),
        ({}, 4, "takes 4 channels: colour_order RGB makes 3", "my_inputs.npz"),
        ({"mean": [0.1, 0.2, 0.3]}, 1, "mean has 3 numbers", '"L"'),
        ({"std": [0.1, 0.2]}, 3, "std has 2 numbers", '"RGB"'),
    ],
)
def test_a_preprocessing_that_makes_other_channels_is_refused(given_, channels, words, line):
    with pytest.raises(Refusal, match=words) as refusal:
        contract.user_preprocess(given_, entry("n", channels, 9, 9))
    assert line in refusal.value.needs[0]["line"]
    # A state that the model is fed back is no picture.
    contract.user_preprocess(given_, {**entry("n", channels, 9, 9), "role": "state"})


def test_a_processor_of_other_channels_says_nothing_of_an_input():
    rule = {"colour_order": "RGB", "height_px": 9, "width_px": 9}
    for mean, count, order in (([0.5], 1, "L"), ([0.5] * 3, 1, None), ([0.5] * 3, 3, "RGB")):
        found: dict = {}
        stated = {"preprocess": {"value": {**rule, "mean": mean, "std": mean}, "source": "s"}}
        meanings.stated_preprocess(found, stated, [entry(1, count, 9, 9)])
        assert (found["x"]["colour_order"] if found else None) == order
    assert rule["colour_order"] == "RGB"


def test_the_whole_reason_of_a_failed_step_is_told(tmp_path):
    """A library's message may have many lines, its last one the least telling."""

    def fails(folder):
        raise ValueError("invalid dimensions\n index: 1 Got: 3 Expected: 1\n Please fix the input.")

    script = tmp_path / "scripts/kit"
    script.mkdir(parents=True)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setattr(kit_folder, "here", lambda: kit_folder.Folder(tmp_path))
        patch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stop:
            kit_folder.main(fails)
    assert stop.value.code == 1 and "Traceback" in said.getvalue()
    assert steps._said(1, "", said.getvalue()) == (
        "ValueError: invalid dimensions index: 1 Got: 3 Expected: 1 Please fix the input.",
        "failed",
    )
