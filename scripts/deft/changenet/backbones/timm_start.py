"""timm, imported in a third of the time: without torch's compiler, which torchvision asks for.

Whoever imports timm does it after this module.
"""

from __future__ import annotations

import gc

from deft.changenet.without_compiler import without_compiler

__all__ = ["timm"]

# What an import makes stays; looking through it again and again costs a fifth. A stage imports this
# before it has its say in how often Python looks (:mod:`deft.core.collecting`).
_collecting = gc.isenabled()
gc.disable()
try:
    with without_compiler():
        import timm
finally:
    if _collecting:
        gc.enable()
