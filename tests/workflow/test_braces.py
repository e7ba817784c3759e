"""Braces in a setting are the user's own: a regex, a folder, a table; Snakemake has its own use."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from workflow_tools import REPOSITORY, RUN, snakemake, succeed

from deft.settings import known

pytestmark = pytest.mark.workflow

FOLDER = {"root": "/data/E{1}", "board": "([0-9]{8}) ", "light": "_([A-Za-z]{3,5})$"}
PARAMS = re.compile(r"^    params:\n((?:        .*\n)+)", re.MULTILINE)
GIVEN = re.compile(r'config\["(\w+)"\]')
# Functions whose text holds what a user typed.
TYPED = ("encoder_options()", "engine_options()", "TAO.image(", "metric_asked()", "CONFIG_PROBLEM")
TYPED += ("METRIC.as_dict()", "mining_rules(", "WORKSPACE_ASKED")
HELD = ("verbatim(", "no_trigger(")


def is_free(name: str) -> bool:
    """Whether a setting may hold any text."""
    rule = known.rule_of(name)
    texts = {"string", "object", "array"} & set(known.kinds_of(rule))
    return bool(texts) and not {"enum", "pattern"} & set(rule)


def test_every_text_of_the_user_reaches_its_rule_verbatim() -> None:
    rules = sorted((REPOSITORY / "rules").glob("*.smk"))
    lines = [(path.name, line) for path in rules for block in PARAMS.findall(path.read_text())
             for line in block.splitlines()]  # fmt: skip
    free = [
        (name, line.strip())
        for name, line in lines
        if any(map(is_free, GIVEN.findall(line))) or any(word in line for word in TYPED)
    ]
    assert len(free) > 30
    assert [found for found in free if not any(word in found[1] for word in HELD)] == []


@pytest.mark.parametrize(
    ("target", "config"),
    [
        ("import_folder_plan", {"import_folder": json.dumps(FOLDER)}),
        ("import_folder", {"import_folder": json.dumps(FOLDER)}),
        ("import_table", {"import_table": json.dumps({"labels": {"E{1}": "PASS"}})}),
        ("import_deeppcb", {"deeppcb": json.dumps({"root": "/data/E{1}"})}),
        ("register_pictures", {"register_from": "/data/E{1}"}),
        ("prune_embeddings", {"prune_encoder": "E{1}"}),
        (f"results/{RUN}/mlflow.json", {"mlflow_uri": "file:/E{1}", "mlflow_experiment": "E{1}"}),
        (f"results/{RUN}/iter1/metrics.json", {"anomalygen_labels": '["E{1}"]'}),
    ],
)
def test_braces_are_planned(fresh: Path, target: str, config: dict[str, str]) -> None:
    succeed(snakemake(fresh, target, args=["-n"], config=config))


@pytest.mark.long
def test_braces_are_planned_in_a_finished_run(workspace: Path) -> None:
    config = {"table": "/data/t{4}.csv", "images": "/data/E{1}", "quote_files": "q{2}.md"}
    succeed(snakemake(workspace, "score", "check_quotes", args=["-n"], config=config))


def test_a_regex_with_braces_reaches_the_importer_as_it_is(fresh: Path) -> None:
    """The importer's own stop names the folder: nothing of Snakemake's, nothing changed."""
    config = {"import_folder": json.dumps(FOLDER)}
    done = snakemake(fresh, "import_folder_plan", config=config)
    assert done.returncode == 1 and "Wildcard" not in done.stdout
    assert "HARD STOP missing_input" in done.stdout and "/data/E{1}" in done.stdout


@pytest.mark.parametrize("linked", [False, True])
def test_a_workspace_with_braces_is_one_clear_stop(tmp_path: Path, linked: bool) -> None:
    real = workspace = tmp_path / "linie{7}"
    if linked:
        real.mkdir()
        workspace = tmp_path / "linie7"
        workspace.symlink_to(real)
    done = snakemake(workspace, "demo_workspace")
    assert done.returncode == 1 and "Traceback" not in done.stdout
    assert "HARD STOP config_invalid: the path of a workspace may hold no {…}" in done.stdout
    assert f"in: {real}" in done.stdout and "do: rename the folder" in done.stdout
    assert linked or not real.exists()
