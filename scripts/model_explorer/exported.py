"""Whether a ``torch.export`` archive would run code when it is loaded or called; nothing is run.

torch's loader unpickles some members, evaluates the text of symbolic sizes, compiles the text of
guards, writes names into the source of a function, and loads compiled libraries. So everything in
the archive must be of a kind that is known to be harmless; what is not is refused.
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

from deft.core.pickles import refuse, unsafe

TEXTS = re.compile(
    r"(archive_format|archive_version|version|byteorder|\.format_version|\.storage_alignment"
    r"|\.data/(version|serialization_id)|extra/.*|extra_files/.*)"
)
DOCUMENTS = re.compile(
    r"(models/[^/]+|data/(weights|constants)/[^/]+_config|serialized_exported_program)\.json"
)
NUMBERS = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
PICKLED = re.compile(
    r"(data/sample_inputs/[^/]+|data/constants/[^/]+"
    r"|serialized_(state_dict|constants|example_inputs))\.pt"
)
# Names, operators, versions, einsum's equations: nothing of this can be a call or an assignment.
HARMLESS = re.compile(r"[\w.:/,*#<>+\- ]*")
UNUSED = "metadata"  # where a node came from: stack traces, which nothing reads as code
SIZE, GUARDS = "expr_str", "guards_code"
# What torch.export writes for a symbolic size: calls of sympy's names on names and numbers.
PLAIN_NODES = (
    ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp,
    ast.Compare, ast.BoolOp, ast.Tuple, ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip
PLAIN_BUILTINS = {
    "max", "min", "abs", "True", "False", "int", "float", "bool", "pow", "round", "sum",
}  # fmt: skip
GUARD_CALLS = frozenset({"size", "stride", "storage_offset", "item", "isnan"})
END, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")


def check_exported(path: str) -> None:
    """Raise ``spec_invalid`` for an archive with anything in it that could run code."""
    with open(path, "rb") as handle, zipfile.ZipFile(handle) as archive:
        odd = one_reading(handle, archive) or next(_odd(archive), None)
    if odd:
        raise refuse([odd], path)


def one_reading(handle: Any, archive: zipfile.ZipFile) -> str | None:
    """Return why another reader of this zip could find other members than Python's; None if none
    could.

    torch reads with miniz: it trusts the offsets at the end, and names whatever their case.
    """
    names = [n.lower() for n in archive.namelist()]
    if len(set(names)) != len(names):
        return "a name stands in it twice"
    end = handle.seek(0, io.SEEK_END) - END.size
    handle.seek(end)
    mark, *_, size, begin, comment = END.unpack(handle.read(END.size))
    if mark != b"PK\5\6" or comment:
        return "bytes after the end of the archive"
    if end >= LOCATOR.size + END64.size:
        handle.seek(end - LOCATOR.size)
        mark, _, place, _ = LOCATOR.unpack(handle.read(LOCATOR.size))
        if mark == b"PK\6\7":
            end -= LOCATOR.size + END64.size
            handle.seek(end)
            mark, *_, size, begin = END64.unpack(handle.read(END64.size))
            if mark != b"PK\6\6" or place != end:
                return "two ends of the archive"
    return None if begin + size == end else "two lists of its members"


def _odd(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield what in the archive is not known to be harmless."""
    members = {_inner(n): n for n in archive.namelist()}
    if len(members) != len(archive.namelist()):
        yield "a name stands in it twice"
    pickled: set[str] = set()
    for inner, name in members.items():
        if DOCUMENTS.fullmatch(inner):
            try:
                document = json.loads(archive.read(name))
            except (ValueError, RecursionError):
                yield f"{inner} is no JSON"
                continue
            yield from code_in(document)
            pickled |= _pickled(document)
    for inner, name in members.items():
        is_pickled = inner.rsplit("/", 1)[-1] in pickled
        if PICKLED.fullmatch(inner) or (is_pickled and NUMBERS.fullmatch(inner)):
            yield from saved(archive.read(name), inner)
        elif not any(kind.fullmatch(inner) for kind in (TEXTS, DOCUMENTS, NUMBERS)):
            yield f"pickled object or library {inner}"


def _inner(name: str) -> str:
    """Return a member's name without the archive's own folder, which the old layout has not."""
    known = (TEXTS, DOCUMENTS, NUMBERS, PICKLED)
    return name if any(k.fullmatch(name) for k in known) else name.split("/", 1)[-1]


def saved(data: bytes, name: str) -> Iterator[str]:
    """Yield what in a file of ``torch.save`` is more than plain tensors; it may be empty."""
    if not data:
        return
    if not data.startswith(b"PK\3\4"):
        yield f"pickled object {name}"  # the loader would take any pickle
        return
    handle = io.BytesIO(data)
    with zipfile.ZipFile(handle) as inner:
        why = one_reading(handle, inner)
        if why:
            yield f"{name}: {why}"
        for member in inner.namelist():
            if member.lower().endswith(".pkl"):
                yield from unsafe(inner.read(member), whole=True)


def _pickled(document: Any) -> set[str]:
    entries = document.get("config") if isinstance(document, dict) else None
    rows = entries.values() if isinstance(entries, dict) else []
    return {str(r.get("path_name")) for r in rows if isinstance(r, dict) and r.get("use_pickle")}


def code_in(document: Any) -> Iterator[str]:
    """Yield every text of a JSON document that is no plain size, guard or name."""
    left: list[tuple[str, Any]] = [("", document)]
    while left:
        key, value = left.pop()
        if isinstance(value, dict):
            left += [("", k) for k in value]
            left += [(k, v) for k, v in value.items() if k != UNUSED]
        elif isinstance(value, list):
            left += [(key, v) for v in value]
        elif isinstance(value, str):
            if key == SIZE:
                if not plain_expression(value):
                    yield value[:60]
            elif key == GUARDS:
                if not plain_guard(value):
                    yield value[:60]
            elif not HARMLESS.fullmatch(value):
                # How arguments are nested is JSON in a text.
                try:
                    left.append((key, json.loads(value)))
                except (ValueError, RecursionError):
                    yield value[:60]


def plain_expression(text: str) -> bool:
    """Return whether a symbolic size is only names, numbers and calls of what is no builtin.

    >>> plain_expression("Max(1, s0 + 2)"), plain_expression("__import__('os').system('x')")
    (True, False)
    """
    tree = _parsed(text)
    if tree is None:
        return False
    for node in ast.walk(tree):
        if not isinstance(node, PLAIN_NODES):
            return False
        if isinstance(node, ast.Name) and not _plain_name(node.id):
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


def plain_guard(text: str) -> bool:
    """Return whether a guard only compares sizes of the inputs.

    >>> plain_guard("L['x'].size()[0] >= 2"), plain_guard("L['x'].__class__")
    (True, False)
    """
    # The text is pasted into a call, its second copy into a string with double quotes.
    tree = None if set(text) & set('"\\\n\r#') else _parsed(text)
    if tree is None:
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            if node.attr not in GUARD_CALLS:
                return False
        elif isinstance(node, ast.Name):
            if not _plain_name(node.id):
                return False
        elif not isinstance(node, (*PLAIN_NODES, ast.Subscript)):
            return False
    return True


def _plain_name(name: str) -> bool:
    return not name.startswith("_") and (name in PLAIN_BUILTINS or not hasattr(builtins, name))


def _parsed(text: str) -> ast.AST | None:
    try:
        return ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
