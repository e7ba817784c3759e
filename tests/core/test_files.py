"""Files in pieces, half characters, and what a full disk would have needed."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import pytest

from deft.core.disk import DiskFull, size_text
from deft.core.files import to_utf8, write_pieces_atomic, write_text_atomic
from deft.tables import changenet_table, many_rows
from deft.tables.changenet_table import write_table
from deft.tables.many_rows import write_numbers


@contextmanager
def largest_file(count: int) -> Iterator[None]:
    """Let no file of this process grow beyond ``count`` bytes, for a while."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_half_characters_are_written_as_they_are_spelled(tmp_path) -> None:
    assert to_utf8("Löt \udc80") == "Löt \\udc80".encode()
    assert write_text_atomic(tmp_path / "t", "Löt \udc80\n").read_text() == "Löt \\udc80\n"


def test_pieces_are_written_one_behind_the_other(tmp_path) -> None:
    path = write_pieces_atomic(tmp_path / "new" / "a", [(b"one ", 0.5), (b"", 0.9), (b"two", 1.0)])
    assert path.read_bytes() == b"one two"


def test_an_error_between_pieces_is_no_full_disk_and_leaves_nothing(tmp_path) -> None:
    def pieces() -> Iterator[tuple[bytes, float]]:
        yield b"one", 0.5
        raise KeyError("a column")

    with pytest.raises(KeyError):
        write_pieces_atomic(tmp_path / "a", pieces())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shares", "needed"),
    [
        ((0.1, 0.2, 0.3), "about 3.8 MiB needed"),  # stopped in the second piece
        ((0.5, 1.0), "at least 800000 bytes needed"),  # the whole is made
    ],
)
def test_what_a_full_disk_would_have_needed(tmp_path, shares, needed) -> None:
    pieces = ((bytes(400_000), share) for share in shares)
    with largest_file(500_000), pytest.raises(DiskFull) as full:
        write_pieces_atomic(tmp_path / "a", pieces)
    assert needed in str(full.value)
    assert str(tmp_path / "a") in str(full.value) and not list(tmp_path.iterdir())


def test_a_few_bytes_too_many_are_told_too(tmp_path) -> None:
    pieces = ((bytes(40), share) for share in (0.25, 0.5, 0.75, 1.0))
    with largest_file(100), pytest.raises(DiskFull, match="about 160 bytes needed"):
        write_pieces_atomic(tmp_path / "a", pieces)


@pytest.mark.parametrize("write", [write_table, write_numbers])
def test_a_table_too_large_for_a_disk_says_about_how_large(tmp_path, monkeypatch, write) -> None:
    for module in (changenet_table, many_rows):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 1000)
    table = pd.DataFrame({"a": range(100_000, 110_500), "b": 0.25})  # 12 bytes a row
    size = write(table, tmp_path / "whole.csv").stat().st_size
    with largest_file(size // 3), pytest.raises(DiskFull) as full:
        write(table, tmp_path / "t.csv")
    assert full.value.needed_bytes == pytest.approx(size, rel=0.01)
    assert f"about {size_text(full.value.needed_bytes)} needed" in str(full.value)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.csv"]
