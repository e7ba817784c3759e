"""The experiment folder: its parts, their READMEs, the scripts that run inside it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from deft.core.files import write_text_atomic
from model_explorer import kit
from model_explorer.kit.steps import STEPS

KIT = Path(kit.__file__).parent
PARTS = {
    "refs": "Upstream sources (linked, or cloned with `--depth=1`) and, in `model/`, the "
    "explored model "
    "file: a copy, or a link where it is large. `outputs/provenance.json` has commits and digests.",
    "scripts": "Small scripts, one step each, run in the order of their numbers; `run_all.py` "
    "runs them "
    "all. `kit/` is what they share. All paths are relative to the experiment's folder, so it "
    "can move.",
    "inputs": "What the model was run on: found in the workspace (`found/`) or made (`made_*`).",
    "outputs": "Every figure as JSON, the only source of the reports; `raw/` and `decoded/` "
    "outputs.",
    "logs": "What each script printed, the transcript of commands (`commands.log`), profiler "
    "traces.",
    "reports": "`experiment-report.md` (figures, made from `outputs/`) and "
    "`stakeholder-report.md` (what "
    "they mean for a decision); `figures/` are their pictures. Each report lies there as HTML too, "
    "one file with its figures, to be read or printed; `scripts/32_html.py` makes it again from "
    "the Markdown.",
}
# script -> what it does, and the kit's module and function (in the folder the kit is `kit`)
SCRIPTS = {
    "01_smoke.py": (
        "Load the model once: do runtime and file work here at all?",
        "model_explorer.kit.smoke",
        "smoke",
    ),
    "02_contract.py": ("Establish the I/O contract.", "model_explorer.kit.contract", "establish"),
    "03_inputs.py": ("Choose or make the inputs.", "model_explorer.kit.samples", "prepare"),
    "10_infer.py": ("Run every input once.", "model_explorer.kit.infer", "run"),
    "12_benchmark.py": (
        "Time cold and warm runs and batch sizes.",
        "model_explorer.kit.bench",
        "measure",
    ),
    "14_profile.py": ("Profile the operators.", "model_explorer.kit.profiling", "profile"),
    "16_train_check.py": (
        "Try a few training steps on one batch.",
        "model_explorer.kit.train_check",
        "check",
    ),
    "18_judge.py": ("Measure quality and judge the targets.", "model_explorer.kit.judge", "judge"),
    "20_visualize.py": ("Draw the figures.", "model_explorer.kit.figures", "visualize"),
    "30_experiment_report.py": (
        "Write the experiment report.",
        "model_explorer.kit.experiment_report",
        "write",
    ),
    "31_stakeholder_report.py": (
        "Write the stakeholder report.",
        "model_explorer.kit.stakeholder",
        "write",
    ),
    "32_html.py": ("Show the reports as HTML.", "model_explorer.kit.html", "write"),
}
SCRIPT = '''"""{what}"""

from kit import no_network

no_network.begin()  # before anything is imported that might fetch weights

from kit import folder, {module}  # noqa: E402

folder.main({module}.{function})
'''
RUN_ALL = '''"""Run every step again (or, with --reports, only judging, figures and reports)."""

import sys

from kit import folder, rerun

folder.main(lambda place: rerun.run_all(place, sys.argv[1:]))
'''
# Nothing large is added by accident: what is not named here stays out of a repository.
IGNORED = """/*
!/.gitignore
!/README.md
!/scripts/
/scripts/*
!/scripts/README.md
!/scripts/*.py
!/scripts/kit/
/scripts/kit/*
!/scripts/kit/*.py
!/scripts/kit/child/
/scripts/kit/child/*
!/scripts/kit/child/*.py
!/refs/
/refs/*
!/refs/README.md
!/inputs/
/inputs/*
!/inputs/README.md
!/outputs/
/outputs/*
!/outputs/README.md
!/outputs/*.json
!/logs/
/logs/*
!/logs/README.md
!/reports/
/reports/*
!/reports/README.md
!/reports/*.md
!/reports/*.html
!/reports/figures/
"""


def make(place: Path, title: str, question: str, model: str) -> None:
    """Write the empty folder: parts, READMEs and scripts."""
    for part in (*PARTS, "reports/figures", "refs/model"):
        (place / part).mkdir(parents=True, exist_ok=True)
    write_text_atomic(place / ".gitignore", IGNORED)
    write_text_atomic(place / "README.md", readme(title, question, model))
    for part, text in PARTS.items():
        body = f"# {part}\n\n{text}\n\n## Changes\n\n- {_now()}: made\n"
        write_text_atomic(place / part / "README.md", body)
    shutil.copytree(KIT, place / "scripts" / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    for name, (what, module, function) in SCRIPTS.items():
        own = module.rpartition(".")[2]
        text = SCRIPT.format(what=what, module=own, function=function)
        write_text_atomic(place / "scripts" / name, text)
    write_text_atomic(place / "scripts" / "run_all.py", RUN_ALL)


def readme(title: str, question: str, model: str) -> str:
    """Return the README of an experiment."""
    rows = "\n".join(f"| `{name}/` | {text} |" for name, text in PARTS.items())
    steps = "\n".join(f"| `scripts/{s.script}` | {s.what} |" for s in STEPS)
    return f"""# Exploring {title}

{question}

Model: `{model}`. Read [reports/stakeholder-report.md](reports/stakeholder-report.md) first,
[reports/experiment-report.md](reports/experiment-report.md) for the figures.

## Reproduce

```bash
python scripts/run_all.py             # all again, by the Python of outputs/environment.json
python scripts/run_all.py --reports   # only judge, draw and report, from outputs/
```

Any Python may start it; the recorded one does the work. If that is gone it stops (`--python PATH`
names another). A rerun that fails ends with an error and leaves reports and outputs as they were;
what it made lies in `logs/failed-…`.

The folder can be moved; links in `refs/` point to where the originals lie. Its `.gitignore` lets
only small files into a repository.

| script | what it does |
|---|---|
{steps}

## What is where

| folder | what |
|---|---|
{rows}

## Changes

- {_now()}: made
"""


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
