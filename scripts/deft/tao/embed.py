"""The encoder of the mining stage as TAO's embedding container: SigLIP or CLIP on a GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from deft.core.airgap import offline
from deft.core.credentials import credential
from deft.core.errors import HardStop
from deft.core.files import sha256_file, sha256_text, write_text_atomic
from deft.core.parquet import read_frame
from deft.core.reading import shortened
from deft.embedding.encoders.base import unit_rows
from deft.embedding.vector_files import Counts
from deft.embedding.vectors import EMBEDDING, ArrayVectors
from deft.run.containers.command import Mount
from deft.tao.stages import embed_arguments
from deft.tao.work import Work

STAGE = "embed"
CODE_VERSION = 1  # raise when the same weights, image and pictures would give other vectors
# Our name -> TAO's name and the hub's repository (in the layout of the transformers library).
MODELS = {
    "siglip": ("SigLIP", "google/siglip-base-patch16-224"),
    "clip": ("CLIP", "openai/clip-vit-base-patch16"),
}
CONFIG_NAME = "config.json"
WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")


class TaoEncoder:
    """An encoder that embeds whole lists of pictures in TAO's container.

    Parameters
    ----------
    context: the run; ``phase`` and ``job`` name the stage of the loop that it works for.
    name: ``siglip`` or ``clip``.
    weights: local folder in the hub's layout (``config.json`` and the weights), or empty: then the
        container takes the hub's cache, or the hub itself where connections are allowed.
    batch_size: pictures per forward pass.

    Raises
    ------
    HardStop ``missing_input`` when the image or the weights are not at hand.
    """

    def __init__(
        self, context: Any, name: str, weights: str, *, batch_size: int, phase: str, job: str
    ) -> None:
        self.name, self.batch_size, self.context = name, batch_size, context
        # Jobs that embed beside each other have a container and a folder each.
        self.work = Work(context, phase, STAGE, job.removeprefix(f"{STAGE}_"), job=job)
        self.folder = folder_of(context.root, weights) if weights else None
        self.files = weight_files(name, self.folder) if self.folder else []
        if not self.folder and offline() and not cached(name):
            raise missing(name, Path(MODELS[name][1]), "is not in the local cache")
        image = self.work.image()
        which = [sha256_file(f) for f in self.files] or [MODELS[name][1]]
        self.digest = sha256_text(json.dumps([CODE_VERSION, image.id, MODELS[name][0], which]))
        self.dim = 0  # known once a picture is embedded

    def embed(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Return L2-normalised float32 (n, dim), row i for ``paths[i]``; without paths (0, 0)."""
        if not paths:
            return np.zeros((0, self.dim), np.float32)
        work = self.work
        work.clear()
        work.scratch.mkdir(parents=True, exist_ok=True)
        names = [os.path.abspath(path) for path in paths]
        unique = list(dict.fromkeys(names))
        pictures, found = work.scratch / "pictures.parquet", work.out / "embeddings.parquet"
        pq.write_table(pa.table({"filepath": pa.array(unique, pa.string())}), pictures)
        spec = {
            "model": MODELS[self.name][0],
            "model_path": str(self.folder) if self.folder else MODELS[self.name][1],
            "batch_size": self.batch_size,
        }
        write_text_atomic(work.scratch / "spec.yaml", yaml.safe_dump(spec, sort_keys=False))
        argv = embed_arguments(work.scratch / "spec.yaml", pictures=pictures, out=found)
        # Pictures may be links to another folder; each folder is looked at once.
        read = [*sorted({Path(n).parent for n in unique}), *filter(None, [self.folder])]
        work.run(argv, read=read, **self._hub())
        vectors = read_vectors(found, unique)
        self.dim = vectors.shape[1]
        place = {name: i for i, name in enumerate(unique)}
        work.clear()
        return unit_rows(vectors[[place[name] for name in names]])

    def _hub(self) -> dict[str, Any]:
        """Return how the container comes to weights that are no local folder."""
        off = (("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"))
        if self.folder:
            return {"env": off}
        cache = hub_home()
        cache.mkdir(parents=True, exist_ok=True)
        env = (("HF_HOME", str(cache)), *(off if offline() or cached(self.name) else ()))
        token = credential(self.context.workspace, "HF_TOKEN")
        fetched = not offline() and not cached(self.name)
        secrets = {"HF_TOKEN": token} if token and fetched else {}
        return {"env": env, "secrets": secrets, "written": [Mount(cache, writable=fetched)]}


