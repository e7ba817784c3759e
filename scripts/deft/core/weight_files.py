"""What a file that should hold weights really is: told from its first bytes, without torch.

A pointer of Git LFS, a web page saved under the name of a model, half a download: all of them end
in a reader's riddle ("invalid load key"). Here each has its name, and what to do about it.
"""

from __future__ import annotations

import codecs
import os
import pickletools
import re
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from deft.core.errors import HardStop

HEAD_BYTES = 1024
TEXT_BYTES = 1 << 20  # a longer file of letters alone is no message of a server
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
BACKBONE_KEY = "model.backbone.pretrained_backbone_path"  # of the spec
STAGED_SUFFIXES = (".safetensors", ".pth", ".ckpt")  # looked for in a workspace
MOST_PICKLED, MOST_NAME = 1 << 26, 1000
# What zipfile raises for a spoiled archive; RuntimeError for an encrypted member.
DAMAGED = (
    *(zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError),
    *(zlib.error, EOFError, struct.error),
)
LONG_NAME = re.compile(rb"[ci][^\n]{1000}")  # where one may be; the pickle itself tells
AGAIN = "download or copy the file again and compare its size or SHA-256"


class Foreign(NamedTuple):
    """What a file is instead of weights, and what to do."""

    what: str
    fix: str


# Beginnings of files of other kinds.
KINDS = (
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"BZh", "a bzip2 archive", "unpack it"),
    (b"\xfd7zXZ", "an xz archive", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a rar archive", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it"),
    (b"GGUF", "a GGUF file", "give the weights as .safetensors or .pth"),
    (b"\x89HDF", "an HDF5 file (Keras, TensorFlow)", "give PyTorch's weights"),
    (b"\x93NUMPY", "a NumPy array", "give PyTorch's weights"),
    (b"\x89PNG", "a picture", "name the weights"),
    (b"%PDF", "a PDF", "name the weights"),
    (b"ftrt", "a TensorRT engine", "give the weights that it was built from"),
)


def staged_files(folder: Path) -> list[Path]:
    """Return the weight files that lie directly in a folder, by name; none where it is absent."""
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.iterdir()) if p.suffix.lower() in STAGED_SUFFIXES]


def looks_like_safetensors(path: str | Path) -> bool:
    """Return whether a file begins as safetensors do, whatever its name ends in."""
    head, size = _head(Path(path))
    return _is_safetensors(head, size)


def refuse_foreign(path: str | Path, what: str = "the weights file") -> None:
    """Raise HardStop for a path that holds no weights; ``what`` names it in the message.

    ``missing_input`` where there is nothing, ``spec_invalid`` for anything else. What begins as
    weights do may still be damaged further on: its reader tells.
    """
    path = Path(path)
    try:
        found = path.stat()
    except PermissionError as error:
        raise _unreadable(path, what, error) from None
    except OSError:
        link = f" (a link to {os.readlink(path)})" if path.is_symlink() else ""
        annexed = ": git-annex has not fetched it; run git annex get" if "annex" in link else ""
        raise HardStop(
            "missing_input", f"{what} does not exist{link}{annexed}", file=path
        ) from None
    if stat.S_ISDIR(found.st_mode):
        raise _foreign(path, what, _folder(path))
    if not stat.S_ISREG(found.st_mode):
        raise _foreign(path, what, Foreign("no regular file", "name a file of weights"))
    try:
        head, size = _head(path)
        other = foreign(head, size) or (_zip(path) if head.startswith(b"PK\x03\x04") else None)
    except OSError as error:
        raise _unreadable(path, what, error) from None
    if other is None and path.suffix == ".safetensors" and not _is_safetensors(head, size):
        other = Foreign("no safetensors file, whatever its name says", "name it .pth, or " + AGAIN)
    if other is not None:
        raise _foreign(path, what, other)


