"""Fingerprints of the code behind each stage, without comments, docstrings and layout.

The code is found from the imports of the stage's script (:mod:`logic_closure`).
`python tests/logic/logic_fingerprints.py` records the present ones (make logic), after a person has
decided for each changed stage whether its number in rules/logic_versions.json must be raised.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

from logic_closure import PACKAGE, ROOT, Code, Place, stage_scripts

RECORD = Path(__file__).with_suffix(".json")
VERSIONS = ROOT / "rules" / "logic_versions.json"

# Modules whose change can change no output from equal inputs, and why. A test checks that each is
# reached by a stage, and that none of them computes with numbers, tables or pictures.
NO_OUTPUT = {
    "core.errors": "the words of a stop, after which there is no output",
    "run.stage": "how a command line begins and ends: its status, its log line",
    "run.cli": "options that all stages share, and the log file",
    "run.state": "what happened and when; outputs are made from the stages' own files",
    "run.jobs": "which processes of a run live",
    "run.leases": "which process may use a GPU",
    "core.interrupt": "how a signal ends a stage",
    "core.durations": "how long something took, in words",
    "core.progress": "bars on the terminal",
    "core.schemas": "records pass or are refused",
    "core.hardware": "which devices there are, for the record",
    "run.slurm": "how the cluster names jobs",
    "core.credentials": "who may fetch; never part of an output",
    "core.airgap": "whether something may be fetched",
    "settings.known": "which settings there are; what a stage works with is on its command line",
}
# The HTML page is no stage's output: it is rendered again at any time. A test checks that stages
# take nothing from its modules but its rendering.
PAGE = ("report.render", "report.charts", "report.pictures", "report.thumbs", "report.check")
RENDERING = {"render_pages", "render_report"}


def excluded(module: str) -> bool:
    """Return whether no output can depend on a module of the library."""
    package, _, name = module.partition(".")
    return package == PACKAGE and (".".join(name.split(".")[:2]) in NO_OUTPUT or name in PAGE)


def behind(stage: str, code: Code) -> set[Place]:
    """Return the units of code that can change a stage's output."""
    places = code.reached(stage_scripts()[stage], excluded)
    return {place for place in places if not excluded(place[0])}


def fingerprint(stage: str, code: Code | None = None) -> str:
    """Return the digest of the code and the data files behind a stage.

    Code that only moves to another module keeps it.
    """
    code = code or Code()
    places = behind(stage, code)
    texts = [
        f"{name}\n{ast.dump(node)}"
        for module, name in places
        for node in code.units(module)[name].nodes
    ]
    for path in code.data_files(places):
        content = path.read_bytes() if path not in code.edited else code.text(path).encode()
        texts.append(f"{path.name}\n{hashlib.sha256(content).hexdigest()}")
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:16]


def current(code: Code | None = None) -> dict[str, dict[str, object]]:
    """Return version and fingerprint of every stage."""
    code = code or Code()
    versions = json.loads(VERSIONS.read_text(encoding="utf-8"))
    return {
        s: {"version": versions[s], "fingerprint": fingerprint(s, code)} for s in sorted(versions)
    }


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"recorded {RECORD}")
