"""Each planted fault ends in its own code, file and row; all other checks are still made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import yaml
from PIL import Image
from tiny_workspace import make_tiny_workspace

from deft.changenet.model import build_model
from deft.changenet.spec import load_spec
from deft.changenet.weights import save_weights
from deft.core.errors import HardStop
from deft.core.hardware import Gpu
from deft.core.layout import BASE_TABLE, KPI_TABLE, POOL_DIR, POOL_TABLE, PREGEN_NG, PREGEN_OK, SPEC
from deft.preflight import checks_machine, checks_model
from deft.preflight.run import run_preflight
from deft.settings.config import resolve
from deft.tables.changenet_table import split_pool_cell

CONFIG = {"encoder": "changenet", "device": "cpu"}
KPI_TEST = "kpi/images/kpi/kpi0/C2000@1_SolderLight.png"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    for name in ("HF_TOKEN", "NGC_API_KEY", "NGC_KEY", "HF_HUB_OFFLINE", "AIR_GAPPED"):
        monkeypatch.delenv(name, raising=False)
    return make_tiny_workspace(tmp_path / "w", base=6, validation=6, kpi=8, pool=8, pregen=4)


def preflight(workspace: Path, **config):
    lines: list[str] = []
    run = workspace / "results/run_1"
    settings = resolve({**CONFIG, **config})
    result = run_preflight(workspace, run, settings, sources={}, log=lines.append)
    return result, "\n".join(lines)


def stop(workspace: Path, **config) -> HardStop:
    with pytest.raises(HardStop) as caught:
        preflight(workspace, **config)
    checks = report(workspace)["checks"]
    assert any(c["status"] == "stop" and c["code"] == caught.value.code for c in checks)
    assert (workspace / "results/run_1/preflight/summary.md").read_text()
    return caught.value


def report(workspace: Path) -> dict:
    return json.loads((workspace / "results/run_1/preflight/checks.json").read_text())


def status(workspace: Path, id: str) -> str:
    return next(c["status"] for c in report(workspace)["checks"] if c["id"] == id)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def edit_spec(workspace: Path, **changes) -> None:
    spec = yaml.safe_load((workspace / SPEC).read_text())
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        owner = spec
        for parent in parents:
            owner = owner[parent]
        owner[last] = value
    (workspace / SPEC).write_text(yaml.safe_dump(spec))


def files(workspace: Path) -> dict[str, int]:
    return {
        str(p.relative_to(workspace)): p.stat().st_mtime_ns
        for p in workspace.rglob("*")
        if p.is_file()
    }


def test_a_sound_workspace_passes_and_only_preflight_is_written(workspace):
    before = files(workspace)
    result, printed = preflight(workspace)
    after = files(workspace)
    assert not result.stops
    assert {k: v for k, v in after.items() if k in before} == before
    written = sorted(Path(k).name for k in after.keys() - before.keys())
    assert written == ["checks.json", "inputs.json", "pictures.json", "pictures.npz", "summary.md"]
    assert printed.splitlines()[-1] == result.summary.splitlines()[-1]
    content = report(workspace)
    assert content["dataset"]["kpi"]["labels"] == {"PASS": 5, "bridge": 2, "missing": 1}
    assert content["lights"] == ["SolderLight"]
    assert content["kpi_target"]["min_recall"] == 1.0
    assert content["arm"] == "nearest"


def test_pictures_that_look_alike_are_kept_as_pairs(workspace):
    row = pd.read_csv(workspace / POOL_TABLE, dtype=str).iloc[0]
    folder = split_pool_cell(row["input_path"])[0]
    copy = workspace / POOL_DIR / folder / f"{row['object_name']}_SolderLight.png"
    assert copy.is_file()
    with Image.open(workspace / KPI_TEST) as picture:
        pixels = np.array(picture.convert("RGB"))
    pixels[0, 0] ^= 3  # not the same pixels, the same picture
    Image.fromarray(pixels).save(copy)
    preflight(workspace)
    check = next(c for c in report(workspace)["checks"] if c["id"] == "leakage_pool_kpi_near")
    assert [str(copy.relative_to(workspace)), KPI_TEST] in check["pairs"]
    assert all((workspace / path).is_file() for pair in check["pairs"] for path in pair)


def test_the_other_image_root_is_accepted_and_recorded(tmp_path):
    workspace = make_tiny_workspace(tmp_path, image_root="images", kpi=4, base=4, pool=4)
    shutil.rmtree(workspace / "kpi/images", ignore_errors=True)
    preflight(workspace)
    assert report(workspace)["image_root"]["path"] == "images"


def test_the_root_of_each_table_is_recorded_and_shown(tmp_path):
    """NVIDIA's layout: the pool's pictures under images/ too."""
    workspace = make_tiny_workspace(tmp_path, image_root="images", kpi=4, base=4, pool=4)
    shutil.move(workspace / "augmentation/mining_pool/images", workspace / "images/line1")
    table = workspace / POOL_TABLE
    table.write_text(table.read_text().replace("images/R", "images/line1/R"))
    _, text = preflight(workspace)
    roots = report(workspace)["table_roots"]
    assert {name: [(r["path"], r["rows"]) for r in found] for name, found in roots.items()} == {
        "base": [("images", 4)],
        "validation": [("images", 12)],
        "kpi": [("images", 4)],
        "pool": [("images", 4)],
    }
    assert roots["pool"][0]["resolved"] == str((workspace / "images").resolve())
    assert "pool pictures" in text
    # A missing picture is looked for where the others lie.
    (workspace / "images/line1/R3001@1_SolderLight.png").unlink()
    assert "images/line1/R3001@1" in stop(workspace).message


def test_pictures_under_the_root_that_is_not_read_are_a_stop_that_says_both(workspace):
    shutil.move(workspace / "kpi/images/kpi", workspace / "images/kpi")
    found = stop(workspace)
    assert found.code == "missing_input" and found.file.endswith("testing_set.csv")
    assert "kpi/images and images both exist" in found.message and found.rows[0] == 2


def test_other_pictures_of_the_same_name_under_the_other_root_are_a_warning(workspace):
    shutil.copytree(workspace / "kpi/images", workspace / "images")
    preflight(workspace)
    assert status(workspace, "image_roots") == "ok"  # the same pictures twice
    shutil.copy(
        workspace / "images/kpi/kpi1/C2001@1_SolderLight.png",
        workspace / "images/kpi/kpi0/C2000@1_SolderLight.png",
    )
    preflight(workspace)
    told = next(c for c in report(workspace)["checks"] if c["id"] == "image_roots")
    assert told["status"] == "warn" and told["evidence"].startswith("kpi/images is read")
    assert "1 row(s) of kpi/testing_set.csv, first row 2" in told["evidence"]


def test_a_linked_image_root_is_resolved_and_recorded(workspace, tmp_path):
    (workspace / "kpi/images").rename(tmp_path / "elsewhere")
    (workspace / "kpi/images").symlink_to(tmp_path / "elsewhere")
    preflight(workspace)
    assert report(workspace)["image_root"]["resolved"] == str(tmp_path / "elsewhere")


def test_missing_golden(workspace):
    (workspace / "kpi/images/golden/kpi0/C2002@1_SolderLight.png").unlink()
    error = stop(workspace)
    assert (error.code, error.rows) == ("missing_input", [4])
    assert error.file.endswith(KPI_TABLE)
    assert "golden picture kpi/images/golden/kpi0/C2002@1_SolderLight.png" in str(error)


@pytest.mark.parametrize("size", [0, 60])
def test_empty_and_cut_pictures(workspace, size):
    path = workspace / "kpi/images/base/base1/C0003@1_SolderLight.png"
    path.write_bytes(path.read_bytes()[:size])
    error = stop(workspace)
    assert (error.code, error.rows) == ("image_invalid", [5])
    assert error.file.endswith(BASE_TABLE)


def test_cut_jpeg(tmp_path):
    workspace = make_tiny_workspace(tmp_path, ext=".jpg", base=4, validation=4, kpi=4, pool=4)
    path = workspace / "augmentation/mining_pool/images/R3002@1_SolderLight.jpg"
    path.write_bytes(path.read_bytes()[:-80])
    error = stop(workspace)
    assert (error.code, error.rows) == ("image_invalid", [4])
    assert error.file.endswith(POOL_TABLE)


def test_sampling_still_looks_at_every_test_picture(workspace):
    (workspace / KPI_TEST).write_bytes(b"")
    assert stop(workspace, preflight_sample_rows=1).code == "image_invalid"


def test_sampling_draws_goldens_unless_all_are_asked_for(workspace):
    def evidence() -> str:
        return next(c["evidence"] for c in report(workspace)["checks"] if c["id"] == "images_kpi")

    preflight(workspace, preflight_sample_rows=1)
    assert evidence() == ("9 pictures of 8 rows decode (golden pictures of 1 rows drawn from 8)")
    preflight(workspace, preflight_sample_rows=1, preflight_all_images=True)
    assert evidence() == "16 pictures of 8 rows decode"


@pytest.mark.parametrize(
    ("table", "old", "new", "code", "row"),
    [
        (BASE_TABLE, "golden_path", "golden", "csv_invalid", 1),
        (KPI_TABLE, ",PASS,", ",pass,", "csv_invalid", 3),
        (KPI_TABLE, "kpi/kpi1,", "../../../../etc,", "path_escape", 3),
        (POOL_TABLE, "golden/pool,", "../../etc,", "", None),
        (BASE_TABLE, "base/base0,", "/etc,", "path_escape", 2),
        (BASE_TABLE, "C0000@1", "../C0000@1", "path_escape", 2),
    ],
)
def test_faults_of_a_table(workspace, table, old, new, code, row):
    edit(workspace / table, old, new)
    error = stop(workspace)
    # ../../etc from kpi/images stays inside the workspace: there it is merely missing.
    assert error.code == (code or "missing_input")
    assert error.file.endswith(table)
    if row:
        assert error.rows == [row]


def test_escape_is_found_before_anything_is_opened(workspace, tmp_path):
    edit(workspace / POOL_TABLE, "images/R3001@1_SolderLight.png", "../../../secret/x.png")
    error = stop(workspace)
    assert (error.code, error.rows) == ("path_escape", [3])
    skipped = next(c for c in report(workspace)["checks"] if c["id"] == "images_pool")
    assert "not checked" in skipped["evidence"]


def test_a_picture_linked_out_of_the_workspace(workspace, tmp_path):
    shutil.move(workspace / KPI_TEST, tmp_path / "x.png")
    (workspace / KPI_TEST).symlink_to(tmp_path / "x.png")
    assert stop(workspace).code == "path_escape"


def test_kpi_without_ng(workspace):
    text = (workspace / KPI_TABLE).read_text()
    (workspace / KPI_TABLE).write_text(text.replace("bridge", "PASS").replace("missing", "PASS"))
    error = stop(workspace)
    assert error.code == "kpi_invalid" and error.file.endswith(KPI_TABLE)


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda w: (w / PREGEN_OK / "B001+missing_1.png").unlink(), "pregen_unpaired"),
        (lambda w: shutil.rmtree(w / PREGEN_NG), "pregen_missing"),
        (lambda w: [p.unlink() for p in (w / PREGEN_NG).iterdir()], "pregen_empty"),
        (lambda w: (w / PREGEN_NG / "B001+missing_1.png").write_bytes(b""), "image_invalid"),
        (lambda w: (w / POOL_TABLE).unlink(), "pool_missing"),
        (lambda w: (w / POOL_TABLE).write_text("input_path,golden_path,label,object_name\n"), ""),
        (lambda w: (w / SPEC).unlink(), "missing_input"),
        (lambda w: shutil.rmtree(w / "kpi/images"), "missing_input"),
    ],
)
def test_faults_of_folders(workspace, harm, code):
    harm(workspace)
    assert stop(workspace).code == (code or "pool_empty")


def test_defect_spec_counts(workspace):
    spec = workspace / "augmentation/anomalygen/defect_spec.jsonl"
    spec.write_text('{"defect_type": "bridge", "count": 2}\n')
    preflight(workspace)
    spec.write_text('{"defect_type": "bridge", "count": 3}\n')
    error = stop(workspace)
    assert error.code == "allocation_mismatch" and error.file.endswith("defect_spec.jsonl")


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"automl_policy": True}, {}),  # YAML reads `on` as true
        ({"train__checkpoint_interval": 3}, {}),
        ({"train__num_epochs": 4, "train__checkpoint_interval": 3}, {"training_epochs": 2}),
        ({"train__validation_interval": 9}, {}),
    ],
)
def test_faults_of_the_spec(workspace, changes, config):
    edit_spec(workspace, **changes)
    error = stop(workspace, **config)
    assert error.code == "spec_invalid" and error.file.endswith(SPEC)


def test_keys_without_effect_are_said_once_each(workspace):
    edit_spec(workspace, encryption_key="tlt_encode", gen_trt_engine={"onnx_file": "/m.onnx"})
    result, _ = preflight(workspace)
    said = [c for c in result.checks if c.id.startswith("spec (")]
    assert [c.id for c in said] == ["spec (encryption_key)", "spec (gen_trt_engine)"]
    assert {c.status for c in said} == {"warn"} and not result.stops


def test_a_faulty_spec_hides_no_fault_of_the_tables(workspace):
    edit_spec(workspace, train__num_nodes=2, train__nonsense=1, wandb={"enable": True})
    (workspace / KPI_TEST).unlink()
    error = stop(workspace)
    assert "unknown key train.nonsense" in error.message and "train.num_nodes" in error.message
    assert "also stopped: images_kpi" in error.message
    # Where the part that says how pictures are named is at fault, they are not looked for.
    edit_spec(workspace, dataset__classify__num_input="one")
    error = stop(workspace)
    assert "3 findings" in error.message and "images_kpi" not in error.message


def test_kpi_sentence_that_says_nothing(workspace):
    assert stop(workspace, kpi="as good as possible").code == "kpi_invalid"


def test_validation_row_in_the_pool(workspace):
    source = workspace / "kpi/images/val/val0/C1002@1_SolderLight.png"
    shutil.copy(source, workspace / "augmentation/mining_pool/images/R3004@1_SolderLight.png")
    error = stop(workspace)
    assert (error.code, error.rows) == ("leakage", [6])
    assert error.file.endswith(POOL_TABLE)
    assert "validation row 4" in str(error)


def test_training_row_in_validation_by_key(workspace):
    lines = (workspace / BASE_TABLE).read_text().splitlines()
    with (workspace / "train/base/validation_set.csv").open("a") as handle:
        handle.write(lines[3] + "\n")
    error = stop(workspace)
    assert (error.code, error.rows) == ("leakage", [4])


def test_kpi_picture_copied_into_the_pool(workspace):
    target = workspace / "augmentation/mining_pool/images/R3001@1_SolderLight.png"
    shutil.copy(workspace / KPI_TEST, target)
    error = stop(workspace)
    assert (error.code, error.rows) == ("leakage", [3])
    result, _ = preflight(workspace, content_leakage="warn")
    assert [c.id for c in result.warnings if c.id.startswith("leakage")] == ["leakage_pool_kpi"]


def test_kpi_picture_copied_into_the_pregen_pairs(workspace):
    shutil.copy(workspace / KPI_TEST, workspace / PREGEN_NG / "B001+missing_1.png")
    error = stop(workspace)
    assert error.code == "leakage" and error.file.endswith(PREGEN_NG)


def test_validation_picture_in_the_kpi_set_warns(workspace):
    source = workspace / "kpi/images/val/val0/C1002@1_SolderLight.png"
    shutil.copy(source, workspace / KPI_TEST)
    preflight(workspace)
    assert status(workspace, "leakage_validation_kpi") == "warn"


def test_label_coverage_warns_per_defect_type(workspace):
    text = (workspace / POOL_TABLE).read_text()
    (workspace / POOL_TABLE).write_text(text.replace("missing", "PASS"))
    preflight(workspace)
    assert status(workspace, "label_coverage:missing") == "warn"
    assert not [c for c in report(workspace)["checks"] if c["id"] == "label_coverage:bridge"]


def test_all_faults_are_listed_and_the_first_is_raised(workspace):
    (workspace / PREGEN_OK / "B001+missing_1.png").unlink()
    edit(workspace / KPI_TABLE, ",PASS,", ",pass,")
    error = stop(workspace)
    assert error.code == "csv_invalid" and "pregen_pairs" in str(error)
    codes = {c.get("code") for c in report(workspace)["checks"] if c["status"] == "stop"}
    assert codes == {"csv_invalid", "pregen_unpaired"}


def test_missing_workspace(tmp_path):
    with pytest.raises(HardStop, match="does not exist") as caught:
        run = tmp_path / "run_1"
        run_preflight(tmp_path / "no", run, resolve(CONFIG), sources={}, log=lambda _: None)
    assert caught.value.code == "missing_input"


def test_secrets_are_never_shown(workspace, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_value")
    (workspace / ".env").write_text("NGC_API_KEY='nv_secret_value'\n")
    _, printed = preflight(workspace)
    folder = workspace / "results/run_1/preflight"
    written = "".join(p.read_text(errors="replace") for p in folder.iterdir())
    assert "secret_value" not in printed + written
    assert "HF_TOKEN set, NGC_API_KEY set" in written


def test_backbone_weights_that_are_not_there(workspace):
    edit_spec(workspace, model__backbone__pretrained_backbone_path="weights/c_radio.pth")
    error = stop(workspace)
    assert error.code == "missing_input" and error.file.endswith("weights/c_radio.pth")
    assert "put the file there, or under augmentation/backbone/" in error.fix


def test_a_staged_backbone_is_found_and_shown(workspace):
    """NVIDIA's spec names a path in a container; the file lies in the workspace."""
    name = "/data/pretrained_models/C-RADIOv2_B.pth"
    edit_spec(workspace, model__backbone__pretrained_backbone_path=name)
    staged = workspace / "augmentation/backbone/downloaded.pth"
    staged.parent.mkdir()
    torch.save(timm.create_model("test_convnext").state_dict(), staged)
    result, printed = preflight(workspace)
    check = next(c for c in result.checks if c.id == "backbone_file")
    assert check.status == "ok" and name in check.evidence and "downloaded.pth" in check.evidence
    row = next(line for line in printed.splitlines() if line.startswith("| backbone_weights"))
    assert "augmentation/backbone/downloaded.pth" in row and "staged" in row
    shutil.copy(staged, staged.with_name("again.pth"))
    error = stop(workspace)
    assert error.code == "spec_invalid" and "again.pth, downloaded.pth" in error.message


