"""timm, imported in a third of the time: without torch's compiler, which it asks for in passing.

``import timm`` makes torchvision and timm import ``torch._dynamo`` (two seconds, 860 modules): the
one to ask later what a compiler can do, the other to mark one method as none of its business. Both
can wait until something is compiled. Whoever imports timm does it after this module.
"""

from __future__ import annotations

import gc
import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["timm"]

ASKED = "torch._dynamo.utils"


class _Later(types.ModuleType):
    """A module that is imported when something of it is used."""

    def is_compile_supported(self, device_type: str) -> bool:
        """Ask the real function; torchvision takes this one by its name and calls it later."""
        return self._real().is_compile_supported(device_type)

    def _real(self) -> types.ModuleType:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return importlib.import_module(self.__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._real(), name)


@contextmanager
def _without_compiler() -> Iterator[None]:
    # The compiler has imported this one, if it is the compiler and no stand-in that is there.
    if ASKED in sys.modules or not hasattr(torch, "_disable_dynamo"):
        yield
        return
    later, disable, collecting = _Later(ASKED), torch.compiler.disable, gc.isenabled()
    sys.modules[ASKED] = later
    # torch marks its own methods by this one: it imports the compiler when a method is called.
    torch.compiler.disable = torch._disable_dynamo
    gc.disable()  # what an import makes stays; looking through it again and again costs a fifth
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if sys.modules.get(ASKED) is later:
            del sys.modules[ASKED]
        if collecting:
            gc.enable()


with _without_compiler():
    import timm
