"""The classify experiment spec as typed dataclasses: every key, its default and its range.

Names, defaults and ranges are those of TAO Visual ChangeNet's published schema, except where a
field says another source. Three parts belong to commands of TAO that this project never runs
(``segment``, ``quantize``, ``gen_trt_engine``): they are carried as found. ``docs/spec.md`` is made
from this module.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA = "TAO schema"
CODE = "TAO 6.25.10"  # read by TAO's code; its published schemas do not list it
SKILLS = "TAO 7.1 skills"  # in NVIDIA's own example specs; neither of the two above has it
OURS = "this project"
MISSING = "???"  # how TAO's files mark a value that the command line must give


@dataclass(frozen=True)
class Rule:
    """What a value must satisfy beyond its type, and what it means; bounds are inclusive."""

    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] | None = None
    length: int | None = None
    unit: str = ""
    source: str = SCHEMA


def key(
    default: Any,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    length: int | None = None,
    unit: str = "",
    source: str = SCHEMA,
) -> Any:
    """Return a dataclass field with a default (copied when mutable) and a :class:`Rule`."""
    meta = {"rule": Rule(low, high, choices, length, unit, source)}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=meta)
    if isinstance(default, type):
        return field(default_factory=default, metadata=meta)
    return field(default=default, metadata=meta)


@dataclass(kw_only=True)
class Backbone:
    type: str = "fan_small_12_p4_hybrid"
    pretrained_backbone_path: str = ""
    freeze_backbone: bool = False
    feat_downsample: bool = False


@dataclass(kw_only=True)
class DecoderParams:
    embed_dim: int = key(256, low=1, unit="channels")


@dataclass(kw_only=True)
class DecodeHead:
    feature_strides: list[int] = key([4, 8, 16, 16], low=1, length=4, unit="px")
    in_channels: list[int] = key([128, 256, 384, 384], low=1, length=4, unit="channels")
    in_index: list[int] = key([0, 1, 2, 3], low=0, length=4)
    decoder_params: DecoderParams = key(DecoderParams)
    use_summary_token: bool = False
    align_corners: bool = False


@dataclass(kw_only=True)
class ModelClassify:
    train_margin_euclid: float = key(2.0, low=1.0, unit="distance")
    eval_margin: float = key(2.0, low=0.0, unit="score; above it a part counts as NG")
    embedding_vectors: int = key(5, low=1, unit="dimensions")
    embed_dec: int = key(5, low=1, unit="channels")
    difference_module: str = key("euclidean", choices=("learnable", "euclidean"))
    learnable_difference_modules: int = key(4, low=1, high=4, unit="levels, from the coarsest")


@dataclass(kw_only=True)
class Model:
    backbone: Backbone = key(Backbone)
    decode_head: DecodeHead = key(DecodeHead)
    classify: ModelClassify = key(ModelClassify)


@dataclass(kw_only=True)
class TableSource:
    csv_path: str = ""
    images_dir: str = ""


@dataclass(kw_only=True)
class GridMap:
    x: int = key(2, low=1, unit="tiles")
    y: int = key(2, low=1, unit="tiles")


@dataclass(kw_only=True)
class RandomFlip:
    enable: bool = True
    hflip_probability: float = key(0.5, low=0.0, high=1.0, unit="probability")
    vflip_probability: float = key(0.5, low=0.0, high=1.0, unit="probability")


@dataclass(kw_only=True)
class RandomRotate:
    enable: bool = True
    rotate_probability: float = key(0.5, low=0.0, high=1.0, unit="probability")
    angle_list: list[float] = key([90.0, 180.0, 270.0], unit="degrees, counter-clockwise")


@dataclass(kw_only=True)
class RandomColor:
    enable: bool = True
    color_probability: float = key(0.5, low=0.0, high=1.0, unit="probability")
    brightness: float = key(0.3, low=0.0, high=2.0, unit="factor 1 ± value")
    contrast: float = key(0.3, low=0.0, high=2.0, unit="factor 1 ± value")
    saturation: float = key(0.3, low=0.0, high=2.0, unit="factor 1 ± value")
    hue: float = key(0.3, low=0.0, high=0.5, unit="share of the colour circle")


@dataclass(kw_only=True)
class ScaleCrop:
    enable: bool = True
    scale_range: list[float] = key([1.0, 1.2], low=1.0, length=2, unit="factor")


@dataclass(kw_only=True)
class Augmentation:
    augment: bool = False
    rgb_input_mean: list[float] = key([0.485, 0.456, 0.406], length=3, unit="of grey levels 0 to 1")
    rgb_input_std: list[float] = key(
        [0.226, 0.226, 0.226], low=1e-6, length=3, unit="of grey levels 0 to 1"
    )
    random_flip: RandomFlip = key(RandomFlip)
    random_rotate: RandomRotate = key(RandomRotate)
    random_color: RandomColor = key(RandomColor)
    with_scale_random_crop: ScaleCrop = key(ScaleCrop)
    with_random_crop: bool = True
    with_random_blur: bool = True


@dataclass(kw_only=True)
class CalibrationSource:
    images_dir: str = ""


@dataclass(kw_only=True)
class DatasetClassify:
    train_dataset: TableSource = key(TableSource)
    validation_dataset: TableSource = key(TableSource)
    test_dataset: TableSource = key(TableSource)
    infer_dataset: TableSource = key(TableSource)
    quant_calibration_dataset: CalibrationSource = key(CalibrationSource)
    image_ext: str = ".jpg"
    batch_size: int = key(8, low=1, unit="pairs")
    workers: int = key(1, low=0, unit="threads")
    fpratio_sampling: float = key(0.1, low=0.0, high=1.0, unit="NG draws per PASS draw")
    num_input: int = key(4, low=1, unit="lights")
    input_map: dict[str, int] = key(
        {"LowAngleLight": 0, "SolderLight": 1, "UniformLight": 2, "WhiteLight": 3}
    )
    concat_type: str = key("linear", choices=("linear", "grid"))
    grid_map: GridMap = key(GridMap)
    image_width: int = key(224, low=8, high=4096, unit="px")
    image_height: int = key(224, low=8, high=4096, unit="px")
    num_golden: int = key(1, low=1, unit="pictures")
    num_classes: int = key(2, low=2, unit="classes")
    augmentation_config: Augmentation = key(Augmentation)


@dataclass(kw_only=True)
class Dataset:
    classify: DatasetClassify = key(DatasetClassify)
    segment: dict = key({})


@dataclass(kw_only=True)
class TrainClassify:
    loss: str = key("contrastive", choices=("ce", "contrastive"))
    cls_weight: list[float] = key([1.0, 10.0], low=0.0, length=2, unit="loss weight of PASS, NG")


@dataclass(kw_only=True)
class Optim:
    lr: float = key(1e-4, low=0.0, unit="per step")
    optim: str = key("adamw", choices=("adamw", "adam", "sgd"))
    policy: str = key("linear", choices=("linear", "step"))
    momentum: float = key(0.9, low=0.0, high=1.0)
    monitor_name: str = "val_loss"
    weight_decay: float = key(0.01, low=0.0, high=1.0)


@dataclass(kw_only=True)
class Cudnn:
    benchmark: bool = False
    deterministic: bool = True


@dataclass(kw_only=True)
class Tensorboard:
    enabled: bool = False
    infrequent_logging_frequency: int = key(2, low=0, unit="epochs")


@dataclass(kw_only=True)
class TopK:
    """TAO 7.1's ``train.checkpointer``: which further weights to keep."""

    enable_topk: bool = False
    monitor: str = "val_loss"
    mode: str = key("min", choices=("min", "max"))
    save_top_k: int = key(1, low=1, unit="files")
    filename: str = "model_best_{epoch:03d}"
    dirpath: str = ""
    auto_insert_metric_name: bool = False
    replace_periodic: bool = False


