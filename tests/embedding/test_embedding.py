"""Tables of embeddings carry their encoder, and both sides of a search must have the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from deft.core.errors import HardStop
from deft.embedding.embed import check_same_encoder, open_embeddings, write_embeddings


class Fake:
    name, dim, digest = "fake", 3, "abc"


def test_embeddings_round_trip_with_their_encoder(tmp_path):
    table = pd.DataFrame({"filepath": ["a", "b"], "label": ["PASS", "x"]})
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = write_embeddings(tmp_path / "e.parquet", table, vectors, Fake())
    again, stream, meta = open_embeddings(path)
    assert meta == {"name": "fake", "dim": 3, "digest": "abc"}
    assert np.array_equal(np.concatenate(list(stream.blocks(1))), vectors)
    pd.testing.assert_frame_equal(again, table)
    first = path.read_bytes()
    assert write_embeddings(path, table, vectors, Fake()).read_bytes() == first


def test_another_encoder_on_one_side_stops(tmp_path):
    source = {"name": "fake", "digest": "abc"}
    check_same_encoder(source, dict(source), tmp_path)
    for target in ({"name": "fake", "digest": "abd"}, {}):
        with pytest.raises(HardStop) as stop:
            check_same_encoder(source, target, tmp_path)
        assert stop.value.code == "encoder_mismatch"
