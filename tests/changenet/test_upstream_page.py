"""docs/upstream.md names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs/upstream.md"


def test_every_test_that_the_page_names_exists():
    text = PAGE.read_text(encoding="utf-8")
    table = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [line for line in table if "`upstream_compat: true`" not in line]
    named = set(re.findall(r"`(?:tests/)?(\w+/test_\w+\.py)`", text))
    assert len(rows) >= 9 and all("test_" in row for row in rows), "a row names its test"
    assert {name for name in named if not (TESTS / name).is_file()} == set()
