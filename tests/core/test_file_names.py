"""User text as file names: injective and bounded, ordinary names unchanged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deft.core.file_names import MAX_NAME_BYTES, MAX_SLUG_BYTES, shortened, slugs


def test_ordinary_labels_stay_as_they_are() -> None:
    names = ["PASS", "bridge", "excess_solder", "MISSING", "löt", "焊锡", "defect7"]
    assert slugs(names) == {name: name for name in names}
    assert slugs(["solder ball"]) == {"solder ball": "solder_ball"}


def test_texts_that_would_share_a_name_do_not() -> None:
    texts = ["solder ball", "solder-ball", "solder_ball", "bridge"]
    found = slugs(texts)
    assert found["bridge"] == "bridge" and len(set(found.values())) == 4
    assert all(found[text].startswith("solder_ball-") for text in texts[:3])


def test_file_systems_that_fold_case_or_unicode_forms() -> None:
    found = slugs(["Bridge", "bridge", "lo\u0308t", "l\u00f6t"])
    assert len({name.casefold() for name in found.values()}) == 4


def test_bytes_count_not_characters() -> None:
    long = "焊" * 90  # 90 characters, 270 bytes
    for text in (long, long + "a", "x" * 300):
        assert len(slugs([text])[text].encode()) <= MAX_SLUG_BYTES
        assert len(shortened(text + ".png").encode()) <= MAX_NAME_BYTES
    assert shortened(long + ".png").endswith(".png")
    assert shortened("ordinary.png") == "ordinary.png"
    assert shortened(long + "a.png") != shortened(long + "b.png")


@given(st.sets(st.text(min_size=1), max_size=20))
def test_slugs_of_any_texts(texts: set[str]) -> None:
    found = slugs(texts)
    assert set(found) == texts and len(set(found.values())) == len(texts)
    for name in found.values():
        assert 0 < len(name.encode()) <= MAX_SLUG_BYTES
        assert not set(name) & set("/\\\0.") and name.isprintable()
