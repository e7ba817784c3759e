"""What a run says of other views of its parts: advice, and the hand-off's figures of one view."""

from __future__ import annotations

import json

import pytest
import yaml
from fake_run import RUN, FakeRun

from deft.core import layout
from deft.core.errors import HardStop
from deft.record.advice import recommendations
from deft.record.phrases import plain
from deft.record.results import collect_results
from deft.record.run_files import RunFiles, load_run
from deft.record.strict import Strict
from deft.stages.finish import finish


def advice(run: FakeRun, far: dict[str, float], scored_by: str) -> str:
    """Return all advice on a run whose best phase has these geometric means (and FAR) by views."""
    files = with_views(run, far, scored_by)
    results = collect_results(files)
    return "\n".join(plain(line, results) for line in recommendations(files, results, False))


def with_views(run: FakeRun, far: dict[str, float], scored_by: str) -> RunFiles:
    """Write these views into the best phase's record; return the run, read again."""
    best = load_run(run.dir, run.workspace, Strict()).best
    assert best is not None
    name = best.name
    path = run.dir / name / "metrics.json"
    metrics = json.loads(path.read_text())
    point = metrics["kinds"][metrics["chosen"]]["recall_point"]
    metrics["score_views"] = scored_by
    metrics["views"] = {
        views: {
            "passes": {"one": 1, "turns": 4}[views],
            "recall_point": {**point, "far_pct": 2 * value},
            "far_geometric_mean_pct": value,
            "threshold_to_set": 0.5,
        }
        for views, value in far.items()
    }
    path.write_text(json.dumps(metrics))
    return load_run(run.dir, run.workspace, Strict())


def test_better_views_are_advised_with_what_they_take(finished: FakeRun) -> None:
    text = advice(finished, {"one": 4.0, "turns": 1.5}, "one")
    assert "With score_views: turns the same weights have FAR 3" in text
    assert "takes 4 passes of the network instead of 1." in text.replace("\u00a0", " ")


@pytest.mark.parametrize(
    ("far", "scored_by"),
    [({"one": 4.0, "turns": 1.5}, "turns"), ({"one": 1.5, "turns": 1.5}, "one"), ({}, "one")],
)
def test_nothing_is_said_where_the_views_in_use_are_best(
    finished: FakeRun, far: dict[str, float], scored_by: str
) -> None:
    assert "score_views" not in advice(finished, far, scored_by)


def test_the_hand_off_tells_what_one_view_gives(finished: FakeRun) -> None:
    """TAO's own inference scores one view, so its spec has that threshold."""
    run = layout.Run(finished.workspace, RUN)
    with_views(finished, {"one": 4.0, "turns": 1.5}, "turns")
    finish(run, finished.decision, seed=7, code_dir=finished.workspace)
    model = json.loads((finished.dir / "best_model.json").read_text())
    assert model["score_views"] == "turns"
    assert (model["one_view"]["threshold"], model["one_view"]["far_pct"]) == (0.5, 8.0)
    assert model["threshold"] != 0.5
    for name in ("best_model_inference_spec.yaml", "best_model_inference_spec_host.yaml"):
        spec = yaml.safe_load((finished.dir / name).read_text())
        assert spec["model"]["classify"]["eval_margin"] == 0.5


def test_a_record_without_one_view_stops_the_hand_off(finished: FakeRun) -> None:
    with_views(finished, {"turns": 1.5}, "turns")
    with pytest.raises(HardStop, match="one view is not told"):
        finish(
            layout.Run(finished.workspace, RUN),
            finished.decision,
            seed=7,
            code_dir=finished.workspace,
        )
    assert not (finished.dir / "best_model.json").exists()
