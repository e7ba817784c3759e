"""The site of the documentation: pages reachable, links lead somewhere, nothing is fetched."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
needs_mkdocs = pytest.mark.skipif(
    find_spec("material") is None, reason="needs mkdocs-material (requirements-dev.txt)"
)


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a copy of the project, with no connection to be had."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    dead = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    environment = {**os.environ, **dead, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )


class Page(HTMLParser):
    """The links, what a browser loads by itself, and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        elif tag in {"img", "script", "link", "iframe", "source"}:
            self.loaded += [named[key] for key in ("src", "href") if named.get(key)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT, out)
    assert done.returncode == 0, done.stderr
    return out


@needs_mkdocs
def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert {"index.html", "first_hour.html", "glossary.html", "CHANGELOG.html"} <= {
        p.name for p in pages
    }
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links begin at the server's root
            continue
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchored = target.suffix != ".html" or unquote(parts.fragment) in pages[target].anchors
            if not target.is_file() or not anchored:
                broken.append(f"{path.name} -> {link}")
    assert not broken


@needs_mkdocs
def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loaded = {u for p in site.rglob("*.html") for u in Page(p).loaded if urlsplit(u).netloc}
    assert not loaded
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles and not any(re.search(r"url\(.?https?:|@import", text) for text in styles)
    # The theme fetches the drawer of diagrams from a public host when a page has one for it.
    assert not any('class="mermaid"' in p.read_text("utf-8") for p in site.rglob("*.html"))


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    assert len(listed) == len(set(listed))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages == set(listed) - {"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}


@pytest.mark.slow
@needs_mkdocs
def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    for name in ("docs", "scripts/bin"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("mkdocs.yml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / "README.md").open("a") as page:
        page.write("\n[a](docs/nowhere.md) [b](docs/report.md#nowhere) [c](config/nowhere.yaml)\n")
    (tmp_path / "docs" / "stray.md").write_text("# In no menu\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    for broken in ("docs/nowhere.md", "report.md#nowhere", "config/nowhere.yaml"):
        assert any(broken in line for line in told), (broken, done.stderr)
    assert "stray.md" in done.stderr
