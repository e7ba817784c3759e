"""What rows cost where only tables and vectors are read: from 10^5 to 10^7, made up on disk.

    python benchmarks/ten_million.py                             # 10^5 and 10^6 rows
    python benchmarks/ten_million.py --rows 100000 1000000 10000000 --folder /big/disk

A pool's table, its staged form, vectors of 64 numbers, a training table of a fifth as many rows and
scores of as many are drawn; there are no pictures and no network. Each step that reads them is a
process of its own, on so many address-space bytes as --memory-gb gives: a step that wants more is
a line of the table too. Growth is the ratio beside the step of the size before, for ten times the
rows. 10^7 rows take 5 GB below --folder for a while.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from deft.assembly.assemble import assemble  # noqa: E402
from deft.core import layout  # noqa: E402
from deft.embedding.embed import EmbeddingWriter, normalise, open_embeddings  # noqa: E402
from deft.kpi.evaluation import KINDS, evaluate_phase  # noqa: E402
from deft.mining import neighbours  # noqa: E402
from deft.mining.approximate import Search  # noqa: E402
from deft.pool.source_pool import SOURCE_COLUMNS, build_source_pool, manifest  # noqa: E402
from deft.rca.markdown import table_lines  # noqa: E402
from deft.stages.stage_pool import GROUP_ROWS  # noqa: E402
from deft.tables.changenet_table import COLUMNS, read_table, write_table  # noqa: E402
from deft.tables.sealed import read_parquet, seal  # noqa: E402

PARTS, BATCH = 50, 250_000  # parts of a board; rows drawn at a time
DIM, CLUSTERS, TARGETS, K = 64, 4096, 256, 20
NOISE_S = 0.5  # by which two start-ups differ
TRAINED = 0.2  # of the pool's rows
ENCODER = SimpleNamespace(name="drawn", dim=DIM, digest="0" * 64)
LIGHT, EXT = "SolderLight", ".jpg"
SCORED = ("input_path", "golden_path", "label", "object_name", "boardname", "siamese_score")
HEAD = ("rows", "step", "CPU s", "wall s", "µs a row", "GiB", "bytes a row", "CPU, memory grow")


def parts(start: int, stop: int) -> dict[str, pa.Array]:
    """Return the cells of so many parts, one a row."""
    board, part = (pa.array(n) for n in divmod(np.arange(start, stop), PARTS))
    first = start // PARTS
    boards = pa.array([f"b{n:06d}" for n in range(first, (stop - 1) // PARTS + 1)])
    board = boards.take(pc.subtract(board, first))
    ng = pa.array(np.arange(start, stop) % 40 == 0)
    return {
        "input_path": joined("images/line7/", board),
        "golden_path": pa.repeat("golden/line7", stop - start),
        "label": pc.if_else(ng, "missing", "PASS"),
        "object_name": pa.array([f"R{n:02d}" for n in range(PARTS)]).take(part),
        "boardname": board,
    }


def joined(*pieces: str | pa.Array) -> pa.Array:
    """Return texts of columns and constants."""
    return pc.binary_join_element_wise(*pieces, "")


def draw_table(path: Path, rows: int, columns: tuple[str, ...], scores: bool = False) -> None:
    """Write a table of parts; with ``scores``: of a phase that separates well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [(n, pa.float32() if n == "siamese_score" else pa.string()) for n in columns]
    )
    style = csv.WriteOptions(include_header=False, quoting_style="none")
    # Arrow's own header has quotation marks, and such a table is not the plain one of production.
    with path.open("wb") as to:
        to.write(",".join(columns).encode() + b"\n")
        out = csv.CSVWriter(to, schema, write_options=style)
        for start in range(0, rows, BATCH):
            stop = min(rows, start + BATCH)
            cells = parts(start, stop)
            if scores:
                rng = np.random.default_rng(start)
                ng = np.arange(start, stop) % 40 == 0
                drawn = np.clip(rng.normal(0.2, 0.1, stop - start) + 0.5 * ng, 0, 1)
                cells["siamese_score"] = pa.array(drawn.astype(np.float32))
            blank = pa.repeat("", stop - start)
            out.write_table(pa.table([cells.get(n, blank) for n in columns], schema=schema))
        out.close()


def drawn_vectors(rows: int, seed: int) -> np.ndarray:
    """Return float32 (rows, DIM) unit vectors round centres that all calls share."""
    centres = np.random.default_rng(0).standard_normal((CLUSTERS, DIM), np.float32)
    rng = np.random.default_rng(seed)
    near = 0.5 * rng.standard_normal((rows, DIM), np.float32)
    return normalise(centres[rng.integers(0, CLUSTERS, rows)] + near)


