"""Several goldens a pair: which ones, how they are laid out, what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from changenet_pairs import COLUMNS, spec_data
from PIL import Image

from deft.changenet.data.pairs import batches, open_pairs
from deft.changenet.decoder import Decoder
from deft.changenet.model import build_model, golden_major
from deft.changenet.scoring import TableScorer, outputs
from deft.changenet.spec import from_dict
from deft.core.errors import HardStop

SIZE = 56  # the smallest side at strides 4, 8, 8, 8 and windows of 7


def golden_spec(count=2, lights=("A",), **changes):
    data = spec_data()
    data["model"]["decode_head"]["feature_strides"] = [4, 8, 8, 8]
    data["dataset"]["classify"] |= {
        "num_golden": count,
        "image_width": SIZE,
        "image_height": SIZE,
        "num_input": len(lights),
        "input_map": {light: i for i, light in enumerate(lights)},
        "augmentation_config": {"augment": False},
        **changes,
    }
    return data


@pytest.fixture
def boards(tmp_path):
    """Two folders of goldens, of 5 and 3 names with two lights, and six test pictures."""
    rng = np.random.default_rng(2)

    def save(folder, name):
        (tmp_path / "images" / folder).mkdir(parents=True, exist_ok=True)
        for light in "AB":
            noise = rng.integers(0, 255, (20, 20, 3)).astype(np.uint8)
            Image.fromarray(noise).save(tmp_path / f"images/{folder}/{name}_{light}.png")

    for folder, count in (("g1", 5), ("g2", 3)):
        for i in range(count):
            save(folder, f"gold{i}")
    rows = []
    for i in range(6):
        save("in", f"p{i}")
        rows.append(("in", f"g{1 + i % 2}", "PASS" if i % 3 else "ng", f"p{i}"))
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


def opened(boards, data, **options):
    return open_pairs(from_dict(data), boards / "t.csv", boards / "images", **options)


def names(files):
    return [[path.name for path in golden] for golden in files]


def test_inference_takes_the_same_goldens_always(boards):
    data = opened(boards, golden_spec(2, ("A", "B")))
    chosen = names(data.golden_files(0))
    # Evenly over the sorted names, each with all its lights; object_name plays no part.
    assert chosen == [["gold0_A.png", "gold0_B.png"], ["gold2_A.png", "gold2_B.png"]]
    assert chosen == names(data.golden_files(2, epoch=3, place=7))
    assert names(opened(boards, golden_spec(3)).golden_files(1)) == [
        ["gold0_A.png"],
        ["gold1_A.png"],
        ["gold2_A.png"],
    ]


def test_training_draws_from_the_seed(boards):
    first = opened(boards, golden_spec(2), training=True, seed=4)
    again = opened(boards, golden_spec(2), training=True, seed=4)
    other = opened(boards, golden_spec(2), training=True, seed=5)
    draws = [names(first.golden_files(0, epoch=e, place=p)) for e in range(4) for p in range(9)]
    assert draws == [
        names(again.golden_files(0, epoch=e, place=p)) for e in range(4) for p in range(9)
    ]
    assert draws != [
        names(other.golden_files(0, epoch=e, place=p)) for e in range(4) for p in range(9)
    ]
    assert len({str(draw) for draw in draws}) > 5
    assert all(draw[0] != draw[1] for draw in draws)  # without replacement
    order = [0, 3, 1, 5, 2]
    one = list(batches(first, order, 2, epoch=1, workers=0))
    many = list(batches(again, order, 2, epoch=1, workers=3))
    assert all(torch.equal(a.golden, b.golden) for a, b in zip(one, many, strict=True))


def test_layout(boards):
    data = opened(boards, golden_spec(2, ("A", "B"), image_height=SIZE // 2))
    batch = data.batch([0, 1, 2])
    assert batch.test.shape == (3, 3, SIZE, SIZE)
    assert batch.golden.shape == (3, 2, 3, SIZE, SIZE)
    stacked = golden_major(batch.golden)
    assert torch.equal(stacked[0 * 3 + 2], batch.golden[2, 0])
    assert torch.equal(stacked[1 * 3 + 0], batch.golden[0, 1])
    torch.manual_seed(0)
    model = build_model(data.spec).eval()
    with torch.inference_mode():
        both = model(batch.test, batch.golden)
        assert both.shape == (3, 2)
        # The order of the goldens counts for nothing; which goldens they are counts.
        turned = model(batch.test, batch.golden.flip(1))
        assert torch.allclose(both, turned, atol=1e-5)
        alone = model(batch.test[1:2], batch.golden[1:2])
        assert torch.allclose(both[1:2], alone, atol=1e-5)
        assert not torch.allclose(both, model(batch.test, batch.golden.roll(1, 0)), atol=1e-4)


def test_scoring_embeds_each_golden_once(boards):
    data = opened(boards, golden_spec(2))
    torch.manual_seed(0)
    model = build_model(data.spec).eval()
    scorer = TableScorer(model, torch.device("cpu"))
    found = scorer.outputs(data, 2)
    assert scorer.embedded == 6 + 4
    with torch.inference_mode():
        whole = data.batch(range(6))
        assert torch.allclose(found, model(whole.test, whole.golden), atol=1e-5)
    assert torch.equal(found, outputs(model, data, 2, torch.device("cpu")))


def test_training_step_reaches_every_parameter(boards):
    data = opened(boards, golden_spec(2), training=True)
    torch.manual_seed(0)
    model = build_model(data.spec).train()
    batch = data.batch(range(6))
    model.criterion(model(batch.test, batch.golden), batch.label).backward()
    still = [n for n, p in model.model.decoder.named_parameters() if p.grad is None]
    assert still == []


def test_too_few_goldens_name_the_row(boards):
    with pytest.raises(HardStop, match="num_golden is 4, but golden_path g2 holds 3") as caught:
        opened(boards, golden_spec(4))
    assert caught.value.code == "csv_invalid"
    assert caught.value.rows == [3]
    assert caught.value.file == str(boards / "t.csv")


def test_a_folder_that_is_not_there(boards):
    table = pd.read_csv(boards / "t.csv", dtype=str)
    table.loc[4, "golden_path"] = "nowhere"
    table.to_csv(boards / "t.csv", index=False)
    with pytest.raises(HardStop, match="nowhere is no folder") as caught:
        opened(boards, golden_spec(2))
    assert (caught.value.code, caught.value.rows) == ("missing_input", [6])


def test_a_folder_that_may_not_be_read(boards, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("deft.score_kit.naming.os.listdir", refuse)
    with pytest.raises(HardStop, match=r"cannot be listed \(Permission denied\)") as caught:
        opened(boards, golden_spec(2))
    assert (caught.value.code, caught.value.rows) == ("missing_input", [2])


def test_a_golden_without_one_of_its_lights(boards):
    (boards / "images/g1/gold0_B.png").unlink()
    data = opened(boards, golden_spec(2, ("A", "B"), image_height=SIZE // 2))
    with pytest.raises(HardStop, match="gold0_B") as caught:
        data.batch([0])
    assert caught.value.code == "missing_input"


def test_what_cannot_have_several_goldens():
    data = golden_spec(2)
    data["model"]["classify"]["difference_module"] = "euclidean"
    data["train"]["classify"] = {"loss": "contrastive"}
    with pytest.raises(HardStop, match="euclidean compares with one golden") as caught:
        from_dict(data)
    assert caught.value.code == "spec_invalid"
    with pytest.raises(HardStop, match="multiples of 56 pixels"):
        from_dict(golden_spec(2, image_width=64))


def test_one_golden_needs_no_attention():
    options = {"embedding_dim": 4, "output_shape": (56, 56), "embed_dec": 3}
    one = Decoder([4] * 4, feature_strides=[4, 8, 8, 8], **options)
    two = Decoder([4] * 4, feature_strides=[4, 8, 8, 8], num_golden=2, **options)
    assert not any("attn" in key or "position" in key for key in one.state_dict())
    assert two.state_dict()["position_embedding_c1"].shape == (1, 4, 2, 2)
    assert two.state_dict()["attn_c2.scaling"] == 0.5
