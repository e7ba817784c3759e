"""What a file's metadata and its neighbours say: as other tools write them."""

from __future__ import annotations

import json
from pathlib import Path

import explore_tools as tools
import numpy as np
import pytest

from deft.core.errors import HardStop
from model_explorer.beside import beside, package_of
from model_explorer.kit import decode, meanings, metadata, sizes
from model_explorer.kit.folder import Folder
from model_explorer.kit.self_description import section

# As Ultralytics 8.2.46 wrote it into the file of NudeNet, with fewer names.
ULTRALYTICS = {
    "description": "Ultralytics best model trained on data.yml", "author": "Ultralytics",
    "date": "2024-06-29T12:33:11.874221", "version": "8.2.46",
    "license": "AGPL-3.0 License (https://ultralytics.com/license)",
    "docs": "https://docs.ultralytics.com", "stride": "32", "task": "detect", "batch": "1",
    "imgsz": "[320, 320]", "names": "{0: 'FACE', 1: 'FEET'}",
}  # fmt: skip
VIT = {
    "do_normalize": True, "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "resample": 2,
    "image_std": [0.5, 0.5, 0.5], "size": 224, "feature_extractor_type": "ViTFeatureExtractor",
}  # fmt: skip
CONVNEXT = {
    "crop_pct": 0.875, "do_normalize": True, "do_resize": True, "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.2, 0.2], "resample": 3, "size": {"shortest_edge": 224},
    "image_processor_type": "ConvNextImageProcessor", "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
}  # fmt: skip
CLIP = {
    "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_normalize": True,
    "do_rescale": False, "image_mean": [0.1] * 3, "image_std": [0.2] * 3, "resample": 3,
    "size": {"shortest_edge": 256},
}  # fmt: skip
WAV2VEC = {"do_normalize": True, "feature_size": 1, "padding_value": 0.0, "sampling_rate": 16000}


def known(configs=None, onnx=None, **more):
    facts = {"model": {"beside": {"configs": configs or {}, **more}}}
    return metadata.known(facts, {"metadata": onnx or {}})


def values(found):
    return {name: entry["value"] for name, entry in found.items()}


def test_the_metadata_of_an_ultralytics_export():
    found = known(onnx=ULTRALYTICS)
    got = values(found)
    assert got["labels"] == ["FACE", "FEET"] and got["size_px"] == [320, 320]
    assert (got["stride"], got["task"], got["decode"]) == (32, "detect", "boxes")
    assert got["licence"][0]["licence"].startswith("AGPL-3.0")
    assert found["size_px"]["source"] == "imgsz in the ONNX metadata"
    # What another tool exported is not decoded as Ultralytics's.
    assert "decode" not in known(onnx={"task": "detect", "names": "['a']"})


def test_the_same_inside_a_torchscript_archive(tmp_path):
    """Ultralytics keeps it as JSON, numbers as numbers, in an extra file."""
    import torch

    inner = {**ULTRALYTICS, "stride": 32, "imgsz": [320, 320], "names": {0: "FACE", 1: "FEET"}}
    traced = torch.jit.trace(tools.tiny_net(), torch.zeros(1, 3, 32, 32))
    path = tmp_path / "net.torchscript"
    traced.save(str(path), _extra_files={"config.txt": json.dumps(inner)})
    found = metadata.known({"model": {"beside": beside(path)}}, {})
    assert values(found).items() >= {
        "labels": ["FACE", "FEET"], "size_px": [320, 320], "stride": 32, "decode": "boxes",
    }.items()  # fmt: skip
    assert found["labels"]["source"] == "names in extra/config.txt in the file"
    (tmp_path / "cut.torchscript").write_bytes(path.read_bytes()[:-40])
    assert beside(tmp_path / "cut.torchscript")["configs"] == {}


