"""By how much do trainings of one table differ that have other seeds alone?

    python benchmarks/noise_floor.py --workspace DIR --trainings 8 --epochs 12

Trains the workspace's base table with seeds 0, 1, …, scores its KPI table as a phase is scored and
prints a Markdown table and the noise floor. Finished trainings are kept in OUT and only read again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft.changenet.training.options import Options  # noqa: E402
from deft.core.layout import Run  # noqa: E402
from deft.kpi.noise import noise_floor  # noqa: E402
from deft.rca.markdown import table_lines  # noqa: E402
from deft.stages.context import Context  # noqa: E402
from deft.stages.noise_floor import LEVELS_PCT, one_training  # noqa: E402
from deft.stages.train import Files, phase_spec  # noqa: E402

HEAD = ("seed", "geometric mean", *(f"FAR at recall {level:g} %" for level in LEVELS_PCT))


def table(members: list[dict[str, Any]]) -> str:
    """Return the trainings as Markdown, and the floor under them."""
    rows = []
    for member in members:
        far = [f"{member['far_at_recall_pct'][f'{level:g}']:.2f} %" for level in LEVELS_PCT]
        rows.append((member["seed"], f"{member['far_geometric_mean_pct']:.3f} %", *far))
    found = noise_floor([member["far_geometric_mean_pct"] for member in members])
    lines = [
        *table_lines(HEAD, rows),
        "",
        f"{found['trainings']} trainings: geometric mean {found['mean_pct']:.3g} % "
        f"({found['lowest_pct']:.3g} to {found['highest_pct']:.3g} %); two further ones differ by "
        f"up to a factor of {found['factor']:.3g} (95 %).",
    ]
    return "\n".join(lines)


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workspace", type=Path, required=True, help="folder of the data")
    parser.add_argument("--out", type=Path, help="default: tmp/noise_floor/ of the workspace")
    parser.add_argument("--trainings", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of the first training")
    parser.add_argument("--epochs", type=int, default=0, help="0 = the spec's")
    parser.add_argument("--min-recall", type=float, default=1.0, help="0 to 1")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    context = Context(Run(given.workspace.absolute(), "run_noise"))
    out = (given.out or given.workspace / "tmp/noise_floor").absolute()
    spec = phase_spec(context, Files(out / "train/weights.json"), given.epochs)
    members = []
    for seed in range(given.seed, given.seed + given.trainings):
        options = Options(
            seed=seed, device=given.device, threads=given.threads, optimizer_state="none"
        )
        members.append(one_training(context, spec, out / f"seed_{seed}", options, given.min_recall))
        print(members[-1], file=sys.stderr, flush=True)
    print(table(members))


if __name__ == "__main__":
    main()
