"""Backbones: a picture to four feature maps.

``NATIVE`` holds TAO's own names; ``timm:<name>`` is any timm model with four levels.

A backbone has ``channels`` (of the four levels, finest first), ``forward`` (pictures (B, 3, H, W)
-> four maps) and ``pooled`` (-> (B, C_4)). It may have ``joint_batch``, ``embedding`` with
``embedding_width``, ``pretrained_part``, ``load_pretrained`` and ``tao_model_type``; without them
``deft.changenet.model`` takes its defaults.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from deft.changenet.backbones import timm_start  # noqa: F401 - before all others, which import timm

# isort: split
from deft.changenet.backbones import dinov3, fan, nvdinov2, radio
from deft.changenet.backbones.base import Backbone
from deft.changenet.backbones.timm_features import TimmBackbone
from deft.changenet.backbones.timm_weights import load_backbone
from deft.changenet.spec import Spec
from deft.changenet.spec.native import TIMM_PREFIX
from deft.core.errors import HardStop

__all__ = ["NATIVE", "Backbone", "Builder", "TimmBackbone", "build_backbone", "load_backbone"]

Builder = Callable[[Spec], Backbone]
NATIVE: dict[str, Builder] = {  # TAO's name -> how to build it
    **radio.BUILDERS,
    **fan.BUILDERS,
    **nvdinov2.BUILDERS,
    **dinov3.BUILDERS,
}


def build_backbone(spec: Spec) -> Backbone:
    """Return the spec's backbone, randomly initialised; raises HardStop ``spec_invalid``."""
    name = spec.model.backbone.type
    if name in NATIVE:
        return NATIVE[name](spec)
    if name.startswith(TIMM_PREFIX):
        try:
            return TimmBackbone(
                name.removeprefix(TIMM_PREFIX),
                spec.tensor_size,
                spec.model.decode_head.feature_strides,
            )
        except HardStop as stop:
            raise HardStop(stop.code, stop.message, file=spec.source, fix=stop.fix) from None
    near = difflib.get_close_matches(name, NATIVE, n=3)
    advice = f"did you mean {', '.join(near)}? " if near else ""
    raise HardStop(
        "spec_invalid",
        f"model.backbone.type {name!r} is not available in the native engine",
        file=spec.source,
        fix=f"{advice}the names are in docs/backbones.md; any timm model is {TIMM_PREFIX}<name>",
    )
