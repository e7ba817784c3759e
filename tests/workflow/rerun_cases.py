"""What is changed after a finished run, and what a dry run may then plan.

One row per change; `docs/reruns.md` is the table of what these cases really planned.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from workflow_tools import POOL, REPOSITORY, RUN, snakemake, succeed

SPEC = "specs/baseline_spec.yaml"
PAIRS = "augmentation/anomalygen"
# The rules that cost most. Those that embed go by what they begin with: there may be several.
TRAINING = {"train", "restore_weights"}
DEAR = {*TRAINING, "infer", "mine"}
EMBEDDING = "embed_"
# What may follow a rule by itself, once its outputs differ; in the order of the loop.
LOOP = (
    *("gate", "measure_parts", "train", "restore_weights", "infer", "evaluate", "decide", "rca"),
    "stage_pool",
    *("embed_shard", "embed_pool", "route", "ingest", "mine", "assemble", "validate"),
    *("phase_report", "phase_summary", "export_best", "finish"),
)

Change = Callable[[Path, Path], "dict[str, Any] | None"]


@dataclass(frozen=True)
class Case:
    """One change.

    `change` gets a copy of the finished workspace and one of the repository, and may return
    configuration values. `must`: rules that are planned; `never`: rules that are not (a name that
    ends in `_` stands for all that begin with it); `only`: no other rules are planned at all.
    `stays` is the page's third column; `asked` are targets, if not the whole loop.
    """

    name: str
    change: Change
    must: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()
    only: bool = False
    most_trainings: int | None = None
    stays: str = "–"
    asked: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    slow: bool = False
    needs: str | None = field(default=None)  # a package, without which the case is skipped


def nothing(name: str, change: Change, **more: Any) -> Case:
    """Return a case that plans nothing at all."""
    return Case(name, change, only=True, stays=more.pop("stays", "everything"), **more)


def again(name: str, change: Change, must: str, **more: Any) -> Case:
    """Return a case that plans the rules `must` (separated by blanks), and what may follow."""
    never = frozenset(more.pop("never", "").split())
    return Case(name, change, frozenset(must.split()), never, **more)


def setting(**values: Any) -> Change:
    return lambda workspace, code: values


# --- changes --------------------------------------------------------------------------------------


def comments(workspace: Path, code: Path) -> None:
    for path in [*code.glob("scripts/*.py"), *code.glob("scripts/deft/**/*.py")]:
        with path.open("a", encoding="utf-8") as handle:
            handle.write("\n# a remark\n")


def script_logic(workspace: Path, code: Path) -> None:
    for path in code.glob("scripts/*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("def body(", "SEEN = []\n\n\ndef body("), encoding="utf-8")


def rule_text(workspace: Path, code: Path) -> None:
    for path in code.glob("rules/*.smk"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(" --log {log:q}", "  --log {log:q}"), encoding="utf-8")


def library_logic(workspace: Path, code: Path) -> None:
    for name in (
        "changenet/training/module",
        "changenet/scoring",
        "mining/neighbours",
        "kpi/operating_point",
    ):
        path = code / f"scripts/deft/{name}.py"
        path.write_text(path.read_text(encoding="utf-8") + "\n\nSEEN = []\n", encoding="utf-8")


def raised(stage: str) -> Change:
    def change(workspace: Path, code: Path) -> None:
        path = code / "rules/logic_versions.json"
        versions = json.loads(path.read_text(encoding="utf-8"))
        versions[stage] += 1
        path.write_text(json.dumps(versions), encoding="utf-8")

    return change


def stages() -> list[str]:
    """Return the stages of this engine that have a version of their logic."""
    path = REPOSITORY / "rules/logic_versions.json"
    found = sorted(json.loads(path.read_text(encoding="utf-8")))
    # `measure` belongs to runs with a metric contract (test_metric_contract.py), `accept` to those
    # with an acceptance set (test_weekly.py), `noise_floor` to those that are asked for one.
    others = ("measure", "accept", "noise_floor")
    return [stage for stage in found if not stage.startswith("tao_") and stage not in others]


def grow(table: str) -> Change:
    """Return what appends the table's last row once more, under another name."""

    def change(workspace: Path, code: Path) -> None:
        path = workspace / table
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))
        with path.open("a", encoding="utf-8", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerow(rows[-1])

    return change


def time_stamps(workspace: Path, code: Path) -> None:
    for path in [workspace / SPEC, *workspace.glob("*/**/*.csv"), *workspace.glob("kpi/**/*.png")]:
        if "results" not in path.relative_to(workspace).parts:
            os.utime(path)


def spec_value(*names: str, times: float) -> Change:
    def change(workspace: Path, code: Path) -> None:
        path = workspace / SPEC
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        place = spec
        for name in names[:-1]:
            place = place[name]
        place[names[-1]] *= times
        path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")

    return change


def new_pairs(workspace: Path, code: Path) -> None:
    for folder in ("reconstructed_image", "original_image"):
        first = sorted((workspace / PAIRS / folder).glob("*.png"))[0]
        with Image.open(first) as picture:
            picture.rotate(90).save(first.with_name("B900+bridge_900.png"))


def replaced(role: str, *, looked_at: bool = True) -> Change:
    """Return what puts another picture under the name of one, and lets the pre-flight look."""

    def change(workspace: Path, code: Path) -> None:
        first = sorted((workspace / "kpi/images" / role).rglob("*.png"))[0]
        with Image.open(first) as picture:
            picture.rotate(180).save(first)
        if looked_at:
            succeed(snakemake(workspace, "preflight", repository=code))

    return change


def deleted(name: str) -> Change:
    def change(workspace: Path, code: Path) -> None:
        path = workspace / "results" / RUN / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def correction(table: str, verdict: str, rows: Callable[[Path], list[dict[str, str]]]) -> Change:
    """Return what writes a correction of the first of `rows` into the workspace."""

    def change(workspace: Path, code: Path) -> None:
        row = rows(workspace)[0]
        label = "bridge" if row["label"] == "PASS" else "PASS"
        new = label if verdict == "label_wrong" else ""
        cells = (table, row["input_path"], row["object_name"], verdict, new)
        header = "table,input_path,object_name,verdict,new_label"
        path = workspace / "corrections.csv"
        path.write_text(f"{header}\n{','.join(cells)}\n", encoding="utf-8")

    return change


def rows_of(table: str) -> Callable[[Path], list[dict[str, str]]]:
    def rows(workspace: Path) -> list[dict[str, str]]:
        with (workspace / table).open(encoding="utf-8", newline="") as handle:
            return list(csv.DictReader(handle))

    return rows


def mined_in(lap: int) -> Callable[[Path], list[dict[str, str]]]:
    """Return the pool's rows that a lap of the finished run mined, and none before it."""

    def rows(workspace: Path) -> list[dict[str, str]]:
        def names(number: int) -> set[str]:
            file = f"results/{RUN}/iter{number}/mining_filter/mining_pool.csv"
            return {row["object_name"] for row in rows_of(file)(workspace)}

        new = names(lap).difference(*(names(n) for n in range(1, lap)))
        return [row for row in rows_of(POOL)(workspace) if row["object_name"] in new]

    return rows


def profile(name: str, **more: Any) -> Case:
    return nothing(
        f"the profile: `{name}`",
        setting(device=None),  # the profile's
        args=("--workflow-profile", str(REPOSITORY / "profiles" / name)),
        **more,
    )


def asked_again(name: str, rules: str) -> Case:
    """Return the case of a deleted file that is asked for: its rule runs, nothing dearer."""
    file = f"results/{RUN}/{name}"
    shown = re.sub(r"iter\d", "iter<N>", name)
    return Case(
        f"`{shown}` is deleted and asked for",
        deleted(name),
        frozenset(rules.split()),
        only=True,
        stays="everything else",
        asked=(file,),
    )


BEFORE_IT = "what stands before it in the loop"
THE_BASELINE = "the baseline's training, the pool's embeddings"

CASES = (
    nothing("a comment in any file of `scripts/`", comments, stays="training, above all"),
    nothing(
        "the code of a command line in `scripts/`",
        script_logic,
        stays="everything: see *logic* below",
    ),
    nothing(
        "the command line that a rule in `rules/` gives",
        rule_text,
        stays="everything: see *logic* below",
    ),
    nothing(
        "the code of the library, `scripts/deft/`",
        library_logic,
        stays="everything: see *logic* below",
    ),
    *(
        again(
            f"*logic*: the number of `{stage}` in `rules/logic_versions.json`",
            raised(stage),
            stage,
            never="" if stage == "train" else "restore_weights",
            most_trainings=None if stage == "train" else 2,
            stays=BEFORE_IT,
            slow=stage not in ("train", "mine", "decide"),
        )
        for stage in stages()
    ),
    nothing(
        "rows appended to `mining_pool.csv`, whatever its size",
        grow(POOL),
        stays="everything; the next run takes them",
    ),
    nothing("time stamps of the spec, of tables and pictures", time_stamps),
    nothing(
        "new pre-generated pairs, after the pool was staged",
        new_pairs,
        stays="everything; jobs that are still to come ask for the approval again, and a lap stops "
        "with `pregen_mutated`",
    ),
    again(
        "a value of the spec (`train.optim.lr`)",
        spec_value("train", "optim", "lr", times=2),
        "train",
        words=(f"{SPEC}: content changed",),
    ),
    again(
        "a row of `train/base/training_set.csv`",
        grow("train/base/training_set.csv"),
        "train",
        slow=True,
    ),
    again(
        "a row of `kpi/testing_set.csv`",
        grow("kpi/testing_set.csv"),
        "infer",
        never="restore_weights",
        most_trainings=2,
        stays="the baseline's training",
    ),
    nothing(
        "a picture under its old name",
        replaced("kpi", looked_at=False),
        stays="everything: `snakemake preflight` looks at pictures",
    ),
    again(
        "a KPI picture under its old name, and `snakemake preflight` saw it",
        replaced("kpi"),
        "infer",
        never="restore_weights",
        most_trainings=2,
        stays="the baseline's training",
        words=("1 of kpi/testing_set.csv are not those that the run began with",),
    ),
    again(
        "a training picture under its old name, and `snakemake preflight` saw it",
        replaced("base"),
        "train",
        words=("1 of train/base/training_set.csv are not those",),
    ),
    again(
        "`corrections.csv`: the label of a KPI row",
        correction("kpi", "label_wrong", rows_of("kpi/testing_set.csv")),
        "evaluate",
        never=f"train infer mine restore_weights {EMBEDDING}",
        stays="every training; laps are judged again, and stay as they were made",
        words=("corrections.csv: appeared",),
    ),
    again(
        "`corrections.csv`: the label of a pool row that lap 2 mined",
        correction("pool", "label_wrong", mined_in(2)),
        "mine",
        never=f"infer restore_weights {EMBEDDING}",
        most_trainings=1,
        stays="the baseline, lap 1, the pool's embeddings",
    ),
    again(
        "`corrections.csv`: a row of the training table is left out",
        correction("training", "leave_out", rows_of("train/base/training_set.csv")),
        "train",
    ),
    again(
        "the FAR of the KPI target",
        setting(kpi="FAR < 50% at recall=100%"),
        "decide",
        never=f"train infer mine restore_weights {EMBEDDING}",
        stays="every training; the loop ends, or goes on with further laps",
    ),
    again(
        "the recall of the KPI target",
        setting(kpi="FAR < 0.1% at recall=90%"),
        "evaluate",
        never=f"restore_weights {EMBEDDING}",
        most_trainings=2,
        stays="the baseline's training; mining and laps follow only if the weak samples differ",
    ),
    again(
        "`max_iterations` raised",
        setting(max_iterations=3),
        "decide",
        never=f"train infer mine restore_weights {EMBEDDING}",
        stays="finished laps; the next one follows",
    ),
    again(
        "`top_k_per_target`",
        setting(top_k_per_target=3),
        "mine",
        never=f"restore_weights {EMBEDDING}",
        most_trainings=2,
        stays=THE_BASELINE,
    ),
    again(
        "`min_similarity`",
        setting(min_similarity=0.5),
        "mine",
        never=f"restore_weights {EMBEDDING}",
        most_trainings=2,
        stays=THE_BASELINE,
        slow=True,
    ),
    again(
        "another `encoder`",
        setting(encoder="siglip"),
        "embed_shard embed_pool",
        never="restore_weights",
        most_trainings=2,
        stays="the baseline's training",
    ),
    again(
        "`score_views`",
        setting(score_views="turns"),
        "infer",
        never=f"restore_weights {EMBEDDING}",
        most_trainings=2,
        stays="the baseline's training; laps follow only if the weak samples differ",
    ),
    nothing("`score_views_share`", setting(score_views_share=0), slow=True),
    nothing("`embed_shard_rows`", setting(embed_shard_rows=7)),
    nothing(
        "`--set-scatter embed=2`, after the pool was embedded",
        setting(),
        args=("--set-scatter", "embed=2"),
    ),
    *(
        again(
            f"`{name}`",
            setting(**{name: value}),
            "train",
            stays="–",
            slow=name != "accumulate_steps",
        )
        for name, value in (
            ("accumulate_steps", 2),
            ("select_weights_by", "val_far"),
            ("early_stop_epochs", 3),
            ("optimizer_state", "all"),
            ("compile", "true"),
            ("seed", 1),
        )
    ),
    nothing("`device`", setting(device="cuda")),
    nothing("`embed_batch_size`", setting(embed_batch_size=8)),
    nothing("`search_memory_mb`", setting(search_memory_mb=64), slow=True),
    profile("default"),
    profile("gpu"),
    profile("slurm", needs="snakemake_executor_plugin_slurm"),
    asked_again("iter1/metrics.json", "evaluate"),
    asked_again("baseline/inference/best_val/inference.csv", "infer"),
    asked_again(f"baseline/rca_results/{RUN.removeprefix('run_')}/kpi_gaps.parquet", "rca"),
    asked_again(f"baseline/rca_results/{RUN.removeprefix('run_')}/gaps.parquet", "rca"),
    asked_again(f"iter1/routing_results/{RUN.removeprefix('run_')}/Routing_Report.md", "route"),
    asked_again("iter1/inference/latest/confusion_matrix_recall_100.png", "evaluate"),
    asked_again("synth_pool/source_pool.parquet", "stage_pool"),
    asked_again("synth_pool/source_embeddings.parquet", "embed_shard embed_pool"),
    asked_again("iter1/mining_filter/mining.json", "mine"),
    asked_again("iter2/dataset/train_combined_iter2.csv", "assemble"),
    asked_again("iter1/train/weights.json", "train"),
    asked_again("iter1/train/model_epoch_001_step_00016.pth", "restore_weights"),
    asked_again("iter1/report.html", "phase_report"),
    asked_again("best_model.json", "finish"),
)
