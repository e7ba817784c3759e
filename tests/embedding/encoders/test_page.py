"""docs/encoders.md says what the table of encoders says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deft.embedding.encoders.selftest import MIN_COSINE, picture_paths
from deft.embedding.encoders.table import CHANGENET, PUBLISHED

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
ROWS = {
    match.group(1): [cell.strip() for cell in match.group(0).strip("|").split("|")]
    for match in re.finditer(r"^\| `(\w+)`(?: \(default\))? \| .*\|$", PAGE, re.MULTILINE)
    if match.group(0).count("|") == 9 and match.group(1) != "encoder"
}


def test_every_encoder_has_its_row():
    assert set(ROWS) == {*PUBLISHED, CHANGENET}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_row_says_what_the_table_says(name):
    one = PUBLISHED[name]
    _, model, repository, megabytes, size, dim, _, licence = ROWS[name]
    assert (model, repository, megabytes) == (one.model, one.repository, str(one.megabytes))
    assert size == (str(one.size_px) if one.size_px else "as its file says")
    assert dim == str(one.dim) and licence.startswith(one.licence)
    assert ("account" in licence) == one.gated
    assert f"\n{one.download()}\n" in PAGE


def test_limits_and_pictures_are_those_of_the_code():
    assert f"{MIN_COSINE['float32']:g} in float32 and {MIN_COSINE['bfloat16']:g}" in PAGE
    size_kb = sum(path.stat().st_size for path in picture_paths()) / 1000
    assert f"{size_kb:.0f} kB" in PAGE
