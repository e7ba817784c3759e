"""Requests to the one host of a served model, and KServe's v2 protocol over them."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from .exchange import DEFAULT_TIMEOUT_S, MOST_BYTES, Cleaner, Exchange, json_of, refuse_unknown
from .folder import Refusal, first_line
from .tensors import DATATYPES, from_bytes, from_json, short, to_bytes, to_json

HEADER_LENGTH = "Inference-Header-Content-Length"
BINARY = ("binary_tensor_data", "binary_data")  # how servers call the extension


class Http:
    """Requests to one host, over a connection that is kept."""

    source = "the server's metadata"

    def __init__(self, asked: dict[str, Any]) -> None:
        parts = urlsplit(asked["address"])
        timeout = float(asked.get("timeout_s") or DEFAULT_TIMEOUT_S)
        if parts.scheme == "https":
            self.connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname or "", parts.port, timeout=timeout,
                context=ssl.create_default_context(),
            )  # fmt: skip
        else:
            self.connection = http.client.HTTPConnection(
                parts.hostname or "", parts.port, timeout=timeout
            )
        self.address, self.base = asked["address"], parts.path.rstrip("/")
        self.cleaner = Cleaner.of(asked.get("headers") or {})
        self.last = Exchange(self.cleaner)
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.runtime = ""

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer; a stale connection is opened again."""
        sent = {"Accept": "application/json", **(headers or {}), **self.cleaner.headers()}
        for attempt in (1, 2):
            try:
                fresh = self.connection.sock is None
                self.connection.request(method, self.base + path, body, sent)
                answer = self.connection.getresponse()
                found = answer.read(MOST_BYTES + 1)
                break
            except (http.client.HTTPException, OSError) as error:
                self.connection.close()
                stale = isinstance(error, (http.client.RemoteDisconnected, ConnectionError))
                if attempt == 2 or fresh or not stale:
                    raise Refusal(
                        f"the server at {self.address} does not answer: {first_line(error)}"
                    ) from error
        if len(found) > MOST_BYTES:
            raise Refusal(f"the server at {self.address} sends more than {MOST_BYTES} bytes")
        kept = {k.lower(): v for k, v in answer.getheaders()}
        self.last = Exchange(self.cleaner)
        self.last.request = {"method": method, "path": self.base + path, "headers": sent}
        self.last.response = {"status": answer.status, "headers": kept}
        self.last.sent, self.last.got = body or b"", found
        if 300 <= answer.status < 400:
            place = self.cleaner.text(kept.get("location", "nowhere"))
            raise Refusal(f"{self.address} is moved to {place}; name that host if you trust it")
        return answer.status, kept, found

    def json(self, method: str, path: str) -> Any:
        """Return the JSON of an answer; raises :class:`Refusal` for another status than 200."""
        status, _, body = self.ask(method, path)
        if status != 200:
            raise Refusal(f"{self.base + path}: the server says {status}: {self.reason(body)}")
        return self.parsed(body)

    def parsed(self, body: bytes) -> Any:
        """Return JSON; raises :class:`Refusal` for anything else."""
        try:
            return json_of(body)
        except (ValueError, RecursionError):
            raise Refusal(
                f"the server at {self.address} answers with something else than JSON: "
                f"{self.cleaner.text(body[:80].decode('utf-8', 'replace'))!r}"
            ) from None

    def reason(self, body: bytes) -> str:
        """Return what an error's body says, one line, cleaned."""
        try:
            data = json_of(body)
            said = str(data.get("error") or data.get("detail") or data)
        except (ValueError, AttributeError, RecursionError):
            said = body.decode("utf-8", "replace")
        return self.cleaner.text(" ".join(said.split())[:200]) or "nothing"


class V2(Http):
    """KServe's v2 protocol (the Open Inference Protocol), with Triton's binary tensors where the
    server has them.
    """

    def __init__(self, asked: dict[str, Any]) -> None:
        super().__init__(asked)
        version = f"/versions/{quote(asked['version'], safe='')}" if asked.get("version") else ""
        self.model = f"/v2/models/{quote(asked['model'], safe='')}{version}"
        server = self.json("GET", "/v2")
        about = self.json("GET", self.model)
        if not isinstance(server, dict) or not isinstance(about, dict):
            raise Refusal(f"the server at {self.address} does not speak the v2 protocol")
        told = server.get("extensions")
        self.binary = isinstance(told, list) and any(name in BINARY for name in told)
        self.runtime = f"KServe v2 over HTTP: {server.get('name')} {server.get('version')}"
        self.facts = {
            "platform": about.get("platform") or None, "versions": about.get("versions"),
            "extensions": server.get("extensions"),
        }  # fmt: skip
        self.inputs, self.outputs = tensors_of(about, "inputs"), tensors_of(about, "outputs")
        if not self.inputs and not asked.get("told"):
            refuse_unknown(asked)

    def infer(self, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the outputs by name."""
        types = {t["name"]: t["datatype"] for t in self.inputs}
        inputs, tail = [], []
        for name, value in feed.items():
            kind = types.get(name) or DATATYPES.get(str(value.dtype), "BYTES")
            entry: dict[str, Any] = {"name": name, "shape": list(value.shape), "datatype": kind}
            if self.binary:
                tail.append(to_bytes(value, kind))
                entry["parameters"] = {"binary_data_size": len(tail[-1])}
            else:
                entry["data"] = to_json(value, kind)
            inputs.append(entry)
        head: dict[str, Any] = {"inputs": inputs}
        headers = {"Content-Type": "application/json"}
        if self.binary:
            head["parameters"] = {"binary_data_output": True}
            headers["Content-Type"] = "application/octet-stream"
        text = json.dumps(head).encode()
        if self.binary:
            headers[HEADER_LENGTH] = str(len(text))
        status, kept, body = self.ask("POST", f"{self.model}/infer", text + b"".join(tail), headers)
        length = kept.get(HEADER_LENGTH.lower())
        end = int(length) if length and length.isdigit() else len(body)
        self.last.split(len(text), end)
        if status != 200:
            raise Refusal(f"the server refuses the input ({status}): {self.reason(body)}")
        answer, rest = self.parsed(body[:end]), body[end:]
        out: dict[str, Any] = {}
        for tensor in tensors_of(answer, "outputs"):
            size = (tensor.get("parameters") or {}).get("binary_data_size")
            if size is not None:
                if not 0 <= size <= len(rest):
                    raise Refusal(
                        f"output {short(tensor['name'])} is cut off: {len(rest)} of {size} bytes"
                    )
                out[tensor["name"]] = from_bytes(rest[:size], tensor)
                rest = rest[size:]
            else:
                out[tensor["name"]] = from_json(tensor)
        if not out:
            raise Refusal("the server's answer has no outputs")
        return out


def tensors_of(data: Any, part: str) -> list[dict[str, Any]]:
    """Return the tensors of a v2 answer; raises :class:`Refusal` when they are malformed."""
    listed = data.get(part) or [] if isinstance(data, dict) else None
    if not isinstance(listed, list) or not all(map(_is_tensor, listed)):
        raise Refusal(
            f"the server's {part} are not as the v2 protocol says (name, datatype, shape)"
        )
    return listed


def _is_tensor(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        return False
    told = entry.get("parameters") or {}
    return (
        all(isinstance(entry.get(k), str) for k in ("name", "datatype"))
        and all(type(n) is int for n in entry["shape"])
        and isinstance(told, dict)
        and isinstance(told.get("binary_data_size", 0), int)
    )
