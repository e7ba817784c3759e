"""End the loop: hand-off, lab record, final report."""

import argparse
from pathlib import Path

from deft.core.layout import Run
from deft.record.verdict import verdict_lines
from deft.report.render import render_report
from deft.run.cli import launch, parser
from deft.run.stage import hard_stop_recorded, status_line
from deft.stages.finish import finish


def body(args: argparse.Namespace, run: Run) -> None:
    """Finish a run whose loop has stopped in good order."""
    code_dir = Path(__file__).resolve().parents[1]
    with hard_stop_recorded(run.dir, "preflight", "loop_stop"):
        summary = finish(run, args.decision, seed=args.seed, code_dir=code_dir)
        page = render_report(run.dir, run.workspace)
        verdict = verdict_lines(run.dir, run.workspace)
    print(status_line("run", "loop_stop", summary, 0))
    for line in verdict:
        print(f"  {line}")
    print(f"report: {page}")


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--decision", type=Path, required=True, help="the last decision's JSON")
    options.add_argument("--seed", type=int, default=0, help="seed of the run, for the record")
    launch(options.parse_args(), body, brief=False)  # the verdict is the end of the story
