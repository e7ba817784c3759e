"""One picture to one vector: the network's backbone as an encoder for mining."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from deft.changenet.data.images import PictureError, read_picture
from deft.changenet.data.pairs import normalise
from deft.changenet.device import pick_device
from deft.changenet.model import build_model
from deft.changenet.spec import Spec
from deft.changenet.weights import load_weights
from deft.errors import HardStop
from deft.files import sha256_file

VERSION = 2  # of the features' logic; part of the digest
BATCH = 32


class ChangeNetEncoder:
    """The pooled last backbone level of one light's picture, L2-normalised.

    ``name``, ``dim`` (length of a vector) and ``digest`` (weights, preprocessing and logic: equal
    digests mean comparable vectors). Every batch has the same size, the last one padded, so that a
    picture's vector does not depend on its neighbours, their order or their number.
    """

    name = "changenet"

    def __init__(
        self, spec: Spec, weights_path: str | Path, device: str = "cpu", threads: int = 1
    ) -> None:
        torch.set_num_threads(max(1, threads))
        self.device = pick_device(device)
        self.spec = spec
        self.size = spec.picture_size
        model = build_model(spec)
        load_weights(model, weights_path)
        self.backbone = model.model.backbone.to(self.device, memory_format=torch.channels_last)
        self.backbone.eval()
        self.dim = int(self.backbone.channels[-1])
        self.digest = _digest(spec, weights_path)

    def embed(
        self, paths: Sequence[Path], progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Return float32 (len(paths), dim); ``progress`` is told how many pictures were done.

        Raises HardStop ``missing_input`` or ``image_invalid`` naming the picture.
        """
        found = np.empty((len(paths), self.dim), np.float32)
        batch = np.zeros((BATCH, *self.size, 3), np.uint8)
        for start in range(0, len(paths), BATCH):
            part = paths[start : start + BATCH]
            for i, path in enumerate(part):
                batch[i] = self._picture(path)
            batch[len(part) :] = 0
            found[start : start + len(part)] = self._vectors(batch)[: len(part)]
            if progress is not None:
                progress(len(part))
        return found

    def _vectors(self, pictures: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            tensor = normalise(self.spec, pictures, self.device)
            return F.normalize(self.backbone.pooled(tensor).float(), dim=1).cpu().numpy()

    def _picture(self, path: Path) -> np.ndarray:
        try:
            return read_picture(path, self.size)
        except PictureError as error:
            raise HardStop(
                "missing_input" if error.missing else "image_invalid",
                f"picture cannot be embedded: {error.reason}",
                file=error.path,
                fix="restore the picture, or remove its row from the table",
            ) from None


def _digest(spec: Spec, weights_path: str | Path) -> str:
    config = spec.dataset.classify.augmentation_config
    facts = {
        "logic": VERSION,
        "weights": sha256_file(weights_path),
        "backbone": spec.model.backbone.type,
        "size": spec.picture_size,
        "mean": config.rgb_input_mean,
        "std": config.rgb_input_std,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
