"""How long the Snakefile takes to parse, which every cluster job pays again.

    python benchmarks/parse.py [--rounds 5] [--rows 1000000]

Compared are starts of Snakemake on an empty Snakefile and on ours, in turns; the difference is
ours. Then the digest of a table of so many rows, read and kept.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from deft.core import kept_digests  # noqa: E402

LINE = "board_{0}/top,golden/board_{0},PASS,R{0}@1,board_{0},R{0}\n"


def seconds(work) -> float:
    """Return how long a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def start(snakefile: Path, folder: Path, *more: str) -> None:
    """Parse a Snakefile and do nothing."""
    command = [sys.executable, "-m", "snakemake", "-s", str(snakefile), "--list-rules", *more]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--rows", type=int, default=1_000_000)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty.smk").write_text('rule all:\n    shell: "true"\n')
        (folder / "workspace").mkdir()
        ours = ("--config", f"workspace={folder / 'workspace'}", "run=run_a")
        empty, full = [], []
        for _ in range(args.rounds):
            empty.append(seconds(lambda: start(folder / "empty.smk", folder)))
            full.append(seconds(lambda: start(ROOT / "Snakefile", folder, *ours)))
        print(f"Snakemake, empty Snakefile     {min(empty):7.2f} s (best of {args.rounds})")
        print(f"Snakemake, ours                {min(full):7.2f} s")
        print(f"ours alone                     {min(full) - min(empty):7.2f} s")

        table = folder / "table.csv"
        table.write_text("header\n" + "".join(LINE.format(i) for i in range(args.rows)))
        kept_digests.SETTLED_S = -1.0
        times = [
            seconds(lambda: kept_digests.KeptDigests(folder / "kept.json").sha256(table))
            for _ in range(2)
        ]
        megabytes = table.stat().st_size / 1e6
        print(f"digest of {args.rows} rows, {megabytes:.0f} MB: read {times[0]:.3f} s")
        print(f"the same, kept                 {times[1]:.4f} s")


if __name__ == "__main__":
    main()
