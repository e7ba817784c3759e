"""What later stages would stop at is a stop of the pre-flight: each asked of its check alone."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from PIL import Image
from tiny_workspace import make_tiny_workspace

from deft.changenet.spec import load_spec
from deft.core import places
from deft.core.errors import HardStop
from deft.core.layout import BASE_TABLE, KPI_TABLE, SPEC, Run
from deft.pool.source_pool import _stage
from deft.preflight import (
    checks_places,
    checks_rehearsal,
    checks_staging_names,
    checks_training,
)
from deft.preflight.check import TABLES, Context
from deft.settings.config import resolve
from deft.tables.changenet_table import read_table
from deft.tables.coordinates import base_rows, pool_rows

SIZES = {"base": 6, "validation": 3, "kpi": 6, "pool": 6, "pregen": 2}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """One sound workspace; tests change what was read of it, not its files."""
    return make_tiny_workspace(tmp_path_factory.mktemp("w") / "w", **SIZES)


def context(workspace: Path, *, spec: dict | None = None, **config) -> Context:
    """Return what the checks see of a workspace; ``spec``: dotted keys to change."""
    settings = resolve({"encoder": "changenet", "device": "cpu", **config})
    ctx = Context(workspace, workspace / "results/run_a", settings, {}, print)
    path = workspace / SPEC
    if spec:
        data = yaml.safe_load(path.read_text())
        for dotted, value in spec.items():
            *parents, last = dotted.split(".")
            node = data
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
        path = workspace.with_name("changed_spec.yaml")
        path.write_text(yaml.safe_dump(data))
    ctx.spec = load_spec(path, engine=settings["engine"])
    ctx.facts["num_epochs"] = (2, "spec")
    for name, table in TABLES.items():
        rows = pool_rows if name == "pool" else base_rows
        ctx.tables[name] = rows(read_table(workspace / table), workspace)
        ctx.sound.add(name)
    return ctx


def stop_of(checks, id: str) -> HardStop:
    """Return the one stop, which must be this check's."""
    found = [check for check in checks if check.stop is not None]
    assert [check.id for check in found] == [id], [(c.id, c.evidence) for c in found]
    return found[0].stop


def test_a_sound_workspace_has_no_stop(drawn: Path) -> None:
    ctx = context(drawn)
    for topic in (checks_training, checks_places, checks_rehearsal):
        assert {c.status for c in topic.checks(ctx)} == {"ok"}


def test_a_batch_above_the_training_rows(drawn: Path) -> None:
    ctx = context(drawn, spec={"dataset.classify.batch_size": 7})
    stop = stop_of(checks_training.checks(ctx), "trainable")
    assert stop.code == "spec_invalid" and "to 6 or less" in stop.fix
    # Each process has a batch of its own.
    ctx = context(drawn, spec={"dataset.classify.batch_size": 4, "train.num_gpus": 2})
    stop = stop_of(checks_training.checks(ctx), "trainable")
    assert "on each of 2 processes" in stop.message and "to 3 or less" in stop.fix


@pytest.mark.parametrize("label", ["PASS", "bridge"])
def test_a_training_table_of_one_kind(drawn: Path, label: str) -> None:
    ctx = context(drawn)
    ctx.tables["base"] = ctx.tables["base"].assign(label=label)
    stop = stop_of(checks_training.checks(ctx), "trainable")
    assert stop.code == "csv_invalid" and stop.file.endswith(BASE_TABLE)


def test_a_validation_table_of_one_kind_where_its_far_decides(drawn: Path) -> None:
    ctx = context(drawn)
    ctx.tables["validation"] = ctx.tables["validation"].assign(label="PASS")
    assert not [c for c in checks_training.checks(ctx) if c.stop]
    ctx.config["select_weights_by"] = "val_far"
    assert stop_of(checks_training.checks(ctx), "validation_rows").code == "csv_invalid"


@pytest.mark.parametrize("name", ["siamese_score", "Siamese_Score "])
def test_a_kpi_table_that_has_scores(drawn: Path, name: str) -> None:
    ctx = context(drawn)
    ctx.tables["kpi"] = ctx.tables["kpi"].assign(**{name: "0.5"})
    stop = stop_of(checks_training.checks(ctx), "score_column")
    assert (stop.code, stop.rows) == ("csv_invalid", [1]) and stop.file.endswith(KPI_TABLE)


