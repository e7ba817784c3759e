"""Bytes before normalisation against open_clip's and timm's transforms, any size of picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip.transform
import pytest
import timm.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deft.core.errors import HardStop
from deft.embedding.encoders import c_radio
from deft.embedding.encoders import open_clip as towers
from deft.embedding.encoders import timm as transformers
from deft.embedding.encoders.files import EncoderFiles
from deft.embedding.encoders.preprocessing import FILTERS
from deft.embedding.encoders.table import PUBLISHED

SIDES = st.integers(1, 70)
TARGETS = st.tuples(st.integers(2, 40), st.integers(2, 40))


class Given(EncoderFiles):
    """Files whose configurations are handed in."""

    def __init__(self, name, **configs):
        names = {n.replace("__", "."): Path(n) for n in configs}
        super().__init__(PUBLISHED[name], names, Path("w"))
        object.__setattr__(self, "texts", {n.replace("__", "."): c for n, c in configs.items()})

    def config(self, name):
        return self.texts[name]


def picture(height, width):
    """Return a picture of noise, of which every resizing rule keeps traces."""
    rng = np.random.default_rng([height, width])
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def clip_files(**settings):
    size = settings.pop("size")
    model = {"embed_dim": 8, "vision_cfg": {"image_size": size}}
    return Given("clip", open_clip_config__json={"model_cfg": model, "preprocess_cfg": settings})


@settings(max_examples=150, deadline=None)
@given(
    SIDES, SIDES, TARGETS, st.booleans(), st.sampled_from(towers.MODES),
    st.sampled_from(towers.INTERPOLATIONS), st.integers(0, 255),
)  # fmt: skip
def test_every_setting_of_open_clip(height, width, target, square, mode, interpolation, fill):
    size = target[0] if square else target
    given_settings = {
        "mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": mode,
        "interpolation": interpolation, "fill_color": fill,
    }  # fmt: skip
    own = towers.preprocessing(
        clip_files(size=list(size) if isinstance(size, tuple) else size, **given_settings)
    )
    config = open_clip.transform.PreprocessCfg(size=size, **given_settings)
    transform = open_clip.transform.image_transform_v2(config, is_train=False)
    wanted = picture(height, width)
    try:
        for step in transform.transforms[:-2]:
            wanted = step(wanted)
    except ValueError:  # a picture of no height
        with pytest.raises(ValueError):
            own.apply(picture(height, width))
        return
    found = own.apply(picture(height, width))
    assert found.shape == (*own.size_px, 3)
    assert found.tobytes() == np.asarray(wanted).tobytes()


def timm_files(**settings):
    config = {"architecture": "vit_small_patch14_dinov2", "pretrained_cfg": settings}
    return Given("dinov2", config__json=config)


@settings(max_examples=150, deadline=None)
@given(
    SIDES, SIDES, TARGETS, st.booleans(), st.sampled_from([*transformers.CROP_MODES, None]),
    st.sampled_from(sorted(FILTERS)), st.sampled_from([0.5, 0.875, 0.9, 0.95, 1.0]),
)  # fmt: skip
def test_every_setting_of_timm(height, width, target, square, mode, interpolation, crop_pct):
    size = (target[0], target[0]) if square else target
    given_settings = {
        "input_size": [3, *size], "mean": [0.485, 0.456, 0.406], "std": [0.2] * 3,
        "interpolation": interpolation, "crop_pct": crop_pct, "crop_mode": mode,
    }  # fmt: skip
    own = transformers.preprocessing(timm_files(**given_settings))
    resolved = timm.data.resolve_data_config(pretrained_cfg=given_settings)
    transform = timm.data.create_transform(**resolved, normalize=False)
    try:
        wanted = transform(picture(height, width)).permute(1, 2, 0).numpy()
    except ValueError:
        with pytest.raises(ValueError):
            own.apply(picture(height, width))
        return
    assert own.apply(picture(height, width)).tobytes() == wanted.tobytes()


def radio_files(**settings):
    processor = {"size": {"height": 32, "width": 32}, "resample": 3, **settings}
    return Given("c_radio", config__json={}, preprocessor_config__json=processor)


@pytest.mark.parametrize(
    ("function", "files", "named"),
    [
        (towers.preprocessing, clip_files(size=8, mean=[0.5], std=[0.5], resize_mode="pad"), "pad"),
        (towers.preprocessing, clip_files(size=8, mean=[0.5], std=None), "lacks std"),
        (
            towers.preprocessing,
            clip_files(size=8, mean=[0.5], std=[0.5], interpolation="area"),
            "area",
        ),
        (towers.preprocessing, clip_files(size="8", mean=[0.5], std=[0.5]), "image_size"),
        (towers.preprocessing, clip_files(size=8, mean=[0.5, 0.5], std=[0.5]), "no three numbers"),
        (transformers.preprocessing, timm_files(input_size=[3, 8, 8]), "lacks interpolation"),
        (
            transformers.preprocessing,
            timm_files(
                input_size=[3, 8, 8], interpolation="bicubic", crop_pct=1, mean=[0.5], std=[0.5],
                crop_mode="five",
            ),
            "'five' is not supported",
        ),
        (
            transformers.preprocessing,
            timm_files(
                input_size=[1, 8, 8], interpolation="bicubic", crop_pct=1, mean=[0.5], std=[0.5]
            ),
            "input_size",
        ),
        (
            transformers.preprocessing,
            timm_files(
                input_size=[3, 8, 8], interpolation="random", crop_pct=1, mean=[0.5], std=[0.5]
            ),
            "random",
        ),
        (c_radio.picture_settings, radio_files(size={"shortest_edge": 32}), "shortest_edge"),
        (c_radio.picture_settings, radio_files(size={"height": 30, "width": 32}), "multiples"),
        (
            c_radio.picture_settings,
            radio_files(do_center_crop=True, crop_size={"height": 16, "width": 16}),
            "do_center_crop",
        ),
        (c_radio.picture_settings, radio_files(rescale_factor=1.0), "rescale_factor"),
        (c_radio.picture_settings, radio_files(do_rescale=False), "do_rescale"),
        (c_radio.picture_settings, radio_files(resample=9), "resample 9"),
        (c_radio.picture_settings, radio_files(resample=None), "lacks resample"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_by_name(function, files, named):
    with pytest.raises(HardStop) as stop:
        function(files)
    assert stop.value.code == "config_invalid" and named in str(stop.value)


def test_foreign_files_are_told_apart():
    hugging = Given("dinov2", config__json={"architectures": ["Dinov2Model"], "image_size": 518})
    with pytest.raises(HardStop, match="none of timm's") as stop:
        transformers.preprocessing(hugging)
    assert "hf download timm/vit_base_patch14_dinov2" in stop.value.fix
    other = {"architecture": "resnet50", "pretrained_cfg": {"input_size": [3, 8, 8]}}
    with pytest.raises(HardStop, match="is of resnet50"):
        transformers.preprocessing(Given("dinov3", config__json=other))
    with pytest.raises(HardStop, match="none of open_clip's"):
        towers.preprocessing(Given("siglip", open_clip_config__json={}))
