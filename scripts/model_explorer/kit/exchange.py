"""What goes to a served model and comes back, as files that are cleaned of secrets."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from typing import Any

from .folder import Folder, Refusal, write_text
from .outcomes import OpenInput, key

PLACE = "outputs/exchanges"
HIDDEN = "***"
MOST_KEPT = 8 << 20  # bytes of a body; of a longer one the beginning and the digest
SECRET_HEADER = re.compile(r"auth|token|key|secret|cookie|session|credential|passw", re.IGNORECASE)
SECRET_NAME = re.compile(
    r"(^|[_-])(api_?-?key|access_?-?key|token|secret|passw(or)?d|authorization|credentials?|"
    r"cookie)$",
    re.IGNORECASE,
)
MOST_BYTES = 1 << 30  # of an answer
DEFAULT_TIMEOUT_S = 60.0
SHORTEST = 4  # a shorter value is found everywhere


@dataclass
class Cleaner:
    """The headers' values, which come from the environment and are kept nowhere."""

    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, names: dict[str, str]) -> Cleaner:
        """Read header -> environment variable; raises :class:`Refusal` for one that is not set."""
        absent = sorted(v for v in names.values() if not os.environ.get(v, "").strip())
        if absent:
            raise Refusal(
                f"the environment variable {absent[0]} (explore.served.headers) is not set"
            )
        found = {header: os.environ[v].strip() for header, v in names.items()}
        for header, value in found.items():  # a library's own message would show the value
            if not (value.isascii() and value.isprintable()):
                raise Refusal(
                    f"the environment variable {names[header]} (explore.served.headers) holds "
                    "signs that no header may have: only printable ASCII, on one line"
                )
        return cls(found)

    def headers(self) -> dict[str, str]:
        """Return the headers to send."""
        return dict(self.values)

    def _secrets(self) -> list[str]:
        parts = {p for v in self.values.values() for p in (v, *v.split()) if len(p) >= SHORTEST}
        return sorted(parts - {"Bearer", "Basic"}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return a text without the secrets' values."""
        for value in self._secrets():
            text = text.replace(value, HIDDEN)
        return text

    def raw(self, data: bytes) -> bytes:
        """Return bytes of the same length without the secrets' values."""
        for value in self._secrets():
            data = data.replace(value.encode(), b"*" * len(value.encode()))
        return data

    def cleaned(self, value: Any, name: str = "") -> Any:
        """Return JSON without secrets, by their values and by the names that they stand under."""
        if isinstance(value, dict):
            return {self.text(str(k)): self.cleaned(v, str(k)) for k, v in value.items()}
        if isinstance(value, list):
            return [self.cleaned(v) for v in value]
        if isinstance(value, str):
            return HIDDEN if SECRET_NAME.search(name) else self.text(value)
        return value

    def sent(self, headers: dict[str, str]) -> dict[str, str]:
        """Return headers with the values of the telling ones hidden."""
        own = {name.lower() for name in self.values}
        return {
            k: HIDDEN if k.lower() in own or SECRET_HEADER.search(k) else self.text(v)
            for k, v in headers.items()
        }


class Exchange:
    """The last call: heads as dictionaries, bodies as bytes, and where their JSON ends."""

    def __init__(self, cleaner: Cleaner) -> None:
        self.cleaner = cleaner
        self.request: dict[str, Any] = {}
        self.response: dict[str, Any] = {}
        self.sent, self.got = b"", b""
        self._ends = (0, 0)

    def split(self, sent: int, got: int) -> None:
        """Say how many bytes of each body are JSON; the rest is tensors."""
        self._ends = (sent, got)

    def save(self, folder: Folder, name: str) -> list[str]:
        """Write ``<name>_request.json``, ``<name>_response.json`` and the tensors' bytes beside
        them; return the files.
        """
        files = []
        for kind, head, body, end in (
            ("request", self.request, self.sent, self._ends[0]),
            ("response", self.response, self.got, self._ends[1]),
        ):
            entry = {**head, "bytes": len(body), **self._body(body[:end])}
            if "headers" in entry:
                entry["headers"] = self.cleaner.sent(entry["headers"])
            if body[end:]:
                file = f"{PLACE}/{name}_{kind}.bin"
                folder.path(file).parent.mkdir(parents=True, exist_ok=True)
                folder.path(file).write_bytes(self.cleaner.raw(body[end:][:MOST_KEPT]))
                entry["tensors"] = {"file": file, "sha256": _digest(body[end:])}
                files.append(file)
            file = f"{PLACE}/{name}_{kind}.json"
            text = json.dumps(entry, indent=1, sort_keys=True, ensure_ascii=False)
            write_text(folder.path(file), text + "\n")
            files.append(file)
        return sorted(files)

    def _body(self, data: bytes) -> dict[str, Any]:
        if len(data) > MOST_KEPT:
            shown = self.cleaner.text(data[:1000].decode("utf-8", "replace"))
            return {"body_begins": shown, "sha256": _digest(data)}
        try:
            return {"body": self.cleaner.cleaned(json_of(data))} if data else {}
        except (ValueError, RecursionError):
            return {"body": self.cleaner.text(data.decode("utf-8", "replace"))}


def json_of(data: bytes) -> Any:
    """Return JSON whose texts can be written; raises ValueError or RecursionError for anything
    else.
    """
    text = data.decode("utf-8", "replace")
    found = json.loads(text)
    if "\\ud" in text.lower():  # half of a pair is no character of UTF-8
        whole = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
        found = json.loads(whole.decode("utf-8"))
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refuse_unknown(asked: dict[str, Any]) -> None:
    """Raise the refusal for a server that does not say what goes in."""
    where = key("contract", "inputs", "input", "shape")
    raise Refusal(
        f"the server at {asked['address']} does not tell the model's inputs",
        [OpenInput("name, shape and type of its inputs", where, ["batch", 3, 224, 224])],
    )
