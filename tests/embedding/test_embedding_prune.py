"""Pruning the cache: by encoder, age and size, merging small segments, beside readers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from spy_encoder import SpyEncoder, draw_pictures
from test_embedding_cache import embed, plain

from deft.core.errors import HardStop
from deft.embedding.cache import EmbeddingCache, segments_in
from deft.embedding.prune import DAY_S, prune, table
from deft.embedding.vector_files import EmbeddedFiles, file_digests

NOW = 1_700_000_000.0  # in the past: a use just now is younger
SCRIPT = Path(__file__).resolve().parents[2] / "scripts/prune_embeddings.py"


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    return draw_pictures(tmp_path / "pictures", 12)


@pytest.fixture
def cache(tmp_path: Path, pictures) -> Path:
    """Three segments of four pictures, unused for 30, 20 and 10 days."""
    folder = tmp_path / "cache"
    for i, days in enumerate((30, 20, 10)):
        embed(pictures[4 * i : 4 * i + 4], folder)
        used = NOW - days * DAY_S
        os.utime(segments_in(of(SpyEncoder(), folder))[-1], (used, used))
    return folder


def of(encoder, folder: Path) -> Path:
    return folder / encoder.digest[:32]


def test_without_bounds_only_small_segments_are_merged(cache, pictures):
    (kept,) = prune(cache, now=NOW)
    assert (kept.name, kept.segments, kept.vectors) == ("spy", 1, 12)
    assert NOW - kept.used == 10 * DAY_S
    vectors, counts, encoder, said = embed(pictures, cache)
    assert vectors.tobytes() == plain(pictures).tobytes()
    assert counts.embedded == 0 and encoder.prepared == [] and said == []
    again = segments_in(of(SpyEncoder(), cache))
    prune(cache, now=NOW)
    assert segments_in(of(SpyEncoder(), cache)) == again, "nothing is left to merge"


def test_merging_drops_copies_and_keeps_the_first(cache, pictures):
    encoder = SpyEncoder()
    second = EmbeddingCache(cache, encoder)
    second.put(file_digests(pictures), np.zeros((12, 12), np.float32))
    second.flush()
    (kept,) = prune(cache, now=NOW)
    assert kept.vectors == 12
    assert embed(pictures, cache)[0].tobytes() == plain(pictures).tobytes()


def test_by_age(cache, pictures):
    (kept,) = prune(cache, days=15, now=NOW)
    assert kept.vectors == 4
    _, counts, encoder, _ = embed(pictures, cache)
    assert sorted(encoder.prepared) == [f"{i:05d}.png" for i in range(8)]
    assert counts.cached == 4


def test_use_makes_young_again(cache, pictures):
    embed(pictures[:4], cache)
    touched = [p.stat().st_mtime for p in segments_in(of(SpyEncoder(), cache))]
    assert touched[0] > NOW and touched[1:] == [NOW - 20 * DAY_S, NOW - 10 * DAY_S]


def test_by_size_the_longest_unused_go_first(cache, pictures):
    sizes = [p.stat().st_size for p in segments_in(of(SpyEncoder(), cache))]
    (kept,) = prune(cache, gb=(sizes[1] + sizes[2]) / 1e9, now=NOW)
    assert kept.vectors == 8
    assert sorted(embed(pictures, cache)[2].prepared) == [f"{i:05d}.png" for i in range(4)]
    assert prune(cache, gb=0, now=NOW) == []


@pytest.mark.parametrize("name", ["other", SpyEncoder("other").digest[:10]])
def test_by_encoder(cache, pictures, name):
    embed(pictures, cache, SpyEncoder("other"))
    kept = prune(cache, encoder=name, now=NOW)
    assert [k.name for k in kept] == ["spy"]
    assert embed(pictures, cache, SpyEncoder("other"))[1].embedded == 12
    assert embed(pictures, cache)[1].embedded == 0


def test_an_unknown_encoder_stops_and_drops_nothing(cache, pictures):
    with pytest.raises(HardStop) as stop:
        prune(cache, encoder="siglip", days=0, now=NOW)
    assert stop.value.code == "config_invalid" and "spy" in stop.value.fix
    assert embed(pictures, cache)[1].embedded == 0


def test_damaged_segments_go_and_sound_vectors_stay(cache, pictures):
    first, second, third = segments_in(of(SpyEncoder(), cache))
    first.write_bytes(first.read_bytes()[:-1])
    damaged = bytearray(second.read_bytes())
    damaged[-1] ^= 1
    second.write_bytes(bytes(damaged))
    said: list[str] = []
    (kept,) = prune(cache, now=NOW, log=said.append)
    assert kept.vectors == 7
    assert any("bytes of" in line for line in said)
    assert any("1 damaged vector" in line for line in said)
    vectors, _, encoder, warned = embed(pictures, cache)
    assert vectors.tobytes() == plain(pictures).tobytes() and warned == []
    assert len(encoder.prepared) == 5
    assert not third.exists()


def test_only_what_the_cache_made_is_deleted(cache):
    inner = of(SpyEncoder(), cache)
    foreign = [cache / "notes.txt", cache / ("a" * 32) / "x.seg", inner / "readme.md"]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    young, old = inner / ".1234.tmp.seg", inner / ".5678.tmp.seg"
    for path, age in ((young, 60), (old, 2 * DAY_S)):
        path.write_text("half")
        os.utime(path, (NOW - age, NOW - age))
    prune(cache, gb=0, days=0, now=NOW)
    assert all(path.read_text() == "mine" for path in foreign)
    assert young.exists() and not old.exists(), "a younger one may be under way"
    assert segments_in(inner) == []


def test_readers_survive_pruning_and_merging(cache, pictures):
    encoder = SpyEncoder()
    reader = EmbeddedFiles(encoder, pictures, EmbeddingCache(cache, encoder))
    prune(cache, now=NOW)
    assert reader.array().tobytes() == plain(pictures).tobytes()
    assert encoder.prepared == [], "the merged segment was found"
    prune(cache, gb=0, now=NOW)
    assert reader.array().tobytes() == plain(pictures).tobytes()
    assert len(encoder.prepared) == 12


def test_large_segments_are_left_alone(cache, monkeypatch):
    monkeypatch.setattr("deft.embedding.prune.MERGED_BYTES", 4 * 12 * 4 + 1)
    before = segments_in(of(SpyEncoder(), cache))
    prune(cache, now=NOW)
    assert segments_in(of(SpyEncoder(), cache)) == before


def test_no_cache_yet(tmp_path):
    assert prune(tmp_path / "nowhere") == []
    assert table([]) == "the cache is empty"


def test_the_command_prints_what_is_kept(cache, tmp_path):
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), "--workspace", str(tmp_path), *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("--cache", str(cache), "--days", "None", "--gb", "5")
    assert done.returncode == 0, done.stderr
    assert "spy" in done.stdout and "12" in done.stdout
    wrong = run("--cache", str(cache), "--encoder", "none_such")
    assert wrong.returncode == 1 and "HARD STOP config_invalid" in wrong.stderr
    assert "no cache is kept" in run("--cache", "off").stdout
