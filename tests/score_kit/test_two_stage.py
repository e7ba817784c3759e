"""Two stages: beyond the margin a score is one view's, within it that of all views."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from changenet_pairs import spec_data
from handoff_folder import drawn_parts, made_bundle, set_threshold
from hypothesis import given, settings
from hypothesis import strategies as st

from deft.changenet.infer import score_views
from deft.changenet.onnx.two_stage import FIRST, margin_of
from deft.changenet.spec import from_dict
from deft.score_kit.errors import Stop
from deft.score_kit.network import FARTHEST, distance_to, open_network
from deft.score_kit.prepare import read_facts
from deft.score_kit.score import Request, run


def scored(folder, table, images, out, **more):
    said = []
    run(Request(folder, out, table=table, images=images, device="cpu", **more), said.append)
    lines = out.read_text(encoding="utf-8").splitlines()[1:]
    return np.array([float(line.rsplit(",", 3)[1]) for line in lines], np.float32), said


@pytest.mark.parametrize("case", [{}, {"fixed": 2}, {"euclidean": True}])
def test_each_part_has_the_score_of_its_stage(tmp_path, case):
    folder = tmp_path / "best_model"
    spec, weights = made_bundle(folder, views="turns", first_margin=0.1, **case)
    table, images = drawn_parts(tmp_path, spec)
    found, _ = score_views(spec, weights, table, images, views="turns")
    # A threshold that leaves some parts near to it, and some beyond.
    threshold = float(np.median(found["turns"]))
    logits = spec.learnable
    apart = np.sort(distance_to(found["one"], threshold, logits))
    margin = float(apart[4] + apart[5]) / 2
    set_threshold(folder, threshold, margin)
    scores, said = scored(folder, table, images, tmp_path / "scores.csv", batch=3)
    near = distance_to(found["one"], threshold, logits) <= margin
    assert near.sum() == 5 and "all but 5 parts" in "\n".join(said)
    wanted = np.where(near, found["turns"], found["one"])
    assert np.abs(found["turns"] - found["one"])[near].max() > 1e-5
    assert scores == pytest.approx(wanted, abs=2e-6)
    assert np.array_equal(scores[~near] > threshold, found["one"][~near] > threshold)


def test_at_another_threshold_every_part_is_scored_over_all_views(folder, tmp_path):
    table, images = drawn_parts(tmp_path, from_dict(spec_data()))
    path = folder / "preprocessing.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": 0.25}))
    _, said = scored(folder, table, images, tmp_path / "scores.csv")
    assert said[0].startswith("all views of every part")
    assert not any("one view decided" in line for line in said)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle") / "best_model"
    made_bundle(folder, views="turns", first_margin=0.1)
    return folder


@pytest.fixture
def folder(bundle, tmp_path):
    return Path(shutil.copytree(bundle, tmp_path / "best_model"))


def test_a_first_stage_that_was_exchanged_is_refused(folder):
    with (folder / FIRST).open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(Stop, match=f"{FIRST} is not the file that was handed off"):
        open_network(folder, read_facts(folder), device="cpu")
    # All views by themselves do not need it.
    assert open_network(folder, replace(read_facts(folder), first=None), device="cpu").batch


@pytest.mark.parametrize("margin", ["nan", -1, None])
def test_a_margin_that_means_nothing_is_refused(folder, margin):
    text = (folder / "preprocessing.json").read_text()
    told = {"nan": "NaN", None: "null"}.get(margin, str(margin))
    (folder / "preprocessing.json").write_text(text.replace('"margin": 0.1', f'"margin": {told}'))
    with pytest.raises(Stop, match=r"preprocessing\.json"):
        read_facts(folder)


SCORES = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)), min_size=1, max_size=30
)


@given(SCORES, st.floats(0, 1, width=32), st.booleans())
@settings(max_examples=200, deadline=None)
def test_beyond_the_margin_one_view_decides_as_all_do(pairs, threshold, logits):
    one, views = np.array(pairs, np.float32).T
    found = margin_of(one, views, threshold, logits=logits)
    beyond = distance_to(one, threshold, logits) > found["margin"]
    cut = np.float32(threshold)
    assert np.array_equal((one > cut)[beyond], (views > cut)[beyond])
    assert found["decided_otherwise"] == int(((one > cut) != (views > cut)).sum())
    assert np.isfinite(found["margin"]) and found["margin"] >= 0


def test_distances_are_those_of_logits():
    assert distance_to(np.float32([0.5, 0.9, 0, 1]), 0.5, True) == pytest.approx(
        [0, np.log(9), FARTHEST, FARTHEST], rel=1e-6
    )
    assert distance_to(np.float32([0, 1]), 0.0, True).tolist() == [0, FARTHEST]
    assert distance_to(np.float32([2, 3]), 2.5, False).tolist() == [0.5, 0.5]
