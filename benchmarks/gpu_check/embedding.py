"""The embedding stage on the device: vectors, what is mined from them, and its speed."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from deft.embedding.cache import EmbeddingCache
from deft.embedding.encoders.base import embed_pictures
from deft.embedding.encoders.preprocessing import Preprocessing
from deft.embedding.encoders.torch_encoder import Options, TorchEncoder
from deft.embedding.vector_files import EmbeddedFiles
from deft.mining.approximate import Search
from deft.mining.neighbours import knn_pairs, select_nearest
from gpu_check.bench import Bench
from gpu_check.result import Result, judged
from gpu_check.timing import seconds_of

COSINE = 0.9999
NOISE = 1e-5  # of a number of a vector, where its picture ran in another batch
TIE = 2e-6  # similarities have six decimals, each side may round
TOP_K, MIN_SIMILARITY = 5, 0.5
STAGE_SHARE = 0.5  # of the bare model's rate that the stage must keep on a GPU
HALF = (0.5, 0.5, 0.5)


def encoder_of(bench: Bench, device: str, side: int, batch: int, precision: str) -> TorchEncoder:
    """Return a ViT-B/16 (on a CPU a small ConvNeXt) with random weights as an encoder."""
    import timm

    torch.manual_seed(4)
    name = bench.pick("vit_base_patch16_siglip_224", "test_convnext")
    module = timm.create_model(name, num_classes=0)
    prepared = Preprocessing((side, side), (side, side), "squash", "bicubic", HALF, HALF)
    options = Options(device, batch, precision)
    facts = {"gpu_check": name}
    return TorchEncoder(name, module, module.num_features, prepared, facts, options)


def equality(bench: Bench) -> Iterator[Result]:
    """Embed the drawn pool on both sides; mine the KPI defects' neighbours from each."""
    torch.set_num_threads(bench.threads)
    side = bench.pick(224, 64)
    paths = sorted((bench.workspace() / "augmentation").rglob("*.jpg"))[: bench.pick(120, 120)]
    found = {}
    for name, device, batch in (("cpu", "cpu", 8), ("device", bench.name, bench.pick(32, 8))):
        encoder = encoder_of(bench, device, side, batch, "float32")
        with_cache = EmbeddingCache(bench.own / f"cache_{name}", encoder)
        vectors = EmbeddedFiles(encoder, list(map(str, paths)), with_cache, workers=bench.threads)
        found[name] = vectors.array()
        if name == "device":
            bare = embed_pictures(encoder, paths)  # the stage's buffers and cache left out
    lowest = float(np.sum(found["cpu"] * found["device"], axis=1, dtype=np.float64).min())
    figures = {
        "lowest_cosine": lowest,
        "largest_difference": float(np.abs(found["cpu"] - found["device"]).max()),
        "stage_against_one_by_one": float(np.abs(bare - found["device"]).max()),
        "pictures": len(paths),
    }
    limits = {"stage_against_one_by_one": NOISE}
    yield judged("embedding", figures, limits, at_least={"lowest_cosine": COSINE})
    yield _mined(bench, paths, found)


def _mined(bench: Bench, paths: list[Path], found: dict[str, np.ndarray]) -> Result:
    """Write the table of mined rows from the CPU's vectors and search, and from the device's."""
    table = pd.DataFrame({"filepath": list(map(str, paths)), "label": "x", "light": "SolderLight"})
    table["provenance"] = "real"
    targets = table.iloc[::4]
    tables = []
    for name, device in (("cpu", "cpu"), ("device", bench.name)):
        rest = np.ones(len(table), bool)
        rest[targets.index] = False
        sources = table[rest].reset_index(drop=True)
        pairs = knn_pairs(
            targets,
            found[name][~rest],
            sources,
            found[name][rest],
            k=TOP_K,
            search=Search("exact", 256, device),
        )
        text = io.StringIO()
        select_nearest(pairs, sources, MIN_SIMILARITY).rows.to_csv(text, index=False)
        tables.append((text.getvalue(), pairs))
    same = tables[0][0] == tables[1][0]
    figures = {
        "mined_rows": tables[0][0].count("\n") - 1,
        "pairs": len(tables[0][1]),
        "pairs_in_another_order": int((tables[0][1]["source"] != tables[1][1]["source"]).sum()),
        "largest_similarity_difference": float(
            np.abs(tables[0][1]["similarity"] - tables[1][1]["similarity"]).max()
        ),
    }
    # Rank by rank the same similarities: then only rows too near to call have changed places.
    tied = figures["largest_similarity_difference"] <= TIE
    figures["identical"] = "yes" if same else f"but for ties within {TIE:g}" if tied else "no"
    why = "" if same or tied else "the mined tables differ"
    return judged("mined table", figures, at_least={"mined_rows": 1}, broken=why)


def stage_speed(bench: Bench) -> Iterator[Result]:
    """Time the stage, decoding and cache included, against the bare model on ready tensors."""
    torch.set_num_threads(bench.threads)
    side, batch, count = bench.pick((224, 64, 3072), (64, 16, 96))
    folder = bench.own / "pictures"
    paths = _draw(folder, count, side * 5 // 4)
    figures: dict[str, object] = {"pictures": count, "batch": batch}
    for precision in bench.pick(("float32", "bfloat16"), ("float32",)):
        encoder = encoder_of(bench, bench.name, side, batch, precision)
        tensor = torch.randn(batch, 3, side, side, device=bench.device)
        tensor = tensor.contiguous(memory_format=torch.channels_last)
        bare = seconds_of({"bare": partial(_bare, encoder, tensor)}, bench.device, 3, 4)["bare"]
        times = []
        for turn in range(3):
            cache = bench.own / "cache"
            shutil.rmtree(cache, ignore_errors=True)
            began = time.perf_counter()
            opened = EmbeddingCache(cache, encoder)
            vectors = EmbeddedFiles(encoder, paths, opened, workers=bench.threads)
            for _ in vectors.blocks(4096):
                pass
            if turn:
                times.append(time.perf_counter() - began)
        rate, ceiling = count / float(np.median(times)), batch / bare
        figures |= {
            f"{precision}_images_s": rate,
            f"{precision}_bare_images_s": ceiling,
            f"{precision}_share_of_bare": rate / ceiling,
        }
    figures["decode_images_s"] = _decode_rate(encoder, paths, bench.threads)
    figures["decode_threads"] = bench.threads
    if not bench.cuda:
        yield judged("embedding stage", figures)
        return
    yield judged("embedding stage", figures, at_least={"float32_share_of_bare": STAGE_SHARE})


def _bare(encoder: TorchEncoder, tensor: torch.Tensor) -> None:
    from deft.changenet.precision import float32_scores

    with torch.inference_mode(), float32_scores(), encoder._cast():
        encoder._module(tensor)


def _decode_rate(encoder: TorchEncoder, paths: list[str], workers: int) -> float:
    """Return pictures a second that the CPU can prepare: the stage can be no faster."""
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(encoder.prepare, map(Path, paths)):
            pass
    return len(paths) / (time.perf_counter() - began)


def _draw(folder: Path, count: int, side: int) -> list[str]:
    """Draw crops as an inspection machine stores them: JPEG, some texture, all different."""
    folder.mkdir()
    noise = np.random.default_rng(4).normal(0, 4, (side, side, 3)).astype(np.float32)

    def one(number: int) -> str:
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize((side, side))) + noise
        path = str(folder / f"{number}.jpg")
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=92)
        return path

    with ThreadPoolExecutor() as pool:
        return list(pool.map(one, range(count)))
