"""The pool in shards and its cache, as Snakemake runs them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from workflow_tools import POOL, RUN, load, log_entries, plan, snakemake, succeed

pytestmark = [pytest.mark.workflow, pytest.mark.long]

TABLE = f"results/{RUN}/synth_pool/source_embeddings.parquet"
FACTS = f"results/{RUN}/synth_pool/source_embeddings.json"
CACHE = "results/embedding_cache"
FOUR = ["--set-scatter", "embed=4", "--cores", "2"]  # the option swallows what follows it


def test_another_number_of_shards_mines_and_trains_nothing_again(finished: Path) -> None:
    assert load(finished, "preflight/shards.json") == {"embed": 1}
    assert plan(finished, args=FOUR) == {}, "the pool is embedded"
    assert plan(finished, config={"embed_shard_rows": 10}) == {}, "fixed when the run began"
    assert plan(finished, config={"embedding_cache": "elsewhere"}) == {}
    assert plan(finished, config={"prune_days": 3}) == {}


def test_rows_size_the_shards_of_a_run_that_begins(fresh: Path) -> None:
    rows = len((fresh / POOL).read_text().splitlines()) - 1
    config = {"embed_shard_rows": 2}
    assert plan(fresh, TABLE, config=config)["embed_shard"] == rows // 2 == 3
    assert plan(fresh, TABLE, config=config, args=FOUR)["embed_shard"] == 4


def test_four_shards_from_the_cache_give_the_same_bytes(workspace: Path) -> None:
    content = (workspace / TABLE).read_bytes(), (workspace / FACTS).read_bytes()
    before = log_entries(workspace)
    (workspace / TABLE).unlink()
    assert plan(workspace, TABLE, args=FOUR) == {"embed_shard": 4, "embed_pool": 1}
    output = succeed(snakemake(workspace, TABLE, args=[*FOUR, "-p"]))
    assert ((workspace / TABLE).read_bytes(), (workspace / FACTS).read_bytes()) == content
    assert "64 pictures: 0 embedded, 64 from the cache" in output and "4 shard(s)" in output
    assert not list((workspace / TABLE).parent.glob("shards/*")), "shards are kept nowhere"
    assert log_entries(workspace) == before
    assert plan(workspace, args=FOUR) == {}


def test_a_deleted_cache_is_made_again_and_changes_nothing(workspace: Path) -> None:
    content = (workspace / TABLE).read_bytes()
    shutil.rmtree(workspace / CACHE)
    assert plan(workspace) == {}
    (workspace / TABLE).unlink()
    output = succeed(snakemake(workspace, TABLE, args=["-p"]))
    assert "64 pictures: 64 embedded, 0 from the cache" in output
    assert (workspace / TABLE).read_bytes() == content
    assert list((workspace / CACHE).glob("*/*.seg"))


def test_the_target_prunes_the_cache_and_nothing_else(workspace: Path) -> None:
    segments = list((workspace / CACHE).glob("*/*.seg"))
    assert len(segments) > 1, "the pool and each lap left one"
    before = log_entries(workspace)
    output = succeed(snakemake(workspace, "prune_embeddings"))
    assert "merged" in output and "changenet" in output
    assert len(list((workspace / CACHE).glob("*/*.seg"))) == 1
    config = {"prune_encoder": "none_such"}
    wrong = snakemake(workspace, "prune_embeddings", config=config)
    assert wrong.returncode == 1 and "HARD STOP config_invalid" in wrong.stdout
    succeed(snakemake(workspace, "prune_embeddings", config={"prune_encoder": "changenet"}))
    assert list((workspace / CACHE).glob("*/*.seg")) == []
    assert log_entries(workspace) == before
    assert plan(workspace) == {}
