"""The ONNX file in ONNX Runtime: opened, compared with its checksum, asked for scores."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .embeddings import Reference, with_output
from .errors import Stop
from .files import read_file
from .prepare import Facts

INPUTS, OUTPUT = ("input_1", "input_2"), "output"
CHECKSUM = "model.onnx.sha256"
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# Repeatable numbers rather than the last percent of speed: no TF32, no timing of algorithms.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
NUMBERS_BESIDE = "session.model_external_initializers_file_folder_path"
WHOLE_FIX = "copy the hand-off's folder again, whole"
FARTHEST = 1e6  # of a logit; that of the smallest float32 is -104
BARE_S = 0.5
BATCH = {CPU: 8, CUDA: 32}  # pairs, where the file takes any number


class Network:
    """A hand-off's ONNX file; ``provider`` is what it runs on, ``batch`` the pairs it is fed.

    Raises Stop ``spec_invalid`` for a network of other inputs or outputs.
    """

    def __init__(
        self,
        path: Path,
        facts: Facts,
        session: Any,
        provider: str,
        batch: int | None = None,
        features: str | None = None,
    ) -> None:
        self.path, self.facts, self.session, self.provider = path, facts, session, provider
        self.sha256, self.features = facts.sha256, features
        self.outputs = [found.name for found in session.get_outputs()]
        inputs = [found.name for found in session.get_inputs()]
        if inputs != list(INPUTS) or OUTPUT not in self.outputs:
            raise Stop(
                "spec_invalid",
                f"the network has inputs {inputs} and outputs {self.outputs} instead of "
                f"{list(INPUTS)} and {OUTPUT}",
                file=path,
                fix=WHOLE_FIX,
            )
        first = session.get_inputs()[0].shape[0]
        self.fixed = first if isinstance(first, int) and first > 0 else None
        self.batch = self.fixed or batch or BATCH[provider]

    def buffers(self) -> list[np.ndarray]:
        """Return float32 arrays of a batch: tests (B, 3, H, W), goldens (B, [N,] 3, H, W)."""
        shape, count = self.facts.input_shape, self.facts.num_golden
        golden = (count, *shape) if count > 1 else shape
        return [np.zeros((self.batch, *s), np.float32) for s in (shape, golden)]

    def scores(self, inputs: list[np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return float32 scores (count,) of a batch's first pairs, and their ``features`` if any.

        Features are (count, C), or (count, C, h, w) maps.
        """
        asked = [OUTPUT, *([self.features] if self.features else [])]
        fed = inputs if self.fixed else [side[:count] for side in inputs]
        try:
            found, *more = self.session.run(asked, dict(zip(INPUTS, fed, strict=True)))
        except Exception as error:  # onnxruntime's own classes have no common base
            raise Stop(
                "spec_invalid",
                f"ONNX Runtime cannot compute {fed[0].shape[0]} pair(s) of {fed[0].shape[1:]} "
                f"({first_line(error)})",
                file=self.path,
                fix="where memory is short, give a smaller --batch; else copy the folder again",
            ) from None
        return to_scores(found[:count]), more[0][:count] if more else None

    def bare_rate(self) -> float:
        """Return the pairs a second of the session alone, on drawn inputs that lie in memory.

        A short timing: half a second, or one batch where that takes longer.
        """
        rng = np.random.default_rng(0)
        fed = [rng.standard_normal(side.shape, np.float32) for side in self.buffers()]
        given, batches, began = dict(zip(INPUTS, fed, strict=True)), 0, time.perf_counter()
        while not batches or time.perf_counter() - began < BARE_S:
            self.session.run([OUTPUT], given)
            batches += 1
        return batches * self.batch / (time.perf_counter() - began)


class TwoStage(Network):
    """One view of every pair, and all views of the pairs that it leaves near the threshold.

    ``again`` counts the latter. Beyond the margin a score is that of one view.
    """

    def __init__(self, first: Network, views: Network, margin: float) -> None:
        super().__init__(views.path, views.facts, views.session, views.provider, views.batch)
        self.sha256, self.first, self.margin, self.again = views.sha256, first, margin, 0

    def scores(self, inputs: list[np.ndarray], count: int) -> tuple[np.ndarray, None]:
        """Return float32 scores (count,) of the first ``count`` pairs of a batch; no features."""
        found, _ = self.first.scores(inputs, count)
        near = np.flatnonzero(
            distance_to(found, self.facts.threshold, self.facts.logits) <= self.margin
        )
        if not len(near):
            return found, None
        self.again += len(near)
        # A file with a fixed batch is fed a whole one.
        rows = np.resize(near, self.fixed) if self.fixed else near
        found[near], _ = super().scores([side[rows] for side in inputs], len(near))
        return found, None


def distance_to(scores: np.ndarray, threshold: float | np.ndarray, logits: bool) -> np.ndarray:
    """Return how far scores (n,) are from a threshold, float64: of their logits, or of distances.

    Near 0 and 1 scores of logits lie close together, whatever tells them apart. A score of 0 or 1
    itself is ``FARTHEST`` away, so that every distance is a number. ``threshold``: one, or one a
    score.
    """
    one = np.asarray(scores, np.float64)
    other = np.asarray(threshold, np.float32).astype(np.float64)
    if logits:
        with np.errstate(divide="ignore"):
            one, other = np.log(one) - np.log1p(-one), np.log(other) - np.log1p(-other)
    with np.errstate(invalid="ignore"):
        apart = np.minimum(np.abs(one - other), FARTHEST)
    return np.where(one == other, 0.0, apart)  # both may be infinite


