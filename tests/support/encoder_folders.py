"""Small encoders of each family with seeded weights, staged as the hub stages them, and what the
family's own library computes from the same files.

``python tests/support/encoder_folders.py`` writes ``tests/embedding/encoders/pinned.json`` by those
libraries.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from changenet_pairs import spec_data  # noqa: E402

from deft.changenet.backbones.radio_vit import RadioBackbone, RadioSize  # noqa: E402
from deft.changenet.model import build_model  # noqa: E402
from deft.changenet.spec import Spec, from_dict  # noqa: E402
from deft.changenet.weights import save_weights  # noqa: E402
from deft.embedding.encoders.selftest import picture_paths  # noqa: E402

PINNED = Path(__file__).parents[1] / "embedding" / "encoders" / "pinned.json"
DECIMALS = 6
NAMES = ("siglip", "siglip2", "clip", "dinov2", "dinov3", "c_radio", "changenet")
OPENAI = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
HALF = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
TINY_VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}
RADIO = RadioSize(width=32, depth=2, heads=2, max_input_px=64)
RADIO_MODEL = "vit_test_patch16"


def open_clip_config(name: str) -> dict:
    """Return an ``open_clip_config.json``."""
    if name == "clip":
        vision = {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
        model = {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": TEXT}
        return {"model_cfg": model, "preprocess_cfg": OPENAI}
    vision = {
        "image_size": 160,
        "timm_model_name": "test_vit",
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    }
    model = {
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": vision,
        "text_cfg": TEXT,
    }
    filters = {"siglip": "bicubic", "siglip2": "bilinear"}
    settings = {**HALF, "interpolation": filters[name], "resize_mode": "squash"}
    return {"model_cfg": model, "preprocess_cfg": settings}


def timm_config(name: str) -> dict:
    """Return timm's ``config.json``."""
    both = {"interpolation": "bicubic", "fixed_input_size": True, "num_classes": 0, **IMAGENET}
    if name == "dinov2":
        return {
            "architecture": "vit_small_patch14_dinov2",
            "num_features": 32,
            "model_args": {**TINY_VIT, "img_size": 56},
            "pretrained_cfg": {**both, "input_size": [3, 56, 56], "crop_pct": 1.0},
        }
    return {
        "architecture": "vit_small_patch16_dinov3",
        "num_features": 32,
        "model_args": {**TINY_VIT, "img_size": 48},
        "pretrained_cfg": {**both, "input_size": [3, 48, 48], "crop_pct": 0.875},
    }


