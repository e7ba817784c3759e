"""Transformers of timm: DINOv2 and DINOv3.

The embedding is the class token after the last norm: what both papers evaluate nearest
neighbours with (Oquab et al. 2023, section 7.1; Simeoni et al. 2025). timm's own default for
DINOv3 is the mean of the patch tokens, which its source calls a deviation from the original.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deft.changenet.weights import read_tensors
from deft.core.errors import HardStop
from deft.embedding.encoders.files import EncoderFiles
from deft.embedding.encoders.preprocessing import (
    FILTERS,
    LONGEST,
    SHORTEST,
    SQUASH,
    Preprocessing,
    needed,
    one_of,
    pair,
    three,
)
from deft.embedding.encoders.torch_encoder import Options, TorchEncoder, fill_from

CONFIG_NAME = "config.json"
CROP_MODES = {"center": SHORTEST, "squash": SQUASH, "border": LONGEST}
OWN_ARGUMENTS = ("pretrained", "num_classes", "global_pool", "img_size")


def settings_of(files: EncoderFiles) -> dict[str, Any]:
    """Return ``pretrained_cfg``; raises HardStop when the file is none of timm's."""
    path, config = files.configs[CONFIG_NAME], files.config(CONFIG_NAME)
    settings = config.get("pretrained_cfg")
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or not isinstance(settings, dict):
        raise HardStop(
            "config_invalid",
            f"{CONFIG_NAME} lacks architecture or pretrained_cfg, so it is none of timm's",
            file=path,
            fix=files.published.advice(),
        )
    if files.published.name not in architecture:
        raise HardStop(
            "config_invalid",
            f"encoder is {files.published.name}, but {CONFIG_NAME} is of {architecture}",
            file=path,
            fix=f"set encoder to what the folder holds, or {files.published.advice()}",
        )
    return settings


def preprocessing(files: EncoderFiles) -> Preprocessing:
    """Return what timm's evaluation transform does with these files."""
    path, settings = files.configs[CONFIG_NAME], settings_of(files)
    needed(
        settings,
        ("input_size", "interpolation", "crop_pct", "mean", "std"),
        "pretrained_cfg",
        path,
    )
    shape = settings["input_size"]
    if not isinstance(shape, list) or len(shape) != 3 or shape[0] != 3:
        raise HardStop(
            "config_invalid", f"pretrained_cfg.input_size is {shape!r}, not [3, h, w]", file=path
        )
    size = pair(shape[1:], "pretrained_cfg.input_size", path)
    share = settings["crop_pct"]
    if not isinstance(share, int | float) or not 0 < share <= 10:
        raise HardStop("config_invalid", f"pretrained_cfg.crop_pct is {share!r}", file=path)
    mode = one_of(settings.get("crop_mode") or "center", CROP_MODES, "crop_mode", path)
    mean = three(settings["mean"], "pretrained_cfg.mean", path)
    height, width = (math.floor(side / share) for side in size)
    red, green, blue = (round(255 * v) if mode == "border" else 0 for v in mean)
    return Preprocessing(
        size_px=size,
        resize_px=(height, width),
        resize=CROP_MODES[mode],
        interpolation=one_of(settings["interpolation"], FILTERS, "interpolation", path),
        mean=mean,
        std=three(settings["std"], "pretrained_cfg.std", path),
        fill=(red, green, blue),
    )


def size_px(files: EncoderFiles) -> tuple[int, int]:
    """Return (height, width) of a prepared picture, having checked the configuration."""
    return preprocessing(files).size_px


def check(files: EncoderFiles) -> None:
    """Raise HardStop when the files do not fit each other; no number of the network is made."""
    size = preprocessing(files).size_px
    with torch.device("meta"):
        model = _model(files, size)
    fill(model, files.weights, settings_of(files))


def build(files: EncoderFiles, options: Options) -> TorchEncoder:
    """Return the encoder; raises HardStop when files do not fit each other."""
    prepared, settings = preprocessing(files), settings_of(files)
    model = _model(files, prepared.size_px)
    fill(model, files.weights, settings)
    width: Any = model.num_features
    facts = {"files": files.digests(), "output": "class token"}
    return TorchEncoder(
        files.published.name,
        model,
        int(width),
        prepared,
        facts,
        options,
        files.reference,
    )


def _model(files: EncoderFiles, size_px: tuple[int, int]) -> nn.Module:
    """Return the architecture without its head, random numbers in it."""
    from deft.changenet.backbones.timm_start import timm  # wanted only here

    path, config = files.configs[CONFIG_NAME], files.config(CONFIG_NAME)
    given = config.get("model_args") or {}
    arguments = {k: v for k, v in given.items() if k not in OWN_ARGUMENTS}
    try:
        # The size is the preprocessing's, so that one edit in the file changes both.
        model = timm.create_model(
            config["architecture"],
            pretrained=False,
            num_classes=0,
            global_pool="token",
            img_size=size_px,
            **arguments,
        )
    except Exception as error:  # a wrong architecture fails in timm in many ways
        raise HardStop(
            "config_invalid",
            f"timm {timm.__version__} cannot build {config['architecture']} for {size_px[1]} × "
            f"{size_px[0]} px ({type(error).__name__}: {error})",
            file=path,
        ) from None
    if getattr(model, "num_prefix_tokens", 0) < 1:
        raise HardStop(
            "config_invalid", f"{config['architecture']} has no class token to embed", file=path
        )
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", (1, 1))
    if any(side % own for side, own in zip(size_px, patch, strict=True)):
        raise HardStop(
            "config_invalid",
            f"pretrained_cfg.input_size is {size_px[1]} × {size_px[0]} px; sides must be multiples "
            f"of {patch[0]}",
            file=path,
        )
    return model


def fill(model: nn.Module, path: Path, settings: dict[str, Any]) -> None:
    """Fill the model, strictly but for a classifier's head."""
    state: dict[str, torch.Tensor] = read_tensors(path)
    # Each of timm's files adapts foreign names and position tables of another size.
    adapt = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if adapt is not None:
        state = adapt(state, model)
    head = str(settings.get("classifier") or "head") + "."
    state = {name: value for name, value in state.items() if not name.startswith(head)}
    fill_from(model, state, path, f"the architecture of {CONFIG_NAME}")
