"""Tables that were cut, edited or exchanged after their stage wrote them stop the next stage."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from scored_run import write_mined, write_scores
from stage_calls import (
    assemble,
    embed_shard,
    evaluate,
    files,
    mine,
    rca,
    route,
    stage_pool,
    validate,
)
from tiny_workspace import make_tiny_workspace

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file
from deft.stages.context import Context
from deft.stages.run_tables import routed_gaps
from deft.stages.train import check_table
from deft.tables import sealed

RUN = "run_sealed"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose light stages have run up to the validated table of lap 1."""
    workspace = make_tiny_workspace(tmp_path_factory.mktemp("made") / "w", pool=12, kpi=12)
    context = Context(layout.Run(workspace, RUN))
    stage_pool(context, "siglip")
    write_scores(context, "baseline", ramp)
    evaluate(context, "baseline", 1.0)
    rca(context, "baseline", 1.0, 3)
    route(context, "iter1", "pregen", [], [])
    write_mined(context)
    assemble(context, "iter1")
    validate(context, "iter1", "warn")
    return workspace


def ramp(ng: np.ndarray) -> np.ndarray:
    """Return scores that separate nothing well."""
    return np.linspace(0.1, 0.9, ng.size, dtype=np.float32)


@pytest.fixture
def context(made: Path, tmp_path: Path) -> Context:
    """A copy that a test may damage."""
    return Context(layout.Run(shutil.copytree(made, tmp_path / "w"), RUN))


# --- damage ---------------------------------------------------------------------------------------