def seeded(module: nn.Module) -> nn.Module:
    """Fill every parameter from its name: not torch's generator, whose stream may change."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            draw = np.random.default_rng(zlib.crc32(name.encode()))
            fan = value[0].numel() if value.ndim > 1 else 1
            numbers = draw.standard_normal(tuple(value.shape)) / math.sqrt(max(fan, 1))
            if value.ndim <= 1:  # norms near 1, biases near 0
                numbers = 0.1 * numbers + float("weight" in name or "gamma" in name)
            value.copy_(torch.from_numpy(np.asarray(numbers, np.float32)))
    return module.eval()


def _save(module: nn.Module, path: Path, **extra: torch.Tensor) -> None:
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    save_file({**state, **extra}, path)


def stage(name: str, folder: Path) -> Path:
    """Write an encoder's files into ``folder`` and return what ``encoder_weights`` would name."""
    import open_clip
    import timm

    folder.mkdir(parents=True, exist_ok=True)
    if name in ("siglip", "siglip2", "clip"):
        config = open_clip_config(name)
        kind = open_clip.CLIP if name == "clip" else open_clip.CustomTextCLIP
        given = {k: v for k, v in config["model_cfg"].items() if k != "custom_text"}
        _save(seeded(kind(**given)), folder / "open_clip_model.safetensors")
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    elif name in ("dinov2", "dinov3"):
        config = timm_config(name)
        model = timm.create_model(config["architecture"], num_classes=0, **config["model_args"])
        _save(seeded(model), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config))
    elif name == "c_radio":
        vit = seeded(RadioBackbone(RADIO).vit)
        state = {f"radio_model.model.{k}": v.contiguous() for k, v in vit.state_dict().items()}
        extra = {
            "radio_model.input_conditioner.norm_mean": torch.tensor(OPENAI["mean"]).view(3, 1, 1),
            "radio_model.input_conditioner.norm_std": torch.tensor(OPENAI["std"]).view(3, 1, 1),
            "radio_model.summary_idxs": torch.tensor([0, 1, 2]),
        }
        save_file({**state, **extra}, folder / "model.safetensors")
        args = {"model": RADIO_MODEL, "cpe_max_size": RADIO.max_input_px}
        (folder / "config.json").write_text(json.dumps({"args": args, "version": "c-radio_v2-b"}))
        processor = {
            "do_center_crop": False,
            "do_normalize": False,
            "do_rescale": True,
            "do_resize": True,
            "resample": 3,
            "rescale_factor": 1 / 255,
            "size": {"height": 64, "width": 64},
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    else:
        save_weights(folder / "m.pth", seeded(build_model(changenet_spec())), epoch=0, step=1)
        return folder / "m.pth"
    return folder


def changenet_spec() -> Spec:
    """Return the spec of the tiny network."""
    return from_dict(spec_data())


def rgb(path: Path) -> Image.Image:
    """Return a decoded picture as the libraries' examples open it."""
    return Image.open(path).convert("RGB")


def reference(name: str, staged: Path, paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Return what the family's own library makes of pictures and files.

    (n, h, w, 3) uint8 before normalisation and (n, dim) float64 of unit length.
    """
    import open_clip
    import timm

    with torch.inference_mode():
        if name in ("siglip", "siglip2", "clip"):
            model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{staged}")
            before = [transform.transforms[0]]
            for step in transform.transforms[1:-2]:
                before.append(step)
            pictures = []
            for path in paths:
                picture = rgb(path)
                for step in before:
                    picture = step(picture)
                pictures.append(np.asarray(picture))
            batch = torch.stack([transform(rgb(path)) for path in paths])
            vectors = model.eval().encode_image(batch)
        elif name in ("dinov2", "dinov3"):
            model = timm.create_model(
                f"local-dir:{staged}", pretrained=True, num_classes=0, global_pool="token"
            ).eval()
            settings = timm.data.resolve_model_data_config(model)
            transform = timm.data.create_transform(**settings)
            plain = timm.data.create_transform(**settings, normalize=False)
            pictures = [plain(rgb(path)).permute(1, 2, 0).numpy() for path in paths]
            vectors = model(torch.stack([transform(rgb(path)) for path in paths]))
        elif name == "c_radio":
            pictures, vectors = _c_radio(staged, paths)
        else:
            pictures, vectors = _changenet(staged, paths)
    rows = vectors.double().numpy()
    return np.stack(pictures), rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _normalised(pictures: list[np.ndarray], mean: list[float], std: list[float]) -> torch.Tensor:
    scaled = [F.normalize(F.to_tensor(Image.fromarray(p)), mean, std) for p in pictures]
    return torch.stack(scaled)


def _c_radio(staged: Path, paths: list[Path]) -> tuple[list[np.ndarray], torch.Tensor]:
    """C-RADIO on timm's plain transformer: at the side that the position table is made for, its
    class tokens and registers are leading tokens without a position."""
    import timm

    state = load_file(staged / "model.safetensors")
    root = "radio_model.model."
    part = {k.removeprefix(root): v for k, v in state.items() if k.startswith(root)}
    tokens = part.pop("patch_generator.cls_token.token")
    model = timm.models.VisionTransformer(
        img_size=RADIO.max_input_px,
        patch_size=16,
        embed_dim=RADIO.width,
        depth=RADIO.depth,
        num_heads=RADIO.heads,
        num_classes=0,
        class_token=True,
        reg_tokens=len(tokens) - 1,
        no_embed_class=True,
        final_norm=False,
        fc_norm=False,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
    ).eval()
    own = {k: v for k, v in part.items() if k.startswith("blocks.")}
    own["cls_token"], own["reg_token"] = tokens[None, :1], tokens[None, 1:]
    own["pos_embed"] = part["patch_generator.pos_embed"]
    embedder = part["patch_generator.embedder.weight"]
    own["patch_embed.proj.weight"] = embedder.reshape(RADIO.width, 3, 16, 16)
    own["patch_embed.proj.bias"] = torch.zeros(RADIO.width)
    model.load_state_dict(own, strict=True)
    side = [RADIO.max_input_px] * 2
    cubic = F.InterpolationMode.BICUBIC
    pictures = [np.asarray(F.resize(rgb(path), side, cubic)) for path in paths]
    found = model.forward_features(_normalised(pictures, OPENAI["mean"], OPENAI["std"]))
    return pictures, found[:, [0, 1, 2]].flatten(1)


def _changenet(staged: Path, paths: list[Path]) -> tuple[list[np.ndarray], torch.Tensor]:
    """The network's backbone as timm builds it."""
    import timm

    spec = changenet_spec()
    name = spec.model.backbone.type.removeprefix("timm:")
    model = timm.create_model(name, pretrained=False, features_only=True).eval()
    state = torch.load(staged, weights_only=True)["state_dict"]
    part = {k.split("backbone.", 1)[1]: v for k, v in state.items() if "backbone." in k}
    root = next(k for k in part if k.endswith(next(iter(model.state_dict()))))
    root = root.removesuffix(next(iter(model.state_dict())))
    model.load_state_dict({k.removeprefix(root): v for k, v in part.items()}, strict=True)
    linear = F.InterpolationMode.BILINEAR
    pictures = [np.asarray(F.resize(rgb(p), list(spec.picture_size), linear)) for p in paths]
    config = spec.dataset.classify.augmentation_config
    found = model(_normalised(pictures, config.rgb_input_mean, config.rgb_input_std))
    return pictures, found[-1].mean(dim=(2, 3))


def pinned() -> dict[str, dict[str, list[float]]]:
    """Return embeddings of the self-test's pictures by the families' own libraries."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in NAMES:
            staged = stage(name, Path(folder) / name)
            _, vectors = reference(name, staged, picture_paths())
            rows = {p.name: v for p, v in zip(picture_paths(), vectors, strict=True)}
            out[name] = {k: [round(float(x), DECIMALS) for x in v] for k, v in rows.items()}
    return out


if __name__ == "__main__":
    found = pinned()
    lines = [
        f" {json.dumps(n)}: {{\n"
        + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in rows.items())
        + "\n }"
        for n, rows in found.items()
    ]
    PINNED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{PINNED}: {', '.join(found)}")
