"""The embedding stage against the bare model, a warm against a cold cache, growth with the pool.

    python benchmarks/embedding.py                       # about a quarter of an hour on 2 cores
    python benchmarks/embedding.py --only speed          # the stage against the bare model, caches
    python benchmarks/embedding.py --only runtimes       # torch against ONNX Runtime on the CPU
    python benchmarks/embedding.py --only growth --rows 10000 100000
    python benchmarks/embedding.py --clock cpu --threads 1    # on a machine that is not idle

Prints ratios: medians over interleaved rounds, and their range; every round times all contenders
one after another, so that whatever else the machine does falls on all of them. Weights are random.
The growth is the stage's own work (digests, lookup, cache, shards, joining) around an encoder that
costs nothing, in processes of their own; that of the search: benchmarks/search.py --only-growth.
Growth to 10^6 rows of 768 numbers takes 14 GB below --folder for a while.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from deft.embedding.cache import EmbeddingCache
from deft.embedding.encoders.base import unit_rows
from deft.embedding.vector_files import EmbeddedFiles
from deft.stages import embed_pool as pool_stage
from deft.stages import embed_shard as shard_stage

SEED = 4
# name in timm, side in pixels, pictures per forward pass, pictures of a round
NETWORKS = {
    "ViT-B/16": ("vit_base_patch16_siglip_224", 224, 8, 24),
    "ConvNeXt-Atto": ("convnext_atto", 224, 16, 96),
    "a toy (timm's test_convnext)": ("test_convnext", 64, 32, 2048),
}
SHARD_ROWS = 100_000
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
COUNT_DIGITS = 8
POOL = "results/run_a/synth_pool"


def spread(values: list[float]) -> str:
    """Return the median and the range of some ratios."""
    return f"{np.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def rounds(
    contenders: dict[str, Callable[[], object]], given: argparse.Namespace
) -> dict[str, list[float]]:
    """Return the seconds of each contender in interleaved rounds after one to warm up."""
    clock = CLOCKS[given.clock]
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(given.rounds + 1):
        for name, work in contenders.items():
            began = clock()
            work()
            if turn:
                times[name].append(clock() - began)
    return times


def draw(folder: Path, count: int, side: int) -> list[str]:
    """Draw crops as an inspection machine stores them: JPEG, some texture, all different."""
    folder.mkdir()
    rng = np.random.default_rng(SEED)
    paths = []
    for i in range(count):
        coarse = rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        noise = rng.normal(0, 4, (side, side, 3))
        pixels = np.asarray(Image.fromarray(coarse).resize((side, side))) + noise
        paths.append(str(folder / f"{i}.jpg"))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(paths[-1], quality=92)
    return paths


def encoder_of(name: str, runtime: str = "torch"):
    """Return an encoder with random weights, and its batch size and pictures of a round."""
    import timm
    import torch

    from deft.embedding.encoders.preprocessing import Preprocessing
    from deft.embedding.encoders.torch_encoder import Options, TorchEncoder

    architecture, side, batch, count = NETWORKS[name]
    torch.manual_seed(SEED)
    module = timm.create_model(architecture, num_classes=0)
    half = (0.5, 0.5, 0.5)
    prepared = Preprocessing((side, side), (side, side), "squash", "bicubic", half, half)
    options = Options("cpu", batch, runtime=runtime)
    facts = {"benchmark": name}
    return TorchEncoder(name, module, module.num_features, prepared, facts, options), batch, count


def speed(given: argparse.Namespace, name: str, folder: Path) -> None:
    """Print the stage against the bare model, and a warm cache against a cold one."""
    import torch

    encoder, batch, count = encoder_of(name)
    side = encoder.size_px[0]
    paths = draw(folder / "pictures", count, side * 5 // 4)
    tensor = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)
    module = encoder._module

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(count // batch):
                module(tensor)

    def stage(cache: Path) -> None:
        opened = EmbeddingCache(cache, encoder)
        vectors = EmbeddedFiles(encoder, paths, opened, workers=given.threads)
        for _ in vectors.blocks(4096):
            pass

    def cold() -> None:
        shutil.rmtree(folder / "cold", ignore_errors=True)
        stage(folder / "cold")

    stage(folder / "warm")
    contenders = {"bare": bare, "cold": cold, "warm": lambda: stage(folder / "warm")}
    times = rounds(contenders, given)
    ratio = [b / c for b, c in zip(times["bare"], times["cold"], strict=True)]
    again = [c / w for c, w in zip(times["cold"], times["warm"], strict=True)]
    rate = count / np.median(times["bare"])
    print(f"{name}, {side} px, batch {batch}, {count} files, bare {rate:.3g} img/s:")
    print(f"  the stage reaches {spread(ratio)} of the bare model's images/s (goal 0.9)")
    print(f"  a warm cache makes it {spread(again)} times as fast (goal 20)\n", flush=True)
    shutil.rmtree(folder)


def runtimes(given: argparse.Namespace, name: str, threads: int) -> None:
    """Print ONNX Runtime against torch."""
    import torch

    torch.set_num_threads(threads)
    torched, batch, count = encoder_of(name)
    exported, _, _ = encoder_of(name, "onnx")
    shape = (batch, *torched.size_px, 3)
    pictures = np.random.default_rng(SEED).integers(0, 256, shape, np.uint8)
    gap = np.abs(torched.forward(pictures) - exported.forward(pictures)).max()
    turns = range(max(1, count // batch // 2))
    contenders = {
        "torch": lambda: [torched.forward(pictures) for _ in turns],
        "onnx": lambda: [exported.forward(pictures) for _ in turns],
    }
    times = rounds(contenders, given)
    ratio = [t / o for t, o in zip(times["torch"], times["onnx"], strict=True)]
    print(
        f"{name}, {threads} thread(s), batch {batch}: ONNX Runtime is {spread(ratio)} times as "
        f"fast as torch; vectors differ by at most {gap:.1e}",
        flush=True,
    )


# --- growth ---------------------------------------------------------------------------------------


class Costless:
    """Stands for an encoder: vectors without a network."""

    name, batch_size, size_px = "costless", 256, (1, 1)

    def __init__(self, dim: int) -> None:
        self.dim, self.digest = dim, hashlib.sha256(str(dim).encode()).hexdigest()
        rng = np.random.default_rng(SEED)
        self.vectors = unit_rows(rng.standard_normal((self.batch_size, dim), np.float32))
        self.picture = np.zeros((1, 1, 3), np.uint8)

    def prepare(self, path: Path) -> np.ndarray:
        """Return one black pixel."""
        return self.picture

    def forward(self, pictures: np.ndarray) -> np.ndarray:
        """Return the same vectors for every batch."""
        return self.vectors


def make_pool(folder: Path, rows: int) -> None:
    """Write ``rows`` small files, all different, and their staged pool."""
    pool = folder / POOL
    pool.mkdir(parents=True)
    folders = [f"pictures/{i:04d}" for i in range(-(-rows // 1000))]
    for name in folders:
        (folder / name).mkdir(parents=True)
    names = [f"{i:0{COUNT_DIGITS}d}" for i in range(rows)]
    for i, name in enumerate(names):
        (folder / folders[i // 1000] / f"{name}_L.png").write_bytes(f"picture {i}".encode())
    parts = [folders[i // 1000] for i in range(rows)]
    table = pa.table(
        {
            "filepath": [f"{folder}/{p}/{n}_L.png" for p, n in zip(parts, names, strict=True)],
            "label": ["PASS"] * rows,
            "light": ["L"] * rows,
            "provenance": ["real"] * rows,
            "input_path": parts,
            "object_name": names,
        }
    )
    pq.write_table(table, pool / "source_pool.parquet", row_group_size=65_536)
    (pool / "manifest.json").write_text('{"digests": {"source_pool": "0"}}')


def embed(folder: Path, encoder: Costless, item: str, cache: Path, threads: int) -> None:
    """Run the stage of one shard."""
    pool = folder / POOL
    named = (pool / "manifest.json", pool / "source_pool.parquet", pool / f"shards/{item}.parquet")
    context = SimpleNamespace(
        root=folder, ext=".png", checked_by=lambda record, name, **_: pool / name
    )
    shard_stage.embed_shard(context, shard_stage.Files(*named), encoder, item, cache, threads)


def join(folder: Path, items: list[str]) -> None:
    """Run the stage that joins the shards."""
    pool = folder / POOL
    names = ("manifest.json", "source_embeddings.parquet", "source_embeddings.json")
    shards = tuple(pool / f"shards/{item}.parquet" for item in items)
    pool_stage.embed_pool(pool_stage.Files(*(pool / name for name in names), shards))


def grown(given: argparse.Namespace) -> None:
    """Run one part of the stage's own work; print time and growth of peak memory as JSON."""
    folder = given.part_folder
    shards = max(1, given.part_rows // SHARD_ROWS)
    items = [f"{i}-of-{shards}" for i in range(1, shards + 1)]
    encoder = Costless(given.dim)
    with tempfile.TemporaryDirectory() as warm_up:  # loads the libraries
        small = Path(warm_up)
        make_pool(small, 300)
        embed(small, encoder, "1-of-1", small / "cache", given.threads)
        join(small, ["1-of-1"])
    clock = CLOCKS[given.clock]
    before, began = peak_mb(), clock()
    if given.part == "join":
        join(folder, items)
    else:
        for item in items:
            sys.stdout = open("/dev/null", "w")  # noqa: SIM115 - progress is not the answer
            embed(folder, encoder, item, folder / "cache", given.threads)
            sys.stdout = sys.__stdout__
    print(json.dumps({"s": clock() - began, "mb": peak_mb() - before}))


def peak_mb() -> float:
    """Return the greatest resident size of this process so far, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


PARTS = {
    "cold": "embed in shards of 10^5 rows, nothing cached",
    "warm": "the same with everything cached",
    "join": "join the shards",
}


def growth(given: argparse.Namespace, folder: Path) -> None:
    """Print how time and peak memory of the stage's own work grow with the rows."""
    found: dict[str, dict[int, dict[str, float]]] = {part: {} for part in PARTS}
    for rows in given.rows:
        place = folder / str(rows)
        make_pool(place, rows)
        for part in PARTS:
            command = [
                sys.executable, __file__, "--dim", str(given.dim), "--threads", str(given.threads),
                "--clock", given.clock, "--part", part, "--part-rows", str(rows),
                "--part-folder", str(place),
            ]  # fmt: skip
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[part][rows] = json.loads(done.stdout.splitlines()[-1])
        shutil.rmtree(place)
    first = given.rows[0]
    for part, text in PARTS.items():
        print(f"{text}:")
        for rows, one in found[part].items():
            small = found[part][first]
            print(
                f"  {rows:>9,} rows: {1e6 * one['s'] / rows:.0f} µs a row, "
                f"{rows / first:.0f} times the rows take {one['s'] / small['s']:.1f} times the "
                f"time; memory grows by {one['mb']:.0f} MB"
            )
    print(flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("speed", "runtimes", "growth"))
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="wall",
        help="cpu: this process's own time, where more is going on; hides what is overlapped",
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where files are made (default: TMPDIR)")
    parser.add_argument("--part", choices=tuple(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--part-rows", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--part-folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        grown(given)
        return
    import torch

    torch.set_num_threads(given.threads)
    print(
        f"{given.threads} thread(s), {given.rounds} rounds, {given.clock} clock, "
        f"torch {torch.__version__}\n"
    )
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        for network in NETWORKS if given.only in (None, "speed") else ():
            (folder / "speed").mkdir()
            speed(given, network, folder / "speed")
        for network in NETWORKS if given.only in (None, "runtimes") else ():
            for threads in sorted({1, given.threads}):
                runtimes(given, network, threads)
        if given.only in (None, "growth"):
            growth(given, folder)


if __name__ == "__main__":
    main()
