"""The siamese network: backbone, difference module, loss and score, with TAO's key names.

Keys: ``model.backbone.…``, ``model.decoder.…`` or ``model.fc1.…``, ``criterion.weight``.
"""

from __future__ import annotations

import torch
from torch import nn

from deft.changenet.backbone import build_backbone, load_backbone
from deft.changenet.decoder import Decoder, perceptron
from deft.changenet.losses import ContrastiveLoss, WeightedCrossEntropy, distance
from deft.changenet.spec import Spec

EUCLIDEAN_HIDDEN = 512


class LearnableNetwork(nn.Module):
    """Feature pyramids of both pictures compared by a decoder; output logits (B, 2)."""

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
        )

    def forward(self, test: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
        return self.decoder(*both_sides(self.backbone, self.backbone, test, golden))


class EuclideanNetwork(nn.Module):
    """An embedding of each picture; output is their distance (B,)."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.backbone = build_backbone(spec)
        width = getattr(self.backbone, "embedding_width", None) or self.backbone.channels[-1]
        self.fc1 = perceptron(width, EUCLIDEAN_HIDDEN, spec.model.classify.embedding_vectors)

    def forward(self, test: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
        embed = getattr(self.backbone, "embedding", self.backbone.pooled)
        first, second = both_sides(self.backbone, embed, test, golden)
        return distance(self.fc1(first), self.fc1(second))


def both_sides(backbone: nn.Module, run, test: torch.Tensor, golden: torch.Tensor):
    """Run both pictures, in one batch where the backbone allows it; return (test, golden)."""
    if not getattr(backbone, "joint_batch", False):
        return run(test), run(golden)
    count = len(test)
    out = run(torch.cat([test, golden]))
    if isinstance(out, torch.Tensor):
        return out[:count], out[count:]
    return [level[:count] for level in out], [level[count:] for level in out]


class ChangeNet(nn.Module):
    """Network and loss together, as TAO saves them."""

    def __init__(self, spec: Spec, *, upstream_compat: bool = False) -> None:
        super().__init__()
        self.learnable = spec.learnable
        self.freeze_backbone = spec.model.backbone.freeze_backbone
        if self.learnable:
            self.model: nn.Module = LearnableNetwork(spec)
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


def build_model(
    spec: Spec, *, upstream_compat: bool = False, load_pretrained: bool = False
) -> ChangeNet:
    """Return the spec's network, randomly initialised from torch's current seed.

    ``load_pretrained`` fills the backbone from ``model.backbone.pretrained_backbone_path``; leave
    it off where weights of the whole network follow.
    """
    model = ChangeNet(spec, upstream_compat=upstream_compat)
    path = spec.model.backbone.pretrained_backbone_path
    if load_pretrained and path:
        own_loader = getattr(model.model.backbone, "load_pretrained", None)
        if own_loader is not None:
            own_loader(path)
        else:
            load_backbone(model.model.backbone, path)
    return model
