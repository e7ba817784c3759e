"""Does averaging the score over turned and mirrored views lower FAR, and what does it cost?

    python benchmarks/score_views.py --root DEEPPCB --backbone WHEEL --out /tmp/views

Per seed: a workspace of DeepPCB from the importer, one training of its base table, and the KPI
table scored over one, four and eight views of each pair; views need no lap. ``--backbone`` is the
package of docs/backbones.md; without it the spec's small network starts from scratch. Finished
seeds are kept in OUT/results.jsonl and only read again; the table is Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from paired import sign_flip_p  # noqa: E402

from deft.changenet.data.pairs import open_pairs  # noqa: E402
from deft.changenet.infer import score_views  # noqa: E402
from deft.changenet.model import build_model  # noqa: E402
from deft.changenet.scoring import TableScorer  # noqa: E402
from deft.changenet.spec import Spec, load_spec, render  # noqa: E402
from deft.changenet.training.options import Options  # noqa: E402
from deft.changenet.training.train import train  # noqa: E402
from deft.changenet.views import VIEWS, views_of  # noqa: E402
from deft.changenet.weights import load_weights  # noqa: E402
from deft.core import layout  # noqa: E402
from deft.importers.deeppcb import import_deeppcb  # noqa: E402
from deft.importers.deeppcb_settings import Settings  # noqa: E402
from deft.kpi.operating_point import at_recall, sweep  # noqa: E402
from deft.kpi.steady import far_geometric_mean_pct  # noqa: E402
from deft.rca.markdown import table_lines  # noqa: E402
from deft.tables.changenet_table import is_ng  # noqa: E402

LEVELS_PCT = (100, 99.5, 99, 95)
TIMED_ROWS = 96


def trained(root: Path, seed: int, epochs: int) -> tuple[Spec, Path]:
    """Train the base table unless it was; return the spec and the last weights."""
    out = root / "trial"
    spec = load_spec(root / layout.SPEC)
    if not (out / "weights.json").exists():
        intervals = ("num_epochs", "checkpoint_interval", "validation_interval")
        train(
            render(spec, {f"train.{name}": epochs for name in intervals}),
            workspace=root,
            out_dir=out,
            resume_dir=out / "resume",
            options=Options(seed=seed),
            log=lambda line: None,
        )
    return spec, out / json.loads((out / "weights.json").read_text())["latest"]


def seconds(spec: Spec, weights: Path, root: Path) -> dict[str, float]:
    """Return seconds a pair of each kind of views, on one thread, goldens not kept."""
    torch.set_num_threads(1)
    model = build_model(spec)
    load_weights(model, weights)
    data = open_pairs(spec, root / layout.KPI_TABLE, layout.image_root(root))
    rows = range(min(TIMED_ROWS, len(data)))
    found = {}
    for name in VIEWS:
        scorer = TableScorer(model, torch.device("cpu"), cache_bytes=0, views=views_of(name, spec))
        scorer.outputs(data, 8, rows[:8])
        began = time.process_time()  # of this process: others beside it do not count
        scorer.outputs(data, 8, rows)
        found[name] = (time.process_time() - began) / len(rows)
    return found


def trial(given: argparse.Namespace, seed: int) -> dict:
    """Return a seed's figures."""
    root = given.out / f"seed{seed}"
    backbone = given.backbone and str(given.backbone)
    import_deeppcb(given.root, root, Settings(root=str(given.root), seed=seed, backbone=backbone))
    spec, weights = trained(root, seed, given.epochs)
    images = layout.image_root(root)
    scores, table = score_views(spec, weights, root / layout.KPI_TABLE, images, views="dihedral")
    ng = table["label"].map(is_ng).to_numpy()
    figures = {}
    for name, found in scores.items():
        swept = sweep(found, ng)
        far = {f"{p:g}": at_recall(swept, p / 100)["far_pct"] for p in LEVELS_PCT}
        figures[name] = {"far": far, "far_geometric_mean_pct": far_geometric_mean_pct(found, ng)}
    return {"seed": seed, "views": figures, "s_a_pair": seconds(spec, weights, root)}


def markdown(rows: list[dict]) -> str:
    """Return the table: a line a seed and kind of views; then each kind against one view."""
    levels = [f"{p:g}" for p in LEVELS_PCT]
    head = ["seed", "views", "geometric mean of FAR", *(f"FAR at {p} %" for p in levels)]
    cells: list[list[object]] = []
    for row in sorted(rows, key=lambda r: r["seed"]):
        for name, found in row["views"].items():
            far = [f"{found['far'][p]:.2f} %" for p in levels]
            cells.append([row["seed"], name, f"{found['far_geometric_mean_pct']:.2f} %", *far])
    lines = [*table_lines(head, cells), ""]
    mean = {n: np.array([r["views"][n]["far_geometric_mean_pct"] for r in rows]) for n in VIEWS}
    cost = {n: np.median([r["s_a_pair"][n] / r["s_a_pair"]["one"] for r in rows]) for n in VIEWS}
    head = ["views", "geometric mean over seeds", "lower than one view on", "p", "scoring time"]
    cells = []
    for name in VIEWS:
        centre = float(np.exp(np.log(mean[name]).mean()))
        lower, p = "–", "–"
        if name != "one":
            lower = f"{int((mean[name] < mean['one']).sum())} of {len(rows)}"
            p = f"{sign_flip_p(np.log(mean[name]), np.log(mean['one'])):.3f}"
        cells.append([name, f"{centre:.2f} %", lower, p, f"{cost[name]:.1f} ×"])
    return "\n".join([*lines, *table_lines(head, cells)])


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds PCBData/")
    parser.add_argument("--out", type=Path, required=True, help="where workspaces and results go")
    parser.add_argument("--backbone", type=Path, help="package of EfficientNet-Lite0")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for seed in given.seeds:
        if any(row["seed"] == seed for row in rows):
            continue
        rows.append(trial(given, seed))
        with file.open("a") as out:
            out.write(json.dumps(rows[-1]) + "\n")
        print(rows[-1], file=sys.stderr, flush=True)
    if rows:
        print(markdown(rows))


if __name__ == "__main__":
    main()
