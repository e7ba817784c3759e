"""The pre-flight's page of suspicious pairs in a real browser."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browser import BROWSER, run_script
from PIL import Image

from deft.preflight.check import Suspect
from deft.preflight.pairs_page import PAIRS_FILE, write_pairs

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]


@pytest.mark.parametrize("width_px", [1400, 500])
def test_long_names_stay_below_their_pictures(tmp_path: Path, width_px: int) -> None:
    workspace = tmp_path / "w"
    long = ["kpi/images/base/" + 9 * "SN13000185_U4_WhiteLight_" + f"{i}.png" for i in range(4)]
    for name in long:
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(workspace / name)
    pairs = [Suspect("leakage_base_kpi", *two, "nearly") for two in (long[:2], long[2:])]
    ctx: Any = SimpleNamespace(run_dir=workspace, workspace=workspace, suspects=pairs, config={})
    assert write_pairs(ctx) == 2
    answer, _ = run_script(
        workspace / PAIRS_FILE, tmp_path / "p", """
        function right(e) { return e.getBoundingClientRect().right; }
        var wide = Array.from(document.querySelectorAll("small")).filter(function (name) {
          return right(name) > right(name.closest("div")) + 1;
        });
        return [wide.length, document.documentElement.scrollWidth - innerWidth];""",
        f"--window-size={width_px},900",
    )  # fmt: skip
    assert answer[0] == 0 and answer[1] <= 0
