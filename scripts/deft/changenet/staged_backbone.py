"""Which weight file a backbone is filled from: the one that the spec names, else the staged one.

NVIDIA's specs name a path inside a container (``/data/pretrained_models/C-RADIOv2_B.pth``); the
file lies in ``augmentation/backbone/``, often under another name. There the one counts that fits
the network by keys and shapes.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from deft.changenet.model import build_model, fill_backbone
from deft.changenet.spec import Spec
from deft.changenet.spec.backbones import needs_file
from deft.core.errors import HardStop
from deft.core.layout import BACKBONE_DIR
from deft.core.weight_files import BACKBONE_KEY as KEY
from deft.core.weight_files import staged_files

REASON_CHARACTERS = 160  # of why a file does not fit


def backbone_file(spec: Spec, workspace: Path, *, random_weights: bool = False) -> Path | None:
    """Return the file to fill the backbone from; None where it starts from random numbers.

    That is so for a ``timm:`` network whose spec names no file, where the spec starts from a whole
    network's weights, and with ``random_weights`` (the setting).

    Raises
    ------
    HardStop ``missing_input`` where a file is needed and none under ``augmentation/backbone/``
    fits, ``spec_invalid`` where several do, or where random numbers would stay frozen.
    """
    named = spec.model.backbone.pretrained_backbone_path
    path = workspace / Path(named).expanduser()
    if named and "://" not in named and path.exists():
        return path
    if not named and not needs_file(spec, random_weights=random_weights):
        return None
    fitting, others = _looked_at(spec, workspace)
    if len(fitting) == 1:
        return fitting[0]
    network = spec.model.backbone.type
    why = f"{KEY} {named!r} does not exist here" if named else f"{KEY} is empty"
    if fitting:
        raise HardStop(
            "spec_invalid",
            f"{why}, and {len(fitting)} files under {BACKBONE_DIR}/ fit {network}: "
            f"{', '.join(path.name for path in fitting)}",
            file=spec.source,
            fix=f"set {KEY}: {BACKBONE_DIR}/{fitting[0].name}, or remove the others",
        )
    told = "; ".join(f"{path.name}: {reason}" for path, reason in others)
    raise HardStop(
        "missing_input",
        f"{why}, and no file under {BACKBONE_DIR}/ fits {network} ({told or 'nothing is there'})",
        file=spec.source if not named else path,
        fix=f"put the weights of {network} under {BACKBONE_DIR}/, or name their path in {KEY}"
        + ("" if named else ", or set random_weights=true"),
    )


def _looked_at(spec: Spec, workspace: Path) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Return the staged files that fit, and the others with the reason why they do not."""
    fitting: list[Path] = []
    others: list[tuple[Path, str]] = []
    staged = staged_files(workspace / BACKBONE_DIR)
    if not staged:
        return fitting, others
    with torch.device("meta"):  # shapes alone
        model = build_model(spec)
    for path in staged:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fill_backbone(model, path)
        except HardStop as stop:
            others.append((path, stop.message[:REASON_CHARACTERS]))
        else:
            fitting.append(path)
    return fitting, others
