"""The gate for a TensorRT engine: does it decide as the ONNX does? ``compare_engine.py`` runs it.

``trtexec`` computes batches of real pairs, written as raw float32 files; what it exports is
compared with ONNX Runtime's float32 scores. Or the scores of any two tables are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .errors import Stop
from .files import read_csv
from .loop import Progress, score_rows
from .network import INPUTS, OUTPUT, open_network, to_scores
from .prepare import Facts, Preparer, read_facts
from .table import ADDED, FIRST_LINE, find_missing, read_parts

EXIT_STOP, EXIT_FLIPS = 1, 4
PAIRS = 2000  # compared of a larger table: those nearest to the threshold
# One pass over the given pictures: trtexec otherwise repeats them for seconds.
ONCE = ("--iterations=1", "--warmUp=0", "--duration=0", "--avgRuns=1")
EPILOG = """
examples:
  python compare_engine.py --csv TABLE --images ROOT --engine tensorrt/model.fp16.plan
  python compare_engine.py --reference scores.csv --scores other.csv

exit status: 0 every decision is the same, 4 some differ, 1 something is to be mended, 2 usage
"""


def engine_scores(
    engine: Path, trtexec: str, fed: list[np.ndarray], facts: Facts, folder: Path
) -> np.ndarray:
    """Return an engine's float32 scores (B,) of one batch of inputs; raises Stop."""
    for name, side in zip(INPUTS, fed, strict=True):
        np.ascontiguousarray(side, np.float32).tofile(folder / f"{name}.bin")
    shapes = ",".join(
        f"{name}:{'x'.join(map(str, side.shape))}" for name, side in zip(INPUTS, fed, strict=True)
    )
    exported = folder / "output.json"
    exported.unlink(missing_ok=True)
    command = [
        trtexec,
        f"--loadEngine={engine.resolve()}",
        f"--shapes={shapes}",
        f"--loadInputs={','.join(f'{name}:{name}.bin' for name in INPUTS)}",
        f"--exportOutput={exported.name}",
        *ONCE,
    ]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise Stop(
            "config_invalid",
            f"trtexec cannot be started ({error.strerror})",
            file=trtexec,
            fix="it comes with TensorRT; give its path by --trtexec",
        ) from None
    if done.returncode or not exported.is_file():
        lines = (done.stdout + done.stderr).strip().splitlines()
        last = next((line for line in reversed(lines) if "[E]" in line), lines[-1] if lines else "")
        raise Stop(
            "spec_invalid",
            f"trtexec ended with {done.returncode}: {last.strip()[:300]}",
            file=engine,
            fix="build the engine again on this machine: tensorrt/build_engine.sh",
        )
    return to_scores(_output(exported, engine, len(fed[0]), facts))


def _output(exported: Path, engine: Path, count: int, facts: Facts) -> np.ndarray:
    """Return what trtexec has exported, float32 (B, 2) or (B,)."""
    try:
        told = {found["name"]: found for found in json.loads(exported.read_text())}[OUTPUT]
        values = np.array(told["values"], np.float32)
        return values.reshape((count, 2) if facts.logits else (count,))
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"trtexec's output cannot be read ({error})"
        fix = "is it an engine of this model? it may also give numbers that are not finite"
        raise Stop("score_invalid", why, file=engine, fix=fix) from None


@dataclass(frozen=True)
class Found:
    """A comparison: the pairs, the largest difference of a score, the rows decided otherwise."""

    pairs: int
    largest: float
    flipped: list[int]

    def text(self) -> str:
        """Return it as a line."""
        rows = ", ".join(str(row + FIRST_LINE) for row in self.flipped[:20])
        told = f"{len(self.flipped)} decided otherwise (rows {rows})" if self.flipped else "no flip"
        return f"{self.pairs} parts: {told}; scores differ by at most {self.largest:.3g}"


def compare(one: np.ndarray, other: np.ndarray, threshold: float, rows: Sequence[int]) -> Found:
    """Compare float32 scores (n,) of ``rows`` at a threshold."""
    cut = np.float32(threshold)
    flipped = np.flatnonzero((one > cut) != (other > cut))
    gap = np.abs(one.astype(np.float64) - other)
    return Found(len(one), float(gap.max(initial=0)), [int(rows[int(i)]) for i in flipped])


