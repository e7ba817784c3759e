"""A phase whose other views do better on the KPI set says so, and one whose do not is silent."""

from __future__ import annotations

import json

import pytest
from fake_run import FakeRun

from deft.record.advice import recommendations
from deft.record.phrases import plain
from deft.record.results import collect_results
from deft.record.run_files import load_run
from deft.record.strict import Strict


def advice(run: FakeRun, far: dict[str, float], scored_by: str) -> str:
    """Return all advice on a run whose best phase has these geometric means (and FAR) by views."""
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
    files = load_run(run.dir, run.workspace, Strict())
    results = collect_results(files)
    return "\n".join(plain(line, results) for line in recommendations(files, results, False))


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
