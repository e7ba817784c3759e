"""The encoder as the command lines name it, for the stages that embed pictures."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deft.core.credentials import credential
from deft.core.errors import HardStop
from deft.embedding.cache import cache_folder, open_cache
from deft.embedding.encoders.base import Encoder
from deft.embedding.encoders.selftest import SelfTested, record_path
from deft.embedding.vector_files import EmbeddedFiles
from deft.run.stage_files import path_or_none
from deft.settings.options import add_option
from deft.settings.tao import embeds_in_container
from deft.stages.context import Context
from deft.stages.weights import chosen_weights
from deft.tao.embed import ContainerVectors, TaoEncoder

NO_CACHE_RECORDS = "results/encoder_selftest"  # of the self-test, with embedding_cache: off


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how pictures become vectors."""
    add_option(parser, "encoder", required=True)
    add_option(parser, "encoder_weights", default="")
    add_option(parser, "device")
    add_option(parser, "embed_batch_size", "--batch-size")
    add_option(parser, "embed_precision", "--precision")
    add_option(parser, "embed_compile", "--compile")
    add_option(parser, "embed_runtime", "--runtime")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--image", default="", help="container of the encoder, named for the record"
    )
    parser.add_argument(
        "--baseline",
        type=path_or_none,
        metavar="FILE",
        help="metrics.json of the baseline, whose weights are the encoder changenet",
    )
    add_option(parser, "embedding_cache", "--cache", default="")


def open_encoder(context: Context, args: argparse.Namespace) -> SelfTested | TaoEncoder:
    """Return the encoder; ``changenet`` is the baseline's chosen weights, fixed for the run.

    With ``engine: tao`` TAO's container is the encoder where it has it. Any other compares itself
    with its record (:mod:`deft.embedding.encoders.selftest`) before its first vectors.
    """
    if embeds_in_container({"engine": context.engine, "encoder": args.encoder}):
        lap = getattr(args, "phase", None)
        phase, job = (lap, "data_mining") if lap else ("pool", f"embed_{args.item}")
        return TaoEncoder(
            context,
            args.encoder,
            args.encoder_weights,
            batch_size=args.batch_size,
            phase=phase,
            job=job,
        )
    import torch  # seconds of import, wanted only here

    from deft.embedding.encoders.opening import open_encoder as opened
    from deft.embedding.encoders.torch_encoder import Options

    torch.set_num_threads(max(1, args.threads))
    options = Options(
        args.device,
        args.batch_size,
        args.precision,
        args.compile,
        args.runtime,
        context.picture_levels,
    )
    encoder = opened(
        args.encoder,
        args.encoder_weights or None,
        options,
        network=lambda: (context.spec, _baseline(context, args.baseline)),
        token=lambda: credential(context.workspace, "HF_TOKEN"),
    )
    records = cache_folder(context.workspace, args.cache) or context.root / NO_CACHE_RECORDS
    return SelfTested(encoder, record_path(records, encoder.digest))


def _baseline(context: Context, metrics: Path | None) -> Path:
    if metrics is None:
        raise HardStop(
            "missing_input",
            "encoder changenet is the baseline's weights, and none are named",
            fix="give --baseline results/RUN/baseline/metrics.json",
        )
    return chosen_weights(context, metrics)


@contextmanager
def vectors_of(
    encoder: Encoder | TaoEncoder,
    paths: Sequence[str | Path],
    cache: Path | None,
    workers: int,
    what: str,
) -> Iterator[EmbeddedFiles | ContainerVectors]:
    """Yield the vectors of pictures; a container reads the pictures itself and needs no cache."""
    if isinstance(encoder, TaoEncoder):
        yield ContainerVectors(encoder, paths)
        return
    with open_cache(cache, encoder) as opened:
        yield EmbeddedFiles(encoder, paths, opened, workers=workers, what=what)
