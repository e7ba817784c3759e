"""Views of a pair: which there are, how they are turned, and that torch and ONNX agree on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from changenet_pairs import spec_data
from shared_goldens import shared_goldens

from deft.changenet.model import build_model
from deft.changenet.onnx.export import export_network
from deft.changenet.onnx.scorer import Scorer, score_pairs
from deft.changenet.scoring import TableScorer
from deft.changenet.spec import from_dict
from deft.changenet.views import VIEWS, View, contained, over_views, tiles_of, turned, views_of

CPU = torch.device("cpu")
LIGHTS = {"num_input": 2, "input_map": {"A": 0, "B": 1}}
GRID = {"num_input": 4, "input_map": {"A": 0, "B": 1, "C": 2, "D": 3}}
GRID |= {"concat_type": "grid", "grid_map": {"x": 2, "y": 2}}


def spec_of(**classify):
    data = spec_data()
    data["dataset"]["classify"] |= classify
    return from_dict(data)


def test_turns_are_numpys_quarter_turns_and_dihedral_their_mirror_images():
    picture = np.arange(48.0).reshape(3, 4, 4)
    of = [turned(torch.from_numpy(picture), view, (1, 1)).numpy() for view in VIEWS["dihedral"]]
    turns = [np.rot90(picture, k, axes=(1, 2)) for k in range(4)]
    assert all(np.array_equal(a, b) for a, b in zip(of[:4], turns, strict=True))
    mirrored = [np.flip(turn, axis=2) for turn in turns]
    assert all(np.array_equal(a, b) for a, b in zip(of[4:], mirrored, strict=True))
    assert len({each.tobytes() for each in of}) == 8
    assert contained("dihedral") == ["one", "turns", "dihedral"] and contained("one") == ["one"]


@pytest.mark.parametrize("classify", [{}, LIGHTS, GRID])
def test_each_light_is_turned_in_its_own_tile(classify):
    spec = spec_of(**classify)
    down, across = tiles_of(spec)
    height, width = spec.picture_size
    rng = np.random.default_rng(0)
    tiles = rng.random((down, across, 3, height, width))
    joined = np.concatenate([np.concatenate(list(row), axis=-1) for row in tiles], axis=-2)
    assert joined.shape == (3, *spec.tensor_size)
    turned_tiles = np.rot90(tiles, 1, axes=(-2, -1))
    wanted = np.concatenate([np.concatenate(list(row), axis=-1) for row in turned_tiles], axis=-2)
    found = turned(torch.from_numpy(joined), VIEWS["turns"][1], (down, across)).numpy()
    assert np.array_equal(found, wanted)


def test_pictures_that_are_no_square_keep_the_views_of_their_shape():
    spec = spec_of(image_height=64, image_width=32)
    assert views_of("turns", spec) == (View(), View(False, True, True))
    assert len(views_of("dihedral", spec)) == 4
    assert not any(view.transposed for view in views_of("dihedral", spec))
    # Square lights in a joined picture that is none: each turns in its place.
    assert len(views_of("turns", spec_of(**LIGHTS))) == 4


def by_hand(model, data, spec, name):
    """Return each row's score from every view by itself, row by row."""
    found = []
    with torch.inference_mode():
        for row in range(len(data)):
            batch = data.batch([row])
            outputs = [
                model(*(turned(side, view, tiles_of(spec)) for side in (batch.test, batch.golden)))
                for view in views_of(name, spec)
            ]
            found.append(torch.stack(outputs).mean(dim=0))
    return model.score(torch.cat(found)).numpy()


@pytest.mark.parametrize(("name", "euclidean"), [("turns", False), ("dihedral", True)])
def test_torch_and_one_graph_give_the_mean_over_views(tmp_path, euclidean, name):
    spec, model, data = shared_goldens(tmp_path, euclidean)
    wanted = by_hand(model, data, spec, name)
    assert np.abs(wanted - by_hand(model, data, spec, "one")).max() > 4e-5
    scorer = TableScorer(model, CPU, views=views_of(name, spec))
    assert model.score(scorer.outputs(data, 4)).numpy() == pytest.approx(wanted, abs=2e-6)
    # A golden that stays in the memory is another picture from each side.
    assert model.score(scorer.outputs(data, 3)).numpy() == pytest.approx(wanted, abs=2e-6)
    facts = export_network(model, spec, tmp_path / "m.onnx", views=name)
    assert (facts["score_views"], facts["views"]) == (name, len(VIEWS[name]))
    by_onnx = score_pairs(Scorer(tmp_path / "m.onnx"), data, 5)
    assert by_onnx == pytest.approx(wanted, abs=2e-6)


def test_several_goldens_are_turned_with_their_part():
    rng = np.random.default_rng(2)
    test, golden = rng.random((3, 3, 4, 4)), rng.random((3, 2, 3, 4, 4))
    weights = torch.from_numpy(rng.random((3, 4, 4)))  # one that tells the places apart

    def network(test, golden):
        apart = test[:, None] - golden
        return (apart.abs() * weights).sum(dim=(1, 2, 3, 4))

    found = over_views(network, VIEWS["turns"], (1, 1), *map(torch.from_numpy, (test, golden)))
    wanted = [
        sum(
            (np.abs(np.rot90(t[None] - g, k, axes=(-2, -1))) * weights.numpy()).sum()
            for k in range(4)
        )
        / 4
        for t, g in zip(test, golden, strict=True)
    ]
    assert found.numpy() == pytest.approx(wanted)


def test_the_graph_takes_pictures_that_are_no_square(tmp_path):
    spec = spec_of(image_height=64)
    torch.manual_seed(1)
    # Checked against torch as it is written.
    facts = export_network(build_model(spec).eval(), spec, tmp_path / "m.onnx", views="turns")
    assert facts["views"] == 2


def test_a_fixed_batch_stays_one(tmp_path):
    data = spec_data()
    data["export"] = {"batch_size": 2}
    spec = from_dict(data)
    torch.manual_seed(1)
    model = build_model(spec).eval()
    export_network(model, spec, tmp_path / "m.onnx", views="turns")
    scorer = Scorer(tmp_path / "m.onnx")
    assert scorer.fixed_batch == 2 and scorer.run(*np.zeros((2, 3, 3, 32, 32), np.float32)).shape


def test_one_view_is_what_it_was(tmp_path):
    spec, model, data = shared_goldens(tmp_path)
    plain = export_network(model, spec, tmp_path / "a.onnx")
    assert "score_views" not in plain
    assert (
        plain["sha256"] == export_network(model, spec, tmp_path / "b.onnx", views="one")["sha256"]
    )
    each = TableScorer(model, CPU, views=VIEWS["turns"]).each_view(data, 4)
    assert torch.equal(each[0], TableScorer(model, CPU).outputs(data, 4))
