"""Quoted numbers in Markdown and TeX."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from quote_cases import BAD, GOOD, RESULTS

import check_quotes
from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.report.check import check_html
from dl_lab.printed_numbers import numbers_in, same_at_precision
from dl_lab.quotes import check_files


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "analysis.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"results": RESULTS}))
    return path


def problems(analysis: Path, text: str, kind: str = "md") -> list[str]:
    path = analysis.parents[1] / f"t.{kind}"
    path.write_text(text, encoding="utf-8")
    if kind == "html":
        return [f"{path}:{fault[5:]}" for fault in check_html(path, RESULTS)]
    return check_files([path], analysis)[1]


@pytest.mark.parametrize(("kind", "text"), GOOD)
def test_agrees(analysis: Path, kind: str, text: str) -> None:
    assert problems(analysis, text, kind) == []


@pytest.mark.parametrize(("kind", "text", "said"), BAD)
def test_names_what_is_wrong(analysis: Path, kind: str, text: str, said: str) -> None:
    found = problems(analysis, text, kind)
    where = ":" if said[0].isdigit() else ""
    assert any(f"t.{kind}{where}{said}" in f or (not where and said in f) for f in found), found


def test_the_table_is_whole() -> None:
    assert len(GOOD) >= 30 and len(BAD) >= 30
    assert {kind for kind, _ in GOOD} == {kind for kind, *_ in BAD} == {"md", "tex", "html"}


def test_a_file_that_is_no_text_and_a_broken_record_are_named(analysis: Path) -> None:
    path = analysis.parents[1] / "t.md"
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in check_files([path], analysis)[1][0]
    analysis.write_text("{")
    assert "no record's analysis" in problems(analysis, "1 (analysis.json:results.rows)")[0]


def test_names_of_files_that_no_shell_reads_are_a_stop() -> None:
    with pytest.raises(HardStop, match="No closing quotation.*o'brien"):
        check_quotes.body(argparse.Namespace(files="/home/o'brien/x.tex"), Run(".", "r"))


@given(st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_thousands_read_as_plain(number: int, decimals: int) -> None:
    value = number / 10**decimals
    printed = f"{value:,.{decimals}f}"
    (found,) = numbers_in(f"{printed} (analysis.json:results.k)")
    assert found.text == printed and same_at_precision(printed, value)


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_the_next_digit_is_seen(value: float, decimals: int) -> None:
    near = float(f"{value:.{decimals}f}")
    assert same_at_precision(f"{near:.{decimals}f}", near)
    assert not same_at_precision(f"{near + 2 * 10**-decimals:.{decimals}f}", near)