@pytest.mark.parametrize(
    ("text", "key", "names"),
    [
        ("{0: 'cat', 1: 'dog'}", "names", ["cat", "dog"]),
        ("['cat', 'dog']", "names", ["cat", "dog"]),
        ('{"0": "cat", "1": "dog"}', "class_names", ["cat", "dog"]),
        ({"1": "dog", "0": "cat"}, "id2label", ["cat", "dog"]),
        ("cat,dog", "classes", ["cat", "dog"]),
        ('{\n "0": "cat",\n "1": "dog"\n}\n', "names", ["cat", "dog"]),
        ("cat\ndog\n", "labels", ["cat", "dog"]),
        # PaddleOCR's: a character a line, one of them a quote.
        ("'\n疗\n \n,", "character", ["'", "疗", " ", ","]),
        ("0\n90\n180\n270", "character", ["0", "90", "180", "270"]),
        ({"cat": 0, "dog": 1}, "labels", None),
        ("{0: 'cat', 2: 'dog'}", "names", None),
        ("{0: 'cat'", "names", None),
        ("['cat', 'dog'", "names", None),
        ("__import__('os').system('true')", "names", None),
        ("[" * 2000, "names", None),
        (None, "names", None),
        ([], "names", None),
        ([{"a": 1}], "names", None),
    ],
)
def test_names_are_read_as_they_are_written(text, key, names):
    assert metadata.names_in(text, key) == names


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (320, [320, 320]),
        ("[320, 640]", [320, 640]),
        ("320", [320, 320]),
        ([3, 48, 320], [48, 320]),
        ([224], [224, 224]),
        ({"height": 10, "width": 20}, [10, 20]),
        ({"shortest_edge": 256}, [256, 256]),
        (True, None),
        ("[0, 5]", None),
        ([1, 2, 3, 4], None),
        ("large", None),
        (10**9, None),
    ],
)
def test_sizes_are_read_as_they_are_written(value, size):
    assert metadata.size_in(value) == size


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        (VIT, {"height_px": 224, "resize_mode": "squash", "resample": "bilinear"}),
        (CONVNEXT, {"height_px": 224, "crop_fraction": 0.875, "resize_mode": "shortest",
                    "resample": "bicubic", "scale": 0.00392156862745098}),
        (CLIP, {"height_px": 224, "crop_fraction": 0.875, "resize_mode": "shortest", "scale": 1.0}),
    ],
)  # fmt: skip
def test_preprocessor_configurations_become_rules(config, rule):
    found = known({"preprocessor_config.json": config})["preprocess"]
    assert found["source"] == "preprocessor_config.json"
    assert found["value"].items() >= rule.items() and found["value"]["mean"] == config["image_mean"]


def test_an_audio_extractor_is_no_picture():
    assert values(known({"preprocessor_config.json": WAV2VEC})) == {"sampling_rate_hz": 16000}


def test_hub_configurations_say_length_names_and_task():
    config = {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "no", "1": "yes"},
        "max_position_embeddings": 512,
        "license": "mit",
    }
    longest = {"sentence_bert_config.json": {"max_seq_length": 256}, "config.json": config}
    got = values(known(longest))
    assert (got["length"], got["labels"], got["decode"]) == (256, ["no", "yes"], "softmax_top")
    assert got["licence"] == [{"licence": "mit", "source": "config.json"}]
    endless = {"tokenizer_config.json": {"model_max_length": 10**30}}
    assert "length" not in known(endless)
    assert values(known({"config.json": {"architectures": ["BertModel"]}}))["decode"] == "embedding"


def test_stated_sizes_fill_free_axes_and_no_other():
    hints = {"size_px": {"value": [48, 320], "source": "s"}, "length": {"value": 9, "source": "t"}}
    nchw = {"shape": ["b", 3, "h", "w"], "dtype": "float32"}
    nhwc = {"shape": ["b", "h", "w", 3], "dtype": "uint8"}
    tokens = {"shape": ["b", "n"], "dtype": "int64"}
    hint = sizes.hint_for
    assert [(hint(hints, nchw, a) or {}).get("size") for a in (0, 1, 2, 3)] == [None, None, 48, 320]
    assert [(hint(hints, nhwc, a) or {}).get("size") for a in (1, 2, 3)] == [48, 320, None]
    assert hint(hints, tokens, 1) == {"size": 9, "source": "t"} and hint(hints, tokens, 0) is None
    assert hint(hints, {"shape": ["b", "n"], "dtype": "float32"}, 1) is None
    own = {"model": {}, "contract": {"preprocess": {"size_px": [5, 6]}}}
    assert sizes.hints(own, {"metadata": ULTRALYTICS})["size_px"]["value"] == [5, 6]


