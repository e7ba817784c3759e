"""A moved or copied workspace goes on with its own files, and never looks into its old place."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from spy_encoder import SpyEncoder
from stage_calls import embed_pool, embed_shard, mine, rca, route, stage_pool
from test_sealed import RUN, made  # noqa: F401  the fixture

from deft.core import layout
from deft.core.errors import HardStop
from deft.record.lenient import load_run
from deft.run import roots
from deft.run.state import read_state, update_phase, update_state
from deft.run.state_format import own
from deft.stages.context import Context
from deft.stages.mine_inputs import MineOptions
from deft.stages.train import preseeded_weights

OPTIONS = MineOptions("nearest", 3, -1.0, 64, "warn", 0)


def embedded(context: Context) -> None:
    embed_shard(context, SpyEncoder(), "1-of-1", None, 1)
    embed_pool(context, [context.run.synth_pool / "shards/1-of-1.parquet"])


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Context:  # noqa: F811
    """A run that is about to mine, in a place that it will leave."""
    context = Context(layout.Run(shutil.copytree(made, tmp_path / "old place"), RUN))
    for folder in ("rca_results", "routing_results", "mining_filter"):
        for phase in ("baseline", "iter1"):
            shutil.rmtree(context.run.phase(phase) / folder, ignore_errors=True)
    shutil.rmtree(context.run.synth_pool)
    stage_pool(context, "spy")
    rca(context, "baseline", 1.0, 3)
    route(context, "iter1", "pregen", [], [])
    embedded(context)
    update_state(
        context.run.dir, lambda s: s.update(results_dir=str(context.root / "results" / RUN))
    )
    return context


def poison(workspace: Path) -> None:
    """Replace every picture by another of the same name: who reads one gets other results."""
    rng = np.random.default_rng(1)
    for path in workspace.rglob("*.png"):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(path)


def moved_to(context: Context, target: Path) -> Context:
    shutil.copytree(context.root, target, copy_function=shutil.copy2, symlinks=True)
    return Context(layout.Run(target, RUN))


def mined(context: Context, encoder: SpyEncoder | None = None) -> dict[str, pd.DataFrame]:
    """Mine lap 1 and return its tables, paths relative to the workspace."""
    mine(context, "iter1", encoder or SpyEncoder(), OPTIONS)
    out = context.run.phase("iter1") / "mining_filter"
    found = {"pool": pd.read_csv(out / "mining_pool.csv", dtype=str, keep_default_na=False)}
    for name in ("mined", "knn_pairs", "target_embeddings"):
        table = pd.read_parquet(out / f"{name}.parquet")
        for column in set(roots.PATH_COLUMNS) & set(table.columns):
            assert table[column].map(lambda p: roots.below(p, str(context.root))).all()
            table[column] = table[column].str.removeprefix(str(context.root))
        found[name] = table
    return found


def same(one: dict[str, pd.DataFrame], two: dict[str, pd.DataFrame]) -> bool:
    return all(
        pd.DataFrame(one[k]).map(repr).equals(pd.DataFrame(two[k]).map(repr)) for k in one | two
    )


@pytest.mark.parametrize(
    "name", ["new", "with blank", "größer – ü", "old place inside/new", "old place/nested", "back/"]
)
def test_a_copy_mines_its_own_pictures(old: Context, tmp_path: Path, name: str) -> None:
    expected = mined(moved_to(old, tmp_path / "undisturbed"))
    target = tmp_path / name
    if name.startswith("old place/"):  # a copy below its old place
        shutil.copytree(old.root, tmp_path / "aside", symlinks=True)
        shutil.move(tmp_path / "aside", target)
        copy = Context(layout.Run(target, RUN))
        keep = {p: p.read_bytes() for p in target.rglob("*.png")}
        poison(old.root)
        for path, data in keep.items():
            path.write_bytes(data)
    else:
        copy = moved_to(old, target)
        poison(old.root)
    assert same(mined(copy), expected)


def test_the_old_place_may_be_gone(old: Context, tmp_path: Path) -> None:
    expected = mined(moved_to(old, tmp_path / "undisturbed"))
    copy = moved_to(old, tmp_path / "new")
    shutil.rmtree(old.root)
    assert same(mined(copy), expected)
    assert same(mined(moved_to(copy, tmp_path / "third")), expected)


def test_a_workspace_reached_by_a_link(old: Context, tmp_path: Path) -> None:
    expected = mined(moved_to(old, tmp_path / "undisturbed"))
    copy = moved_to(old, tmp_path / "new")
    poison(old.root)
    (tmp_path / "link").symlink_to(tmp_path / "new")
    assert same(mined(Context(layout.Run(tmp_path / "link", RUN))), expected)
    assert same(mined(copy), expected)


def test_a_run_of_an_earlier_version_is_known_by_its_state(old: Context, tmp_path: Path) -> None:
    expected = mined(moved_to(old, tmp_path / "undisturbed"))
    copy = moved_to(old, tmp_path / "new")
    poison(old.root)
    forget_roots(copy.root)
    assert same(mined(copy), expected)  # by results_dir
    assert own(read_state(copy.run.dir))[roots.MOVED_FROM] == [str(old.root)]
    again = moved_to(copy, tmp_path / "third")
    assert same(mined(again), expected)  # by moved_from: results_dir is rewritten by then
    assert own(read_state(again.run.dir))[roots.MOVED_FROM] == [str(old.root), str(copy.root)]


def test_an_unknown_old_place_stops(old: Context, tmp_path: Path) -> None:
    copy = moved_to(old, tmp_path / "new")
    forget_roots(copy.root)
    (copy.run.dir / "deft_state.json").unlink()
    encoder = SpyEncoder()
    with pytest.raises(HardStop, match="does not say where the workspace was") as stop:
        mined(copy, encoder)
    assert stop.value.code == "missing_input" and "mining_gaps" in stop.value.file
    assert encoder.prepared == []


def forget_roots(workspace: Path) -> None:
    """Rewrite parquet files as an earlier version wrote them: no root, no seals."""
    import pyarrow.parquet as pq

    for path in workspace.rglob("*.parquet"):
        table = pq.read_table(path)
        kept = {k: v for k, v in (table.schema.metadata or {}).items() if k != roots.ROOT_KEY}
        pq.write_table(table.replace_schema_metadata(kept), path)
    for path in workspace.rglob("*.json"):
        facts = json.loads(path.read_text())
        if isinstance(facts, dict) and facts.pop("tables", None):
            path.write_text(json.dumps(facts))


def test_the_report_of_a_copy_shows_its_own_pictures(old: Context, tmp_path: Path) -> None:
    mined(old)
    copy = moved_to(old, tmp_path / "new")
    for path, phase in (("gaps", "baseline"), ("neighbours", "iter1")):
        files = load_run(copy.run.dir, copy.root)
        table = getattr(next(p for p in files.phases if p.name == phase), path)
        for column in set(roots.PATH_COLUMNS) & set(table.columns):
            assert table[column].map(lambda p: roots.below(p, str(copy.root))).all()
    forget_roots(copy.root)
    (copy.run.dir / "deft_state.json").unlink()
    gaps = load_run(copy.run.dir, copy.root).phases[0].gaps
    assert set(gaps["filepath"]) == {""}  # better no picture than that of another place


# --- the state ------------------------------------------------------------------------------------


def state_of(root: str) -> dict:
    return {
        "results_dir": f"{root}/results/{RUN}",
        "config": {"images_dir": f"{root}/kpi/images", "num_gpus": 1, "x": [f"{root}/a"]},
        "iterations": {"baseline": {"best_ckpt_path": f"{root}/results/{RUN}/b.pth"}},
        "notes": f"{root} is mine",
    }


def written(run_dir: Path, state: dict) -> Path:
    run_dir.mkdir(parents=True)
    (run_dir / "deft_state.json").write_text(json.dumps(state))
    return run_dir


def test_the_state_of_a_copy_speaks_of_the_copy(tmp_path: Path) -> None:
    run_dir = written(tmp_path / "new" / "results" / RUN, state_of("/was/here/"))
    state = read_state(run_dir)
    new = str(tmp_path / "new")
    assert state["results_dir"] == str(run_dir)
    assert state["config"] == {"images_dir": f"{new}/kpi/images", "num_gpus": 1, "x": [f"{new}/a"]}
    assert state["iterations"]["baseline"]["best_ckpt_path"] == f"{new}/results/{RUN}/b.pth"
    assert state["notes"] == "/was/here/ is mine"
    update_phase(run_dir, "baseline", status="complete")
    on_disk = json.loads((run_dir / "deft_state.json").read_text())
    assert on_disk["results_dir"] == str(run_dir)
    assert own(on_disk)[roots.MOVED_FROM] == ["/was/here"]
    assert read_state(run_dir) == on_disk


@pytest.mark.parametrize(
    "results_dir", [None, 3, "results/run_sealed", "/was/results/run_other", "/run_sealed", ""]
)
def test_a_state_that_is_not_this_runs_stays(tmp_path: Path, results_dir: object) -> None:
    """A pre-seeded state may name any place; its paths are the user's."""
    state = {**state_of("/was"), "results_dir": results_dir}
    assert read_state(written(tmp_path / "new" / "results" / RUN, state)) == state


