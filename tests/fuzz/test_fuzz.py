"""Every reader meets spoiled files for some seconds, and what once got through again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import mutators  # noqa: E402
import readers  # noqa: E402
import run as fuzz  # noqa: E402

from deft.core.errors import HardStop  # noqa: E402

pytestmark = pytest.mark.long

CORPUS = Path(__file__).parent / "corpus"
SECONDS = float(os.environ.get("DEFT_FUZZ_SECONDS", "20"))
KNOWN = sorted(path for path in CORPUS.rglob("*") if path.is_file())


def test_every_reader_stops_clearly(capsys):
    report = fuzz.run(sorted(readers.READERS), SECONDS, seed=int(time.time()) // 86_400)
    with capsys.disabled():
        print("\n" + fuzz.told(report))
    assert not [name for name in report if report[name]["findings"]]
    assert set(report) == set(readers.READERS)
    assert all(mine["inputs"] >= fuzz.LEAST for mine in report.values())


def test_what_is_no_readable_file_is_said_at_once(capsys):
    """A folder, a pipe (which a reader would wait for), a device without end, no rights."""
    report = fuzz.run(sorted(readers.READERS), SECONDS, seed=0, special=True)
    found = {n: list(mine["findings"]) for n, mine in report.items() if mine["findings"]}
    assert not found, fuzz.told(report)
    assert all(mine["inputs"] == len(readers.SPECIALS) for mine in report.values())


@pytest.mark.parametrize("path", KNOWN, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_what_once_got_through(path, tmp_path):
    reader = readers.READERS[path.parent.name]
    (tmp_path / "first").mkdir()
    with contextlib.suppress(Exception):  # its imports are no fault of the input
        reader.call(tmp_path / "first", reader.seeds()[0])
    found = fuzz.failure(reader, path.read_bytes(), tmp_path / "place")
    assert found is None, found


# --- the fuzzer itself: a test that cannot fail is none -------------------------------------------


def planted(call) -> readers.Reader:
    return readers.Reader("planted", call, lambda: [b'{"a": 1, "b": [2, 3]}'], "json", "light")


def bug(place: Path, data: bytes) -> None:
    if b"null" in data:
        raise KeyError("found")


def slow(place: Path, data: bytes) -> None:
    if b"null" in data:
        time.sleep(60)


def greedy(place: Path, data: bytes) -> None:
    if b"null" in data:
        # Where the peak cannot begin anew: beyond what this process ever held, in whatever test.
        earlier = 0 if fuzz.forget_peak() else fuzz.peak_bytes()
        bytearray(fuzz.GROWTH_BYTES + earlier + 64 * 2**20)


def wordy(place: Path, data: bytes) -> None:
    if b"null" in data:
        raise type("Long", (HardStop,), {"__str__": lambda self: "x" * 10_000})("csv_invalid", "x")


@pytest.mark.parametrize(
    ("call", "signature"),
    [
        (bug, "KeyError in reader"),
        (slow, "slower than"),
        (greedy, "more than"),
        (wordy, "Long of 10 thousand"),
    ],
)
def test_a_planted_fault_is_found_and_made_smaller(tmp_path, monkeypatch, call, signature):
    monkeypatch.setitem(readers.READERS, "planted", planted(call))
    if call is slow:
        monkeypatch.setattr(fuzz, "SLOW_S", 0.5)
    if call is greedy:  # gigabytes take a loaded machine longer than an input may
        monkeypatch.setattr(fuzz, "GROWTH_BYTES", 200 * 2**20)
    out = tmp_path / "report.json"
    fuzz.fuzz_here(["planted"], 4.0, 0, 0, out, tmp_path / "place")
    findings = json.loads(out.read_text())["planted"]["findings"]
    assert [name for name in findings if name.startswith(signature)], findings
    if call is bug:
        (found,) = findings.values()
        assert bytes.fromhex(found["input"]) == b"null"


def test_a_clear_stop_is_no_finding(tmp_path):
    def stops(place: Path, data: bytes) -> None:
        raise HardStop("csv_invalid", "as it should be")

    assert fuzz.failure(planted(stops), b"x", tmp_path / "place") is None


def test_the_same_number_gives_the_same_input():
    for reader in readers.READERS.values():
        if reader.family != "light":
            continue
        known = reader.seeds()
        made = [fuzz.make(reader, known, 3, n) for n in range(20, 40)]
        assert made == [fuzz.make(reader, known, 3, n) for n in range(20, 40)]
        assert len(set(made)) > 10, reader.name


@pytest.mark.parametrize("kind", mutators.STRUCTURED)
def test_a_structure_spoiler_takes_any_bytes(kind):
    for number in range(60):
        rng = random.Random(number)
        data = mutators.raw(rng, b'{"a": [1, 2], "b": "x"}\n1,2\n')
        assert isinstance(mutators.STRUCTURED[kind](rng, data), bytes)
