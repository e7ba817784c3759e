"""Models of every format from file to reports; the folder moved reproduces shapes and reports.

Here the scripts run in this process; `test_explore_command.py` runs them as a user does.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import explore_tools as tools
import pytest
import torch
from PIL import Image

from deft.core.errors import HardStop
from model_explorer import layout
from model_explorer.kit import steps
from model_explorer.kit.folder import Folder

pytestmark = pytest.mark.long

PARTS = {".gitignore", "README.md", "refs", "scripts", "inputs", "outputs", "logs", "reports"}
REPORTS = ("experiment-report.md", "stakeholder-report.md", "experiment-report.html",
           "stakeholder-report.html")  # fmt: skip
SIDE = tools.SIDE


def moved(folder: Folder, target: Path) -> Folder:
    """Move an experiment away and run all of it again there."""
    shutil.move(folder.root, target)
    there = Folder(target)
    tools.steps.run_steps(there, [], steps.wanted(there.parameters), lambda text: None)
    return there


def check_layout(folder: Folder) -> None:
    """The seed's layout: these folders, each with a README and its changes, and no other."""
    assert {p.name for p in folder.root.iterdir()} == PARTS
    for part in PARTS - {"README.md", ".gitignore"}:
        text = (folder.root / part / "README.md").read_text()
        assert "## Changes" in text and "made" in text
    assert all((folder.root / "reports" / name).is_file() for name in REPORTS)
    assert {p.name for p in (folder.root / "scripts").glob("*.py")} == {
        *layout.SCRIPTS, "run_all.py"
    }  # fmt: skip


def check_reports(folder: Folder) -> None:
    """Reports come from ``outputs/`` alone, name no place of this machine, and have figures."""
    for name in REPORTS:
        text = (folder.root / "reports" / name).read_text()
        assert str(folder.root) not in text
        assert not re.search(r"\bNone\b(?! (was|that)|\.)|\bnan\b|\bTrue\b|\bFalse\b", text)
        for figure in re.findall(r"\]\((figures/[^)]+)\)", text):
            assert (folder.root / "reports" / figure).stat().st_size > 1000
    before = {n: (folder.root / "reports" / n).read_bytes() for n in REPORTS}
    tools.steps.run_steps(
        folder, [], [s for s in steps.STEPS if s.script >= "18"], lambda text: None
    )
    assert before == {n: (folder.root / "reports" / n).read_bytes() for n in REPORTS}


def check_again(folder: Folder, target: Path) -> None:
    shapes = folder.need("stats")["shapes"]
    answers = [s["answer"] for s in folder.need("inference")["samples"]]
    there = moved(folder, target)
    assert there.need("stats")["shapes"] == shapes
    assert [s["answer"] for s in there.need("inference")["samples"]] == answers
    assert {s["status"] for s in there.need("steps")} == {"ok"}
    check_reports(there)


def test_a_timm_model_with_a_saved_state_dict(tmp_path, monkeypatch):
    pictures = tmp_path / "w" / "datasets"
    pictures.mkdir(parents=True)
    tools.timm_weights(tmp_path / "w" / "net.pth")
    for i, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (50 + i, 40), colour).save(pictures / f"{colour}.png")
    (pictures / "broken.png").write_bytes(b"no picture")
    folder = tools.explored(
        tmp_path / "w", in_process=monkeypatch, checkpoint="net.pth",
        name=f"timm:{tools.TINY_TIMM}",
        train_steps=6, targets={"latency_median_ms": 1e6, "accuracy_pct": 50, "map_50": 0.5},
        contract={"labels": ["a", "b", "c"]},
    )  # fmt: skip
    check_layout(folder)
    contract = folder.need("io_contract")
    (entry,) = contract["inputs"]
    assert entry["shape"] == ["batch", 3, 160, 160] and "pretrained_cfg" in entry["source"]
    # The number of classes is the file's, the normalisation timm's.
    assert contract["postprocess"]["classes"] == 3 and contract["outputs"][0]["run_shape"] == [1, 3]
    assert contract["preprocess"]["x"]["mean"] == [0.5, 0.5, 0.5]
    inputs = folder.need("inputs")
    assert inputs["kind"] == "found" and len(inputs["samples"]) == 2
    assert all("broken" not in s["origin"] for s in inputs["samples"])
    trained = folder.need("train_check")
    assert trained["runs"] and trained["fell"] and len(trained["losses"]) == 6
    verdict = folder.need("verdict")
    met = {t["name"]: t["met"] for t in verdict["targets"]}
    assert met == {"latency_median_ms": True, "accuracy_pct": None, "map_50": None}
    # Two targets that were asked for cannot be judged; each says what would settle it.
    assert verdict["verdict"] == "NOT DECIDED"
    lines = [n["line"] for n in verdict["needs"]]
    assert any(line.startswith("labels:") for line in lines), lines
    check_reports(folder)
    check_again(folder, tmp_path / "elsewhere")


