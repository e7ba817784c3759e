"""Every spec that NVIDIA publishes beside its skills is one that the importer of tables reads."""

from __future__ import annotations

from pathlib import Path

import board_sets as sets
import pytest
import yaml
from nvidia_skills import needs_skills, skill_file

from deft.importers.layouts import tao
from deft.importers.picture_tree import tree_of


@needs_skills
@pytest.mark.parametrize("variant", ["ea", "cur"])
def test_every_published_spec_is_understood(variant, tmp_path) -> None:
    root = sets.tao_set(tmp_path, rows=2, lights=("SolderLight",))
    own = yaml.safe_load((root / "experiment.yaml").read_text())["dataset"]["classify"]
    seen = 0
    for path in sorted(Path(skill_file(variant, "skills")).rglob("*.yaml")):
        text = path.read_text()
        if "train_dataset" not in text:
            continue
        dataset = (yaml.safe_load(text) or {}).get("dataset") or {}
        part = dataset.get("classify") or dataset
        if "train_dataset" not in part:
            continue
        seen += 1
        # Where its pictures lie is its own; everything else stays as it was published.
        part |= {f"{name}_dataset": own[f"{name}_dataset"] for name in tao.TABLES}
        part |= {key: own[key] for key in ("image_ext", "input_map", "num_golden")}
        sets.text(root / "experiment.yaml", yaml.safe_dump({"dataset": dataset}))
        assert len(tao.find(tree_of(root)).parts) == 6, path
    assert seen
