"""The map of the embeddings in a real browser: a point opens its picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from browser import BROWSER, run_script

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import embedded  # noqa: E402
import fake_run  # noqa: E402

from deft.report.render import render_report  # noqa: E402

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine"),
]


def test_a_point_opens_its_picture(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    run = fake_run.finished(tmp_path / "w")
    pool, weak, _ = embedded.write_embeddings(run)
    page = render_report(run.dir, run.workspace)
    answer, _ = run_script(
        page, tmp_path / "p", """
        var svg = document.querySelector("#map-drawing svg");
        var panel = document.getElementById("map-shown"), out = {};
        function click(circle) {
          var box = svg.getBoundingClientRect(), scale = box.width / 760;
          svg.dispatchEvent(new MouseEvent("click", {
            clientX: box.left + circle.getAttribute("cx") * scale,
            clientY: box.top + circle.getAttribute("cy") * scale}));
          var img = panel.querySelector("img"), link = panel.querySelector("a");
          return [panel.textContent, Boolean(img), link && link.getAttribute("href")];
        }
        var layers = ["pool", "mined", "weak"].map(function (kind) {
          return svg.querySelector("g[data-kind=" + kind + "]");
        });
        out.counts = layers.map(function (layer) { return layer.children.length; });
        out.weak = click(layers[2].children[0]);
        var box = document.querySelector("#map input[name=weak]");
        box.checked = false; box.dispatchEvent(new Event("change"));
        out.hidden = layers[2].getAttribute("display");
        out.other = click(layers[2].children[0]);
        return out;""",
    )  # fmt: skip
    assert answer["counts"] == [len(pool) - 17, 17, len(weak)]
    text, picture, link = answer["weak"]
    assert text.startswith("weak, ") and picture and link.startswith("../../kpi/images/")
    assert answer["hidden"] == "none"
    assert answer["other"][2] != link  # what is hidden is not found
