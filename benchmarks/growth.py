"""What the stages around the network cost as rows grow: pre-flight, evaluation, reading.

    python benchmarks/growth.py                               # 10^4 rows, 10^5 scored: two minutes
    python benchmarks/growth.py --rows 10000 100000 --scored 1000000 --folder /big/disk

A drawn workspace gets so many rows more: a fifth in the training table, a fifth in the KPI table,
the rest in the pool, each with a picture of its own (--side-px, 64); boards have fifty parts and
share their goldens. Times are CPU seconds of a process of its own, its threads included.
"Start-up" is the same pre-flight without those rows. Prints one table; ratios compare with what
stands in its last column.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from deft.core import layout  # noqa: E402
from deft.demo.workspace import WorkspaceRequest, make_workspace  # noqa: E402
from deft.rca.markdown import table_lines  # noqa: E402
from deft.tables import kept  # noqa: E402
from deft.tables.changenet_table import COLUMNS  # noqa: E402
from deft.tables.fingerprint import fingerprints  # noqa: E402
from deft.tables.pictures import open_rgb  # noqa: E402

PARTS = 50  # of a board
LIGHT, EXT = "SolderLight", ".jpg"
SHARES = {"base": 0.2, "kpi": 0.2, "pool": 0.6}
TABLES = {"base": layout.BASE_TABLE, "kpi": layout.KPI_TABLE, "pool": layout.POOL_TABLE}
ROOTS = {"base": layout.KPI_IMAGES, "kpi": layout.KPI_IMAGES, "pool": layout.POOL_DIR}
KPI = "FAR < 5% at recall 100%"
HEAD = ("rows", "what", "CPU s", "wall s", "GiB", "ratio", "beside")
EVALUATE = """
import json, sys
sys.path.insert(0, {scripts!r})
from deft.kpi.evaluation import KINDS, evaluate_phase
files = [{{"path": k, "val_loss": 1.0, "epoch": i}} for i, k in enumerate(KINDS)]
evaluate_phase({folder!r}, "baseline", 1.0, {{**dict(zip(KINDS, KINDS)), "files": files}})
"""


def picture(rng: np.random.Generator, side_px: int) -> bytes:
    """Return a JPEG file that no other call returns."""
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize((side_px, side_px), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def grow(workspace: Path, rows: int, side_px: int) -> None:
    """Draw a workspace with so many rows more than the demo's."""
    make_workspace(workspace, WorkspaceRequest(rows_scale=0.3))
    rng = np.random.default_rng(1)
    golden = workspace / layout.KPI_IMAGES / "golden/growth"
    golden.mkdir(parents=True)
    for part in range(PARTS):
        (golden / f"G{part}_{LIGHT}{EXT}").write_bytes(picture(rng, side_px))
    for name, share in SHARES.items():
        with (workspace / TABLES[name]).open("a", encoding="utf-8") as table:
            for number in range(int(rows * share)):
                board, part = divmod(number, PARTS)
                folder = f"{'images' if name == 'pool' else name}/growth{board:05d}"
                where = workspace / ROOTS[name] / folder
                where.mkdir(parents=True, exist_ok=True)
                (where / f"G{part}_{LIGHT}{EXT}").write_bytes(picture(rng, side_px))
                label = "missing" if number % 40 == 0 else "PASS"
                cells = [folder, "golden/growth", label, f"G{part}", "growth", f"growth{board:05d}"]
                table.write(",".join([*cells, *[""] * (len(COLUMNS) - len(cells))]) + "\n")


def scored(folder: Path, rows: int, *, one: bool) -> None:
    """Write both inference tables of a phase, ``one``: of one content."""
    for seed, kind in enumerate(("best_val", "latest")):
        rng = np.random.default_rng(0 if one else seed)
        ng = rng.random(rows) < 0.02
        scores = np.clip(rng.normal(0.2, 0.1, rows) + 0.3 * ng, 0, 1).astype(np.float32)
        path = folder / "inference" / kind / "inference.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8") as table:
            table.write("input_path,golden_path,label,object_name,boardname,siamese_score\n")
            table.writelines(
                f"images/b{i // 200},golden/b,{'missing' if ng[i] else 'PASS'},R{i},b{i // 200},"
                f"{scores[i]:.9g}\n"
                for i in range(rows)
            )


def measured(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return CPU seconds, wall seconds and the most memory in GiB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:200]}\n{said.decode()[-2000:]}")
    cpu = used.ru_utime + used.ru_stime
    return cpu, time.perf_counter() - began, used.ru_maxrss / 2**20


def preflight(workspace: Path, **config: object) -> tuple[float, float, float]:
    """Make all checks of a workspace in a process of its own."""
    given = json.dumps({"kpi": KPI, **config})
    run = workspace / "results/run_20260101_000000"
    script = ROOT / "scripts/preflight.py"
    options = ["--workspace", str(workspace), "--run-dir", str(run), "--config-json", given]
    return measured([sys.executable, str(script), *options])


def decoding(workspace: Path) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return what decoding the pool's pictures costs, and what fingerprints of them do."""
    paths = sorted((workspace / layout.POOL_DIR / "images").glob("growth*/*"))
    out = []
    for work in (
        lambda: [fingerprints(paths)],
        lambda: list(ThreadPoolExecutor(os.cpu_count()).map(lambda p: open_rgb(p).size, paths)),
    ):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        out.append((time.process_time() - cpu, time.perf_counter() - wall, 0.0))
    return out[0], out[1]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, nargs="+", default=[10_000])
    options.add_argument("--side-px", type=int, default=64, help="of a picture")
    options.add_argument("--scored", type=int, nargs="*", default=[100_000])
    options.add_argument(
        "--folder", type=Path, help="where there is room; default: a temporary one"
    )
    args = options.parse_args()
    lines: list[tuple[str, ...]] = []

    def line(
        rows: int, what: str, took: tuple, beside: tuple | None = None, name: str = ""
    ) -> None:
        ratio = f"{took[0] / beside[0]:.2f}" if beside else ""
        memory = f"{took[2]:.2f}" if took[2] else ""
        lines.append((str(rows), what, f"{took[0]:.1f}", f"{took[1]:.1f}", memory, ratio, name))
        print(*lines[-1], sep="  ", flush=True)

    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        grow(Path(name) / "none", 0, args.side_px)
        preflight(Path(name) / "none")
        start = preflight(Path(name) / "none")
        line(0, "pre-flight, start-up", start)
        for rows in args.rows:
            workspace = Path(name) / f"rows{rows}"
            grow(workspace, rows, args.side_px)
            time.sleep(kept.SETTLED_NS / 1e9)
            prints, decoded = decoding(workspace)
            line(int(rows * SHARES["pool"]), "pictures decoded", decoded)
            line(int(rows * SHARES["pool"]), "fingerprints", prints, decoded, "decoding alone")
            first = preflight(workspace)
            line(rows, "pre-flight, first", first, start, "start-up")
            line(rows, "pre-flight, second", preflight(workspace), first, "first")
            changed = preflight(workspace, top_k_per_target=7)
            line(rows, "pre-flight, a parameter changed", changed, first, "first")
        for rows in args.scored:
            took = {}
            for one, what in ((False, "two weight files"), (True, "best = latest")):
                folder = Path(name) / f"scored{rows}{one}"
                scored(folder, rows, one=one)
                code = EVALUATE.format(scripts=str(ROOT / "scripts"), folder=str(folder))
                took[one] = measured([sys.executable, "-c", code])
                line(rows, f"evaluate, {what}", took[one], took[False], "two weight files")
    print("\n".join(table_lines(HEAD, lines)))


if __name__ == "__main__":
    main()