def compare_engine(folder: Path, args: argparse.Namespace) -> Found:
    """Score a table with ONNX Runtime and with an engine; raises Stop."""
    facts = replace(read_facts(folder), first=None)  # an engine computes all views
    if not args.engine.is_file():
        fix = "build it: sh tensorrt/build_engine.sh fp16"
        raise Stop("missing_input", "the engine does not exist", file=args.engine, fix=fix)
    parts = read_parts(args.csv, args.images, facts)
    find_missing(parts)
    threads = os.cpu_count() or 1
    network = open_network(folder, facts, threads=threads, batch=args.batch)
    every = np.zeros(len(parts), np.float32)
    progress = Progress(len(parts))

    def done(rows: Sequence[int], scores: np.ndarray, features: np.ndarray | None) -> None:
        every[list(rows)] = scores
        progress(len(rows))

    score_rows(parts, network, range(len(parts)), workers=threads, done=done)
    near = np.argsort(np.abs(every - np.float32(facts.threshold)), kind="stable")
    rows = sorted(int(i) for i in near[: args.pairs])
    preparer, fed = Preparer(facts), network.buffers()
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        for start in range(0, len(rows), network.batch):
            chunk = rows[start : start + network.batch]
            for place, row in enumerate(chunk):
                out = [side[place] for side in fed]
                preparer.write_pair(parts.test[row], parts.golden[row], out)
            scores = engine_scores(args.engine, args.trtexec, fed, facts, Path(temporary))
            found.append(scores[: len(chunk)])
    return compare(every[rows], np.concatenate(found), facts.threshold, rows)


def compare_tables(folder: Path, reference: Path, scores: Path) -> Found:
    """Compare the column ``score`` of two scored tables at the handed-off threshold."""
    columns = []
    for path in (reference, scores):
        header, rows = read_csv(path)
        try:
            place = header.index(ADDED[0])
            columns.append(np.array([float(row[place]) for row in rows], np.float32))
        except ValueError as error:
            fix = "give tables that score.py wrote, or with a column score"
            raise Stop("csv_invalid", f"no scores ({error})", file=path, fix=fix) from None
    if len(columns[0]) != len(columns[1]):
        why = f"{len(columns[1])} rows, {reference.name} has {len(columns[0])}"
        raise Stop("csv_invalid", why, file=scores, fix="give two scorings of one table")
    return compare(columns[0], columns[1], read_facts(folder).threshold, range(len(columns[0])))


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """Compare as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="compare_engine.py",
        description="Does another form of the model decide as model.onnx does?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--csv", type=Path, metavar="TABLE", help="table of parts, as for score.py")
    parser.add_argument(
        "--images", type=Path, metavar="ROOT", help="folder that its paths start in"
    )
    parser.add_argument("--engine", type=Path, metavar="FILE", help="the TensorRT engine")
    parser.add_argument("--trtexec", default="trtexec", help="the program (default: on PATH)")
    parser.add_argument("--batch", type=int, default=8, help="pairs at once (default: 8)")
    parser.add_argument(
        "--pairs", type=int, default=PAIRS, help="of a larger table, nearest to the threshold"
    )
    parser.add_argument("--reference", type=Path, metavar="FILE", help="instead: a scored table")
    parser.add_argument("--scores", type=Path, metavar="FILE", help="and the one to compare")
    args = parser.parse_args(argv)
    by_engine, tables = (args.csv, args.images, args.engine), (args.reference, args.scores)
    if not (all(by_engine) and not any(tables) or all(tables) and not any(by_engine)):
        parser.error("give --csv, --images and --engine, or --reference and --scores")
    try:
        found = compare_engine(folder, args) if args.engine else compare_tables(folder, *tables)
    except Stop as stop:
        print(f"STOP {stop.text()}", file=sys.stderr)
        return EXIT_STOP
    print(found.text())
    return EXIT_FLIPS if found.flipped else 0