def half(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[: 1 + len(lines) // 2]))


def swapped_labels(path: Path) -> None:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    i, j = table.index[table["label"] == "PASS"][0], table.index[table["label"] != "PASS"][0]
    table.loc[[i, j], "label"] = table.loc[[j, i], "label"].to_numpy()
    table.to_csv(path, index=False, lineterminator="\n")


def one_digit(path: Path) -> None:
    text = path.read_text()
    assert "0.1," in text or "0.1\n" in text
    path.write_text(text.replace("0.1\n", "0.2\n", 1))


def fewer_gaps(path: Path) -> None:
    pd.read_parquet(path).iloc[2:].to_parquet(path, index=False)


def one_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


def cut_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def gone(path: Path) -> None:
    path.unlink()


KPI_CSV = "baseline/inference/best_val/inference.csv"
COMBINED = "iter1/dataset/train_combined_iter1.csv"
PROVENANCE = "iter1/dataset/train_combined_iter1_provenance.csv"
GAPS = "baseline/rca_results/sealed/kpi_gaps.parquet"
ROUTED = "iter1/routing_results/sealed/mining_gaps.parquet"
MINED = "iter1/mining_filter/mining_pool.csv"
POOL = "synth_pool/source_pool.parquet"

READERS: dict[str, Callable[[Context], object]] = {
    "evaluate": lambda c: evaluate(c, "baseline", 1.0),
    "rca": lambda c: rca(c, "baseline", 1.0, 3),
    "route": lambda c: route(c, "iter1", "pregen", [], []),
    "assemble": lambda c: assemble(c, "iter1"),
    "validate": lambda c: validate(c, "iter1", "warn"),
    "train": lambda c: check_table(c, files("train", c.run, "iter1")),
    "mine": lambda c: mine_reads(c),
    "embed": lambda c: embed_reads(c),
}


def mine_reads(context: Context) -> None:
    from deft.stages.mine_inputs import MineOptions

    mine(context, "iter1", None, MineOptions("nearest", 2, 0.0, 64, "warn", 0))


def embed_reads(context: Context) -> None:
    embed_shard(context, None, "1-of-1", None, 1)


@pytest.mark.parametrize(
    ("reader", "file", "damage", "code", "rule"),
    [
        ("evaluate", KPI_CSV, half, "silent_drop", "infer"),
        ("evaluate", KPI_CSV, swapped_labels, "csv_invalid", "infer"),
        ("evaluate", KPI_CSV.replace("best_val", "latest"), one_digit, "csv_invalid", "infer"),
        ("evaluate", KPI_CSV, gone, "missing_input", "infer"),
        ("rca", KPI_CSV.replace("best_val", "latest"), half, "silent_drop", "infer"),
        ("route", GAPS, fewer_gaps, "silent_drop", "rca"),
        ("route", GAPS, one_byte, None, "rca"),
        ("route", GAPS, cut_bytes, "silent_drop", "rca"),
        ("mine", ROUTED, fewer_gaps, "silent_drop", "route"),
        ("mine", POOL, one_byte, None, "stage_pool"),
        ("embed", POOL, cut_bytes, "silent_drop", "stage_pool"),
        ("assemble", MINED, swapped_labels, "csv_invalid", "mine"),
        ("assemble", MINED, half, "silent_drop", "mine"),
        ("assemble", MINED, gone, "missing_input", "mine"),
        ("validate", COMBINED, half, "silent_drop", "assemble"),
        ("validate", COMBINED, swapped_labels, "csv_invalid", "assemble"),
        ("validate", PROVENANCE, half, "silent_drop", "assemble"),
        ("train", COMBINED, half, "silent_drop", "assemble"),
        ("train", COMBINED, swapped_labels, "csv_invalid", "assemble"),
    ],
)
def test_a_damaged_table_stops_its_reader(context, reader, file, damage, code, rule):
    path = context.run.dir / file
    damage(path)
    with pytest.raises(HardStop) as stop:
        READERS[reader](context)
    error = stop.value
    assert error.file == str(path)
    assert error.code == code if code else error.code in ("csv_invalid", "silent_drop")
    assert f"rule {rule}" in error.fix and f"results/{RUN}/{file}" in error.fix


def test_the_message_of_a_short_table_gives_both_counts(context):
    half(context.run.dir / KPI_CSV)
    with pytest.raises(HardStop, match=r"has 6 rows, but inference\.json speaks of 12"):
        evaluate(context, "baseline", 1.0)


@pytest.mark.parametrize("reader", ["evaluate", "rca", "route", "assemble", "validate", "train"])
def test_whole_tables_are_read_as_ever(context, reader):
    READERS[reader](context)


def test_every_record_seals_the_tables_beside_it(made):
    run = made / "results" / RUN
    for record in (
        "synth_pool/manifest.json",
        "baseline/metrics.json",
        "baseline/rca_results/sealed/metrics.json",
        "iter1/routing_results/sealed/routing.json",
        "iter1/dataset/assembly.json",
    ):
        tables = read_json(run / record)["tables"]
        assert tables
        for name, seal in tables.items():
            path = (run / record).parent / name
            rows = (
                pq.read_metadata(path).num_rows
                if path.suffix == ".parquet"
                else len(pd.read_csv(path))
            )
            assert seal == {"sha256": sha256_file(path), "rows": rows}


# --- what an earlier version left -----------------------------------------------------------------


def without_seals(path: Path) -> None:
    facts = json.loads(path.read_text())
    del facts["tables"]
    path.write_text(json.dumps(facts))


def test_a_record_without_seals_is_taken_and_said_once(context, capsys):
    record = context.run.dir / "iter1/mining_filter/mining.json"
    without_seals(record)
    assemble(context, "iter1")
    assemble(context, "iter1")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert told == [
        "note: mining.json is an earlier version's and holds no digest of mining_pool.csv"
    ]


def test_the_count_of_an_earlier_record_is_checked_all_the_same(context):
    without_seals(context.run.dir / "iter1/mining_filter/mining.json")
    half(context.run.dir / MINED)
    with pytest.raises(HardStop, match=r"has 3 rows, but mining\.json speaks of 6"):
        assemble(context, "iter1")


def test_routed_gaps_of_an_earlier_version_have_no_record(context):
    (context.run.routing("iter1") / "routing.json").unlink()
    assert routed_gaps(context, context.run.routing("iter1") / "mining_gaps.parquet").is_file()


# --- the reader itself ----------------------------------------------------------------------------


def test_a_row_more_and_a_line_break_in_a_cell(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,"x\ny"\n2,z\n')
    told = sealed.seal(path, 2)
    assert sealed.count_rows(path) == 2
    path.write_text(path.read_text() + "3,w\n")
    with pytest.raises(HardStop, match="has 3 rows"):
        sealed.check(path, told, tmp_path / "r.json", rule="r")


def test_a_table_that_is_none_any_more(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    told = sealed.seal(path, 1)
    path.write_bytes(b"\0" * 100)
    with pytest.raises(HardStop, match="cannot be read as a table") as stop:
        sealed.check(path, told, tmp_path / "r.json", rule="r")
    assert stop.value.code == "silent_drop"
    with pytest.raises(HardStop, match="not a whole parquet file"):
        sealed.read_parquet(path)


@pytest.mark.parametrize("facts", [None, [], "x", {"tables": []}, {"tables": {"t": 3}}, {}])
def test_a_record_of_another_shape_seals_nothing(facts):
    assert sealed.seal_of(facts, "t") == {}
    assert sealed.seal_of_kind(facts, "best_val") == {}


def test_nan_is_no_number_in_a_record(tmp_path):
    path = tmp_path / "m.json"
    path.write_text('{"far": NaN}')
    with pytest.raises(HardStop, match="NaN is no number"):
        read_json(path)
    assert yaml.safe_load("a: .nan")  # other readers have their own rules
