"""The encoder of the mining stage in TAO's container: order, length, digest, tokens."""

from __future__ import annotations

import json
import runpy
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from encoder_folders import stage
from stage_calls import embed_pool, embed_shard, stage_pool
from workflow_tools import REPOSITORY

from deft.core.errors import HardStop
from deft.embedding.embed import open_embeddings
from deft.embedding.encoders import opening
from deft.embedding.encoders.base import embed_pictures
from deft.embedding.encoders.torch_encoder import Options
from deft.stages.encoder import open_encoder, vectors_of
from deft.tables.sealed import seals
from deft.tao import embed

pytestmark = pytest.mark.long


@pytest.fixture
def staged(context):
    """A folder with the names of both layouts: the hub's, and the stand-in's own."""
    folder = Path(stage("clip", context.workspace / "augmentation/clip"))
    shutil.copy(folder / "open_clip_config.json", folder / "config.json")
    (weights,) = folder.glob("open_clip_model.*")
    shutil.copy(weights, folder / "model.safetensors")
    return folder


def opened(context, weights="augmentation/clip", name="clip", **more):
    given = {**vars(arguments(name)), "encoder_weights": weights, "phase": "iter1", **more}
    return open_encoder(context, Namespace(**given))


def test_vectors_are_those_of_the_encoder_in_the_order_asked(docker, context, staged):
    pictures = sorted(context.image_root.rglob("*.png"))[:6]
    asked = [*pictures, pictures[2]]  # the same picture twice
    encoder = opened(context)
    vectors = encoder.embed(asked)
    native = opening.open_encoder("clip", staged, Options(batch_size=4))
    expected = embed_pictures(native, asked)
    assert encoder.dim == native.dim and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    np.testing.assert_array_equal(vectors[6], vectors[2])
    (call,) = docker.calls("run")
    assert call[call.index("embedding") + 1] == "image_embeddings"
    assert not any("HF_TOKEN" in text for text in call)
    docker.fail(embed="a row less")
    with pytest.raises(HardStop) as caught, vectors_of(encoder, pictures, None, 1, ""):
        pass
    assert caught.value.code == "encoder_mismatch" and "first missing" in caught.value.message


def test_the_digest_is_of_image_and_weights(docker, context, staged):
    first = opened(context).digest
    assert opened(context).digest == first
    images = json.loads((docker.folder / "images.json").read_text())
    docker.have({name: f"{id}0" for name, id in images.items()})
    second = opened(context).digest
    staged.joinpath("config.json").write_text("{}")
    assert len({first, second, opened(context).digest}) == 3


def test_a_missing_file_is_named(docker, context, staged):
    (staged / "config.json").unlink()
    with pytest.raises(HardStop) as caught:
        opened(context)
    assert caught.value.code == "missing_input" and "config.json" in caught.value.message
    assert "openai/clip-vit-base-patch16" in caught.value.fix


def test_the_token_goes_by_name_and_only_where_something_is_fetched(
    docker, context, monkeypatch, tmp_path
):
    seen = []
    monkeypatch.setattr(embed, "hub_home", lambda: tmp_path / "hub")
    monkeypatch.setattr(embed.Work, "run", lambda self, argv, **how: seen.append(how))
    monkeypatch.setattr(embed, "read_vectors", lambda path, names: np.ones((len(names), 2)))
    (context.workspace / ".env").write_text("export HF_TOKEN='hf_secret'\n")
    pictures = sorted(context.image_root.rglob("*.png"))[:1]
    for cached in (False, True):
        monkeypatch.setattr(embed, "cached", lambda name, cached=cached: cached)
        opened(context, "", "siglip").embed(pictures)
    fetching, local = seen
    assert fetching["secrets"] == {"HF_TOKEN": "hf_secret"} and fetching["written"][0].writable
    assert local["secrets"] == {} and not local["written"][0].writable
    assert ("HF_HUB_OFFLINE", "1") in local["env"] and ("HF_HUB_OFFLINE", "1") not in fetching[
        "env"
    ]
    assert "hf_secret" not in json.dumps([list(map(str, how["env"])) for how in seen])
    monkeypatch.setenv("AIR_GAPPED", "1")
    monkeypatch.setattr(embed, "cached", lambda name: False)
    with pytest.raises(HardStop) as caught:
        opened(context, "", "siglip")
    assert caught.value.code == "missing_input"


def test_shards_that_run_beside_each_other_share_nothing(docker, context, staged):
    made = [opened(context, item=f"{i}-of-2", phase=None).work for i in (1, 2)]
    assert made[0].scratch != made[1].scratch and made[0].part != made[1].part
    assert {work.phase for work in made} == {"pool"}


def test_a_shard_without_rows_needs_no_container(docker, context, staged):
    stage_pool(context, "clip")
    source = context.run.synth_pool / "source_pool.parquet"
    pq.write_table(pq.read_table(source).slice(0, 2), source)
    record = context.run.synth_pool / "manifest.json"
    told = {"tables": seals(source.parent, {source.name: 2})}
    record.write_text(json.dumps({**json.loads(record.read_text()), **told}))
    names = [f"{i}-of-3" for i in (1, 2, 3)]
    for name in names:
        embed_shard(context, opened(context, item=name, phase=None), name, None, 1)
    assert len(docker.calls("run")) == 2
    folder = context.run.synth_pool / "shards"
    embed_pool(context, [folder / f"{name}.parquet" for name in names])
    joined, vectors, facts = open_embeddings(context.run.synth_pool / "source_embeddings.parquet")
    assert len(joined) == 2 and vectors.dim == facts["dim"] > 0


def test_the_self_test_refuses_what_a_container_embeds(context, monkeypatch, capsys):
    script = runpy.run_path(str(REPOSITORY / "scripts/encoder_selftest.py"))
    with pytest.raises(HardStop) as caught:
        given = arguments("siglip", engine="tao", picture_levels=None, containers={})
        script["body"](given, context.run)
    assert caught.value.code == "config_invalid" and "container" in caught.value.message


def test_changenet_is_computed_here(docker, done):
    metrics = done.run.phase("baseline") / "metrics.json"
    found = open_encoder(done, arguments("changenet", baseline=metrics))
    assert not isinstance(found, embed.TaoEncoder) and found.name == "changenet"
    assert not docker.calls()


def arguments(name: str, **engine: object) -> Namespace:
    given = {"device": "auto", "batch_size": 4, "precision": "float32", "compile": False}
    given |= {"runtime": "torch", "threads": 1, "cache": "", "encoder_weights": ""}
    given |= {"baseline": None, **engine}
    return Namespace(encoder=name, **given)