class ContainerVectors(ArrayVectors):
    """The vectors of ``paths``, in order, embedded by a container in one go."""

    def __init__(self, encoder: TaoEncoder, paths: Sequence[str | Path]) -> None:
        super().__init__(encoder.embed(paths))
        distinct = len({os.path.abspath(path) for path in paths})
        self.counts = Counts(len(paths), distinct, 0, distinct)

    def array(self) -> np.ndarray:
        """Return all vectors, float32 (n, d)."""
        return self.vectors


def folder_of(root: Path, weights: str) -> Path:
    """Return the weights' folder, absolute; relative ones start at the workspace."""
    return Path(os.path.normpath(root / Path(weights).expanduser()))


def weight_files(name: str, folder: Path) -> list[Path]:
    """Return the files that define an encoder, or stop naming the one that is missing."""
    config = folder / CONFIG_NAME
    found = [folder / n for n in WEIGHT_NAMES if (folder / n).is_file()]
    if not config.is_file():
        raise missing(name, config, "is missing")
    if not found:
        raise missing(name, folder, f"holds none of {', '.join(WEIGHT_NAMES)}")
    return [config, found[0]]


def missing(name: str, file: Path, why: str) -> HardStop:
    """Return the stop for weights that TAO's encoder does not find."""
    repository = MODELS[name][1]
    return HardStop(
        "missing_input",
        f"encoder {name} of TAO's container ({repository}): {file.name} {why}",
        file=file,
        fix=f"on a connected machine: huggingface-cli download {repository} --local-dir DIR; copy "
        "DIR here and set encoder_weights=DIR",
    )


def cached(name: str) -> bool:
    """Return whether the hub's cache holds an encoder, without any connection."""
    from huggingface_hub import try_to_load_from_cache

    names = (CONFIG_NAME, WEIGHT_NAMES[0])
    return all(isinstance(try_to_load_from_cache(MODELS[name][1], n), str) for n in names)


def hub_home() -> Path:
    """Return the folder of the hub's cache on this machine."""
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME).expanduser().absolute()


def read_vectors(path: Path, names: list[str]) -> np.ndarray:
    """Return the vectors (n, d) float32 of a container's parquet, row i for ``names[i]``.

    Raises HardStop ``encoder_mismatch`` for a missing picture, ragged or not finite vectors.
    """
    if not path.is_file():
        raise HardStop(
            "encoder_mismatch",
            "TAO's embedding ended in good order, but left no table",
            file=path,
            fix="see the stage's log",
        )
    table = read_frame(path, ["filepath", EMBEDDING], only=True, code="encoder_mismatch")
    known = dict(zip(table["filepath"].astype(str), table[EMBEDDING], strict=True))
    absent = [name for name in names if name not in known]
    try:
        lengths = {len(known[name]) for name in names if name in known}
    except TypeError:
        lengths = set()
    if absent or len(lengths) != 1:
        raise HardStop(
            "encoder_mismatch",
            f"TAO's embedding has {len(known)} pictures of {len(names)}, vectors of "
            f"{sorted(lengths)} numbers" + (f"; first missing: {absent[0]}" if absent else ""),
            file=path,
            fix="see the stage's log; a picture that TAO could not read may be the cause",
        )
    try:
        vectors = np.stack([np.asarray(known[name], dtype=np.float32) for name in names])
    except (ValueError, TypeError) as error:
        raise HardStop(
            "encoder_mismatch",
            f"TAO's embedding holds what are no vectors ({shortened(error)})",
            file=path,
            fix="see the stage's log",
        ) from None
    if not np.isfinite(vectors).all():
        broken = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise HardStop(
            "encoder_mismatch",
            f"the vector of {names[broken]} is not finite",
            file=path,
            fix="see the stage's log",
        )
    return vectors
