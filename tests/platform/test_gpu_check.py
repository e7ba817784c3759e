"""gpu_check.sh: its runner, how figures are judged, what the kit packs, and all of it on a CPU."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

pytestmark = pytest.mark.long

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from gpu_check import decisions, equality, kit, loader, resume, search, speed  # noqa: E402
from gpu_check.bench import Bench, relative  # noqa: E402
from gpu_check.result import FAILED, NOT_CHECKED, OK, Result, as_table, judged  # noqa: E402
from gpu_check.runner import JSON_NAME, TABLE_NAME, Runner  # noqa: E402
from gpu_check.table import BY_NAME, CHECKS, Check  # noqa: E402

from deft.changenet.training.trainer import _Mixed  # noqa: E402

GOOD = Result("one", OK, {"error": 1e-7}).line()
SCRIPT = "import os, sys, time\nout = open(sys.argv[1], 'a')\n"


def runner(tmp_path, scripts, *, budget=60.0, limit=30.0, jobs=1, alone=False):
    """Return a runner over checks of rows ``one`` and ``two``, each a script of its own."""
    checks = [
        Check(name, "x:y", (f"{name} one", f"{name} two"), (limit, limit), alone)
        for name in scripts
    ]

    def start(check):
        path = tmp_path / f"{check.name}.py"
        line = Result(f"{check.name} one", OK, {"error": 1e-7}).line()
        path.write_text(SCRIPT + f"GOOD = {line!r}\n" + textwrap.dedent(scripts[check.name]))
        return [sys.executable, str(path)]

    lines = []
    made = Runner(
        checks, "cuda", tmp_path / "out", tmp_path, budget, jobs, start=start, log=lines.append
    )
    return made, lines


def states(made):
    return {result.name: result.state for result in made.found}


def test_a_check_that_dies_loses_its_own_rows_only(tmp_path):
    scripts = {
        "dead": """
            out.write(GOOD + '\\n')
            out.flush()
            print('what I said')
            sys.stdout.flush()
            os.kill(os.getpid(), 11)
        """,
        "fine": "out.write(GOOD.replace('one', 'two') + '\\n' + GOOD + '\\n')",
    }
    made, _ = runner(tmp_path, scripts)
    assert made.run() == 1
    assert states(made) == {"dead one": OK, "dead two": FAILED, "fine two": OK, "fine one": OK}
    why = next(result.why for result in made.found if result.name == "dead two")
    assert "status -11" in why and "what I said" in why
    document = json.loads((tmp_path / "out" / JSON_NAME).read_text())
    assert document["finished"] and len(document["results"]) == 4
    table = (tmp_path / "out" / TABLE_NAME).read_text()
    assert "3 ok, 1 FAILED, 0 not checked" in table


def test_a_check_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    pid = tmp_path / "pid"
    hang = f"""
        import subprocess
        child = subprocess.Popen(["sleep", "300"])
        open({str(pid)!r}, "w").write(str(child.pid))
        time.sleep(300)
    """
    made, _ = runner(tmp_path, {"hang": hang}, limit=9.0)
    began = time.monotonic()
    assert made.run() == 1
    assert time.monotonic() - began < 25
    assert "limit" in made.found[0].why
    until = time.monotonic() + 5
    while _alive(int(pid.read_text())):  # gone, or waiting to be collected by its new parent
        assert time.monotonic() < until
        time.sleep(0.05)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_what_finds_no_time_says_so(tmp_path):
    scripts = {"first": "out.write(GOOD + '\\n'); time.sleep(3)", "second": "out.write(GOOD)"}
    made, _ = runner(tmp_path, scripts, budget=9.0)
    assert made.run() == 1  # the first owes a row
    assert states(made)["second one"] == NOT_CHECKED
    assert "no time" in made.found[-1].why


def test_what_the_end_of_the_run_cuts_off_has_not_failed(tmp_path):
    made, _ = runner(
        tmp_path, {"slow": "out.write(GOOD + '\\n'); out.flush(); time.sleep(60)"}, budget=9.0
    )
    assert made.run() == 0
    assert states(made) == {"slow one": OK, "slow two": NOT_CHECKED}
    assert "no time was left" in made.found[-1].why


def test_decisions_may_change_only_for_the_row_that_sets_the_threshold(monkeypatch, tmp_path):
    """Scores apart by float noise, then by an exchange of two rows near the threshold."""
    rows = pd.DataFrame({"label": ["PASS"] * 4 + ["bridge"] * 4})
    cpu = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], np.float32)
    monkeypatch.setattr(decisions, "_bfloat16", lambda *given: {})
    monkeypatch.setattr(decisions, "train", lambda *given, **more: {"best_val": "x"})
    monkeypatch.setattr(Bench, "spec", lambda *given, **more: None)
    monkeypatch.setattr(Bench, "tables", lambda self: (None, None, None))
    monkeypatch.setattr(Bench, "workspace", lambda self: tmp_path)

    def found(there):
        answers = iter([cpu, there, there])
        monkeypatch.setattr(decisions, "score_table", lambda *given, **more: (next(answers), rows))
        return next(decisions.flips(Bench("cpu", tmp_path, tmp_path)))

    noise = found(cpu + np.float32(3e-7))
    assert noise.state == OK and noise.figures["flips_of_rows_that_set_it"] > 0
    swapped = cpu.copy()
    swapped[[3, 4]] = cpu[[4, 3]]
    wrong = found(swapped)
    assert wrong.state == FAILED and wrong.figures["decision_flips"] > 0


def test_checks_that_measure_run_alone_and_others_beside_each_other(tmp_path):
    note = "out.write(str(time.monotonic()) + '\\n'); out.flush(); time.sleep(1.5)"
    for alone, together in ((False, True), (True, False)):
        folder = tmp_path / str(alone)
        folder.mkdir()
        made, _ = runner(folder, {"a": note, "b": note}, jobs=2, alone=alone)
        made.run()
        began = [
            float((folder / "checks" / name / "results.jsonl").read_text()) for name in ("a", "b")
        ]
        assert (abs(began[1] - began[0]) < 1.4) == together


@pytest.mark.parametrize(
    ("value", "state"),
    [(0.5, OK), (1.0, OK), (1.1, FAILED), (float("nan"), FAILED), ("?", FAILED), (None, FAILED)],
)
def test_a_figure_is_held_against_its_limit(value, state):
    assert judged("x", {"error": value}, {"error": 1.0}).state == state
    assert judged("x", {}, {"error": 1.0}).state == FAILED
    assert judged("x", {"error": 0.0}, {"error": 1.0}, broken="gone").state == FAILED


def test_rates_are_held_against_a_lower_limit_and_told_in_the_table():
    slow = judged("pairs", {"beside": 0.1}, at_least={"beside": 0.25})
    assert slow.state == FAILED and "at least 0.25" in slow.why
    table = as_table([slow, Result("b", NOT_CHECKED, why="no | card")])
    assert "| b | not checked |  | no / card |" in table
    assert json.loads(Result("n", OK, {"x": float("nan")}).line())["figures"]["x"] == "nan"


def test_every_check_is_there_and_owes_rows_of_one_name_once():
    rows = [name for check in CHECKS for name in check.rows]
    assert len(rows) == len(set(rows)) and len(BY_NAME) == len(CHECKS)
    for check in CHECKS:
        module, function = check.where.split(":")
        text = (REPOSITORY / f"benchmarks/gpu_check/{module}.py").read_text()
        assert f"\ndef {function}(bench: Bench)" in text
        for row in check.rows:
            assert f'"{row}"' in text or row.rsplit(" ", 1)[0] in text


def test_a_wrong_device_is_seen(monkeypatch, tmp_path):
    """What the checks compare with must not be what they check: planted faults fail."""
    bench = Bench("cpu", tmp_path, tmp_path)
    moved = equality.prepare

    def off(model, device, **given):
        prepared = moved(model, device, **given)
        with torch.no_grad():
            next(prepared.model.decoder.parameters()).mul_(1.01)
        return prepared

    model = equality.network(equality.spec_of(equality.SMALL, 32))
    pair = equality.pictures(8, 32, equality.CPU)

    def found():
        given = (bench, "x", model, pair, torch.float64)
        return [work(*given) for work in (equality._forward, equality._train_step)]

    assert [r.state for r in found()] == [OK, OK], found()
    monkeypatch.setattr(equality, "prepare", off)
    assert [r.state for r in found()] == [FAILED, FAILED], found()


def test_a_loader_that_mixes_and_a_search_that_misses_are_seen(monkeypatch, tmp_path):
    bench = Bench("cpu", tmp_path, tmp_path)
    digests = loader._digests
    monkeypatch.setattr(
        loader, "_digests", lambda *given: digests(*given)[:: -1 if given[2] else 1]
    )
    assert next(loader.loader(bench)).state == FAILED
    monkeypatch.undo()
    right = search.top_k
    assert next(search.search(bench)).state == OK
    calls = []

    def wrong(*given, **more):
        found = right(*given, **more)
        calls.append(1)
        if len(calls) == 3:  # the CPU's, the warm-up's, the device's
            found[0][0, :2] = found[0][0, 1::-1]
        return found

    monkeypatch.setattr(search, "top_k", wrong)
    result = next(search.search(bench))
    assert result.state == FAILED and result.figures["neighbours_that_differ"] == 2


def test_the_loss_scale_is_found_where_the_trainer_keeps_it(tmp_path):
    """As Lightning saves a float16 training, which no CPU can run to its end."""
    plugin = _Mixed("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=512.0))
    for given, scale in ((plugin, 512.0), (_Mixed("bf16-mixed", "cpu"), None)):
        trainer = Trainer(
            plugins=[given], accelerator="cpu", logger=False, default_root_dir=tmp_path,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.strategy.connect(LightningModule())
        state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        assert resume.loss_scale(state) == scale


@pytest.mark.slow
def test_a_training_is_stopped_and_resumed_on_the_cpu(tmp_path, monkeypatch):
    paths = [str(REPOSITORY / name) for name in ("scripts", "benchmarks")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # as gpu_check.sh sets it
    (result, *others) = resume.resume(Bench("cpu", tmp_path, tmp_path))
    assert result.state == OK, result
    assert result.figures["weights_relative_difference"] == 0
    assert result.figures["in_the_middle_of_an_epoch"] is True
    assert {r.state for r in others} == {NOT_CHECKED}


def test_the_memory_line_tells_more_than_it_measured():
    measured = {2: 4.0, 4: 5.0, 8: 7.0, 16: 11.0}  # 3 GiB and half a one for each pair
    assert speed._line(measured, 16) == 11.0
    assert speed._line(measured, 100) == pytest.approx(53.0)


def test_the_relative_error_sees_the_whole_and_nan():
    assert relative([np.ones(4), np.ones(4)], [np.ones(4), np.ones(4)]) == 0
    assert relative(np.ones(4) * 1.1, np.ones(4)) == pytest.approx(0.1)
    assert np.isnan(relative(np.array([np.nan]), np.ones(1)))


LISTS = {
    "pip list": "Package    Version\n---------- -------\ntorch      2.11.0+cu130\nPyYAML 6.0\n",
    "pip freeze": "torch==2.11.0\nPyYAML==6.0\n# a comment\n",
    "names": "torch, PyYAML\n",
    "lines": "torch\nPyYAML\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_what_is_present_is_read_as_pip_prints_it(kind):
    assert set(kit.present_of(LISTS[kind])) == {"torch", "pyyaml"}


def test_the_kit_packs_what_is_lacking_and_what_that_needs():
    present = {"torch": "2.11.0", "pyyaml": "", "numpy": "2.0"}
    wanted = kit.lacking(["torch==1", "snakemake==1"], present, "3.12")
    assert "snakemake" in wanted and "pulp" in wanted
    assert not {"torch", "pyyaml", "numpy", "networkx"} & set(wanted)
    assert wanted["snakemake"] == "snakemake==" + kit.metadata.version("snakemake")
    assert "numpy" in kit.lacking(["numpy==1"], present, "3.12", fresh=["numpy"])


def test_an_older_package_over_there_is_named(tmp_path):
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        text = "Name: thing\nRequires-Dist: numpy>=2\nRequires-Dist: six>=9; extra == 'x'\n\ntext"
        archive.writestr("thing-1.0.dist-info/METADATA", text)
    there = {"numpy": "1.26.0", "six": "1.0"}
    assert kit.older(there, [wheel]) == ["thing wants numpy>=2, there is 1.26.0"]
    assert kit.older({"numpy": "2.1"}, [wheel]) == []
    assert kit.older({"numpy": ""}, [wheel]) == []


def test_a_kit_that_is_too_large_says_what_can_be_done(tmp_path, capsys):
    wheels = tmp_path / "kit/wheels"
    wheels.mkdir(parents=True)
    (wheels / "a.whl").write_bytes(bytes(3_000_000))
    given = argparse.Namespace(out=tmp_path / "kit", limit_mb=2.0)
    assert kit._told(given, {"wheels": {"a.whl": ""}, "does_not_fit": []}) == 1
    said = capsys.readouterr()
    assert "3.0 MB  a.whl" in said.out and "--limit-mb 4" in said.err
    given.limit_mb = 4.0  # as advised
    assert kit._told(given, {"wheels": {"a.whl": ""}, "does_not_fit": []}) == 0


def test_code_that_is_no_clone_makes_no_kit(tmp_path, monkeypatch):
    monkeypatch.setattr(kit, "HOME", tmp_path)
    with pytest.raises(RuntimeError, match="must be a git clone"):
        kit.copy_code(tmp_path / "out")


KIT_PYTHON = """\
#!/bin/sh
if [ "$2" = pip ]; then
    while [ "$1" != --target ]; do shift; done
    touch "$2/installed"; exit 0
