"""`deft.yaml` of the workspace sets what --config sets; printed advice works when pasted."""

from __future__ import annotations

import ast
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from warm_snakemake import run_warm
from workflow_tools import (
    CONFIG,
    NOTHING,
    REPOSITORY,
    RUN,
    changes,
    clean_environment,
    snakemake,
    state,
    succeed,
    tree,
    working_folder,
)

from deft.core import commands
from deft.settings.workspace_file import SETTINGS_FILE

pytestmark = [pytest.mark.workflow, pytest.mark.long]

SOURCES = [*(REPOSITORY / "scripts/deft").rglob("*.py"), *(REPOSITORY / "scripts").glob("*.py")]
BARE = dict.fromkeys(set(CONFIG) - {"run"})  # nothing but the workspace on the command line
OWN = {key: value for key, value in CONFIG.items() if key != "run"} | {
    "approve": True,
    "live_report": False,
}


def settle(workspace: Path, **more: object) -> None:
    """Give a workspace the settings that the other tests give on the command line."""
    text = yaml.safe_dump({**OWN, **more})
    (workspace / SETTINGS_FILE).write_text(text, encoding="utf-8")


def test_a_finished_run_is_finished_under_its_file(workspace: Path) -> None:
    """No trigger, and the same approval, wherever the settings stand."""
    settle(workspace)
    before = tree(workspace)
    output = succeed(snakemake(workspace, config=BARE, args=["-n"]))
    assert NOTHING in output and "changed since" not in output
    assert changes(before, tree(workspace)) == {}


def test_a_changed_file_is_a_changed_setting(workspace: Path) -> None:
    settle(workspace, top_k_per_label=3)
    told = succeed(snakemake(workspace, config=BARE, args=["-n"]))
    assert "top_k_per_label: 2 → 3" in told
    assert re.search(r"^rca +\d", told, re.MULTILINE)


def test_the_command_line_wins(workspace: Path) -> None:
    settle(workspace, top_k_per_label=3)
    told = succeed(snakemake(workspace, config={**BARE, "top_k_per_label": 2}, args=["-n"]))
    assert NOTHING in told


def test_a_mistake_in_the_file_is_one_clear_line(fresh: Path) -> None:
    settle(fresh, sede=3)
    done = snakemake(fresh, config=BARE, args=["-n"])
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "unknown configuration key 'sede'" in done.stdout
    assert f"in: {fresh / SETTINGS_FILE}" in done.stdout


def test_settings_writes_what_differs_and_begins_no_run(fresh: Path) -> None:
    settle(fresh, seed=5)
    before = tree(fresh)
    succeed(snakemake(fresh, "settings", config={**BARE, "run": None, "max_iterations": 1}))
    assert set(changes(before, tree(fresh))) == {
        SETTINGS_FILE,
        f"{SETTINGS_FILE}.old",
        "logs/settings.log",
    }
    written = yaml.safe_load((fresh / SETTINGS_FILE).read_text(encoding="utf-8"))
    assert written == {**OWN, "seed": 5, "max_iterations": 1}


def test_the_run_keeps_a_copy_and_its_jobs_the_settings_of_their_command(fresh: Path) -> None:
    settle(fresh)
    output = succeed(snakemake(fresh, f"results/{RUN}/preflight/gate.json", config=BARE))
    kept = fresh / "results" / RUN / "preflight" / SETTINGS_FILE
    assert kept.read_bytes() == (fresh / SETTINGS_FILE).read_bytes()
    checks = json.loads(kept.with_name("checks.json").read_text(encoding="utf-8"))
    sources = {p["name"]: p["source"] for p in checks["parameters"]}
    assert sources["top_k_per_label"] == "user" and sources["seed"] == "default"
    assert state(fresh)["config"]["num_epochs"] == OWN["training_epochs"], output[-1000:]


# Every form of advice in the sources: the first word behind the program, as it is written there.
FORMS = {
    "'preflight'": [["preflight"]],
    "'preflight' run='new'": [["preflight"], {"run": "new"}],
    "'preflight' run=name": [["preflight"], {"run": "run_b"}],
    "'approve'": [["approve"]],
    "'report'": [["report"]],
    "'settings'": [["settings"]],
    "'demo_workspace'": [["demo_workspace"]],
    "'import_table'": [["import_table"]],
    "'import_folder_plan'": [["import_folder_plan"]],
    "'import_folder'": [["import_folder"]],
    "'register_pictures'": [["register_pictures"], {"register": "shift", "register_from": "DIR"}],
    "'-R' context": [["-R", f"results/{RUN}/baseline/train/weights.json"]],
    "'-n'": [["-n", f"results/{RUN}/iter2/train/weights.json"]],
    "'best_model' run=name": [["best_model", "-R", "export_best"], {"run": RUN}],
    "'score'": [["score"], {"table": "FILE", "images": "DIR"}],
    "run=name": [[], {"run": RUN}],
    "file": [[f"results/{RUN}/iter1/mining_filter/mined.parquet"]],
    "file run": [[f"results/{RUN}/baseline/metrics.json"], {"run": RUN}],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_advice_works_when_pasted(form, workspace: Path, monkeypatch) -> None:
    """From the folder where the user typed, with his settings and his way to the Snakefile."""
    monkeypatch.setenv(commands.NOTE, "{}")
    pairs = [f"{k}={v}" for k, v in CONFIG.items() if k != "run"]
    typed = ["/any/snakemake/__main__.py", "preflight", "-s", str(REPOSITORY / "Snakefile")]
    typed += ["--config", f"workspace={workspace}", *pairs]
    commands.note_command(typed, str(REPOSITORY))
    targets, config = form[0], form[1] if len(form) > 1 else {}
    line = commands.again(*targets, **config)
    words = shlex.split(line)
    assert words[:3] == [sys.executable, "-m", "snakemake"] and "approve=true" not in line
    environment = clean_environment()
    done = run_warm([*words, "--dry-run"], working_folder(workspace), environment, 300)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}"


def test_every_advice_has_a_form_that_was_tried() -> None:
    names = {form[0][0] for form in FORMS.values() if form[0]}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "again":
                first = node.args[0] if node.args else None
                assert not isinstance(first, ast.Constant) or first.value in names, path
