"""TAO's entry points: which arguments a stage's container gets, and the container around them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from deft.run.containers.command import (
    RUN_LABEL,
    STAGE_LABEL,
    WORKSPACE_LABEL,
    Container,
    Mount,
    container_name,
    gpus_of_job,
    hydra,
)
from deft.settings.tao import Settings, air_gapped
from deft.tao.mounts import default_results, environment, identity_file, mounts_for, prepare_scratch

OFFLINE = (("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"))


def train_arguments(spec: Path) -> tuple[str, ...]:
    """Return the arguments of a training; folders and weights stand in the spec."""
    return ("visual_changenet", "train", "-e", str(spec))


def inference_arguments(spec: Path) -> tuple[str, ...]:
    """Return the arguments of an inference; weights, table and folder stand in the spec."""
    return ("visual_changenet", "inference", "-e", str(spec))


def gap_arguments(
    spec: Path, *, inference: Path, train_config: Path, images: Path, out: Path
) -> tuple[str, ...]:
    """Return the arguments of the gap analysis.

    ``spec`` holds ``min_recall`` and ``top_k_per_label``; ``inference`` is the folder of
    ``inference.csv``; ``train_config`` gives lights and file type.
    """
    return (
        *("gap_analysis", "vcn_aoi", "-e", str(spec)),
        hydra("inference_results_dir", inference),
        hydra("train_config", train_config),
        hydra("kpi_media_path", images),
        hydra("results_dir", out),
    )


def embed_arguments(spec: Path, *, pictures: Path, out: Path) -> tuple[str, ...]:
    """Return the arguments of an embedding: a parquet with ``filepath`` in, one with vectors out.

    ``spec`` holds ``model``, ``model_path`` and ``batch_size``.
    """
    return (
        *("embedding", "image_embeddings", "-e", str(spec)),
        hydra("input_parquet", pictures),
        hydra("output_parquet", out),
    )


def container_for(
    settings: Settings,
    stage: str,
    argv: tuple[str, ...],
    *,
    root: Path,
    run: str,
    phase: str,
    scratch: Path,
    part: str = "",
    read: Iterable[Path] = (),
    env: tuple[tuple[str, str], ...] = (),
    env_names: tuple[str, ...] = (),
    written: Iterable[Mount] = (),
) -> Container:
    """Return the container of a stage.

    Parameters
    ----------
    stage: key of ``config/images.yaml``'s stages.
    root: the workspace, absolute. ``scratch``: the one folder below it that the container writes.
    part: tells the containers of one stage apart.
    read: further files and folders that it reads; ``written``: further mounts (a hub's cache).
    env, env_names: further variables, by value and by name alone.
    """
    prepare_scratch(scratch)
    caller = settings.user == "caller"
    identity = (identity_file(scratch),) if caller else ()
    offline = OFFLINE if air_gapped() else ()
    return Container(
        image=settings.image(stage),
        argv=argv,
        name=container_name(root, run, phase, f"{stage}-{part}" if part else stage),
        labels=((RUN_LABEL, run), (WORKSPACE_LABEL, str(root)), (STAGE_LABEL, f"{phase}/{stage}")),
        mounts=(
            *mounts_for(root, scratch, read),
            *identity,
            default_results(scratch),
            *written,
        ),
        workdir=scratch,
        env=(*environment(scratch), *dict((*offline, *env)).items()),
        env_names=env_names,
        user=f"{os.getuid()}:{os.getgid()}" if caller else None,
        gpus=gpus_of_job(),
        shm=settings.shm,
        network=not air_gapped(),
        runtime=settings.runtime,
    )


def give_back(container: Container, scratch: Path) -> Container:
    """Return the container that hands what root wrote over to the caller."""
    # Without root podman maps the container's root to the caller, and other ids to none of his.
    mapped = container.runtime == "podman" and os.getuid() != 0
    owner = "0:0" if mapped else f"{os.getuid()}:{os.getgid()}"
    return Container(
        image=container.image,
        argv=("-R", owner, str(scratch)),
        name=f"{container.name}-chown",
        labels=container.labels,
        mounts=container.mounts,
        workdir=scratch,
        gpus=None,
        shm=container.shm,
        network=False,
        runtime=container.runtime,
        entrypoint="chown",
    )