def test_the_authors_example_comes_before_what_the_workspace_has(tmp_path, monkeypatch):
    for place, colour in (("src/examples", "red"), ("datasets", "blue")):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (40, 40), colour).save(tmp_path / place / f"{colour}.png")
    tools.onnx_by_torch(tmp_path / "net.onnx")
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="net.onnx", source="src",
        contract={"preprocess": {"resize_mode": "squash"}},
    )  # fmt: skip
    origins = [s["origin"] for s in folder.need("inputs")["samples"]]
    assert origins == ["refs/src/examples/red.png", "datasets/blue.png"]


def test_a_torchscript_file_says_no_shape_so_running_does(tmp_path, monkeypatch):
    tools.torchscript(tmp_path / "net.pt")
    folder = tools.explored(tmp_path, in_process=monkeypatch, checkpoint="net.pt", name="my net")
    contract = folder.need("io_contract")
    (entry,) = contract["inputs"]
    assert entry["name"] == "picture" and entry["run_shape"] == [1, 3, 224, 224]
    assert entry["shape"] == ["batch", 3, "axis 2", "axis 3"]
    assert "intended shape unknown" in entry["source"] and len(entry["trial"]["accepted"]) > 1
    assert any("shape and element type of input picture" in u["what"] for u in contract["unknown"])
    assert contract["batch"]["free"] and contract["preprocess"] == {}
    check_again(folder, tmp_path / "elsewhere")


def test_what_the_user_states_of_a_torchscript_file_is_tried(tmp_path, monkeypatch):
    tools.torchscript(tmp_path / "net.pt")
    contract = {
        "inputs": {"picture": {"shape": ["batch", 3, SIDE, SIDE]}},
        "preprocess": {"mean": [0.5] * 3, "std": [0.5] * 3},
        "postprocess": "softmax_top",
        "labels": ["a", "b", "c"],
    }
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="net.pt", name="my net", contract=contract
    )
    found = folder.need("io_contract")
    assert found["unknown"] == [] and found["inputs"][0]["run_shape"] == [1, 3, SIDE, SIDE]
    assert found["preprocess"]["picture"]["height_px"] == SIDE
    assert folder.need("inference")["samples"][0]["label"] in ("a", "b", "c")
    wrong = {"inputs": {"picture": {"shape": ["batch", 5, SIDE, SIDE]}}}
    # What the user says of it is wrong: that is no fault of the model.
    with pytest.raises(HardStop, match="not decided.*does not run to its end.*stated shape"):
        tools.explored(
            tmp_path, in_process=monkeypatch, checkpoint="net.pt", name="my net", contract=wrong,
            directory="wrong",
        )  # fmt: skip
    report = (tmp_path / "wrong/reports/stakeholder-report.md").read_text()
    assert "**Not decided.**" in report and "did not get through" in report


@pytest.mark.parametrize("make", [tools.onnx_by_torch, tools.exported])
def test_shapes_and_free_axes_are_read_from_the_file(tmp_path, monkeypatch, make):
    path = make(tmp_path / ("net.onnx" if make is tools.onnx_by_torch else "net.pt2"))
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint=path.name, name="net", train_steps=3
    )
    contract = folder.need("io_contract")
    (entry,) = contract["inputs"]
    assert entry["shape"][1:] == [3, SIDE, SIDE] and isinstance(entry["shape"][0], str)
    assert entry["dtype"] == "float32" and "trial" not in entry
    assert folder.need("stats")["throughput"][1]["ok"]
    trained = folder.need("train_check")
    if path.suffix == ".onnx":
        assert not trained["runs"] and "gradients" in trained["why"]
        assert folder.need("verdict")["verdict"] == "NO-GO"
    else:
        assert trained["runs"] and contract["facts"]["parameters"] == 127
    check_again(folder, tmp_path / "elsewhere")


def test_an_onnx_file_that_torch_did_not_make(tmp_path, monkeypatch):
    tools.onnx_by_sklearn(tmp_path / "rows.onnx")
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="rows.onnx", name="logistic regression"
    )
    contract = folder.need("io_contract")
    assert contract["inputs"][0]["run_shape"] == [1, 4]
    assert [o["dtype"] for o in contract["outputs"]] == ["int64", "list"]
    sample = folder.need("inference")["samples"][0]
    assert {Path(f).suffix for f in sample["raw"]} == {".npz", ".json"}
    assert "output_label" in sample["answer"]
    check_layout(folder)
    check_again(folder, tmp_path / "elsewhere")


