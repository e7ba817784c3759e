"""The self-test: what it notices, what it lets pass, and where references come from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from encoder_folders import NAMES
from encoder_pictures import drawn
from PIL import Image

from deft.core.errors import HardStop
from deft.embedding.encoders import selftest
from deft.embedding.encoders.base import Encoder, embed_pictures
from deft.embedding.encoders.selftest import MIN_COSINE, picture_paths, read_reference, verify

pytestmark = pytest.mark.long


@pytest.fixture
def record(tmp_path):
    return tmp_path / "cache" / "abc" / "selftest.json"


def stop_of(encoder, record):
    with pytest.raises(HardStop) as caught:
        verify(encoder, record)
    return caught.value


def test_the_shipped_pictures_are_the_drawn_ones():
    fresh = drawn()
    assert [path.name for path in picture_paths()] == sorted(fresh) and len(fresh) == 5
    assert sum(path.stat().st_size for path in picture_paths()) < 20_000
    for path in picture_paths():
        with Image.open(path) as shipped:
            assert shipped.mode == fresh[path.name].mode
            found, wanted = (np.asarray(p, np.int16) for p in (shipped, fresh[path.name]))
        # Another version of OpenCV may round a drawing by one grey level.
        assert found.shape == wanted.shape and np.abs(found - wanted).max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_first_use_leaves_a_record_and_later_uses_agree(name, opened, record):
    encoder = opened(name)
    (first,) = verify(encoder, record)
    assert first.reference == record and min(first.cosines.values()) > 1 - 1e-9
    written = record.read_bytes()
    (second,) = verify(opened(name, batch_size=3), record)
    assert record.read_bytes() == written and not second.failed
    facts = json.loads(written)
    assert facts["digest"] == encoder.digest and facts["dim"] == encoder.dim
    assert "torch" in facts["versions"]


def _channels_swapped(encoder):
    own = encoder.prepare
    encoder.prepare = lambda path: own(path)[..., ::-1]


def _other_filter(encoder):
    other = "bilinear" if encoder.preprocessing.interpolation == "bicubic" else "bicubic"
    encoder.preprocessing = replace(encoder.preprocessing, interpolation=other)


def _off_by_a_pixel(encoder):
    own = encoder.prepare
    encoder.prepare = lambda path: np.roll(own(path), 1, axis=1)


def _other_mean(encoder):
    encoder._mean = encoder._mean + 0.02


def _not_scaled(encoder):
    encoder._full = encoder._full * 0 + 256.0


def _a_weight_lost(encoder):
    last = [p for p in encoder._module.parameters() if p.ndim > 1][-1]
    last.data[0, 0] += last.abs().max()


@pytest.mark.parametrize(
    "mistake",
    [_channels_swapped, _other_filter, _off_by_a_pixel, _other_mean, _not_scaled, _a_weight_lost],
)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_digest_cannot_see_is_noticed(name, mistake, opened, record):
    verify(opened(name), record)
    wrong = opened(name)
    mistake(wrong)
    error = stop_of(wrong, record)
    assert error.code == "encoder_mismatch" and error.file == str(record)
    assert "cosine" in error.message and str(record.parent) in error.fix


@pytest.mark.parametrize("name", NAMES)
def test_noise_of_another_machine_passes(name, opened, record):
    verify(opened(name), record)
    other = opened(name)
    own, rng = other.forward, np.random.default_rng(0)

    def noisy(batch):
        vectors = own(batch)
        return vectors + (1e-4 * rng.standard_normal(vectors.shape) * np.abs(vectors)).astype("f4")

    other.forward = noisy
    assert not verify(other, record)[0].failed


def test_a_shipped_reference_counts_before_a_record_is_made(staged, opened, tmp_path, record):
    folder = tmp_path / "weights"
    shutil.copytree(staged("clip"), folder)
    verify(opened("clip"), folder / "selftest.json")
    shipped, own = verify(opened("clip", folder=folder), record)
    assert shipped.reference == folder / "selftest.json" and own.reference == record
    record.unlink()
    reference = json.loads(shipped.reference.read_text())
    for row in reference["vectors"].values():
        row.reverse()
    shipped.reference.write_text(json.dumps(reference))
    error = stop_of(opened("clip", folder=folder), record)
    assert error.code == "encoder_mismatch" and error.file == str(shipped.reference)
    assert "fetch weights" in error.fix and not record.exists()


def test_a_float32_reference_serves_bfloat16(staged, opened, tmp_path, record):
    folder = tmp_path / "weights"
    shutil.copytree(staged("dinov2"), folder)
    verify(opened("dinov2"), folder / "selftest.json")
    shipped, own = verify(opened("dinov2", folder=folder, precision="bfloat16"), record)
    assert shipped.limit == MIN_COSINE["bfloat16"] and min(own.cosines.values()) > 1 - 1e-9


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_are_not_finite_stop_at_once(number, opened, record):
    encoder = opened("clip")
    encoder.forward = lambda batch: np.full((encoder.batch_size, encoder.dim), number, np.float32)
    error = stop_of(encoder, record)
    assert error.code == "encoder_mismatch" and "finite" in error.message
    assert not record.exists()


def test_vectors_of_nothing_are_no_agreement(opened, record):
    encoder = opened("clip")
    verify(encoder, record)
    encoder.forward = lambda batch: np.zeros((encoder.batch_size, encoder.dim), np.float32)
    assert stop_of(encoder, record).code == "encoder_mismatch"


def test_another_length_is_named(opened, record):
    verify(opened("clip"), record)
    error = stop_of(opened("dinov2"), record)
    assert error.code == "encoder_mismatch" and "32 numbers" in error.message


def test_other_versions_are_told(opened, record):
    verify(opened("clip"), record)
    facts = json.loads(record.read_text())
    facts["versions"]["torch"] = "1.0"
    record.write_text(json.dumps(facts))
    wrong = opened("clip")
    _channels_swapped(wrong)
    assert "torch 1.0 then" in stop_of(wrong, record).fix


@pytest.mark.parametrize("damage", ["cut", "pictures", "precision", "vectors", "list"])
def test_a_reference_that_cannot_be_used_is_named(damage, opened, record):
    verify(opened("clip"), record)
    facts = json.loads(record.read_text())
    if damage == "cut":
        record.write_text(record.read_text()[:200])
    elif damage == "list":
        record.write_text("[]")
    else:
        facts[damage] = {"pictures": {}, "precision": "float8", "vectors": {}}[damage]
        record.write_text(json.dumps(facts))
    error = stop_of(opened("clip"), record)
    assert error.code == "config_invalid" and error.file == str(record)


def test_a_reference_keeps_the_vectors_to_eight_digits(opened, record):
    encoder = opened("siglip")
    verify(encoder, record)
    rows = read_reference(record)["vectors"]
    vectors = embed_pictures(encoder, picture_paths())
    found = np.array([rows[path.name] for path in picture_paths()])
    assert np.abs(found - vectors).max() <= 0.5 * 10.0**-selftest.DECIMALS + 1e-12


def test_speed_is_measured(opened):
    assert selftest.images_per_s(opened("clip", batch_size=2), seconds=0.01) > 0


def test_an_encoder_is_compared_before_its_first_vectors_and_once(opened, record, monkeypatch):
    asked = []
    monkeypatch.setattr(selftest, "verify", lambda *given: asked.append(given) or [])
    encoder = opened("clip", batch_size=5)
    tested = selftest.SelfTested(encoder, record)
    assert isinstance(tested, Encoder)
    assert (tested.name, tested.dim, tested.digest) == ("clip", encoder.dim, encoder.digest)
    batch = np.stack([tested.prepare(path) for path in picture_paths()])
    assert asked == []
    for _ in range(2):
        assert np.array_equal(tested.forward(batch), encoder.forward(batch))
    assert asked == [(encoder, record)]


def test_no_vector_leaves_an_encoder_that_differs(opened, record):
    verify(opened("clip"), record)
    wrong = opened("clip", batch_size=5)
    _channels_swapped(wrong)
    tested = selftest.SelfTested(wrong, record)
    with pytest.raises(HardStop, match="cosine"):
        embed_pictures(tested, picture_paths())


def test_the_table_shows_each_picture_and_reference(staged, opened, tmp_path, record):
    folder = tmp_path / "weights"
    shutil.copytree(staged("clip"), folder)
    verify(opened("clip"), folder / "selftest.json")
    encoder = opened("clip", folder=folder)
    text = selftest.table(encoder, verify(encoder, record), 12.34)
    assert text.count("1.00000000") == 10 and encoder.digest in text
    assert "12.3 images/s" in text and "first use" in text and "at least 0.999999" in text
    assert all(text.count(path.name) == 2 for path in picture_paths())
