"""A stage looks for garbage seldom, a training as Python does."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import deft
from deft.changenet.device import reproducible
from deft.changenet.spec import Spec
from deft.core.collecting import SELDOM, USUAL, collect_seldom


@pytest.fixture(autouse=True)
def _as_before():
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_stages_process_looks_seldom() -> None:
    code = "import gc; from deft.run.stage import main; main(lambda: print(*gc.get_threshold()))"
    env = {**os.environ, "PYTHONPATH": str(Path(deft.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.split() == [str(number) for number in SELDOM]


def test_a_training_looks_as_python_does_and_hands_back() -> None:
    collect_seldom()
    with pytest.raises(KeyError), reproducible(Spec(), torch.device("cpu"), 1):
        assert gc.get_threshold() == USUAL
        raise KeyError
    assert gc.get_threshold() == SELDOM
