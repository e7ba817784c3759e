"""The table of hard stops: how each is provoked, and what a user must then read.

One row per mistake that a user (or a disk) can make. `provoke` damages a workspace and may return
configuration values; `words` must stand in the message.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import yaml
from PIL import Image
from workflow_tools import RUN, reseal

TS = RUN.removeprefix("run_")
KPI = "kpi/testing_set.csv"
BASE = "train/base/training_set.csv"
VALIDATION = "train/base/validation_set.csv"
POOL = "augmentation/mining_pool/mining_pool.csv"
PAIRS = "augmentation/anomalygen"
SPEC = "specs/baseline_spec.yaml"
ITER1 = f"results/{RUN}/iter1"
SCORES, SCORES_RECORD = (
    f"{ITER1}/inference/{name}" for name in ("latest/inference.csv", "inference.json")
)

Provoke = Callable[[Path], "dict[str, Any] | None"]


def state_is_a_list(workspace: Path) -> None:
    path = workspace / "results" / RUN / "deft_state.json"
    path.parent.mkdir(parents=True)
    path.write_text("[1, 2]")


def anchors_without_end(workspace: Path) -> None:
    lines = ["m0: &m0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"m{i}: &m{i} [{', '.join([f'*m{i - 1}'] * 10)}]" for i in range(1, 9)]
    path = workspace / SPEC
    path.write_text(path.read_text() + "\n".join(lines) + "\n")


@dataclass(frozen=True)
class Case:
    """One way to be stopped.

    `start` is `fresh` (nothing has run) or `finished`; `targets` are what Snakemake is asked for;
    `stage` is (phase, stage) of the log's error line, None where nothing is recorded; `wiped` are
    path prefixes that a failed job's declared outputs may take with them.
    """

    name: str
    provoke: Provoke
    code: str
    words: tuple[str, ...]
    start: str = "fresh"
    targets: tuple[str, ...] = ("preflight",)
    args: tuple[str, ...] = ()
    stage: tuple[str, str] | None = ("preflight", "preflight")
    wiped: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)  # of the fresh workspace

    @property
    def is_second_example(self) -> bool:
        """Whether its check has another case already: such cases are left to the slow suite."""
        return self.name in SECOND_EXAMPLES


def rows_of(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return header and rows of a table."""
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        return list(reader.fieldnames or []), list(reader)