def test_a_label_that_by_label_routing_would_drop(drawn: Path) -> None:
    ctx = context(drawn, routing="by_label")
    kpi = ctx.tables["kpi"]
    ctx.tables["kpi"] = kpi.assign(label=["tombstone", *kpi["label"][1:]])
    stop = stop_of(checks_training.checks(ctx), "routing")
    assert stop.code == "silent_drop" and "TOMBSTONE" in stop.message
    ctx.config["allow_unrouted"] = ["Tombstone"]
    assert not [c for c in checks_training.checks(ctx) if c.stop]


def test_goldens_beyond_the_sample_are_looked_for(drawn: Path) -> None:
    ctx = context(drawn, preflight_sample_rows=2)
    ctx.tables["pool"].loc[4, "golden_path"] = "kpi/images/nowhere"
    stop = stop_of(checks_training.checks(ctx), "goldens")
    assert stop.code == "missing_input" and stop.rows == [6]


def test_too_few_goldens_in_a_folder(drawn: Path) -> None:
    ctx = context(drawn)
    ctx.spec.dataset.classify.num_golden = 50
    stop = stop_of(checks_training.checks(ctx), "goldens")
    assert stop.code == "csv_invalid" and "num_golden is 50" in stop.message


def test_what_tao_reads_otherwise(drawn: Path, tmp_path: Path) -> None:
    workspace = make_tiny_workspace(tmp_path / "w", **SIZES)
    text = (workspace / KPI_TABLE).read_text()
    table = pd.read_csv(workspace / KPI_TABLE, dtype=str, keep_default_na=False)
    ctx = context(workspace, engine="tao", device="auto")
    assert not [c for c in checks_training.checks(ctx) if c.stop]
    table.assign(label=["NA", *table["label"][1:]]).to_csv(workspace / KPI_TABLE, index=False)
    stop = stop_of(checks_training.checks(ctx), "tao_cells")
    assert stop.rows == [2] and "'NA'" in stop.message
    table.assign(input_path="007").to_csv(workspace / KPI_TABLE, index=False)
    assert "digits alone" in stop_of(checks_training.checks(ctx), "tao_cells").message
    (workspace / KPI_TABLE).write_text(text)
    ctx.spec.dataset.classify.batch_size = 6
    ctx.tables["kpi"] = ctx.tables["kpi"].iloc[:3]
    assert stop_of(checks_training.checks(ctx), "tao_rows").code == "spec_invalid"


def part(stem: str, suffix: str = ".png") -> SimpleNamespace:
    return SimpleNamespace(stem=stem, ng={"": Path(f"{stem}{suffix}")})


def test_names_that_staging_makes(drawn: Path) -> None:
    ctx = context(drawn)
    ctx.pairs, ctx.parts = [], [part("a"), part("焊" * 80)]
    # 240 bytes and _SolderLight.png: too long, though only 96 characters.
    stop = stop_of(checks_staging_names.checks(ctx), "staged_names")
    assert "256 bytes" in stop.message
    ctx.parts = [part("a"), part("b")]
    assert [c.status for c in checks_staging_names.checks(ctx)] == ["ok"]


def test_a_type_of_picture_that_cannot_be_written(drawn: Path) -> None:
    ctx = context(drawn)
    ctx.parts, ctx.pairs = [part("a", ".jpg")], [(Path("a.jpg"), Path("a.jpg"))]
    ctx.spec.dataset.classify.image_ext = ".dat"
    stop = stop_of(checks_staging_names.checks(ctx), "staged_names")
    assert stop.code == "spec_invalid" and "'.dat'" in stop.message


def test_a_picture_too_long_for_the_type_that_it_becomes(drawn: Path, tmp_path: Path) -> None:
    pair = (tmp_path / "a.png", tmp_path / "b.png")
    for path, width in zip(pair, (8, 65_501), strict=True):
        Image.new("L", (width, 1)).save(path)
    ctx = context(drawn)
    ctx.parts, ctx.pairs = [part("a")], [pair]
    ctx.spec.dataset.classify.image_ext = ".jpg"
    stop = stop_of(checks_staging_names.checks(ctx), "staged_names")
    assert stop.code == "image_invalid" and "65501 x 1 px" in stop.message
    assert stop.file == str(pair[1])
    with pytest.raises(HardStop, match="65501 x 1 px"):  # what staging would stop at
        _stage(pair[1], tmp_path / "out.jpg", None)
    Image.new("L", (65_500, 1)).save(pair[1])
    assert [c.status for c in checks_staging_names.checks(ctx)] == ["ok"]
    _stage(pair[1], tmp_path / "out.jpg", None)


