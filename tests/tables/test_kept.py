"""What is kept of pictures: nothing else passes for the file that was read."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deft.core.errors import HardStop
from deft.mining.strategies import place
from deft.tables import fingerprint as prints
from deft.tables import kept
from deft.tables.fingerprint import fingerprint, fingerprints, known_prints, see_again
from deft.tables.kept import FileState, KeptFacts, file_state, keeping, kind_of

LONG_AGO_NS = 10**18


@pytest.fixture
def settled(monkeypatch) -> None:
    """Pictures count as settled, though they were drawn a moment ago."""
    monkeypatch.setattr(kept, "SETTLED_NS", -(10**12))


@pytest.fixture(autouse=True)
def other_process(monkeypatch) -> None:
    """Nothing is remembered beside the store."""
    monkeypatch.setattr(prints, "_cache", {})


def draw(path: Path, value: int = 0) -> Path:
    pixels = np.random.default_rng(value).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def drawn(folder: Path, count: int) -> list[Path]:
    return [draw(folder / f"p{i}.png", i) for i in range(count)]


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the pictures that are decoded from now on."""
    found: list[str] = []
    decode = prints.decode

    def spy(path, levels=None):
        found.append(Path(path).name)
        return decode(path, levels)

    monkeypatch.setattr(prints, "decode", spy)
    return found


def test_a_second_process_reads_no_picture(tmp_path, settled, decoded):
    paths, store = drawn(tmp_path, 9), tmp_path / "results/kept"
    with keeping(store):
        first = fingerprints(paths)
        assert fingerprints(paths) == first
    assert sorted(decoded) == sorted(p.name for p in paths)
    decoded.clear()
    moved = tmp_path / "moved"
    moved.mkdir()
    with keeping(store):
        assert fingerprints(paths) == first
        paths = [Path(shutil.move(path, moved)) for path in paths]  # the change time is another
    assert not decoded
    with keeping(store):
        assert fingerprints(paths, levels=None) == first
        assert known_prints(paths, levels=255) == [None] * 9  # read otherwise
    assert len(KeptFacts(store)) == 9


@pytest.mark.parametrize("how", ["written", "replaced", "older times", "hard link"])
def test_another_picture_never_passes_for_the_one_that_was_read(tmp_path, settled, how):
    path, store = draw(tmp_path / "a.png", 1), tmp_path / "kept"
    with keeping(store):
        first = fingerprint(path)
    before = path.stat()
    other = draw(tmp_path / "b.png", 2)
    if how == "written":
        path.write_bytes(other.read_bytes())
    elif how == "hard link":
        path.unlink()
        os.link(other, path)
    else:
        other.replace(path)
    if how == "older times":
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with keeping(store):
        assert fingerprint(path) != first
        assert fingerprint(path) == prints._fingerprint(prints.decode(path))


def test_one_size_one_time_one_inode_is_told_by_the_change_time(tmp_path, settled):
    path, store = tmp_path / "a.bmp", tmp_path / "kept"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(path)
    with keeping(store):
        first = fingerprint(path)
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-30] ^= 255
    with path.open("r+b") as handle:
        handle.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    with keeping(store):
        assert fingerprint(path) != first


def test_of_a_file_that_changed_just_now_nothing_is_kept(tmp_path):
    path, store = draw(tmp_path / "a.png"), tmp_path / "kept"
    with keeping(store) as facts:
        fingerprint(path)
        assert known_prints([path]) != [None], "in this process it has one answer"
        assert len(facts) == 1
    assert not store.exists()
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(path, ns=(ahead, ahead))
    with keeping(store):
        fingerprint(path)
    assert not store.exists()


def test_a_server_whose_clock_is_behind_is_waited_for(tmp_path, monkeypatch):
    path, store = draw(tmp_path / "a.png"), tmp_path / "kept"
    state = file_state(path)
    now = max(state.mtime_ns, state.ctime_ns) + 3 * 10**9
    facts = KeptFacts(store)
    monkeypatch.setattr(facts, "_behind_ns", 2 * 10**9)
    facts.put(state, 1, bytes(32), now)
    facts.flush()
    assert not store.exists()
    monkeypatch.setattr(facts, "_behind_ns", 0)
    facts.put(state, 1, bytes(32), now)
    facts.flush()
    assert store.exists()


def test_what_a_file_on_a_server_is_like_is_asked_of_the_server(tmp_path, monkeypatch):
    path = draw(tmp_path / "a.png")
    monkeypatch.setattr(kept, "on_network", lambda device: True)
    real, stale = os.stat, os.stat_result((0o100644, *[0] * 9))
    remembered = SimpleNamespace(
        stat=lambda p, **how: stale if str(p) == str(path) else real(p, **how), fstat=os.fstat
    )
    monkeypatch.setattr(kept, "os", remembered)
    assert file_state(path).size == real(path).st_size
    assert file_state(tmp_path / "none.png") is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty", "folder"])
def test_a_damaged_store_is_told_and_made_anew(tmp_path, settled, damage):
    paths, store, told = drawn(tmp_path, 5), tmp_path / "kept", []
    with keeping(store):
        first = fingerprints(paths)
    data = bytearray(store.read_bytes())
    if damage == "flipped":
        data[-40] ^= 1
    if damage == "folder":
        store.unlink()
        store.mkdir()
    else:
        store.write_bytes({"cut": data[:-7], "other": b"x,y\n", "empty": b""}.get(damage, data))
    with keeping(store, told.append):
        assert fingerprints(paths) == first
    assert told if damage != "empty" else not told
    if damage != "folder":
        assert len(KeptFacts(store, told.append)) == 5


