"""What a check is given: the device, folders, drawn data, and sizes for a GPU or for a CPU."""

from __future__ import annotations

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from deft.changenet.spec import Spec, from_dict, load_spec
from deft.core.layout import BASE_TABLE, KPI_IMAGES, KPI_TABLE, SPEC
from deft.demo.workspace import WorkspaceRequest, make_workspace
from gpu_check.table import ROWS_SCALE

T = TypeVar("T")
WORKSPACE = "GPU_CHECK_WORKSPACE"  # environment variable: one that is drawn already
VIT_B = "c_radio_v2_vit_base_patch16_224"
SMALL = "timm:test_convnext"
BATCH = 16


@dataclass(frozen=True)
class Bench:
    """``device``: as torch names it. ``scratch``: all checks'; ``own``: this check's."""

    name: str
    scratch: Path
    own: Path

    @property
    def device(self) -> torch.device:
        """The device that is checked."""
        return torch.device(self.name)

    @property
    def cuda(self) -> bool:
        """Whether a GPU is checked; else sizes are small, and the CPU is its own reference."""
        return self.name.startswith("cuda")

    def pick(self, on_gpu: T, on_cpu: T) -> T:
        """Return the size for the device."""
        return on_gpu if self.cuda else on_cpu

    @property
    def threads(self) -> int:
        """CPU threads of this check."""
        return int(os.environ.get("OMP_NUM_THREADS", "1"))

    def workspace(self) -> Path:
        """Return the drawn workspace, made when the first check asks for it."""
        target = self.scratch / "workspace"
        with (self.scratch / "workspace.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                part = self.scratch / "workspace.part"
                shutil.rmtree(part, ignore_errors=True)
                given = os.environ.get(WORKSPACE)
                if given and Path(given).is_dir():
                    shutil.copytree(given, part)
                else:
                    make_workspace(part, WorkspaceRequest(rows_scale=ROWS_SCALE))
                part.rename(target)
        return target

    def spec(self, batch_size: int | None = None, **train: Any) -> Spec:
        """Return the drawn workspace's spec; ``train`` overrides keys of its ``train``."""
        spec = load_spec(self.workspace() / SPEC)
        data = spec.to_dict()
        data["train"] = {**data["train"], **train}
        data["dataset"]["classify"]["batch_size"] = batch_size or BATCH
        return from_dict(data, source=spec.source)

    def tables(self) -> tuple[Path, Path, Path]:
        """Return the training table, the KPI table and the folder of their pictures."""
        root = self.workspace()
        return root / BASE_TABLE, root / KPI_TABLE, root / KPI_IMAGES


def relative(found: Any, reference: Any) -> float:
    """Return the norm of the difference by the reference's, in float64; NaN stays NaN."""
    ours = [_flat(part) for part in (found if isinstance(found, list | tuple) else [found])]
    theirs = [
        _flat(part) for part in (reference if isinstance(reference, list | tuple) else [reference])
    ]
    away, whole = 0.0, 0.0
    for a, b in zip(ours, theirs, strict=True):
        away += float(np.sum((a - b) ** 2))
        whole += float(np.sum(b**2))
    return float(np.sqrt(away) / np.sqrt(whole)) if whole else float("nan" if away else 0)


def _flat(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().double().cpu().numpy()
    return np.asarray(value, np.float64).ravel()
