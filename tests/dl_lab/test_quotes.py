"""Quoted numbers in Markdown and TeX."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl_lab.quotes import check_files, quotes_of, same_at_precision

RESULTS = {"iter1.far_pct": 12.3999, "rows": 12345, "a.labels.cold solder.n": 7, "x_y": -0.5}


@pytest.fixture
def analysis(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "analysis.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"results": RESULTS}))
    return path


def problems(analysis: Path, text: str, name: str = "t.md") -> list[str]:
    path = analysis.parents[1] / name
    path.write_text(text, encoding="utf-8")
    return check_files([path], analysis)[1]


@pytest.mark.parametrize(
    "text",
    [
        "FAR at 99 % is 12.40 % (analysis.json:results.iter1.far_pct).",
        "FAR is 12.4 % (`analysis.json:results.iter1.far_pct`), and 7 more.",
        "[12 %](runs/analysis.json#results.iter1.far_pct)",
        "12,345 (analysis.json:results.rows) and 12.40 % (analysis.json:results.iter1.far_pct)",
        "12345 rows, wrapped\nonto a line (analysis.json:results.rows)",
        "[7](runs/analysis.json#results.a.labels.cold%20solder.n)",
        "−0.5 (analysis.json:results.x_y); -0.50 (analysis.json:results.x_y)",
        "An example: `99 % (analysis.json:results.rows)`\n```\n1 analysis.json:results.none\n```\n",
        "no quote: 12.4 %, results.iter1.far_pct, analysis.json:results.<key>",
    ],
)
def test_agrees(analysis: Path, text: str) -> None:
    assert problems(analysis, text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("12.41 % (analysis.json:results.iter1.far_pct)", "t.md:1: iter1.far_pct: shows 12.41"),
        ("a\n\n12.3 % (analysis.json:results.iter1.far_pct)", "t.md:3: "),
        ("12.40 % (analysis.json:results.iter2.far_pct)", "is no key of"),
        ("12.40 %\n\n(analysis.json:results.iter1.far_pct)", "no number stands before"),
        ("12.40 % (nowhere/analysis.json:results.iter1.far_pct)", "is not there"),
        ("iter1 (analysis.json:results.iter1.far_pct)", "no number stands before"),
    ],
)
def test_names_what_is_wrong(analysis: Path, text: str, said: str) -> None:
    found = problems(analysis, text)
    assert len(found) == 1 and said in found[0]


def test_tex(analysis: Path) -> None:
    text = (
        "It rejects 12.40\\,\\% % analysis.json:results.iter1.far_pct\n"
        "of 12{,}345 parts (\\texttt{analysis.json:results.rows}), $-0.5$ "
        "\\footnote{analysis.json:results.x\\_y}.\n"
        "Wrong: 12.39\\,\\% % analysis.json:results.iter1.far_pct\n"
    )
    found = problems(analysis, text, "paper.tex")
    assert len(found) == 1 and "paper.tex:3: iter1.far_pct: shows 12.39" in found[0]


def test_a_file_that_is_no_text_and_a_broken_record_are_named(analysis: Path) -> None:
    path = analysis.parents[1] / "t.md"
    path.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in check_files([path], analysis)[1][0]
    analysis.write_text("{")
    assert "no record's analysis" in problems(analysis, "1 (analysis.json:results.rows)")[0]


@given(st.integers(-(10**12), 10**12), st.integers(0, 6))
def test_thousands_read_as_plain(number: int, decimals: int) -> None:
    value = number / 10**decimals
    printed = f"{value:,.{decimals}f}"
    (quote,) = quotes_of(f"{printed} (analysis.json:results.k)")
    assert quote.number == printed and same_at_precision(printed, value)


@given(st.floats(-1e6, 1e6), st.integers(0, 6))
def test_the_next_digit_is_seen(value: float, decimals: int) -> None:
    near = float(f"{value:.{decimals}f}")
    assert same_at_precision(f"{near:.{decimals}f}", near)
    assert not same_at_precision(f"{near + 2 * 10**-decimals:.{decimals}f}", near)
