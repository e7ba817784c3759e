"""The pool in shards: equal bytes for any number of them, and so the rows that are mined."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spy_encoder import SpyEncoder, draw_pictures
from stage_calls import embed_pool, embed_shard, mine, stage_pool
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.core.layout import POOL_TABLE, Run
from deft.embedding import embed, shards
from deft.embedding.embed import EmbeddingWriter, open_embeddings, write_embeddings
from deft.embedding.shards import count_lines, record_shards, shard_count, shard_rows
from deft.mining import neighbours
from deft.mining.strategies import Rules
from deft.pool.digest import INPUTS_FILE
from deft.stages.context import Context
from deft.stages.embed_shard import read_slice
from deft.stages.mine_inputs import MineOptions

POOL = 45
PREGEN = 4
TOTAL = POOL + PREGEN


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    return make_tiny_workspace(tmp_path_factory.mktemp("stage") / "workspace", pool=POOL)


def staged(workspace: Path, name: str) -> Context:
    """Stage the pool of a new run and make weak samples of the KPI pictures."""
    context = Context(Run(workspace, name))
    stage_pool(context, "spy")
    pictures = sorted((workspace / "kpi/images/kpi").rglob("*.png"))[:9]
    gaps = pd.DataFrame({"filepath": [str(p) for p in pictures]})
    gaps["label"] = ["PASS", "bridge", "missing"] * 3
    gaps["light"], gaps["siamese_score"], gaps["weakness"] = "SolderLight", 0.5, 0.1
    out = context.run.routing("iter1") / "mining_gaps.parquet"
    out.parent.mkdir(parents=True)
    gaps.to_parquet(out)
    return context


def embedded(context: Context, encoder, count: int, cache: Path | None, threads: int = 1) -> bytes:
    """Embed the pool in ``count`` shards, the last one first; return the table's bytes."""
    items = [f"{i}-of-{count}" for i in range(1, count + 1)]
    for item in reversed(items):
        embed_shard(context, encoder, item, cache, threads)
    folder = context.run.synth_pool
    embed_pool(context, [folder / "shards" / f"{item}.parquet" for item in items])
    return (folder / "source_embeddings.parquet").read_bytes()


def mined(context: Context, encoder, cache: Path | None = None, threads: int = 1) -> dict[str, str]:
    """Mine for the first lap; return the tables as text."""
    options = MineOptions("nearest", 3, -1.0, 64, "warn", 0, rules=Rules(), cache=cache,
                          threads=threads)  # fmt: skip
    mine(context, "iter1", encoder, options)
    folder = context.run.phase("iter1") / "mining_filter"
    pairs = pd.read_parquet(folder / "knn_pairs.parquet").to_csv(index=False)
    names = ("mining_pool.csv", "knn_summary.csv", "mining_summary.txt")
    return {"pairs": pairs, **{name: (folder / name).read_text() for name in names}}


def shuffle(workspace: Path, seed: int) -> None:
    path = workspace / POOL_TABLE
    header, *rows = path.read_text().splitlines(keepends=True)
    random.Random(seed).shuffle(rows)
    path.write_text(header + "".join(rows))


@pytest.fixture(scope="module")
def reference(workspace) -> dict:
    context = staged(workspace, "run_reference")
    encoder = SpyEncoder()
    table = embedded(context, encoder, 1, None)
    return {"table": table, "mined": mined(context, encoder)}


@pytest.mark.parametrize(
    ("count", "threads", "shuffled", "cached"),
    [
        (1, 2, None, False),
        (4, 1, None, True),
        (4, 2, 1, False),
        (16, 2, 2, True),
        (TOTAL + 5, 1, 3, True),  # some shards have no row
    ],
)
def test_mined_rows_are_equal_bytes_for_any_shards_threads_order(
    workspace, reference, tmp_path, count, threads, shuffled, cached
):
    if shuffled is not None:
        shuffle(workspace, shuffled)
    name = f"run_{count}_{threads}_{shuffled}"
    context, encoder = staged(workspace, name), SpyEncoder()
    cache = tmp_path / "cache" if cached else None
    embedded(context, encoder, count, cache, threads)
    assert_same_rows(context, reference["table"], name)
    found = mined(context, encoder, cache, threads)
    wanted = {k: v.replace("run_reference", name) for k, v in reference["mined"].items()}
    assert found == wanted
    assert found["mining_pool.csv"].count("\n") > 10


