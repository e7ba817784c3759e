"""Embedded pictures kept in a bounded memory: equal ones go through the backbone once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch

from deft.changenet.model import ChangeNet, Embedding, golden_major

# On the device that computes. A 224-pixel picture takes 4.3 MB (four maps of 256 channels), a
# picture of the euclidean module 20 bytes.
CACHE_BYTES = 1 << 30


def digest(picture: np.ndarray) -> bytes:
    """Return what tells pictures apart: equal bytes and shape, equal digest."""
    found = hashlib.blake2b(repr(picture.shape).encode(), digest_size=16)
    found.update(np.ascontiguousarray(picture).data)
    return found.digest()


class EmbeddingMemory:
    """Embeddings by the digest of their picture; the longest unused ones make room for new ones."""

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._kept: OrderedDict[bytes, list[torch.Tensor]] = OrderedDict()

    def get(self, name: bytes) -> list[torch.Tensor] | None:
        """Return a picture's parts, each (1, …), or None."""
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
        return found

    def put(self, name: bytes, parts: Sequence[torch.Tensor]) -> None:
        """Keep copies of a picture's parts, each (1, …)."""
        size = _bytes(parts)
        if name in self._kept or size > self.max_bytes:
            return
        while self.bytes + size > self.max_bytes:
            self.bytes -= _bytes(self._kept.popitem(last=False)[1])
        # A view would keep the whole batch in memory.
        self._kept[name] = [part.clone() for part in parts]
        self.bytes += size

    def __len__(self) -> int:
        return len(self._kept)


def _bytes(parts: Sequence[torch.Tensor]) -> int:
    return sum(part.numel() * part.element_size() for part in parts)


def one(embedding: Embedding, index: int) -> list[torch.Tensor]:
    """Return the parts of one picture of an embedded batch, each (1, …), without copying."""
    return [part[index : index + 1] for part in embedding]


def join(pictures: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
    """Return the batch that single pictures' parts make."""
    return [torch.cat(parts) for parts in zip(*pictures, strict=True)]


def training_forward(
    model: ChangeNet, *, augmented: bool, max_bytes: int = CACHE_BYTES
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return how a training runs ``model`` on (test, golden): as it is, or with cached features.

    Features are kept where they cannot change: the whole backbone is frozen (it then runs in eval
    mode and without gradients) and pictures are not augmented. Each picture is embedded by itself,
    so that its features do not depend on its neighbours: a resumed training, which starts with an
    empty memory, ends in the same bytes. They differ from a batch's by float noise (about 1e-6).
    """
    network = model.model
    if augmented or not model.freeze_backbone or model.frozen_part() is not network.backbone:
        return model
    kept = EmbeddingMemory(max_bytes)

    def features(pictures: torch.Tensor) -> list[torch.Tensor]:
        names = [digest(picture) for picture in pictures.cpu().numpy()]
        found: dict[bytes, list[torch.Tensor]] = {}
        for index, name in enumerate(names):
            parts = found.get(name) or kept.get(name)
            if parts is None:
                with torch.no_grad():
                    parts = list(network.features_of(pictures[index : index + 1]))
                kept.put(name, parts)
            found[name] = parts
        return join([found[name] for name in names])

    def forward(test: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
        return network.from_features(features(test), features(golden_major(golden)))

    return forward