def test_weights_outside_the_old_place_stay_and_those_inside_move(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.pth"
    elsewhere.write_bytes(b"w")
    state = state_of(str(tmp_path / "was"))
    entry = state["iterations"]["baseline"]
    entry |= {"stage_completed": "train", "best_ckpt_path": str(elsewhere)}
    run_dir = written(tmp_path / "new" / "results" / RUN, state)
    context = Context(layout.Run(tmp_path / "new", RUN))
    assert preseeded_weights(context) == elsewhere
    assert context.relative(elsewhere) == str(elsewhere)
    for name in ("was", "new"):
        (tmp_path / name / "weights").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "weights/w.pth").write_bytes(name.encode())
    entry["best_ckpt_path"] = str(tmp_path / "was/weights/w.pth")
    (run_dir / "deft_state.json").write_text(json.dumps(state))
    assert preseeded_weights(context) == tmp_path / "new/weights/w.pth"


def test_the_same_place_under_a_link_is_no_move(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    state = state_of(str(tmp_path / "link"))
    assert read_state(written(tmp_path / "real" / "results" / RUN, state)) == state


# --- paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("/a/b/kpi/x.png", "/a/b", "/c", "/c/kpi/x.png"),
        ("/a/b/kpi/x.png", "/a/b/", "/c/", "/c/kpi/x.png"),
        ("/a/bb/kpi/x.png", "/a/b", "/c", "/a/bb/kpi/x.png"),
        ("/a/b", "/a/b", "/c", "/c"),
        ("/a/b/a/b/x", "/a/b", "/a", "/a/a/b/x"),
        ("/a/b/x", "/a/b", "/a/b/c", "/a/b/c/x"),
        ("/a/ b ü/x", "/a/ b ü", "/ü", "/ü/x"),
        ("rel/x.png", "/a", "/c", "rel/x.png"),
        ("/x.png", "/", "/c", "/x.png"),
        ("", "/a", "/c", ""),
    ],
)
def test_a_path_below_the_old_root(path: str, old: str, new: str, expected: str) -> None:
    assert roots.rerooted(path, old, new) == expected