def assert_same_rows(context: Context, table: bytes, name: str) -> None:
    """Compare rows and vectors: paths hold the run's name, so bytes differ between runs."""
    found = pq.read_table(context.run.synth_pool / "source_embeddings.parquet")
    other = pq.read_table(pa.BufferReader(table))
    column = [p.replace("run_reference", name) for p in other["filepath"].to_pylist()]
    assert found["filepath"].to_pylist() == column
    assert found.drop_columns("filepath").equals(other.drop_columns("filepath"))


def test_the_table_of_embeddings_has_equal_bytes_for_any_shards(workspace, tmp_path, monkeypatch):
    """With row groups of seven rows, that no shard's end meets."""
    monkeypatch.setattr(embed, "GROUP_ROWS", 7)
    monkeypatch.setattr("deft.stages.embed_shard.BLOCK_ROWS", 5)
    context, encoder = staged(workspace, "run_bytes"), SpyEncoder()
    one = embedded(context, encoder, 1, None)
    assert pq.ParquetFile(pa.BufferReader(one)).num_row_groups == 7
    facts = (context.run.synth_pool / "source_embeddings.json").read_bytes()
    for count in (2, 4, 16, 60):
        assert embedded(context, encoder, count, tmp_path / "cache") == one
        assert (context.run.synth_pool / "source_embeddings.json").read_bytes() == facts
    assert json.loads(facts)["rows"] == TOTAL


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_a_network_mines_the_same_rows_for_any_shards_and_threads(workspace, tmp_path, runtime):
    import timm
    import torch

    from deft.embedding.encoders.preprocessing import Preprocessing
    from deft.embedding.encoders.torch_encoder import Options, TorchEncoder

    def encoder() -> TorchEncoder:
        torch.manual_seed(0)
        module = timm.create_model("test_vit", img_size=32, num_classes=0)
        half = (0.5, 0.5, 0.5)
        prepared = Preprocessing((32, 32), (32, 32), "squash", "bilinear", half, half)
        options = Options("cpu", 8, runtime=runtime)
        return TorchEncoder("vit", module, module.num_features, prepared, {}, options)

    found, threads_before = [], torch.get_num_threads()
    try:
        for count, threads in ((1, 1), (4, 2), (16, 1)):
            torch.set_num_threads(threads)
            context = staged(workspace, f"run_{runtime}_{count}")
            embedded(context, encoder(), count, None, threads)
            found.append(mined(context, encoder(), None, threads)["mining_pool.csv"])
    finally:
        torch.set_num_threads(threads_before)
    names = [f"run_{runtime}_{count}" for count in (1, 4, 16)]
    assert len({text.replace(n, "run") for text, n in zip(found, names, strict=True)}) == 1


@pytest.mark.parametrize("search", ["exact", "ivf"])
def test_a_lap_without_weak_samples_mines_nothing_and_says_so(workspace, search):
    """With routing: by_label all of them may go to AnomalyGen."""
    context, encoder = staged(workspace, f"run_none_{search}"), SpyEncoder()
    embedded(context, encoder, 1, None)
    path = context.run.routing("iter1") / "mining_gaps.parquet"
    pd.read_parquet(path).iloc[:0].to_parquet(path)
    options = MineOptions("nearest", 3, -1.0, 64, "warn", 0, search=search)
    assert "0 new parts" in mine(context, "iter1", encoder, options)
    folder = context.run.phase("iter1") / "mining_filter"
    facts = json.loads((folder / "mining.json").read_text())
    assert facts["targets"] == facts["candidate_count"] == facts["new_rows"] == 0
    assert facts["warnings"][0].startswith("no weak sample was routed to mining")
    columns = pq.read_schema(folder / "knn_pairs.parquet").names
    assert columns == list(neighbours.PAIR_COLUMNS)
    assert pq.read_metadata(folder / "target_embeddings.parquet").num_rows == 0