def test_a_step_that_the_network_cannot_make(drawn: Path, monkeypatch) -> None:
    from deft.changenet import model

    ctx = context(drawn)

    class OnePlace(model.ChangeNet):
        """A network with a norm over one value a channel: it scores, but never trains."""

        def forward(self, test, golden):
            import torch

            norm = torch.nn.BatchNorm1d(3)
            return norm(test.mean((2, 3))[:1]) + super().forward(test, golden).sum()

    monkeypatch.setattr(model, "ChangeNet", OnePlace)
    stop = stop_of(checks_rehearsal.checks(ctx), "training_step")
    assert stop.code == "spec_invalid" and "more than 1 value per channel" in stop.message


def test_numbers_that_are_not_finite(drawn: Path) -> None:
    ctx = context(drawn)
    ctx.spec.dataset.classify.augmentation_config.rgb_input_std = [0.0, 0.2, 0.2]
    assert stop_of(checks_rehearsal.checks(ctx), "loader").code == "spec_invalid"


# --- places --------------------------------------------------------------------------------------


def taken(workspace: Path) -> list[tuple[str, str]]:
    """Return (code, place) of each stop."""
    ctx = SimpleNamespace(
        workspace=workspace, run_dir=workspace / "results/run_a", config={"max_iterations": 2}
    )
    stops = [c.stop for c in checks_places.checks(ctx) if c.stop]
    return [(s.code, str(Path(s.file).relative_to(workspace))) for s in stops]


@pytest.mark.parametrize(
    "place",
    ["artifacts", "artifacts/runs", "knowledge_base", "knowledge_base/data", "results/run_a/logs",
     "results/run_a/iter2/mining_filter", "results/run_a/baseline", "results/run_a/best_model"],
)  # fmt: skip
def test_a_file_where_a_folder_goes(tmp_path: Path, place: str) -> None:
    assert taken(tmp_path) == []
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("foreign")
    assert taken(tmp_path) == [("config_invalid", place)]


@pytest.mark.parametrize(
    "place",
    ["results/current_run", "results/run_a/best_model.json", "results/run_a/iter1/metrics.json",
     "artifacts/runs/run_a/manifest.json", "knowledge_base/decisions/decisions.md"],
)  # fmt: skip
def test_a_folder_where_a_file_goes(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    assert taken(tmp_path) == [("config_invalid", place)]


def test_a_workspace_whose_path_no_table_can_hold(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    root.mkdir()
    ctx = SimpleNamespace(
        workspace=root, run_dir=root / "results/run_a", config={"max_iterations": 2}
    )
    (found,) = checks_places.checks(ctx)
    assert found.stop is not None and "is not UTF-8" in found.stop.message and found.stop.fix


def test_links(tmp_path: Path) -> None:
    workspace, disk = tmp_path / "w", tmp_path / "disk"
    workspace.mkdir()
    disk.mkdir()
    (workspace / "results").symlink_to(disk)  # runs on another disk: the user's own choice
    (found,) = checks_places.checks(
        SimpleNamespace(workspace=workspace, run_dir=workspace / "results/run_a", config={})
    )
    assert found.status == "warn" and str(disk) in found.evidence
    (disk / "run_a").symlink_to(tmp_path)
    assert taken(workspace) == [("path_escape", "results/run_a")]
    (disk / "run_a").unlink()
    for leads_to in (tmp_path / "gone", "artifacts"):  # nowhere, and back to itself
        (workspace / "artifacts").symlink_to(leads_to)
        assert taken(workspace) == [("config_invalid", "artifacts")]
        (workspace / "artifacts").unlink()


def test_a_page_that_is_not_text(tmp_path: Path) -> None:
    page = tmp_path / "knowledge_base/data/datasets.md"
    page.parent.mkdir(parents=True)
    page.write_bytes("Größe".encode("latin-1"))
    assert taken(tmp_path) == [("config_invalid", "knowledge_base/data/datasets.md")]


def test_before_snakemake_makes_its_own_folders(tmp_path: Path) -> None:
    places.require(tmp_path, Run(tmp_path, "run_a"))
    (tmp_path / "results").write_text("")
    with pytest.raises(HardStop, match="a file stands where"):
        places.require(tmp_path, Run(tmp_path, "run_a"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results"]
