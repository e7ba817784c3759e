"""Tables as people save them: read cell for cell, or refused with the line; never misread."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deft.core.errors import HardStop
from deft.tables.changenet_table import read_table
from deft.tables.csv_text import CELL_CHARACTERS, COLUMNS_MOST, read_rows

CASES = Path(__file__).parents[1] / "cases"
HEAD = "input_path,golden_path,label,object_name,description\n"
CELLS = st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"))
ROW = "a,g,PASS,1,x\n"
GOOD = HEAD + ROW


def refusal(tmp_path: Path, content: bytes | str) -> HardStop:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(HardStop) as caught:
        read_table(path)
    assert caught.value.code == "csv_invalid" and caught.value.file == str(path)
    return caught.value


def cells(tmp_path: Path, content: bytes | str) -> list[list[str]]:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path).to_numpy().tolist()


def test_a_stray_quote_stops_at_its_line_and_swallows_no_row():
    with pytest.raises(HardStop) as caught:
        read_table(CASES / "stray_quote_testing_set.csv")
    assert (caught.value.code, caught.value.rows) == ("csv_invalid", [4])
    assert '"0402' in caught.value.message


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (GOOD + 'b,g,bridge,2,"open\n' + ROW * 3, 3, "opens a cell and does not close"),
        (GOOD + 'b,g,bridge,2,"', 3, "opens a cell and does not close"),
        (GOOD + 'b,g,bridge,2,"a\nb"\n' + ROW, 3, "opens a cell and does not close"),
        (GOOD + "b,g,bridge,2,\"closed by a printer's mark\u201d\n" + ROW, 3, "does not close"),
        (GOOD + 'b,g,bridge,2,"ab"cd\n', 3, "between a closing quotation mark and the next comma"),
        (GOOD + 'b,g,bridge,2,"ab" \n', 3, "between a closing quotation mark and the next comma"),
        (GOOD + 'b,g,bridge",2,x\n', 3, "quotation mark in label"),
        (GOOD + 'b,g,bridge,"2""",x\n', 3, "quotation mark in object_name"),
        (GOOD + "b,g,bridge,2,a\rb\n", 3, "carriage return"),
        (GOOD + "b,g,bridge,2,x\r\r\n", 3, "carriage return"),
        (GOOD.replace("\n", "\r"), 1, "carriage return"),
        (GOOD + "b,g,bridge,2,a\0b\n", 3, "NUL"),
        (GOOD + "b,g,bridge,2," + "x" * (CELL_CHARACTERS + 1) + "\n", 3, "more than 131072"),
        (HEAD.strip() + "".join(f",c{i}" for i in range(COLUMNS_MOST)) + "\n", 1, "columns"),
        (HEAD.strip() + "".join(f",c{i}" for i in range(50_000)) + "\n", 1, "columns"),
        (GOOD.replace(",", ";"), 1, "this table is separated by ';'"),
        (GOOD.replace(",", "\t"), 1, "this table is separated by a tab"),
        (GOOD.replace(",", "|"), 1, "this table is separated by '|'"),
        ('"' + GOOD.strip().replace(",", '";"').replace("\n", '"\n"') + '"\n', 1, "by ';'"),
        ("sep=;\n" + GOOD.replace(",", ";"), 1, "hint"),
        (GOOD.replace("\n", ";;;;\n"), 1, "';'"),
        (GOOD + "\0" * 4096, 3, "NUL"),
        ("\0" * 4096, 1, "NUL"),
        (b"PK\x03\x04" + bytes(range(256)), 1, "an Excel workbook"),
        ("<!DOCTYPE html><html><body>404</body></html>", 1, "a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", 1, "Git LFS"),
        ("\n" + GOOD, 1, "no header line"),
        (GOOD.encode("utf-16"), 1, "UTF-16"),
        (GOOD.encode("utf-16-le"), 1, "UTF-16"),
        (GOOD.encode("utf-16-be"), 1, "UTF-16"),
        (GOOD.encode("utf-32"), 1, "UTF-32"),
        ((GOOD + "b,g,L\u00f6tbr\u00fccke,2,x\n").encode("latin-1"), 3, "not UTF-8: byte 0xF6"),
        (b"\xef\xbb\xbf" + GOOD.encode("utf-8-sig"), 1, "U+FEFF"),
        (GOOD + "\ufeff" + GOOD, 3, "repeats the header"),
        (GOOD + ",,,,\n,,,,\n", 3, "empty input_path"),
        (GOOD + "\n" + ROW, 3, "do not have the header's 5 cells"),
        (GOOD + "b;g;bridge;2;x\n", 3, "do not have the header's 5 cells"),
        (GOOD.replace("\n", ",,\n"), 1, "stand twice"),
        (HEAD.title() + ROW, 1, "mandatory"),
        (GOOD + "b,g,bridge,2\u2028,x\n", 3, "control character"),
        (GOOD + "b\x1c,g,bridge,2,x\n", 3, "control character"),
    ],
)  # fmt: skip
def test_what_could_be_misread_is_refused_with_its_line(tmp_path, content, line, words):
    error = refusal(tmp_path, content)
    assert words in error.message
    assert error.rows[0] == line