@dataclass(kw_only=True)
class Train:
    num_epochs: int = key(10, low=1, unit="epochs")
    checkpoint_interval: int = key(1, low=1, unit="epochs (or steps, see checkpoint_interval_unit)")
    checkpoint_interval_unit: str = key("epoch", choices=("epoch", "step"))
    validation_interval: int = key(1, low=1, unit="epochs")
    seed: int = key(1234, low=-1)
    num_gpus: int = key(1, low=1)
    gpu_ids: list[int] = key([0])
    num_nodes: int = key(1, low=1)
    results_dir: str = ""
    pretrained_model_path: str = ""
    resume_training_checkpoint_path: str = ""
    precision: str = key(
        "32-true",
        choices=("32-true", "32", "fp32", "bf16-mixed", "bf16", "16-mixed", "16", "fp16"),
    )
    sync_batchnorm: bool = False
    use_distributed_sampler: bool = False
    checkpointer: TopK = key(TopK)
    cudnn: Cudnn = key(Cudnn)
    tensorboard: Tensorboard = key(Tensorboard)
    classify: TrainClassify = key(TrainClassify)
    optim: Optim = key(Optim)
    segment: dict = key({})


@dataclass(kw_only=True)
class Scoring:
    """The ``evaluate`` and ``inference`` parts; TAO takes the batch size from ``dataset``."""

    checkpoint: str = MISSING
    batch_size: int = key(8, low=1)
    num_gpus: int = key(1, low=1)
    gpu_ids: list[int] = key([0])
    num_nodes: int = key(1, low=1)
    results_dir: str = ""
    trt_engine: str = ""
    vis_after_n_batches: int = key(1, low=1, unit="batches")


@dataclass(kw_only=True)
class Export:
    checkpoint: str = key(MISSING, source=CODE)
    onnx_file: str = key("", source=CODE)
    results_dir: str = key("", source=CODE)
    opset_version: int = key(17, low=1, source=CODE)
    batch_size: int = key(-1, low=-1, unit="pairs; -1 = any", source=CODE)
    input_channel: int = key(3, low=1, unit="channels", source=CODE)
    input_height: int = key(224, low=8, unit="px", source=CODE)
    input_width: int = key(224, low=8, unit="px", source=CODE)
    gpu_id: int = key(0, low=0, source=CODE)
    on_cpu: bool = key(False, source=CODE)
    verbose: bool = key(False, source=CODE)
    format: str = key("onnx", source=SKILLS)
    serialize_nvdsinfer: bool = key(False, source=SKILLS)


@dataclass(kw_only=True)
class Wandb:
    # Off unless asked for: TAO's own default is on, which needs an account.
    enable: bool = key(False, source=OURS)
    project: str = "TAO Toolkit"
    entity: str = ""
    group: str = ""
    name: str = "TAO Toolkit Training"
    run_id: str = ""
    reinit: bool = False
    save_code: bool = False
    sync_tensorboard: bool = False
    tags: list[str] = key(["tao-toolkit"])


@dataclass(kw_only=True)
class SpecFields:
    """The whole spec; see :class:`deft.changenet.spec.Spec` for what it computes."""

    task: str = key("classify", choices=("classify", "segment"))
    model_name: str = ""
    results_dir: str = ""
    encryption_key: str = ""
    model: Model = key(Model)
    dataset: Dataset = key(Dataset)
    train: Train = key(Train)
    evaluate: Scoring = key(Scoring)
    inference: Scoring = key(Scoring)
    export: Export = key(Export)
    wandb: Wandb = key(Wandb)
    gen_trt_engine: dict = key({})
    quantize: dict = key({})
