"""The same seed gives the same files in another folder, byte for byte, time stamps aside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from workflow_tools import RUN, draw, snakemake, succeed, tree

pytestmark = [pytest.mark.workflow, pytest.mark.long]

# Clocks, and what a clock gives: durations and rates.
CLOCKS = re.compile(
    r"(created_at|started_at|approved_at|ts|date|time|eta|time_per_\w+|duration\w*|\w*_sec)$"
    r"|.*(duration_\w+|stage_seconds)\b.*"
)
COMPARED = (".csv", ".parquet", ".json", ".jsonl", ".txt", ".md", ".yaml")
# A listing of bytes and digests of files that hold clocks themselves.
DIGESTS_OF_CLOCKS = re.compile(r"artifacts/runs/[^/]+/manifest\.json$")
# Seals of tables with absolute paths in them, and the digest of the record that holds such seals.
SHOWN_SEAL = re.compile(r"(\| synthetic_rows \| \d+ \| `)[0-9a-f]{12}")  # the model card shows one
SEALS_OF_PATHS = re.compile(r".*\.parquet|source_pool\.csv|sdg_rows\.csv")
UNORDERED = re.compile(
    r"/(logs|benchmarks|\.jobs|hard_stops)/|/train\.log$|/source_embed\.log$|^knowledge_base/"
    r"|preflight/summary\.md$"  # a page: its columns are as wide as the workspace's path
)


def without_clocks(value, workspace: Path):
    """Return JSON data without time stamps, with `<workspace>` for the folder's path."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if not CLOCKS.match(k) and k != "manifest_sha256"}
        if isinstance(kept.get("tables"), dict):
            kept["tables"] = {
                name: {"rows": seal["rows"]} if SEALS_OF_PATHS.fullmatch(name) else seal
                for name, seal in kept["tables"].items()
            }
        return {k: without_clocks(v, workspace) for k, v in kept.items()}
    if isinstance(value, list):
        return [without_clocks(v, workspace) for v in value]
    return of_any_place(value, workspace) if isinstance(value, str) else value


def of_any_place(text: str, workspace: Path) -> str:
    """Return a text without the workspace's path, the time and the room on the disk."""
    text = text.replace(str(workspace), "<workspace>")
    text = re.sub(r"[\d.]+ GiB free", "<free>", text)
    text = SHOWN_SEAL.sub(r"\1<seal>", text)
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "<time>", text)


def normal(path: Path, workspace: Path) -> bytes:
    """Return a file's content as two runs of one seed must agree on it."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        for column in table:
            if table[column].map(lambda cell: isinstance(cell, str)).all():
                table[column] = [of_any_place(cell, workspace) for cell in table[column]]
            else:
                table[column] = [repr(cell.tolist() if hasattr(cell, "tolist") else cell)
                                 for cell in table[column]]  # fmt: skip
        return table.to_csv(index=False).encode()
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text(encoding="utf-8")
        lines = (
            text.splitlines() if path.suffix == ".jsonl" or path.name == "status.json" else [text]
        )
        data = [without_clocks(json.loads(line), workspace) for line in lines if line.strip()]
        return json.dumps(data, indent=1).encode()
    return of_any_place(path.read_text(encoding="utf-8"), workspace).encode()


def compared_files(workspace: Path) -> dict[str, bytes]:
    """Return path -> normal content of every table and document that a run has made."""
    out = {}
    for name in tree(workspace):
        mine = name.startswith(("results/", "artifacts/", "knowledge_base/"))
        left_out = UNORDERED.search(name) or DIGESTS_OF_CLOCKS.search(name)
        if mine and name.endswith(COMPARED) and not left_out:
            out[name] = normal(workspace / name, workspace)
    return out


def differing(one: dict[str, bytes], two: dict[str, bytes]) -> list[str]:
    """Return the names that are in one run only, or whose content differs."""
    return sorted(k for k in one.keys() | two.keys() if one.get(k) != two.get(k))


def weights(workspace: Path) -> dict[str, str]:
    """Return path -> digest of every weight file."""
    return {k: v for k, v in tree(workspace).items() if k.endswith(".pth")}


@pytest.mark.slow
def test_same_seed_same_bytes(finished: Path, tmp_path: Path) -> None:
    other = draw(tmp_path / "another" / "place")
    succeed(snakemake(other))
    one, two = compared_files(finished), compared_files(other)
    assert len(one) > 60
    # Stages that run beside each other may log in either order; what they log is the same.
    log = f"results/{RUN}/loop_log.jsonl"
    assert _unordered(one.pop(log)) == _unordered(two.pop(log))
    assert differing(one, two) == []
    assert weights(finished) == weights(other)


def _unordered(log: bytes) -> list[str]:
    entries = [{k: v for k, v in e.items() if k != "seq"} for e in json.loads(log)]
    return sorted(json.dumps(e, sort_keys=True) for e in entries)


@pytest.mark.slow
def test_another_seed_gives_other_weights(finished: Path, tmp_path: Path) -> None:
    other = draw(tmp_path / "workspace")
    target = f"results/{RUN}/baseline/train/weights.json"
    succeed(snakemake(other, target, config={"seed": 7}))
    name = f"results/{RUN}/baseline/train/model_epoch_000_step_00006.pth"
    assert weights(other)[name] != weights(finished)[name]


def test_baseline_is_the_same_in_another_folder(finished: Path, tmp_path: Path) -> None:
    """The fast half of the promise: the model stages, which are the ones that could wander."""
    other = draw(tmp_path / "another" / "place")
    succeed(snakemake(other, f"results/{RUN}/baseline/metrics.json"))
    place = f"results/{RUN}/baseline/"
    one = {k: v for k, v in compared_files(finished).items() if k.startswith(place)}
    two = {k: v for k, v in compared_files(other).items() if k.startswith(place)}
    assert two and differing({k: one.get(k, b"") for k in two}, two) == []
    trained = {k: v for k, v in weights(finished).items() if k.startswith(place)}
    assert weights(other) == trained