def write_rows(path: Path, header: list[str], rows: list[dict[str, str]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, header, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def set_cell(workspace: Path, table: str, row: int, column: str, value: str) -> None:
    """Change one cell; `row` is the line in the file, the header being 1."""
    header, rows = rows_of(workspace / table)
    rows[row - 2][column] = value
    write_rows(workspace / table, header, rows)


def picture_of(workspace: Path, table: str, row: int, column: str, root: str) -> Path:
    """Return the picture of a row."""
    _, rows = rows_of(workspace / table)
    entry = rows[row - 2]
    folder = workspace / root / entry[column]
    folder = folder.parent if folder.suffix in (".png", ".jpg") else folder
    return next(folder.glob(f"{entry['object_name']}_*"))


def change_spec(workspace: Path, **dotted: Any) -> None:
    """Set values of the spec; `train__num_epochs=3` sets `train.num_epochs`."""
    path = workspace / SPEC
    spec = yaml.safe_load(path.read_text())
    for name, value in dotted.items():
        *parents, last = name.split("__")
        node = spec
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    path.write_text(yaml.safe_dump(spec, sort_keys=False))


# --- pictures and weights: how each is provoked -------------------------------------------------


def deep_picture(workspace: Path) -> None:
    picture = picture_of(workspace, KPI, 3, "input_path", "kpi/images")
    Image.new("I;16", (32, 32), 4000).save(picture)


def turned_picture(workspace: Path) -> None:
    picture = picture_of(workspace, BASE, 4, "golden_path", "kpi/images")
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(picture) as upright:
        upright.load()
    upright.save(picture, exif=exif)


def upper_case_endings(workspace: Path) -> None:
    for picture in list((workspace / "kpi/images/kpi").rglob("*.png")):
        picture.rename(picture.with_suffix(".PNG"))


def pointer_for_weights(workspace: Path) -> None:
    path = workspace / "augmentation/backbone/tiny.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 345678\n")
    change_spec(
        workspace, model__backbone__pretrained_backbone_path=str(path.relative_to(workspace))
    )


def weights_of_another_network(workspace: Path) -> None:
    import timm
    import torch

    path = workspace / "augmentation/backbone/other.pth"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    change_spec(
        workspace, model__backbone__pretrained_backbone_path=str(path.relative_to(workspace))
    )


# --- how each is provoked -----------------------------------------------------------------------


def missing_golden(workspace: Path) -> None:
    picture_of(workspace, KPI, 3, "golden_path", "kpi/images").unlink()


def zero_bytes(workspace: Path) -> None:
    picture_of(workspace, BASE, 4, "input_path", "kpi/images").write_bytes(b"")


def truncated_jpeg(workspace: Path) -> None:
    picture = picture_of(workspace, KPI, 2, "input_path", "kpi/images")
    data = picture.read_bytes()
    picture.write_bytes(data[: len(data) // 2])


def text_as_picture(workspace: Path) -> None:
    picture_of(workspace, POOL, 5, "input_path", "augmentation/mining_pool").write_text(
        "no picture"
    )


def broken_pair(workspace: Path) -> None:
    first = min((workspace / PAIRS / "reconstructed_image").iterdir())
    first.write_bytes(first.read_bytes()[:60])


def no_golden_column(workspace: Path) -> None:
    header, rows = rows_of(workspace / BASE)
    write_rows(workspace / BASE, [c for c in header if c != "golden_path"], rows)


def lower_case_pass(workspace: Path) -> None:
    set_cell(workspace, VALIDATION, 3, "label", "pass")


def empty_cell(workspace: Path) -> None:
    set_cell(workspace, KPI, 4, "object_name", "")


def ragged_row(workspace: Path) -> None:
    with (workspace / BASE).open("a") as handle:
        handle.write("base/base0,golden/base0,PASS\n")


def latin_table(workspace: Path) -> None:
    (workspace / POOL).write_bytes((workspace / POOL).read_bytes() + "é".encode("latin-1"))


def no_table(workspace: Path) -> None:
    (workspace / VALIDATION).unlink()


def no_spec(workspace: Path) -> None:
    (workspace / SPEC).unlink()


def no_workspace(workspace: Path) -> dict[str, Any]:
    return {"workspace": str(workspace / "nowhere")}


def all_pass(workspace: Path) -> None:
    header, rows = rows_of(workspace / KPI)
    write_rows(workspace / KPI, header, [{**r, "label": "PASS"} for r in rows])


def all_defective(workspace: Path) -> None:
    header, rows = rows_of(workspace / KPI)
    write_rows(workspace / KPI, header, [{**r, "label": "bridge"} for r in rows])


def vague_goal(_: Path) -> dict[str, Any]:
    return {"kpi": "as good as possible"}


def foreign_clause(_: Path) -> dict[str, Any]:
    return {"kpi": "FAR < 1% at recall=100% and FNR<1%"}


def goal_without_units(_: Path) -> dict[str, Any]:
    return {"kpi": "FAR < 0.001 at recall=100%"}


def decimal_epochs(_: Path) -> dict[str, Any]:
    return {"training_epochs": "1.0"}


def command_for_a_run(workspace: Path) -> dict[str, Any]:
    (workspace / "results").mkdir(exist_ok=True)
    (workspace / "results/current_run").write_text("run_a; touch x #")
    return {"run": None}


def only_run_b(workspace: Path) -> dict[str, Any]:
    (workspace / "results/run_b").mkdir(parents=True)
    return {"run": None}


def no_pairs_folder(workspace: Path) -> None:
    shutil.rmtree(workspace / PAIRS / "original_image")


def empty_pairs(workspace: Path) -> None:
    for file in (workspace / PAIRS / "reconstructed_image").iterdir():
        file.unlink()


def lonely_pair(workspace: Path) -> None:
    min((workspace / PAIRS / "original_image").iterdir()).unlink()


def wrong_counts(workspace: Path) -> None:
    path = workspace / PAIRS / "defect_spec.jsonl"
    path.write_text(json.dumps({"defect_type": "bridge", "count": 7}) + "\n")


def no_pool(workspace: Path) -> None:
    (workspace / POOL).unlink()


def empty_pool(workspace: Path) -> None:
    header, _ = rows_of(workspace / POOL)
    write_rows(workspace / POOL, header, [])


def validation_row_in_pool(workspace: Path) -> None:
    """The same part, same picture, as the pool would hold it."""
    header, pool = rows_of(workspace / POOL)
    _, rows = rows_of(workspace / VALIDATION)
    row = rows[0]
    source = picture_of(workspace, VALIDATION, 2, "input_path", "kpi/images")
    shutil.copy(source, workspace / "augmentation/mining_pool/images" / source.name)
    entry = {**row, "input_path": f"images/{source.name}"}
    write_rows(workspace / POOL, header, [*pool, entry])


def kpi_row_in_training(workspace: Path) -> None:
    header, base = rows_of(workspace / BASE)
    _, rows = rows_of(workspace / KPI)
    write_rows(workspace / BASE, header, [*base, rows[1]])


def kpi_picture_under_another_name(workspace: Path) -> None:
    source = picture_of(workspace, KPI, 2, "input_path", "kpi/images")
    target = picture_of(workspace, POOL, 4, "input_path", "augmentation/mining_pool")
    with Image.open(source) as picture:
        picture.save(target, compress_level=1)  # other bytes, the same pixels


def path_upwards(workspace: Path) -> None:
    set_cell(workspace, KPI, 2, "input_path", "../../../../etc")


def link_outside(workspace: Path) -> None:
    outside = workspace.with_name("elsewhere.png")
    picture = picture_of(workspace, BASE, 2, "input_path", "kpi/images")
    shutil.move(picture, outside)
    picture.symlink_to(outside)


def unknown_key(_: Path) -> dict[str, Any]:
    return {"max_iteration": 3}


def wrong_type(_: Path) -> dict[str, Any]:
    return {"top_k_per_target": "many"}


def automl_in_configuration(_: Path) -> dict[str, Any]:
    return {"automl_policy": "on"}


def automl_in_spec(workspace: Path) -> None:
    change_spec(workspace, automl_policy="on")


def unknown_spec_key(workspace: Path) -> None:
    change_spec(workspace, train__num_epoch=3)


def long_interval(workspace: Path) -> None:
    change_spec(workspace, train__checkpoint_interval=30)


def other_network(workspace: Path) -> None:
    change_spec(workspace, model__backbone__type="resnet_of_the_future")


def nothing(_: Path) -> dict[str, Any]:
    return {"approve": "false"}


def changed_after_approval(_: Path) -> dict[str, Any]:
    return {"approve": "false", "top_k_per_target": 3}


def nan_score(workspace: Path) -> None:
    set_cell(workspace, SCORES, 5, "siamese_score", "nan")
    reseal(workspace / SCORES, workspace / SCORES_RECORD)


def no_score_column(workspace: Path) -> None:
    path = workspace / SCORES
    header, rows = rows_of(path)
    write_rows(path, [c for c in header if c != "siamese_score"], rows)
    reseal(path, workspace / SCORES_RECORD)


def edited_score(workspace: Path) -> None:
    """As many rows and all of them sound: only the record's digest tells it."""
    set_cell(workspace, SCORES, 5, "siamese_score", "0.25")


def pairs_replaced(workspace: Path) -> None:
    """As many files of the same names, other content."""
    folder = workspace / PAIRS / "reconstructed_image"
    first, second, *_ = sorted(folder.iterdir())
    second.write_bytes(first.read_bytes())


def pair_recoloured(workspace: Path) -> None:
    """A file of the very same size: no listing shows it, its bytes do."""
    first = min((workspace / PAIRS / "reconstructed_image").iterdir())
    data = bytearray(first.read_bytes())
    data[-20] ^= 1
    first.write_bytes(bytes(data))


def other_encoder(workspace: Path) -> None:
    path = workspace / "results" / RUN / "synth_pool/source_embeddings.parquet"
    table = pq.read_table(path)
    meta = {
        k: v.replace(b'"digest": "', b'"digest": "00') for k, v in table.schema.metadata.items()
    }
    pq.write_table(table.replace_schema_metadata(meta), path)
    reseal(path, path.with_suffix(".json"))


def unknown_defect(workspace: Path) -> dict[str, Any]:
    """A weak sample whose label neither the pool nor AnomalyGen knows."""
    path = workspace / f"results/{RUN}/baseline/rca_results/{TS}/kpi_gaps.parquet"
    gaps = pd.read_parquet(path)
    gaps["label"] = gaps["label"].where(gaps.index != gaps.index[-1], "scratch")
    gaps.to_parquet(path)
    reseal(path, path.with_name("metrics.json"))
    return {"routing": "by_label"}


def rows_lost(workspace: Path) -> None:
    """Rows of a lap's training table vanish after it was assembled."""
    path = workspace / ITER1 / "dataset/train_combined_iter1.csv"
    header, rows = rows_of(path)
    write_rows(path, header, rows[:-3])


def other_weights(workspace: Path) -> None:
    """The deleted file was another than a repeated training gives."""
    path = workspace / "results" / RUN / "baseline/train/weights.json"
    facts = json.loads(path.read_text())
    facts["files"][0]["sha256"] = "0" * 64
    path.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    (path.parent / facts["files"][0]["path"]).unlink()


def weights_swapped(workspace: Path) -> None:
    folder = workspace / ITER1 / "train"
    first, second = sorted(folder.glob("*.pth"))
    shutil.copyfile(first, second)


def picture_vanished(workspace: Path) -> None:
    """After the pre-flight, before the training is paid for."""
    facts = workspace / ITER1 / "mining_filter/mining_pool.csv"
    header, rows = rows_of(facts)
    entry = next(r for r in rows if r["provenance"] == "real")
    next((workspace / entry["input_path"]).glob(f"{entry['object_name']}_*")).unlink()


# What later stages would stop at, asked before the gate.


def large_batch(workspace: Path) -> None:
    change_spec(workspace, dataset__classify__batch_size=32)


def only_good_training_parts(workspace: Path) -> None:
    header, rows = rows_of(workspace / BASE)
    write_rows(workspace / BASE, header, [{**r, "label": "PASS"} for r in rows])


def scored_kpi_table(workspace: Path) -> None:
    header, rows = rows_of(workspace / KPI)
    write_rows(
        workspace / KPI, [*header, "siamese_score"], [{**r, "siamese_score": "0.5"} for r in rows]
    )


def label_without_route(workspace: Path) -> dict[str, Any]:
    header, rows = rows_of(workspace / KPI)
    write_rows(workspace / KPI, header, [{**rows[0], "label": "tombstone"}, *rows[1:]])
    return {"routing": "by_label"}


def foreign_artifacts(workspace: Path) -> None:
    (workspace / "artifacts").write_text("somebody's notes")


def foreign_results(workspace: Path) -> None:
    (workspace / "results").write_text("somebody's notes")


def linked_run(workspace: Path) -> None:
    outside = workspace.with_name("elsewhere")
    outside.mkdir()
    (workspace / "results").mkdir()
    (workspace / "results" / RUN).symlink_to(outside)


def first_weights() -> str:
    """The baseline's first weight file: 24 rows in batches of four."""
    return f"results/{RUN}/baseline/train/model_epoch_000_step_00006.pth"


LAP_MINED = f"{ITER1}/mining_filter/mining.json"


def stray_quote(workspace: Path) -> None:
    lines = (workspace / KPI).read_text().split("\n")
    lines[3] = lines[3][:-1] + '"0402,'
    (workspace / KPI).write_text("\n".join(lines))


def semicolons(workspace: Path) -> None:
    (workspace / BASE).write_text((workspace / BASE).read_text().replace(",", ";"))


def lone_return(workspace: Path) -> None:
    lines = (workspace / KPI).read_text().split("\n")
    lines[2] = lines[2] + "a\rb"
    (workspace / KPI).write_bytes("\n".join(lines).encode())


def zero_width(workspace: Path) -> None:
    text = (workspace / POOL).read_text()
    (workspace / POOL).write_text(text.replace(",bridge,", ",bri\u200bdge,", 1))


def cyrillic_pass(workspace: Path) -> None:
    text = (workspace / BASE).read_text()
    (workspace / BASE).write_text(text.replace(",PASS,", ",P\u0410SS,", 1))


def two_labels(workspace: Path) -> None:
    text = (workspace / KPI).read_text()
    first = text.split("\n")[1]
    (workspace / KPI).write_text(text + first.replace(",bridge,", ",PASS,") + "\n")


def twin_pictures(workspace: Path) -> None:
    folder = workspace / "kpi/images/kpi"
    names = [f"kpi{i % 2}/C{2000 + i}@1_SolderLight.png" for i in (0, 1)]
    shutil.copyfile(folder / names[0], folder / names[1])


def pass_pair(workspace: Path) -> None:
    for side in ("reconstructed_image", "original_image"):
        picture = workspace / PAIRS / side / "B000+bridge_0.png"
        picture.rename(picture.with_name("B000+pass_0.png"))


def count_in_words(workspace: Path) -> None:
    line = {"defect_type": "bridge", "count": "two"}
    (workspace / PAIRS / "defect_spec.jsonl").write_text(json.dumps(line) + "\n")


CASES = (
    Case(
        "missing golden picture", missing_golden, "missing_input", ("golden picture", KPI, "row 3")
    ),
    Case("no validation table", no_table, "missing_input", ("does not exist", VALIDATION)),
    Case("no spec", no_spec, "missing_input", (SPEC,)),
    Case("no workspace", no_workspace, "missing_input", ("nowhere", "workspace="), stage=None),
    Case("picture of zero bytes", zero_bytes, "image_invalid", (BASE, "row 4")),
    Case(
        "truncated JPEG",
        truncated_jpeg,
        "image_invalid",
        (KPI, "row 2"),
        options={"ext": ".jpg"},
    ),
    # Pictures and weights.
    Case(
        "picture of 16 bits",
        deep_picture,
        "image_invalid",
        ("mode I;16", "largest level 4000", "picture_levels", KPI, "row 3"),
    ),
    Case("turned picture", turned_picture, "image_invalid", ("orientation 6", BASE, "row 4")),
    Case(
        "endings in upper case",
        upper_case_endings,
        "missing_input",
        ("likely cause", "the files end in .PNG", KPI),
    ),
    Case(
        "pointer in place of weights",
        pointer_for_weights,
        "spec_invalid",
        ("Git LFS pointer", "tiny.safetensors", "git lfs pull"),
    ),
    Case(
        "weights of another network",
        weights_of_another_network,
        "spec_invalid",
        ("missing (stem.0.weight", "extra (conv1.0.weight", "other.pth"),
    ),
    Case("text file named .png", text_as_picture, "image_invalid", (POOL, "row 5")),
    Case("truncated pre-generated picture", broken_pair, "image_invalid", (PAIRS,)),
    Case("no golden_path column", no_golden_column, "csv_invalid", ("golden_path", BASE, "row 1")),
    Case("label pass", lower_case_pass, "csv_invalid", ("'pass'", VALIDATION, "row 3")),
    Case("empty object_name", empty_cell, "csv_invalid", ("object_name", KPI, "row 4")),
    Case("row with three cells", ragged_row, "csv_invalid", ("cells", BASE, "row 8")),
    Case("table not UTF-8", latin_table, "csv_invalid", ("UTF-8", POOL)),
    Case("KPI set without NG", all_pass, "kpi_invalid", ("no NG", KPI)),
    Case("KPI set without PASS", all_defective, "kpi_invalid", ("no PASS", KPI)),
    Case("goal without a number", vague_goal, "kpi_invalid", ("as good as possible",), stage=None),
    # Tables, labels and pre-generated folders as people really have them.
    Case("stray quotation mark", stray_quote, "csv_invalid", ("line 4", "does not close", KPI)),
    Case("separated by semicolons", semicolons, "csv_invalid", ("separated by ';'", BASE)),
    Case(
        "carriage return in a cell", lone_return, "csv_invalid", ("carriage return", KPI, "row 3")
    ),
    Case("invisible character in a label", zero_width, "csv_invalid", ("U+200B", POOL, "row 2")),
    Case("PASS in other letters", cyrillic_pass, "csv_invalid", ("looks like PASS", BASE, "row 3")),
    Case("one part, two labels", two_labels, "csv_invalid", ("bridge, PASS", KPI, "rows 2, ")),
    Case("equal KPI pictures, two labels", twin_pictures, "csv_invalid", ("equal pixels", KPI)),
    Case("pre-generated pair named pass", pass_pair, "csv_invalid", ("'pass'", "+pass_0.png")),
    Case("defect_spec.jsonl counts in words", count_in_words, "csv_invalid", ('"two"', "line 1")),
    # What people write: the target's sentence, settings, runs.
    Case("goal with a second clause", foreign_clause, "kpi_invalid", ("'and FNR<1%'",), stage=None),
    Case(
        "goal without units", goal_without_units, "kpi_invalid", ("0.1 % or 0.001 %",), stage=None
    ),
    Case("decimal number of epochs", decimal_epochs, "config_invalid", ("write 1",), stage=None),
    Case(
        "a command in results/current_run",
        command_for_a_run,
        "config_invalid",
        ("'run_a; touch x #'", "results/current_run"),
        stage=None,
    ),
    Case(
        "target of a run that is not there",
        only_run_b,
        "missing_input",
        ("no run run_x; there is run_b",),
        targets=("results/run_x/iter1/metrics.json",),
        stage=None,
    ),
    Case("no pre-generated folder", no_pairs_folder, "pregen_missing", ("original_image",)),
    Case("empty pre-generated folder", empty_pairs, "pregen_empty", ("reconstructed_image",)),
    Case(
        "pre-generated picture without partner", lonely_pair, "pregen_unpaired", ("B000+bridge_0",)
    ),
    Case("defect_spec.jsonl miscounts", wrong_counts, "allocation_mismatch", ("bridge", "7", "1")),
    Case("no mining pool", no_pool, "pool_missing", (POOL,)),
    Case("empty mining pool", empty_pool, "pool_empty", (POOL,)),
    Case("validation row in the pool", validation_row_in_pool, "leakage", (POOL, "row 8")),
    Case("KPI row in the training table", kpi_row_in_training, "leakage", (BASE, "row 8")),
    Case(
        "KPI picture in the pool under another name",
        kpi_picture_under_another_name,
        "leakage",
        (POOL, "row 4"),
    ),
    Case("input_path with ..", path_upwards, "path_escape", ("etc", KPI, "row 2")),
    Case("picture linked to outside", link_outside, "path_escape", (BASE, "row 2")),
    Case(
        "unknown configuration key",
        unknown_key,
        "config_invalid",
        ("'max_iteration'", "'max_iterations'"),
        stage=None,
    ),
    Case("text for a number", wrong_type, "config_invalid", ("top_k_per_target",), stage=None),
    Case(
        "AutoML in the configuration",
        automl_in_configuration,
        "config_invalid",
        ("automl_policy",),
        stage=None,
    ),
    Case("AutoML in the spec", automl_in_spec, "spec_invalid", ("automl_policy", SPEC)),
    Case("unknown key in the spec", unknown_spec_key, "spec_invalid", ("num_epoch", SPEC)),
    Case("unknown backbone", other_network, "spec_invalid", ("resnet_of_the_future", SPEC)),
    Case(
        "checkpoint_interval beyond num_epochs",
        long_interval,
        "spec_invalid",
        ("checkpoint_interval 30", "2 epochs of this run", SPEC),
    ),
    # Before the gate, although only a later stage would need it.
    Case("batch size above the training rows", large_batch, "spec_invalid", ("32", "6", SPEC)),
    Case(
        "training table of good parts only",
        only_good_training_parts,
        "csv_invalid",
        ("only good", BASE),
    ),
    Case(
        "KPI table that has scores",
        scored_kpi_table,
        "csv_invalid",
        ("siamese_score", KPI, "row 1"),
    ),
    Case(
        "KPI label that by_label would drop",
        label_without_route,
        "silent_drop",
        ("TOMBSTONE", "allow_unrouted"),
    ),
    Case(
        "a file named artifacts", foreign_artifacts, "config_invalid", ("artifacts", "move it away")
    ),
    Case(
        "a file named results", foreign_results, "config_invalid", ("results", "folder"), stage=None
    ),
    Case("run folder linked to outside", linked_run, "path_escape", ("elsewhere", RUN), stage=None),
    Case(
        "no approval",
        nothing,
        "approval_missing",
        ("not approved", "snakemake approve"),
        targets=(),
        stage=None,
    ),
    Case(
        "parameter changed after the approval",
        changed_after_approval,
        "approval_missing",
        ("top_k_per_target: 2 → 3", "snakemake approve"),
        start="finished",
        targets=(),
        stage=None,
    ),
    Case(
        "score NaN",
        nan_score,
        "score_invalid",
        ("iter1/inference/latest/inference.csv", "row 5"),
        start="finished",
        targets=(f"{ITER1}/metrics.json",),
        args=("-f",),
        stage=("iter1", "evaluate"),
        wiped=(f"{ITER1}/metrics.json", f"{ITER1}/inference/"),
    ),
    Case(
        "inference table without scores",
        no_score_column,
        "csv_invalid",
        ("siamese_score", "iter1/inference/latest/inference.csv"),
        start="finished",
        targets=(f"{ITER1}/metrics.json",),
        args=("-f",),
        stage=("iter1", "evaluate"),
        wiped=(f"{ITER1}/metrics.json", f"{ITER1}/inference/"),
    ),
    Case(
        "score changed after the inference",
        edited_score,
        "csv_invalid",
        ("not the file that inference.json speaks of", f"snakemake {SCORES}"),
        start="finished",
        targets=(f"{ITER1}/metrics.json",),
        args=("-f",),
        stage=("iter1", "evaluate"),
        wiped=(f"{ITER1}/metrics.json", f"{ITER1}/inference/"),
    ),
    Case(
        "rows lost from a training table of the run",
        rows_lost,
        "silent_drop",
        ("train_combined_iter1.csv has", "assembly.json speaks of"),
        start="finished",
        targets=(f"{ITER1}/dataset/validation.json",),
        args=("-f",),
        stage=("iter1", "data_merge"),
        wiped=(f"{ITER1}/dataset/validation.json",),
    ),
    Case(
        "pre-generated pictures replaced during a run",
        pairs_replaced,
        "pregen_mutated",
        (PAIRS,),
        start="finished",
        targets=(f"{ITER1}/anomalygen/ingest_summary.json",),
        args=("-f",),
    ),
    Case(
        "pre-generated picture changed in one byte during a run",
        pair_recoloured,
        "pregen_mutated",
        (PAIRS,),
        start="finished",
        targets=(f"{ITER1}/anomalygen/ingest_summary.json",),
        args=("-f",),
        stage=("iter1", "anomalygen"),
        wiped=(f"{ITER1}/anomalygen/",),
    ),
    Case(
        "pool embedded by another encoder",
        other_encoder,
        "encoder_mismatch",
        ("source_embeddings.parquet",),
        start="finished",
        targets=(LAP_MINED,),
        args=("-f",),
        stage=("iter1", "data_mining"),
        wiped=(f"{ITER1}/mining_filter/",),
    ),
    Case(
        "weak label that goes nowhere",
        unknown_defect,
        "silent_drop",
        ("SCRATCH", "allow_unrouted"),
        start="finished",
        targets=(f"{ITER1}/routing_results/{TS}/mining_gaps.parquet",),
        args=("-f",),
        stage=("iter1", "routing"),
        wiped=(f"{ITER1}/routing_results/",),
    ),
    Case(
        "repeated training gives other weights",
        other_weights,
        "no_new_checkpoint",
        ("other bytes", "model_epoch_000_step_00006.pth"),
        start="finished",
        targets=(first_weights(),),
        stage=None,
        wiped=(first_weights(),),
    ),
    Case(
        "weight file replaced",
        weights_swapped,
        "missing_input",
        ("SHA-256", f"{ITER1}/train/model_epoch_001"),
        start="finished",
        targets=(f"{ITER1}/inference/inference.json",),
        args=("-f",),
        stage=("iter1", "inference"),
        wiped=(f"{ITER1}/inference/",),
    ),
    Case(
        "mined picture vanished before the training",
        picture_vanished,
        "missing_input",
        ("train_combined_iter1.csv", "row"),
        start="finished",
        targets=(f"{ITER1}/dataset/validation.json",),
        args=("-f",),
        stage=("iter1", "data_merge"),
        wiped=(f"{ITER1}/dataset/validation.json",),
    ),
    # What a crash or another program made of a file.
    Case(
        "pre-seeded state that is a list",
        state_is_a_list,
        "missing_input",
        ("not a state of this loop", "a list, not an object", "deft_state.json"),
        stage=None,
    ),
    Case(
        "spec whose anchors multiply",
        anchors_without_end,
        "spec_invalid",
        ("20000 values", "written out"),
    ),
)
SECOND_EXAMPLES = frozenset(
    {
        "no validation table",
        "no spec",
        "text file named .png",
        "truncated pre-generated picture",
        "empty object_name",
        "row with three cells",
        "table not UTF-8",
        "KPI set without PASS",
        "KPI row in the training table",
        "text for a number",
        "goal without units",
        "decimal number of epochs",
        "unknown key in the spec",
        "inference table without scores",
        "score changed after the inference",
        "weight file replaced",
        "pre-generated pictures replaced during a run",
        "carriage return in a cell",
        "separated by semicolons",
        "PASS in other letters",
        "equal KPI pictures, two labels",
        "defect_spec.jsonl counts in words",
        "training table of good parts only",
        "KPI table that has scores",
        "KPI label that by_label would drop",
        "a file named artifacts",
        "run folder linked to outside",
    }
)
