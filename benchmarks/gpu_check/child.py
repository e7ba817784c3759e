"""One check's process: ``python -m gpu_check.child MODULE:FUNCTION DEVICE SCRATCH RESULTS``."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path

from gpu_check.bench import Bench


def main(where: str, device: str, scratch: str, results: str) -> int:
    """Run a check and write each result as soon as it is there."""
    module, function = where.split(":")
    work = getattr(importlib.import_module(f"gpu_check.{module}"), function)
    with Path(results).open("a", encoding="utf-8") as out:
        for result in work(Bench(device, Path(scratch), Path(results).parent)):
            out.write(result.line() + "\n")
            out.flush()
    return 0


if __name__ == "__main__":
    try:
        status = main(*sys.argv[1:])
    except BaseException:  # HardStop and signals too: what was said last goes into the table
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # No tidying: a library that hangs at exit has no say in the table.
    os._exit(status)
