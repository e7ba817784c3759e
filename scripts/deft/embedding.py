"""Encoders of the mining stage, and tables of embeddings that carry their encoder's digest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from deft.errors import HardStop
from deft.files import put_in_place, sha256_file, temporary_name
from deft.vectors import EMBEDDING, ParquetVectors, VectorTable, as_table

GROUP_ROWS = 8192  # of a row group of a table of embeddings
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


def offline() -> bool:
    """Return whether downloads are forbidden by the environment."""
    return any(os.environ.get(k, "0") not in ("", "0") for k in ("AIR_GAPPED", "HF_HUB_OFFLINE"))


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


class EmbeddingWriter:
    """A table of embeddings that is written as a stream, whole or not at all.

    Its row groups have ``GROUP_ROWS`` rows whatever the sizes of the parts that are added, so its
    bytes depend on the rows alone, and memory is two groups. To be used in a ``with`` block.

    Parameters
    ----------
    columns: name and type of the columns before ``embedding``.
    encoder: name, dim and digest, for the file's metadata; ``more`` metadata beside it.
    """

    def __init__(
        self,
        path: str | Path,
        columns: pa.Schema,
        encoder: Any,
        more: dict[bytes, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        facts = {"name": encoder.name, "dim": int(encoder.dim), "digest": encoder.digest}
        metadata = {META_KEY: facts, **(more or {})}
        vector = pa.list_(pa.float32(), int(encoder.dim))
        self.schema = pa.schema(
            [*columns, pa.field(EMBEDDING, vector)],
            {key: json.dumps(value, sort_keys=True).encode() for key, value in metadata.items()},
        )
        self.others = [field.name for field in columns]
        self._parts: list[pa.Table] = []
        self._waiting = 0

    def __enter__(self) -> EmbeddingWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = temporary_name(self.path)
        self._file = pq.ParquetWriter(
            self._temporary,
            self.schema,
            use_dictionary=self.others,
            # Vectors are as good as random: packing costs time at either end and saves nothing.
            compression={**dict.fromkeys(self.others, "snappy"), EMBEDDING: "none"},
            write_statistics=self.others,
        )
        return self

    def add(self, rows: pa.Table, vectors: np.ndarray) -> None:
        """Add rows (n) of the other columns and their vectors (n, d) float32."""
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
        self.add_table(rows.append_column(EMBEDDING, column))

    def add_table(self, rows: pa.Table) -> None:
        """Add rows of all columns."""
        self._parts.append(rows.select(self.schema.names).cast(self.schema))
        self._waiting += rows.num_rows
        while self._waiting >= GROUP_ROWS:
            self._write(GROUP_ROWS)

    def _write(self, count: int) -> None:
        table = pa.concat_tables(self._parts)
        # One chunk a group: pages follow chunks, and bytes must not follow the parts.
        self._file.write_table(table.slice(0, count).combine_chunks(), row_group_size=GROUP_ROWS)
        self._parts, self._waiting = [table.slice(count)], self._waiting - count

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._waiting:
                self._write(self._waiting)
            self._file.close()
            if kind is None:
                put_in_place(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)


def write_embeddings(
    path: str | Path, table: pd.DataFrame, vectors: np.ndarray | VectorTable, encoder: Any
) -> Path:
    """Write ``table``'s columns and ``embedding`` (list<float32>), the encoder in the metadata."""
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
    done = 0
    with EmbeddingWriter(path, arrow.schema, encoder) as out:
        for block in as_table(vectors).blocks(GROUP_ROWS):
            out.add(arrow.slice(done, len(block)), block)
            done += len(block)
    return Path(path)


def open_embeddings(path: str | Path) -> tuple[pd.DataFrame, ParquetVectors, dict[str, Any]]:
    """Return (table without the vectors, the vectors as a stream, encoder facts)."""
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
