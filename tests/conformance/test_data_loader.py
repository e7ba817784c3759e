"""The loader against TAO's: the same numbers to the last bit, the same tables taken or refused."""

import ast
import io
import shutil

import numpy as np
import pandas as pd
import PIL
import pytest
import torch
from tao_reference import COMPLETE, FOLDER, has, load_json, load_npz

from deft.changenet.data.images import BICUBIC
from deft.changenet.data.pairs import PairData, open_pairs
from deft.changenet.infer import scored_csv
from deft.changenet.spec import from_dict
from deft.core.errors import HardStop
from deft.tables.changenet_table import read_table

# Pillow 13 resizes some sizes to other values than the releases before it.
NEW_PILLOW = int(PIL.__version__.split(".")[0]) >= 13
TENSORS = "dataset/tensors_pillow13" if NEW_PILLOW else "dataset/tensors"
DRAWN = "everything"  # in the name of cases whose changes are drawn
EDGES = "dataset/edge_cases.json"

CASES = load_json(f"{TENSORS}/dataset_cases.json")["cases"]
RECORDED = [name for name in CASES if has(f"{TENSORS}/{name}.npz")]
EXACT = [name for name in RECORDED if DRAWN not in name]


def loaded(name):
    """Return a case's pairs and their one batch."""
    # engine tao: sizes such as 24 x 32 are no whole number of TAO's coarse strides.
    spec = from_dict({"dataset": {"classify": CASES[name]["config"]}}, engine="tao")
    table = pd.read_csv(FOLDER / "dataset/pairs.csv", dtype=str, keep_default_na=False)
    training = name.startswith("train_")
    data = PairData(spec, table, FOLDER / "dataset/images", training=training)
    return data, data.batch(range(len(table)))


@pytest.mark.parametrize("name", EXACT)
def test_tensors_are_equal_to_the_last_bit(name):
    data, batch = loaded(name)
    arrays = load_npz(f"{TENSORS}/{name}.npz")
    assert np.array_equal(batch.label.numpy(), arrays["label"])
    assert np.array_equal(batch.test.numpy(), arrays["img0"])
    assert np.array_equal(batch.golden.numpy(), arrays["img1"])
    assert data.augmented == (data.resample == BICUBIC)


@pytest.mark.parametrize("name", list(CASES))
def test_shapes_labels_and_means(name):
    case = CASES[name]
    _, batch = loaded(name)
    assert list(batch.test.shape[1:]) == case["img0_shape"]
    assert batch.test.shape == batch.golden.shape
    assert list(batch.label.shape[1:]) == case["label_shape"]
    assert str(batch.test.dtype) == str(batch.golden.dtype) == case["img_dtype"]
    assert str(batch.label.dtype) == case["label_dtype"]
    assert batch.label[:, 0].tolist() == case["labels"]
    if "img0_mean" in case and DRAWN not in name:  # seven digits of each picture's mean
        for side, means in ((batch.test, "img0_mean"), (batch.golden, "img1_mean")):
            assert side.double().mean((1, 2, 3)).tolist() == pytest.approx(case[means], abs=2e-7)


@pytest.mark.skipif(
    not {"four_lights_linear", "four_lights_grid_2x2"} <= set(CASES), reason="cases not kept here"
)
def test_a_grid_holds_the_tiles_of_the_linear_join():
    linear, grid = loaded("four_lights_linear")[1], loaded("four_lights_grid_2x2")[1]
    tiles = linear.test.chunk(4, dim=2)
    rows = [torch.cat(tiles[:2], dim=3), torch.cat(tiles[2:], dim=3)]
    assert torch.equal(grid.test, torch.cat(rows, dim=2))


@pytest.mark.skipif(
    not {"two_lights_linear", "two_lights_linear_indices_swapped"} <= set(CASES),
    reason="cases not kept here",
)
def test_the_integers_of_input_map_mean_nothing():
    plain, swapped = loaded("two_lights_linear")[1], loaded("two_lights_linear_indices_swapped")[1]
    assert torch.equal(plain.test, swapped.test)


def levels(tensor, config):
    """Undo the normalisation: 0 to 255, whole numbers where the loader worked on bytes."""
    mean, std = (
        np.array(config["augmentation_config"][f"rgb_input_{name}"]).reshape(3, 1, 1)
        for name in ("mean", "std")
    )
    return (np.asarray(tensor, np.float64) * std + mean) * 255


