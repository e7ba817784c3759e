"""The siamese network: backbone, difference module, loss and score, with TAO's key names.

Keys: ``model.backbone.…``, ``model.decoder.…`` or ``model.fc1.…``, ``criterion.weight``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from deft.changenet.backbones import TimmBackbone, build_backbone, load_backbone
from deft.changenet.decoder import Decoder, perceptron
from deft.changenet.losses import ContrastiveLoss, WeightedCrossEntropy, distance
from deft.changenet.spec import Spec

EUCLIDEAN_HIDDEN = 512
Embedding = Sequence[torch.Tensor]  # parts, each with one entry a picture along its first axis


class LearnableNetwork(nn.Module):
    """Feature pyramids of both pictures compared by a decoder; output logits (B, 2).

    With several goldens a pair, ``golden`` is (B, N, 3, H, W).
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        head = spec.model.decode_head
        self.backbone = build_backbone(spec)
        self.decoder = Decoder(
            # The spec's in_channels is only TAO's default; what counts is what comes out.
            self.backbone.channels,
            embedding_dim=head.decoder_params.embed_dim,
            output_shape=spec.tensor_size,
            feature_strides=head.feature_strides,
            embed_dec=spec.model.classify.embed_dec,
            align_corners=head.align_corners,
            learnable_difference_modules=spec.model.classify.learnable_difference_modules,
            num_golden=spec.dataset.classify.num_golden,
        )

    def forward(self, test: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
        return self.from_features(*self.features(test, golden))

    def features(self, test: torch.Tensor, golden: torch.Tensor) -> tuple[Embedding, Embedding]:
        """Return what the backbone makes of both sides; goldens stacked golden-major."""
        return both_sides(self.backbone, self.features_of, test, golden_major(golden))

    def features_of(self, pictures: torch.Tensor) -> Embedding:
        """Return the backbone's four maps of each picture."""
        return self.backbone(pictures)

    def from_features(self, test: Embedding, golden: Embedding) -> torch.Tensor:
        """Return logits from what :meth:`features` gave."""
        return self.decoder(test, golden)

    def embed(self, pictures: torch.Tensor) -> Embedding:
        """Return all that :meth:`compare` wants of each picture: four maps of ``embed_dim``."""
        return self.decoder.project(self.backbone(pictures))

    def compare(self, test: Embedding, golden: Embedding) -> torch.Tensor:
        """Return logits (B, 2) of embedded pictures; N goldens a pair are stacked golden-major."""
        return self.decoder.compare(test, golden)


class EuclideanNetwork(nn.Module):
    """An embedding of each picture; output is their distance (B,)."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.backbone = build_backbone(spec)
        width = getattr(self.backbone, "embedding_width", None) or self.backbone.channels[-1]
        self.fc1 = perceptron(width, EUCLIDEAN_HIDDEN, spec.model.classify.embedding_vectors)

    def forward(self, test: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
        return self.from_features(*self.features(test, golden))

    def features(self, test: torch.Tensor, golden: torch.Tensor) -> tuple[Embedding, Embedding]:
        """Return what the backbone makes of both sides."""
        return both_sides(self.backbone, self.features_of, test, golden)

    def features_of(self, pictures: torch.Tensor) -> Embedding:
        """Return the backbone's one vector of each picture."""
        return [getattr(self.backbone, "embedding", self.backbone.pooled)(pictures)]

    def from_features(self, test: Embedding, golden: Embedding) -> torch.Tensor:
        """Return distances (B,) from what :meth:`features` gave."""
        return distance(self.fc1(test[0]), self.fc1(golden[0]))

    def embed(self, pictures: torch.Tensor) -> Embedding:
        """Return all that :meth:`compare` wants of each picture: one short vector."""
        return [self.fc1(self.features_of(pictures)[0])]

    def compare(self, test: Embedding, golden: Embedding) -> torch.Tensor:
        """Return distances (B,) of embedded pictures."""
        return distance(test[0], golden[0])


def golden_major(golden: torch.Tensor) -> torch.Tensor:
    """Stack goldens (B, N, 3, H, W) as (N * B, 3, H, W): index = golden * B + pair."""
    if golden.dim() == 4:
        return golden
    stacked = golden.transpose(0, 1).reshape(-1, *golden.shape[2:])
    return stacked.contiguous(memory_format=torch.channels_last)


def both_sides(
    backbone: nn.Module,
    run: Callable[[torch.Tensor], Embedding],
    test: torch.Tensor,
    golden: torch.Tensor,
) -> tuple[Embedding, Embedding]:
    """Run both pictures, in one batch where the backbone allows it; return (test, golden)."""
    if not getattr(backbone, "joint_batch", False):
        return run(test), run(golden)
    count = len(test)
    out = run(torch.cat([test, golden]))
    return [level[:count] for level in out], [level[count:] for level in out]


class ChangeNet(nn.Module):
    """Network and loss together, as TAO saves them."""

    def __init__(self, spec: Spec, *, upstream_compat: bool = False) -> None:
        super().__init__()
        self.learnable = spec.learnable
        self.freeze_backbone = spec.model.backbone.freeze_backbone
        if self.learnable:
            self.model: LearnableNetwork | EuclideanNetwork = LearnableNetwork(spec)
            self.criterion: nn.Module = WeightedCrossEntropy(
                weight=torch.tensor(spec.train.classify.cls_weight)
            )
        else:
            self.model = EuclideanNetwork(spec)
            self.criterion = ContrastiveLoss(
                spec.model.classify.train_margin_euclid, upstream_compat=upstream_compat
            )
        if self.freeze_backbone:
            for parameter in self.frozen_part().parameters():
                parameter.requires_grad_(False)

    def frozen_part(self) -> nn.Module:
        """Return what ``freeze_backbone`` keeps; an adapter around a ViT goes on learning."""
        return getattr(self.model.backbone, "pretrained_part", self.model.backbone)

    def train(self, mode: bool = True) -> ChangeNet:
        super().train(mode)
        if mode and self.freeze_backbone:
            self.frozen_part().eval()
        return self

    def forward(self, test: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
        """Return logits (B, 2), or distances (B,)."""
        return self.model(test, golden)

    def score(self, output: torch.Tensor) -> torch.Tensor:
        """Return float32 scores (B,): the NG probability, or the distance."""
        return output.float().softmax(dim=1)[:, 1] if self.learnable else output.float()


def state_bytes(spec: Spec) -> int:
    """Return the size of the network's state in bytes; its numbers are never made."""
    with torch.device("meta"):
        state = ChangeNet(spec).state_dict()
    return sum(value.numel() * value.element_size() for value in state.values())


def build_model(
    spec: Spec, *, upstream_compat: bool = False, backbone_file: Path | None = None
) -> ChangeNet:
    """Return the spec's network, randomly initialised from torch's current seed.

    ``backbone_file`` fills the backbone; leave it off where weights of the whole network follow.
    """
    model = ChangeNet(spec, upstream_compat=upstream_compat)
    if backbone_file is not None:
        fill_backbone(model, backbone_file)
    return model


def fill_backbone(model: ChangeNet, backbone_file: Path) -> None:
    """Fill the backbone from a file; a network without numbers (meta) is only compared with it.

    Raises HardStop ``missing_input`` or ``spec_invalid``.
    """
    own_loader = getattr(model.model.backbone, "load_pretrained", None)
    if own_loader is not None:
        own_loader(backbone_file)
    else:
        assert isinstance(model.model.backbone, TimmBackbone)  # all others have their loader
        load_backbone(model.model.backbone, backbone_file)
