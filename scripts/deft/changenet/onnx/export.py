"""Writing a trained network as ONNX, with the names that TAO's export gives.

Inputs ``input_1`` (batch, 3, H, W) and ``input_2`` (the same; (batch, N, 3, H, W) with several
goldens), output ``output``: raw logits (batch, 2), or distances (batch,). Initialisers that keep a
name have the state_dict name without ``model.``.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from deft.changenet.model import (
    ChangeNet,
    Embedding,
    EuclideanNetwork,
    LearnableNetwork,
    build_model,
    golden_major,
)
from deft.changenet.onnx.runtime import INPUTS, OUTPUT, require
from deft.changenet.spec import Spec
from deft.changenet.spec.schema import Export
from deft.changenet.views import over_views, tiles_of, views_of
from deft.changenet.weights import load_weights
from deft.core.errors import HardStop
from deft.core.files import sha256_file

BATCH = "batch"
LOWEST_OPSET, HIGHEST_OPSET = 17, 20  # LayerNormalization comes with 17; the exporter ends at 20
EXAMPLE_PAIRS = 2  # a batch of one would be taken for a constant
TRIED_PAIRS = (1, 3, 5)  # sizes that the trace did not see
TOLERANCE = 1e-4  # of an output, relative where outputs exceed 1
ONE_FILE_BYTES = 1_900_000_000  # protobuf ends at 2 GB; larger models keep their numbers beside


class FixedNorm(nn.Module):
    """A batch norm in inference as one scale and one shift per channel.

    ``weight`` = w / sqrt(var + eps) and ``bias`` = b - mean * weight, shaped (C, 1, 1) for maps,
    (C,) for vectors. ``after`` are the activation and dropout that timm builds into its norms.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        mean, var = norm.running_mean.detach(), norm.running_var.detach()
        scale = (var + norm.eps).rsqrt()
        shift = torch.zeros_like(mean)
        if norm.affine:
            scale, shift = scale * norm.weight.detach(), norm.bias.detach()
        spatial = {nn.BatchNorm1d: 0, nn.BatchNorm3d: 3}
        places = next((n for kind, n in spatial.items() if isinstance(norm, kind)), 2)
        shape = (-1, *([1] * places))
        self.register_buffer("weight", scale.view(shape))
        self.register_buffer("bias", (shift - mean * scale).view(shape))
        self.after = nn.ModuleList(
            m for m in (getattr(norm, n, None) for n in ("drop", "act")) if isinstance(m, nn.Module)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * self.weight + self.bias
        for module in self.after:
            x = module(x)
        return x


def fix_norms(module: nn.Module) -> int:
    """Replace every batch norm below ``module`` by a :class:`FixedNorm`; return how many."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm) and child.running_mean is not None:
            setattr(module, name, FixedNorm(child))
            count += 1
        else:
            count += fix_norms(child)
    return count


def check_export(spec: Spec) -> int:
    """Return the opset to write, or stop with ``spec_invalid`` for what cannot be exported.

    An opset below 17 is raised to 17. The export has the size that the network is trained at,
    whatever ``export.input_height`` and ``input_width`` say (:func:`done_otherwise`): a learnable
    decoder takes no other, and the KPI's threshold means nothing at another.
    """
    export = spec.export
    problem = None
    if export.input_channel != 3:
        problem = f"export.input_channel {export.input_channel}: pictures have 3 channels"
    elif export.batch_size == 0:
        problem = "export.batch_size 0: use -1 for any number of pairs"
    elif export.opset_version > HIGHEST_OPSET:
        problem = f"export.opset_version {export.opset_version} is above {HIGHEST_OPSET}"
    if problem:
        fix = f"input_channel 3, batch_size -1, opset_version {LOWEST_OPSET} are what is exported"
        raise HardStop("spec_invalid", problem, file=spec.source, fix=fix)
    return max(LOWEST_OPSET, export.opset_version)


def done_otherwise(spec: Spec) -> list[str]:
    """Return what the spec's ``export`` part asks for and the export does otherwise, in words.

    The schema's default size (224 x 224) counts as not given.
    """
    export, standard = spec.export, Export(checkpoint="")
    said = []
    given, size = (export.input_height, export.input_width), spec.tensor_size
    if given not in ((standard.input_height, standard.input_width), size):
        said.append(
            f"export.input_height {given[0]} and input_width {given[1]} have no effect: the "
            f"network is exported at the {size[0]} x {size[1]} pixels that it sees (height x "
            "width, lights joined)"
        )
    if export.opset_version < LOWEST_OPSET:
        said.append(f"export.opset_version {export.opset_version} is raised to {LOWEST_OPSET}")
    return said


def export_onnx(
    spec: Spec, weights_path: str | Path, out: str | Path, **options: Any
) -> dict[str, Any]:
    """Export a model file; see :func:`export_network` for ``options`` and the answer."""
    model = build_model(spec)
    load_weights(model, weights_path)
    return export_network(model, spec, out, **options)


def export_network(
    model: ChangeNet,
    spec: Spec,
    out: str | Path,
    *,
    size: tuple[int, int] | None = None,
    one_file_bytes: int = ONE_FILE_BYTES,
    views: str = "one",
) -> dict[str, Any]:
    """Write ``out`` (and ``<out>.data`` above ``one_file_bytes``), checked; return facts as JSON.

    The file depends on the weights alone: the same weights give the same bytes. ``size`` is
    (height, width) in pixels where another than the spec's is wanted (euclidean only). ``views``:
    the setting ``score_views``; the graph takes one pair and computes all of its views. The file
    appears only after ONNX Runtime has given torch's outputs (within 1e-4) for batches of 1, 3
    and 5 pairs, sizes that the export itself did not see.

    Raises HardStop ``spec_invalid`` (see :func:`check_export`), ``score_invalid`` (outputs differ),
    ``config_invalid`` (a package is missing).
    """
    onnx = require("onnx")
    opset = check_export(spec)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    network = copy.deepcopy(model.model).cpu().float().eval()
    fixed = fix_norms(network.backbone)
    # One side after the other, as TAO's graph has it: joining is a matter of speed, and the
    # number of pairs would be frozen by the cut between the sides.
    network.features = partial(_side_by_side, network)  # type: ignore[method-assign]
    seen = views_of(views, spec)
    if len(seen) > 1:
        network.forward = partial(  # type: ignore[method-assign]
            over_views, network.forward, seen, tiles_of(spec)
        )
    fixed_batch = spec.export.batch_size if spec.export.batch_size > 0 else None
    example = _pairs(spec, fixed_batch or EXAMPLE_PAIRS, size)
    axes = None if fixed_batch else {name: {0: BATCH} for name in (*INPUTS, OUTPUT)}
    large = _bytes(network) > one_file_bytes
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".export.") as folder:
        path = Path(folder) / out.name
        _trace(network, example, path, axes, opset)
        if large:
            _numbers_beside(onnx, path, out.name)
        onnx.checker.check_model(str(path), full_check=not large)
        difference = _difference(network, spec, path, fixed_batch, size)
        features = _features(network, spec, path, fixed_batch, size)
        data = out.with_name(out.name + ".data")
        data.unlink(missing_ok=True)
        if large:
            path.with_name(data.name).replace(data)
        path.replace(out)
    height, width = size or spec.tensor_size
    return {
        "file": out.name,
        "sha256": sha256_file(out),
        "bytes": out.stat().st_size,
        "data_file": data.name if large else None,
        "data_sha256": sha256_file(data) if large else None,
        "opset": opset,
        "opset_asked": spec.export.opset_version,
        "batch": fixed_batch or -1,
        "input_size_px": [height, width],
        "folded_batch_norms": fixed,
        "largest_output_difference": difference,
        "features": features,
        **({} if views == "one" else {"score_views": views, "views": len(seen)}),
    }


def _side_by_side(
    network: LearnableNetwork | EuclideanNetwork, test: torch.Tensor, golden: torch.Tensor
) -> tuple[Embedding, Embedding]:
    return network.features_of(test), network.features_of(golden_major(golden))


def _bytes(network: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in network.state_dict().values())


def _pairs(spec: Spec, count: int, size: tuple[int, int] | None) -> tuple[torch.Tensor, ...]:
    """Return made-up pictures, float32 (count, 3, H, W) and the goldens, the same every time."""
    shape = (3, *(size or spec.tensor_size))
    goldens = spec.dataset.classify.num_golden
    many = (count, goldens, *shape) if goldens > 1 else (count, *shape)
    draw = np.random.default_rng(count).standard_normal
    return tuple(torch.from_numpy(draw(s, np.float32)) for s in ((count, *shape), many))


def _trace(
    network: nn.Module,
    example: tuple[torch.Tensor, ...],
    path: Path,
    axes: dict[str, dict[int, str]] | None,
    opset: int,
) -> None:
    # torch's TorchScript exporter, on purpose: TAO's names and graph, and no further package. What
    # it warns of (constants taken from the example) is what the tried batches prove or refute.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            example,
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes=axes,
        )


def _numbers_beside(onnx: ModuleType, path: Path, name: str) -> None:
    """Rewrite a model with its numbers in ``<name>.data``; torch may have used many files."""
    model = onnx.load(str(path))
    for old in path.parent.iterdir():
        old.unlink()
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=f"{name}.data",
        size_threshold=1024,
    )


def _difference(
    network: nn.Module,
    spec: Spec,
    path: Path,
    fixed_batch: int | None,
    size: tuple[int, int] | None,
) -> float:
    """Return the largest difference of an output between ONNX Runtime and torch."""
    from deft.changenet.onnx.scorer import Scorer

    scorer = Scorer(path, device="cpu", threads=torch.get_num_threads())
    largest = 0.0
    for count in (fixed_batch,) if fixed_batch else TRIED_PAIRS:
        pairs = _pairs(spec, count, size)
        with torch.inference_mode():
            wanted = network(*pairs).numpy()
        try:
            found = scorer.run(*(p.numpy() for p in pairs))
        except Exception as error:  # onnxruntime's own classes have no common base
            raise _untrue(path, f"cannot compute {count} pair(s): {str(error)[:200]}") from None
        if found.shape != wanted.shape:
            raise _untrue(path, f"gives {found.shape}, torch {wanted.shape}")
        gap = np.abs(found - wanted)
        if not (gap <= TOLERANCE * np.maximum(1, np.abs(wanted))).all():
            raise _untrue(
                path,
                f"gives outputs that differ by {gap.max():.3g} from torch's for {count} pair(s); "
                f"at most {TOLERANCE:g} is accepted",
            )
        largest = max(largest, float(gap.max()))
    return largest


def _features(
    network: LearnableNetwork | EuclideanNetwork,
    spec: Spec,
    path: Path,
    fixed_batch: int | None,
    size: tuple[int, int] | None,
) -> str | None:
    """Return the tensor that is the test picture's last level, None if there is none."""
    from deft.changenet.onnx.features import feature_tensor

    test, golden = _pairs(spec, fixed_batch or EXAMPLE_PAIRS, size)
    with torch.inference_mode():
        wanted = network.features_of(test)[-1].numpy()
    return feature_tensor(path, test.numpy(), golden.numpy(), wanted)


def _untrue(path: Path, what: str) -> HardStop:
    return HardStop(
        "score_invalid",
        f"the exported network {what}",
        file=path.name,
        fix="use the versions of envs/requirements.txt; otherwise report it with the spec",
    )