def draw_staged(folder: Path, rows: int) -> None:
    """Write the staged pool and its vectors, sorted by path as the stage does."""
    names = pa.schema([(n, pa.large_string()) for n in SOURCE_COLUMNS])
    kept = ("filepath", "label", "light", "provenance")
    columns = pa.schema([names.field(n) for n in kept])
    staged = pq.ParquetWriter(folder / "source_pool.parquet", names)
    with staged, EmbeddingWriter(folder / "vectors.parquet", columns, ENCODER) as vectors:
        for start in range(0, rows, BATCH):
            stop = min(rows, start + BATCH)
            cells = parts(start, stop)
            cells["label"] = pc.utf8_lower(cells["label"])
            cells["input_path"] = joined("pool/", cells["input_path"])
            file = joined(
                "/data/line7/", cells["input_path"], "/", cells["object_name"], f"_{LIGHT}{EXT}"
            )
            blank, real, light = (pa.repeat(v, stop - start) for v in ("", "real", LIGHT))
            cells |= {"provenance": real, "light": light, "filepath": file}
            table = pa.table(
                [cells.get(n, blank).cast(pa.large_string()) for n in SOURCE_COLUMNS], schema=names
            )
            staged.write_table(table, row_group_size=GROUP_ROWS)
            vectors.add(table.select(kept), drawn_vectors(stop - start, 1 + start))


def names_of_mine(folder: Path) -> tuple[pd.DataFrame, object]:
    """Return the pool and its vectors as the mining stage reads them."""
    pool = read_parquet(folder / "source_pool.parquet")
    embedded, vectors, _ = open_embeddings(folder / "vectors.parquet")
    pool = neighbours.in_order_of(pool, embedded["filepath"])
    return pool, vectors


def step_read(folder: Path, rows: int) -> None:
    """Read the pool's table as pre-flight and staging do."""
    assert len(read_table(folder / layout.POOL_TABLE)) == rows


def step_stage(folder: Path, rows: int) -> None:
    """Make the staged pool of its table, without pictures, and write it."""
    real = read_table(folder / layout.POOL_TABLE)
    none = pd.DataFrame(columns=list(COLUMNS), dtype=str)
    pool, _ = build_source_pool(real, none, folder, [LIGHT], EXT)
    del real
    manifest(
        pool,
        none,
        0,
        workspace=folder,
        lights=[LIGHT],
        encoder="drawn",
        spellings={},
    )
    pool = pool[list(SOURCE_COLUMNS)]
    write_table(pool, folder / "staged.csv")
    table = pa.Table.from_pandas(pool, preserve_index=False)
    pq.write_table(table, folder / "staged.parquet", row_group_size=GROUP_ROWS)
    for name in ("staged.csv", "staged.parquet"):
        seal(folder / name, rows)
        (folder / name).unlink()


def step_names(folder: Path, rows: int) -> None:
    """Read what `mine` holds beside vectors: the table of names, and what it counts in it."""
    pool, vectors = names_of_mine(folder)
    assert len(pool) == vectors.rows == rows
    pool["label"].unique()
    taken = frozenset(neighbours.part_keys(pool.iloc[:1000]))
    assert neighbours.free_parts(pool, taken) == rows - 1000


def step_torch(folder: Path, rows: int) -> None:
    """Search next to nothing."""
    targets, few = drawn_vectors(TARGETS, 1), drawn_vectors(1000, 2)
    for kind in ("exact", "ivf"):
        Search(kind, 512).top_k(targets, few, K)


def search(folder: Path, kind: str) -> None:
    """Find the neighbours of weak samples."""
    pool, vectors = names_of_mine(folder)
    targets = pd.DataFrame(
        {"filepath": [f"/t/{i:04d}" for i in range(TARGETS)], "label": "missing", "light": LIGHT}
    )
    found = Search(kind, 512)
    pairs = neighbours.knn_pairs(
        targets, drawn_vectors(TARGETS, 999_999_999), pool, vectors, k=K, search=found
    )
    neighbours.select_nearest(pairs, pool, 0.5)
    assert len(pairs) == TARGETS * K
    print(json.dumps(found.facts))


def step_assemble(folder: Path, rows: int) -> None:
    """Append mined rows to a training table, and write it."""
    previous = read_table(folder / "training.csv")
    count = len(previous)
    facts = {"source": "base_train", "provenance": "real", "iteration": 0}
    provenance = pd.DataFrame({"row": range(count)}).assign(**facts)
    mined = pd.DataFrame({n: c.to_pandas() for n, c in parts(rows, rows + 2000).items()})
    mined = mined.reindex(columns=list(COLUMNS), fill_value="").assign(provenance="real")
    result = assemble(previous, provenance, mined, 1)
    assert len(result.table) == count + 2000
    write_table(result.table, folder / "combined.csv")
    write_table(result.provenance, folder / "provenance.csv")