def test_nested_places_are_told_apart(tmp_path: Path) -> None:
    """Old files of a workspace that was at /p/q and is at /p: the longer place wins."""
    table = pd.DataFrame({"filepath": ["/p/q/kpi/x.png", "/p/kpi/y.png"]})
    found = roots.paths_here(table, None, "/p", tmp_path / "t", earlier=["/p/q"])
    assert list(found["filepath"]) == ["/p/kpi/x.png", "/p/kpi/y.png"]


def test_a_million_paths_take_seconds(tmp_path: Path) -> None:
    table = pd.DataFrame({"filepath": [f"/was/kpi/{i}.png" for i in range(1_000_000)]})
    started = os.times().user
    found = roots.paths_here(table, "/was", "/is", tmp_path / "t")
    assert os.times().user - started < 20
    assert found["filepath"].iloc[-1] == "/is/kpi/999999.png"


def test_a_damaged_root_is_a_stop_and_a_missing_path_no_crash(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"filepath": ["/was/a.png"]})
    pq.write_table(table.replace_schema_metadata({roots.ROOT_KEY: b"\xff\xfe"}), path)
    with pytest.raises(HardStop, match="not a whole parquet file"):
        roots.recorded_root(path)
    path.write_bytes(b"PAR1 cut")
    with pytest.raises(HardStop, match="not a whole parquet file"):
        roots.recorded_root(path)
    with pytest.raises(HardStop, match="is no path|and no path"):
        roots.paths_here(pd.DataFrame({"filepath": ["/is/a.png", None]}), None, "/is", path)
