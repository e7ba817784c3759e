"""Encoders of the mining stage, and tables of embeddings that carry their encoder's digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deft.airgap import offline
from deft.errors import HardStop
from deft.files import replace_atomically, sha256_file
from deft.vectors import EMBEDDING, ParquetVectors

CODE_VERSION = 1  # raise when the same weights and pictures would give other vectors
META_KEY = b"deft_encoder"
HUB_MODELS = {
    "siglip": ("ViT-B-16-SigLIP", "webli", "timm/ViT-B-16-SigLIP"),
    "clip": ("ViT-B-16", "openai", "timm/vit_base_patch16_clip_224.openai"),
}
WEIGHT_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin", "open_clip_model.bin")
CONFIG_NAME = "open_clip_config.json"

Progress = Callable[[int, int], None]


class Encoder(Protocol):
    """What the mining stage asks of an encoder."""

    name: str
    dim: int
    digest: str  # of weights, preprocessing and code version

    def embed(self, paths: Sequence[Path], progress: Progress | None = None) -> np.ndarray:
        """Return L2-normalised float32 (n, dim), row i for ``paths[i]``."""


class OpenClipEncoder:
    """SigLIP or CLIP image tower of open_clip, with the preprocessing of its own configuration.

    Weights come from a local directory that holds ``open_clip_config.json`` and the weights, or
    else from the hub's cache or the hub. A weight file alone is refused: without the
    configuration open_clip would silently use other preprocessing.
    """

    def __init__(
        self, name: str, weights: str | None, *, device: str = "cpu", batch_size: int = 32
    ) -> None:
        self.name = name
        self.device = device
        self.batch_size = batch_size
        source, self.files = open_clip_source(name, weights)
        import open_clip  # seconds of import, wanted only here
        import torch

        model, _, self.transform = open_clip.create_model_and_transforms(source)
        self.model = model.eval().to(device)
        self._torch = torch
        self.digest = _digest([sha256_file(f) for f in self.files], repr(self.transform))
        with torch.inference_mode():
            side = self.model.visual.image_size
            side = side if isinstance(side, tuple) else (side, side)
            self.dim = int(self.model.encode_image(torch.zeros(1, 3, *side).to(device)).shape[-1])

    def embed(self, paths: Sequence[Path], progress: Progress | None = None) -> np.ndarray:
        """See :class:`Encoder`. The last batch is padded, so a row never depends on its batch."""
        torch = self._torch
        out = np.empty((len(paths), self.dim), dtype=np.float32)
        for start in range(0, len(paths), self.batch_size):
            chunk = paths[start : start + self.batch_size]
            pictures = [self.transform(_open_rgb(p)) for p in chunk]
            pictures += [torch.zeros_like(pictures[0])] * (self.batch_size - len(chunk))
            with torch.inference_mode():
                vectors = self.model.encode_image(torch.stack(pictures).to(self.device))
            out[start : start + len(chunk)] = vectors[: len(chunk)].float().cpu().numpy()
            if progress:
                progress(start + len(chunk), len(paths))
        return normalise(out)


def open_clip_source(name: str, weights: str | None) -> tuple[str, list[Path]]:
    """Return open_clip's model source and the files that define it.

    Raises
    ------
    HardStop ``missing_input`` naming the file that is missing and how to get it.
    """
    _, _, repository = HUB_MODELS[name]
    advice = (
        f"on a connected machine: huggingface-cli download {repository} --local-dir DIR; copy DIR "
        "here and set encoder_weights=DIR"
    )
    if weights:
        folder = Path(weights).expanduser()
        if folder.is_file():
            raise HardStop(
                "missing_input",
                f"encoder_weights names the file {folder.name}; a folder with its {CONFIG_NAME} is "
                "needed, or open_clip would guess the preprocessing",
                file=folder,
                fix=advice,
            )
        config = folder / CONFIG_NAME
        if not config.is_file():
            raise HardStop(
                "missing_input", f"{CONFIG_NAME} of the encoder is missing", file=config, fix=advice
            )
        found = [folder / n for n in WEIGHT_NAMES if (folder / n).is_file()]
        if not found:
            raise HardStop(
                "missing_input",
                f"the encoder's folder holds none of {', '.join(WEIGHT_NAMES)}",
                file=folder,
                fix=advice,
            )
        return f"local-dir:{folder.resolve()}", [config, found[0]]
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    files = []
    for wanted in (CONFIG_NAME, WEIGHT_NAMES[0]):
        try:
            files.append(Path(hf_hub_download(repository, wanted, local_files_only=offline())))
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            why = (
                "downloads are off"
                if offline()
                else f"the hub did not answer ({type(error).__name__})"
            )
            raise HardStop(
                "missing_input",
                f"{wanted} of {repository} is not in the local cache and {why}",
                file=wanted,
                fix=advice,
            ) from None
    return f"hf-hub:{repository}", files


def hub_files_cached(name: str) -> bool:
    """Return whether the hub's cache already holds an encoder, without any connection."""
    from huggingface_hub import try_to_load_from_cache

    repository = HUB_MODELS[name][2]
    return all(
        isinstance(try_to_load_from_cache(repository, f), str)
        for f in (CONFIG_NAME, WEIGHT_NAMES[0])
    )


