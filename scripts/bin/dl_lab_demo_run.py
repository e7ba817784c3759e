#!/usr/bin/env python3
"""Smoke test without a GPU: train a small network and write its record; seconds, Python alone."""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dl_lab.demo import demo_record  # noqa: E402
from dl_lab.learner import Settings  # noqa: E402
from dl_lab.record import NAMES, RecordError  # noqa: E402

TAG = "demo"


def refuse_foreign(out: Path) -> None:
    """Raise RecordError when the folder holds what an earlier demo did not write."""
    if out.is_file():
        raise RecordError(f"{out} is a file")
    ours = {"data", "models", *(f"{name}.json" for name in NAMES)}
    foreign = sorted(p.name for p in out.iterdir() if p.name not in ours) if out.is_dir() else []
    if foreign:
        raise RecordError(f"{out} holds {foreign[0]!r}, which no demo run wrote; name another")


def main() -> int:
    """Train, write the record, print its headline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out-dir", type=Path, required=True, help="folder of the record")
    parser.add_argument("--seed", type=int, default=0, help="of data and weights")
    given = parser.parse_args()
    out = given.out_dir
    try:
        refuse_foreign(out)
        outcome = demo_record(
            out,
            tag=TAG,
            project_root=out,
            data_dir=out / "data",
            model_dir=out / "models",
            settings=Settings(),
            seed=given.seed,
            command=shlex.join(["python3", *sys.argv]),
        )
    except (RecordError, OSError) as error:
        print(f"dl_lab_demo_run: {error}", file=sys.stderr)
        return 1
    metric = outcome.metrics[outcome.primary]
    print(f"{outcome.primary} {metric.value:.2f} {metric.unit} ({outcome.selected_by})")
    print(f"record: {out / 'manifest.json'}, summary.json, analysis.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
