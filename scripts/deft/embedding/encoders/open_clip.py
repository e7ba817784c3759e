"""Image towers of open_clip: SigLIP, SigLIP 2, CLIP.

The embedding is the image tower's output, the one that is compared with texts (``encode_image``).
The text tower is never built: its files may be twice as large as the image's.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from deft.changenet.weights import read_tensors
from deft.core.errors import HardStop
from deft.embedding.encoders.files import EncoderFiles
from deft.embedding.encoders.preprocessing import (
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

CONFIG_NAME = "open_clip_config.json"
TOWER = "visual."
MODES = (SHORTEST, LONGEST, SQUASH)
INTERPOLATIONS = ("bicubic", "bilinear", "random")  # open_clip knows these
NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}


def preprocessing(files: EncoderFiles) -> Preprocessing:
    """Return what open_clip's evaluation transform does with these files.

    Mean and deviation must be in the file; the other settings have open_clip's own defaults.
    """
    path, config = files.configs[CONFIG_NAME], files.config(CONFIG_NAME)
    model, settings = config.get("model_cfg"), config.get("preprocess_cfg")
    if not isinstance(model, dict) or not isinstance(settings, dict):
        raise HardStop(
            "config_invalid",
            f"{CONFIG_NAME} lacks model_cfg or preprocess_cfg, so it is none of open_clip's",
            file=path,
            fix=files.published.advice(),
        )
    needed(settings, ("mean", "std"), "preprocess_cfg", path)
    one_of(settings.get("mode") or "RGB", ("RGB",), "preprocess_cfg.mode", path)
    vision = model.get("vision_cfg") or {}
    needed(vision, ("image_size",), "model_cfg.vision_cfg", path)
    # open_clip takes the model's size, whatever preprocess_cfg says.
    size = pair(vision["image_size"], "model_cfg.vision_cfg.image_size", path)
    mode = one_of(settings.get("resize_mode") or SHORTEST, MODES, "resize_mode", path)
    filter_name = one_of(
        settings.get("interpolation") or "bicubic", INTERPOLATIONS, "interpolation", path
    )
    if filter_name == "random" or (mode == SHORTEST and size[0] != size[1]):
        filter_name = "bicubic"  # as open_clip does, whatever the file says
    red, green, blue = 0, 0, 0
    if mode == LONGEST:
        fill = three(settings.get("fill_color") or 0, "preprocess_cfg.fill_color", path)
        red, green, blue = (int(v) for v in fill)
    return Preprocessing(
        size_px=size,
        resize_px=size,
        resize=mode,
        interpolation=filter_name,
        mean=three(settings["mean"], "preprocess_cfg.mean", path),
        std=three(settings["std"], "preprocess_cfg.std", path),
        fill=(red, green, blue),
    )


def size_px(files: EncoderFiles) -> tuple[int, int]:
    """Return (height, width) of a prepared picture, having checked the configuration."""
    return preprocessing(files).size_px


def check(files: EncoderFiles) -> None:
    """Raise HardStop when the files do not fit each other; no number of the network is made."""
    preprocessing(files)
    with torch.device("meta"):
        visual = _tower(files.config(CONFIG_NAME)["model_cfg"], files.configs[CONFIG_NAME])
    fill(visual, files.weights)


def build(files: EncoderFiles, options: Options) -> TorchEncoder:
    """Return the encoder; raises HardStop when files do not fit each other."""
    prepared = preprocessing(files)
    model = files.config(CONFIG_NAME)["model_cfg"]
    visual = _tower(model, files.configs[CONFIG_NAME])
    fill(visual, files.weights)
    dim = int(model["embed_dim"])
    facts = {"files": files.digests(), "output": "encode_image"}
    return TorchEncoder(
        files.published.name, visual, dim, prepared, facts, options, files.reference
    )


def _tower(model: dict[str, Any], path: Path) -> nn.Module:
    """Return the image tower of a model_cfg, random numbers in it."""
    import open_clip  # seconds of import, wanted only here

    vision = copy.deepcopy(model["vision_cfg"])
    if "multimodal_cfg" in model or vision.get("output_tokens"):
        raise HardStop(
            "config_invalid", "a CoCa model's image tower is not supported as an encoder", file=path
        )
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    try:
        return open_clip.CustomTextCLIP(
            embed_dim=model["embed_dim"],
            vision_cfg=vision,
            text_cfg=NO_TEXT,
            quick_gelu=bool(model.get("quick_gelu", False)),
        ).visual
    except Exception as error:  # a wrong architecture fails in both libraries in many ways
        raise HardStop(
            "config_invalid",
            f"open_clip {open_clip.__version__} cannot build model_cfg.vision_cfg "
            f"({type(error).__name__}: {error})",
            file=path,
        ) from None


def fill(visual: nn.Module, path: Path) -> None:
    """Fill the image tower, strictly."""
    state = {
        name.removeprefix("module.").removeprefix(TOWER): value
        for name, value in read_tensors(path).items()
        if name.removeprefix("module.").startswith(TOWER)
    }
    fill_from(visual, state, path, f"the image tower of {CONFIG_NAME}")
