"""The stage that opens the acceptance set: counted, once per hand-off, against production."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from acceptance_set import seal_acceptance, write_acceptance
from handoff_folder import made_bundle, set_threshold
from scipy.stats import binomtest
from tiny_workspace import make_tiny_workspace

from deft.changenet.infer import score_table
from deft.changenet.spec import dump_spec, render
from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.layout import ACCEPTANCE_TABLE, Run
from deft.kpi.flips import CANNOT_TELL
from deft.kpi.promotion import KEEP, PROMOTE
from deft.record import champion
from deft.record.acceptance_set import open_set
from deft.record.openings import LEDGER_FILE, last_promoted, read_openings
from deft.score_kit.prepare import FACTS
from deft.settings.kpi_target import parse_kpi
from deft.stages import accept
from deft.stages.context import Context
from deft.tables.changenet_table import read_table, write_table

TARGET = parse_kpi("FAR < 20% at recall=80%")
GOOD, DEFECTS = 40, 60


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    workspace = make_tiny_workspace(
        tmp_path_factory.mktemp("drawn") / "w", base=6, validation=6, kpi=6, pool=6, pregen=2
    )
    seal_acceptance(workspace, GOOD, DEFECTS)
    return workspace


class Line:
    """A workspace whose models decide as they are told."""

    def __init__(self, workspace: Path, monkeypatch) -> None:
        self.workspace, self.scored = workspace, []
        self.decides: dict[str, np.ndarray] = {}
        self.ng = np.arange(GOOD + DEFECTS) >= GOOD
        monkeypatch.setattr(accept, "scored", self.decide)
        monkeypatch.setattr(champion, "read_facts", lambda folder: None)

    def decide(self, context, model, opened, device, threads) -> np.ndarray:
        assert opened.ng.tolist() == self.ng.tolist()
        self.scored.append(model.path.parent.name)
        return self.decides[model.path.parent.name]

    def handed_off(
        self, run: str, wrong: int = 0, missed: int = 0, weights: str = "", threshold: float = 0.5
    ) -> Context:
        """Write a hand-off that rejects ``wrong`` good parts and misses ``missed`` defects."""
        context = Context(Run(self.workspace, run))
        digest = weights or f"{abs(hash(run)):064x}"[-64:]
        point = {"threshold": threshold}
        record = {
            "phase": "iter1",
            "weights": f"results/{run}/iter1/train/m.pth",
            "file": "model.onnx",
            "sha256": digest,
            "weights_sha256": digest,
            "parity": {"at_safe_threshold": point, "at_kpi_threshold": point},
        }
        write_json_atomic(context.run.best_model / "export.json", record)
        write_json_atomic(context.run.best_model / FACTS, {"threshold": threshold})
        rejected = self.ng.copy()
        rejected[:wrong] = True
        rejected[GOOD : GOOD + missed] = False
        self.decides[run] = rejected
        return context

    def open(self, context: Context, **given) -> dict:
        files = accept.Files(
            export=context.run.best_model / "export.json",
            record=context.run.dir / "acceptance/acceptance.json",
            combined=given.pop("combined", ()),
        )
        asked = {"champion": None, "champion_spec": None, "margin_pct": None} | given
        self.said = accept.accept(context, files, TARGET, **asked, device="cpu", threads=1)
        return json.loads(files.record.read_text())


@pytest.fixture
def line(drawn: Path, monkeypatch) -> Line:
    (drawn / LEDGER_FILE).unlink(missing_ok=True)
    shutil.rmtree(drawn / "results", ignore_errors=True)
    return Line(drawn, monkeypatch)


def test_weeks_of_promotions(line: Line) -> None:
    first = line.open(line.handed_off("run_1", wrong=20))
    assert first["gate"]["outcome"] == KEEP  # half of the good parts rejected: ruled out
    second = line.open(line.handed_off("run_2", wrong=3))
    assert second["gate"]["outcome"] == PROMOTE and second["champion"] is None
    promoted = last_promoted(line.workspace)
    assert promoted and promoted["run"] == "run_2"
    third = line.open(line.handed_off("run_3", wrong=2))
    assert third["gate"]["outcome"] == CANNOT_TELL
    assert third["asked"]["handed_off"]["champion"] == "run_2, iter1"
    assert third["champion"]["fp"] == 3 and third["challenger"]["fp"] == 2
    fourth = line.open(line.handed_off("run_4", wrong=3, missed=9))
    assert fourth["gate"]["outcome"] == KEEP
    assert [o["opening"] for o in read_openings(line.workspace)] == [1, 2, 3, 4]
    assert last_promoted(line.workspace)["run"] == "run_2"


def test_a_second_opening_shows_as_such(line: Line) -> None:
    first = line.open(line.handed_off("run_1"))
    assert (first["opening"], first["parts_seen_before"], first["earlier"]) == (1, 0, [])
    assert "opening 1" in line.said and "warning" not in line.said
    second = line.open(line.handed_off("run_2"))
    assert (second["opening"], second["openings_of_set"]) == (2, 2)
    assert second["parts_seen_before"] == GOOD + DEFECTS and len(second["earlier"]) == 1
    assert "opening 2 (warning: 100 of 100 parts were opened before)" in line.said
    # A grown set is another set, and its old parts were opened all the same.
    table = line.workspace / ACCEPTANCE_TABLE
    text = table.read_text()
    rows = read_table(table)
    write_table(rows.iloc[:-2], table)
    line.ng = line.ng[:-2]
    line.decides = {run: found[:-2] for run, found in line.decides.items()}
    context = line.handed_off("run_3")
    third = line.open(context)
    table.write_text(text)
    assert third["openings_of_set"] == 1 and third["opening"] == 3
    assert third["parts_seen_before"] == GOOD + DEFECTS - 2


def test_an_edited_threshold_opens_nothing(line: Line) -> None:
    context = line.handed_off("run_1", threshold=0.5)
    write_json_atomic(context.run.best_model / FACTS, {"threshold": 0.7})
    with pytest.raises(HardStop, match="threshold is 0.7, and 0.5 was handed off") as stop:
        line.open(context)
    assert stop.value.code == "config_invalid"
    assert line.scored == [] and read_openings(line.workspace) == []


def test_one_hand_off_is_opened_once(line: Line) -> None:
    context = line.handed_off("run_1")
    line.open(context)
    assert line.scored == ["run_1"]
    again = line.open(context)
    assert line.scored == ["run_1"] and again["opening"] == 1
    assert "not opened again" in line.said and len(read_openings(line.workspace)) == 1
    # Another threshold or other weights are another hand-off.
    line.open(line.handed_off("run_1", weights="f" * 64))
    assert len(read_openings(line.workspace)) == 2


def test_nothing_of_a_part_is_written(line: Line) -> None:
    context = line.handed_off("run_1", wrong=3)
    line.open(context)
    written = [p for p in (context.run.dir / "acceptance").rglob("*") if p.is_file()]
    assert [p.name for p in written] == ["acceptance.json"]
    names = {str(name) for name in read_table(line.workspace / ACCEPTANCE_TABLE)["object_name"]}
    texts = written[0].read_text() + (line.workspace / LEDGER_FILE).read_text()
    assert not any(name in texts for name in names)


def test_a_part_that_was_trained_on_leaves_the_set_unopened(line: Line, tmp_path: Path) -> None:
    rows = read_table(line.workspace / ACCEPTANCE_TABLE).iloc[3:5]
    rows = rows.assign(
        input_path="kpi/images/" + rows["input_path"],
        golden_path="kpi/images/" + rows["golden_path"],
    )
    table = tmp_path / "train_combined_iter1.csv"
    write_table(rows.assign(label="bridge"), table)  # under another label: the picture tells
    with pytest.raises(HardStop) as caught:
        line.open(line.handed_off("run_1"), combined=(table,))
    assert caught.value.code == "leakage" and caught.value.rows == [5, 6]
    assert read_openings(line.workspace) == [] and line.scored == []


@pytest.mark.parametrize(
    ("champion", "spec", "code"),
    [("nowhere", None, "missing_input"), ("specs/baseline_spec.yaml", None, "config_invalid")],
)
def test_a_champion_that_cannot_be_used_is_named(line: Line, champion, spec, code) -> None:
    with pytest.raises(HardStop) as caught:
        line.open(line.handed_off("run_1"), champion=champion, champion_spec=spec)
    assert caught.value.code == code and read_openings(line.workspace) == []


def test_a_promoted_model_that_is_gone_is_no_missing_champion(line: Line) -> None:
    line.open(line.handed_off("run_1"))
    (line.workspace / "results/run_1/best_model/export.json").unlink()
    with pytest.raises(HardStop, match="promoted last .*is gone"):
        line.open(line.handed_off("run_2"))


def test_a_champion_that_was_exchanged_in_its_place_is_judged_against(line: Line) -> None:
    line.handed_off("run_9", wrong=20)
    context, named = line.handed_off("run_1", wrong=2), "results/run_9/best_model"
    assert line.open(context, champion=named)["gate"]["outcome"] == PROMOTE
    line.open(context, champion=named)
    assert "not opened again" in line.said
    line.handed_off("run_9", wrong=1, threshold=0.7)
    assert line.open(context, champion=named)["gate"]["outcome"] == CANNOT_TELL
    assert len(read_openings(line.workspace)) == 2


def test_a_promoted_model_whose_threshold_is_another_one_is_not_the_promoted(line: Line) -> None:
    line.open(line.handed_off("run_1"))
    line.handed_off("run_1", threshold=0.6)
    with pytest.raises(HardStop, match="has another threshold since it was promoted") as caught:
        line.open(line.handed_off("run_2"))
    assert caught.value.code == "missing_input" and "champion" in str(caught.value.fix)


@pytest.mark.parametrize("damage", ['{"openings": []', '{"openings": [{"opening": 2}]}', "[]"])
def test_a_damaged_ledger_forgets_no_opening(line: Line, damage: str) -> None:
    line.open(line.handed_off("run_1"))
    ledger = line.workspace / LEDGER_FILE
    ledger.write_text(damage)
    with pytest.raises(HardStop) as caught:
        line.open(line.handed_off("run_2"))
    assert caught.value.code == "missing_input" and "acceptance.json" in str(caught.value.file)
    assert ledger.read_text() == damage and line.scored == ["run_1"]


def test_a_part_that_stands_twice_counts_for_none(line: Line) -> None:
    table = line.workspace / ACCEPTANCE_TABLE
    text = table.read_text()
    table.write_text(text + text.splitlines()[4] + "\n")
    try:
        with pytest.raises(HardStop, match="stand twice") as caught:
            line.open(line.handed_off("run_1"))
        assert caught.value.rows == [102] and read_openings(line.workspace) == []
        assert line.scored == []
    finally:
        table.write_text(text)


def test_what_would_certify_it_stands_beside(line: Line) -> None:
    told = line.open(line.handed_off("run_1", wrong=4, missed=2))["certify"]
    ci = {"alternative": "less"}
    bounds = [binomtest(4, 40 + n, **ci).proportion_ci(0.95, "exact").high for n in range(9)]
    assert told["more_good"] == next(n for n, bound in enumerate(bounds) if bound < 0.2)
    assert told["recall_pct"] == 80 and told["more_defects"] == 0
    assert set(told["labels"]) == {"bridge", "missing"} and told["labels"]["bridge"] == 0


def test_both_kinds_of_model_are_scored_as_they_are_used(tmp_path: Path) -> None:
    """A best_model/ folder and the weights that it was made of decide alike, at one threshold."""
    workspace = make_tiny_workspace(tmp_path / "w", base=4, validation=4, kpi=4, pool=4, pregen=2)
    folder = workspace / "results/run_1/best_model"
    spec, weights = made_bundle(folder)
    rows = seal_acceptance(workspace, 6, 4)
    light = spec.lights[0]
    for row in rows:  # the network of the bundle names its pictures otherwise
        for place in (row["input_path"], row["golden_path"]):
            there = workspace / "kpi/images" / place
            picture = there / f"{row['object_name']}_SolderLight.png"
            name = f"{row['object_name']}{f'_{light}' if light else ''}"
            picture.rename(there / f"{name}{spec.dataset.classify.image_ext}")
    write_acceptance(workspace, rows)
    context = Context(Run(workspace, "run_1"))
    opened = open_set(context.workspace)
    scores, _ = score_table(spec, weights, opened.table, context.image_root)
    threshold = float(np.sort(scores)[4:6].mean())
    set_threshold(folder, threshold)
    by_onnx = accept.scored(context, accept.Production("", folder), opened, "cpu", 1)
    file = workspace / "specs/champion.yaml"
    dump_spec(render(spec, {"model.classify.eval_margin": threshold}), file)
    by_torch = accept.scored(context, accept.Production("", weights, file), opened, "cpu", 1)
    assert by_onnx.tolist() == by_torch.tolist() == (scores > np.float32(threshold)).tolist()
    assert by_onnx.sum() == 5
