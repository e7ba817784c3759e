"""Folders as the transformers library saves them, opened by it, from the folder alone."""

from __future__ import annotations

from typing import Any

from .folder import Folder, Refusal, whole
from .network import Network
from .outcomes import OpenInput

AUTO = ("", "auto")
SOURCE = "config.json, by transformers"
TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def build(folder: Folder, what: dict[str, Any]) -> Network:
    """Return the network of the folder that ``what["file"]`` lies in, with its own weights.

    The class is the one that ``transformers:CLASS`` names, else the configuration's. Nothing is
    downloaded and no code of the folder is run. Raises :class:`Refusal` for a class that
    transformers does not have, and for weights that leave parts of the network unfilled.
    """
    import transformers

    place = folder.path(what["file"]).parent
    try:
        config = transformers.AutoConfig.from_pretrained(
            place, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise Refusal(f"transformers cannot read config.json: {whole(error)}") from error
    name = what.get("architecture") or ""
    if name.lower() in AUTO:
        name = next(iter(getattr(config, "architectures", None) or ["AutoModel"]))
    made = getattr(transformers, name, None)
    if made is None:
        raise Refusal(
            f"transformers {transformers.__version__} has no {name}",
            [OpenInput("the class of transformers", "name", "transformers:AutoModel")],
        )
    config.use_cache = False
    try:
        module, loaded = made.from_pretrained(
            place, config=config, local_files_only=True, trust_remote_code=False,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # of any of its parts
        raise Refusal(f"transformers cannot load {name}: {whole(error)}") from error
    bare = sorted(loaded.get("missing_keys") or [])
    odd = sorted(str(k) for k in loaded.get("mismatched_keys") or [])
    if bare or odd:
        raise Refusal(
            f"the weights do not fill {name}: {len(bare) + len(odd)} tensors would be made up "
            f"({', '.join([*bare, *odd][:3])}, …)",
            [OpenInput("the class that the weights are of", "name", "transformers:AutoModel")],
        )
    unused = sorted(loaded.get("unexpected_keys") or [])
    facts: dict[str, Any] = {
        "class": name, "library": f"transformers {transformers.__version__}",
        "weights": "the folder's own",
    }  # fmt: skip
    if unused:
        facts["unused_weights"] = unused
    return Network(module, inputs_of(module, config), facts)


def inputs_of(module: Any, config: Any) -> list[dict[str, Any]]:
    """Return the entries of what a model is called with, by its main input and configuration."""
    import inspect

    main = getattr(module, "main_input_name", "input_ids")
    called = inspect.signature(module.forward).parameters
    if main == "input_ids":
        text = getattr(config, "get_text_config", lambda: config)()
        rows = getattr(text, "vocab_size", None)
        out = [_entry(n, "int64", ["batch", "sequence"]) for n in TEXT_INPUTS if n in called]
        for entry in out:
            if entry["name"] == "input_ids" and rows:
                entry["range"] = [0, int(rows) - 1]
    elif main == "pixel_values":
        side = getattr(getattr(config, "vision_config", config), "image_size", None)
        sides = list(side) if isinstance(side, (list, tuple)) else [side, side]
        channels = int(getattr(config, "num_channels", 3) or 3)
        shape = ["batch", channels, *(s or n for s, n in zip(sides, ("height", "width")))]  # noqa: B905
        out = [_entry(main, "float32", shape)]
    elif main == "input_features":
        frames = 2 * int(getattr(config, "max_source_positions", 0)) or "frames"
        mels = int(getattr(config, "num_mel_bins", 80))
        out = [_entry(main, "float32", ["batch", mels, frames])]
    else:
        out = [_entry(main, "float32", ["batch", "samples"])]
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in called:
        entry = _entry("decoder_input_ids", "int64", ["batch", "decoder_sequence"])
        out.append({**entry, "range": [0, int(getattr(config, "vocab_size", 2)) - 1]})
    return out


def _entry(name: str, dtype: str, shape: list[Any]) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": shape, "keyword": True, "source": SOURCE}
