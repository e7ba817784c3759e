"""What a pickle would call when it is loaded, found by reading its opcodes; nothing is run."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from pathlib import Path

from deft.core.errors import HardStop

NAMED = 3
SAFE = re.compile(
    r"^(collections\.OrderedDict|_codecs\.encode|torch\.serialization\._get_layout"
    r"|torch\._utils\._rebuild_(tensor(_v2|_v3)?|parameter|parameter_with_state|qtensor|sparse_tensor"
    r"|meta_tensor_no_storage)|torch\.nn\.parameter\.Parameter"
    r"|torch\.(Size|device|Tensor|[A-Za-z]*Storage|storage\.\w+Storage)"
    r"|torch\.(b?float\w*|u?int\d+|bool|complex\d+|half|double|long|short|q\w+))$"
)
OPAQUE = "a class named while it runs"
UNREADABLE = "a pickle that cannot be read to its end"


def globals_of(data: bytes, *, whole: bool = False) -> list[str]:
    """Return ``module.name`` of everything that pickles in ``data`` would look up, in order.

    ``data`` may hold several pickles one after another (torch's old format); what follows the last
    readable one is raw numbers. With ``whole`` nothing may follow: Python's own unpickler reads on
    where this reader stops (a number such as ``I0x10``), so the rest counts as unknown.
    """
    found: list[str] = []
    stream = io.BytesIO(data)
    strings: list[str] = []
    while True:
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name in ("GLOBAL", "INST"):
                    found.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    # The names may come from its memory, so the last ones read are a hint only.
                    found.append(f"{OPAQUE}, perhaps {'.'.join(strings[-2:])}")
                elif opcode.name.startswith("EXT"):
                    found.append(OPAQUE)
                elif isinstance(argument, str):
                    strings.append(argument)
            if whole and stream.tell() == len(data):
                return list(dict.fromkeys(found))
        except Exception:  # bytes of any origin end in any of pickletools' errors
            found += [UNREADABLE] if whole else []
            return list(dict.fromkeys(found))


def unsafe(data: bytes, *, whole: bool = False) -> list[str]:
    """Return the lookups of a pickle that are not part of plain tensors (see :func:`globals_of`).

    Names put together while it runs (``STACK_GLOBAL``) count: torch writes none.
    """
    return [name for name in globals_of(data, whole=whole) if not SAFE.match(name)]


def in_archive(path: str) -> list[str]:
    """Return the unsafe lookups of every pickle inside a zip of torch.save."""
    with zipfile.ZipFile(path) as archive:
        pickled = [n for n in archive.namelist() if n.endswith(".pkl")]
        return list(dict.fromkeys(x for n in pickled for x in unsafe(archive.read(n))))


def refuse(names: list[str], path: str | Path) -> HardStop:
    """Return the stop for a file that would run code."""
    shown = ", ".join(names[:NAMED]) + (
        f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    )
    return HardStop(
        "spec_invalid",
        f"loading this file would run code that came with it ({shown}); it was not loaded",
        file=path,
        fix="get a state_dict or .safetensors of it; or, if you trust its author, set "
        "explore.allow_code: true",
    )
