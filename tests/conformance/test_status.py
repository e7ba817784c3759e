"""Lines of the status log against those that a training of TAO wrote."""

import json
import re

import pytest
from changenet_pairs import draw_pairs, spec_data
from tao_reference import FOLDER
from training_runs import run

from deft.changenet.spec import from_dict

TAO = [json.loads(x) for x in (FOLDER / "io/status_example.jsonl").read_text().splitlines()]
END = "Training loop complete."
DURATION = re.compile(r"\d+:\d\d:\d\d(\.\d{6})?")


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The log of two epochs, as TAO's example is."""
    workspace = draw_pairs(tmp_path_factory.mktemp("pairs"))
    folder = tmp_path_factory.mktemp("trained")
    first, _ = run(from_dict(spec_data(num_epochs=2)), workspace, folder)
    resumed = spec_data(num_epochs=3)
    path = str(folder / "out" / first["latest"])
    resumed["train"]["resume_training_checkpoint_path"] = path
    run(from_dict(resumed), workspace, folder / "on")
    logs = [folder / "out/status.json", folder / "on/out/status.json"]
    return [[json.loads(x) for x in log.read_text().splitlines()] for log in logs]


def upto_the_end(lines):
    return lines[: [line["message"] for line in lines].index(END) + 1]


def test_same_lines_with_the_same_keys_in_order(ours):
    wanted, found = upto_the_end(TAO), upto_the_end(ours[0])
    assert [x["message"] for x in found] == [x["message"] for x in wanted]
    for mine, theirs in zip(found, wanted, strict=True):
        assert list(mine) == list(theirs)
        assert (mine["status"], mine["verbosity"]) == (theirs["status"], theirs["verbosity"])
        # TAO's figures first, under its names and of its types; ours may follow.
        names = list(theirs.get("kpi", {}))
        assert list(mine.get("kpi", {}))[: len(names)] == names
        assert all(isinstance(mine["kpi"][name], float) for name in names)


def test_values_have_taos_form(ours):
    for line in (*TAO, *ours[0]):
        assert re.fullmatch(r"\d{1,2}/\d{1,2}/\d{4}", line["date"])
        assert re.fullmatch(r"\d{1,2}:\d{1,2}:\d{1,2}", line["time"])
        for name in ("time_per_epoch", "time_per_step", "eta"):
            assert name not in line or DURATION.fullmatch(line[name]), line
    theirs = [x for x in TAO if "epoch" in x]
    mine = [x for x in ours[0] if "epoch" in x]
    for name in ("epoch", "step", "max_epoch", "max_step"):
        assert [x[name] for x in mine] == [x[name] for x in theirs], name


def test_a_resumed_training_says_so(ours):
    start = "Resuming training from checkpoint: "
    assert any(line["message"].startswith(start) for line in TAO)
    (line,) = [line for line in ours[1] if line["message"].startswith(start)]
    assert line["status"] == "RUNNING" and line["message"].endswith(".pth")
    assert ours[1][-1]["status"] == "SUCCESS"
