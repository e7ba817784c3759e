"""NVIDIA's own classify specs, as they stand, against our spec check: files and examples."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from nvidia_skills import needs_skills, skills_root

from deft.changenet.backbones import NATIVE
from deft.changenet.spec import from_dict, load_spec
from deft.changenet.spec.schema import SpecFields
from deft.core.errors import HardStop
from deft.tao.spec import container_spec

PARTS = set(SpecFields.__dataclass_fields__)
BLOCK = re.compile(r"^```ya?ml\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Parts of dataset.classify that their pages show alone.
OF_DATASET = {"input_map", "num_input", "concat_type", "grid_map", "image_ext"}


def is_spec(data: object) -> bool:
    """Whether plain data are a ChangeNet experiment spec: of no other model, and of no agent."""
    if not isinstance(data, dict) or not set(data) <= PARTS:
        return False
    classify = (data.get("model") or {}).get("classify") or (data.get("dataset") or {}).get(
        "classify"
    )
    return bool(classify) or data.get("task") == "classify"


def is_segment(data: dict) -> bool:
    only = set(data.get("dataset") or {}) == {"segment"}
    return data.get("task", "segment" if only else "classify") == "segment"


def all_yaml() -> list[tuple[Path, object]]:
    root = skills_root()
    if root is None:
        return []
    found = []
    for path in sorted(root.rglob("*.y*ml")):
        if ".git" in path.parts:
            continue
        try:
            found.append((path, yaml.safe_load(path.read_text())))
        except yaml.YAMLError:
            continue  # several documents, or a template of another tool
    return found


SPECS = [p for p, data in all_yaml() if is_spec(data) and not is_segment(data)]
SEGMENT = [p for p, data in all_yaml() if is_spec(data) and is_segment(data)]


def blocks() -> list[tuple[str, str]]:
    """Return (where, text) of every YAML block on their ChangeNet pages."""
    root = skills_root()
    if root is None:
        return []
    found = []
    for path in sorted(root.rglob("*.md")):
        if "changenet" not in str(path).lower() and "deft-aoi/" not in str(path):
            continue
        for number, match in enumerate(BLOCK.finditer(path.read_text()), start=1):
            found.append((f"{path.relative_to(root)}:{number}", match[1]))
    return found


def named(path: Path) -> str:
    root = skills_root()
    return str(path.relative_to(root)) if root else path.name


@needs_skills
def test_all_of_them_are_found():
    """The count stands here, so that a search that finds too little fails."""
    assert len(SPECS) == 13, list(map(named, SPECS))
    assert len(SEGMENT) > 5
    assert len(blocks()) >= 8


@needs_skills
@pytest.mark.parametrize("path", SPECS, ids=named)
@pytest.mark.parametrize("engine", ["native", "tao"])
def test_a_file_passes_as_it_stands(path, engine):
    spec = load_spec(path, engine=engine)
    assert spec.model.backbone.type in NATIVE, "a network that is not ours: only engine tao counts"
    given = yaml.safe_load(path.read_text())
    lights = given["dataset"]["classify"].get("input_map")
    assert lights is None or spec.lights == list(lights)
    if engine == "tao":
        container_spec(path, {}, Path("/w"))  # what the container would get is TAO's own schema


@needs_skills
@pytest.mark.parametrize("path", SEGMENT, ids=named)
def test_another_task_is_refused_by_name(path):
    with pytest.raises(HardStop, match="task"):
        load_spec(path)


@needs_skills
@pytest.mark.parametrize(("where", "text"), blocks(), ids=[where for where, _ in blocks()])
@pytest.mark.parametrize("engine", ["native", "tao"])
def test_an_example_on_a_page_passes(where, text, engine):
    data = yaml.safe_load(text)
    if set(data) <= OF_DATASET:
        data.setdefault("num_input", len(data["input_map"]))
        data = {"dataset": {"classify": data}}
    assert set(data) <= PARTS, f"{where} is no spec any more"
    spec = from_dict(data, engine=engine)
    assert spec.model.backbone.type in NATIVE
