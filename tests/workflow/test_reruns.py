"""What a change makes run again, and above all what it does not: dear stages never by accident.

`docs/reruns.md` is the table of what a dry run planned in each case of `rerun_cases`. `pytest
tests/workflow --update-docs` rewrites it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
from generated_page import Page
from workflow.rerun_cases import CASES, DEAR, LOOP, Case, Change, grow, replaced
from workflow_tools import (
    POOL,
    REPOSITORY,
    RUN,
    copy_in_its_place,
    copy_of_repository,
    draw,
    load,
    log_entries,
    plan,
    planned_rules,
    snakemake,
    succeed,
    tree,
)

pytestmark = [pytest.mark.workflow, pytest.mark.long]

TS = RUN.removeprefix("run_")
ONE_MB = 1_000_000  # above this Snakemake compares time stamps and no content
# Files that no rule promises: records, locks, what the approval wrote, pages rendered on the way.
UNPROMISED = re.compile(
    rf"results/{RUN}/(logs/|benchmarks/|preflight/|hard_stops/|\.|deft_state\.json|loop_log\.jsonl|"
    rf"DEFT_Loop_Report\.html|synth_pool/images/|synth_pool/source_embed\.log|"
    rf".*/rca_images/|.*/train\.log)"
)
CHEAP_TO_REBUILD = ["iter1/metrics.json", "iter1/dataset/assembly.json"]
PAGE = Page(
    "reruns",
    head="""\
# What runs again when

Snakemake plans a job when one of its inputs or its parameters changed (`rerun-triggers: [mtime,
params]` in every profile). That a rule is written otherwise, or names one file more, is no reason:
a newer version of this pipeline takes a finished run as finished, and a number says where its
results would differ (*logic* below). Each row is a test (`tests/workflow/rerun_cases.py`): after a
finished run something is changed, and the second column is what a dry run then plans, in the order
of the loop. `pytest tests/workflow --update-docs` rewrites the table.

A dry run sees as far as the next stop decision. What follows a planned rule follows only if that
rule's files really differ; a plan names it where it may.

| you change | a dry run plans | runs no second time |
|---|---|---|
""",
    keys=[case.name for case in CASES],
    tail="""
Every change of a setting or an input that an approval covers asks for the approval again, before
the first job, and names what changed. `approve: true` answers for unattended runs.

Tables are compared whenever a command is typed, pictures are not: nobody waits for a million files
to be opened. `snakemake preflight` opens them all. It names each that is not the one that the run
began with, under the same name; then the stages that read it are planned as the table says, and the
approval is asked for again. With the earlier pictures back, the plan is the earlier one. Of the
pool it only tells: what is embedded and mined stays of the pictures that were there.

A phase's `metrics.json` starts no training and no embedding by itself: laps follow the scores that
it was made from and the required recall. Further figures in it, corrected KPI labels, or another
form of a table beside it repeat neither.

A weight file that is deleted and asked for is made by repeating its training aside; if the bytes
are not the same, it stays lost and nothing else is touched.

## Looking before leaping

```bash
snakemake -n                                             # up to the next stop decision
snakemake -n results/<run>/iter3/train/weights.json      # the whole chain to lap 3
snakemake -n results/<run>/iter1/metrics.json            # a single file and what it needs
snakemake -n --rerun-triggers mtime                      # as if only time stamps counted
```

What these print is in [plans.md](plans.md). To redo a stage on purpose: `snakemake -R mine`
(everything after it follows, if its files differ).
""",
)


def maker_of(name: str) -> str:
    """Return the rule that makes an artifact (path below the workspace)."""
    name = name.removeprefix(f"results/{RUN}/")
    by_place = (
        (r"artifacts/|best_model", "finish"),
        (r".*/train/.*\.pth$", "restore_weights"),
        (r".*/train/", "train"),
        (r".*/inference/(inference\.json|\w+/inference\.csv)$", "infer"),
        (r".*/(inference/|metrics\.json$)(?<!rca)", "evaluate"),
        (r".*/rca_results/", "rca"),
        (r".*/routing_results/", "route"),
        (r".*/anomalygen/", "ingest"),
        (r".*/mining_filter/", "mine"),
        (r".*/dataset/validation\.json$", "validate"),
        (r".*/dataset/", "assemble"),
        (r".*/decide/", "decide"),
        (r".*report\.html$", "phase_report"),
        (r"\w+_summary\.md$", "phase_summary"),
        (r".*/causes\.(json|csv)$", "rca"),
        (r"kpi_facts/", "measure_parts"),
        (r"synth_pool/source_embeddings", "embed_pool"),
        (r"synth_pool/", "stage_pool"),
    )
    if "/rca_results/" in name:
        return "rca"
    return next(rule for pattern, rule in by_place if re.match(pattern, name))


def rebuilding(name: str) -> set[str]:
    """Return the rules that make an artifact: its own, and the shards of the pool, kept nowhere."""
    maker = maker_of(name)
    return {maker, "embed_shard"} if maker == "embed_pool" else {maker}


def promised_files(workspace: Path) -> list[str]:
    """Return every file of a finished run that some rule declares, and every weight file."""
    found = sorted(p for p in tree(workspace) if p.startswith((f"results/{RUN}/", "artifacts/")))
    return [p for p in found if not UNPROMISED.match(p)]


# --- the table ------------------------------------------------------------------------------------


def is_named(rule: str, names: frozenset[str]) -> bool:
    """Whether a rule is one of `names`; a name that ends in `_` stands for all that begin so."""
    return rule in names or any(n.endswith("_") and rule.startswith(n) for n in names)


def as_row(case: Case, planned: dict[str, int]) -> str:
    """Return the case's row of the page."""
    rank = {rule: place for place, rule in enumerate(LOOP)}
    rules = sorted(planned, key=lambda rule: (rank.get(rule, len(rank)), rule))
    shown = ", ".join(f"`{rule}`" for rule in rules) or "nothing"
    return f"| {case.name} | {shown} | {case.stays} |\n"