def test_iteration_two_embeds_only_new_targets(workspace, tmp_path):
    context, encoder = staged(workspace, "run_two_laps"), SpyEncoder()
    embedded(context, encoder, 2, tmp_path / "cache")
    encoder.prepared.clear()
    mined(context, encoder, tmp_path / "cache")
    assert len(encoder.prepared) == 9
    path = context.run.routing("iter1") / "mining_gaps.parquet"
    gaps = pd.read_parquet(path)
    new = draw_pictures(workspace / "more", 2, first=700)
    more = pd.concat([gaps.iloc[3:], gaps.iloc[:2].assign(filepath=new)], ignore_index=True)
    more.to_parquet(path)
    encoder.prepared.clear()
    mined(context, encoder, tmp_path / "cache")
    assert sorted(encoder.prepared) == ["00700.png", "00701.png"]


def test_the_next_run_embeds_only_what_the_pool_gained(workspace, tmp_path):
    context, encoder = staged(workspace, "run_first"), SpyEncoder()
    embedded(context, encoder, 3, tmp_path / "cache")
    path = workspace / POOL_TABLE
    text = path.read_text()
    row = text.splitlines()[1]
    source = next((workspace / "augmentation/mining_pool/images").glob("*.png"))
    new = draw_pictures(tmp_path / "new", 1, first=800)[0]
    (source.parent / "N1@1_SolderLight.png").write_bytes(Path(new).read_bytes())
    cells = row.split(",")
    cells[0], cells[3] = "images/N1@1_SolderLight.png", "N1@1"
    try:
        path.write_text(text + ",".join(cells) + "\n")
        encoder.prepared.clear()
        later = staged(workspace, "run_later")
        embedded(later, encoder, 5, tmp_path / "cache")
    finally:
        path.write_text(text)
    assert encoder.prepared == ["N1@1_SolderLight.png"]


# --- shards that do not belong together -----------------------------------------------------------


def test_shards_of_two_encoders_stop(workspace):
    context = staged(workspace, "run_mixed")
    folder = context.run.synth_pool / "shards"
    embed_shard(context, SpyEncoder(), "1-of-2", None, 1)
    embed_shard(context, SpyEncoder("other"), "2-of-2", None, 1)
    with pytest.raises(HardStop) as stop:
        embed_pool(context, [folder / "1-of-2.parquet", folder / "2-of-2.parquet"])
    assert stop.value.code == "encoder_mismatch" and "delete" in stop.value.fix
    assert not (context.run.synth_pool / "source_embeddings.parquet").exists()


def test_shards_of_another_division_stop(workspace):
    context, encoder = staged(workspace, "run_gap"), SpyEncoder()
    folder = context.run.synth_pool / "shards"
    for item in ("1-of-2", "3-of-3"):
        embed_shard(context, encoder, item, None, 1)
    with pytest.raises(HardStop):
        embed_pool(context, [folder / "1-of-2.parquet", folder / "3-of-3.parquet"])
    with pytest.raises(HardStop) as stop:
        embed_pool(context, [folder / "1-of-2.parquet"])
    assert stop.value.code == "silent_drop"


# --- the number of shards -------------------------------------------------------------------------


def test_shards_are_contiguous_and_cover_every_row():
    for total in (0, 1, 7, 100):
        for count in (1, 3, 16):
            parts = [shard_rows(f"{i}-of-{count}", total) for i in range(1, count + 1)]
            assert [p[0] for p in parts] == [0, *[p[1] for p in parts[:-1]]]
            assert parts[-1][1] == total
            sizes = [stop - start for start, stop in parts]
            assert max(sizes) - min(sizes) <= 1
    for wrong in ("0-of-3", "4-of-3"):
        with pytest.raises(ValueError):
            shard_rows(wrong, 10)


def test_the_number_follows_the_rows_at_the_start_and_stays(tmp_path):
    table, run = tmp_path / POOL_TABLE, tmp_path / "results/run_a"
    assert shard_count(tmp_path, run, 10) == 1, "without a pool the pre-flight says what is wrong"
    table.parent.mkdir(parents=True)
    table.write_text("header\n" + "row\n" * 30)
    assert shard_count(tmp_path, run, 10) == 3
    assert shard_count(tmp_path, run, 29) == 2
    begun = table.stat().st_size
    (run / "preflight").mkdir(parents=True)
    known = {"inputs": {POOL_TABLE: {"prefix_bytes": begun, "sha256": ""}}}
    (run / INPUTS_FILE).write_text(json.dumps(known))
    with table.open("a") as handle:
        handle.write("row\n" * 500)
    assert shard_count(tmp_path, run, 10) == 3, "rows that came later are the next run's"
    record_shards(run, 3)
    record_shards(run, 99)
    assert shard_count(tmp_path, run, 1) == 3, "fixed when the run began"


