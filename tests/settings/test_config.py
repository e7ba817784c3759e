"""The shipped configuration, its schema, and the wording of mistakes."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest
import yaml
from tiny_workspace import make_tiny_workspace

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.layout import Run
from deft.kpi.operating_point import parse_kpi
from deft.pool.digest import inputs_digest
from deft.settings import config, known
from deft.stages.context import Context
from deft.stages.train import Files, phase_spec

ROOT = Path(__file__).parents[2]


def shipped(name):
    return yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))


def test_schema_is_a_schema_and_every_key_says_what_it_is():
    jsonschema.Draft202012Validator.check_schema(known.schema())
    for key, rule in known.schema()["properties"].items():
        assert rule["description"], key


def test_config_yaml_holds_every_key_with_the_schemas_default():
    assert shipped("config.yaml") == config.defaults()


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_configuration_is_valid(path):
    if path.name == "images.yaml":
        pytest.skip("no configuration of a run")
    resolved = config.resolve(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert parse_kpi(resolved["kpi"]).min_recall == 1.0
    # Only the demo may run without a person reading the summary.
    assert resolved["approve"] == (path.name == "demo.yaml")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_iteration": 3}, "did you mean 'max_iterations'"),
        ({"max_iterations": -1}, "max_iterations"),
        ({"max_iterations": "three"}, "max_iterations"),
        ({"min_similarity": 1.5}, "min_similarity"),
        ({"mining": "best"}, "mining"),
        ({"run": "20240101_120000"}, "run"),
        ({"automl_policy": "on"}, "automl_policy"),
        ({"deeppcb": {"rooot": "x"}}, "deeppcb"),
        ({"engine": "tao", "device": "cpu"}, "need an NVIDIA GPU"),
        ({"runtime": "tensorrt"}, "runtime"),
        ({"int8": "yes"}, "int8"),
    ],
)
def test_mistakes_are_one_clear_stop(given, words):
    with pytest.raises(HardStop) as stop:
        config.resolve(given)
    assert stop.value.code == "config_invalid" and words in str(stop.value)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"explore": {"samples": 0}}, "explore.samples"),
        ({"max_iterations": -1}, "max_iterations"),
        ({"anomalygen_labels": [[]]}, "anomalygen_labels"),
    ],
)
def test_a_mistake_points_to_a_key_that_the_file_of_defaults_has(given, place):
    with pytest.raises(HardStop) as stop:
        config.resolve(given)
    assert stop.value.fix.startswith(f"see {place} in config/config.yaml for its meaning")
    found = shipped("config.yaml")
    for name in place.split("."):
        found = found[name]


def test_every_key_of_a_models_preprocessing_is_in_its_page():
    page = (ROOT / "docs/explore.md").read_text(encoding="utf-8")
    rule = known.schema()["properties"]["explore"]["properties"]["contract"]
    for key in rule["properties"]["preprocess"]["properties"]:
        assert f"| `{key}`" in page or f", `{key}` |" in page, key


def test_sources_tell_the_users_values_from_defaults():
    resolved = config.resolve({"max_iterations": 3, "seed": 5})
    found = config.sources(resolved, {"max_iterations"})
    assert (found["max_iterations"], found["seed"], found["kpi"]) == ("user", "user", "default")


def test_a_spec_without_epochs_leaves_the_loop_its_own_default(tmp_path):
    """TAO's default is ten; the loop's is twenty."""
    workspace = make_tiny_workspace(tmp_path)
    context = Context(Run(workspace, "run_a"))
    files = Files(context.run.phase("baseline") / "train/weights.json")
    named = context.spec.named_epochs
    assert named and phase_spec(context, files, 0).train.num_epochs == named
    path = workspace / layout.SPEC
    spec = yaml.safe_load(path.read_text())
    for silent in ({}, {"num_epochs": None}):
        spec["train"].pop("num_epochs", None)
        path.write_text(yaml.safe_dump({**spec, "train": {**spec["train"], **silent}}))
        context = Context(Run(workspace, "run_a"))
        files = Files(context.run.phase("baseline") / "train/weights.json")
        assert (context.spec.train.num_epochs, context.spec.named_epochs) == (10, None)
        assert "names_epochs" not in context.spec.to_dict()
        assert phase_spec(context, files, 0).train.num_epochs == 20
        assert phase_spec(context, files, 3).train.num_epochs == 3


def test_epochs_come_from_the_user_then_the_spec_then_twenty():
    assert config.epochs({"training_epochs": 7}, 30) == (7, "user")
    assert config.epochs({"training_epochs": None}, 30) == (30, "spec")
    assert config.epochs({"training_epochs": None}, None) == (20, "default")


def test_views_are_the_native_engines_and_two_stages_want_several():
    for given, words in (
        ({"score_two_stage": True}, "score_views is one"),
        ({"engine": "tao", "device": "auto", "score_views": "turns"}, "score_views: turns"),
        ({"score_views": "mirrors"}, "score_views"),
        ({"score_views_share": -1}, "is below 0"),
    ):
        with pytest.raises(HardStop, match=words) as stop:
            config.resolve(given)
        assert stop.value.code == "config_invalid"
    found = config.resolve({"score_views": "dihedral", "score_two_stage": True})
    assert found["score_views_share"] == 0.25


def test_approvals_cover_views_once_they_are_asked_for(tmp_path):
    """Approvals that were given before there were views stay valid."""
    plain = inputs_digest(tmp_path, config.resolve({}))["parameters"]
    assert not {"score_views", "score_two_stage", "score_views_share"} & set(plain)
    asked = inputs_digest(tmp_path, config.resolve({"score_views": "turns"}))["parameters"]
    assert asked == {**plain, "score_views": "turns"}