def foreign(head: bytes, size: int) -> Foreign | None:
    """Return what a file of ``size`` bytes with this head is, None for what may be weights."""
    if size == 0:
        return Foreign("empty (0 bytes)", AGAIN)
    if _is_safetensors(head, size):
        return None
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        lines = head.decode("ascii", "replace").split()
        whole = f" of {lines[lines.index('size') + 1]} bytes" if "size" in lines[:-1] else ""
        return Foreign(
            f"a Git LFS pointer of {size} bytes in place of the file{whole}",
            "run git lfs pull in the clone that it came from, then copy it again",
        )
    if head.startswith((b"/annex/objects/", b"../.git/annex", b".git/annex")):
        return Foreign("a git-annex pointer", "run git annex get, then copy it again")
    head = _narrow(head)
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start[:9].lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")):
        return Foreign(
            "a web page (HTML or XML), not weights",
            "download the file itself: the link of the page's download button, with your token if "
            "the page asks for one",
        )
    if start.startswith(b"{"):
        if b'"weight_map"' in head or (b'"metadata"' in head and b"total_size" in head):
            return Foreign(
                "the index of weights that are split over several files",
                "join them into one: load all of them with safetensors and save one file",
            )
        told = b'"error' in head or b'"message' in head
        fix = AGAIN if told else "name the weights beside it"
        return Foreign(f"a JSON text, not weights: {_line(head)}", fix)
    for mark, what, fix in KINDS:
        if head.startswith(mark):
            return Foreign(what, fix)
    if head[257:262] == b"ustar":
        return Foreign("a tar archive", "unpack it")
    if size <= TEXT_BYTES and _is_text(head):
        return Foreign(f"a text of {size} bytes, not weights: {_line(head)}", AGAIN)
    if not any(head[:64]):
        return Foreign("a file that begins with zero bytes: its data was never written", AGAIN)
    length = struct.unpack("<Q", head[:8].ljust(8, b"\0"))[0]
    if head[8:9] == b"{" and length < 1 << 32:
        return Foreign(
            f"a safetensors file that is cut off: its header alone wants {length + 8} bytes, the "
            f"file has {size}",
            AGAIN,
        )
    return None


def _head(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as handle:
        return handle.read(HEAD_BYTES), os.fstat(handle.fileno()).st_size


def _is_safetensors(head: bytes, size: int) -> bool:
    length = struct.unpack("<Q", head[:8].ljust(8, b"\0"))[0]
    return head[8:9] == b"{" and length + 8 <= size


def _is_text(head: bytes) -> bool:
    try:  # the head may end in the middle of a character
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(letter in "\t\r\n\f" or letter.isprintable() for letter in text)


def _narrow(head: bytes) -> bytes:
    """Return the head of a UTF-16 text as UTF-8, as Windows saves pages and messages."""
    if not head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head
    try:
        return codecs.getincrementaldecoder("utf-16")().decode(head).encode()
    except UnicodeError:
        return head


def _line(head: bytes) -> str:
    text = " ".join(head.decode("utf-8", "replace").split())
    return repr(text[:60] + ("…" if len(text) > 60 else ""))


def _folder(path: Path) -> Foreign:
    inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    if inside:
        return Foreign("a folder", f"name the file in it, such as {path.name}/{inside[0]}")
    return Foreign("a folder without weights in it", "name a file of weights")


def _zip(path: Path) -> Foreign | None:
    """Return what a zip archive is when it is none of torch's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        return Foreign("a file of torch that is cut off: its end is missing", AGAIN)
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return Foreign(
            "a TorchScript archive: a program, not weights alone",
            "save the state_dict: torch.save(torch.jit.load(FILE).state_dict(), NEW)",
        )
    if "data.pkl" in inner:
        length = endless_name(path)
        return (
            Foreign(f"a file of torch with a name of {length} letters", AGAIN) if length else None
        )
    if any(name.endswith(".npy") for name in names):
        return Foreign("an archive of NumPy arrays", "give PyTorch's weights")
    shown = ", ".join(names[:3])
    return Foreign(f"a zip archive without weights of torch (it has {shown})", "unpack it")


def endless_name(path: Path) -> int:
    """Return the length of a class's name in torch's pickle that is longer than any, else 0.

    torch refuses it too, after a search of its own message that takes minutes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if m.filename.partition("/")[2] == "data.pkl"]
            if not members or members[0].file_size > MOST_PICKLED:
                return 0
            data = archive.read(members[0])
    except DAMAGED:  # its reader tells
        return 0
    if not LONG_NAME.search(data):
        return 0
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name in ("GLOBAL", "INST") and argument and len(argument) > MOST_NAME:
                return len(argument)
    except Exception:  # no pickle any more from there on: its reader tells
        return 0
    return 0


def _foreign(path: Path, what: str, found: Foreign) -> HardStop:
    return HardStop("spec_invalid", f"{what} is {found.what}", file=path, fix=found.fix)


def _unreadable(path: Path, what: str, error: OSError) -> HardStop:
    return HardStop(
        "spec_invalid",
        f"{what} cannot be read ({error.strerror or error})",
        file=path,
        fix="let this user read it",
    )