def test_a_store_that_lies_is_found_out(tmp_path, settled):
    paths, store = drawn(tmp_path, 3), tmp_path / "kept"
    with keeping(store):
        fingerprints(paths)
        see_again(paths)
    lie = prints._packed(prints.Fingerprint("00" * 20, 1))
    forged = KeptFacts(store)
    for path in paths:
        forged.put(file_state(path), prints._kind(None), lie, LONG_AGO_NS * 9)
    forged.flush()
    with keeping(store), pytest.raises(HardStop, match="another picture") as stop:
        see_again(paths)
    assert stop.value.code == "image_invalid" and stop.value.fix
    assert not store.exists()


def test_a_store_that_cannot_be_written_changes_nothing(tmp_path, settled):
    path = draw(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with keeping(tmp_path / "file/kept", lambda text: None):
        assert fingerprint(path) == prints._fingerprint(prints.decode(path))


def test_two_that_write_keep_what_both_read(tmp_path, settled):
    paths, store = drawn(tmp_path, 4), tmp_path / "kept"
    one, two = KeptFacts(store), KeptFacts(store)
    for facts, mine in ((one, paths[:2]), (two, paths[2:])):
        for path in mine:
            facts.put(file_state(path), 7, path.name.encode().ljust(32), time.time_ns())
        facts.flush()
    states = [file_state(path) for path in paths]
    wanted = [path.name.encode().ljust(32) for path in paths]
    assert KeptFacts(store).get(states, 7) == wanted
    assert one.get(states, 7) == [*wanted[:2], None, None]
    assert KeptFacts(store).get(states[::-1], [7, 8, 7, 8]) == [wanted[3], None, wanted[1], None]


def test_many_facts_are_found_again_and_bounded(tmp_path, settled, monkeypatch):
    rng = np.random.default_rng(0)
    states = [FileState(5, i, *rng.integers(0, 2**62, 3).tolist()) for i in range(3000)]
    facts = KeptFacts(tmp_path / "kept")
    for i, state in enumerate(states):
        facts.put(state, i % 3, i.to_bytes(32, "big"), LONG_AGO_NS * 9)
    facts.flush()
    again = KeptFacts(tmp_path / "kept")
    found = again.get(states, [i % 3 for i in range(3000)])
    assert found == [i.to_bytes(32, "big") for i in range(3000)]
    assert again.get(states, 4) == [None] * 3000
    changed = [state._replace(size=state.size + 1) for state in states]
    assert again.get(changed, [i % 3 for i in range(3000)]) == [None] * 3000

    monkeypatch.setattr(kept, "ENTRIES_MOST", 100)
    table, day = again._table.copy(), int(time.time()) // kept.DAY_S
    table["day"] = day - 1
    table["day"][:60] = day
    table["day"][60:80] = day - kept.UNUSED_DAYS
    left = table[kept._bounded(table, day)]["day"]
    assert len(left) == 100 and (left == day).sum() == 60 and (left == day - 1).sum() == 40


def test_a_use_is_written_down_once_a_week(tmp_path, settled, monkeypatch):
    path, store = draw(tmp_path / "a.png"), tmp_path / "kept"
    with keeping(store):
        fingerprint(path)
    written, now = store.read_bytes(), time.time()
    for days, changes in ((3, False), (8, True)):
        monkeypatch.setattr(kept.time, "time", lambda days=days: now + days * kept.DAY_S)
        with keeping(store):
            assert known_prints([path]) != [None]
        assert (store.read_bytes() != written) == changes


KILLED = """
import sys, time
sys.path[:0] = [{scripts!r}]
from deft.tables import kept
kept.SETTLED_NS, kept.FLUSH_S = -10**12, 0.0
facts = kept.KeptFacts({store!r})
for i in range(10**6):
    facts.put(kept.FileState(1, i, 2, 3, 4), 5, i.to_bytes(32, "big"), 10**18)
    if i == 50:
        print("begun", flush=True)
"""


def test_a_killed_process_leaves_a_whole_store(tmp_path):
    store = tmp_path / "kept"
    scripts = str(Path(kept.__file__).parents[2])
    code = KILLED.format(scripts=scripts, store=str(store))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    told: list[str] = []
    facts = KeptFacts(store, told.append)
    states = [FileState(1, i, 2, 3, 4) for i in range(len(facts))]
    assert not told and len(facts) >= 50
    assert facts.get(states, 5) == [i.to_bytes(32, "big") for i in range(len(facts))]


def test_cells_are_kept_of_both_pictures(tmp_path, settled, monkeypatch):
    pair = draw(tmp_path / "t.png", 1), draw(tmp_path / "g.png", 2)
    plain = place.cells_of([[pair]])
    with keeping(tmp_path / "kept"):
        assert place.cells_of([[pair]]) == plain
    asked = []
    real = place.read_grey
    monkeypatch.setattr(place, "read_grey", lambda *a: asked.append(a) or real(*a))
    with keeping(tmp_path / "kept"):
        assert place.cells_of([[pair]]) == plain
        assert not asked
        assert place.cells_of([[pair]], grid=2).tolist() == [
            place.cell(real(pair[0]), real(pair[1]), 2)[0]
        ]
        draw(pair[1], 3)
        asked.clear()
        found = place.cells_of([[pair]])
    assert asked and found[0] == place.cell(real(pair[0]), real(pair[1]))[0]


def test_a_kind_follows_what_it_depends_on():
    assert kind_of("a", 1) != kind_of("a", 2) != kind_of("a1") != kind_of("a", 1)
    assert 0 <= kind_of("x") < 2**64
