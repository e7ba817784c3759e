#!/usr/bin/env python3
"""Train, and write the run's record to artifacts/runs/<tag>/ and its pages of knowledge_base/."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from lab.demo import demo_record, trace
from lab.learner import Settings
from lab.record import RecordError, checked_tag, write_text

ROOT = Path(__file__).resolve().parents[1]


def settings_of(path: Path) -> Settings:
    """Return the settings of a JSON file; raises RecordError naming what is wrong with it."""
    try:
        return Settings(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise RecordError(f"{path}: {error}") from None


def main(arguments: list[str] | None = None) -> int:
    """Make one record; 1 and one line when it cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag", required=True, help="name of the run, e.g. M0-demo")
    parser.add_argument("--seed", type=int, default=0, help="of data and weights")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "demo.json")
    given = parser.parse_args(arguments)
    try:
        folder = ROOT / "artifacts" / "runs" / checked_tag(given.tag)
        if folder.exists():
            raise RecordError(f"{folder} is a record already; take another tag")
        outcome = demo_record(
            folder,
            tag=given.tag,
            project_root=ROOT,
            data_dir=ROOT / "data",
            model_dir=ROOT / "models" / given.tag,
            settings=settings_of(given.config),
            seed=given.seed,
            command=shlex.join([Path(sys.executable).name, *sys.argv]),
            inputs=(given.config,),
        )
    except RecordError as error:
        print(f"make_artifacts: {error}", file=sys.stderr)
        return 1
    for topic, text in trace(given.tag, outcome, ROOT).items():
        write_text(ROOT / "knowledge_base" / topic / f"{given.tag}.md", text)
    metric = outcome.metrics[outcome.primary]
    print(f"{outcome.primary} {metric.value:.2f} {metric.unit} ({outcome.selected_by})")
    print(f"record: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
