"""docs/backbones.md lists just the names that are there."""

import re
from pathlib import Path

from deft.changenet.backbones import NATIVE
from deft.changenet.spec.backbones import needs_of

PAGE = Path(__file__).parents[2] / "docs/backbones.md"


def test_every_name_is_listed_once():
    rows = re.findall(r"^\| `([^`]+)` \| \d+ \|", PAGE.read_text(), flags=re.M)
    assert rows == list(NATIVE)


def test_every_name_has_its_needs():
    assert all(needs_of(name) is not None for name in NATIVE)
    assert needs_of("timm:vit_small_patch16_dinov3") is None
