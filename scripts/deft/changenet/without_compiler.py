"""Imports and trainings without torch's compiler, which others import in passing.

``torch._dynamo`` takes two seconds and 1,200 modules, more than a tiny training itself. Optimizers
and torchvision want two functions of it that do nothing where nothing is compiled, Lightning a
class to ask whether a module is compiled: a stand-in has these three. torchvision also takes a
function from a module below it, to ask later what a compiler can do: that one waits for the
question. Whatever else is asked for, also any other module below it, loads the real compiler,
which takes its place.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

NAME = "torch._dynamo"
ASKED = "utils"  # the module below it, for torchvision


class OptimizedModule:
    """The class of compiled modules, of which there is none."""


class _StandIn(types.ModuleType):
    OptimizedModule = OptimizedModule
    __path__: list[str] = []  # so that modules below it are asked for, at the finder

    @staticmethod
    def graph_break(msg: str = "") -> None:
        """Where a compiler would end its graph."""

    @staticmethod
    def disable(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
        """Return the function: no compiler will look into it."""
        found: Callable[[Any], Any] = lambda function: function  # noqa: E731
        return found if fn is None else fn

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(), name)


class _Later(types.ModuleType):
    """The module below the compiler, imported when something of it is used."""

    def is_compile_supported(self, device_type: str) -> bool:
        """Ask the real function; torchvision takes this one by its name and calls it later."""
        return bool(self._real().is_compile_supported(device_type))

    def _real(self) -> types.ModuleType:
        _real()
        return importlib.import_module(self.__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)


class _Finder(MetaPathFinder, Loader):
    """Loads the real compiler before a module below it."""

    def __init__(self) -> None:
        self.specs: dict[str, ModuleSpec | None] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{NAME}.") or not _stands_in():
            return None
        _real()
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        real = importlib.import_module(spec.name)
        self.specs[spec.name] = real.__spec__
        return real

    def exec_module(self, module: types.ModuleType) -> None:
        """Give the module its own specification back; the real import has run it."""
        module.__spec__ = self.specs.pop(module.__name__)


def _stands_in() -> bool:
    return isinstance(sys.modules.get(NAME), _StandIn)


def _real() -> types.ModuleType:
    _leave()
    return importlib.import_module(NAME)


def _leave() -> None:
    """Take the stand-ins away, where they still are."""
    for name, kind in ((NAME, _StandIn), (f"{NAME}.{ASKED}", _Later)):
        if isinstance(sys.modules.get(name), kind):
            del sys.modules[name]


@contextmanager
def without_compiler(*, unless: bool = False) -> Iterator[None]:
    """Let nothing load the compiler in passing, ``unless`` it is wanted at once."""
    if unless or NAME in sys.modules:
        yield
        return
    finder = _Finder()
    sys.modules[NAME] = _StandIn(NAME)
    sys.modules[f"{NAME}.{ASKED}"] = _Later(f"{NAME}.{ASKED}")
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _leave()
