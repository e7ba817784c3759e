"""The cache of embedded pictures: exact, incremental, never poisoned, safe for several writers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spy_encoder import SpyEncoder, draw_pictures

from deft.core.errors import HardStop
from deft.embedding import vector_files
from deft.embedding.cache import (
    EmbeddingCache,
    Lookup,
    cache_folder,
    distinct_keys,
    open_cache,
    segments_in,
)
from deft.embedding.segment import KEY_BYTES, write_segment
from deft.embedding.vector_files import EmbeddedFiles, file_digests


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    return draw_pictures(tmp_path / "pictures", 23)


def embed(paths, folder, encoder=None, **options):
    """Embed with a fresh view of the cache; returns (vectors, counts, encoder, warnings)."""
    encoder, said = encoder or SpyEncoder(), []
    with open_cache(folder, encoder, said.append) as cache:
        found = EmbeddedFiles(encoder, paths, cache, **options)
        return found.array(), found.counts, encoder, said


def plain(paths) -> np.ndarray:
    """Each picture embedded by itself, without cache, threads or batches."""
    encoder = SpyEncoder(batch_size=1)
    return np.concatenate([encoder.forward(encoder.prepare(Path(p))[None]) for p in paths])


# --- the same vectors, with less work -------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_cached_vectors_are_the_fresh_ones_byte_for_byte(pictures, tmp_path, workers):
    fresh, first, _, _ = embed(pictures, tmp_path / "cache", workers=workers)
    assert fresh.tobytes() == plain(pictures).tobytes()
    again, second, encoder, said = embed(pictures, tmp_path / "cache", workers=workers)
    assert again.tobytes() == fresh.tobytes()
    assert encoder.prepared == [] and encoder.batches == 0 and said == []
    assert (first.embedded, first.cached, second.embedded, second.cached) == (23, 0, 0, 23)
    without, counts, _, _ = embed(pictures, None)
    assert without.tobytes() == fresh.tobytes() and counts.embedded == 23


def test_copies_are_embedded_once_and_share_their_vector(pictures, tmp_path):
    copy = shutil.copy(pictures[3], tmp_path / "another name.png")
    vectors, counts, encoder, _ = embed([*pictures, copy, pictures[3]], tmp_path / "cache")
    assert vectors[-1].tobytes() == vectors[-2].tobytes() == vectors[3].tobytes()
    assert counts.distinct == 23 and len(encoder.prepared) == 23
    assert "2 copies" in counts.text()


def test_a_grown_pool_embeds_only_its_new_pictures(pictures, tmp_path):
    embed(pictures, tmp_path / "cache")
    new = draw_pictures(tmp_path / "pictures", 5, first=23)
    mixed = [new[0], *pictures[::2], *new[1:], *pictures[1::2]]
    vectors, counts, encoder, _ = embed(mixed, tmp_path / "cache")
    assert sorted(encoder.prepared) == sorted(Path(p).name for p in new)
    assert encoder.batches == 2, "new pictures share batches wherever they stand in the table"
    assert (counts.embedded, counts.cached) == (5, 23)
    assert vectors.tobytes() == plain(mixed).tobytes()


def test_another_encoder_reuses_nothing(pictures, tmp_path):
    embed(pictures, tmp_path / "cache")
    _, counts, encoder, _ = embed(pictures, tmp_path / "cache", SpyEncoder("other"))
    assert counts.cached == 0 and len(encoder.prepared) == 23
    kept = sorted(p.name for p in (tmp_path / "cache").iterdir())
    assert len(kept) == 2
    facts = json.loads((tmp_path / "cache" / kept[0] / "encoder.json").read_text())
    assert facts["digest"].startswith(kept[0])


def test_a_picture_that_changed_is_embedded_again(pictures, tmp_path):
    embed(pictures, tmp_path / "cache")
    status = os.stat(pictures[5])
    other = draw_pictures(tmp_path / "other", 1, first=900)[0]
    Path(pictures[5]).write_bytes(Path(other).read_bytes())
    os.utime(pictures[5], ns=(status.st_atime_ns, status.st_mtime_ns))  # content counts, not time
    vectors, counts, _, _ = embed(pictures, tmp_path / "cache")
    assert counts.embedded == 1
    assert vectors[5].tobytes() == plain([other]).tobytes()


def test_nothing_to_embed(tmp_path):
    vectors, counts, _, _ = embed([], tmp_path / "cache")
    assert vectors.shape == (0, 12) and counts.pictures == 0


@settings(max_examples=40, deadline=None)
@given(
    known=st.lists(st.binary(min_size=2, max_size=2), max_size=30),
    asked=st.lists(st.binary(min_size=2, max_size=2), min_size=1, max_size=30),
    cut=st.integers(1, 7),
)
def test_lookup_finds_what_a_dictionary_finds(tmp_path_factory, known, asked, cut):
    """Keys differ in their last bytes only, so that their first eight bytes say nothing."""

    def key(tail: bytes) -> np.ndarray:
        return np.frombuffer(tail.rjust(KEY_BYTES, b"\0"), np.uint8)

    encoder = SpyEncoder(dim=2)
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache"), encoder)
    truth = {}
    for i in range(0, len(known), cut):
        keys = np.array([key(t) for t in known[i : i + cut]])
        vectors = np.arange(2 * i, 2 * (i + len(keys)), dtype=np.float32).reshape(-1, 2)
        cache.put(keys, vectors)
        cache.flush()
        for tail, vector in zip(known[i : i + cut], vectors, strict=True):
            truth.setdefault(tail, vector)  # the first that was written counts
    keys, first, back = distinct_keys(np.array([key(t) for t in asked]))
    lookup = Lookup(cache, keys)
    missing = {asked[first[m]] for m in lookup.missing()}
    assert missing == set(asked) - set(truth)
    vectors, good = lookup.read(back)
    for tail, vector, there in zip(asked, vectors, good, strict=True):
        assert there == (tail in truth)
        if there:
            assert (vector == truth[tail]).all()


# --- pictures that cannot be embedded -------------------------------------------------------------


def test_a_broken_picture_stops_and_what_was_done_is_kept(pictures, tmp_path):
    Path(pictures[17]).write_bytes(b"no picture")

    class Strict(SpyEncoder):
        def prepare(self, path):
            if Path(path).read_bytes() == b"no picture":
                raise HardStop("image_invalid", "cannot be decoded", file=path)
            return super().prepare(path)

    with pytest.raises(HardStop) as stop:
        embed(pictures, tmp_path / "cache", Strict())
    assert stop.value.code == "image_invalid" and "00017.png" in str(stop.value.file)
    draw_pictures(tmp_path / "pictures", 1, first=17)
    _, counts, _, _ = embed(pictures, tmp_path / "cache")
    assert 0 < counts.embedded < 23


def test_a_missing_picture_names_itself(pictures, tmp_path):
    Path(pictures[2]).unlink()
    with pytest.raises(HardStop) as stop:
        embed(pictures, tmp_path / "cache")
    assert stop.value.code == "missing_input" and "00002.png" in str(stop.value.file)


def test_a_picture_that_is_replaced_meanwhile_never_enters_the_cache(pictures, tmp_path):
    class Replacing(SpyEncoder):
        def prepare(self, path):
            if Path(path).name == "00004.png":
                draw_pictures(tmp_path / "new", 1, first=904)
                shutil.copy(tmp_path / "new/00904.png", path)
            return super().prepare(path)

    with pytest.raises(HardStop, match="changed while it was being embedded"):
        embed(pictures, tmp_path / "cache", Replacing())
    vectors, _, _, _ = embed(pictures, tmp_path / "cache")
    assert vectors.tobytes() == plain(pictures).tobytes()


def test_an_encoder_that_gives_no_numbers_stops_and_poisons_nothing(pictures, tmp_path):
    class Broken(SpyEncoder):
        def forward(self, pictures):
            return super().forward(pictures) * np.nan

    with pytest.raises(HardStop) as stop:
        embed(pictures, tmp_path / "cache", Broken())
    assert stop.value.code == "score_invalid"
    assert embed(pictures, tmp_path / "cache")[1].embedded == 23


def test_a_folder_that_cannot_be_written_stops(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HardStop) as stop:
        EmbeddingCache(tmp_path / "file", SpyEncoder())
    assert stop.value.code == "config_invalid"


@pytest.mark.parametrize(
    ("setting", "folder"),
    [
        ("", "/w/results/embedding_cache"),
        (None, "/w/results/embedding_cache"),
        ("cache", "/w/cache"),
        ("/shared/cache", "/shared/cache"),
        ("off", None),
    ],
)
def test_where_the_cache_lies(setting, folder):
    assert cache_folder("/w", setting) == (Path(folder) if folder else None)


# --- cut-off and damaged segments -----------------------------------------------------------------


def only_segment(folder: Path) -> Path:
    (path,) = folder.glob("*/*.seg")
    return path


def test_a_segment_cut_off_at_any_byte_is_left_out(pictures, tmp_path):
    paths = pictures[:3]
    embed(paths, tmp_path / "cache")
    path = only_segment(tmp_path / "cache")
    whole = path.read_bytes()
    wanted = plain(paths).tobytes()
    encoder = SpyEncoder()
    keys, _, _ = distinct_keys(file_digests(paths))
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        said = []
        lookup = Lookup(EmbeddingCache(tmp_path / "cache", encoder, said.append), keys)
        assert len(lookup.missing()) == 3, size
        assert len(said) == 1 and "is left out" in said[0]
    vectors, counts, _, said = embed(paths, tmp_path / "cache")
    assert vectors.tobytes() == wanted and counts.embedded == 3 and len(said) == 1
    # Beside the cut-off one now lies a whole one.
    vectors, counts, _, said = embed(paths, tmp_path / "cache")
    assert vectors.tobytes() == wanted and counts.embedded == 0


def test_no_damaged_byte_ever_gives_a_wrong_vector(pictures, tmp_path):
    paths = pictures[:3]
    embed(paths, tmp_path / "cache")
    path = only_segment(tmp_path / "cache")
    whole, wanted = path.read_bytes(), plain(paths).tobytes()
    rng = np.random.default_rng(0)
    for place in [*range(48), *rng.choice(len(whole), 60, replace=False)]:
        broken = bytearray(whole)
        broken[place] ^= 1 << int(rng.integers(8))
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(tmp_path / "cache", tmp_path / "copy")
        (tmp_path / "copy" / path.relative_to(tmp_path / "cache")).write_bytes(bytes(broken))
        vectors, _, encoder, said = embed(paths, tmp_path / "copy")
        assert vectors.tobytes() == wanted, place
        assert encoder.prepared and len(said) == 1, place
        # The next job finds the whole one behind the damaged one.
        vectors, counts, encoder, _ = embed(paths, tmp_path / "copy")
        assert vectors.tobytes() == wanted and not encoder.prepared, place
        assert counts.pictures == 3


def test_a_foreign_segment_is_never_used(pictures, tmp_path):
    other = SpyEncoder("other")
    embed(pictures, tmp_path / "cache", other)
    mine = EmbeddingCache(tmp_path / "cache", SpyEncoder()).folder
    stolen = segments_in(tmp_path / "cache" / other.digest[:32])[0]
    shutil.copy(stolen, mine / stolen.name)
    vectors, counts, _, said = embed(pictures, tmp_path / "cache")
    assert counts.embedded == 23 and "belongs to the encoder" in said[0]
    assert vectors.tobytes() == plain(pictures).tobytes()


# What another process imports: the helpers, this module, the library.
TESTS = Path(__file__).resolve().parents[1]
CODE = [str(TESTS / "support"), str(TESTS / "embedding"), str(TESTS.parent / "scripts")]
KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = {paths_of_code!r}
from deft.core import files
from deft.embedding import segment
from spy_encoder import SpyEncoder
from test_embedding_cache import embed

left = {limit}
class Dying:
    def __init__(self, handle): self.handle = handle
    def __enter__(self): return self
    def __exit__(self, *_): self.handle.close()
    def write(self, data):
        global left
        data = bytes(data)
        self.handle.write(data[:left]); self.handle.flush()
        left -= len(data)
        if left < 0: os._exit(9)

opened = Path.open
def open_dying(path, mode="r", *args, **options):
    handle = opened(path, mode, *args, **options)
    return Dying(handle) if mode == "wb" and path.suffix == ".seg" else handle
Path.open = open_dying
embed({paths!r}, Path({folder!r}))
"""


