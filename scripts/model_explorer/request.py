"""What was asked for: the ``explore:`` group, checked before anything is read or written."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from deft.core.errors import HardStop
from dl_lab.record import without_credentials

URL = re.compile(r"^([a-z][a-z0-9+.-]*:/{1,3}|www\.|hf-hub:|git@)", re.IGNORECASE)
SLUG_LENGTH = 40
CPU_PROVIDERS = frozenset(
    {"CPUExecutionProvider", "OpenVINOExecutionProvider", "DnnlExecutionProvider",
     "XnnpackExecutionProvider", "AzureExecutionProvider"}
)  # fmt: skip
CHANGENET_NAMES = ("changenet", "visual_changenet", "visual_changenet_classify", "tao:changenet",
                   "tao:visual_changenet", "tao:visual_changenet_classify")  # fmt: skip


@dataclass(frozen=True)
class Request:
    """The ``explore:`` group with the top-level ``device`` and ``seed``; see config/config.yaml."""

    checkpoint: str | None = None
    served: dict[str, Any] = field(default_factory=dict)
    name: str | None = None
    source: str | None = None
    repository: str | None = None
    repository_ref: str | None = None
    class_path: str | None = None
    class_arguments: dict[str, Any] = field(default_factory=dict)
    weights_key: str | None = None
    spec: str | None = None
    directory: str | None = None
    environment: str = "auto"
    install: str | None = None
    packages: dict[str, str | None] = field(default_factory=dict)
    pip_arguments: list[str] = field(default_factory=list)
    allow_code: bool = False
    providers: list[str] = field(default_factory=list)
    inputs: str | None = None
    labels: str | None = None
    samples: int = 4
    contract: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    warm_runs: int = 20
    batch_sizes: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    train_steps: int = 0
    train_batch_size: int = 4
    learning_rate: float = 1e-3
    copy_model_mb: int = 512
    origin_url: str | None = None
    origin_version: str | None = None
    device: str = "auto"
    seed: int = 0
    threads: int = 1

    @classmethod
    def names(cls) -> list[str]:
        """Return the keys of the ``explore:`` group."""
        own = {"device", "seed", "threads"}
        return [f.name for f in fields(cls) if f.name not in own]

    @property
    def title(self) -> str:
        """What reports call the model."""
        if self.served and not self.name:
            host = urlsplit(str(self.served.get("address"))).netloc.rpartition("@")[2]
            return str(self.served.get("model") or host or "served")
        return self.name or Path(self.checkpoint or "model").stem

    @property
    def slug(self) -> str:
        """Name of the experiment folder before the time."""
        text = re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")[:SLUG_LENGTH].strip("-")
        return text or "model"


def check(request: Request) -> None:
    """Raise ``config_invalid`` or ``missing_input`` for what the request itself shows to be
    wrong.
    """
    if not request.checkpoint and not request.served:
        raise HardStop(
            "missing_input",
            "explore.checkpoint is not set: which model file is to be explored?",
            fix="explore: {checkpoint: PATH, name: NAME} in a file, given with --configfile; or "
            "served: {address: http://HOST:PORT, model: NAME}",
        )
    if request.served:
        if request.checkpoint or request.class_path or request.train_steps:
            raise HardStop(
                "config_invalid",
                "explore.served is a model that a server runs; explore.checkpoint, class_path and "
                "train_steps are of a file that runs here",
                fix="set one of served and checkpoint",
            )
    if URL.match(str(request.checkpoint)):
        raise HardStop(
            "config_invalid",
            f"explore.checkpoint is an address ({shown_url(str(request.checkpoint))}); weights are "
            "never "
            "downloaded",
            fix="download the file yourself (for instance to checkpoints/) and give its path",
        )
    for module, text in request.packages.items():
        try:
            Requirement(text or module)
        except InvalidRequirement:
            raise HardStop(
                "config_invalid",
                f"explore.packages: {module}: {text!r} is no requirement that pip knows",
                fix="a name with or without a version, or NAME @ git+https://…; null: not needed",
            ) from None
    if request.device == "cpu":
        cards = [p for p in request.providers if p not in CPU_PROVIDERS]
        if cards:
            raise HardStop(
                "config_invalid",
                "device: cpu was asked for, but explore.providers needs a card: "
                f"{', '.join(cards)}",
                fix="leave explore.providers empty (or CPUExecutionProvider), or set device: auto",
            )
    if request.class_path and ":" not in request.class_path:
        raise HardStop(
            "config_invalid",
            f"explore.class_path {request.class_path!r} is not of the form package.module:Class",
            fix="for instance models.net:TinyNet, as importable from the source folder",
        )


def shown_url(text: str) -> str:
    """Return an address without the user, password and tokens in it."""
    return without_credentials(str(text))


def located(given: str, roots: list[Path], what: str) -> Path:
    """Return a path of the user: absolute, or below the first root that has it.

    Raises HardStop ``missing_input`` when it is nowhere.
    """
    path = Path(given).expanduser()
    tried = [path] if path.is_absolute() else [root / path for root in roots]
    for candidate in tried:
        if candidate.is_dir():
            return candidate.resolve()
        if candidate.exists():
            # A file that is a link keeps its own name and neighbours (as in a hub's cache).
            return candidate.parent.resolve() / candidate.name
    raise HardStop(
        "missing_input",
        f"{what} does not exist",
        file=tried[0],
        fix="give a local path, absolute or relative to the workspace or to where you typed the "
        "command",
    )


def family_of(name: str | None) -> tuple[str | None, str | None]:
    """Return (family, architecture) that a prefixed or well-known name states, else (None,
    name).
    """
    if not name:
        return None, None
    lowered = name.lower()
    if lowered in CHANGENET_NAMES:
        return "changenet", "visual_changenet_classify"
    for family in ("timm", "open_clip", "transformers"):
        if lowered.startswith(f"{family}:"):
            return family, name.split(":", 1)[1]
    return None, name
