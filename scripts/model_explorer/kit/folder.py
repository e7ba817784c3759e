"""The experiment folder seen from its own scripts: JSON files, change notes, how a script ends."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import no_network
from .outcomes import OpenInput

EXIT_REFUSED = 3
STOP_MARK = "STOP: "
NEED_MARK = "NEED: "
PROOF_MARK = "PROVEN: "
FAILURE_MARK = "FAILED: "


class Refusal(Exception):
    """What cannot be done here, in one line for the user; no bug of the scripts.

    ``needs``: what the user could tell so that it can be done. ``proven``: nothing could be told;
    the model itself fails. Only the latter makes a no-go.
    """

    def __init__(self, text: str, needs: Iterable[OpenInput] = (), *, proven: bool = False) -> None:
        super().__init__(text)
        self.asked = list(needs)
        self.needs = [need.as_dict() for need in self.asked]
        self.proven = proven


class Folder:
    """Paths of one experiment; everything in it is named relative to ``root``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()

    def path(self, name: str) -> Path:
        """Return the absolute path of a name relative to the root."""
        return self.root / name

    def read(self, name: str, default: Any = None) -> Any:
        """Return ``outputs/<name>.json``, or ``default`` when it does not exist."""
        path = self.root / "outputs" / f"{name}.json"
        if not path.is_file():
            return default
        return json.loads(path.read_text(encoding="utf-8"))

    def need(self, name: str) -> Any:
        """Return ``outputs/<name>.json``; raises :class:`Refusal` when an earlier script is due."""
        found = self.read(name)
        if found is None:
            raise Refusal(f"outputs/{name}.json is missing; run the scripts in order (run_all.py)")
        return found

    def write(self, name: str, data: Any) -> None:
        """Write ``outputs/<name>.json`` whole: sorted keys, numbers that are finite."""
        text = json.dumps(plain(data), indent=2, sort_keys=True, ensure_ascii=False)
        write_text(self.root / "outputs" / f"{name}.json", text + "\n")

    @property
    def parameters(self) -> dict[str, Any]:
        """``outputs/parameters.json``: what was asked for."""
        asked: dict[str, Any] = self.need("parameters")
        return asked

    def note(self, part: str, text: str) -> None:
        """Append one dated line to the Changes section of a part's README."""
        path = self.root / part / "README.md"
        if path.is_file():
            stamp = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            with path.open("a", encoding="utf-8") as handle:
                handle.write(f"- {stamp}: {text}\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a neighbour and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def plain(value: Any) -> Any:
    """Return JSON-ready data: numpy numbers as Python's, NaN and infinities as text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    elif hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value


def here() -> Folder:
    """Return the folder that holds this ``scripts/kit``."""
    return Folder(Path(__file__).resolve().parents[2])


def main(step: Callable[[Folder], str]) -> None:
    """Run one script: print its summary, or its refusal, and exit with 0, 3 or (a bug) 1."""
    folder = here()
    os.chdir(folder.root)
    try:
        print(_done(step, folder), flush=True)
    except Refusal as refusal:
        for need in refusal.needs:
            print(f"{NEED_MARK}{json.dumps(need)}", file=sys.stderr)
        mark = PROOF_MARK if refusal.proven else ""
        print(f"{STOP_MARK}{mark}{refusal}", file=sys.stderr, flush=True)
        sys.exit(EXIT_REFUSED)
    except Exception as error:  # the trace is for the log, its reason for the reports
        traceback.print_exc()
        print(f"{FAILURE_MARK}{whole(error)}", file=sys.stderr, flush=True)
        sys.exit(1)


def _done(step: Callable[[Folder], str], folder: Folder) -> str:
    """Run a step; what fails after a download was refused fails for want of it."""
    try:
        return step(folder)
    except Exception as error:
        wished = no_network.said() or no_network.offline_wish(error)
        if not wished:
            raise
        said = str(error) if isinstance(error, Refusal) else first_line(error)
        need = OpenInput(
            "arguments that build the network without a download", "class_arguments",
            {"pretrained": False},
        )  # fmt: skip
        text = no_network.refusal(wished)
        raise Refusal(text if wished in said else f"{text} ({said})", [need]) from error


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return the first line of an error's text that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # TorchScript puts its trace first and the reason last.
    said = next((line for line in reversed(lines) if line.startswith("RuntimeError:")), None)
    text = said or (lines[0] if lines else "")
    name = type(error).__name__
    return (text if text.startswith(name) else f"{name}: {text}")[:limit]


def whole(error: BaseException) -> str:
    """Return all of an error's text in one line; of TorchScript's trace, what it ends in."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    starts = [n for n, line in enumerate(lines) if line.startswith("RuntimeError:")]
    text = " ".join(lines[starts[-1] :] if starts else lines)
    name = type(error).__name__
    return text if text.startswith(name) else f"{name}: {text}"