def step_evaluate(folder: Path, rows: int) -> None:
    """Evaluate a phase whose best and last weights gave one table."""
    files = [{"path": k, "val_loss": 1.0, "epoch": i} for i, k in enumerate(KINDS)]
    evaluate_phase(
        folder, "baseline", 1.0, {**dict(zip(KINDS, KINDS, strict=True)), "files": files}
    )


STEPS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "start": ("start-up, the libraries alone", lambda folder, rows: None),
    "torch": ("start-up of a search", step_torch),
    "read": ("the pool's table read", step_read),
    "stage": ("the pool staged, without pictures", step_stage),
    "names": ("`mine`'s table of names", step_names),
    "exact": ("names and exact search", lambda folder, rows: search(folder, "exact")),
    "ivf": ("names, IVF built and searched", lambda folder, rows: search(folder, "ivf")),
    "assemble": ("assembly, a fifth as many rows", step_assemble),
    "evaluate": ("evaluation, best = latest", step_evaluate),
}


def draw(folder: Path, rows: int, step: str) -> None:
    """Write what a step reads, unless it is there; what others read goes."""
    needed = {"read": "table", "stage": "table", "names": "staged", "exact": "staged"}
    what = {**needed, "ivf": "staged"}.get(step, step)
    place = folder / what
    if place.is_dir():
        return
    for other in folder.iterdir():
        shutil.rmtree(other)
    place.mkdir()
    if what == "table":
        draw_table(place / layout.POOL_TABLE, rows, COLUMNS)
    elif what == "staged":
        draw_staged(place, rows)
    elif what == "assemble":
        draw_table(place / "training.csv", int(rows * TRAINED), COLUMNS)
    elif what == "evaluate":
        for kind in KINDS:
            draw_table(place / "inference" / kind / "inference.csv", rows, SCORED, True)


def run_step(folder: Path, rows: int, step: str, memory_gb: float) -> dict[str, float | str]:
    """Make a step in a process of its own; ``failed`` says why it came to no end."""
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    limit = int(memory_gb * 2**30)
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--rows", str(rows)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    assert process.stdout
    said = process.stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    found: dict[str, float | str] = {
        "cpu": used.ru_utime + used.ru_stime,
        "wall": time.perf_counter() - began,
        "gib": used.ru_maxrss / 2**20,
        "said": said.strip().splitlines()[-1] if said.strip() else "",
    }
    if process.returncode:
        full = any(w in said for w in ("MemoryError", "malloc", "bad_alloc", "llocat"))
        if not full:
            raise SystemExit(said[-2000:])
        found["failed"] = f"more than {memory_gb:g} GiB"
    return found


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    options.add_argument("--steps", nargs="+", choices=STEPS, default=list(STEPS))
    options.add_argument("--memory-gb", type=float, default=7, help="of a step, data and heap")
    options.add_argument("--folder", type=Path, help="where there is room")
    options.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.step:
        STEPS[args.step][1](args.folder, args.rows[0])
        return
    lines: list[tuple[str, ...]] = []
    before: dict[str, dict[str, float | str]] = {}
    nothing: dict[str, float | str] = {"cpu": 0.0, "gib": 0.0}
    for rows in args.rows:
        with tempfile.TemporaryDirectory(dir=args.folder) as name:
            for step in args.steps:
                draw(Path(name), rows, step)
                found = run_step(next(Path(name).iterdir()), rows, step, args.memory_gb)
                start = before.get("torch" if step in ("exact", "ivf") else "start", nothing)
                lines.append(line_of(rows, step, found, before.get(step), start))
                before[step] = found
                print(*lines[-1], found["said"], sep="  ", flush=True)
    print("\n".join(table_lines(HEAD, lines)))


def line_of(rows: int, step: str, found: dict, before: dict | None, start: dict) -> tuple[str, ...]:
    """Return a line of the table; a row's share is what comes on top of the start-up."""
    if "failed" in found:
        return (f"{rows}", STEPS[step][0], "", "", "", str(found["failed"]), "", "")
    cpu, gib = (max(found[k] - start[k], 0.0) for k in ("cpu", "gib"))
    own = step not in ("start", "torch")
    growth = ""
    if own and before and "failed" not in before:
        was = [max(before[k] - start[k], 1e-9) for k in ("cpu", "gib")]
        # What is lost in the start-up's own noise grows by nothing that means something.
        growth = f"{cpu / was[0]:.1f}, {gib / was[1]:.1f}" if was[0] > NOISE_S else ""
    return (
        f"{rows}",
        STEPS[step][0],
        f"{found['cpu']:.1f}",
        f"{found['wall']:.1f}",
        f"{1e6 * cpu / rows:.1f}" if own else "",
        f"{found['gib']:.2f}",
        f"{2**30 * gib / rows:.0f}" if own else "",
        growth,
    )


if __name__ == "__main__":
    main()
