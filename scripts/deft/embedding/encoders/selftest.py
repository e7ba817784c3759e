"""Five shipped pictures that pin an encoder: equal digests must give equal embeddings everywhere.

A digest covers files and settings, not the machine: another version of a library, a broken kernel
or a wrong driver can change vectors in silence, and neighbours of two kinds of vectors mean
nothing. So whoever opens an encoder embeds five pictures and compares them with the record that
the first use of that digest left, and with ``selftest.json`` beside the weights, if there is one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from deft.core.errors import HardStop
from deft.core.files import read_json, sha256_file, write_json_atomic
from deft.embedding.cache import FOLDER_DIGITS
from deft.embedding.encoders.base import Encoder, embed_pictures
from deft.embedding.encoders.files import REFERENCE_NAME

PICTURES = Path(__file__).with_name("pictures")
# Lowest cosine of a picture with its record. 1 - cosine is about 1e-13 between runtimes or batch
# sizes in float32; 2e-6 and more with pixels divided by 256, 3e-4 with another filter, 1e-1 with
# swapped channels (tests/encoders). bfloat16 itself is 1e-5 and, in deep networks, 1e-3 off.
MIN_COSINE = {"float32": 0.999999, "bfloat16": 0.998}
SCHEMA_VERSION = 1
DECIMALS = 8
PACKAGES = ("torch", "timm", "open_clip_torch", "pillow", "numpy")


@dataclass(frozen=True)
class Comparison:
    """Embeddings against one reference: a cosine for each picture, 1 = equal."""

    reference: Path
    cosines: dict[str, float]
    limit: float
    first_use: bool = False  # the reference was written a moment ago

    def text(self) -> str:
        """Return one line for a log."""
        lowest = min(self.cosines.values())
        if self.first_use:
            return f"self-test of the encoder: first use, recorded in {self.reference}"
        return f"self-test of the encoder: lowest cosine {lowest:.8f} with {self.reference}"

    @property
    def failed(self) -> dict[str, float]:
        """The pictures below the limit."""
        # Not a number is below every limit.
        return {name: c for name, c in self.cosines.items() if not c >= self.limit}


def picture_paths() -> list[Path]:
    """Return the five pictures, by name."""
    return sorted(PICTURES.glob("*.png"))


def reference_of(encoder: Encoder, vectors: np.ndarray) -> dict[str, Any]:
    """Return what a reference file holds."""
    return {
        "schema_version": SCHEMA_VERSION,
        "encoder": encoder.name,
        "digest": encoder.digest,
        "dim": int(encoder.dim),
        "precision": _precision(encoder),
        "versions": _versions(),
        "pictures": {path.name: sha256_file(path) for path in picture_paths()},
        "vectors": {
            path.name: [round(float(v), DECIMALS) for v in row]
            for path, row in zip(picture_paths(), vectors, strict=True)
        },
    }


def record_path(folder: str | Path, digest: str) -> Path:
    """Return where the embeddings of an encoder's first use lie, below a folder of all encoders."""
    return Path(folder) / digest[:FOLDER_DIGITS] / REFERENCE_NAME


def read_reference(path: str | Path) -> dict[str, Any]:
    """Return a reference file; raises HardStop ``config_invalid`` for one that cannot be used."""
    wrong = HardStop(
        "config_invalid",
        "not a reference of the encoder's self-test, or one for other pictures",
        file=path,
        fix="remove the file; the next use of the encoder writes one",
    )
    try:
        data = read_json(path)
        known = {p.name: sha256_file(p) for p in picture_paths()}
        rows = {name: np.asarray(data["vectors"][name], np.float64) for name in known}
        sound = (
            data["schema_version"] == SCHEMA_VERSION
            and data["pictures"] == known
            and data["precision"] in MIN_COSINE
            and all(row.ndim == 1 and row.size for row in rows.values())
        )
    except (HardStop, ValueError, KeyError, TypeError, OverflowError):
        raise wrong from None
    if not sound:
        raise wrong
    return {**data, "vectors": rows}


def compare(encoder: Encoder, vectors: np.ndarray, path: Path) -> Comparison:
    """Compare (5, dim) embeddings with a reference file."""
    reference = read_reference(path)
    limit = min(MIN_COSINE[p] for p in (_precision(encoder), reference["precision"]))
    cosines = {}
    for picture, row in zip(picture_paths(), vectors, strict=True):
        wanted = reference["vectors"][picture.name]
        if wanted.shape != row.shape:
            raise HardStop(
                "encoder_mismatch",
                f"encoder {encoder.name} gives {len(row)} numbers a picture, the reference of its "
                f"self-test has {len(wanted)}",
                file=path,
                fix=_advice(encoder, path),
            )
        one = row.astype(np.float64)
        length = np.linalg.norm(one) * np.linalg.norm(wanted)
        cosines[picture.name] = float(one @ wanted / length) if length > 0 else float("nan")
    return Comparison(path, cosines, limit)


