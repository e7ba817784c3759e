"""Tiny models of every format, and explorations of them with the scripts run in this process."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import nn

from model_explorer import driver, layout
from model_explorer.kit import steps
from model_explorer.kit.folder import Folder, Refusal
from model_explorer.request import Request

SEED = 7
SIDE = 32
TINY_TIMM = "test_convnext"


class TinyNet(nn.Module):
    """A network without any library's name: pictures of any size to three numbers."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, classes)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return self.head(self.conv(picture).relu().mean((2, 3)))


def tiny_net() -> TinyNet:
    """Return the network with fixed weights, for inference."""
    torch.manual_seed(SEED)
    return TinyNet().eval()


def timm_weights(path: Path, classes: int = 3, **wrap: Any) -> Path:
    """Save a tiny timm model's state_dict; ``wrap`` puts it below a name (``state_dict=…``)."""
    import timm

    torch.manual_seed(SEED)
    state = timm.create_model(TINY_TIMM, num_classes=classes).state_dict()
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({**wrap, "state_dict": state} if wrap else state, path)
    return path


def torchscript(path: Path) -> Path:
    """Save a traced network."""
    torch.jit.trace(tiny_net(), torch.zeros(1, 3, SIDE, SIDE)).save(str(path))
    return path


def exported(path: Path) -> Path:
    """Save an exported program with a free batch axis."""
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(
        tiny_net(), (torch.zeros(2, 3, SIDE, SIDE),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)
    return path


def onnx_by_torch(path: Path) -> Path:
    """Export a network with a free batch axis."""
    torch.onnx.export(
        tiny_net(), (torch.zeros(2, 3, SIDE, SIDE),), str(path), dynamo=False,
        input_names=["picture"], output_names=["logits"], dynamic_axes={"picture": {0: "batch"}},
    )  # fmt: skip
    return path


def onnx_of_any_size(path: Path) -> Path:
    """Export a network with free sides."""
    free = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        tiny_net(), (torch.zeros(2, 3, SIDE, SIDE),), str(path), dynamo=False,
        input_names=["picture"], output_names=["logits"], dynamic_axes={"picture": free},
    )  # fmt: skip
    return path


def onnx_by_sklearn(path: Path) -> Path:
    """Convert a logistic regression: its second output is a list of maps."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(SEED)
    rows = rng.normal(size=(60, 4)).astype(np.float32)
    model = LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    path.write_bytes(to_onnx(model, rows[:1]).SerializeToString())
    return path


SOURCE = '''"""A network that needs a package."""

import torch
from torch import nn

import tinydep


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(6, width)

    def forward(self, rows):
        return tinydep.double(self.layer(rows))
'''


def source_with_dependency(root: Path) -> tuple[Path, Path, Path]:
    """Make a source folder that imports ``tinydep``, its weights and wheels of two versions.

    Version 2.0 (the latest) lacks what the source wants; the source documents 1.0.
    """
    source = root / "tinysrc"
    (source / "nets").mkdir(parents=True)
    (source / "nets" / "net.py").write_text(SOURCE, encoding="utf-8")
    (source / "requirements.txt").write_text("tinydep==1.0\ntorch>=2\n", encoding="utf-8")
    (source / "LICENSE").write_text("MIT License\n\nCopyright nobody\n", encoding="utf-8")
    torch.manual_seed(SEED)
    weights = root / "net.pth"
    layer = nn.Linear(6, 4)
    torch.save({f"layer.{k}": v for k, v in layer.state_dict().items()}, weights)
    wheels = root / "wheels"
    wheels.mkdir()
    wheel(wheels, "1.0", "def double(x):\n    return 2 * x\n")
    wheel(wheels, "2.0", "def twice(x):\n    return 2 * x\n")
    return source, weights, wheels


def wheel(folder: Path, version: str, code: str) -> Path:
    """Write a wheel of ``tinydep`` by hand."""
    info = f"tinydep-{version}.dist-info"
    path = folder / f"tinydep-{version}-py3-none-any.whl"
    files = {
        "tinydep.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tinydep\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    return path


def layered_venv(place: Path) -> Path:
    """Make a venv that sees this interpreter's packages and can be written into; return it."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(place)]
    subprocess.run(command, check=True, capture_output=True)
    (packages,) = place.glob("lib/python*/site-packages")
    below = [p for p in sys.path if "site-packages" in p]
    (packages / "below.pth").write_text("\n".join(below) + "\n", encoding="utf-8")
    return place


def step_here(
    folder: Folder, command: list[str], step: steps.Step, environment: Any = None
) -> dict[str, Any]:
    """Run a script's function in this process, recorded as :func:`steps.run_step` does.

    Starting Python and torch eleven times takes most of an exploration's time.
    """
    _, module, function = layout.SCRIPTS[step.script]
    began = time.monotonic()
    told: dict[str, Any] = {}
    try:
        said = getattr(importlib.import_module(module), function)(folder)
        status = "ok"
    except Refusal as refusal:
        said, status = str(refusal), "refused"
        told = {"needs": refusal.needs, "proven": refusal.proven}
    log = f"logs/{step.script[:-3]}.log"
    folder.path(log).write_text(f"{said}\n", encoding="utf-8")
    return {
        "script": step.script, "what": step.what, "command": f"python scripts/{step.script}",
        "status": status, "exit": 0, "said": said, "seconds": time.monotonic() - began, "log": log,
        **told,
    }  # fmt: skip


def explored(workspace: Path, *, in_process: Any = None, told: Any = None, **keys: Any) -> Folder:
    """Explore with ``keys`` of the group in a workspace; ``in_process``: a monkeypatch."""
    workspace.mkdir(parents=True, exist_ok=True)
    if in_process is not None:
        in_process.setattr(steps, "run_step", step_here)
        in_process.setattr(driver, "run_step", step_here)
    settings = {"device": "cpu", "warm_runs": 4, "batch_sizes": [1, 2], "samples": 2, **keys}
    settings.setdefault("environment", "running")
    request = Request(**settings)
    return Folder(driver.explore(request, workspace, workspace, told or (lambda text: None)))


def clean() -> dict[str, str]:
    """Return an environment in which the project cannot be imported by chance."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DEFT_", "PYTHON"))}
    return {**kept, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def run_again(place: Path, *arguments: str) -> str:
    """Run a moved experiment's ``run_all.py`` to its end; return what it says."""
    done = rerun(place, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rerun(
    place: Path, *arguments: str, python: str | Path = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Start an experiment's ``run_all.py`` by any Python."""
    return subprocess.run(
        [str(python), "scripts/run_all.py", *arguments], cwd=place, env=clean(),
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip


def outputs(place: Path, *names: str) -> dict[str, Any]:
    """Return JSON files of ``outputs/`` by name."""
    return {n: json.loads((place / "outputs" / f"{n}.json").read_text()) for n in names}


def write_config(path: Path, **keys: Any) -> Path:
    """Write a configuration file with an ``explore:`` group."""
    path.write_text(yaml.safe_dump({"explore": keys}), encoding="utf-8")
    return path


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(s.getsockname()[1]) for s in held]
    for s in held:
        s.close()
    return ports