def _open_rgb(path: Path):  # noqa: ANN202 - PIL.Image.Image
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise HardStop("image_invalid", f"cannot be decoded ({error})", file=path) from None


def _digest(file_digests: list[str], preprocessing: str) -> str:
    text = json.dumps([CODE_VERSION, file_digests, preprocessing])
    return hashlib.sha256(text.encode()).hexdigest()


def normalise(vectors: np.ndarray) -> np.ndarray:
    """Return rows of unit length, float32; an all-zero row stays zero."""
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)


def write_embeddings(
    path: str | Path, table: pd.DataFrame, vectors: np.ndarray, encoder: Encoder
) -> Path:
    """Write ``table``'s columns and ``embedding`` (list<float32>), the encoder in the metadata."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    arrow = arrow.append_column(EMBEDDING, column)
    meta = {"name": encoder.name, "dim": int(encoder.dim), "digest": encoder.digest}
    arrow = arrow.replace_schema_metadata({META_KEY: json.dumps(meta, sort_keys=True).encode()})
    return replace_atomically(path, lambda p: pq.write_table(arrow, p))


def read_embeddings(path: str | Path) -> tuple[pd.DataFrame, np.ndarray, dict[str, Any]]:
    """Return (table without the vectors, vectors float32 (n, d), encoder facts)."""
    arrow = pq.read_table(path)
    meta = json.loads((arrow.schema.metadata or {}).get(META_KEY, b"{}"))
    column = arrow.column(EMBEDDING).combine_chunks()
    dim = column.type.list_size
    vectors = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return arrow.drop_columns([EMBEDDING]).to_pandas(), vectors.astype(np.float32), meta


def open_embeddings(path: str | Path) -> tuple[pd.DataFrame, ParquetVectors, dict[str, Any]]:
    """Return what :func:`read_embeddings` returns, the vectors as a table that is streamed."""
    schema = pq.read_schema(path)
    others = [name for name in schema.names if name != EMBEDDING]
    meta = json.loads((schema.metadata or {}).get(META_KEY, b"{}"))
    return pq.read_table(path, columns=others).to_pandas(), ParquetVectors(path), meta


def check_same_encoder(source: dict[str, Any], target: dict[str, Any], file: str | Path) -> None:
    """Raise ``encoder_mismatch`` unless both sides were embedded alike."""
    if source.get("digest") != target.get("digest") or not source.get("digest"):
        raise HardStop(
            "encoder_mismatch",
            f"the pool was embedded with {source.get('name')} {str(source.get('digest'))[:12]}, "
            f"the weak samples with {target.get('name')} {str(target.get('digest'))[:12]}",
            file=file,
            fix="delete synth_pool/source_embeddings.parquet and ask for it again",
        )
