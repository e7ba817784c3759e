"""The ``explore.served`` group: one host, how it is spoken to, and no secret in it."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

from deft.core.errors import HardStop
from model_explorer.request import Request, shown_url

SCHEMES = ("http", "https", "grpc", "grpcs")
VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
# What people copy from a request that works.
OF_MODEL = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?:infer|ready))?/?$"
)


def served(request: Request) -> dict[str, Any]:
    """Return what ``outputs/parameters.json`` keeps of a served model; nothing is asked yet.

    Raises HardStop ``config_invalid`` for an address or a header that would leave a secret in the
    experiment, or that is none; ``missing_input`` for a variable that is not set.
    """
    asked = {k: v for k, v in request.served.items() if v is not None}
    address = str(asked.get("address") or "")
    parts = _parts(address)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _wrong(
            f"{shown_url(address.partition('?')[0])} has a user, a password or a query in it; it "
            "would be kept in the experiment",
            "give the bare address, and the secret as explore.served.headers: {Authorization: "
            "NAME_OF_A_VARIABLE}",
        )
    is_grpc = parts.scheme.startswith("grpc")
    protocol = "grpc" if is_grpc else asked.get("protocol", "v2")
    if is_grpc and (asked.get("protocol", "v2") != "v2" or not parts.port):
        raise _wrong(f"{address}: gRPC speaks the v2 protocol on a port that must be given",
                     "grpc://HOST:8001, without protocol")  # fmt: skip
    found = OF_MODEL.search(parts.path) if protocol == "v2" else None
    if found:
        address = address[: address.index(found[0])]
        asked = {**{k: v for k, v in found.groupdict().items() if v}, **asked}
    if protocol != "json" and not asked.get("model"):
        raise _wrong("explore.served.model is not set: which of the server's models?",
                     "served: {address: ADDRESS, model: NAME}")  # fmt: skip
    for header, variable in (asked.get("headers") or {}).items():
        if not VARIABLE.match(variable):
            raise _wrong(
                f"the header {header} must name an environment variable, for its value would be "
                "kept in the experiment",
                f"export TOKEN='…', and headers: {{{header}: TOKEN}}",
            )
        if not os.environ.get(variable):
            raise HardStop(
                "missing_input",
                f"the environment variable {variable} (explore.served.headers, {header}) is not "
                "set",
                fix=f"export {variable}=… where you type the command",
            )
    return {**asked, "address": address, "protocol": protocol}


def _parts(address: str) -> Any:
    try:
        parts = urlsplit(address)
        if parts.scheme in SCHEMES and parts.hostname and (parts.port is None or parts.port):
            return parts
    except ValueError:
        pass
    raise _wrong(
        f"{shown_url(address)!r} is no address of a server",
        "http://HOST:PORT, https://HOST, grpc://HOST:PORT or grpcs://HOST:PORT",
    )


def _wrong(what: str, fix: str) -> HardStop:
    return HardStop("config_invalid", f"explore.served: {what}", fix=fix)
