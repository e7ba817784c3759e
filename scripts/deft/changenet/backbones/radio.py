"""TAO's C-RADIO backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from deft.changenet.backbones.base import Backbone
from deft.changenet.backbones.radio_vit import RadioBackbone, RadioSize
from deft.changenet.backbones.vit_adapter import AdapterSize, RadioAdapter

if TYPE_CHECKING:
    from deft.changenet.spec import Spec

_HUGE_NORM: dict[str, Any] = {
    "width": 1280,
    "depth": 32,
    "heads": 16,
    "register_multiple": 16,
    "mlp_norm": True,
    "adapter_drop_path": 0.4,
}

SIZES: dict[str, RadioSize] = {
    "c_radio_v2_vit_base_patch16_224": RadioSize(768, 12, 12),
    "c_radio_v2_vit_large_patch16_224": RadioSize(1024, 24, 16),
    "c_radio_v2_vit_huge_patch16_224": RadioSize(1280, 32, 16),
    "c_radio_p1_vit_huge_patch16_224_mlpnorm": RadioSize(class_tokens=3, **_HUGE_NORM),
    "c_radio_p2_vit_huge_patch16_224_mlpnorm": RadioSize(
        class_tokens=4, summary_tokens=(0, 1, 2, 3), **_HUGE_NORM
    ),
    "c_radio_p3_vit_huge_patch16_224_mlpnorm": RadioSize(class_tokens=4, **_HUGE_NORM),
}


def build_radio(name: str, spec: Spec) -> Backbone:
    """Return the backbone that goes with the spec's difference module, randomly initialised."""
    size = SIZES[name]
    if not spec.learnable:
        return RadioBackbone(size)
    summary = spec.model.decode_head.use_summary_token
    return RadioAdapter(size, AdapterSize(summary=summary, drop_path=size.adapter_drop_path))


BUILDERS: dict[str, Callable[[Spec], Backbone]] = {
    name: partial(build_radio, name) for name in SIZES
}
