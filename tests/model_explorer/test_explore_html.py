"""Reports as HTML: what the Markdown says, its figures inside, nothing that runs or loads."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import BROWSER, browse, run_script
from PIL import Image

from model_explorer.kit import html
from model_explorer.kit.folder import Folder
from model_explorer.kit.markdown import cell, table

TEXT = """# net <b> & co: can we use it?

**Go with conditions.** It takes 3 ms; `a < b` and *this*
goes on in the next line.

- one, see [the tables](experiment-report.md)
- two, see [upstream](https://host/x?a=1&b=2) not [this](javascript:alert(1))

1. first
2. second

```yaml
explore:
  labels: "<x>"  # **no bold**
```

| what | value |
|---|---|
| a\\|b | &lt;script>alert(1)&lt;/script> |
| [x]\\(javascript:1) | snake_case * 2 |

![A figure](figures/one.png)

*A figure, at (1, 2).*

![Gone](figures/gone.png)

![Out](../../secret.png)
"""


class Tags(HTMLParser):
    """Check that tags close in order; keep them and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def page(tmp_path: Path) -> Tags:
    (tmp_path / "reports/figures").mkdir(parents=True)
    Image.new("RGB", (4, 4), "red").save(tmp_path / "reports/figures/one.png")
    Image.new("RGB", (4, 4)).save(tmp_path.parent / "secret.png")
    (tmp_path / "reports/stakeholder-report.md").write_text(TEXT.replace("\\\\", "\\"))
    assert html.write(Folder(tmp_path)) == "reports/stakeholder-report.html"
    tags = Tags()
    tags.feed((tmp_path / "reports/stakeholder-report.html").read_text())
    assert tags.open == []
    return tags


def test_every_part_of_a_report_is_shown(page):
    names = [name for name, _ in page.seen]
    for name in ("h1", "ul", "ol", "table", "thead", "pre", "figure", "strong", "em", "code"):
        assert name in names, name
    text = " ".join(page.text.split())
    for words in ("net <b> & co", "a < b", "goes on in the next line", "a|b", "snake_case * 2",
                  "<script>alert(1)</script>", "# **no bold**", "A figure, at"):  # fmt: skip
        assert words in text, words
    assert "&lt;" not in text and "\\" not in text


def test_nothing_runs_and_nothing_is_loaded(page):
    assert not {n for n, _ in page.seen} & {"script", "link", "iframe", "object", "b"}
    links = [a["href"] for n, a in page.seen if n == "a"]
    assert links == ["experiment-report.html", "https://host/x?a=1&b=2"]
    (image,) = [a for n, a in page.seen if n == "img"]
    assert image["src"].startswith("data:image/png;base64,") and image["alt"] == "A figure"
    # The one outside the reports is not taken in although it exists.
    assert "gone.png is not there" in page.text and "secret.png is not there" in page.text


@pytest.mark.parametrize("text", ["a|b", "<i>x</i>", "[x](y)", "`", "*a*b*", "a\\", "**", "| - |"])
def test_a_cell_of_any_text_comes_back_as_it_was(text, tmp_path):
    tags = Tags()
    tags.feed(html.page("\n".join(table(("k", "v"), [("w", text)])), tmp_path))
    cells = [n for n, _ in tags.seen if n == "td"]
    assert len(cells) == 2 and tags.open == []
    assert not any(n in ("i", "a") for n, _ in tags.seen), cell(text)


CELLS = ["20,218", "-70.0", "1.2e-05", "90.0 %", "**missed**", "throughput_items_per_s", "ab" * 32]


def test_a_table_breaks_endless_words_alone(tmp_path):
    tags = Tags()
    tags.feed(html.page("\n".join(table([f"c{n}" for n in range(7)], [CELLS])), tmp_path))
    kinds = [a.get("class") for n, a in tags.seen if n == "td"]
    assert kinds == ["number"] * 4 + [None, None, "long"]


@pytest.mark.skipif(not BROWSER, reason="no browser")
@pytest.mark.slow
def test_a_browser_keeps_numbers_and_words_of_a_full_table_whole(tmp_path):
    row = [*CELLS, "share of inputs with a known answer that were answered so: " * 4]
    text = html.page("\n".join(table([*(f"head_{n}" for n in range(7)), "how"], [row])), tmp_path)
    target = tmp_path / "page.html"
    # The page's own policy lets no script run that could measure it.
    target.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"\s[^>]*>', "", text))
    lines, _ = run_script(
        target, tmp_path / "profile",
        "return [...document.querySelectorAll('th, td')].slice(0, -2).map((cell) => {"
        " const range = document.createRange(); range.selectNodeContents(cell);"
        " return new Set([...range.getClientRects()].map((r) => Math.round(r.top))).size; });",
        "--window-size=1000,900",
    )  # fmt: skip
    assert lines == [1] * 14


@pytest.mark.skipif(not BROWSER, reason="no browser")
@pytest.mark.slow
def test_a_browser_shows_and_prints_it(page, tmp_path):
    target = tmp_path / "reports/stakeholder-report.html"
    _, log = browse(target, tmp_path / "profile", "--dump-dom")
    assert not re.search(r"CONSOLE.*(error|refused)", log, re.IGNORECASE)
    pdf = tmp_path / "out.pdf"
    browse(target, tmp_path / "profile2", f"--print-to-pdf={pdf}")
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 5000
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
