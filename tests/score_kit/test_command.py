"""The command line of score.py: what it writes, where it goes on, how it says what is wrong."""

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from handoff_folder import drawn_parts, made_bundle

from deft.score_kit import loop
from deft.score_kit.command import main
from deft.score_kit.network import Network
from deft.score_kit.score import Request, run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A hand-off, a table and its pictures; read only."""
    root = tmp_path_factory.mktemp("made")
    spec, _ = made_bundle(root / "best_model")
    drawn_parts(root, spec, 30)
    return root


@pytest.fixture
def place(made, tmp_path):
    """A copy of it, elsewhere."""
    return Path(shutil.copytree(made, tmp_path / "w"))


def scored(place, *more, table="parts.csv", out="out/scores.csv"):
    """Run the command; return its exit status."""
    given = ["--csv", str(place / table), "--images", str(place / "images")]
    given += ["--out", str(place / out), "--device", "cpu", *more]
    return main(place / "best_model", given)


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_table_summary_and_sheet(place, capsys):
    assert scored(place) == 0
    rows = rows_of(place / "out/scores.csv")
    assert list(rows[0])[-3:] == ["score", "verdict", "margin"] and rows[0]["note"] == 'a "b", ü'
    told = json.loads((place / "out/scores.summary.json").read_text())
    rejected = [r for r in rows if r["verdict"] == "NO_PASS"]
    measured = told["measured"]
    assert told["rejected"] == len(rejected) == measured["tp"] + measured["fp"]
    false = [r for r in rejected if r["label"] == "PASS"]
    missed = [r for r in rows if r["verdict"] == "PASS" and r["label"] != "PASS"]
    assert (measured["fp"], measured["fn"]) == (len(false), len(missed))
    page = (place / "out/scores.false_calls.html").read_text()
    assert page.count("<li>") == len(false) + len(missed) > 0
    assert page.count("data:image/jpeg;base64,") == 2 * page.count("<li>")
    assert "img{border:1px solid" in page  # light pictures have no edge of their own
    assert "http" not in page and "&quot;b&quot;" in page
    said = capsys.readouterr().out
    assert "FAR " in said and "recall " in said and "drift: not judged" in said
    assert "embeddings: not compared, the hand-off has none" in said
    assert sorted(p.name for p in (place / "out").iterdir()) == [
        *("scores.csv", "scores.false_calls.html", "scores.summary.json"),
    ]


def test_without_labels_nothing_is_measured_and_all_rejected_are_shown(place, capsys):
    rows = rows_of(place / "parts.csv")
    with (place / "bare.csv").open("w", newline="") as handle:
        names = ["object_name", "golden_path", "input_path"]
        writer = csv.DictWriter(handle, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert scored(place, table="bare.csv") == 0
    told = json.loads((place / "out/scores.summary.json").read_text())
    page = (place / "out/scores.false_calls.html").read_text()
    assert "measured" not in told and page.count("<li>") == told["rejected"]
    assert "FAR" not in capsys.readouterr().out


def test_words_that_may_mean_a_good_part_are_told_beside_the_rates(place, capsys):
    in_table(",PASS,p1,", ",Unknown,p1,")(place)
    assert scored(place) == 0
    told = json.loads((place / "out/scores.summary.json").read_text())
    said = capsys.readouterr().out
    assert told["warnings"] == [
        "label 'Unknown' counts as a defect, like every label but PASS: row 3"
    ]
    assert f"WARNING {told['warnings'][0]}\n" in said


def test_a_part_in_several_rows_is_told(place, capsys):
    path = place / "parts.csv"
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    again = [lines[2], lines[2].replace("in,gold", "./in,gold"), lines[5]]
    path.write_text("\n".join([*lines, *again]) + "\n", encoding="utf-8")
    assert scored(place) == 0
    said = capsys.readouterr().out
    assert "WARNING the same part stood in an earlier row and is counted again: rows 32, 33" in said


def test_other_scores_are_kept_on_request_and_equal_ones_replaced(place):
    out = place / "out/scores.csv"

    def scored_again(table):
        asked = Request(
            place / "best_model", out, place / table, place / "images", keep_earlier=True
        )
        said = []
        run(asked, said.append)
        return "\n".join(said)

    lines = (place / "parts.csv").read_text(encoding="utf-8").split("\n")
    for day, cut in (("one", 5), ("two", 9), ("three", 7)):
        (place / day).mkdir()
        text = "\n".join(lines[:cut]) + "\n"
        (place / day / "today.csv").write_text(text, encoding="utf-8")
    assert "other scores" not in scored_again("one/today.csv")
    assert "other scores" not in scored_again("one/today.csv")
    made = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp()
    first = out.read_bytes()
    os.utime(out, (made, made))
    kept = place / "out.20260304_050607"
    assert f"they lie in {kept} now" in scored_again("two/today.csv")
    assert (kept / "scores.csv").read_bytes() == first and len(rows_of(out)) == 8
    assert {p.name for p in kept.iterdir()} == {p.name for p in out.parent.iterdir()}
    os.utime(out, (made, made))
    scored_again("three/today.csv")
    assert len(rows_of(place / "out.20260304_050607-2/scores.csv")) == 8


def test_another_threshold_is_told_and_counted_alike_everywhere(place, capsys):
    assert scored(place) == 0
    assert "(100 %) at the handed-off threshold 0.5\n" in capsys.readouterr().out
    scores = sorted(float(row["score"]) for row in rows_of(place / "out/scores.csv"))
    with_threshold(0.7)(place)
    assert scored(place) == 0
    told = json.loads((place / "out/scores.summary.json").read_text())
    rejected = sum(score > 0.7 for score in scores)
    share = f"NO_PASS {rejected} of 30 ({100 * rejected / 30:.3g} %)"
    said = capsys.readouterr().out
    assert f"{share} at the threshold 0.7 of preprocessing.json; handed off was 0.5, " in said
    assert told["handed_off_threshold"] == 0.5
    assert told["drift"]["rejected_pct"] == pytest.approx(100 * rejected / 30)
    assert told["drift"]["passing"] == 30 - rejected
    # Nine KPI scores, 0, 1/8 … 1, of which the last four are defects.
    assert told["kpi"] == {"tp": 3, "fn": 1, "fp": 0, "tn": 5}
    assert told["drift"]["kpi_rejected_pct"] == pytest.approx(100 * 3 / 9)
    assert "Threshold 0.7.<" in (place / "out/scores.false_calls.html").read_text()


def test_two_folders_give_the_tables_scores(place):
    assert scored(place) == 0
    given = ["--test", str(place / "images/in"), "--golden", str(place / "images/gold")]
    assert main(place / "best_model", [*given, "--out", str(place / "f.csv")]) == 0
    by_table = {r["object_name"]: r["score"] for r in rows_of(place / "out/scores.csv")}
    by_folder = {r["object_name"]: r["score"] for r in rows_of(place / "f.csv")}
    assert by_folder.keys() == by_table.keys()
    for name, score in by_table.items():  # in other batches
        assert float(by_folder[name]) == pytest.approx(float(score), abs=1e-6)


def test_folders_of_one_light_need_no_light_in_their_names(place):
    """As a line writes them: any name, a golden of another file type, hidden files beside."""
    whole = ["--test", str(place / "images/in"), "--golden", str(place / "images/gold")]
    assert main(place / "best_model", [*whole, "--out", str(place / "f.csv")]) == 0
    plain = {}
    for side in ("in", "gold"):
        for path in (place / "images" / side).iterdir():
            upper = path.suffix.upper() if side == "in" else path.suffix
            name = re.sub(r"_[^_]*$", "", path.stem) + upper
            plain[side, path.name] = target = place / "plain" / side / "board 7" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    (place / "plain/in/board 7/._p0.png").write_bytes(b"no picture")
    (place / "plain/in/Thumbs.db").write_bytes(b"no picture")
    given = ["--test", str(place / "plain/in"), "--golden", str(place / "plain/gold")]
    assert main(place / "best_model", [*given, "--out", str(place / "g.csv")]) == 0
    named = {r["object_name"]: r["score"] for r in rows_of(place / "g.csv")}
    assert {Path(name).stem: score for name, score in named.items()} == {
        r["object_name"]: r["score"] for r in rows_of(place / "f.csv")
    }


def test_a_folder_without_the_goldens_of_some_names_them(place, capsys):
    for side, names in (("in", ("a.png", "b.png")), ("gold", ("a.png", "b.jpg", "b.bmp"))):
        for name in names:
            path = place / "bare" / side / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(next((place / "images/in").iterdir()).read_bytes())
    given = ["--test", str(place / "bare/in"), "--golden", str(place / "bare/gold")]
    assert main(place / "best_model", [*given, "--out", str(place / "g.csv")]) == 1
    said = capsys.readouterr().err
    assert "1 of 2 parts lack a picture" in said and "gold/b.png" in said


def test_a_broken_picture_of_a_folder_is_of_no_row(place, capsys):
    (place / "images/in/p3_A.png").write_bytes(b"x")
    given = ["--test", str(place / "images/in"), "--golden", str(place / "images/gold")]
    assert main(place / "best_model", [*given, "--out", str(place / "f.csv")]) == 1
    said = capsys.readouterr().err
    assert "in/p3_A.png" in said and f"in: {place / 'images/in'}\n" in said and "row" not in said


def stop_after(monkeypatch, batches, error):
    """Let the network fail after some batches."""
    real, calls = Network.scores, iter(range(batches))

    def scores(self, inputs, count):
        if next(calls, None) is None:
            raise error
        return real(self, inputs, count)

    monkeypatch.setattr(Network, "scores", scores)


def counted(monkeypatch):
    """Return a list that gets the rows of each call."""
    asked, real = [], loop.score_rows

    def score_rows(parts, network, rows, **more):
        asked.append(len(rows))
        real(parts, network, rows, **more)

    monkeypatch.setattr("deft.score_kit.score.score_rows", score_rows)
    return asked


def test_an_interrupted_scoring_goes_on(place, monkeypatch, capsys):
    assert scored(place, "--batch", "4", out="whole.csv") == 0
    with monkeypatch.context() as patched:
        stop_after(patched, 3, KeyboardInterrupt())
        assert scored(place, "--batch", "4") == 130
    assert "goes on from here" in capsys.readouterr().err
    assert [p.name for p in (place / "out").iterdir()] == ["scores.csv.partial"]
    part = place / "out/scores.csv.partial"
    part.write_text(part.read_text()[:-9])  # as a crash leaves the last line
    asked = counted(monkeypatch)
    assert scored(place, "--batch", "4") == 0
    assert asked == [30 - 11]
    assert "11 scores taken over" in capsys.readouterr().out
    for one, other in zip(
        rows_of(place / "whole.csv"), rows_of(place / "out/scores.csv"), strict=True
    ):
        assert float(one["score"]) == pytest.approx(float(other["score"]), abs=1e-6)
    assert not part.exists()


def test_only_what_is_still_true_is_taken_over(place, monkeypatch):
    with monkeypatch.context() as patched:
        stop_after(patched, 3, KeyboardInterrupt())
        assert scored(place, "--batch", "4") == 130
    picture = place / "images/in/p2_A.png"
    picture.write_bytes((place / "images/in/p9_A.png").read_bytes())
    lines = (place / "parts.csv").read_text(encoding="utf-8").split("\n")
    (place / "parts.csv").write_text("\n".join([lines[0], *lines[2:]]), encoding="utf-8")
    asked = counted(monkeypatch)
    assert scored(place, "--batch", "4") == 0
    assert asked == [29 - 10]  # of twelve: one row is gone, one picture another
    facts = json.loads((place / "best_model/preprocessing.json").read_text())
    with monkeypatch.context() as patched:
        stop_after(patched, 3, KeyboardInterrupt())
        assert scored(place, "--batch", "4") == 130
    new = json.dumps({**facts, "mean": [0.1, 0.2, 0.3]})
    (place / "best_model/preprocessing.json").write_text(new)
    assert scored(place, "--batch", "4") == 0 and asked[-1] == 29


def cut_model(place):
    path = place / "best_model/model.onnx"
    path.write_bytes(path.read_bytes()[:-100])


def other_model(place):
    """Another file with its own checksum, beside the old threshold."""
    folder = place / "best_model"
    (folder / "model.onnx").write_bytes(b"no network")
    digest = hashlib.sha256(b"no network").hexdigest()
    (folder / "model.onnx.sha256").write_text(f"{digest}  model.onnx\n")
    return digest


def resealed_text(place):
    """The same with its digest in preprocessing.json: only ONNX Runtime can tell."""
    path, digest = place / "best_model/preprocessing.json", other_model(place)
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": digest}))


def in_table(old, new, count=1):
    def change(place):
        path = place / "parts.csv"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, count), encoding="utf-8")

    return change


def in_folder(name, data=None):
    def change(place):
        path = place / name
        path.write_bytes(data) if data is not None else path.unlink()

    return change


def with_threshold(threshold):
    def change(place):
        path = place / "best_model/preprocessing.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"threshold": threshold}))

    return change


STOPS = {
    "missing picture": (in_folder("images/in/p3_A.png"), "1 of 30 parts lack a picture", "row 5"),
    "broken picture": (in_folder("images/in/p3_A.png", b"x"), "not a PNG, JPEG", "row 5"),
    "empty golden": (in_folder("images/gold/p4_A.png", b""), "zero-byte", "row 6"),
    "column": (in_table("object_name", "name"), "object_name are missing", "row 1"),
    "own column": (in_table("note", "score"), "already has the column(s) score", "row 1"),
    "label": (in_table(",PASS,", ",pass,"), "PASS only after changing case", "row 3"),
    "semicolons": (
        in_folder("parts.csv", b"\xef\xbb\xbfinput_path;golden_path;object_name\r\nin;gold;p1\r\n"),
        "separated by semicolons, not by commas",
        "row 1",
    ),
    "tabs": (in_folder("parts.csv", b"input_path\tgolden_path\nin\tgold, 1\n"), "by tabs", "row 1"),
    "percent": (
        with_threshold(70),
        "threshold is 70, and the scores of this network lie from 0",
        "as the report shows it",
    ),
    "negative": (with_threshold(-0.1), "threshold is -0.1", "preprocessing.json"),
    "good in other words": (in_table(",PASS,p1,", ",Ok,p1,"), "label(s) 'Ok' say that a", "row 3"),
    "two labels": (in_table("in,gold,PASS,p1,", "in,gold,PASS,p0,"), "one part is", "rows 2, 3"),
    "ragged": (in_table("in,gold,PASS,p1,", "in,gold,PASS,p1,9,"), "header's 5 cells", "row 3"),
    "quote": (in_table("in,gold,PASS,p1,", 'in,gold,"PASS,p1,'), "quotation mark", "CSV, UTF-8"),
    "empty cell": (in_table("in,gold,PASS,p1,", "in,gold,PASS,,"), "empty object_name", "row 3"),
    "no table": (in_folder("parts.csv"), "cannot be read", "parts.csv"),
    "latin": (in_folder("parts.csv", b"a,b\n\xe4,1\n"), "not UTF-8", "parts.csv"),
    "model": (cut_model, "model.onnx is not the file that was handed off", "copy the hand-off"),
    "other model": (other_model, "preprocessing.json is that of another network", "copy the"),
    "no network": (resealed_text, "ONNX Runtime cannot load the file", "model.onnx"),
    "no model": (in_folder("best_model/model.onnx"), "model.onnx cannot be read", "copy the"),
    "no facts": (in_folder("best_model/preprocessing.json"), "has no such file", "preprocessing"),
    "facts": (in_folder("best_model/preprocessing.json", b"{}"), "lacks 'file'", "copy the"),
    "no reference": (in_folder("best_model/kpi_reference.json"), "scores cannot be read", "copy"),
    "no sums": (in_folder("best_model/model.onnx.sha256"), "checksums cannot be read", "copy"),
}


@pytest.mark.parametrize("name", STOPS)
def test_stops_say_what_and_where_and_what_to_do(place, capsys, name):
    change, what, where = STOPS[name]
    change(place)
    (place / "out").mkdir()
    (place / "out/scores.csv").write_text("earlier\n")
    assert scored(place) == 1
    said = capsys.readouterr().err
    assert said.startswith("STOP ") and "Traceback" not in said
    assert what in said and where in said and "\n  do: " in said
    assert (place / "out/scores.csv").read_text() == "earlier\n"
    assert [p.name for p in (place / "out").iterdir() if p.suffix not in (".csv", ".partial")] == []


@pytest.mark.parametrize(
    "given",
    [
        ["--out", "o.csv"],
        ["--csv", "t.csv", "--out", "o.csv"],
        ["--csv", "t.csv", "--images", ".", "--test", ".", "--out", "o.csv"],
        ["--csv", "t.csv", "--images", ".", "--out", "o.csv", "--batch", "0"],
        ["--csv", "t.csv", "--images", "."],
    ],
)
def test_wrong_command_lines_are_usage(place, capsys, given):
    with pytest.raises(SystemExit) as stop:
        main(place / "best_model", given)
    assert stop.value.code == 2 and "usage: score.py" in capsys.readouterr().err


def test_help_names_columns_and_exit_statuses(place, capsys):
    with pytest.raises(SystemExit) as stop:
        main(place / "best_model", ["--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    for word in ("margin", "exit status", "130", ".partial", "--golden DIR"):
        assert word in said


def test_what_was_not_foreseen_is_one_line(place, monkeypatch, capsys):
    stop_after(monkeypatch, 0, RuntimeError("the moon"))
    assert scored(place) == 3
    said = capsys.readouterr().err
    assert "unexpected RuntimeError: the moon (--debug shows where)" in said
    assert "Traceback" not in said
    with pytest.raises(RuntimeError):
        scored(place, "--debug")


def test_the_output_is_not_the_table(place, capsys):
    before = (place / "parts.csv").read_bytes()
    assert scored(place, out="parts.csv") == 1
    assert "the output is the table itself" in capsys.readouterr().err
    assert (place / "parts.csv").read_bytes() == before


def test_a_score_that_is_no_number_names_its_row(place, monkeypatch, capsys):
    monkeypatch.setattr(
        Network, "scores", lambda self, inputs, count: (np.full(count, np.nan, np.float32), None)
    )
    assert scored(place) == 1
    said = capsys.readouterr().err
    assert (
        "no finite score (first: nan, of " in said and "p0_A.png)" in said and "rows 2, 3" in said
    )


def test_a_long_scoring_tells_its_rate_against_the_bare_session(place, monkeypatch, capsys):
    assert scored(place) == 0
    assert "bare session" not in capsys.readouterr().out  # a second is too short to tell
    monkeypatch.setattr("deft.score_kit.score.TELLING_S", 0.0)
    monkeypatch.setattr("deft.score_kit.network.BARE_S", 0.01)
    assert scored(place) == 0
    said = capsys.readouterr().out
    rate, share, bare = map(
        float, re.search(r"s, (\S+) pairs/s, (\S+) of the bare session's (\S+) ", said).groups()
    )
    assert share == pytest.approx(rate / bare, abs=0.01) and bare > 0


def test_progress_is_lines_in_a_log_and_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(loop, "LINE_EVERY_S", 0)
    bar = loop.Progress(40, 10)
    bar(10)
    assert capsys.readouterr().err.startswith("scored 20/40, ")
    bar.bar = True
    bar.said = 0
    bar(10)
    bar(10)
    said = capsys.readouterr().err
    assert said.startswith("\r[####") and "40/40" in said and said.endswith("\n")


def test_the_folder_can_be_moved_and_names_no_place(made, tmp_path):
    """Run as a person does, from elsewhere, by a relative path."""
    moved = tmp_path / "elsewhere with blank"
    shutil.copytree(made / "best_model", moved / "best_model")
    for path in (moved / "best_model").rglob("*"):
        if path.is_file() and path.suffix != ".onnx" and "__pycache__" not in path.parts:
            text = path.read_text(encoding="utf-8")
            assert str(made) not in text and str(Path.home()) + "/" not in text, path
    command = [sys.executable, "best_model/score.py", "--csv", str(made / "parts.csv")]
    command += ["--images", str(made / "images"), "--out", "s.csv"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=moved, timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(rows_of(moved / "s.csv")) == 30
    (moved / "best_model/score_kit/table.py").unlink()
    done = subprocess.run(command, capture_output=True, text=True, cwd=moved, timeout=120)
    assert done.returncode == 1 and "score_kit" in done.stderr
    assert done.stderr.startswith("STOP ") and "Traceback" not in done.stderr
