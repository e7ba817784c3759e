"""Our typed spec against the schemas that TAO publishes (a folder beside the reference numbers)."""

import json

import pytest
from spec_page import spec_keys
from tao_reference import FOLDER

from deft.changenet.spec import from_dict
from deft.changenet.spec.schema import CODE, OURS, SKILLS

SCHEMAS = FOLDER.parent / "tao_schemas"
TASKS = sorted(path.name.partition(".")[0] for path in SCHEMAS.glob("*.schema.json"))
# TAO's code takes further backbones than its schema lists (README of the reference numbers).
OPEN_LISTS = ("model.backbone.type",)
NOT_OURS = ("segment", "gen_trt_engine", "quantize", "automl")
KINDS = {"bool": bool, "int": int, "float": (int, float), "string": str, "list": list}
KINDS |= {"categorical": str, "collection": dict}

pytestmark = pytest.mark.skipif(not TASKS, reason=f"no published schemas at {SCHEMAS}")


def leaves(task):
    def walk(node, where):
        for name, value in node["properties"].items():
            dotted = f"{where}.{name}" if where else name
            if not isinstance(value, dict) or any(part in dotted for part in NOT_OURS):
                continue
            if value.get("properties"):
                yield from walk(value, dotted)
            elif "[" not in name:
                yield dotted, value

    return dict(walk(json.loads((SCHEMAS / f"{task}.schema.json").read_text()), ""))


def flat(data, where=""):
    """Return a spec's leaves by dotted name; maps of lights and tiles are leaves, as in TAO."""
    found = {}
    for name, value in data.items():
        dotted = f"{where}.{name}" if where else name
        is_leaf = name in ("input_map", "grid_map", "decoder_params") or not isinstance(value, dict)
        found |= {dotted: value} if is_leaf else flat(value, dotted)
    return found


@pytest.mark.parametrize("task", TASKS)
def test_every_published_key_has_its_default(task):
    ours = flat(from_dict({"task": "classify"}, engine="tao").to_dict())
    sources = {row.name: row.rule.source for row in spec_keys()}
    for dotted, published in leaves(task).items():
        assert dotted in ours, dotted
        if dotted != "task" and sources.get(dotted) != OURS:
            assert ours[dotted] == published["default"], dotted


def test_bounds_and_choices_are_the_published_ones():
    published = leaves("train") | leaves("inference")
    for row in spec_keys():
        found = published.get(row.name)
        if found is None or row.rule.source == OURS:
            continue
        if row.rule.choices and "enum" in found:
            assert set(row.rule.choices) == set(found["enum"]), row.name
        for bound, name in ((row.rule.low, "minimum"), (row.rule.high, "maximum")):
            limit = found.get(name)
            if limit is not None and abs(limit) != float("inf"):
                assert bound == limit, row.name


def test_what_we_add_says_so():
    published = set().union(*(leaves(task) for task in TASKS))
    parents = {name.rpartition(".")[0] for name in published}
    for row in spec_keys():
        known = row.name in published or row.name.rpartition(".")[0] in published
        ours = row.rule.source in (CODE, OURS, SKILLS) or any(p in row.name for p in NOT_OURS)
        assert known or ours, (row.name, sorted(parents)[:3])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", [128, 224])
def test_a_written_spec_is_one_that_tao_accepts(task, size):
    spec = from_dict(
        {"dataset": {"classify": {"image_width": size, "image_height": size}}}, engine="tao"
    )
    schema = leaves(task)
    for dotted, value in flat(spec.to_dict()).items():
        published = schema.get(dotted)
        if published is None:
            continue
        assert isinstance(value, KINDS[published["type"]]), dotted
        if "enum" in published and dotted not in OPEN_LISTS:
            assert value in published["enum"], dotted
        if published["type"] in ("int", "float"):
            assert published.get("minimum", value) <= value <= published.get("maximum", value)