def wheel_folder(root: Path, metadata_text: str, licence: str = "") -> Path:
    """Lay a wheel out as pip does, a model in it; return the model."""
    info = root / "tiny_model-1.2.dist-info"
    (root / "tiny_model" / "data").mkdir(parents=True), info.mkdir()
    file = root / "tiny_model" / "data" / "net.onnx"
    file.write_bytes(b"x")
    head = f"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.2\n{metadata_text}\n"
    (info / "METADATA").write_text(f"{head}\nLicense: of the text, no field\n")
    (info / "RECORD").write_text("tiny_model/data/net.onnx,sha256=x,1\n")
    if licence:
        (info / "LICENSE").write_text(licence)
    return file


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("License-Expression: Apache-2.0", "Apache-2.0"),
        ("License: MIT", "MIT"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: BSD License", "BSD License"),
        (
            "Classifier: License :: OSI Approved :: MIT License\nLicense-File: LICENSE",
            "MIT License",
        ),
        ("Summary: nothing", None),
    ],
)
def test_a_wheels_licence(tmp_path, text, licence):
    file = wheel_folder(tmp_path, text)
    found = package_of(file)
    assert (found["name"], found["version"], found["licence"]) == ("tiny-model", "1.2", licence)
    (file.parent / "other.onnx").write_bytes(b"y")  # not of this package
    assert package_of(file.parent / "other.onnx") is None


def test_licences_of_two_kinds_are_both_told(tmp_path):
    text = "                    GNU AFFERO GENERAL PUBLIC LICENSE\n   Version 3\n"
    found = beside(wheel_folder(tmp_path, "License: MIT", text))
    assert [e["licence"] for e in found["licences"]] == ["MIT", "AGPL"]
    assert len(metadata.licences_disagree(known(licences=found["licences"]))) == 2
    same = [{"licence": "MIT", "source": "a"}, {"licence": "MIT License", "source": "b"},
            {"licence": "Copyright nobody", "source": "c"}]  # fmt: skip
    assert metadata.licences_disagree(known(licences=same)) == []


def test_npm_packages_and_configurations_that_name_the_file(tmp_path):
    """PaddleOCR's wheels keep sizes and names of each model in one config.yaml above them."""
    models = tmp_path / "package" / "models"
    models.mkdir(parents=True)
    (models / "cls.onnx").write_bytes(b"x")
    package = {"name": "@x/ocr", "version": "2.0.0", "license": "MIT"}
    (tmp_path / "package" / "package.json").write_text(json.dumps(package))
    (tmp_path / "package" / "config.yaml").write_text(
        "Det: {model_path: models/det.onnx, limit_side_len: 736}\n"
        "Cls:\n  model_path: models/cls.onnx\n  cls_image_shape: [3, 48, 192]\n"
        "  label_list: ['0', '180']\n"
    )
    (tmp_path / "package" / "broken.yaml").write_text("a: [")
    found = beside(models / "cls.onnx")
    assert found["package"]["licence"] == "MIT"
    got = known(found["configs"])
    assert values(got) == {"labels": ["0", "180"], "size_px": [48, 192]}
    assert got["size_px"]["source"] == "cls_image_shape of config.yaml (Cls)"
    (models / "labels.txt").write_text("up\n\ndown\n")
    assert beside(models / "cls.onnx")["labels"] == {
        "names": ["up", "down"],
        "source": "labels.txt",
    }
    (models / "labels.txt").write_bytes(b"\xff\xfe\x00")
    (models / "config.json").write_text("[1, 2]")
    assert beside(models / "cls.onnx")["labels"] == {}


def test_boxes_of_a_detector_are_decoded_with_their_names():
    output = np.zeros((1, 6, 4), np.float32)
    output[0, :4] = np.array([[50, 50, 20, 20], [51, 50, 20, 20], [50, 50, 20, 20], [9, 9, 2, 2]]).T
    output[0, 4:] = np.array([[0.9, 0.1], [0.8, 0.0], [0.1, 0.7], [0.1, 0.2]]).T
    rule = {"kind": "boxes", "labels": ["FACE", "FEET"]}
    found = decode.answer({"postprocess": rule}, {"output0": output})
    # The second lies on the first; the third is of another class; the last is too unsure.
    assert [(b["name"], round(b["score"], 1)) for b in found["boxes"]] == [
        ("FACE", 0.9),
        ("FEET", 0.7),
    ]
    assert decode.words(found) == "2 boxes: FACE (0.9), FEET (0.7)"
    assert decode.words(decode.answer({"postprocess": rule}, {"o": 0 * output})) == "no box"