def taos_backbone(workspace, **changes):
    edit_spec(
        workspace,
        model__backbone__type="fan_tiny_8_p4_hybrid",
        model__decode_head__feature_strides=[4, 8, 16, 16],
        **changes,
    )


def test_a_taos_backbone_without_weights_stops_unless_random_ones_are_asked_for(workspace):
    taos_backbone(workspace)
    error = stop(workspace)
    assert error.code == "missing_input" and "random_weights=true" in error.fix
    assert "fan_tiny_8_p4_hybrid" in error.message
    preflight(workspace, random_weights=True)
    assert status(workspace, "backbone_weights") == "warn"
    taos_backbone(workspace, model__backbone__freeze_backbone=True)
    error = stop(workspace, random_weights=True)
    assert error.code == "spec_invalid" and "for ever" in error.message


def test_a_pre_seeded_baseline_needs_no_backbone_file(workspace):
    """What an NVIDIA run leaves: trained weights, and a spec that names a container's path."""
    taos_backbone(workspace, model__backbone__pretrained_backbone_path="/data/x.pth")
    weights = workspace / "seed.pth"
    save_weights(weights, build_model(load_spec(workspace / SPEC)), epoch=0, step=1)
    entry = {"stage_completed": "train", "best_ckpt_path": str(weights)}
    state = workspace / "results/run_1/deft_state.json"
    state.parent.mkdir(parents=True)
    state.write_text(json.dumps({"iterations": {"baseline": entry}}))
    result, _ = preflight(workspace)
    assert not result.stops
    assert {status(workspace, id) for id in ("backbone_weights", "backbone_file")} == {"warn"}