fi
set -- "$2" "${PYTHONPATH%%:*}" "$PYTHONPATH" "$@"
[ -f "$2/installed" ] && echo "wheels first: $2"
printf '%s\n' "$1" "$3" "$GPU_CHECK_WORKSPACE" "$GPU_CHECK_KIT" "$HF_HUB_OFFLINE" "$6"
exit 7
"""


def test_a_kit_in_a_bare_folder_uses_its_own_wheels_code_and_data(tmp_path):
    """The shell script, with an interpreter that tells what it was given."""
    home, python = tmp_path / "carried here", tmp_path / "python"
    for name in ("code/scripts", "code/benchmarks", "wheels", "data/workspace"):
        (home / name).mkdir(parents=True)
    (home / "wheels/a.whl").touch()
    (home / "kit.json").write_text('{"python": "3.12"}')
    shutil.copy(REPOSITORY / "gpu_check.sh", home)
    python.write_text(KIT_PYTHON)
    python.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"PYTHON": str(python), "TMPDIR": str(tmp_path)}
    line = ["bash", str(home / "gpu_check.sh"), "--device"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    first, module, paths, workspace, facts, offline, word = done.stdout.splitlines()
    site = first.removeprefix("wheels first: ")
    assert module == "gpu_check" and word == "--device" and offline == "1"
    assert paths == f"{site}:{home}/code/scripts:{home}/code/benchmarks"
    assert workspace == f"{home}/data/workspace" and facts == '{"python": "3.12"}'
    assert site.startswith(str(tmp_path)) and not Path(site).exists()


def checked(out, *args, limit_s):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PYTHON"] = sys.executable
    line = ["bash", str(REPOSITORY / "gpu_check.sh"), "--device", "cpu", "--out", str(out), *args]
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
    )
    return done, json.loads((out / JSON_NAME).read_text())


def test_the_command_runs_quick_checks_on_the_cpu(tmp_path):
    done, document = checked(tmp_path, "--only", "machine", "search", limit_s=240)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {result["name"]: result["state"] for result in document["results"]}
    assert found == {
        "machine": OK,
        "ceilings": OK,
        "search": OK,
        "FAISS GPU": NOT_CHECKED,
    }
    assert document["finished"] and document["device"] == "cpu"
    assert "| search | ok |" in done.stdout


@pytest.mark.slow
def test_every_check_passes_on_the_cpu(tmp_path):
    done, document = checked(tmp_path, limit_s=1200)
    assert done.returncode == 0, done.stdout[-6000:]
    assert [r["name"] for r in document["results"]] == [n for c in CHECKS for n in c.rows]
    wrong = [r for r in document["results"] if r["state"] != OK and not r["why"]]
    assert not wrong
