"""What the model needs: the list, each with the version found and the version documented."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from deft.core.errors import HardStop
from model_explorer import imports
from model_explorer.documented import documented
from model_explorer.environment import Environment

# Modules whose distribution has another name.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless", "PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn",
    "skimage": "scikit-image", "open_clip": "open-clip-torch", "bs4": "beautifulsoup4",
    "pynvml": "nvidia-ml-py", "attr": "attrs", "dateutil": "python-dateutil", "fitz": "pymupdf",
    "google": "protobuf", "mmcv": "mmcv", "faiss": "faiss-cpu", "hydra": "hydra-core",
    "git": "gitpython", "dotenv": "python-dotenv", "tensorboardX": "tensorboardx",
}  # fmt: skip
TOOLS = (("numpy", "utility"), ("PIL", "utility"), ("matplotlib", "utility"))
NAMED = 6


@dataclass
class Need:
    """One package. ``group``: runtime, model, utility or acceleration (never required)."""

    module: str
    distribution: str
    group: str
    needed_by: str
    optional: bool = False
    wanted: str | None = None
    wanted_in: str | None = None
    found: str | None = None
    satisfies: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)

    @property
    def missing(self) -> bool:
        """Whether the model cannot run for want of it."""
        return self.found is None and not self.optional

    @property
    def pinned(self) -> str:
        """The requirement with its documented version."""
        return f"{self.distribution}{self.wanted or ''}"


def needs_of(
    kind: str,
    file: Path,
    family: str | None,
    *,
    source: Path | None = None,
    code: Path | None = None,
    module: str | None = None,
    device: str = "auto",
) -> list[Need]:
    """Return everything the model needs, without versions found.

    In the order of authority: imports of the source (from ``module`` on, below ``code``), then what
    the format and the name imply. Documented versions come from ``source``'s own files.
    """
    out: dict[str, Need] = {}

    def add(name: str, group: str, by: str, optional: bool = False) -> None:
        if name not in out or (out[name].optional and not optional):
            out[name] = Need(name, DISTRIBUTIONS.get(name, name), group, by, optional)

    if kind == "onnx":
        add("onnxruntime", "runtime", "the ONNX format")
        if device != "cpu":
            out["onnxruntime-gpu"] = Need(
                "onnxruntime", "onnxruntime-gpu", "acceleration", "ONNX on NVIDIA cards", True
            )
    else:
        add("torch", "runtime", f"the {kind} format")
    if file.suffix == ".safetensors":
        add("safetensors", "runtime", "the safetensors format")
    if family in ("timm", "open_clip"):
        add(family, "model", f"the name ({family})")
    for name, group in TOOLS:
        add(name, group, "the exploration itself")
    pins: dict[str, tuple[str, str]] = {}
    if source is not None:
        pins = documented(source)
        for found in imports.reachable(code, module) if code and module else []:
            group = out[found.module].group if found.module in out else "model"
            add(found.module, group, f"{found.file}, line {found.line}", found.optional)
    for need in out.values():
        pin = pins.get(canonicalize_name(need.distribution))
        if pin:
            need.wanted, need.wanted_in = pin[0] or None, pin[1]
    return sorted(out.values(), key=lambda n: (n.optional, n.group != "runtime", n.distribution))


def look_up(needs: list[Need], answer: dict[str, Any]) -> list[Need]:
    """Fill in what an environment has (see :func:`model_explorer.environment.ask`)."""
    for need in needs:
        owner = answer["distributions"].get(need.module) or {}
        if need.group == "acceleration":
            same = owner.get("distribution") == need.distribution
            need.found = owner.get("version") if same else None
            continue
        there = answer["importable"].get(need.module, False)
        need.found = (owner.get("version") or "present") if there else None
        if owner.get("distribution") and need.wanted is None:
            need.distribution = owner["distribution"]
        need.satisfies = fits(need.found, need.wanted)
    return needs


def fits(found: str | None, wanted: str | None) -> bool | None:
    """Return whether a version meets its documented specifier; None where one of them is not
    known.
    """
    if not found or not wanted or found == "present":
        return None
    try:
        return SpecifierSet(wanted).contains(found, prereleases=True)
    except InvalidVersion:
        return None


def ask_once(missing: list[Need], environment: Environment) -> HardStop:
    """Return the one question: what is missing, and the ways to get it. Nothing was installed."""
    shown = [
        f"{n.distribution}{f' (documented {n.wanted})' if n.wanted else ''} for {n.needed_by}"
        for n in missing[:NAMED]
    ]
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    many = f"{len(missing)} packages are" if len(missing) > 1 else "a package is"
    if environment.kind == "pixi":
        ways = (
            "explore.install: current (pixi add --pypi to its manifest), or new-venv (a new pixi "
            "environment beside the experiment)"
        )
    else:
        ways = (
            f"explore.install: current (pip, into {environment.place}), or new-venv (a venv "
            "beside the "
            "experiment that sees the current packages; the current one stays as it is)"
        )
    return HardStop(
        "approval_missing",
        f"{many} missing in the {environment.kind} environment {environment.place}: "
        f"{'; '.join(shown)}{more}. Nothing was installed",
        fix=f"choose once, for all of them: {ways}",
        evidence={"missing": [n.as_dict() for n in missing]},
    )
