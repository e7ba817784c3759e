"""What a pickle would call when it is loaded, found by reading its opcodes; nothing is run."""

from __future__ import annotations

import ast
import builtins
import io
import json
import pickletools
import re
import zipfile
from typing import Any

from deft.errors import HardStop

NAMED = 3
SAFE = re.compile(
    r"^(collections\.OrderedDict|_codecs\.encode|torch\.serialization\._get_layout"
    r"|torch\._utils\._rebuild_(tensor(_v2|_v3)?|parameter|parameter_with_state|qtensor|sparse_tensor"
    r"|meta_tensor_no_storage)|torch\.nn\.parameter\.Parameter"
    r"|torch\.(Size|device|Tensor|[A-Za-z]*Storage|storage\.\w+Storage)"
    r"|torch\.(b?float\w*|u?int\d+|bool|complex\d+|half|double|long|short|q\w+))$"
)
OPAQUE = "a class named while it runs"
# What torch.export writes for a symbolic size: calls of sympy's names on names and numbers.
PLAIN_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp,
    ast.Compare, ast.BoolOp, ast.Tuple, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
PLAIN_BUILTINS = {
    "max",
    "min",
    "abs",
    "True",
    "False",
    "int",
    "float",
    "bool",
    "pow",
    "round",
    "sum",
}


def globals_of(data: bytes) -> list[str]:
    """Return ``module.name`` of everything that pickles in ``data`` would look up, in order.

    ``data`` may hold several pickles one after another (torch's old format); what follows the last
    readable one is raw numbers.
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
                    found.append(".".join(strings[-2:]) if len(strings) > 1 else OPAQUE)
                elif opcode.name.startswith("EXT"):
                    found.append(OPAQUE)
                elif isinstance(argument, str):
                    strings.append(argument)
        except Exception:  # bytes of any origin end in any of pickletools' errors
            return list(dict.fromkeys(found))


def unsafe(data: bytes) -> list[str]:
    """Return the lookups of a pickle that are not part of plain tensors.

    Names put together while it runs (``STACK_GLOBAL``) count: torch writes none.
    """
    return [name for name in globals_of(data) if not SAFE.match(name)]


def in_archive(path: str) -> list[str]:
    """Return the unsafe lookups of every pickle inside a zip, archives in archives included."""
    with zipfile.ZipFile(path) as archive:
        return list(dict.fromkeys(_members(archive)))


def _members(archive: zipfile.ZipFile, depth: int = 0) -> list[str]:
    found = []
    for name in archive.namelist():
        with archive.open(name) as handle:
            head = handle.read(4)
        if (
            head[:2] == b"\x80\x02"
            or name.endswith(".pkl")
            or (head[:1] == b"\x80" and head[1:2] <= b"\x05")
        ):
            # Raw numbers may begin so too; they only look like a pickle until its first odd opcode.
            found += unsafe(archive.read(name))
        elif head == b"PK\x03\x04" and depth < 2:
            try:
                with zipfile.ZipFile(io.BytesIO(archive.read(name))) as inner:
                    found += _members(inner, depth + 1)
            except zipfile.BadZipFile:
                continue
    return found


def refuse(names: list[str], path: object) -> HardStop:
    """Return the stop for a file that would run code."""
    shown = ", ".join(names[:NAMED]) + (
        f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    )
    return HardStop(
        "spec_invalid",
        f"loading this file would run code that came with it ({shown}); it was not loaded",
        file=path,  # type: ignore[arg-type]
        fix="get a state_dict or .safetensors of it; or, if you trust its author, set "
        "explore.allow_code: true",
    )


def check_exported(path: str) -> None:
    """Raise ``spec_invalid`` for a ``torch.export`` archive whose loading would run code.

    Its loader unpickles constants and evaluates the text of symbolic sizes: both are looked at.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        documents = [_document(archive.read(n)) for n in names if n.endswith(".json")]
        expressions = [e for d in documents for e in _values(d, "expr_str")]
        pickled = {e for d in documents for e in _pickled(d)}
        # Only an archive of torch.save can be looked through; the loader would take any pickle.
        odd = [n for n in names if "custom_obj" in n or (_unpickled(n, pickled) and
               archive.open(n).read(2) != b"PK")]  # fmt: skip
        if odd or len(set(names)) != len(names):
            raise refuse([f"pickled object {odd[0]}" if odd else "a name stands in it twice"], path)
    found = in_archive(path) + [e[:60] for e in expressions if not plain_expression(e)]
    if found:
        raise refuse(found, path)


def _document(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _unpickled(name: str, pickled: set[str]) -> bool:
    """Return whether torch.export unpickles a member: examples, old layouts, and what says so."""
    inner = name.split("/", 1)[-1]
    old = inner.startswith("serialized_") and not inner.endswith(".json")
    return "sample_inputs/" in name or old or name.rsplit("/", 1)[-1] in pickled


def _pickled(document: Any) -> list[str]:
    entries = document.get("config") if isinstance(document, dict) else None
    rows = entries.values() if isinstance(entries, dict) else []
    return [str(r.get("path_name")) for r in rows if isinstance(r, dict) and r.get("use_pickle")]


def _values(document: Any, key: str) -> list[str]:
    """Return every text that stands under ``key`` anywhere in a JSON document."""
    out, left = [], [document]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            out += [v for k, v in value.items() if k == key and isinstance(v, str)]
            left += list(value.values())
        elif isinstance(value, list):
            left += value
    return out


def plain_expression(text: str) -> bool:
    """Return whether a symbolic size is only names, numbers and calls of what is no builtin.

    >>> plain_expression("Max(1, s0 + 2)"), plain_expression("__import__('os').system('x')")
    (True, False)
    """
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, PLAIN_NODES):
            return False
        if isinstance(node, ast.Name):
            known = hasattr(builtins, node.id) and node.id not in PLAIN_BUILTINS
            if known or node.id.startswith("_"):
                return False
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", str(node.value)):
                return False
    # Text is a symbol's name and nothing else; other callables could parse it again.
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        if not isinstance(call.func, ast.Name):
            return False
        words = [a for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if words and call.func.id not in ("Symbol", "Dummy", "Integer", "Float"):
            return False
    return True
