"""Does ONNX Runtime decide as torch does, on real pictures with trained weights? And how fast?

    python benchmarks/onnx_parity.py --out /tmp/parity            # DEEPPCB_ROOT or --root: the data

Imports DeepPCB, trains the shipped spec for a few epochs (kept in --out and only read again), then
scores the KPI windows with both, from file to decision, at the KPI thresholds of several recalls.
Prints Markdown. A flip ends it with status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME / "scripts"))

from deft.changenet.data.pairs import PairData, open_pairs  # noqa: E402
from deft.changenet.model import ChangeNet, build_model  # noqa: E402
from deft.changenet.onnx.export import export_network  # noqa: E402
from deft.changenet.onnx.int8 import try_int8  # noqa: E402
from deft.changenet.onnx.parity import pairs_per_s, parity  # noqa: E402
from deft.changenet.onnx.scorer import Scorer  # noqa: E402
from deft.changenet.scoring import outputs  # noqa: E402
from deft.changenet.spec import Spec, load_spec, render  # noqa: E402
from deft.changenet.training.train import train  # noqa: E402
from deft.changenet.weights import load_weights  # noqa: E402
from deft.core import layout  # noqa: E402
from deft.importers.deeppcb import import_deeppcb  # noqa: E402
from deft.importers.deeppcb_settings import DEFECTS, Settings  # noqa: E402
from deft.importers.deeppcb_source import find_groups  # noqa: E402
from deft.kpi import operating_point  # noqa: E402
from deft.kpi.handed_off import threshold_to_set  # noqa: E402

ROOT = os.environ.get("DEEPPCB_ROOT", str(HOME.parent / "shared/data/deeppcb"))
RECALLS = (1.0, 0.99, 0.95)
TIMED_PAIRS, ROUNDS = 256, 5


def trained(given: argparse.Namespace) -> tuple[Spec, ChangeNet]:
    """Import and train what is missing in ``--out``; return the spec and the best weights."""
    workspace = given.out / "workspace"
    names = sorted(find_groups(given.root))
    half, kpi_groups = max(1, len(names) // 2), max(1, len(names) // 3)
    settings = Settings(  # half of the groups to learn from: these weights should be worth a KPI
        base_groups=names[:half],
        pool_groups=names[half : len(names) - kpi_groups],
        kpi_groups=names[len(names) - kpi_groups :],
        base_rows=given.rows,
        base_defects=list(DEFECTS),
        seed=given.seed,
    )
    import_deeppcb(given.root, workspace, settings)
    spec = render(
        load_spec(workspace / layout.SPEC),
        {
            "model.backbone.type": given.backbone,
            "train.num_epochs": given.epochs,
            "train.checkpoint_interval": given.epochs,
        },
    )
    out = given.out / given.backbone.replace(":", "_")
    if not (out / "weights.json").exists():
        began = time.monotonic()
        train(spec, workspace=workspace, out_dir=out, resume_dir=given.out / "resume", log=print)
        print(f"trained in {time.monotonic() - began:.0f} s", flush=True)
    facts = json.loads((out / "weights.json").read_text(encoding="utf-8"))
    model = build_model(spec)
    load_weights(model, out / facts["best_val"])
    return spec, model


def rates(model: ChangeNet, scorer: Scorer, data: PairData, batch_size: int) -> dict[str, float]:
    """Return pairs/s of the networks alone, on the same decoded batches, in turns."""
    model = model.to(memory_format=torch.channels_last).eval()

    def by_torch(test, golden):
        with torch.inference_mode():
            sides = (
                torch.from_numpy(s).to(memory_format=torch.channels_last) for s in (test, golden)
            )
            model(*sides)

    best = {"torch": 0.0, "onnxruntime": 0.0}
    for _ in range(ROUNDS):
        for name, run in (("torch", by_torch), ("onnxruntime", scorer.run)):
            found = pairs_per_s(run, data, batch_size, pairs=TIMED_PAIRS, rounds=1)
            best[name] = max(best[name], found)
    return best


def main() -> int:
    """Train, export, compare, time; return 1 when a decision flips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(ROOT), help="folder that holds PCBData/")
    parser.add_argument("--out", type=Path, required=True, help="where everything goes")
    parser.add_argument("--backbone", default="timm:test_convnext")
    parser.add_argument("--rows", type=int, default=1200, help="training rows")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--int8", action="store_true", help="try the int8 form too")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    spec, model = trained(given)
    workspace, path = given.out / "workspace", given.out / "model.onnx"
    images = layout.image_root(workspace)
    data = open_pairs(spec, workspace / layout.KPI_TABLE, images)
    size = spec.dataset.classify.batch_size
    exported = export_network(model, spec, path)
    with torch.inference_mode():
        out = outputs(model, data, size, torch.device("cpu"))
    scores = model.score(out).numpy()
    swept, flips = operating_point.sweep(scores, data.labels > 0), 0
    print(
        f"{spec.model.backbone.type}, {given.epochs} epochs on {given.rows} rows; {len(data)} KPI "
        f"windows of DeepPCB, {int(data.labels.sum())} defective; opset {exported['opset']}\n"
    )
    print("| recall | FAR | threshold | largest difference | smallest margin | flips | ", end="")
    print("hand-off threshold | smallest margin | flips |\n|" + "---|" * 9)
    for recall in RECALLS:
        point = operating_point.at_recall(swept, recall)
        found = parity(model, path, data, point["threshold"], threads=given.threads)
        own, safe = found["at_kpi_threshold"], found["at_safe_threshold"]
        flips += safe["flips"]
        print(
            f"| {100 * recall:g} % | {point['far_pct']:.2f} % | {own['threshold']:.7g} "
            f"| {own['largest_difference']:.2g} | {own['smallest_margin']:.2g} | {own['flips']} "
            f"| {safe['threshold']:.7g} | {safe['smallest_margin']:.2g} | {safe['flips']} |",
            flush=True,
        )
    found = rates(model, Scorer(path, threads=given.threads), data, size)
    ratio = found["onnxruntime"] / found["torch"]
    print(
        f"\nNetwork alone, batch {size}, {given.threads} thread(s), best of {ROUNDS} turns: torch "
        f"{found['torch']:.1f} pairs/s, ONNX Runtime {found['onnxruntime']:.1f} ({ratio:.2f} x)"
    )
    if given.int8:
        training = open_pairs(spec, workspace / layout.BASE_TABLE, images)
        cut = threshold_to_set(scores, operating_point.at_recall(swept, RECALLS[0])["threshold"])
        int8 = given.out / "model.int8.onnx"
        record = try_int8(path, int8, data, training, scores, cut, threads=given.threads)
        print(json.dumps(record, indent=2))
    return 1 if flips else 0


if __name__ == "__main__":
    sys.exit(main())
