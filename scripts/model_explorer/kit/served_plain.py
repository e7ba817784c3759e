"""A served model that takes plain JSON: any body, any answer."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from .exchange import refuse_unknown
from .folder import Refusal
from .outcomes import OpenInput
from .served_http import Http


class Plain(Http):
    """Any server that takes JSON: the user says what the body looks like."""

    def __init__(self, asked: dict[str, Any], told: dict[str, Any]) -> None:
        super().__init__(asked)
        self.body = asked.get("body")
        self.runtime = "plain JSON over HTTP"
        if not told:
            refuse_unknown(asked)
        if not self.body:
            names = list(told)
            guess = {"instances": f"{{{names[0]}}}"}
            if len(names) > 1:
                guess = {n: f"{{{n}}}" for n in names}
            raise Refusal(
                "nothing says what a request to the server looks like",
                [OpenInput("the request's body", "served.body", guess,
                           why="so TensorFlow Serving and KServe v1 take it")],
            )  # fmt: skip

    def infer(self, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the leaves of the answer by name, arrays of numbers whole."""
        text = json.dumps(filled(self.body, feed)).encode()
        headers = {"Content-Type": "application/json"}
        status, _, body = self.ask("POST", "", text, headers)
        self.last.split(len(text), len(body))
        if status >= 400:
            raise Refusal(f"the server refuses the input ({status}): {self.reason(body)}")
        return leaves(self.cleaner.cleaned(self.parsed(body)))


def filled(body: Any, feed: dict[str, np.ndarray]) -> Any:
    """Return a body with ``"{NAME}"`` replaced by that input's numbers as nested lists.

    >>> filled({"x": "{a}", "k": ["{a}", 1]}, {"a": np.zeros(2)})
    {'x': [0.0, 0.0], 'k': [[0.0, 0.0], 1]}
    """
    if isinstance(body, dict):
        return {k: filled(v, feed) for k, v in body.items()}
    if isinstance(body, list):
        return [filled(v, feed) for v in body]
    if isinstance(body, str) and body[:1] == "{" and body[1:-1] in feed:
        return feed[body[1:-1]].tolist()
    return body


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Return named leaves of JSON; a list of numbers (or of equal lists of them) is one array.

    >>> leaves({"a": [[1, 2], [3, 4]], "b": {"c": "x"}})
    {'a': array([[1, 2],
           [3, 4]]), 'b.c': 'x'}
    """
    if isinstance(value, dict) and value:
        out: dict[str, Any] = {}
        for k, v in value.items():
            out.update(leaves(v, f"{name}.{k}" if name else str(k)))
        return out
    if isinstance(value, (bool, int, float, list)):
        try:
            array = np.asarray(value)
            if array.dtype.kind in "fiub":
                value = array
        except (ValueError, OverflowError):  # lists of several lengths
            pass
    return {name or "output": value}