def test_lines_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_BYTES", 7)
    path = tmp_path / "table.csv"
    path.write_text("abc\n" * 25)
    assert count_lines(path) == 25
    assert count_lines(path, 10) == 2
    assert count_lines(path, 10_000) == 25


# --- files ----------------------------------------------------------------------------------------


def test_a_slice_reads_only_its_row_groups(tmp_path):
    path = tmp_path / "pool.parquet"
    table = pa.table({"a": list(range(50)), "b": [str(i) for i in range(50)]})
    pq.write_table(table, path, row_group_size=8)
    for start, stop in ((0, 50), (7, 9), (16, 24), (49, 50), (20, 20)):
        part = read_slice(path, start, stop, ["b"])
        assert part["b"].to_pylist() == [str(i) for i in range(start, stop)]


def test_a_writer_that_fails_leaves_the_old_table(tmp_path):
    class Fake:
        name, dim, digest = "fake", 3, "abc"

    table = pd.DataFrame({"filepath": ["a", "b"]})
    path = write_embeddings(tmp_path / "e.parquet", table, np.ones((2, 3), np.float32), Fake())
    before = path.read_bytes()
    with pytest.raises(RuntimeError), EmbeddingWriter(path, pa.schema([]), Fake()):
        raise RuntimeError("the encoder died")
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    _, vectors, meta = open_embeddings(path)
    assert meta["digest"] == "abc" and vectors.rows == 2


def facts_of_lap(workspace: Path, name: str, cutoff: float | str, **more: object) -> dict:
    """What a lap of the contract's strategy writes down."""
    context, encoder = staged(workspace, name), SpyEncoder()
    if more.get("causes"):
        path = context.run.routing("iter1") / "mining_gaps.parquet"
        gaps = pd.read_parquet(path)
        gaps["causes"] = ["wrong_golden", "", "rim;label_doubt"] * 3
        gaps.to_parquet(path)
    embedded(context, encoder, 1, None)
    options = MineOptions("nearest", 3, cutoff, 64, "warn", 0, rules=Rules(), **more)
    mine(context, "iter1", encoder, options)
    found: dict = json.loads((context.run.phase("iter1") / "mining_filter/mining.json").read_text())
    return found


def test_a_cutoff_by_rule_is_found_from_the_training_rows_and_written_down(workspace) -> None:
    found = facts_of_lap(workspace, "run_auto", "auto")
    rule = found["similarity_rule"]
    assert found["similarity_threshold"] == rule["min_similarity"]
    assert rule["pictures"] == 24 and rule["same_type"]["pairs"] > 0
    fixed = facts_of_lap(workspace, "run_same_cutoff", rule["min_similarity"])
    assert {
        k: v for k, v in found.items() if k not in ("similarity_rule", "tables", "warnings")
    } == {k: v for k, v in fixed.items() if k not in ("tables", "warnings")}


def test_a_lap_that_the_cutoff_alone_leaves_empty_says_so_with_numbers(workspace) -> None:
    found = facts_of_lap(workspace, "run_cut", 1.0)
    rejected = found["rejected"]
    assert found["new_rows"] == 0 and rejected["rejected"] == rejected["candidates"] > 0
    told = found["warnings"][-1]
    assert told.startswith("similarity_cutoff: min_similarity 1 rejects all")
    assert f"{rejected['nearest']:.6f}" in told and "pool_exhausted" not in told
    again = facts_of_lap(workspace, "run_uncut", rejected["nearest"])
    assert again["new_rows"] >= 1, "the advice holds"


def test_weak_samples_that_rows_cannot_mend_find_no_neighbours(workspace) -> None:
    found = facts_of_lap(workspace, "run_causes", -1.0, causes="use")
    assert found["targets"] == 3
    wanted = {"rim;label_doubt": 3, "wrong_golden": 3}
    assert found["beyond_rows"] == {"pictures": 6, "by_cause": wanted}
    assert "beyond_rows" not in facts_of_lap(workspace, "run_no_causes", -1.0)
