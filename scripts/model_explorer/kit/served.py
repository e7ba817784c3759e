"""A model that a server runs: asked over KServe's v2 protocol or with plain JSON, on the one host
that the user names.

A proxy is never used and no redirect followed. What the last call sent and got is kept, cleaned of
secrets, for :meth:`ServedModel.save`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .exchange import Cleaner, Exchange
from .folder import Folder
from .served_http import V2
from .served_plain import Plain
from .tensors import NAMES_OF

USER = "the user (explore.contract)"
FREE = "axis {}"


class ServedModel:
    """A model behind an address. ``run`` takes and gives numpy arrays, like every other model."""

    trainable = False
    remote = True
    device = "server"

    def __init__(self, talk: Any, asked: dict[str, Any], told: dict[str, Any]) -> None:
        self.talk = talk
        self.inputs = entries(talk.inputs, told, talk.source)
        self.outputs = [o for o in entries(talk.outputs, {}, talk.source) if o["dtype"]]
        self.facts: dict[str, Any] = {
            "runtime": talk.cleaner.text(talk.runtime),
            "provider": asked["address"],
            "served": {k: asked.get(k) for k in ("protocol", "model", "version")},
            "over": "the network to the server and back is in every time",
            **talk.cleaner.cleaned(talk.facts),
        }
        self.unknowns = [
            {
                "what": "what runs the model, and how much memory it takes: the server does not "
                "tell its clients",
                "settle": "the server's own metrics",
            }
        ]
        self.seconds: dict[str, float] = {}

    def run(self, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return every output by name; raises :class:`Refusal` with what the server says."""
        answer = self.talk.infer({i["name"]: feed[i["name"]] for i in self.inputs})
        return {name: _cleaned(self.talk.cleaner, value) for name, value in answer.items()}

    def peak_vram_mib(self) -> None:
        """Return None: a server does not tell."""

    def save(self, folder: Folder, name: str) -> list[str]:
        """Write the last request and response below ``outputs/exchanges``; return the files."""
        last: Exchange = self.talk.last
        return last.save(folder, name)


def load(
    folder: Folder, what: dict[str, Any], runtime: dict[str, Any], threads: int
) -> ServedModel:
    """Return the model of ``explore.served``; a server that does not answer is a refusal."""
    inputs = (folder.parameters.get("contract") or {}).get("inputs") or {}
    asked = {**what["served"], "told": bool(inputs)}
    if asked["protocol"] == "grpc":
        from .served_grpc import Grpc

        return ServedModel(Grpc(asked), asked, inputs)
    talk = V2(asked) if asked["protocol"] == "v2" else Plain(asked, inputs)
    return ServedModel(talk, asked, inputs)


def _cleaned(cleaner: Cleaner, value: Any) -> Any:
    """Return an output whose texts have no secret that the server sent back."""
    if isinstance(value, np.ndarray):
        if value.dtype != object:
            return value
        texts = [cleaner.text(str(v)) for v in value.ravel()]
        return np.asarray(texts, dtype=object).reshape(value.shape)
    return cleaner.cleaned(value)


def entries(
    tensors: list[dict[str, Any]], told: dict[str, Any], source: str
) -> list[dict[str, Any]]:
    """Return the contract's entries of a server's tensors, or of the user's where it tells none."""
    if not tensors:
        return [
            {"name": n, "dtype": t.get("dtype") or "float32", "shape": t["shape"], "source": USER}
            for n, t in told.items()
            if t.get("shape")
        ]
    out = []
    for tensor in tensors:
        shape = [int(n) if int(n) >= 0 else FREE.format(i) for i, n in enumerate(tensor["shape"])]
        dtype = NAMES_OF.get(tensor["datatype"])
        out.append({"name": tensor["name"], "dtype": dtype, "shape": shape, "source": source})
    return out