@pytest.mark.parametrize(
    ("numbers", "labels", "kind"),
    [
        ([[0.2, 0.5, 0.3]], None, "probabilities"),
        ([[2.0, -1.0, 0.3]], ["a", "b", "c"], "softmax_top"),
        ([[2.0, -1.0, 0.3]], ["a", "b"], "embedding"),
        ([[0.4]], None, None),
        ([[[0.2, 0.8], [0.5, 0.5]]], None, None),
    ],
)
def test_the_meaning_of_outputs_is_guessed_as_a_guess(numbers, labels, kind):
    value = np.array(numbers, np.float32)
    outputs = [{"name": "o", "run_shape": list(value.shape)}]
    stated = {"labels": {"value": labels, "source": "s"}} if labels else {}
    need = meanings.output_need(outputs, stated, {"o": value})
    assert (need and need["value"]) == kind and (need is None or need["is_guess"])


def test_only_what_may_be_a_picture_is_guessed_to_be_one():
    """Of real files: NudeNet's, ddddocr's, PLCMOS's and magika's input."""
    entries = [
        ("images", ["batch", 3, "height", "width"], "contract.preprocess"),
        ("input1", [1, 1, 64, "image_width"], "contract.preprocess"),
        ("degraded_audio", ["batch_size", 1, "frames", 257], "inputs"),
        ("input", ["batch_size", 3, "frames", 160], "inputs"),
        ("bytes", ["unk__214", 2048], "inputs"),
    ]
    for name, shape, key in entries:
        assert meanings.input_need({"name": name, "shape": shape}, {})["key"] == key, name


def with_metadata(path: Path, **entries: str) -> Path:
    """Add metadata to an ONNX file."""
    import onnx

    model = onnx.load(str(path))
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))
    return path


def test_metadata_reaches_contract_and_both_reports(tmp_path, monkeypatch):
    """Names, decoding, size and licence: of the file itself, its package and labels.txt."""
    file = wheel_folder(tmp_path / "site", "License: MIT")
    tools.onnx_of_any_size(file)
    with_metadata(file, author="Ultralytics", task="classify", imgsz="[48, 64]",
                  names="{0: 'a', 1: 'b', 2: 'c'}", license="AGPL-3.0")  # fmt: skip
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, checkpoint=str(file), name="net",
        targets={"latency_p95_ms": 1e6},
    )  # fmt: skip
    contract = folder.need("io_contract")
    (entry,) = contract["inputs"]
    assert entry["run_shape"] == [1, 3, 48, 64] and entry["shape"][2:] == ["height", "width"]
    assert not sizes.guessed(contract)
    assert contract["postprocess"]["kind"] == "probabilities"
    assert contract["postprocess"]["labels"] == ["a", "b", "c"]
    verdict = folder.need("verdict")
    assert verdict["targets"][0]["met"] is True and verdict["verdict"] == "GO WITH CONDITIONS"
    assert any("licences of two kinds" in c for c in verdict["conditions"])
    for name in ("experiment", "stakeholder"):
        text = (folder.root / f"reports/{name}-report.md").read_text()
        for words in ("a, b, c", "shares of the classes", "AGPL-3.0", "METADATA of tiny-model 1.2",
                      "axis 2 = 48 by imgsz in the ONNX metadata"):  # fmt: skip
            assert words in text, (name, words)
        page = (folder.root / f"reports/{name}-report.html").read_text()
        assert "METADATA of tiny-model 1.2" in page and "data:image/png;base64," in page
        assert "<script" not in page


def by_colour(path: Path) -> Path:
    """Write a network whose answer is the strongest colour of a picture."""
    import onnx

    kind, make = onnx.TensorProto.FLOAT, onnx.helper.make_tensor_value_info
    axes = onnx.numpy_helper.from_array(np.array([2, 3]), "axes")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)], "colour",
        [make("x", kind, ["b", 3, 8, 8])], [make("y", kind, ["b", 3])], [axes],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, str(path))
    return path