@pytest.mark.parametrize("name", [name for name in RECORDED if DRAWN in name])
def test_drawn_changes_where_they_can_be_compared(name):
    """The order of TAO's draws is not recorded, so its very draws cannot be repeated.

    What is certain: labels, sizes, bytes as the domain of the changes, and that every picture has
    been changed (crop and blur always apply when they are on).
    """
    config = CASES[name]["config"]
    arrays = load_npz(f"{TENSORS}/{name}.npz")
    _, batch = loaded(name)
    assert np.array_equal(batch.label.numpy(), arrays["label"])
    plain = {"augmentation_config": config["augmentation_config"] | {"augment": False}}
    spec = from_dict({"dataset": {"classify": config | plain}}, engine="tao")
    table = pd.read_csv(FOLDER / "dataset/pairs.csv", dtype=str, keep_default_na=False)
    unchanged = PairData(spec, table, FOLDER / "dataset/images").batch(range(len(table)))
    for ours, theirs, still in (
        (batch.test, arrays["img0"], unchanged.test),
        (batch.golden, arrays["img1"], unchanged.golden),
    ):
        for found in (ours.numpy(), theirs):
            assert found.shape == theirs.shape
            bytes_ = levels(found, config)
            assert np.abs(bytes_ - bytes_.round()).max() < 1e-3
            assert bytes_.min() > -0.5
            assert bytes_.max() < 255.5
            change = np.abs(bytes_ - levels(still, config)).mean((1, 2, 3))
            assert (change > 1).all()


# What TAO takes and this loop refuses on purpose, with the reason.
STRICTER = {
    "label_spellings": ("csv_invalid", "an empty label, or 'pass', would count as a defect"),
    "empty_csv_header_only": ("csv_invalid", "a table without rows is a mistake of its maker"),
    "grid_2x1_but_four_lights": ("spec_invalid", "TAO silently drops two of the four lights"),
}
# Cells that TAO rewrites and this loop leaves as they stand: "1.50" as 1.5, "2" as 2.0.
KEEPS_CELLS = {"extra_columns_and_other_order"}


def edge_spec(case, engine):
    override = dict(case["override"])
    config = CASES["one_light_down"]["config"]
    if "imap" in override:
        config = config | {"input_map": ast.literal_eval(override.pop("imap"))}
    for dotted, text in override.items():
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        config = config | {dotted.removeprefix("dataset__classify__"): value}
    # Strides that go with 24 x 32 pixels, so that the native engine looks at the rest.
    model = {
        "backbone": {"type": "timm:test_resnet"},
        "decode_head": {"feature_strides": [4, 8, 16, 16]},
    }
    return from_dict({"model": model, "dataset": {"classify": config}}, engine=engine)


@pytest.fixture
def pictures(tmp_path):
    """The pictures, with one more folder whose name is a number."""
    root = tmp_path / "images"
    shutil.copytree(FOLDER / "dataset/images", root)
    shutil.copytree(root / "board1/in", root / "7")
    return root


def edge_names():
    return list(load_json(EDGES)) if COMPLETE and has(EDGES) else []


def written(case, tmp_path, root):
    path = tmp_path / "t.csv"
    path.write_bytes(case["csv"].replace("<images_dir>", str(root)).encode("utf-8"))
    return path


@pytest.mark.parametrize("name", edge_names())
def test_edge_cases(name, pictures, tmp_path):
    case = load_json(EDGES)[name]
    path = written(case, tmp_path, pictures)
    if "error" in case:
        if name == "numeric_input_path":
            # TAO falls over a column of numbers; here a folder may be called 7.
            data = open_pairs(edge_spec(case, "native"), path, pictures)
            assert data.batch(range(len(data))).label.tolist() == [[0.0]]
            return
        with pytest.raises(HardStop):
            data = open_pairs(edge_spec(case, "native"), path, pictures)
            data.batch(range(len(data)))
        return
    if name in STRICTER:
        code, reason = STRICTER[name]
        with pytest.raises(HardStop) as caught:
            open_pairs(edge_spec(case, "native"), path, pictures)
        assert caught.value.code == code, reason
        if name == "empty_csv_header_only":
            return
        text = path.read_text(encoding="utf-8-sig")
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        # Under the refusal lies TAO's own rule.
        data = PairData(edge_spec(case, "tao"), table, pictures)
    else:
        data = open_pairs(edge_spec(case, "native"), path, pictures)
    batch = data.batch(range(len(data)))
    found = [[list(shape), label] for shape, label in zip(
        [p.shape for p in batch.test], batch.label[:, 0].tolist(), strict=True)]  # fmt: skip
    assert found == case["ok"]


@pytest.mark.parametrize(
    "name",
    [n for n in edge_names() if "csv_written" in load_json(EDGES)[n] and n not in STRICTER],
)
def test_the_scored_table_is_written_alike(name, pictures, tmp_path):
    case = load_json(EDGES)[name]
    table = read_table(written(case, tmp_path, pictures))
    scores = np.linspace(0.1, 0.12345679, len(table), dtype=np.float32)
    wanted = case["csv_written"].replace("<images_dir>", str(pictures))
    ours = scored_csv(table, scores)
    if name in KEEPS_CELLS:
        assert ours != wanted
        assert ours.replace("1.50", "1.5").replace(",2,", ",2.0,") == wanted
    else:
        assert ours == wanted
