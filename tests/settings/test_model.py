"""One declaration of each setting, and what is made from it or must agree with it."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import settings_pages

from deft.core.errors import HardStop
from deft.demo.workspace import WorkspaceRequest
from deft.embedding.encoders import table as encoders
from deft.embedding.encoders.base import PRECISIONS, RUNTIMES
from deft.importers.deeppcb_settings import Settings as DeepPcbSettings
from deft.mining.approximate import KINDS
from deft.mining.strategies.named import STRATEGIES
from deft.settings import config, known
from deft.settings.options import add_option
from deft.tables.foreign.grid import Reading
from model_explorer.request import Request as ExploreRequest

ROOT = Path(__file__).parents[2]
BEGIN = "<!-- tables: made by tests/settings/test_model.py --update-docs -->\n"
RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n((?:[ \t]+.*\n|\n)+)", re.MULTILINE)
FUNCTION = re.compile(r"^def (\w+)\(.*\n((?:[ \t]+.*\n|\n)+)", re.MULTILINE)
PARAMS = re.compile(r"^    params:\n((?:        .*\n)+)", re.MULTILINE)
KEY = re.compile(r'config\["(\w+)"\]')
SHOWN_ONLY = 'no_trigger(config["max_iterations"])'  # for the status line


def page() -> str:
    before = (ROOT / "docs/settings.md").read_text(encoding="utf-8").partition(BEGIN)[0]
    return f"{before}{BEGIN}{settings_pages.tables()}"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("config/config.schema.json", settings_pages.schema_text),
        ("config/config.yaml", settings_pages.config_yaml),
        ("docs/settings.md", page),
    ],
    ids=lambda name: name if isinstance(name, str) else "",
)
def test_what_is_made_from_the_model_is_as_it_makes_it(request, name, make):
    path = ROOT / name
    if request.config.getoption("--update-docs"):
        path.write_text(make(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == make(), (
        "pytest tests/settings/test_model.py --update-docs"
    )


def every_rule() -> list[tuple[str, dict]]:
    found = []
    for name, rule in known.schema()["properties"].items():
        inner = rule.get("properties", {}).items()
        found += [(name, rule), *((f"{name}.{key}", part) for key, part in inner)]
    return found


@pytest.mark.parametrize(("name", "rule"), every_rule(), ids=lambda v: v if v is str else "")
def test_a_declaration_is_whole(name, rule):
    assert rule["description"] and not rule["description"].endswith(".")
    unnamed = [v for v in rule.get("enum", []) if str(v) not in rule["description"] and v]
    assert not unnamed or rule["enum"] == ["off"], f"the text of {name} says nothing of {unnamed}"
    assert set(rule) & {"enum", "type"}


def test_choices_are_those_of_the_code_that_has_them():
    for name, choices in {
        "mining": STRATEGIES,
        "search": KINDS,
        "encoder": encoders.NAMES,
        "embed_precision": PRECISIONS,
        "embed_runtime": RUNTIMES,
    }.items():
        assert set(known.rule_of(name)["enum"]) == set(choices), name


@pytest.mark.parametrize(
    ("group", "kind", "beside"),
    [
        ("demo", WorkspaceRequest, {"seed"}),
        ("deeppcb", DeepPcbSettings, set()),
        ("explore", ExploreRequest, {"device", "seed", "threads"}),
        ("import_table", Reading, set()),
    ],
)
def test_groups_have_the_keys_and_defaults_of_what_they_become(group, kind, beside):
    made = {
        f.name: f.default if f.default is not MISSING else f.default_factory()
        for f in fields(kind)
        if f.name not in beside
    }
    assert config.defaults()[group] == made


def keys_of(text: str) -> set[str]:
    keys = set(KEY.findall(text.replace(SHOWN_ONLY, "")))
    if "mining_rules(config)" in text:
        keys |= {key for key in known.defaults() if key.startswith("mining_")}
    return keys


def test_a_rule_that_takes_a_setting_stands_among_its_readers():
    texts = {path: path.read_text() + "\n" for path in sorted((ROOT / "rules").glob("*.smk"))}
    functions = dict(FUNCTION.findall(texts[ROOT / "rules/common.smk"]))
    rules = [found for text in texts.values() for found in RULE.findall(text)]
    names = {name for name, _ in rules}
    assert len(names) > 25
    for name, body in rules:
        params = "".join(PARAMS.findall(body))
        called = [text for function, text in functions.items() if f"{function}(" in params]
        for key in keys_of(params).union(*map(keys_of, called)):
            assert name in known.rule_of(key)["x-read-by"], f"rule {name} takes {key}"
    for key, rule in known.schema()["properties"].items():
        unknown = set(rule.get("x-read-by", [])) - names - {"snakemake"}
        assert not unknown, f"{key} is read by no rule of these names"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"deeppcb": {"rooot": "x"}}, "'rooot' of deeppcb\n  do: did you mean 'root'?"),
        ({"explore": {"contract": {"input": {}}}}, "'input' of explore.contract\n  do: did you"),
        (
            {"explore": {"contract": {"preprocess": {"colour_order": "grey"}}}},
            "colour_order in docs/explore.md for its meaning",
        ),
        ({"explore": {"samples": 0}}, "explore.samples in config/config.yaml for its meaning and"),
        ({"explore": {"contract": {"labels": 3}}}, "explore.contract.labels: 3 is not a list or "),
        ({"explore": {"contract": {"labels": ["a", 3]}}}, "explore.contract.labels.1: 3 is not te"),
        ({"explore": {"contract": {"inputs": {"x": {"shape": [0]}}}}}, "inputs.x.shape.0: 0 is b"),
        ({"explore": {"contract": {"preprocess": {"size_px": [9]}}}}, "1 value has fewer than 2"),
        ({"explore": {"name": "x" * 300}}, "has more than 200 characters"),
        ({"explore": {"install": "here"}}, "'here' is not one of current, new-venv, null"),
        ({"demo": {"rows_scale": 0}}, "demo.rows_scale: 0 is not above 0"),
        ({"demo": []}, "demo: a list of 0 values is not a group of keys"),
        ({"mining_label_quota": {"bridge": 2}}, "mining_label_quota.bridge: 2 is above 1"),
        ({"workspace": ""}, "workspace: '' is empty"),
        ({"seed": False}, "seed: false is not a whole number"),
        ({"seed": -1, "top_k_per_label": 0, "deeppcb": {"seed": "x"}}, "deeppcb.seed: 'x' is not"),
        ({"seed": -1, "top_k_per_label": 0}, "seed: -1 is below 0"),
        ({"container_shm": "8 GB"}, "'8 GB' does not have the form ^[1-9][0-9]*[bkmg]?$"),
    ],
)
def test_a_mistake_is_named_where_it_stands(given, words):
    with pytest.raises(HardStop) as stop:
        config.resolve(given)
    assert words in stop.value.text()


def test_values_stay_as_they_are_written():
    """An approval's digest is made of them: 0 must not become 0.0."""
    given = {"min_similarity": 1, "prune_days": 3, "demo": {"rows_scale": 2}}
    found = config.resolve(given)
    assert (type(found["min_similarity"]), type(found["prune_days"])) == (int, int)
    assert found["demo"] == {"rows_scale": 2, "size_px": 64, "lights": 1}
    assert type(found["demo"]["rows_scale"]) is int and type(found["mining_min_distance"]) is int


