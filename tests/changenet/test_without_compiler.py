"""A training asks nothing of torch's compiler unless it is compiled.

The quick tests have a package of two lines in the compiler's place; those with the real one start
processes of their own, where nothing of torch is loaded yet.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from deft.changenet import without_compiler as module
from deft.changenet.without_compiler import without_compiler

ROOT = Path(__file__).resolve().parents[2]
BOTH = f"import sys\nsys.path[:0] = [{str(ROOT / 'scripts')!r}]\nimport torch\n"
BOTH += "from deft.changenet.without_compiler import without_compiler\n"
NAME = "drawn_compiler"


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch):
    """A package in the compiler's place; returns its modules that are loaded from its files."""
    folder = tmp_path / NAME
    folder.mkdir()
    (folder / "__init__.py").write_text("def reset():\n    return 'real'\n")
    (folder / "config.py").write_text("VALUE = 3\n")
    (folder / "utils.py").write_text(
        "MORE = 4\ndef is_compile_supported(device_type):\n    return device_type == 'cuda'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "NAME", NAME)
    finders = list(sys.meta_path)

    def loaded() -> list[str]:
        found = [n for n in sys.modules if n.split(".")[0] == NAME]
        return sorted(n for n in found if hasattr(sys.modules[n], "__file__"))

    yield loaded
    assert sys.meta_path == finders
    for name in [n for n in sys.modules if n.split(".")[0] == NAME]:
        del sys.modules[name]


def test_what_is_wanted_in_passing_loads_nothing(compiler) -> None:
    with without_compiler():
        stand_in = importlib.import_module(NAME)
        assert stand_in.disable(len) is len and stand_in.disable(recursive=False)(len) is len
        assert stand_in.graph_break() is None and not isinstance(len, stand_in.OptimizedModule)
        assert not hasattr(stand_in, "__wrapped__")
        assert compiler() == []
    assert NAME not in sys.modules


def test_whatever_else_is_asked_for_is_the_real_one(compiler) -> None:
    with without_compiler():
        stand_in = importlib.import_module(NAME)
        assert stand_in.reset() == "real" and compiler() == [NAME]
        assert importlib.import_module(NAME) is not stand_in
    before = sys.modules[NAME]  # it stays
    with without_compiler():
        assert sys.modules[NAME] is before


def test_a_module_below_it_is_real(compiler) -> None:
    with without_compiler():
        config = importlib.import_module(f"{NAME}.config")
        assert config.VALUE == 3 and config.__spec__.origin == config.__file__
        assert sys.modules[NAME].config is config and sys.modules[NAME].reset() == "real"
        assert importlib.import_module(f"{NAME}.config") is config


def test_what_torchvision_asks_later_waits_for_the_question(compiler) -> None:
    with without_compiler():
        ask = importlib.import_module(f"{NAME}.utils").is_compile_supported
        assert compiler() == [] and not hasattr(sys.modules[f"{NAME}.utils"], "__wrapped__")
    assert f"{NAME}.utils" not in sys.modules
    with without_compiler():  # as a training that runs such a function
        assert ask("cuda") is True and ask("cpu") is False
        assert compiler() == [NAME, f"{NAME}.utils"]
    assert sys.modules[NAME].reset() == "real" and sys.modules[f"{NAME}.utils"].MORE == 4


def test_any_other_question_to_it_is_the_real_ones(compiler) -> None:
    with without_compiler():
        assert importlib.import_module(f"{NAME}.utils").MORE == 4
        assert compiler() == [NAME, f"{NAME}.utils"]


def test_a_compiled_training_has_it(compiler) -> None:
    with without_compiler(unless=True):
        assert importlib.import_module(NAME).reset() == "real"


def python(code: str) -> str:
    """Run code where nothing of torch is loaded yet."""
    done = subprocess.run(
        [sys.executable, "-c", BOTH + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
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
    assert not any(hasattr(sys.modules[name], "__file__")
                   for name in sys.modules if name.startswith("torch._dynamo"))
assert not any(name.startswith("torch._dynamo") for name in sys.modules)
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


@pytest.mark.slow
def test_timm_loads_no_compiler_and_leaves_everything_as_it_was() -> None:
    said = python(
        """
import gc
before = (torch.compiler.disable, list(sys.meta_path))
from deft.changenet.backbones.timm_start import timm
assert not any(name.startswith("torch._dynamo") for name in sys.modules)
assert (torch.compiler.disable, list(sys.meta_path)) == before and gc.isenabled()
from torchvision.ops import roi_align
asked = roi_align.__globals__["is_compile_supported"]("cpu")
import torch._dynamo.utils
assert torch._dynamo.utils.__file__ and torch._dynamo.__file__
assert asked == torch._dynamo.utils.is_compile_supported("cpu")
network = timm.create_model("resnet10t", num_classes=0).eval()
pictures = torch.rand(1, 3, 32, 32)
print(torch.equal(torch.compile(network, backend="eager")(pictures), network(pictures)))
"""
    )
    assert said == "True"


@pytest.mark.slow
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
