"""The check that every visible number carries its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deft.report.check import check_html
from dl_lab.printed_numbers import same_at_precision

RESULTS = {"iter1.far_pct": 12.3999, "iter1.fp": 43, "tiny": 1.2345e-7, "iter1.delta_pp": -3.25}


def problems(tmp_path: Path, body: str) -> list[str]:
    page = tmp_path / "page.html"
    page.write_text(
        f"<!DOCTYPE html>\n<html><head><style>a{{top:1px}}</style></head>\n{body}</html>"
    )
    return check_html(page, RESULTS)


@pytest.mark.parametrize(
    "body",
    [
        '<p>FAR <span data-key="iter1.far_pct">12.40 %</span></p>',
        '<b data-key="iter1.far_pct">12 %</b>',
        '<b data-key="iter1.delta_pp">\u22123.2</b><b data-key="iter1.delta_pp">-3.25</b>',
        '<b data-key="tiny">1.23e-07</b>',
        '<b data-key="iter1.fp">4<i>3</i></b>',
        "<td><code data-literal>iter1</code><br>text</td>",
        '<div data-chart><svg><g><path d="M 1 2"/><text>100</text></g></svg></div><p>none</p>',
        "<script>var a = 3;</script><p title='7'>no digit</p>",
    ],
)
def test_accepts(tmp_path: Path, body: str) -> None:
    assert problems(tmp_path, body) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('<b data-key="iter1.far_pct">12.41 %</b>', "shows 12.41"),
        ('<b data-key="iter1.fp">44</b>', "the value is 43"),
        ('<b data-key="iter1.none">1</b>', "no key of the results"),
        ('<b data-key="iter1.fp">43 of 160</b>', "expected one number"),
        ('<b data-key="iter1.fp">many</b>', "expected one number"),
        ("<p>\n\n  FAR 12.40 %</p>", "line 5: a number without a key"),
        ("<code data-literal>iter1</code> 7", "a number without a key: '7'"),
        ("<svg><text>100</text></svg>", "a number without a key"),
        ("<p>10<sup>⁻³</sup></p>", "without a key"),
        ('<p><b data-key="iter1.fp">44', "the value is 43"),
    ],
)
def test_reports(tmp_path: Path, body: str, said: str) -> None:
    found = problems(tmp_path, body)
    assert found
    assert any(said in text for text in found), found


@given(st.floats(-1e6, 1e6), st.integers(0, 8))
def test_a_rounded_value_is_the_value(value: float, decimals: int) -> None:
    assert same_at_precision(f"{value:.{decimals}f}", value)
    assert same_at_precision(f"{value:.{decimals}e}", value)


@given(st.integers(-10_000, 10_000), st.integers(0, 3))
def test_the_next_printed_value_is_another(value: int, decimals: int) -> None:
    exact = value / 10**decimals
    assert not same_at_precision(f"{exact + 10**-decimals:.{decimals}f}", exact)
