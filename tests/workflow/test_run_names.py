"""Which run a command works on: the current one, the one of its targets, or a clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
from workflow_tools import RUN, script, snakemake

pytestmark = [pytest.mark.workflow, pytest.mark.long]


def listing(workspace: Path) -> set[str]:
    return {p.relative_to(workspace).as_posix() for p in workspace.rglob("*")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("run_a; touch PWNED #", "results/current_run names the run 'run_a; touch PWNED #'"),
        ("run_$(touch PWNED)", "results/current_run names"),
        ("run_/../../../outside", "results/current_run names"),
        ("", "is empty"),
    ],
)
def test_the_text_of_the_current_run_is_never_executed(fresh, content, words):
    (fresh / "results").mkdir()
    (fresh / "results/current_run").write_text(content)
    before = listing(fresh)
    done = snakemake(fresh, "preflight", config={"run": None})
    assert done.returncode == 1 and words in done.stdout, done.stdout
    assert "Traceback" not in done.stdout and "do: write a run's name into it" in done.stdout
    assert listing(fresh) == before
    assert not list(fresh.parent.rglob("PWNED")) and not list(fresh.parent.rglob("outside*"))


@pytest.mark.parametrize("dry", [(), ("-n",)])
def test_a_target_begins_no_run(fresh, dry):
    (fresh / "results/run_b").mkdir(parents=True)
    (fresh / "results/current_run").write_text("run_b\n")
    before = listing(fresh)
    target = "results/run_x/iter1/metrics.json"
    done = snakemake(fresh, target, config={"run": None}, args=dry)
    assert done.returncode == 1 and "no run run_x; there is run_b" in done.stdout, done.stdout
    assert listing(fresh) == before


def test_a_target_of_another_run_makes_it_the_commands_run(fresh):
    (fresh / "results/run_b/preflight").mkdir(parents=True)
    (fresh / f"results/{RUN}/preflight").mkdir(parents=True)
    (fresh / "results/current_run").write_text("run_b\n")
    target = f"results/{RUN}/preflight/gate.json"
    done = snakemake(fresh, target, config={"run": None})
    assert done.returncode == 0, done.stdout
    assert f"run {RUN}" in done.stdout and "run_b" not in done.stdout
    assert (fresh / target).is_file() and not list((fresh / "results/run_b/preflight").iterdir())
    assert (fresh / "results/current_run").read_text() == "run_b\n", "a guest of this command"


def test_a_run_that_is_named_on_purpose_begins_with_any_target(fresh):
    done = snakemake(
        fresh, "results/run_new/iter1/metrics.json", args=["-n"], config={"run": "run_new"}
    )
    assert done.returncode == 0 and "plan up to the next stop decision" in done.stdout


def test_a_report_of_no_run_is_no_run(fresh):
    before = listing(fresh)
    for run in (None, "run_x"):
        done = snakemake(fresh, "report", config={"run": run})
        assert done.returncode == 1 and "the workspace has no run yet" in done.stdout, done.stdout
    assert listing(fresh) == before


def test_a_copy_is_resumed_in_the_copy(fresh, tmp_path):
    """What its files say of the original is told and not followed."""
    import shutil

    done = snakemake(fresh, f"results/{RUN}/preflight/gate.json")
    assert done.returncode == 0, done.stdout
    copy = tmp_path / "the copy"
    shutil.copytree(fresh, copy)
    before = {p: p.stat().st_mtime_ns for p in fresh.rglob("*")}
    # Its own text, so that the copy has something to do and nothing long.
    done = script(
        copy, "resume", "--workspace", str(copy), "--go-on", "--",
        f"results/{RUN}/synth_pool/manifest.json", "--cores", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert f"recorded in {fresh}; this resumes {copy}" in done.stdout
    assert "left alone" in done.stdout
    assert (copy / f"results/{RUN}/synth_pool/manifest.json").is_file()
    assert {p: p.stat().st_mtime_ns for p in fresh.rglob("*")} == before
