"""Tables of many rows by Arrow: the strict reader's result or none at all, pandas' bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deft.core.errors import HardStop
from deft.tables import changenet_table
from deft.tables.changenet_table import MANDATORY, read_table, write_table
from deft.tables.csv_text import CELL_CHARACTERS
from deft.tables.many_rows import plain_table, write_numbers

HEADER = "input_path,golden_path,label,object_name"
GOOD = f"{HEADER}\na,b,PASS,R1@1\na,b, bridge ,R2@1\n"

# What makes a table odd: pieces of which whole files are built.
pieces = st.sampled_from(
    [HEADER, "input_path", "label", "object_name", "golden_path", "a", "PASS", "pass", "Bridge",
     "R1", " ", ",", ",", ",", "\n", "\n", "\r\n", "\r", "\t", '"', '""', ";", "\0", "\x1c", "é",
     "\u00a0", "\ufeff", "nan", "NULL", "NA", "1e5", "-", "sep=,", "a,b,PASS,R1@1\n",
     "a,b,missing,R2\n", ""]
)  # fmt: skip
odd = st.one_of(
    st.lists(pieces, max_size=30).map("".join),
    st.lists(pieces, max_size=12).map(lambda more: GOOD + "".join(more)),
    st.lists(pieces, max_size=12).map(lambda more: GOOD + "".join(more) + "\n"),
)


def outcome(path: Path, **options):
    """Return the frame, or everything that a stop says."""
    try:
        return read_table(path, **options)
    except HardStop as stop:
        return stop.code, stop.message, stop.file, stop.rows, stop.fix


def read_both_ways(path: Path, monkeypatch, **options):
    """Return what the strict reader says, and what stands in its place where rows are many."""
    monkeypatch.setattr(changenet_table, "MANY_BYTES", 1 << 60)
    strict = outcome(path, **options)
    monkeypatch.setattr(changenet_table, "MANY_BYTES", 0)
    return strict, outcome(path, **options)


def assert_alike(strict, found) -> None:
    if isinstance(strict, tuple):
        assert found == strict
    else:
        pd.testing.assert_frame_equal(found, strict, check_index_type="exact")


@given(text=odd, labels=st.booleans())
@settings(max_examples=300, deadline=None)
def test_an_odd_table_is_read_or_refused_alike(tmp_path_factory, text, labels):
    path = tmp_path_factory.getbasetemp() / "odd.csv"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        assert_alike(*read_both_ways(path, patch, check_labels=labels))


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\n", "\n\n", 1),
        GOOD + "\n",
        GOOD + "a,b,PASS\n",
        GOOD + "a,b,PASS,R3,more\n",
        GOOD + f"{HEADER}\n",
        f" {HEADER} \na,b,PASS,R1\n",
        f"{HEADER},label\na,b,PASS,R1,x\n",
        f"{HEADER},\na,b,PASS,R1,\n",
        f"{HEADER},x;y\na,b,PASS,R1,\n",
        f"<html>,{HEADER}\nx,a,b,PASS,R1\n",
        "input_path,golden_path,label\na,b,PASS\n",
        GOOD + "a,,PASS,R3\n",
        GOOD + f"a,{'b' * (CELL_CHARACTERS + 1)},PASS,R3\n",
        f"{HEADER},{'c' * CELL_CHARACTERS}\na,b,PASS,R1,\n",
        f"{HEADER}{',c' * 600}\n",
        f"{HEADER}\n",
        GOOD.rstrip("\n"),
        "\n",
        "",
    ],
)
def test_edges_are_read_or_refused_alike(tmp_path, monkeypatch, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    assert_alike(*read_both_ways(path, monkeypatch))


def test_only_a_plain_table_goes_by_arrow():
    assert list(plain_table(GOOD.encode(), MANDATORY)["label"]) == ["PASS", " bridge "]
    for other in (GOOD + '"a",b,PASS,R3\n', GOOD + "ä,b,PASS,R3\n", GOOD[:-1], GOOD + "\n"):
        assert plain_table(other.encode(), MANDATORY) is None


@given(
    doubles=arrays(np.float64, 40, elements=st.floats(width=64)),
    small=arrays(np.float64, 40, elements=st.floats(0, 1)),
    halves=arrays(np.float32, 40, elements=st.floats(width=32)),
    counts=arrays(np.int64, 40),
)
@settings(max_examples=150, deadline=None)
def test_numbers_are_written_as_pandas_writes_them(
    tmp_path_factory, doubles, small, halves, counts
):
    edges = np.array([0.0, -0.0, 1.0, 1e-4, 9.9e-5, 2e-4, 1e6, 999999.5, 1e16, np.nan, np.inf] * 4)
    frame = pd.DataFrame(
        {"a": doubles, "b": small, "c": halves, "d": counts, "e": edges[:40],
         "f": edges[:40].astype(np.float32)}
    )  # fmt: skip
    path = write_numbers(frame, tmp_path_factory.getbasetemp() / "numbers.csv")
    assert path.read_text() == frame.to_csv(index=False, lineterminator="\n")


def test_numbers_of_many_rows_stand_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr("deft.tables.many_rows.ROWS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.random(50), "b": rng.random(50).astype("f4"), "c": range(50)})
    path = write_numbers(frame, tmp_path / "numbers.csv")
    assert path.read_text() == frame.to_csv(index=False, lineterminator="\n")
    empty = write_numbers(frame[:0], tmp_path / "empty.csv")
    assert empty.read_text() == "a,b,c\n"


def test_text_is_no_number(tmp_path):
    with pytest.raises(TypeError, match="no column of numbers"):
        write_numbers(pd.DataFrame({"a": ["x"]}), tmp_path / "numbers.csv")
    assert not (tmp_path / "numbers.csv").exists()


@pytest.mark.parametrize("rows", [0, 1, 3, 4, 10])
def test_a_table_is_written_in_pieces_as_it_is_whole(tmp_path, monkeypatch, rows) -> None:
    monkeypatch.setattr(changenet_table, "ROWS_AT_ONCE", 3)
    cells = ["plain", 'a "quoted", cell', "", "Lötstelle", "two\nlines", "half \udc80"]
    text = pd.Series([cells[i % len(cells)] for i in range(rows)], dtype=object)
    table = pd.DataFrame({"text": text, "number": np.arange(rows) / 7})
    written = write_table(table, tmp_path / "t.csv").read_bytes()
    whole = table.to_csv(index=False, lineterminator="\n")
    assert written == whole.encode("utf-8", "backslashreplace")
    assert "".join(changenet_table.csv_text(table)) == whole