def verify(encoder: Encoder, record: Path) -> list[Comparison]:
    """Embed the five pictures and compare; the first use of a digest leaves the record.

    Raises
    ------
    HardStop ``encoder_mismatch`` when a cosine is below :data:`MIN_COSINE`, or a number is not
    finite.
    """
    vectors = embed_pictures(encoder, picture_paths())
    if not np.isfinite(vectors).all():
        raise HardStop(
            "encoder_mismatch",
            f"encoder {encoder.name} gives numbers that are not finite in its self-test",
            file=record,
            fix="the weights are broken, or do not suit the precision: fetch them again, or set "
            "the encoder's precision to float32",
        )
    shipped = getattr(encoder, "reference", None)
    done = []
    for path in (shipped, record):
        if path is None or (path == record and not record.is_file()):
            continue
        done.append(compare(encoder, vectors, path))
        failed = done[-1].failed
        if failed:
            name, cosine = min(failed.items(), key=lambda item: item[1])
            raise HardStop(
                "encoder_mismatch",
                f"encoder {encoder.name} gives other embeddings than its reference for "
                f"{len(failed)} of {len(vectors)} pictures of the self-test ({name}: cosine "
                f"{cosine:.6f}, at least {done[-1].limit:g} is needed)",
                file=path,
                fix=_advice(encoder, path),
            )
    if not record.is_file():
        write_json_atomic(record, reference_of(encoder, vectors))
        done.append(replace(compare(encoder, vectors, record), first_use=True))
    return done


class SelfTested:
    """An encoder that compares itself with its record before its first vectors leave it.

    So a stage whose pictures are all in the cache does not wait for it. Anything else is the
    encoder's own. ``forward`` is for one thread, as an encoder's is.
    """

    def __init__(self, encoder: Encoder, record: Path) -> None:
        self.encoder, self.record, self.verified = encoder, record, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def forward(self, pictures: np.ndarray) -> np.ndarray:
        """See :class:`deft.embedding.encoders.base.Encoder`; raises as :func:`verify` does."""
        if not self.verified:
            for done in verify(self.encoder, self.record):
                print(done.text(), flush=True)
            self.verified = True
        return self.encoder.forward(pictures)


def images_per_s(encoder: Encoder, seconds: float = 2.0) -> float:
    """Return how many prepared pictures a second the model embeds, one batch after the other."""
    batch = np.zeros((encoder.batch_size, *encoder.size_px, 3), np.uint8)
    encoder.forward(batch)  # the first pass is slower
    began, count = time.monotonic(), 0
    while count == 0 or time.monotonic() - began < seconds:
        encoder.forward(batch)
        count += encoder.batch_size
    return count / (time.monotonic() - began)


def table(encoder: Encoder, done: list[Comparison], speed: float) -> str:
    """Return what a person reads: the encoder, a cosine for each picture and reference, speed."""
    height, width = encoder.size_px
    lines = [
        f"encoder   {encoder.name}, {width} × {height} px, {encoder.dim} numbers a picture",
        f"digest    {encoder.digest}",
        f"computes  {_precision(encoder)} on {getattr(encoder, 'device', 'cpu')}, batches of "
        f"{encoder.batch_size}: {speed:.1f} images/s without decoding",
    ]
    for one in done:
        what = "first use, recorded now" if one.first_use else f"at least {one.limit:g}"
        lines += ["", f"cosine with {one.reference} ({what}):"]
        lines += [f"  {name:<26}{cosine:.8f}" for name, cosine in one.cosines.items()]
    return "\n".join(lines)


def _precision(encoder: Encoder) -> str:
    return getattr(encoder, "precision", "float32")


def _advice(encoder: Encoder, path: Path) -> str:
    if path == getattr(encoder, "reference", None):
        return (
            "fetch weights and preprocessing file again from where the reference came from; "
            f"remove {path.name} if it belongs to other weights"
        )
    try:
        made = read_reference(path)["versions"]
    except (HardStop, KeyError):
        made = {}
    now = _versions()
    other = [f"{n} {made[n]} then, {now[n]} here" for n in now if made.get(n, now[n]) != now[n]]
    differs = f" ({'; '.join(other)})" if other else ""
    return (
        f"this machine computes something else than the record's{differs}: mend it, "
        f"or delete {path.parent} so that all pictures are embedded again here"
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "-"
    return found
