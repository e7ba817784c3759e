"""The command line of ``score.py`` in a hand-off."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .errors import Stop
from .score import Request, run

EXIT_STOP, EXIT_UNEXPECTED, EXIT_INTERRUPTED = 1, 3, 130  # 2 is argparse's
EPILOG = """
examples:
  python score.py --csv today.csv --images /data/boards --out scores.csv
  python score.py --test boards/today --golden boards/golden --out scores.csv

The table has the columns input_path, golden_path, object_name and, where it is known, label; its
folders lie below --images. In two folders every part is scored, or the command stops and names what
would not be. The output is the same table in the same order with three more columns: score (high is
bad), verdict (PASS or NO_PASS) and margin (score minus the threshold of preprocessing.json). Beside
it lie *.summary.json (counts, FAR and recall where rows have labels, drift against the KPI set) and
*.false_calls.html (pictures to look at). An interrupted command leaves <out>.partial; the same
command goes on from there.

exit status:
  0    all rows are scored
  1    something is to be mended: the message says what, where and how
  2    the command line cannot be understood
  3    an error that was not foreseen; --debug shows where
  130  interrupted; the same command goes on
"""


def parse(argv: Sequence[str] | None, folder: Path) -> tuple[Request, bool]:
    """Return what a command line asks for, and whether errors are shown in full."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    parser = argparse.ArgumentParser(
        prog="score.py",
        description="Score pairs of pictures with the model of this folder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--csv", type=Path, metavar="TABLE", help="table of the parts to score")
    parser.add_argument(
        "--images", type=Path, metavar="ROOT", help="folder that its paths start in"
    )
    parser.add_argument("--test", type=Path, metavar="DIR", help="instead: folder of test pictures")
    parser.add_argument("--golden", type=Path, metavar="DIR", help="and of goldens of equal names")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="table to write")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s"
    )
    parser.add_argument("--threads", type=_count, default=cores, help="that compute (%(default)s)")
    parser.add_argument(
        "--workers", type=_count, default=max(2, cores), help="that decode pictures (%(default)s)"
    )
    parser.add_argument("--batch", type=_count, help="pairs at once (8 on a CPU, 32 on a GPU)")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    table, folders = (args.csv, args.images), (args.test, args.golden)
    if not (all(table) and not any(folders) or all(folders) and not any(table)):
        parser.error("give --csv with --images, or --test with --golden")
    request = Request(
        folder,
        args.out,
        args.csv,
        args.images,
        args.test,
        args.golden,
        args.device,
        args.threads,
        args.workers,
        args.batch,
    )
    return request, args.debug


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def main(folder: Path, argv: Sequence[str] | None = None) -> int:
    """Score as the command line says; return the exit status. Nothing ends in a traceback."""
    request, debug = parse(argv, folder)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that is no UTF-8 must not end the message
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        run(request)
    except Stop as stop:
        if debug:
            raise
        print(f"STOP {stop.text()}", file=sys.stderr)
        return EXIT_STOP
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    except MemoryError:
        print("STOP out of memory: give a smaller --batch", file=sys.stderr)
        return EXIT_STOP
    except Exception as error:  # a bug or the machine
        if debug:
            raise
        print(f"unexpected {type(error).__name__}: {error} (--debug shows where)", file=sys.stderr)
        return EXIT_UNEXPECTED
    return 0
