"""Drift of the pictures: where embeddings come from, when it is told, and when it is not."""

import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from handoff_folder import CASES, drawn_parts, made_bundle
from scipy import stats

from deft.changenet.model import build_model
from deft.changenet.onnx.export import export_network
from deft.changenet.weights import load_weights
from deft.score_kit.command import main
from deft.score_kit.embeddings import (
    REFERENCE,
    made_reference,
    picture_drift,
    read_embeddings,
)
from deft.score_kit.errors import Stop
from deft.score_kit.network import open_network, open_session
from deft.score_kit.prepare import read_facts

RUNS = 300


def drawn_inputs(network, seed=1):
    """One batch of noise for a network, its sides different."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(side.shape, np.float32) for side in network.buffers()]


def referring(folder, features, name=None):
    """Give a hand-off a reference of some embeddings."""
    record = json.loads((folder / "export.json").read_text())
    made_reference(features, name or record["features"], record["sha256"]).write(folder / REFERENCE)
    return read_embeddings(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A hand-off of one light (folder, spec, weights), to be copied by who changes it."""
    folder = tmp_path_factory.mktemp("bundle") / "best_model"
    return folder, *made_bundle(folder)


@pytest.mark.parametrize("name", ["one light", "euclidean", "fixed batch", "grid"])
def test_the_tensor_is_the_last_level_of_the_test_picture_and_scores_stay(tmp_path, bundle, name):
    folder = tmp_path / "best_model"
    if name == "one light":
        shutil.copytree(bundle[0], folder)
        spec, weights = bundle[1:]
    else:
        spec, weights = made_bundle(folder, **CASES[name])
    before = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    width = 7
    kpi = referring(folder, np.random.default_rng(0).standard_normal((60, width), np.float32))
    facts = read_facts(folder)
    plain = open_network(folder, facts, device="cpu", batch=3)
    network = open_network(folder, facts, device="cpu", batch=3, kpi=kpi)
    fed = drawn_inputs(network)
    scores, features = network.scores(fed, network.batch)
    alone, nothing = plain.scores(fed, network.batch)
    assert nothing is None and np.array_equal(scores, alone)
    model = build_model(spec).eval()
    load_weights(model, weights)
    with torch.inference_mode():
        wanted = model.model.features_of(torch.from_numpy(fed[0]))[-1].numpy()
    assert features.shape == wanted.shape
    assert np.abs(features - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())
    assert hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest() == before


def test_numbers_that_lie_beside_the_network_are_found(tmp_path, bundle):
    _, spec, weights = bundle
    model = build_model(spec)
    load_weights(model, weights)
    found = export_network(model, spec, tmp_path / "large/model.onnx", one_file_bytes=0)
    assert found["data_file"] and found["features"]
    path = tmp_path / "large/model.onnx"
    session, _ = open_session(path, "cpu", 1, found["features"])
    assert [out.name for out in session.get_outputs()] == ["output", found["features"]]


def test_no_false_alarm_above_the_stated_chance():
    """Both sides drawn from one set, as often as it takes to see one in twenty."""
    rng = np.random.default_rng(2)
    whole = (rng.standard_normal((600, 40)) @ rng.standard_normal((40, 40))).astype(np.float32)
    whole += rng.exponential(1, (600, 1)).astype(np.float32)  # no normal distribution
    told, chances = 0, []
    for _ in range(RUNS):
        order = rng.permutation(600)
        kpi = made_reference(whole[order[:300]], "t", "s")
        new = kpi.numbers_of(whole[order[300:]])
        found = picture_drift(new, np.ones(300, bool), kpi)
        told += found["drifted"]
        chances.append(found["p"])
    # At most 1 % by the test's own threshold; five in a hundred is what may never be exceeded.
    assert told / RUNS <= 0.05
    assert stats.binomtest(sum(p < 0.05 for p in chances), RUNS, 0.05, "greater").pvalue > 0.001


