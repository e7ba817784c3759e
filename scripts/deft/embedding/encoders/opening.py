"""An encoder by its name in the configuration."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from deft.changenet.spec import Spec
from deft.core.errors import HardStop
from deft.embedding.encoders.files import EncoderFiles, files_of
from deft.embedding.encoders.table import CHANGENET, NAMES, PUBLISHED
from deft.embedding.encoders.torch_encoder import Options, TorchEncoder


def open_encoder(
    name: str,
    weights: str | Path | None,
    options: Options,
    *,
    network: Callable[[], tuple[Spec, Path]] | None = None,
    token: Callable[[], str | None] | None = None,
) -> TorchEncoder:
    """Return an encoder, ready to embed.

    Parameters
    ----------
    weights: folder of a published encoder's files; None = the hub's cache, or else the hub.
    network: gives spec and model file of ``changenet``.
    token: gives the hub's credential when a download needs one.

    Raises
    ------
    HardStop ``missing_input`` for files that are not there, ``config_invalid`` or
    ``spec_invalid`` for files that do not fit each other, ``config_invalid`` for an unknown name.
    """
    if name == CHANGENET and network is not None:
        from deft.embedding.encoders import changenet

        return changenet.build(*network(), options)
    if name not in PUBLISHED:
        raise HardStop("config_invalid", f"encoder {name!r} is unknown; known: {', '.join(NAMES)}")
    files = files_of(name, weights, token=token)
    return _room(files).build(files, options)


def size_px(files: EncoderFiles) -> tuple[int, int]:
    """Return (height, width) of an encoder's pictures, without building it.

    Raises HardStop ``config_invalid`` for preprocessing that cannot be expressed.
    """
    return _room(files).size_px(files)


def check(files: EncoderFiles) -> None:
    """Compare an encoder's weights with its architecture, which is laid out without numbers.

    Raises HardStop as building it does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _room(files).check(files)


def _room(files: EncoderFiles) -> ModuleType:
    """Return the module of an encoder's family; each imports a library that takes seconds."""
    room: ModuleType
    if files.published.family == "open_clip":
        from deft.embedding.encoders import open_clip as room
    elif files.published.family == "timm":
        from deft.embedding.encoders import timm as room
    else:
        from deft.embedding.encoders import c_radio as room
    return room
