"""NVIDIA's C-RADIO v2 on this project's own transformer, from the files that the hub has.

The embedding is the model's *summary*: its class tokens side by side, all but those whose teacher
gave none (``summary_idxs`` of the weights; Ranzinger et al. 2024). Mean and deviation are those of
the model's input conditioner, which lie in the weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from deft.changenet.backbones.pretrained import load_radio
from deft.changenet.backbones.radio import SIZES
from deft.changenet.backbones.radio_vit import RadioBackbone, RadioSize
from deft.changenet.weights import read_tensors
from deft.core.errors import HardStop
from deft.core.weight_files import BACKBONE_KEY as KEY
from deft.embedding.encoders.files import EncoderFiles
from deft.embedding.encoders.preprocessing import SQUASH, Preprocessing, needed, pair, three
from deft.embedding.encoders.torch_encoder import Options, TorchEncoder

CONFIG_NAME, PROCESSOR_NAME = "config.json", "preprocessor_config.json"
FILTER_NUMBERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
RESCALE = 1 / 255
SUMMARY, MEAN, STD = "summary_idxs", "input_conditioner.norm_mean", "input_conditioner.norm_std"
PREFIX = "c_radio_v2_"


class Summary(nn.Module):
    """Pictures (B, 3, H, W) to summaries (B, width * summary tokens)."""

    def __init__(self, backbone: RadioBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the summary tokens side by side."""
        return self.backbone.embedding(pictures)


def size_of(files: EncoderFiles) -> RadioSize:
    """Return the transformer's size as ``config.json`` names it."""
    path, config = files.configs[CONFIG_NAME], files.config(CONFIG_NAME)
    args = config.get("args")
    args = args if isinstance(args, dict) else {}
    needed(args, ("model", "cpe_max_size"), "args", path)
    known = {name.removeprefix(PREFIX): size for name, size in SIZES.items() if PREFIX in name}
    if args["model"] not in known:
        raise HardStop(
            "config_invalid",
            f"args.model {args['model']!r} is not supported; known: {', '.join(known)}",
            file=path,
            fix=files.published.advice(),
        )
    table_px = pair(args["cpe_max_size"], "args.cpe_max_size", path)[0]
    return replace(known[args["model"]], max_input_px=table_px)


def picture_settings(files: EncoderFiles) -> dict[str, Any]:
    """Return size and filter of ``preprocessor_config.json``, in the terms of transformers.

    What this project does is resizing to one size and scaling to 0..1; anything else is refused
    by name. ``do_resize`` does not count: the model's page resizes in its example whatever it
    says, and batches need one size.
    """
    path, given = files.configs[PROCESSOR_NAME], files.config(PROCESSOR_NAME)
    needed(given, ("size", "resample"), PROCESSOR_NAME, path)
    size = given["size"]
    if not isinstance(size, dict) or set(size) != {"height", "width"}:
        raise HardStop(
            "config_invalid",
            f"size {size!r} is not supported; known: height and width",
            file=path,
            fix='write "size": {"height": 224, "width": 224}, sides multiples of 16',
        )
    size = pair([size["height"], size["width"]], "size", path)
    sides = SIZES[f"{PREFIX}vit_base_patch16_224"].patch_px
    if size[0] % sides or size[1] % sides:
        raise HardStop(
            "config_invalid",
            f"size is {size[1]} × {size[0]} px; sides must be multiples of {sides}",
            file=path,
        )
    cropped = given.get("crop_size")
    crops = given.get("do_center_crop", False) and cropped != given["size"]
    scales = not given.get("do_rescale", True) or (
        abs(float(given.get("rescale_factor", RESCALE)) - RESCALE) > 1e-9
    )
    number = given["resample"]
    for wrong, text in (
        (crops, f"do_center_crop with crop_size {cropped!r}"),
        (scales, f"rescale_factor {given.get('rescale_factor')!r} or do_rescale: false"),
        (number not in FILTER_NUMBERS, f"resample {number!r}"),
    ):
        if wrong:
            raise HardStop("config_invalid", f"{text} is not supported", file=path)
    return {
        "size_px": size,
        "resize_px": size,
        "resize": SQUASH,
        "interpolation": FILTER_NUMBERS[number],
    }