def open_network(
    folder: Path,
    facts: Facts,
    *,
    device: str = "auto",
    threads: int = 1,
    batch: int | None = None,
    kpi: Reference | None = None,
) -> Network:
    """Open the network of a hand-off; it gives features where ``kpi`` is this network's reference.

    Raises Stop ``missing_input`` (a file that is gone or another one), ``spec_invalid`` (no such
    network), ``config_invalid`` (CUDA asked for and not there).
    """
    digest = _check_files(folder, facts.file, facts.sha256)
    path = folder / facts.file
    # In two stages most pairs never reach the file that has the features.
    compared = kpi is not None and kpi.sha256 == digest and facts.first is None
    features = kpi.tensor if kpi is not None and compared else None
    session = open_session(path, device, threads, features)
    network = Network(path, facts, *session, batch, features)
    network.sha256 = digest
    if facts.first is None:
        return network
    _check_files(folder, facts.first.file, facts.first.sha256)
    path = folder / facts.first.file
    first = Network(path, facts, *open_session(path, device, threads), network.batch)
    return TwoStage(first, network, facts.first.margin)


def to_scores(output: np.ndarray) -> np.ndarray:
    """Return float32 scores (B,) of logits (B, 2) (the defect's probability) or distances (B,)."""
    if output.ndim == 1:
        return np.asarray(output, np.float32)
    with np.errstate(over="ignore"):  # a probability of 0
        return np.asarray(1 / (1 + np.exp(output[:, 0] - output[:, 1])), np.float32)


def open_session(
    path: Path, device: str, threads: int, features: str | None = None
) -> tuple[Any, str]:
    """Return a session and the provider that it runs on; ``auto`` is CUDA where it works.

    ``features``: a tensor of the graph that is to be an output too; the file stays as it is.
    Raises Stop as :func:`open_network` does; ONNX Runtime by itself falls back without an error.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads)
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4 if device == "auto" else 3
    # Waiting threads that spin starve the decoding of pictures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    known = onnxruntime.get_available_providers()
    if device == "cuda" and CUDA not in known:
        raise Stop(
            "config_invalid",
            f"device cuda: this onnxruntime was built without CUDA (it has {', '.join(known)})",
            fix="install onnxruntime-gpu instead of onnxruntime, or give --device cpu",
        )
    wanted = CPU if device == "cpu" or CUDA not in known else CUDA
    providers: list[Any] = [(CUDA, CUDA_OPTIONS), CPU] if wanted == CUDA else [CPU]
    try:
        source: str | bytes = str(path)
        if features:
            source = with_output(read_file(path), features)
            options.add_session_config_entry(NUMBERS_BESIDE, str(path.parent))
        session = onnxruntime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes have no common base
        raise Stop(
            "spec_invalid",
            f"ONNX Runtime cannot load the file ({first_line(error)})",
            file=path,
            fix=WHOLE_FIX,
        ) from None
    given = session.get_providers()[0]
    if device == "cuda" and given != CUDA:
        raise Stop(
            "config_invalid",
            f"ONNX Runtime was asked for {CUDA} and fell back to {given}",
            fix="its CUDA libraries do not load here: mend that, or give --device cpu",
        )
    return session, given


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def _check_files(folder: Path, file: str, sha256: str) -> str:
    """Compare a network's files with ``model.onnx.sha256``, which names each; return its own."""
    sums = folder / CHECKSUM
    try:
        lines = read_file(sums).decode("utf-8").split("\n")
        told = {name: digest for digest, name in (line.split(None, 1) for line in lines if line)}
    except (OSError, ValueError):
        raise Stop(
            "missing_input", "the checksums cannot be read", file=sums, fix=WHOLE_FIX
        ) from None
    if file not in told:
        raise Stop("missing_input", f"{file} has no checksum", file=sums, fix=WHOLE_FIX)
    if sha256 not in told.values():  # its threshold would be another network's
        why = f"preprocessing.json is that of another network ({sha256[:12]}…)"
        raise Stop("spec_invalid", why, file=sums, fix=WHOLE_FIX)
    for name in (file, f"{file}.data"):
        if name not in told:
            continue
        path, found = folder / name, hashlib.sha256()
        try:
            with path.open("rb") as handle:
                while block := handle.read(1 << 20):
                    found.update(block)
        except OSError as error:
            why = f"{name} cannot be read ({error.strerror})"
            raise Stop("missing_input", why, file=path, fix=WHOLE_FIX) from None
        if found.hexdigest() != told[name]:
            raise Stop(
                "missing_input",
                f"{name} is not the file that was handed off: its SHA-256 is "
                f"{found.hexdigest()[:12]}…, {CHECKSUM} says {told[name][:12]}…",
                file=path,
                fix=WHOLE_FIX,
            )
    return told[file]