def test_external_data_travels_with_the_model(tmp_path, monkeypatch):
    import onnx

    plain = onnx.load(tools.onnx_by_torch(tmp_path / "plain.onnx"))
    onnx.save_model(
        plain, str(tmp_path / "big.onnx"), save_as_external_data=True, location="big.data",
        size_threshold=0,
    )  # fmt: skip
    folder = tools.explored(tmp_path, in_process=monkeypatch, checkpoint="big.onnx", name="net")
    assert (folder.root / "refs/model/big.data").is_file()
    assert len(folder.need("provenance")["files"]) == 2


def tiny_open_clip(root: Path) -> Path:
    """A folder in the hub's layout with a very small CLIP."""
    import json

    import open_clip

    config = {
        "model_cfg": {
            "embed_dim": 8,
            "vision_cfg": {
                "image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8,
            },
            "text_cfg": {
                "context_length": 6, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1,
            },
        },
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]},
    }  # fmt: skip
    root.mkdir(parents=True)
    (root / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(1)
    model = open_clip.create_model(
        f"local-dir:{root}", load_weights=False, pretrained_image=False, pretrained_text=False
    )
    torch.save(model.state_dict(), root / "open_clip_pytorch_model.bin")
    return root


def test_a_folder_in_the_hubs_layout_is_open_clip(tmp_path, monkeypatch):
    tiny_open_clip(tmp_path / "clip")
    folder = tools.explored(tmp_path, in_process=monkeypatch, checkpoint="clip", name="tiny clip")
    contract = folder.need("io_contract")
    image, text = contract["inputs"]
    assert image["shape"] == ["batch", 3, 16, 16] and text["shape"] == ["batch", 6]
    assert text["range"] == [0, 49] and text["dtype"] == "int64"
    assert contract["preprocess"]["image"]["std"] == [0.4, 0.5, 0.6]
    assert contract["postprocess"]["kind"] == "embedding"
    check_again(folder, tmp_path / "elsewhere")


def test_a_timm_folder_with_its_own_configuration(tmp_path, monkeypatch):
    root = tmp_path / "hub"
    root.mkdir()
    tools.timm_weights(root / "model.safetensors", classes=4)
    own = {"mean": [0.2] * 3, "std": [0.3] * 3, "input_size": [3, 64, 64], "crop_pct": 1.0}
    text = f'{{"architecture": "{tools.TINY_TIMM}", "num_classes": 4, "pretrained_cfg": '
    (root / "config.json").write_text(text + str(own).replace("'", '"') + "}")
    folder = tools.explored(tmp_path, in_process=monkeypatch, checkpoint="hub", name="from the hub")
    contract = folder.need("io_contract")
    assert contract["inputs"][0]["shape"] == ["batch", 3, 64, 64]
    assert contract["preprocess"]["x"]["mean"] == [0.2] * 3
    assert not any("preprocessing" in u["what"] for u in contract["unknown"])
    with pytest.raises(HardStop, match="config.json beside the weights says"):
        tools.explored(tmp_path, in_process=monkeypatch, checkpoint="hub", name="timm:resnet18")


def test_weights_of_another_network_are_named(tmp_path, monkeypatch):
    tools.timm_weights(tmp_path / "net.pth", state="nested")
    with pytest.raises(HardStop, match=r"do not fit the network: \d+ missing"):
        tools.explored(
            tmp_path, in_process=monkeypatch, checkpoint="net.pth", name="timm:test_resnet"
        )


def test_a_prefix_of_a_wrapper_is_taken_off_only_when_the_rest_fits(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "wrapped.py").write_text(
        "from torch import nn\n\n\ndef make(width):\n    return nn.Linear(3, width)\n"
    )
    layer = torch.nn.Linear(3, 2)
    torch.save({"model": {f"module.{k}": v for k, v in layer.state_dict().items()}},
               tmp_path / "w.ckpt")  # fmt: skip
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="w.ckpt", source="src",
        class_path="wrapped:make", class_arguments={"width": 2},
    )  # fmt: skip
    facts = folder.need("io_contract")["facts"]
    assert facts["weights"] == "model" and facts["prefix_removed"] == "module."
    assert folder.need("io_contract")["inputs"][0]["run_shape"] == [1, 3]
    (ref,) = folder.need("provenance")["refs"]
    assert ref["kind"] == "link" and (folder.root / ref["path"]).is_symlink()


def test_code_in_a_pickle_runs_only_when_the_user_says_so(tmp_path, monkeypatch):
    torch.save(torch.nn.Linear(3, 2).eval(), tmp_path / "whole.pt")
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint="whole.pt", name="a layer", allow_code=True
    )
    assert folder.need("io_contract")["facts"]["weights"] == "a pickled module"
    assert any("runs code" in c for c in folder.need("verdict")["conditions"])
