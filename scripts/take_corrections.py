"""Take verdicts from Label Studio, FiftyOne or the report's page into corrections.csv."""

import argparse
from pathlib import Path

from deft.core.files import write_text_atomic
from deft.core.layout import CORRECTIONS
from deft.run.cli import launch, parser
from deft.tables.corrections import read_corrections, read_file
from deft.tables.exchange import corrections_csv, from_fiftyone, from_label_studio, merged

READERS = {"label_studio": from_label_studio, "fiftyone": from_fiftyone, "csv": read_file}


def body(args: argparse.Namespace, _: object) -> None:
    """Add the verdicts to those that are there; the newer ones count."""
    old, new = read_corrections(args.workspace), READERS[args.source](args.file)
    both = merged(old, new)
    path = write_text_atomic(args.workspace / CORRECTIONS, corrections_csv(both))
    print(f"{path}: {len(new)} verdict(s) taken, {len(both)} in all")


if __name__ == "__main__":
    options = parser(__doc__, phase=False, run_is_required=False)
    options.add_argument("source", choices=sorted(READERS), help="what wrote the file")
    options.add_argument("file", type=Path, help="JSON export, labels.json or corrections.csv")
    launch(options.parse_args(), body, brief=False)
