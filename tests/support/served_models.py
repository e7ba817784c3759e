"""Servers of a tiny model on loopback: the v2 protocol over HTTP as it is published, with Triton's
binary tensors or without, plain JSON, and gRPC.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

LENGTH = "Inference-Header-Content-Length"
TOKEN = "Bearer sesame-9f8e7d"  # what a server may want, and may leak
ABOUT = {
    "name": "twice", "versions": ["1"], "platform": "own",
    "inputs": [{"name": "rows", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [
        {"name": "doubled", "datatype": "FP32", "shape": [-1, 4]},
        {"name": "word", "datatype": "BYTES", "shape": [-1]},
    ],
}  # fmt: skip


class Served:
    """What a server is to do, and what it was asked. ``fault`` changes an answer's bytes."""

    def __init__(self, *, binary: bool, guarded: bool = False) -> None:
        self.binary, self.guarded = binary, guarded
        self.fault: Callable[[int, dict[str, str], bytes], tuple[int, dict[str, str], bytes]] | None
        self.fault = None
        self.seen: list[tuple[str, str, int]] = []
        self.address = ""


def answer(rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the model's outputs."""
    return {"doubled": 2 * rows, "word": np.asarray(["hé"] * len(rows), dtype=object)}


def strings(values: np.ndarray) -> bytes:
    """Return texts as the protocol packs them."""
    texts = [str(v).encode() for v in values]
    return b"".join(len(t).to_bytes(4, "little") + t for t in texts)


def infer(state: Served, headers: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an inference, strictly by the protocol."""
    head = int(headers[LENGTH]) if headers.get(LENGTH) else len(body)
    asked = json.loads(body[:head])
    (tensor,) = asked["inputs"]
    size = (tensor.get("parameters") or {}).get("binary_data_size")
    if size is None:
        rows = np.asarray(tensor["data"], np.float32)
    elif state.binary and headers.get(LENGTH) and len(body) - head == size:
        rows = np.frombuffer(body[head:], "<f4")
    else:
        return 400, {}, b'{"error": "no binary tensors here, or not as many bytes as announced"}'
    shape = tensor["shape"]
    if (tensor["name"], tensor["datatype"]) != ("rows", "FP32") or shape[1:] != [4]:
        return 400, {}, json.dumps({"error": f"unexpected shape {shape} for rows"}).encode()
    found = answer(rows.reshape(shape))
    wants = state.binary and (asked.get("parameters") or {}).get("binary_data_output")
    outputs: list[dict[str, Any]] = []
    tail = b""
    for entry in ABOUT["outputs"]:
        value = found[str(entry["name"])]
        told: dict[str, Any] = {**entry, "shape": list(value.shape)}
        if wants:
            data = strings(value) if entry["datatype"] == "BYTES" else value.tobytes()
            told["parameters"] = {"binary_data_size": len(data)}
            tail += data
        else:
            told["data"] = value.ravel().tolist()
        outputs.append(told)
    text = json.dumps({"model_name": "twice", "model_version": "1", "outputs": outputs}).encode()
    kept = {"Content-Type": "application/json", "Set-Cookie": "session=sesame-9f8e7d",
            "X-Echo": str(headers.get("Authorization"))}  # fmt: skip
    if wants:
        kept.update({"Content-Type": "application/octet-stream", LENGTH: str(len(text))})
    return 200, kept, text + tail


def plain(body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return the answer of a server with a form of its own."""
    rows = np.asarray(json.loads(body)["instances"], np.float32)
    told = {"predictions": (2 * rows).tolist(), "note": "fine", "api_key": "sesame-9f8e7d",
            "ragged": [[1], [2, 3]]}  # fmt: skip
    return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()


def handler(state: Served) -> type[BaseHTTPRequestHandler]:
    """Return the handler's class of a server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            if state.guarded and self.headers.get("Authorization") != TOKEN:
                return (
                    401,
                    {},
                    b'{"error": "not you: ' + str(self.headers["Authorization"]).encode() + b'"}',
                )
            path = self.path.replace("/versions/1", "")
            if path == "/v2":
                extensions = ["binary_tensor_data"] if state.binary else []
                server = {"name": "tiny", "version": "0.1", "extensions": extensions}
                return 200, {}, json.dumps(server).encode()
            if path == "/v2/models/twice":
                return 200, {}, json.dumps(ABOUT).encode()
            if path == "/v2/models/twice/infer" and self.command == "POST":
                return infer(state, self.headers, body)
            if path == "/predict" and self.command == "POST":
                return plain(body)
            return 404, {}, b'{"error": "no such model"}'

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.seen.append((self.command, self.path, len(body)))
            status, headers, data = self.answer(body)
            if state.fault is not None:
                status, headers, data = state.fault(status, headers, data)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = reply

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


@contextlib.contextmanager
def over_http(*, binary: bool = True, guarded: bool = False) -> Iterator[Served]:
    """Serve over HTTP until the end of the block."""
    state = Served(binary=binary, guarded=guarded)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    server.daemon_threads = True
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def over_grpc(*, typed: bool = False) -> Iterator[Served]:
    """Serve over gRPC; ``typed``: outputs as numbers in the message (mlserver), not as bytes."""
    import grpc

    from model_explorer.kit.served_grpc import SERVICE, messages

    kinds, state = messages(), Served(binary=True)

    def about(request: Any, context: Any) -> Any:
        if request.name != "twice":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        return kinds["ModelMetadataResponse"](**ABOUT)

    def run(request: Any, context: Any) -> Any:
        state.seen.append(("ModelInfer", str(dict(context.invocation_metadata())), 0))
        (tensor,) = request.inputs
        if list(tensor.shape[1:]) != [4]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape")
        found = answer(np.frombuffer(request.raw_input_contents[0], "<f4").reshape(tensor.shape))
        reply = kinds["ModelInferResponse"](model_name="twice")
        for entry in ABOUT["outputs"]:
            value = found[str(entry["name"])]
            told = reply.outputs.add(**{**entry, "shape": list(value.shape)})
            if typed and entry["datatype"] == "BYTES":
                told.contents.bytes_contents.extend(str(v).encode() for v in value)
            elif typed:
                told.contents.fp32_contents.extend(value.ravel().tolist())
            else:
                is_text = entry["datatype"] == "BYTES"
                reply.raw_output_contents.append(strings(value) if is_text else value.tobytes())
        return reply

    def server_metadata(request: Any, context: Any) -> Any:
        return kinds["ServerMetadataResponse"](name="tiny", version="0.1")

    calls = {"ServerMetadata": server_metadata, "ModelMetadata": about, "ModelInfer": run}
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            call, request_deserializer=kinds[f"{name}Request"].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for name, call in calls.items()
    }  # fmt: skip
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    state.address = f"grpc://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield state
    finally:
        server.stop(0).wait()
