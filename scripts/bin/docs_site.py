"""Hooks of the documentation site (`mkdocs.yml`): what lies beside `docs/` becomes part of it.

The pages link to each other as files do, which is what an editor and a code host follow. In the
site `docs/` is the root: README, contributing and changelog become pages there, any other file that
a page links to (`config/config.yaml`) is copied, and the links are written accordingly.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def links_in_site(text: str, page: Path, docs: Path) -> tuple[str, set[Path]]:
    """Return a page's text with its links as the site has them, and the files beside ``docs``.

    A link to a folder, or to what is not there, stays: the strict build then names it.
    """
    beside: set[Path] = set()

    def site_link(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(page.parent / match[2]))
        if not target.is_file() or not target.is_relative_to(docs.parent):
            return match[0]
        if not target.is_relative_to(docs):
            beside.add(target)
        return match[1] + _in_site(target, docs)

    # What stands in code is no link.
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    parts[::2] = [LINK.sub(site_link, part) for part in parts[::2]]
    return "".join(parts), beside


def _in_site(path: Path, docs: Path) -> str:
    return path.relative_to(docs if path.is_relative_to(docs) else docs.parent).as_posix()


def on_files(files: Any, config: Any) -> Any:
    """Add the pages and files that lie beside `docs/`."""
    docs = Path(config.docs_dir)
    pages = [docs.parent / name for name in PAGES]
    wanted = set(pages)
    for page in (*pages, *docs.glob("*.md")):
        wanted |= links_in_site(page.read_text(encoding="utf-8"), page, docs)[1]
    for path in sorted(wanted):
        files.append(File.generated(config, _in_site(path, docs), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return the page with its links as the site has them."""
    docs = Path(config.docs_dir)
    here = (docs.parent if page.file.src_uri in PAGES else docs) / page.file.src_uri
    return links_in_site(markdown, here, docs)[0]
