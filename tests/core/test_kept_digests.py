"""A kept digest is the file's own, always; only unchanged files are not read again."""

import os
import time

import pytest

from deft.core import kept_digests
from deft.core.files import sha256_file
from deft.core.kept_digests import KeptDigests


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n1,2\n")
    return path


@pytest.fixture
def reads(monkeypatch):
    """Every file that is read for its digest."""
    found = []

    def noted(path):
        found.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr(kept_digests, "sha256_file", noted)
    return found


@pytest.fixture
def settled(monkeypatch):
    monkeypatch.setattr(kept_digests, "SETTLED_S", -1.0)


def test_an_unchanged_file_is_read_once(table, tmp_path, reads, settled):
    store = tmp_path / "new/digests.json"
    for _ in range(3):
        assert KeptDigests(store).sha256(table) == sha256_file(table)
    assert reads == ["table.csv"]


def test_no_file_is_none(tmp_path, reads):
    kept = KeptDigests(tmp_path / "digests.json")
    assert kept.sha256(tmp_path / "absent.csv") is None and kept.sha256(tmp_path) is None
    (tmp_path / "absent.csv").write_text("now")
    assert kept.sha256(tmp_path / "absent.csv") is not None


def same_size(path):
    path.write_text("a,b\n1,3\n")


def other_size(path):
    path.write_text("a,b\n")


def replaced(path):
    other = path.with_name("other.csv")
    other.write_text("a,b\n9,9\n")
    other.replace(path)


@pytest.mark.parametrize("change", [same_size, other_size, replaced])
@pytest.mark.parametrize("old_time", [False, True])
def test_another_content_is_another_digest(table, tmp_path, settled, change, old_time):
    """Also with the old time stamp put back: nobody can put back the change time."""
    store, stamp = tmp_path / "digests.json", table.stat()
    first = KeptDigests(store).sha256(table)
    time.sleep(0.02)  # more than a tick of the disk's clock
    change(table)
    if old_time:
        os.utime(table, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert KeptDigests(store).sha256(table) == sha256_file(table) != first


def test_a_file_that_just_changed_is_not_kept(table, tmp_path, reads):
    store = tmp_path / "digests.json"
    KeptDigests(store).sha256(table)
    KeptDigests(store).sha256(table)
    assert reads == ["table.csv", "table.csv"] and not store.exists()


@pytest.mark.parametrize("text", ["", "[]", '{"x": 3', '{"%s": 3}'])
def test_a_broken_store_is_none(table, tmp_path, settled, text):
    store = tmp_path / "digests.json"
    store.write_text(text.replace("%s", str(table)))
    assert KeptDigests(store).sha256(table) == sha256_file(table)
    assert KeptDigests(store).sha256(table) == sha256_file(table)


def test_one_answer_in_one_process(table, tmp_path, settled):
    kept = KeptDigests(tmp_path / "digests.json")
    first = kept.sha256(table)
    other_size(table)
    assert kept.sha256(table) == first