@pytest.fixture(scope="module")
def seen(bundle):
    """A network's look at drawn boards: a function from a change of the pictures to features."""
    folder, *_ = bundle
    facts = read_facts(folder)
    record = json.loads((folder / "export.json").read_text())
    session, _ = open_session(folder / facts.file, "cpu", 1, record["features"])

    def look(change, count=150, seed=0, parts=(4, 9)):
        rng, out = np.random.default_rng(seed), []
        for _ in range(count):
            picture = np.full((32, 32, 3), 60, np.uint8)
            for _ in range(rng.integers(*parts)):
                x, y, w, h = (int(n) for n in rng.integers(2, 24, 4))
                colour = tuple(int(n) for n in rng.integers(90, 200, 3))
                cv2.rectangle(picture, (x, y), (x + w // 2, y + h // 2), colour, -1)
            noisy = picture + rng.normal(0, 3, picture.shape)
            pixels = change(np.clip(noisy, 0, 255).astype(np.uint8)).astype(np.float32)
            out.append(((pixels / 255 - 0.45) / 0.225).transpose(2, 0, 1))
        fed = np.stack(out).astype(np.float32)
        given = {"input_1": fed, "input_2": fed}
        return session.run([record["features"]], given)[0]

    return look


def same(picture):
    return picture


PLANTED = {
    "brighter": {"change": lambda p: cv2.add(p, (25, 25, 25, 0))},
    "darker": {"change": lambda p: cv2.convertScaleAbs(p, alpha=0.8)},
    "out of focus": {"change": lambda p: cv2.GaussianBlur(p, (0, 0), 1.5)},
    "other boards": {"change": same, "parts": (15, 25)},
}


@pytest.mark.parametrize("name", sorted(PLANTED))
def test_planted_drift_is_told(seen, name):
    kpi = made_reference(seen(same).mean(axis=(2, 3)), "t", "s")
    new = kpi.numbers_of(seen(seed=7, **PLANTED[name]))
    found = picture_drift(new, np.ones(len(new), bool), kpi)
    assert found["drifted"] is True and found["p"] < 0.01, found


def test_other_pictures_of_the_same_boards_are_none(seen):
    kpi = made_reference(seen(same).mean(axis=(2, 3)), "t", "s")
    told = [
        picture_drift(kpi.numbers_of(seen(same, seed=seed)), np.ones(150, bool), kpi)
        for seed in range(1, 9)
    ]
    assert [one["drifted"] for one in told] == [False] * 8


def test_where_few_pass_all_are_compared_and_too_few_are_not_judged():
    rng = np.random.default_rng(0)
    kpi = made_reference(rng.standard_normal((90, 8)), "t", "s")
    new = kpi.numbers_of(rng.standard_normal((40, 8)) + 3)
    found = picture_drift(new, np.arange(40) < 29, kpi)
    assert found["compared"].startswith("all") and found["parts"] == 40 and found["drifted"]
    new[:15] = np.nan  # not embedded, as before an interruption with an older kit
    found = picture_drift(new, np.ones(40, bool), kpi)
    assert (found["parts"], found["drifted"], found["p"]) == (25, None, None)
    assert made_reference(rng.standard_normal((59, 8)), "t", "s") is None


def test_equal_embeddings_make_the_same_file_and_constant_ones_no_nonsense(tmp_path):
    features = np.random.default_rng(0).standard_normal((80, 5)).astype(np.float32)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made_reference(features, "t", "s").write(tmp_path / name / REFERENCE)
    one, other = ((tmp_path / name / REFERENCE).read_bytes() for name in ("a", "b"))
    assert one == other
    constant = made_reference(np.ones((80, 5), np.float32), "t", "s")
    found = picture_drift(constant.numbers_of(np.ones((40, 5))), np.ones(40, bool), constant)
    assert found["drifted"] is False and found["distance"] == 0


def test_a_damaged_reference_is_a_stop(tmp_path):
    made_reference(np.random.default_rng(0).standard_normal((80, 5)), "t", "s").write(
        tmp_path / REFERENCE
    )
    whole = (tmp_path / REFERENCE).read_bytes()
    assert read_embeddings(tmp_path).axes.shape == (5, 5)
    half = len(whole) // 2
    for cut in (b"", whole[:100], whole[:-30], whole[:half] + b"xxxx" + whole[half + 4 :]):
        (tmp_path / REFERENCE).write_bytes(cut)
        with pytest.raises(Stop) as stop:
            read_embeddings(tmp_path)
        assert stop.value.code == "missing_input"
    text = np.zeros(1, np.uint8)
    arrays = {"mean": np.zeros(3), "axes": np.zeros((2, 4)), "scale": np.ones(2)}
    np.savez(tmp_path / REFERENCE, tensor=text, sha256=text, **arrays, numbers=np.zeros((5, 4)))
    with pytest.raises(Stop, match="shapes"):
        read_embeddings(tmp_path)


def test_a_scoring_tells_it_also_after_an_interruption(tmp_path, bundle, monkeypatch, capsys):
    folder = Path(shutil.copytree(bundle[0], tmp_path / "best_model"))
    spec = bundle[1]
    table, images = drawn_parts(tmp_path, spec, 40)
    record = json.loads((folder / "export.json").read_text())
    session, _ = open_session(folder / "model.onnx", "cpu", 1, record["features"])
    shape = session.get_inputs()[0].shape[1:]
    fed = np.random.default_rng(0).standard_normal((90, *shape), np.float32)
    given = {"input_1": fed, "input_2": fed}
    referring(folder, session.run([record["features"]], given)[0].mean(axis=(2, 3)))

    def summary(out, *more):
        given = ["--csv", str(table), "--images", str(images), "--device", "cpu", "--batch", "4"]
        status = main(folder, [*given, "--out", str(tmp_path / out), *more])
        told = tmp_path / out.replace(".csv", ".summary.json")
        return status, json.loads(told.read_text()) if told.is_file() else None

    _, whole = summary("whole.csv")
    assert whole["embeddings"]["drifted"] is True  # noise is no board
    assert "THE PICTURES HAVE DRIFTED" in capsys.readouterr().out

    from deft.score_kit.network import Network

    real, calls = Network.scores, iter(range(3))

    def scores(self, inputs, count):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return real(self, inputs, count)

    with monkeypatch.context() as patched:
        patched.setattr(Network, "scores", scores)
        assert summary("again.csv")[0] == 130
    _, again = summary("again.csv")
    assert "12 scores taken over" in capsys.readouterr().out
    assert again["embeddings"]["parts"] == whole["embeddings"]["parts"]
    assert again["embeddings"]["distance"] == pytest.approx(whole["embeddings"]["distance"])

    other = Path(shutil.copytree(folder, tmp_path / "other"))
    referring(other, np.random.default_rng(0).standard_normal((60, 7)))
    npz = dict(np.load(other / REFERENCE))
    np.savez(
        other / REFERENCE, **{**npz, "sha256": np.zeros(64, np.uint8)}
    )  # that of another network
    given = ["--csv", str(table), "--images", str(images), "--out", str(tmp_path / "o.csv")]
    assert main(other, [*given, "--device", "cpu"]) == 0
    assert "embeddings: not compared" in capsys.readouterr().out
