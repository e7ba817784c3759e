"""One scoring from table or folders to its files; what both commands do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .embeddings import Reference, picture_drift, read_embeddings
from .errors import Stop
from .files import write_text
from .loop import Progress, score_rows
from .network import Network, TwoStage, open_network
from .partial import Partial
from .prepare import Facts, read_facts
from .report import keep_earlier, scores_text, summary_of, words, write_summary
from .sheet import candidates, write_sheet
from .statistics import at_threshold, doubts, read_reference
from .table import Parts, find_missing, read_folders, read_parts

TELLING_S = 10.0


@dataclass(frozen=True)
class Request:
    """What is asked for: a table with the root of its pictures, or two folders.

    ``folder``: the hand-off; ``out``: the table to write. ``threads`` compute, ``workers`` decode.
    ``keep_earlier``: another result that ``out`` would replace is moved to a folder beside its own.
    """

    folder: Path
    out: Path
    table: Path | None = None
    images: Path | None = None
    test: Path | None = None
    golden: Path | None = None
    device: str = "auto"
    threads: int = 1
    workers: int = 1
    batch: int | None = None
    keep_earlier: bool = False


def run(request: Request, say: Callable[[str], object] = print) -> dict[str, Any]:
    """Score, write ``out``, ``*.summary.json`` and ``*.false_calls.html``; return the summary.

    Raises Stop; ``out`` is then as it was, and ``<out>.partial`` holds what is done, from where
    the same command goes on.
    """
    facts = read_facts(request.folder)
    kpi, pictures = read_reference(request.folder), read_embeddings(request.folder)
    handed_off = kpi["threshold"]
    kpi = at_threshold(kpi, facts.threshold)
    if kpi["threshold"] != handed_off and facts.first:
        say("all views of every part: one view was judged at the handed-off threshold alone")
        facts = replace(facts, first=None)
    parts = _parts(request, facts)
    if request.table is not None and request.out.exists() and request.out.samefile(request.table):
        fix = "give another --out"
        raise Stop("missing_input", "the output is the table itself", file=request.out, fix=fix)
    warnings = doubts(parts)
    find_missing(parts)
    network = open_network(
        request.folder,
        facts,
        device=request.device,
        threads=request.threads,
        batch=request.batch,
        kpi=pictures,
    )
    pictures = pictures if network.features else None  # an int8 form has features of its own
    say(f"{len(parts)} parts, {facts.file} on {network.provider}, {network.batch} pairs a batch")
    width = pictures.numbers.shape[1] if pictures else 0
    partial = Partial(request.out, parts, network, width)
    scores = _scored(parts, network, partial, request.workers, say, pictures)
    if isinstance(network, TwoStage):
        say(f"one view decided all but {network.again} parts, which were scored over all views")
    summary = summary_of(parts, scores, network, kpi)
    summary |= {"handed_off_threshold": handed_off, "warnings": warnings}
    if pictures:
        passing = scores <= np.float32(facts.threshold)
        summary["embeddings"] = picture_drift(partial.numbers, passing, pictures)
    sheet, told = beside(request.out, "false_calls.html"), beside(request.out, "summary.json")
    table = scores_text(parts, scores, facts)
    kept = keep_earlier((request.out, told, sheet), table) if request.keep_earlier else None
    if kept:
        say(f"{request.out} held other scores: they lie in {kept} now")
    shown = candidates(scores, facts.threshold, parts.labels)
    write_sheet(sheet, parts, scores, facts, shown)
    write_summary(told, summary)
    write_text(request.out, table)
    partial.close(finished=True)
    for line in words(summary):
        say(line)
    say(f"written: {request.out}, {told.name}, {sheet.name} ({len(shown[0])} parts: {shown[1]})")
    return summary


def _share(network: Network, took: float, rate: float) -> str:
    """Return how near the rate is to the network's own, where the work was long enough to tell."""
    if took < TELLING_S:
        return ""
    bare = network.bare_rate()
    return f", {rate / bare:.2f} of the bare session's {bare:.4g} (timed on a few batches just now)"


def beside(out: Path, ending: str) -> Path:
    """Return ``scores.<ending>`` for ``scores.csv``."""
    return out.with_name(f"{out.name.removesuffix('.csv')}.{ending}")


def _parts(request: Request, facts: Facts) -> Parts:
    if request.table is not None:
        return read_parts(request.table, request.images or request.table.parent, facts)
    assert request.test is not None and request.golden is not None
    return read_folders(request.test, request.golden, facts)


def _scored(
    parts: Parts,
    network: Network,
    partial: Partial,
    workers: int,
    say: Callable[[str], object],
    pictures: Reference | None,
) -> np.ndarray:
    rows = np.flatnonzero(~np.isfinite(partial.scores)).tolist()
    if partial.taken_over:
        say(f"{partial.taken_over} scores taken over from {partial.path.name}")
    progress = Progress(len(parts), partial.taken_over)

    def done(batch: Sequence[int], scores: np.ndarray, features: np.ndarray | None) -> None:
        numbers = pictures.numbers_of(features) if pictures and features is not None else None
        partial.add(list(batch), scores, numbers)
        progress(len(batch))

    try:
        score_rows(parts, network, rows, workers=workers, done=done)
    except BaseException:
        partial.close(finished=False)
        if progress.bar:
            print(file=sys.stderr)
        raise
    if rows:
        took, rate = progress.seconds, progress.rate
        share = _share(network, took, rate)
        say(f"scored {len(rows)} parts in {took:.1f} s, {rate:.4g} pairs/s{share}")
    return partial.scores