def size_px(files: EncoderFiles) -> tuple[int, int]:
    """Return (height, width) of a prepared picture, having checked both configurations."""
    size_of(files)
    return picture_settings(files)["size_px"]


def check(files: EncoderFiles) -> None:
    """Raise HardStop when the files do not fit each other; no number of the network is made."""
    picture_settings(files)
    with torch.device("meta"):
        backbone = RadioBackbone(size_of(files))
    _fill(backbone, files)
    extra = _extra(files)
    _normalisation(files, extra)
    _summary_tokens(files, extra, size_of(files))


def build(files: EncoderFiles, options: Options) -> TorchEncoder:
    """Return the encoder; raises HardStop when files do not fit each other."""
    settings, size = picture_settings(files), size_of(files)
    extra = _extra(files)
    mean, std = _normalisation(files, extra)
    size = replace(size, summary_tokens=_summary_tokens(files, extra, size))
    backbone = RadioBackbone(size)
    _fill(backbone, files)
    facts = {
        "files": files.digests(),
        "output": "summary",
        "summary_tokens": list(size.summary_tokens),
    }
    return TorchEncoder(
        files.published.name,
        Summary(backbone),
        backbone.embedding_width,
        Preprocessing(**settings, mean=mean, std=std),
        facts,
        options,
        files.reference,
    )


def _extra(files: EncoderFiles) -> dict[str, torch.Tensor]:
    """Return what the weights say beside the network: summary tokens, mean and deviation."""
    return {
        name.removeprefix("radio_model."): value
        for name, value in read_tensors(files.weights).items()
        if name.endswith((SUMMARY, MEAN, STD))
    }


def _fill(backbone: RadioBackbone, files: EncoderFiles) -> None:
    try:
        load_radio(backbone.vit, files.weights)
    except HardStop as stop:
        raise HardStop(
            stop.code,
            stop.message.replace(KEY, "encoder_weights"),
            file=stop.file,
            fix=files.published.advice(),
        ) from None


def _summary_tokens(
    files: EncoderFiles, extra: dict[str, torch.Tensor], size: RadioSize
) -> tuple[int, ...]:
    """Return which class tokens make the summary: as the weights say, or else ``config.json``."""
    path = files.configs[CONFIG_NAME]
    if SUMMARY in extra:
        found = tuple(int(i) for i in extra[SUMMARY].flatten().tolist())
    else:
        teachers = files.config(CONFIG_NAME)["args"].get("teachers")
        if not isinstance(teachers, list) or not all(isinstance(t, dict) for t in teachers):
            raise HardStop(
                "config_invalid",
                f"neither {SUMMARY} in the weights nor args.teachers in {CONFIG_NAME} says which "
                "tokens make the summary",
                file=path,
                fix=files.published.advice(),
            )
        found = tuple(i for i, t in enumerate(teachers) if t.get("use_summary", True))
    if not found or not all(0 <= i < size.prefix_tokens for i in found):
        raise HardStop("config_invalid", f"the summary is made of tokens {found}", file=path)
    return found


def _normalisation(
    files: EncoderFiles, extra: dict[str, torch.Tensor]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation from the one place that has them: the weights or the file."""
    given, path = files.config(PROCESSOR_NAME), files.configs[PROCESSOR_NAME]
    in_weights, in_file = MEAN in extra and STD in extra, bool(given.get("do_normalize", False))
    if in_weights == in_file:
        which = "both the weights and" if in_weights else "neither the weights nor"
        raise HardStop(
            "config_invalid",
            f"{which} {PROCESSOR_NAME} normalise a picture; exactly one must",
            file=path,
            fix="with an input conditioner in the weights set do_normalize: false, without one "
            "do_normalize: true, image_mean and image_std",
        )
    if in_weights:
        return tuple(extra[MEAN].flatten().tolist()), tuple(extra[STD].flatten().tolist())
    needed(given, ("image_mean", "image_std"), PROCESSOR_NAME, path)
    return (
        three(given["image_mean"], "image_mean", path),
        three(given["image_std"], "image_std", path),
    )
