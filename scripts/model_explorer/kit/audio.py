"""Sound from ``.wav`` files, by the standard library alone: numbers and the rate they have."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from .folder import Refusal

WIDTHS = {1: np.uint8, 2: np.int16, 4: np.int32}


def read(path: Path) -> tuple[np.ndarray, int]:
    """Return one channel as float32 (n,) in -1 … 1 (several are averaged) and the rate in Hz.

    Raises :class:`Refusal` for what is no PCM file of 8, 16, 24 or 32 bits.
    """
    try:
        with wave.open(str(path), "rb") as sound:
            width, channels, rate = (
                sound.getsampwidth(), sound.getnchannels(), sound.getframerate(),
            )  # fmt: skip
            data = sound.readframes(sound.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise Refusal(f"{path.name} is no .wav of plain numbers (PCM): {error}") from error
    if width not in (3, *WIDTHS):
        raise Refusal(f"{path.name} has numbers of {8 * width} bits; 8, 16, 24 and 32 are read")
    data = data[: len(data) // (width * channels) * (width * channels)]  # it may be cut off
    if width == 3:  # the missing lowest byte becomes 0
        raw = np.frombuffer(data, np.uint8).reshape(-1, 3)
        whole = np.zeros((len(raw), 4), np.uint8)
        whole[:, 1:] = raw
        numbers = whole.view("<i4").reshape(-1).astype(np.float64) / 2**31
    else:
        numbers = np.frombuffer(data, np.dtype(WIDTHS[width]).newbyteorder("<")).astype(np.float64)
        numbers = (numbers - 128) / 128 if width == 1 else numbers / 2 ** (8 * width - 1)
    if not numbers.size:
        raise Refusal(f"{path.name} holds no sound")
    return numbers.reshape(-1, channels).mean(axis=1).astype(np.float32), rate


def window(sound: np.ndarray, shape: list[int], step: int) -> np.ndarray:
    """Return the ``step``-th stretch of a sound as an input of this shape, padded with silence.

    Samples that follow one another fill ``shape`` row by row.
    """
    many = int(np.prod(shape))
    part = sound[step * many : (step + 1) * many]
    out = np.zeros(many, np.float32)
    out[: len(part)] = part
    return out.reshape(shape)
