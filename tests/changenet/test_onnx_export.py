"""The exported file: names, shapes, bytes, and that it computes what torch does."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from changenet_pairs import spec_data

from deft.changenet import backbones
from deft.changenet.backbones.radio_vit import RadioBackbone, RadioSize
from deft.changenet.backbones.vit_adapter import AdapterSize, RadioAdapter
from deft.changenet.model import build_model
from deft.changenet.onnx import export as onnx_export
from deft.changenet.onnx.export import check_export, done_otherwise, export_network, export_onnx
from deft.changenet.onnx.runtime import require
from deft.changenet.onnx.scorer import Scorer
from deft.changenet.spec import from_dict
from deft.changenet.weights import save_weights
from deft.core.errors import HardStop

pytestmark = pytest.mark.long

SCRIPTS = Path(onnx_export.__file__).resolve().parents[3]


def a_spec(backbone="timm:test_resnet", module="learnable", **export):
    data = spec_data()
    data["model"]["backbone"]["type"] = backbone
    data["model"]["classify"]["difference_module"] = module
    if module == "euclidean":
        data["train"]["classify"] = {"loss": "contrastive"}
    data["export"] = export
    return from_dict(data)


def a_model(spec, seed=0):
    """Random weights and batch-norm statistics: fresh ones would hide a forgotten norm."""
    torch.manual_seed(seed)
    model = build_model(spec)
    for name, buffer in model.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
        elif name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
    return model.eval()


def pictures(count, size=(32, 32), seed=9):
    draw = np.random.default_rng(seed).standard_normal
    return draw((count, 3, *size), np.float32), draw((count, 3, *size), np.float32)


def by_torch(model, test, golden):
    with torch.inference_mode():
        return model(torch.from_numpy(test), torch.from_numpy(golden)).numpy()


@pytest.mark.parametrize("module", ["learnable", "euclidean"])
@pytest.mark.parametrize("backbone", ["timm:test_resnet", "timm:test_convnext", "timm:test_vit"])
def test_file_has_taos_names_and_torchs_numbers(tmp_path, backbone, module):
    spec = a_spec(backbone, module)
    model, path = a_model(spec), tmp_path / "m.onnx"
    facts = export_network(model, spec, path)
    graph = onnx.load(path).graph
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.output)
    }
    pair = ["batch", 3, 32, 32]
    out = ["batch", 2] if module == "learnable" else ["batch"]
    assert shapes == {"input_1": pair, "input_2": pair, "output": out}
    assert facts["opset"] == onnx.load(path).opset_import[0].version == 17
    named = [i.name for i in graph.initializer if not i.name.startswith("onnx::")]
    assert named and set(named) <= set(model.model.state_dict())
    # Only the head's norms are left: four differences and two layers, or two layers a side.
    counts = Counter(node.op_type for node in graph.node)
    assert counts["BatchNormalization"] == (6 if module == "learnable" else 4)
    norms = [m for m in model.model.backbone.modules() if hasattr(m, "running_var")]
    assert facts["folded_batch_norms"] == len(norms)
    # Both sides share one set of numbers.
    weights = sum(t.numel() * t.element_size() for t in model.model.state_dict().values())
    assert path.stat().st_size < 1.2 * weights + 300_000
    scorer = Scorer(path)
    for count in (1, 2, 7):
        fed = pictures(count)
        assert np.abs(scorer.run(*fed) - by_torch(model, *fed)).max() < 1e-4


def test_identical_pictures_have_no_distance(tmp_path):
    """As in TAO's file: the exporter leaves out torch's eps, which gives 2.2e-6 there."""
    spec = a_spec(module="euclidean")
    model = a_model(spec)
    export_network(model, spec, tmp_path / "m.onnx")
    test, _ = pictures(2)
    found = Scorer(tmp_path / "m.onnx").run(test, test)
    assert (found == 0).all() and by_torch(model, test, test).max() < 3e-6


def test_the_model_is_left_as_it_was(tmp_path):
    spec = a_spec()
    model = a_model(spec)
    fed, keys = pictures(2), list(model.state_dict())
    before = by_torch(model, *fed)
    export_network(model, spec, tmp_path / "m.onnx")
    assert list(model.state_dict()) == keys and model.model.backbone.joint_batch
    assert (by_torch(model, *fed) == before).all()


def test_same_weights_same_bytes_in_another_process_and_folder(tmp_path):
    spec = a_spec()
    weights = tmp_path / "m.pth"
    save_weights(weights, a_model(spec), epoch=0, step=1)
    here = export_onnx(spec, weights, tmp_path / "a" / "m.onnx")
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "from changenet_pairs import spec_data\n"
        "from deft.changenet.spec import from_dict\n"
        "from deft.changenet.onnx.export import export_onnx\n"
        "export_onnx(from_dict(spec_data()), sys.argv[1], sys.argv[2])\n"
    )
    there = tmp_path / "elsewhere" / "other.onnx"
    paths = [str(SCRIPTS), str(Path(__file__).resolve().parents[1] / "support")]
    subprocess.run(
        [sys.executable, "-c", code, str(weights), str(there), *paths], check=True, timeout=300
    )
    assert there.read_bytes() == (tmp_path / "a/m.onnx").read_bytes()
    assert len(here["sha256"]) == 64 and here["bytes"] == there.stat().st_size
    assert sorted(p.name for p in there.parent.iterdir()) == ["other.onnx"]


def test_a_fixed_batch_is_fixed_and_still_scores_any_number(tmp_path):
    spec = a_spec(batch_size=2)
    model = a_model(spec)
    export_network(model, spec, tmp_path / "m.onnx")
    first = onnx.load(tmp_path / "m.onnx").graph.input[0].type.tensor_type.shape.dim[0]
    assert first.dim_value == 2 and not first.dim_param
    fed = pictures(5)
    found = Scorer(tmp_path / "m.onnx").run(*fed)
    assert np.abs(found - by_torch(model, *fed)).max() < 1e-5 and len(found) == 5


def test_large_models_keep_their_numbers_in_one_file_beside(tmp_path):
    spec = a_spec()
    model = a_model(spec)
    export_network(model, spec, tmp_path / "one.onnx")
    facts = export_network(model, spec, tmp_path / "two.onnx", one_file_bytes=1000)
    assert facts["data_file"] == "two.onnx.data" and len(facts["data_sha256"]) == 64
    assert (tmp_path / "two.onnx").stat().st_size < (tmp_path / "one.onnx").stat().st_size
    fed = pictures(3)
    outs = [Scorer(tmp_path / f"{n}.onnx").run(*fed) for n in ("one", "two")]
    assert (outs[0] == outs[1]).all()
    again = export_network(model, spec, tmp_path / "b/two.onnx", one_file_bytes=1000)
    assert again["sha256"] == facts["sha256"] and again["data_sha256"] == facts["data_sha256"]
    # A smaller model later under the same name leaves no old numbers behind.
    export_network(model, spec, tmp_path / "two.onnx")
    assert not (tmp_path / "two.onnx.data").exists()


def test_opset_is_raised_to_17(tmp_path):
    assert check_export(a_spec(opset_version=12)) == 17
    facts = export_network(a_model(a_spec()), a_spec(opset_version=12), tmp_path / "m.onnx")
    assert (facts["opset"], facts["opset_asked"]) == (17, 12)
    facts = export_network(a_model(a_spec()), a_spec(opset_version=20), tmp_path / "m.onnx")
    assert onnx.load(tmp_path / "m.onnx").opset_import[0].version == facts["opset"] == 20


@pytest.mark.parametrize(
    "export, words",
    [
        ({"opset_version": 30}, "opset_version 30"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"input_channel": 1}, "input_channel 1"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(export, words):
    with pytest.raises(HardStop) as stop:
        check_export(a_spec(**export))
    assert stop.value.code == "spec_invalid" and words in str(stop.value)


def test_sizes_that_are_the_networks_or_not_given_are_taken():
    for size in (32, 224):
        spec = a_spec(input_height=size, input_width=size)
        assert check_export(spec) == 17 and done_otherwise(spec) == []


def test_another_size_is_taken_and_said(tmp_path):
    spec = a_spec(input_height=64, input_width=32)
    assert "have no effect" in done_otherwise(spec)[0]
    facts = export_network(a_model(a_spec()), spec, tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim][1:] == [3, 32, 32]
    assert facts


def test_euclidean_takes_another_size_when_told(tmp_path):
    spec = a_spec(module="euclidean")
    model = a_model(spec)
    export_network(model, spec, tmp_path / "m.onnx", size=(64, 32))
    fed = pictures(3, (64, 32))
    found = Scorer(tmp_path / "m.onnx").run(*fed)
    assert np.abs(found - by_torch(model, *fed)).max() < 1e-4


def test_a_graph_that_computes_something_else_is_not_kept(tmp_path, monkeypatch):
    trace = onnx_export._trace

    def other_weights(network, *rest):
        with torch.no_grad():
            network.decoder.classifier[6].bias.add_(0.01)
            trace(network, *rest)
            network.decoder.classifier[6].bias.sub_(0.01)

    monkeypatch.setattr(onnx_export, "_trace", other_weights)
    with pytest.raises(HardStop, match="differ") as stop:
        export_network(a_model(a_spec()), a_spec(), tmp_path / "m.onnx")
    assert stop.value.code == "score_invalid" and list(tmp_path.iterdir()) == []


def test_a_frozen_number_of_pairs_is_found_out(tmp_path, monkeypatch):
    """A network that cuts joined sides at the example's number computes rubbish for others."""
    spec = a_spec()
    model = a_model(spec)
    cut = onnx_export.EXAMPLE_PAIRS

    def forward(network, test, golden):
        both = network.backbone(torch.cat([test, golden]))
        at = cut if torch.onnx.is_in_onnx_export() else len(test)
        return network.decoder([m[:at] for m in both], [m[at : 2 * at] for m in both])

    monkeypatch.setattr(type(model.model), "forward", forward)
    with pytest.raises(HardStop) as stop:
        export_network(model, spec, tmp_path / "m.onnx")
    assert stop.value.code == "score_invalid" and list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(HardStop, match="onnxruntime cannot be imported") as stop:
        require("onnxruntime")
    assert stop.value.code == "config_invalid" and "requirements" in stop.value.fix