@pytest.fixture
def parser():
    made = argparse.ArgumentParser(exit_on_error=False)
    names = "top_k_per_target search int8 early_stop_epochs anomalygen_labels min_similarity kpi"
    for name in names.split():
        add_option(made, name)
    add_option(made, "top_k_per_label", "--top-k", required=True)
    return made


def test_an_option_has_type_choices_default_and_help_of_its_setting(parser):
    found = vars(parser.parse_args(["--top-k", "7"]))
    assert found.pop("top_k") == 7
    assert found == {name: known.defaults()[name] for name in found}
    given = "--int8 True --early-stop-epochs None --search ivf --min-similarity -1 --top-k 1"
    found = parser.parse_args([*given.split(), "--anomalygen-labels", '["a b"]'])
    assert (found.int8, found.early_stop_epochs, found.search) == (True, None, "ivf")
    assert (found.min_similarity, found.anomalygen_labels) == (-1, ["a b"])
    text = parser.format_help()
    assert "{exact,ivf,hnsw}" in text and "FAR < 0.1% at" not in text and "samples" in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--top-k many", "invalid integer value: 'many'"),
        ("--top-k 0", "0 is below 1"),
        ("--min-similarity 1.5", "1.5 is above 1"),
        ("--int8 yes", "'yes' is neither true nor false"),
        ("--search best", "invalid choice: 'best'"),
        ("--anomalygen-labels [", "invalid array value"),
    ],
)
def test_a_wrong_option_is_refused(parser, given, words):
    with pytest.raises(argparse.ArgumentError) as refused:
        parser.parse_args(given.split())
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("", {"pydantic", "jsonschema"}),
        ("config.resolve({'engine': 'tao', 'encoder': 'changenet'})", {"jsonschema"}),
    ],
)
def test_settings_need_neither_torch_nor_pandas(code, heavy):
    """The Snakefile is parsed in every job, and every stage imports some of these."""
    modules = "config, environments, known, kpi_target, options, run_name, session, tao"
    heavy = {"torch", "pandas", "numpy", "PIL", "scipy", *heavy}
    code = f"import sys; from deft.settings import {modules}; {code}\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
