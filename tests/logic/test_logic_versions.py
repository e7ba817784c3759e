"""Whoever changes a stage's logic is reminded to raise its number, or to say it need not be."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path

import pytest
from logic_closure import RUN, Code, stage_scripts
from logic_fingerprints import (
    NO_OUTPUT,
    PAGE,
    RECORD,
    RENDERING,
    VERSIONS,
    behind,
    current,
    excluded,
    fingerprint,
)

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))
CODE = Code()
LIBRARY = CODE.scripts / "deft"
COMPUTING = {"numpy", "pandas", "torch", "scipy", "PIL", "pyarrow", "onnx", "onnxruntime", "cv2"}

present = cache(lambda: current(CODE))
reach = cache(lambda stage: behind(stage, CODE))


def stages_that_reach(module: str, unit: str | None = None) -> set[str]:
    """Return the stages behind which a unit of code stands, or any code of a module."""
    return {
        stage
        for stage in RECORDED
        for m, u in reach(stage)
        if m == module and (u == unit if unit else u != RUN)
    }


def edited(name: str, old: str, new: str) -> Code:
    """Return the code with one module's text changed."""
    path = LIBRARY / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    return Code(edited={path: text.replace(old, new)})


def test_every_stage_has_a_version_a_record_and_a_script():
    versions = json.loads(VERSIONS.read_text(encoding="utf-8"))
    assert set(stage_scripts()) == set(versions) == set(RECORDED)
    assert all(stage_scripts().values())


@pytest.mark.parametrize("stage", sorted(RECORDED))
def test_changed_logic_is_a_decision(stage):
    now, then = present()[stage], RECORDED[stage]
    assert now == then, (
        f"the code behind {stage!r} changed. If equal inputs now give other outputs, raise "
        f"{stage!r} in rules/logic_versions.json; then record the decision with `make logic`."
    )


# --- what is found from the imports -------------------------------------------------------------


def test_the_label_rule_stands_behind_every_stage_that_uses_it():
    found = stages_that_reach("deft.tables.labels", "is_ng")
    # Those that compare labels, and those that read a table, which refuses labels of another form.
    assert found >= {"evaluate", "rca", "tao_rca", "mine", "export_best", "finish", "train"}
    assert not found & {"embed_pool", "ingest"}
    assert "train" in stages_that_reach("deft.tables.changenet_table", "read_table")


def test_what_builds_the_spec_stands_behind_every_stage_that_reads_it():
    found = stages_that_reach("deft.changenet.spec.build", "build")
    assert found >= {"train", "infer", "tao_train", "tao_infer", "export_best", "mine", "validate"}
    assert not found & {"decide", "ingest"}


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("deft.embedding.encoders.open_clip", {"embed_pool", "mine"}),  # imported inside a function
        ("deft.changenet.training.trainer", {"train"}),  # imported inside a function
        ("deft.mining.strategies.named", {"mine"}),  # in a table of functions
        ("deft.assembly.assemble", {"assemble", "mine", "validate"}),
        ("deft.changenet.backbones.radio_vit", {"train", "infer", "export_best"}),
    ],
)
def test_code_that_is_reached_in_a_roundabout_way(module, stages):
    assert stages_that_reach(module) >= stages


def test_data_files_count_too():
    named = {
        stage: {path.name for path in CODE.data_files(reach(stage))}
        for stage in ("export_best", "tao_train", "decide")
    }
    assert named["export_best"] >= {"score_pair.py"}
    assert named["tao_train"] >= {"images.yaml"}
    assert named["decide"] == set()


def test_only_what_a_stage_speaks_of_reminds_it():
    """The function, not its module: else every stage would be reminded of every edit."""
    changed = edited(
        "tables/labels.py",
        "upper() != PASS\n\n\ndef label_key",
        "upper() == PASS\n\n\ndef label_key",
    )
    assert fingerprint("evaluate", changed) != present()["evaluate"]["fingerprint"]
    assert fingerprint("ingest", changed) == present()["ingest"]["fingerprint"]


def test_a_changed_constant_reminds():
    changed = edited(
        "kpi/evaluation.py", "FAR_LEVELS_PCT = (100, 99, 95)", "FAR_LEVELS_PCT = (100, 99)"
    )
    assert fingerprint("evaluate", changed) != present()["evaluate"]["fingerprint"]


def test_comments_docstrings_layout_and_types_do_not_remind():
    path = LIBRARY / "tables/labels.py"
    text = path.read_text(encoding="utf-8")
    for old, new in (
        ("def is_ng(label: str) -> bool:", "def is_ng(\n    label,\n):  # of a part"),
        ("Return whether a label means a defective part", "Tell whether a label means a defect"),
    ):
        assert old in text
        text = text.replace(old, new)
    assert (
        fingerprint("evaluate", Code(edited={path: text})) == (present()["evaluate"]["fingerprint"])
    )


def test_an_import_inside_a_function_is_followed():
    changed = edited(
        "stages/ingest.py",
        "    check_pregen_unchanged(",
        '    from deft.tables.labels import is_ng as rule\n\n    rule("PASS")\n'
        "    check_pregen_unchanged(",
    )
    assert ("deft.tables.labels", "is_ng") in behind("ingest", changed)
    assert ("deft.tables.labels", "is_ng") not in reach("ingest")


# --- what is left out ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(NO_OUTPUT))
def test_a_module_that_is_left_out_is_reached_and_computes_nothing(name):
    ours = {m for m in CODE.modules if m == f"deft.{name}" or m.startswith(f"deft.{name}.")}
    assert ours, "no such module"
    all_reached = {m for scripts in stage_scripts().values() for m, _ in CODE.reached(scripts)}
    assert ours & all_reached, "no stage reaches it: it need not be left out"
    for module in ours:
        tree = ast.parse(Path(CODE.modules[module]).read_text(encoding="utf-8"))
        imported = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import)
                    for a in n.names}  # fmt: skip
        imported |= {
            str(n.module).split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)
        }
        assert not imported & COMPUTING, f"{module} computes: it may change an output"


def test_stages_take_nothing_from_the_page_but_its_rendering():
    page = {f"deft.{name}" for name in PAGE}
    assert page <= set(CODE.modules)
    for stage in RECORDED:
        for module, name in reach(stage):
            taken = CODE.spoken(module, CODE.units(module)[name])
            assert {u for m, u in taken if m in page} <= RENDERING, f"{module}.{name}"


def test_the_excluded_are_nothing_more():
    assert excluded("deft.core.errors") and excluded("deft.report.charts")
    assert not excluded("deft.record.results") and not excluded("train")
    assert not excluded("deft.statement")