def test_a_model_of_which_all_is_known_and_met_is_a_go(tmp_path, monkeypatch):
    from PIL import Image

    by_colour(tmp_path / "net.onnx")
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "pictures").mkdir()
    rows = ["file,label"]
    for number in range(60):
        colour = ("red", "lime", "blue")[number % 3]
        Image.new("RGB", (8 + number, 9), colour).save(tmp_path / f"pictures/{number:02d}.png")
        rows.append(f"{number:02d}.png,{colour.replace('lime', 'green')}")
    (tmp_path / "known.csv").write_text("\n".join(rows))
    keys = {
        "checkpoint": "net.onnx", "name": "net", "inputs": "pictures", "labels": "known.csv",
        "targets": {"accuracy_pct": 95, "latency_p95_ms": 1e6}, "samples": 60,
        "contract": {"preprocess": {"scale": 1.0}, "postprocess": "softmax_top"},
    }  # fmt: skip
    folder = tools.explored(tmp_path, in_process=monkeypatch, directory="go", **keys)
    verdict = folder.need("verdict")
    assert verdict["verdict"] == "GO", verdict
    assert folder.need("io_contract")["postprocess"]["labels_source"] == "labels.txt"
    report = (folder.root / "reports/stakeholder-report.md").read_text()
    assert "100.0 % (60 of 60; with 95 % confidence each: at least 95.1 %" in report
    assert "from file to answer" in report and "made-up" not in report
    # The same model with half its names swapped is proven wrong; ten answers prove nothing.
    (tmp_path / "labels.txt").write_text("green\nred\nblue\n")
    assert tools.explored(tmp_path, directory="no", **keys).need("verdict")["verdict"] == "NO-GO"
    keys["samples"] = 10
    few = tools.explored(tmp_path, directory="few", **keys).need("verdict")
    assert few["verdict"] == "NOT DECIDED" and not few["blocking"]
    # Answers in other words than the model's prove nothing at all; the reports say so too.
    (tmp_path / "known.csv").write_text(
        "\n".join(rows).upper().replace(rows[0].upper(), rows[0]).replace(".PNG", ".png")
    )
    with pytest.raises(HardStop, match="60 of 60") as stop:
        tools.explored(tmp_path, directory="loud", in_process=monkeypatch, **keys)
    assert stop.value.code == "csv_invalid"
    loud = Folder(tmp_path / "loud")
    assert loud.need("verdict")["verdict"] == "NOT DECIDED"
    (need,) = loud.need("verdict")["needs"]
    assert need["line"].startswith('labels: "known_answers.csv"')
    report = (loud.root / "reports/stakeholder-report.md").read_text()
    assert "known answers are no name of contract.labels: 'RED'" in report


def test_a_size_that_nobody_states_is_a_guess_in_every_sentence(tmp_path, monkeypatch):
    file = tools.onnx_of_any_size(tmp_path / "net.onnx")
    keys = {"checkpoint": "net.onnx", "name": "net", "targets": {"latency_p95_ms": 1e-6}}
    folder = tools.explored(tmp_path, in_process=monkeypatch, directory="guess", **keys)
    verdict = folder.need("verdict")
    # A target that no machine meets is not missed on a size that nobody meant.
    assert verdict["verdict"] == "NOT DECIDED" and verdict["targets"][0]["met"] is None
    shape = folder.need("io_contract")["inputs"][0]["run_shape"]
    lines = (folder.root / "reports/stakeholder-report.md").read_text().splitlines()
    for line in lines:
        for sentence in line.split(". "):
            if " ms " in sentence and "|" not in sentence:
                assert f"guessed size (picture {shape})" in sentence, sentence
    need = next(n for n in verdict["needs"] if "shape" in n["key"])
    assert need["value"] == ["batch", *shape[1:]] and str(file)
    # The line that it asks for settles it.
    told = {"inputs": {"picture": {"shape": ["batch", 3, 32, 40]}}}
    folder = tools.explored(
        tmp_path, in_process=monkeypatch, directory="told", contract=told, **keys
    )
    assert folder.need("verdict")["verdict"] == "NO-GO"
    assert "guessed" not in (folder.root / "reports/stakeholder-report.md").read_text()


def test_what_a_file_says_of_itself_is_kept_short_and_inert():
    loud = {"author": "*" * 10**6, "task": "a|b\n<script>x</script>", "names": ["x" * 10**5] * 9}
    loud = {k: json.dumps(v) if isinstance(v, list) else v for k, v in loud.items()}
    facts = {
        "parameters": {"model": {}}, "io_contract": {"facts": {"metadata": loud}, "inputs": []},
        "provenance": {"refs": []},
    }  # fmt: skip
    lines = section(facts)
    assert max(map(len, lines)) < 1000 and "| task | a\\|b &lt;script>x&lt;/script> |" in "".join(
        lines
    )


def test_a_report_names_no_licence_where_none_was_seen():
    facts = {"parameters": {"model": {}}, "io_contract": {}, "provenance": {"refs": []}}
    assert "| licence | not stated | – |" in section(facts)
