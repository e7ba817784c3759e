"""User text as part of a file name: never two texts under one name, never a name too long.

File systems count bytes, not characters, and some do not tell ``Bridge`` from ``bridge`` or the two
Unicode forms of ``ü`` apart.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from pathlib import PurePath

MAX_NAME_BYTES = 255  # of one name, on every common file system
MAX_SLUG_BYTES = 100  # leaves room for numbers and an extension
DIGEST_DIGITS = 8


def slugs(texts: Iterable[str], max_bytes: int = MAX_SLUG_BYTES) -> dict[str, str]:
    """Return text -> its form for a file name: letters and digits kept, the rest ``_``.

    Only texts that would share a name, or whose name would be longer than ``max_bytes``, get a
    digest (``solder_ball-1b2c3d4e``). No plain form has a ``-``, so those are distinct as well.
    """
    plain = {text: _plain(text) for text in dict.fromkeys(texts)}
    sharing: dict[str, int] = {}
    for form in plain.values():
        sharing[_folded(form)] = sharing.get(_folded(form), 0) + 1
    return {
        text: form
        if sharing[_folded(form)] == 1 and len(form.encode()) <= max_bytes
        else f"{_cut(form, max_bytes - DIGEST_DIGITS - 1)}-{_digest(text)}"
        for text, form in plain.items()
    }


def shortened(name: str, max_bytes: int = MAX_NAME_BYTES) -> str:
    """Return a file name as it is, or cut to ``max_bytes`` with a digest before its extension."""
    if len(name.encode(errors="surrogateescape")) <= max_bytes:
        return name
    suffix = PurePath(name).suffix
    suffix = suffix if len(suffix.encode(errors="surrogateescape")) <= max_bytes // 4 else ""
    room = max_bytes - len(suffix.encode(errors="surrogateescape")) - DIGEST_DIGITS - 1
    return f"{_cut(name.removesuffix(suffix), room)}-{_digest(name)}{suffix}"


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in text)


def _folded(form: str) -> str:
    return unicodedata.normalize("NFKC", form).casefold()


def _cut(text: str, max_bytes: int) -> str:
    return text.encode(errors="surrogateescape")[:max_bytes].decode("utf-8", errors="ignore")


def _digest(text: str) -> str:
    data = text.encode("utf-8", errors="surrogateescape")
    return hashlib.sha256(data).hexdigest()[:DIGEST_DIGITS]
