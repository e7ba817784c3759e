"""A training asks nothing of torch's compiler unless it is compiled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BOTH = f"import sys\nsys.path[:0] = [{str(ROOT / 'scripts')!r}]\nimport torch\n"
BOTH += "from deft.changenet.training.without_compiler import without_compiler\n"


def python(code: str) -> str:
    """Run code where nothing of torch is loaded yet."""
    done = subprocess.run(
        [sys.executable, "-c", BOTH + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_step_and_lightning_load_no_compiler_and_give_the_same_numbers() -> None:
    said = python(
        """
def step():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    (weight**2).sum().backward()
    optimizer.step(); optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
    return weight.tolist()
import deft.changenet.backbones.timm_start  # as the network does, before
with without_compiler():
    plain = step()
    import pytorch_lightning
    assert not any(name.startswith("torch._dynamo.") for name in sys.modules)
assert "torch._dynamo" not in sys.modules
with without_compiler():
    import torch._dynamo
    assert not hasattr(sys.modules["torch._dynamo"], "__file__")
    torch._dynamo.reset()  # what the stand-in has not
    assert torch._dynamo.__file__
before = sys.modules["torch._dynamo"]
with without_compiler(unless=True):
    assert sys.modules["torch._dynamo"] is before
assert step() == plain
print("same")
"""
    )
    assert said == "same"


def test_a_module_below_it_is_the_real_one() -> None:
    said = python(
        """
import importlib
with without_compiler():
    import torch._dynamo.config
    import torch._dynamo.testing
    real = sys.modules["torch._dynamo"]
    assert real.__file__ and real.config is sys.modules["torch._dynamo.config"]
    assert real.testing.__spec__.origin == real.testing.__file__
    assert importlib.import_module("torch._dynamo.config") is real.config
compiled = torch.compile(torch.sin, backend="eager")
print(float(compiled(torch.zeros(1))), type(torch.compile(torch.nn.ReLU())).__name__)
"""
    )
    assert said == "0.0 OptimizedModule"