@pytest.mark.parametrize("content", ["", "\n\n", b"\xef\xbb\xbf", "  \n"])
def test_an_empty_file_has_no_header(tmp_path, content):
    assert "no header line" in refusal(tmp_path, content).message


@pytest.mark.parametrize(
    ("content", "last"),
    [
        (GOOD + 'b,g,bridge,2,0.5" pitch\n', '0.5" pitch'),
        (GOOD + 'b,g,bridge,2,0402"\n', '0402"'),
        (GOOD + 'b,g,bridge,2,"0.5"" pitch, 8 pins"\n', '0.5" pitch, 8 pins'),
        (GOOD + 'b,g,bridge,2,""\n', ""),
        (GOOD + "b,g,bridge,2,it's\n", "it's"),
        (GOOD + "b,g,bridge,2,a\x0cb\x1c\x1d\x1e\x85\u2028c\n", "a\x0cb\x1c\x1d\x1e\x85\u2028c"),
        ((GOOD + "b,g,bridge,2,y\n").replace("\n", "\r\n"), "y"),
        ((GOOD + "b,g,bridge,2,y\n\n\n"), "y"),
        ((GOOD + "b,g,bridge,2,y"), "y"),
        ((GOOD + "b,g,bridge,2,y\n").encode("utf-8-sig"), "y"),
        ('"' + HEAD.strip().replace(",", '","') + '"\n"a","g","PASS","1","y"\n', "y"),
    ],
)
def test_what_is_plain_is_read_cell_for_cell(tmp_path, content, last):
    assert cells(tmp_path, content)[-1][-1] == last


def test_a_pandas_index_without_a_name_stays_a_column(tmp_path):
    assert cells(tmp_path, "," + HEAD + "0," + ROW)[0][0] == "0"


def test_a_matrix_in_the_tables_place_is_refused_by_its_first_line(tmp_path):
    """Not after rows of a million cells have been made."""
    tracemalloc.start()
    refusal(tmp_path, "1," * 1_000_000 + "\n" + ("2," * 1_000_000 + "\n") * 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6


def test_a_folder_in_the_tables_place_is_said(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(HardStop, match="a folder stands"):
        read_table(tmp_path / "t.csv")


@given(
    st.lists(
        st.lists(CELLS, min_size=2, max_size=2),
        min_size=1,
        max_size=8,
    )
)  # fmt: skip
def test_whatever_a_csv_writer_writes_comes_back(rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["first", "second"], *rows])
    assert read_rows("t.csv", text.getvalue()) == [["first", "second"], *rows]


@given(st.text(st.sampled_from('a,";\r\n\0\x1c\u2028 '), max_size=40))
def test_any_text_is_one_row_a_line_or_a_hard_stop(text):
    try:
        rows = read_rows("t.csv", "input,output\n" + text)
    except HardStop as stop:
        assert stop.code == "csv_invalid"
        return
    lines = ("input,output\n" + text).replace("\r\n", "\n").rstrip("\n").split("\n")
    assert len(rows) == len(lines)