@pytest.mark.parametrize("module", ["learnable", "euclidean"])
def test_a_small_c_radio(tmp_path, monkeypatch, module):
    """Deformable attention becomes GridSample, positions and tokens follow the batch."""
    name, size = "c_radio_v2_vit_base_patch16_224", RadioSize(32, 4, 2, max_input_px=128)
    adapter = AdapterSize(prior_width=8, heads=2)
    monkeypatch.setitem(
        backbones.NATIVE,
        name,
        lambda spec: RadioAdapter(size, adapter) if spec.learnable else RadioBackbone(size),
    )
    data = a_spec(name, module).to_dict()
    data["dataset"]["classify"] |= {"image_width": 64, "image_height": 64}
    spec = from_dict(data)
    model = a_model(spec)
    with torch.no_grad():  # they start so small that the adapter would not show
        for key, parameter in model.named_parameters():
            if "gamma" in key or "sampling_offsets" in key:
                parameter.normal_(0.5, 0.2)
    export_network(model, spec, tmp_path / "m.onnx")
    counts = Counter(node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node)
    assert (counts["GridSample"] > 0) == (module == "learnable")
    for count in (1, 6):
        fed = pictures(count, (64, 64))
        found = Scorer(tmp_path / "m.onnx").run(*fed)
        assert np.abs(found - by_torch(model, *fed)).max() < 1e-5
        assert np.ptp(found) > 1e-4 or count == 1  # so that a mix-up of pairs would show


def test_several_goldens_are_one_input(tmp_path):
    data = spec_data()
    data["dataset"]["classify"] |= {"num_golden": 2, "image_width": 224, "image_height": 224}
    spec = from_dict(data)
    model = a_model(spec)
    export_network(model, spec, tmp_path / "m.onnx")
    shape = onnx.load(tmp_path / "m.onnx").graph.input[1].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in shape] == ["batch", 2, 3, 224, 224]
    test, first = pictures(4, (224, 224))
    goldens = np.stack([first, first[::-1]], axis=1)
    found = Scorer(tmp_path / "m.onnx").run(test, goldens)
    assert np.abs(found - by_torch(model, test, goldens)).max() < 1e-5
