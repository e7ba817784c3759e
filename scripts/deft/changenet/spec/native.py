"""What the native engine does not do of what a TAO spec may ask: refused, each key by name."""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING

from deft.changenet.spec.backbones import check_backbone
from deft.changenet.spec.build import SpecProblem

if TYPE_CHECKING:
    from deft.changenet.spec import Spec

# What train.checkpointer.monitor may name -> the figure of a validation that it stands for.
MONITORS = {
    **{name: name for name in ("val_loss", "val_acc", "val_fpr", "val_far_pct")},
    **dict.fromkeys(("val_far", "val_far_at_recall_pct"), "val_far_at_recall_pct"),
}
TIMM_PREFIX = "timm:"
PERIODIC = r"model_epoch_\d+_step_\d+"  # names of the files that train.checkpoint_interval gives
WIDEST = 30  # characters that a number may be given in a file name
LONGEST = 200  # bytes of a file name before its .pth; file systems take 255
GOLDEN_WINDOW = 7  # side in places of the windows of the attention over several goldens
TAO_ENGINE = "set engine: tao to run it in NVIDIA's container"


def check_native(spec: Spec, *, built: bool = True) -> list[SpecProblem]:
    """Return everything that changes results and is not done here.

    ``built``: every key of the file could be taken. Else some have their default, and only keys are
    looked at that stand for themselves.
    """
    data, train, model = spec.dataset.classify, spec.train, spec.model
    refusals = [
        (data.num_classes != 2, "dataset.classify.num_classes", "2 (PASS and NO_PASS)"),
        (
            model.decode_head.in_index != [0, 1, 2, 3],
            "model.decode_head.in_index",
            "[0, 1, 2, 3]",
        ),
        (model.backbone.feat_downsample, "model.backbone.feat_downsample", "false"),
        (train.num_nodes != 1, "train.num_nodes", "1 (a job runs on one node)"),
        (train.optim.monitor_name != "val_loss", "train.optim.monitor_name", "val_loss"),
    ]
    problems = [
        SpecProblem(
            f"{name} is not supported by the native engine unless it is {allowed}",
            f"set {name}: {allowed.split(' (')[0]}, or {TAO_ENGINE}",
        )
        for broken, name, allowed in refusals
        if broken
    ]
    alone = (_check_sampling, _check_checkpointer)
    joined = (_check_loss, _check_lights, check_backbone, _check_size, _check_goldens)
    for check in (*alone, *(joined if built else ())):
        try:
            check(spec)
        except SpecProblem as problem:
            problems.append(problem)
    return problems


def _check_sampling(spec: Spec) -> None:
    if spec.dataset.classify.fpratio_sampling <= 0:
        raise SpecProblem(
            "dataset.classify.fpratio_sampling 0 would never show a defect to the training",
            "set dataset.classify.fpratio_sampling: 0.1",
        )


def _check_checkpointer(spec: Spec) -> None:
    """Check ``train.checkpointer`` where it is on."""
    options = spec.train.checkpointer
    if not options.enable_topk:
        return
    for broken, name, allowed in (
        (options.dirpath, "dirpath", '"" (files lie beside the others)'),
        (options.auto_insert_metric_name, "auto_insert_metric_name", "false"),
        (options.monitor not in MONITORS, "monitor", " or ".join(MONITORS)),
    ):
        if broken:
            raise SpecProblem(
                f"train.checkpointer.{name} is not supported unless it is {allowed}",
                f"set train.checkpointer.{name}: {allowed.split(' ')[0]}",
            )
    _check_filename(options.filename)


def _check_filename(pattern: str) -> None:
    """Check ``train.checkpointer.filename``: all names different, and none a periodic file's."""
    default = "set train.checkpointer.filename: model_best_{epoch:03d}"
    try:
        # Before it is formatted: a width of a milliard would fill the memory.
        for _, _, form, _ in Formatter().parse(pattern):
            widths = map(int, re.findall(r"\d+", form or ""))
            if "{" in (form or "") or max(widths, default=0) > WIDEST:
                raise ValueError(f"{form!r} is no format of {WIDEST} characters at most")
        first, second, whole = (
            pattern.format(epoch=epoch, step=9 + epoch, val_loss=loss)
            for epoch, loss in ((1, 0.5), (2, 0.5), (1, 1.0))
        )
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        raise SpecProblem(
            f"train.checkpointer.filename {pattern!r} is no pattern of epoch, step and "
            f"val_loss ({type(error).__name__}: {error})",
            default,
        ) from None
    for broken, rule in (
        (
            "/" in first or first == second,
            "must name each epoch's file differently, without a folder",
        ),
        (not first.isprintable(), "must not give a name with control characters"),
        (len(first.encode()) > LONGEST, f"must give names of {LONGEST} bytes at most"),
        (
            any(re.fullmatch(PERIODIC, name) for name in (first, whole)),
            "must not give the names of the periodic files (model_epoch_<epoch>_step_<step>), "
            "which would be deleted in its place",
        ),
    ):
        if broken:
            raise SpecProblem(f"train.checkpointer.filename {pattern!r} {rule}", default)


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


def _check_goldens(spec: Spec) -> None:
    """Check what several goldens a pair ask for: TAO's attention over them knows one layout."""
    count = spec.dataset.classify.num_golden
    if count == 1:
        return
    if not spec.learnable:
        raise SpecProblem(
            f"dataset.classify.num_golden is {count}, but difference_module euclidean compares "
            "with one golden",
            "set dataset.classify.num_golden: 1, or model.classify.difference_module: learnable",
        )
    height, width = spec.tensor_size
    step = GOLDEN_WINDOW * max(spec.model.decode_head.feature_strides)
    if height % step or width % step:
        raise SpecProblem(
            f"with dataset.classify.num_golden {count} the joined picture's sides must be "
            f"multiples of {step} pixels (coarsest feature stride times windows of "
            f"{GOLDEN_WINDOW}), found {width} x {height}",
            "change dataset.classify.image_width and image_height, such as to 224",
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