@pytest.mark.parametrize(("batch", "expected"), [(16, "ok"), (17, "warn")])
def test_batch_rule_of_the_cards(tmp_path, monkeypatch, batch, expected):
    workspace = make_tiny_workspace(tmp_path / "w", base=batch, validation=3, kpi=4, pool=4)
    card = Gpu(0, "NVIDIA RTX A6000", 47.5, 47.0)
    monkeypatch.setattr(checks_machine, "gpus", lambda: [card])
    monkeypatch.setattr(checks_model, "checks", lambda ctx: iter(()))
    data = "dataset__classify__"
    edit_spec(
        workspace,
        model__backbone__type="c_radio_v2_vit_base_patch16_224",
        **{f"{data}batch_size": batch, f"{data}image_width": 224, f"{data}image_height": 224},
    )
    preflight(workspace, device="auto", random_weights=True)
    assert status(workspace, "batch_size") == expected
    assert status(workspace, "gpu") == "ok"
    assert report(workspace)["gpus"][0]["name"] == card.name


def test_network_that_cannot_be_built_stops(workspace):
    edit_spec(workspace, model__backbone__type="timm:resnet_of_the_future")
    error = stop(workspace)
    assert error.code == "spec_invalid" and "resnet_of_the_future" in error.message
    assert error.file.endswith("baseline_spec.yaml")


def test_network_is_not_built_when_another_check_stops(workspace):
    edit_spec(workspace, model__backbone__type="timm:resnet_of_the_future")
    (workspace / "kpi/testing_set.csv").unlink()
    assert stop(workspace).code == "missing_input"
    assert "network" not in [c["id"] for c in report(workspace)["checks"]]


def test_resume_shows_the_last_five_entries(workspace):
    run = workspace / "results/run_1"
    run.mkdir(parents=True)
    entries = [
        {"seq": i, "ts": "t", "iter": "iter1", "stage": "rca", "status": "ok", "summary": f"n{i}"}
        for i in range(1, 8)
    ]
    (run / "loop_log.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n")
    result, _ = preflight(workspace)
    assert [e["seq"] for e in report(workspace)["resume"]["last"]] == [3, 4, 5, 6, 7]
    assert "7. t  iter1 rca ok: n7" in result.summary and "ok: n2" not in result.summary