@pytest.mark.parametrize("limit", [0, 47, 200, 700, 10_000_000])
def test_a_job_killed_while_it_writes_leaves_a_sound_cache(pictures, tmp_path, limit):
    folder = tmp_path / "cache"
    embed(pictures[:8], folder)
    code = KILLED.format(
        paths_of_code=CODE, limit=limit,
        paths=pictures, folder=str(folder),
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == (0 if limit > 10_000 else 9), done.stderr
    vectors, counts, _, said = embed(pictures, folder)
    assert said == [], "what was cut off never got its name"
    assert vectors.tobytes() == plain(pictures).tobytes()
    assert counts.cached == (23 if limit > 10_000 else 8)


# --- several jobs at once -------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
sys.path[:0] = {paths_of_code!r}
from deft.embedding import cache
from test_embedding_cache import embed
cache.SEGMENT_ROWS = 3
vectors, counts, _, said = embed({paths!r}, Path({folder!r}))
assert not said, said
sys.stdout.write(vectors.tobytes().hex())
"""


def test_two_jobs_at_once_agree_and_keep_everything(pictures, tmp_path):
    folder = tmp_path / "cache"
    jobs = []
    for part in (pictures, pictures[::-1], pictures[5:]):
        code = WRITER.format(
            paths_of_code=CODE,
            paths=part,
            folder=str(folder),
        )
        jobs.append((part, subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)))
    for part, job in jobs:
        out, _ = job.communicate(timeout=120)
        assert job.returncode == 0
        assert bytes.fromhex(out.decode()) == plain(part).tobytes()
    _, counts, encoder, _ = embed(pictures, folder)
    assert counts.embedded == 0 and encoder.prepared == []


def test_segments_that_vanish_while_they_are_read_are_made_again(pictures, tmp_path):
    encoder = SpyEncoder()
    cache = EmbeddingCache(tmp_path / "cache", encoder)
    found = EmbeddedFiles(encoder, pictures, cache)
    only_segment(tmp_path / "cache").unlink()
    assert found.array().tobytes() == plain(pictures).tobytes()
    assert len(encoder.prepared) == 46


def test_work_is_on_disk_before_a_job_ends(pictures, tmp_path, monkeypatch):
    """A killed job loses a minute's work, not all of it."""
    monkeypatch.setattr("deft.embedding.cache.FLUSH_S", 0.0)
    encoder = SpyEncoder()
    cache = EmbeddingCache(tmp_path / "cache", encoder)
    keys = file_digests(pictures)
    cache.put(keys[:4], plain(pictures[:4]))
    assert len(cache.segments()) == 1
    monkeypatch.setattr("deft.embedding.cache.FLUSH_S", 1e9)
    monkeypatch.setattr("deft.embedding.cache.SEGMENT_ROWS", 6)
    cache.put(keys[4:8], plain(pictures[4:8]))
    assert len(cache.segments()) == 1
    cache.put(keys[8:12], plain(pictures[8:12]))
    assert len(cache.segments()) == 3, "no segment has more than its rows"


def test_a_cache_that_loses_everything_is_an_error_and_no_endless_loop(
    pictures, tmp_path, monkeypatch
):
    encoder = SpyEncoder()
    cache = EmbeddingCache(tmp_path / "cache", encoder)
    found = EmbeddedFiles(encoder, pictures[:2], cache)

    def lose(path, *_args):
        return write_segment(path.with_suffix(".lost"), *_args)

    for path in cache.segments():
        path.unlink()
    monkeypatch.setattr("deft.embedding.cache.write_segment", lose)
    with pytest.raises(RuntimeError, match="loses vectors"):
        found.array()
    assert vector_files.ATTEMPTS * 2 + 2 == len(encoder.prepared)
