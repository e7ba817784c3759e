"""How fast is score.py against the bare ONNX session, from picture files to scores?

    python benchmarks/score_speed.py --out /tmp/speed --pairs 10000

Exports a network with drawn weights, draws JPEG pictures larger than its input, scores a table of
them in turns with the bare session: the same one, on inputs that lie ready in memory. (A session
with ONNX Runtime's own options spins while it waits; on a busy machine that alone made it slower.)
Turns follow each other closely, so that a busy machine slows both.
Prints a row of Markdown.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME / "scripts"))

from deft.changenet.model import build_model  # noqa: E402
from deft.changenet.onnx import bundle  # noqa: E402
from deft.changenet.onnx.export import export_network  # noqa: E402
from deft.changenet.spec import load_spec, render  # noqa: E402
from deft.score_kit.loop import score_rows  # noqa: E402
from deft.score_kit.network import INPUTS, OUTPUT, Network, open_network  # noqa: E402
from deft.score_kit.prepare import read_facts  # noqa: E402
from deft.score_kit.statistics import reference  # noqa: E402
from deft.score_kit.table import Parts, read_parts  # noqa: E402

SPEC = HOME / "config/specs/c_radio_v2_b_spec.yaml"
TESTS, GOLDENS = 500, 50  # distinct pictures; rows take them in turn
HEAD = "| network | pairs | threads | bare session, pairs/s | score.py, pairs/s | ratio |"


def made_handoff(out: Path, backbone: str, width: int) -> Path:
    """Export ``backbone`` with drawn weights as a hand-off; return its folder."""
    folder = out / f"{backbone.replace(':', '_')}_{width}"
    if (folder / bundle.FACTS).is_file():
        return folder
    torch.manual_seed(0)
    spec = render(
        load_spec(SPEC),
        {
            "model.backbone.type": backbone,
            "model.backbone.pretrained_backbone_path": None,
            "model.decode_head.decoder_params.embed_dim": width,
        },
    )
    exported = export_network(build_model(spec), spec, folder / bundle.MODEL)
    facts = bundle.preprocessing(spec, exported, threshold=0.5, kpi_threshold=0.5)
    parity = {"pairs": 0, "largest_difference": 0.0, "smallest_margin": 1.0}
    parity |= {"flips": 0, "above_noise": True}
    record = {**exported, "kpi_rows": 0, "int8": None, "parity": {"at_safe_threshold": parity}}
    kpi = reference(np.zeros(1, np.float32), np.ones(1, bool), 0.5)
    bundle.write_bundle(folder, facts, record, kpi, run="run_speed", phase="baseline")
    return folder


def drawn_table(out: Path, pairs: int, side_px: int) -> tuple[Path, Path]:
    """Draw the pictures; return the table and their root."""
    rng, images = np.random.default_rng(0), out / f"images_{side_px}"
    for folder, count in (("test", TESTS), ("golden", GOLDENS)):
        (images / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            at = images / folder / f"p{number}_SolderLight.jpg"
            noise = rng.integers(0, 255, (side_px // 8, side_px // 8, 3), np.uint8)
            if not at.is_file():
                cv2.imwrite(str(at), cv2.resize(noise, (side_px, side_px)))
    for number in range(GOLDENS, TESTS):  # a golden has its test picture's name
        at = images / "golden" / f"p{number}_SolderLight.jpg"
        if not at.exists():
            at.symlink_to(f"p{number % GOLDENS}_SolderLight.jpg")
    table = out / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["input_path", "golden_path", "object_name"])
        writer.writerows(["test", "golden", f"p{n % TESTS}"] for n in range(pairs))
    return table, images


def measure(
    parts: Parts, network: Network, workers: int, turn: int
) -> tuple[list[float], list[float]]:
    """Return pairs/s of each turn: of the bare session, and from picture files to scores."""
    rng = np.random.default_rng(1)
    fed = {
        name: rng.standard_normal(side.shape, np.float32)
        for name, side in zip(INPUTS, network.buffers(), strict=True)
    }
    rates: tuple[list[float], list[float]] = ([], [])

    def by_session(rows: Sequence[int]) -> None:
        for start in range(0, len(rows), network.batch):
            count = min(network.batch, len(rows) - start)
            network.session.run([OUTPUT], {name: side[:count] for name, side in fed.items()})

    def by_score(rows: Sequence[int]) -> None:
        score_rows(parts, network, rows, workers=workers, done=lambda *found: None)

    for work in (by_session, by_score):  # the first call allocates
        work(range(network.batch))
    for number, start in enumerate(range(0, len(parts), turn)):
        rows = range(start, min(start + turn, len(parts)))
        works = [(rates[0], by_session), (rates[1], by_score)]
        for found, work in works[:: 1 if number % 2 else -1]:
            began = time.perf_counter()
            work(rows)
            found.append(len(rows) / (time.perf_counter() - began))
    return rates


def main(argv: Sequence[str] | None = None) -> float:
    """Measure and print; return the ratio of the two rates over all turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where everything goes")
    parser.add_argument("--backbone", default="timm:vit_tiny_patch16_224")
    parser.add_argument("--width", type=int, default=256, help="of the decoder (embed_dim)")
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--turn", type=int, default=400, help="pairs between two changes")
    parser.add_argument("--side-px", type=int, default=320, help="of the pictures on disk")
    parser.add_argument("--threads", type=int, default=2, help="that compute")
    parser.add_argument("--workers", type=int, default=2, help="that decode")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args(argv)
    folder = made_handoff(given.out, given.backbone, given.width)
    table, images = drawn_table(given.out, given.pairs, given.side_px)
    facts = read_facts(folder)
    network = open_network(
        folder, facts, device=given.device, threads=given.threads, batch=given.batch
    )
    parts = read_parts(table, images, facts)
    alone, whole = measure(parts, network, given.workers, given.turn)
    # Rates over all pairs: the means of the turns, which are of one length, by their times.
    rates = [statistics.harmonic_mean(found) for found in (alone, whole)]
    ratio = rates[1] / rates[0]
    print(f"{HEAD}\n|{'---|' * 6}")
    print(
        f"| {given.backbone}, batch {network.batch}, {network.provider} | {given.pairs} | "
        f"{given.threads} | {rates[0]:.4g} | {rates[1]:.4g} | {ratio:.3f} |"
    )
    turns = sorted(w / a for a, w in zip(alone, whole, strict=True))
    print(f"\n{len(turns)} turns: ratio {turns[0]:.3f} to {turns[-1]:.3f}, "
          f"median {statistics.median(turns):.3f}")  # fmt: skip
    return ratio


if __name__ == "__main__":
    sys.exit(0 if main() > 0 else 1)
