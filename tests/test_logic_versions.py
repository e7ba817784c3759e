"""Whoever changes a stage's logic is reminded to raise its number, or to say it need not be."""

from __future__ import annotations

import json

import pytest
from logic_fingerprints import BEHIND, RECORD, VERSIONS, current

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


def test_every_stage_has_a_version_and_code_behind_it():
    assert set(BEHIND) == set(json.loads(VERSIONS.read_text(encoding="utf-8"))) == set(RECORDED)


@pytest.mark.parametrize("stage", sorted(BEHIND))
def test_changed_logic_is_a_decision(stage):
    now, then = current()[stage], RECORDED[stage]
    assert now == then, (
        f"the code behind {stage!r} changed. If equal inputs now give other outputs, raise "
        f"{stage!r} in rules/logic_versions.json; then record the decision with `make logic`."
    )
