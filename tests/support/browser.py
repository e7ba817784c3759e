"""A page in a real browser, without a network: what it logs, shows and answers to a script."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


def browse(page: Path, profile: Path, *options: str) -> tuple[str, str]:
    """Load a page and return the document after its scripts ran, and what was logged."""
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={profile}",
            # Nothing resolves: a page that needs the network would say so.
            "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0",
            *options, page.as_uri(),
        ],
        capture_output=True, text=True, timeout=180, check=True,
    )  # fmt: skip
    return done.stdout, done.stderr


def console(logged: str) -> list[str]:
    """Return the lines that the page's own console has."""
    return [line for line in logged.splitlines() if "CONSOLE" in line]


def run_script(page: Path, profile: Path, script: str, *options: str) -> tuple[Any, str]:
    """Run a script at the end of a copy of the page; return what it returned, and the document.

    ``script`` is the body of a function; what it returns must be JSON.
    """
    copy = page.with_name(f"{page.stem}_scripted.html")
    tail = (
        "<script>var _r; try { _r = (function () {" + script + "})(); } catch (e) { _r = "
        "'error: ' + e.stack; } var _s = document.createElement('script');"
        "_s.type = 'application/json'; _s.id = 'script-answer';"
        "_s.textContent = JSON.stringify(_r).replace(/</g, '\\\\u003c');"
        "document.body.appendChild(_s);</script></body>"
    )
    head, _, rest = page.read_text(encoding="utf-8").rpartition("</body>")
    copy.write_text(head + tail + rest, encoding="utf-8")
    document, logged = browse(copy, profile, "--dump-dom", *options)
    copy.unlink()
    assert console(logged) == []
    found = re.search(r'id="script-answer">(.*?)</script>', document, re.DOTALL)
    assert found, document[-500:]
    answer = json.loads(unescape(found[1]))
    assert not str(answer).startswith("error: "), answer
    return answer, document
