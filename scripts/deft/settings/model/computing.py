"""Settings of how things are computed and checked, and of pruning the cache."""

from __future__ import annotations

from typing import Literal

from deft.settings.model.declaration import EMBEDDING, TRAINING, Group, setting

PICTURES = (
    f"stage_pool measure_parts {EMBEDDING} {TRAINING} infer rca validate export_best accept "
    "register_pictures"
)


class Computing(Group):
    """how it is computed"""

    embed_batch_size: int = setting(
        32,
        "pictures per forward pass of the encoder",
        unit="pictures",
        read_by="embed_shard mine rank_labels encoder_selftest",
        approval="no",
        ge=1,
        le=65_536,
    )
    embed_shard_rows: int = setting(
        100_000,
        "rows of the pool's table a shard; fixed when the run begins",
        unit="rows",
        read_by="snakemake",
        approval="no",
        ge=1,
        le=10**8,
    )
    embed_runtime: Literal["torch", "onnx"] = setting(
        "torch",
        "torch | onnx (ONNX Runtime: twice as fast on a CPU, and a CPU's only)",
        read_by=EMBEDDING,
        engine="own encoder",
    )
    embed_precision: Literal["float32", "bfloat16"] = setting(
        "float32",
        "float32 | bfloat16 (a GPU's; another encoder to the cache)",
        read_by=EMBEDDING,
        engine="own encoder",
    )
    embed_compile: bool = setting(
        False, "true = torch.compile for the encoder", read_by=EMBEDDING, engine="own encoder"
    )
    embedding_cache: str | None = setting(
        None,
        "folder of embedded pictures, may be shared by workspaces; null = results/embedding_cache; "
        '"off" = none: docs/embedding.md',
        read_by=f"{EMBEDDING} prune_embeddings",
        approval="no",
        min_length=1,
    )
    search: Literal["exact", "ivf", "hnsw"] = setting(
        "exact", "exact | ivf | hnsw (FAISS; its recall is measured and printed)", read_by="mine"
    )
    search_memory_mb: int = setting(
        512,
        "upper bound of the exact search's blocks, however large the pool",
        unit="MB",
        read_by="mine rank_labels",
        approval="no",
        ge=16,
        le=2**20,
    )
    upstream_compat: bool = setting(
        False, "true = TAO's known deviations, see docs/upstream.md", read_by=TRAINING
    )
    accumulate_steps: int = setting(
        1,
        "batches whose gradients make one training step",
        unit="batches",
        read_by=TRAINING,
        engine="native",
        ge=1,
        le=100_000,
    )
    select_weights_by: Literal["val_loss", "val_far"] = setting(
        "val_loss",
        "best weights of a training: val_loss | val_far (FAR at the required recall on the "
        "validation table)",
        read_by=TRAINING,
        engine="native",
    )
    early_stop_epochs: int | None = setting(
        None,
        "end a training after so many epochs without a better one",
        unit="epochs",
        read_by=TRAINING,
        engine="native",
        ge=1,
        le=100_000,
    )
    score_views: Literal["one", "turns", "dihedral"] = setting(
        "one",
        "a part's score: one view (TAO's) | turns (mean over its 4 quarter turns) | dihedral (and "
        "their mirror images, 8): docs/score_views.md",
        read_by="infer export_best noise_floor",
        approval="when set",
        engine="native",
    )
    score_two_stage: bool = setting(
        False,
        "true = score.py scores one view, and all views only near the threshold; with score_views",
        read_by="export_best",
        approval="when set",
        engine="native",
    )
    score_views_share: float = setting(
        0.25,
        "score the KPI set by turns too, to compare, where that takes at most this share of the "
        "phase's training; 0 = never",
        read_by="infer",
        approval="no",
        engine="native",
        ge=0,
        le=100,
    )
    compile: bool = setting(
        False,
        "true = torch.compile for training and scoring; minutes to start",
        read_by=f"{TRAINING} infer",
        engine="native",
    )
    optimizer_state: Literal["none", "last", "all"] = setting(
        "last",
        "model files with the optimizer's state (3 times the size), to go on from here or in TAO: "
        "none | last of a training | all",
        read_by=TRAINING,
        engine="native",
    )
    random_weights: bool | None = setting(
        None,
        "true = a TAO backbone whose spec names no weights starts from random numbers; null = from "
        "the one staged file that fits, and none is a stop (docs/backbones.md)",
        read_by=TRAINING,
        approval="when set",
    )
    picture_levels: int | None = setting(
        None,
        "full scale of pictures deeper than 8 bits, e.g. 1023, 4095, 65535; null = such a picture "
        "is refused (docs/pictures.md)",
        # TAO's loader clips deeper pictures to white.
        read_by=f"{PICTURES} import_folder_plan import_folder",
        approval="when set",
        engine="native",
        ge=1,
        le=2**32 - 1,
    )
    register_by: Literal["off", "shift", "euclidean", False] = setting(
        "off",
        "off | shift | euclidean (with rotation): test pictures are laid on their goldens, once, "
        "by register_pictures; a run stops where its workspace's are not (docs/registration.md)",
        read_by="register_pictures snakemake",
        approval="no",
        alias="register",
    )
    register_from: str | None = setting(
        None,
        "the workspace with the pictures as they were taken; the registered one is workspace",
        read_by="register_pictures",
        approval="no",
        min_length=1,
    )
    content_leakage: Literal["stop", "warn"] = setting(
        "stop", "stop | warn: the same picture under two names", read_by="mine validate"
    )
    preflight_all_images: bool = setting(
        False,
        "decode all golden pictures too, however many rows a table has",
        read_by="preflight",
        approval="no",
    )
    quote_files: str | None = setting(
        None,
        "check_quotes: further .md, .tex, .html files, blank-separated, quoted as in a shell",
        read_by="check_quotes",
        approval="no",
    )
    table: str | None = setting(
        None,
        "score: the table of the parts to score",
        read_by="score",
        approval="no",
        min_length=1,
    )
    images: str | None = setting(
        None,
        "score: the folder that its paths start in; null = the KPI's",
        read_by="score",
        approval="no",
        min_length=1,
    )
    preflight_sample_rows: int = setting(
        20_000,
        "above this many rows only so many rows' golden pictures are decoded; test pictures always "
        "all",
        unit="rows",
        read_by="preflight",
        approval="no",
        ge=1,
        le=10**8,
    )


class Pruning(Group):
    """snakemake prune_embeddings"""

    prune_days: float | None = setting(
        None,
        "drop what was not used for so many days",
        unit="days",
        read_by="prune_embeddings",
        approval="no",
        ge=0,
    )
    prune_gb: float | None = setting(
        None,
        "then the longest unused, until the cache is no larger; GB of 10^9 bytes",
        unit="GB",
        read_by="prune_embeddings",
        approval="no",
        ge=0,
    )
    prune_encoder: str | None = setting(
        None,
        "drop all of an encoder: its name, or first digits of its digest",
        read_by="prune_embeddings",
        approval="no",
        min_length=1,
    )
