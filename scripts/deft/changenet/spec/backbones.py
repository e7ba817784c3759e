"""What TAO's own backbones ask of a spec: strides, sizes, and what must be frozen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deft.changenet.spec.build import SpecProblem
from deft.core.errors import HardStop
from deft.core.weight_files import BACKBONE_KEY

if TYPE_CHECKING:
    from deft.changenet.spec import Spec


@dataclass(frozen=True)
class Needs:
    """What backbones of one family need.

    ``strides``: pixels per place of the four maps that they make. ``learnable_px`` and
    ``euclidean_px``: both sides of the joined picture must be multiples, by difference module.
    ``square``: the learnable module takes squares only.
    """

    strides: tuple[int, ...] = (4, 8, 16, 32)
    learnable_px: int = 16
    euclidean_px: int = 16
    square: bool = False
    frozen: bool = False


# Part of a backbone's name -> needs; the first that fits counts.
FAMILIES = {
    "c_radio_": Needs(),
    "fan_": Needs(strides=(4, 8, 16, 16)),
    "_nvdinov2": Needs(euclidean_px=14, square=True),
    "_dinov3": Needs(frozen=True),
}


def needs_of(name: str) -> Needs | None:
    """Return what a backbone of TAO's needs, or None for other names (``timm:...``)."""
    if ":" in name:
        return None
    return next((needs for part, needs in FAMILIES.items() if part in name), None)


def needs_file(spec: Spec, *, random_weights: bool) -> bool:
    """Return whether a backbone whose path is empty must be filled from a staged file.

    ``random_weights``: the setting. Raises HardStop ``spec_invalid`` where random numbers would
    stay frozen.
    """
    if spec.train.pretrained_model_path or spec.train.resume_training_checkpoint_path:
        return False  # the whole network's weights are given
    backbone, is_taos = spec.model.backbone, needs_of(spec.model.backbone.type) is not None
    if backbone.freeze_backbone and (random_weights or not is_taos):
        raise HardStop(
            "spec_invalid",
            "model.backbone.freeze_backbone would keep random numbers for ever",
            file=spec.source,
            fix=f"give {BACKBONE_KEY}, or set freeze_backbone: false",
        )
    return is_taos and not random_weights


def check_backbone(spec: Spec) -> None:
    """Raise :class:`SpecProblem` where the spec does not go with its backbone of TAO's."""
    name, needs = spec.model.backbone.type, needs_of(spec.model.backbone.type)
    if needs is None:
        return
    found = spec.model.decode_head.feature_strides
    # Only the learnable module has a decoder; the euclidean one does not read the strides.
    if spec.learnable and tuple(found) != needs.strides:
        raise SpecProblem(
            f"model.decode_head.feature_strides is {found}, but {name} gives {list(needs.strides)}",
            f"set model.decode_head.feature_strides: {list(needs.strides)}",
        )
    height, width = spec.tensor_size
    multiple = needs.learnable_px if spec.learnable else needs.euclidean_px
    square = needs.square and spec.learnable
    if height % multiple or width % multiple or (square and height != width):
        raise SpecProblem(
            f"{name} with difference_module {spec.model.classify.difference_module} takes "
            f"{'squares' if square else 'pictures'} with sides that are multiples of {multiple} "
            f"pixels; the joined picture is {width} x {height}",
            "change dataset.classify.image_width and image_height, such as to 224",
        )
    if needs.frozen and not spec.model.backbone.freeze_backbone:
        raise SpecProblem(
            f"model.backbone.type {name} is supported frozen only",
            "set model.backbone.freeze_backbone: true",
        )
