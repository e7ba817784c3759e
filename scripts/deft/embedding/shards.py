"""In how many shards a run embeds its pool.

Read while the Snakefile is parsed: standard library only. The number is fixed when the run's gate
is passed, so that a pool that grows, or another setting, makes nothing of a begun run again.
"""

from __future__ import annotations

from pathlib import Path

from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.layout import POOL_TABLE
from deft.core.reading import read_json
from deft.pool.digest import pool_prefix

SHARDS_FILE = "preflight/shards.json"
BLOCK_BYTES = 1 << 20


def shard_count(workspace: str | Path, run_dir: str | Path, rows_per_shard: int) -> int:
    """Return the number of shards: the run's own, else enough for ``rows_per_shard`` each.

    Rows are lines of the pool's table as they stood at the run's start (without a record: now); one
    with two lights, or with synthetic pairs, embeds more pictures than lines.
    """
    path = Path(run_dir) / SHARDS_FILE
    if path.is_file():
        count: int = read_json(path, {"embed": int})["embed"]
        if count < 1:
            raise HardStop(
                "missing_input",
                f"the number of shards is {count}",
                file=path,
                fix="delete the file and the run's synth_pool/shards, then run again",
            )
        return count
    table = Path(workspace) / POOL_TABLE
    lines = count_lines(table, pool_prefix(run_dir)) if table.is_file() else 0
    return max(1, -(-(lines - 1) // rows_per_shard))


def record_shards(run_dir: str | Path, count: int) -> None:
    """Fix the number of shards for the rest of the run, unless it is fixed already."""
    path = Path(run_dir) / SHARDS_FILE
    if not path.is_file():
        write_json_atomic(path, {"embed": count})


def count_lines(path: Path, first_bytes: int | None = None) -> int:
    """Return the number of line ends in a file, or in its first bytes."""
    left = path.stat().st_size if first_bytes is None else first_bytes
    lines = 0
    with path.open("rb") as handle:
        while left > 0 and (block := handle.read(min(BLOCK_BYTES, left))):
            lines += block.count(b"\n")
            left -= len(block)
    return lines


def shard_rows(item: str, total: int) -> tuple[int, int]:
    """Return the rows [start, stop) of ``total`` that the shard ``3-of-16`` takes.

    >>> [shard_rows(f"{i}-of-3", 10) for i in (1, 2, 3)]
    [(0, 3), (3, 6), (6, 10)]
    """
    number, count = (int(part) for part in item.split("-of-"))
    if not 1 <= number <= count:
        raise ValueError(f"there is no shard {item}")
    return total * (number - 1) // count, total * number // count
