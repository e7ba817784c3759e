"""What the native engine does not do of what a TAO spec may ask: refused, each key by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deft.changenet.spec_build import SpecProblem
from deft.changenet.spec_schema import MISSING

if TYPE_CHECKING:
    from deft.changenet.spec import Spec

TIMM_PREFIX = "timm:"
TAO_ENGINE = "set engine: tao to run it in NVIDIA's container"


def check_native(spec: Spec) -> None:
    """Raise :class:`SpecProblem` at the first thing the native engine would have to ignore."""
    data, train, model = spec.dataset.classify, spec.train, spec.model
    refusals = [
        (data.num_classes != 2, "dataset.classify.num_classes", "2 (PASS and NO_PASS)"),
        (data.num_golden != 1, "dataset.classify.num_golden", "1"),
        (
            model.decode_head.in_index != [0, 1, 2, 3],
            "model.decode_head.in_index",
            "[0, 1, 2, 3]",
        ),
        (model.backbone.feat_downsample, "model.backbone.feat_downsample", "false"),
        (train.num_gpus != 1, "train.num_gpus", "1"),
        (train.num_nodes != 1, "train.num_nodes", "1"),
        (train.precision in ("16-mixed", "16", "fp16"), "train.precision", "bf16-mixed or 32-true"),
        (train.checkpoint_interval_unit != "epoch", "train.checkpoint_interval_unit", "epoch"),
        (train.checkpointer.enable_topk, "train.checkpointer.enable_topk", "false"),
        (train.tensorboard.enabled, "train.tensorboard.enabled", "false (curves are CSV files)"),
        (train.optim.monitor_name != "val_loss", "train.optim.monitor_name", "val_loss"),
        (
            bool(train.resume_training_checkpoint_path),
            "train.resume_training_checkpoint_path",
            '"" (an interrupted training resumes by itself)',
        ),
        (spec.evaluate.trt_engine not in ("", MISSING), "evaluate.trt_engine", '""'),
        (spec.inference.trt_engine not in ("", MISSING), "inference.trt_engine", '""'),
        (spec.wandb.enable, "wandb.enable", "false"),
        (bool(spec.encryption_key), "encryption_key", '"" (weights are never encrypted)'),
    ]
    for broken, name, allowed in refusals:
        if broken:
            raise SpecProblem(
                f"{name} is not supported by the native engine unless it is {allowed}",
                f"set {name}: {allowed.split(' (')[0]}, or {TAO_ENGINE}",
            )
    if data.fpratio_sampling <= 0:
        raise SpecProblem(
            "dataset.classify.fpratio_sampling 0 would never show a defect to the training",
            "set dataset.classify.fpratio_sampling: 0.1",
        )
    _check_loss(spec)
    _check_lights(spec)
    _check_size(spec)


def _check_loss(spec: Spec) -> None:
    module, loss = spec.model.classify.difference_module, spec.train.classify.loss
    wanted = {"learnable": "ce", "euclidean": "contrastive"}[module]
    if loss != wanted:
        raise SpecProblem(
            f"train.classify.loss {loss!r} does not go with difference_module {module!r}",
            f"set train.classify.loss: {wanted}",
        )
    weights = spec.train.classify.cls_weight
    if loss == "ce" and min(weights) <= 0:
        raise SpecProblem(f"train.classify.cls_weight must be positive, found {weights}")


def _check_lights(spec: Spec) -> None:
    data, count = spec.dataset.classify, len(spec.lights)
    if data.num_input != count:
        raise SpecProblem(
            f"dataset.classify.num_input is {data.num_input}, but input_map has {count} light(s) "
            f"({', '.join(spec.lights) or 'none'})",
            f"set dataset.classify.num_input: {count}",
        )
    if spec.grid is not None and spec.grid[0] * spec.grid[1] != count:
        raise SpecProblem(
            f"dataset.classify.grid_map is {spec.grid[0]} x {spec.grid[1]}, but there are "
            f"{count} lights",
            "make grid_map.x times grid_map.y the number of lights",
        )


def _check_size(spec: Spec) -> None:
    strides = spec.model.decode_head.feature_strides
    height, width = spec.tensor_size
    if strides != sorted(strides):
        raise SpecProblem(f"model.decode_head.feature_strides must not fall, found {strides}")
    if height % strides[0] or width % strides[0]:
        raise SpecProblem(
            f"the joined picture is {width} x {height} pixels, not a multiple of the finest "
            f"feature stride {strides[0]}",
            "change dataset.classify.image_width and image_height",
        )
    if min(height, width) < strides[-1]:
        raise SpecProblem(
            f"the joined picture is {width} x {height} pixels, smaller than the coarsest "
            f"feature stride {strides[-1]}",
            "enlarge dataset.classify.image_width and image_height",
        )
    low, high = spec.dataset.classify.augmentation_config.with_scale_random_crop.scale_range
    if low > high:
        raise SpecProblem(
            "dataset.classify.augmentation_config.with_scale_random_crop.scale_range "
            f"must rise, found {[low, high]}"
        )
    frozen = spec.model.backbone
    if frozen.freeze_backbone and not (
        frozen.pretrained_backbone_path or spec.train.pretrained_model_path
    ):
        raise SpecProblem(
            "model.backbone.freeze_backbone would keep random numbers for ever",
            "give model.backbone.pretrained_backbone_path, or set freeze_backbone: false",
        )