MARKED = [
    pytest.param(case, id=re.sub(r"\W+", "-", case.name), marks=[pytest.mark.slow] * case.slow)
    for case in CASES
]


@pytest.mark.parametrize("case", MARKED)
def test_case(case: Case, finished: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if case.needs and importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed")
    workspace = copy_in_its_place(finished, tmp_path / "workspace")
    code = copy_of_repository(tmp_path / "repository")
    config = case.change(workspace, code) or {}
    args = ["-n", *case.args]
    done = snakemake(workspace, *case.asked, config=config, args=args, repository=code)
    output = succeed(done)
    planned = planned_rules(output)
    assert case.must <= set(planned)
    assert [rule for rule in planned if is_named(rule, case.never)] == []
    if case.only:
        assert planned == dict.fromkeys(case.must, 1)
    if case.most_trainings is not None:
        assert planned.get("train", 0) <= case.most_trainings, "the baseline stays"
    for words in case.words:
        assert words in output
    if case.asked:
        _the_loop_needs_nothing_dearer(case, workspace, code)
    PAGE.check(request.config, case.name, as_row(case, planned))


def _the_loop_needs_nothing_dearer(case: Case, workspace: Path, code: Path) -> None:
    """The whole loop needs a deleted file no more, or makes it again without anything dearer."""
    whole = {rule for rule in plan(workspace, repository=code) if is_dear(rule)}
    scored_again = {"infer"} if case.must == {"train"} else set()
    assert whole <= case.must | scored_again


def is_dear(rule: str) -> bool:
    """Whether a rule is one that must never run by accident."""
    return is_named(rule, frozenset({*DEAR, "embed_"}))


def test_the_page_is_complete(request: pytest.FixtureRequest) -> None:
    PAGE.check_rest(request.config)


def test_the_table_names_rules_of_this_workflow() -> None:
    text = "\n".join(p.read_text() for p in (REPOSITORY / "rules").glob("*.smk"))
    rules = set(re.findall(r"^(?:rule|checkpoint) (\w+):", text, re.MULTILINE))
    assert {rule for case in CASES for rule in case.must} <= rules
    assert {n for case in CASES for n in case.never if not n.endswith("_")} <= rules


# --- runs, not plans ------------------------------------------------------------------------------


def test_grown_pool_runs_nothing(workspace: Path) -> None:
    path = workspace / POOL
    assert path.stat().st_size > ONE_MB, "the finished run must have a large pool from the start"
    last = path.read_text(encoding="utf-8").splitlines()[-1]
    with path.open("a", encoding="utf-8") as handle:
        handle.write(f"{last}\n")
    before = log_entries(workspace)
    succeed(snakemake(workspace))
    assert log_entries(workspace) == before


@pytest.mark.parametrize("change", [grow("kpi/testing_set.csv"), replaced("kpi")])
def test_one_command_goes_to_the_end_of_what_a_change_asks_for(
    change: Change, workspace: Path
) -> None:
    """The parts are measured anew too, which must not hide that the laps have new scores."""
    change(workspace, REPOSITORY)
    before = log_entries(workspace)
    succeed(snakemake(workspace))
    done = [(e["iter"], e["stage"]) for e in log_entries(workspace)[len(before) :]]
    assert ("baseline", "rca") in done and ("iter2", "evaluate") in done
    assert plan(workspace) == {}


@pytest.mark.slow
def test_new_target_really_ends(workspace: Path) -> None:
    trained = [e for e in log_entries(workspace) if e["stage"] == "train"]
    before = load(workspace, "best_model.json")
    config = {"kpi": "FAR <= 100% at recall=100%"}
    succeed(snakemake(workspace, config=config))
    assert load(workspace, "baseline/decide/kpi.json")["reason"] == "kpi_met"
    assert load(workspace, "best_model.json")["kpi_met"] is True
    assert [e for e in log_entries(workspace) if e["stage"] == "train"] == trained
    assert log_entries(workspace)[-1]["summary"].startswith("kpi_met")
    assert plan(workspace, config=config) == {}
    # And back: the old last decision still stands, and is older than what was handed off since.
    succeed(snakemake(workspace))
    after = load(workspace, "best_model.json")
    for name in ("iteration", "threshold", "far_pct", "kpi_target", "kpi_met"):
        assert after[name] == before[name], name
    assert [e for e in log_entries(workspace) if e["stage"] == "train"] == trained


# --- deleted artifacts ----------------------------------------------------------------------------


def test_cases_name_files_of_the_run(finished: Path) -> None:
    promised = set(promised_files(finished))
    for case in CASES:
        for name in case.asked:
            assert name in promised
            assert rebuilding(name) == case.must


@pytest.mark.parametrize("name", CHEAP_TO_REBUILD)
def test_rebuilt_artifact_restarts_no_training(workspace: Path, name: str) -> None:
    target = workspace / "results" / RUN / name
    content = target.read_bytes()
    target.unlink()
    succeed(snakemake(workspace, f"results/{RUN}/{name}"))
    assert target.read_bytes() == content
    assert not any(is_dear(rule) for rule in plan(workspace))


@pytest.fixture(scope="module")
def own_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was not copied: tables hold absolute paths, so a copy is rebuilt differently."""
    workspace = draw(tmp_path_factory.mktemp("own") / "workspace")
    succeed(snakemake(workspace))
    return workspace


PLACES = ("baseline", "iter1", "iter2", "synth_pool", "artifacts", "")


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES, ids=lambda p: p or "run")
def test_every_artifact_can_be_rebuilt(own_run: Path, place: str) -> None:
    """One after the other in one workspace: each rebuild must leave a finished run behind."""

    def in_place(name: str) -> bool:
        parts = name.removeprefix(f"results/{RUN}/").split("/")
        return (parts[0] if len(parts) > 1 else "") == place

    workspace = own_run
    names = [name for name in promised_files(workspace) if in_place(name)]
    assert names
    same_bytes = (".csv", ".parquet", ".pth", ".txt")
    for name in names:
        target = workspace / name
        content = target.read_bytes()
        target.unlink()
        planned = plan(workspace, name)
        assert planned == dict.fromkeys(rebuilding(name), 1), name
        succeed(snakemake(workspace, name))
        assert target.is_file(), name
        if target.suffix in same_bytes:
            assert target.read_bytes() == content, name
        assert "train" not in plan(workspace), name


@pytest.mark.slow
def test_other_figures_of_a_phase_train_and_embed_nothing_again(own_run: Path) -> None:
    """A newer version writes more into `metrics.json`; trainings follow the scores alone."""
    workspace = own_run
    path = workspace / "results" / RUN / "baseline/metrics.json"
    metrics = json.loads(path.read_text())
    embeddings = f"results/{RUN}/synth_pool/source_embeddings.parquet"
    path.write_text(json.dumps({**metrics, "a_figure": 1}))
    assert plan(workspace, embeddings) == {}
    other = plan(workspace, embeddings, args=["-R", "infer"])
    assert "embed_shard" in other, "else nothing would follow other scores"
    before = len(log_entries(workspace))
    succeed(snakemake(workspace))
    ran = {entry["stage"] for entry in log_entries(workspace)[before:]}
    assert not ran & {"train", "inference", "data_mining"}
    assert json.loads(path.read_text())["a_figure"] == 1, "it was not made anew"


@pytest.mark.slow
@pytest.mark.parametrize("folder", [f"baseline/rca_results/{TS}/rca_images", "synth_pool/images"])
def test_deleted_picture_folder_is_rebuilt(workspace: Path, folder: str) -> None:
    path = workspace / "results" / RUN / folder
    pictures = tree(path)
    shutil.rmtree(path)
    succeed(snakemake(workspace, f"results/{RUN}/{folder}"))
    kept = {k: v for k, v in tree(path).items() if not k.startswith(".snakemake")}
    assert kept == {k: v for k, v in pictures.items() if not k.startswith(".snakemake")}
    assert "train" not in plan(workspace)


# --- profiles -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["gpu", "slurm"])
def test_a_profile_plans_what_a_change_asks_for(finished: Path, profile: str) -> None:
    if profile == "slurm":
        pytest.importorskip("snakemake_executor_plugin_slurm")
    args = ["--workflow-profile", str(REPOSITORY / "profiles" / profile)]
    planned = plan(finished, args=args, config={"kpi": "FAR < 50% at recall=100%"})
    assert planned["decide"] >= 1 and not any(is_dear(rule) for rule in planned)
