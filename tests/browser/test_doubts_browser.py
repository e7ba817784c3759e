"""Verdicts on doubtful labels: given in a real browser, saved, read as the pipeline reads them."""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
from browser import BROWSER, browse
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import fake_run  # noqa: E402
from run_results import build_results

from deft.pool.corrected_laps import keep
from deft.report.check import check_html
from deft.report.render import render_report
from deft.tables.changenet_table import write_table
from deft.tables.corrections import Correction, read_file

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
]

EARLIER = [
    Correction("kpi", "line/B9", "R9@1", "bad_golden", golden_path="golden/D0"),
    Correction("training", "line/B1", "R1@1", "leave_out", golden_path="golden/D0"),  # changed now
    Correction("kpi", "line/B0", "R0@1", "leave_out"),  # changed too, and names no golden
]
LABELS = ("PASS", "bridge", "odd, spelt")
# Keyboard for the first three, the mouse for the fourth; the file that would be saved goes into
# the document, where the test can read it.
ACT = """<script>
function key(i, k) {
  document.querySelector('[data-doubt="' + i + '"]').dispatchEvent(
    new KeyboardEvent("keydown", {key: k, bubbles: true, cancelable: true}));
}
key(0, "2"); key(1, "1"); key(2, "4"); key(2, "u");
var last = document.querySelector('[data-doubt="3"]');
last.querySelector("select").value = 'odd, spelt';
last.querySelector("select").dispatchEvent(new Event("change", {bubbles: true}));
var link = HTMLAnchorElement.prototype.click;
HTMLAnchorElement.prototype.click = function () { document.body.dataset.file = this.download; };
URL.createObjectURL = function (blob) {
  blob.text().then(function (text) { document.body.dataset.saved = JSON.stringify(text); });
  return "blob:test";
};
document.getElementById("doubts-save").click();
</script></body>"""


def doubts(run: fake_run.Run, count: int = 4) -> None:
    """Write a ranking of so many rows beside the last phase, with its pictures."""
    folder = run.dir / "iter1" / "label_doubts"
    folder.mkdir(parents=True)
    rows = []
    for i in range(count):
        files = [f"kpi/images/doubt_{side}_{i}.png" for side in ("test", "golden")]
        for file in files:
            path = run.workspace / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (40 * i, 90, 120)).save(path)
        rows.append(
            {
                "table": ("kpi", "training", "pool")[i % 3],
                "row": i + 2,
                "input_path": f"line/B{i}",
                "golden_path": "golden/D0",
                "object_name": f"R{i}@1",
                "label": "PASS",
                "suggested": "bridge",
                "doubt": 0.9 - i / 10,
                "score": 0.5,
                "test_file": files[0],
                "golden_file": files[1],
                "picture": f"{i:016x}",
            }
        )
    write_table(pd.DataFrame(rows), folder / "label_doubts.csv")
    (folder / "label_doubts.json").write_text(json.dumps({"labels": LABELS}))
    keep(run.workspace, run.dir, EARLIER)


@pytest.fixture
def page(tmp_path: Path) -> tuple[fake_run.Run, Path]:
    (tmp_path / "w").mkdir()
    run = fake_run.finished(tmp_path / "w")
    doubts(run)
    return run, render_report(run.dir, run.workspace)


def test_verdicts_are_saved_and_read_back(page: tuple[fake_run.Run, Path], tmp_path: Path) -> None:
    run, path = page
    path.write_text(path.read_text().replace("</body>", ACT))
    document, logged = browse(
        path, tmp_path / "profile", "--virtual-time-budget=3000", "--dump-dom"
    )
    assert [line for line in logged.splitlines() if "CONSOLE" in line] == []
    (name,) = re.findall(r'data-file="([^"]*)"', document)
    (saved,) = re.findall(r'data-saved="([^"]*)"', document)
    assert name == "corrections.csv"
    file = tmp_path / name
    file.write_text(json.loads(html.unescape(saved)), encoding="utf-8")
    found = read_file(file)
    assert [(c.table, c.object_name, c.verdict, c.new_label) for c in found] == [
        ("kpi", "R9@1", "bad_golden", ""),
        ("kpi", "R0@1", "label_wrong", "bridge"),
        ("training", "R1@1", "label_right", ""),
        ("kpi", "R3@1", "label_wrong", LABELS[2]),
    ]
    assert [c.picture for c in found[1:]] == [f"{i:016x}" for i in (0, 1, 3)]
    assert [c.label for c in found[1:]] == ["PASS"] * 3
    assert "3 of 4 have a verdict" in document


def test_the_section_has_no_number_without_a_key(
    page: tuple[fake_run.Run, Path], tmp_path: Path
) -> None:
    run, path = page
    document, logged = browse(path, tmp_path / "profile", "--dump-dom")
    assert "CONSOLE" not in logged
    assert "Labels to look at" in document
    (tmp_path / "dom.html").write_text(document)
    assert check_html(tmp_path / "dom.html", build_results(run.dir, run.workspace)) == []
