"""KServe's v2 protocol over gRPC, by ``grpcio`` and ``protobuf``; the messages are declared here as
far as they are used, so no generated code is needed.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from .exchange import DEFAULT_TIMEOUT_S, MOST_BYTES, Cleaner, Exchange, refuse_unknown
from .folder import Refusal
from .tensors import DATATYPES, from_bytes, to_bytes

SERVICE = "inference.GRPCInferenceService"
TENSOR = (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "int64*"))
# message -> fields: name, number, type (* = repeated; a message by its name)
MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (
        ("name", 1, "string"), ("version", 2, "string"), ("extensions", 3, "string*"),
    ),
    "ModelMetadataRequest": (("name", 1, "string"), ("version", 2, "string")),
    "TensorMetadata": TENSOR,
    "ModelMetadataResponse": (
        ("name", 1, "string"), ("versions", 2, "string*"), ("platform", 3, "string"),
        ("inputs", 4, "TensorMetadata*"), ("outputs", 5, "TensorMetadata*"),
    ),
    "InferTensorContents": (
        ("bool_contents", 1, "bool*"), ("int_contents", 2, "int32*"),
        ("int64_contents", 3, "int64*"), ("uint_contents", 4, "uint32*"),
        ("uint64_contents", 5, "uint64*"), ("fp32_contents", 6, "float*"),
        ("fp64_contents", 7, "double*"), ("bytes_contents", 8, "bytes*"),
    ),
    "InferTensor": (*TENSOR, ("contents", 5, "InferTensorContents")),
    "ModelInferRequest": (
        ("model_name", 1, "string"), ("model_version", 2, "string"), ("id", 3, "string"),
        ("inputs", 5, "InferTensor*"), ("raw_input_contents", 7, "bytes*"),
    ),
    "ModelInferResponse": (
        ("model_name", 1, "string"), ("model_version", 2, "string"), ("id", 3, "string"),
        ("outputs", 5, "InferTensor*"), ("raw_output_contents", 6, "bytes*"),
    ),
}  # fmt: skip


def messages() -> dict[str, Any]:
    """Return the messages' classes by name."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="explored_v2.proto", package="inference", syntax="proto3"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            plain = kind.rstrip("*")
            entry = message.field.add(name=field, number=number)
            entry.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            if plain in MESSAGES:
                entry.type, entry.type_name = kinds.TYPE_MESSAGE, f".inference.{plain}"
            else:
                entry.type = getattr(kinds, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"inference.{name}"))
        for name in MESSAGES
    }


class Grpc:
    """Calls to one host. ``last`` is the last one, with the tensors' bytes apart."""

    source = "the server's metadata"

    def __init__(self, asked: dict[str, Any]) -> None:
        parts = urlsplit(asked["address"])
        # A proxy of the environment is not the host that was named.
        options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", MOST_BYTES),
                   ("grpc.max_send_message_length", MOST_BYTES)]  # fmt: skip
        host = parts.hostname or ""
        target = f"[{host}]:{parts.port}" if ":" in host else f"{host}:{parts.port}"
        if parts.scheme == "grpcs":
            self.channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
        else:
            self.channel = grpc.insecure_channel(target, options)
        self.address = asked["address"]
        self.timeout = float(asked.get("timeout_s") or DEFAULT_TIMEOUT_S)
        self.cleaner = Cleaner.of(asked.get("headers") or {})
        self.last = Exchange(self.cleaner)
        self.classes = messages()
        self.model = {"name": asked["model"], "version": asked.get("version") or ""}
        server = self.call("ServerMetadata", self.classes["ServerMetadataRequest"]())
        about = self.call("ModelMetadata", self.classes["ModelMetadataRequest"](**self.model))
        self.runtime = f"KServe v2 over gRPC: {server.name} {server.version}"
        self.facts: dict[str, Any] = {
            "platform": about.platform or None, "versions": list(about.versions),
            "extensions": list(server.extensions),
        }  # fmt: skip
        self.inputs = [_tensor(t) for t in about.inputs]
        self.outputs = [_tensor(t) for t in about.outputs]
        if not self.inputs and not asked.get("told"):
            refuse_unknown(asked)

    def call(self, name: str, request: Any) -> Any:
        """Return a call's answer; raises :class:`Refusal` with what the server says."""
        stub = self.channel.unary_unary(
            f"/{SERVICE}/{name}",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=self.classes[f"{name}Response"].FromString,
        )
        headers = [(k.lower(), v) for k, v in self.cleaner.headers().items()]
        try:
            return stub(request, timeout=self.timeout, metadata=headers)
        except grpc.RpcError as error:
            said = self.cleaner.text(" ".join(str(error.details()).split())[:200])
            code = error.code().name
            what = "does not answer" if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED") else "refuses"
            raise Refusal(f"the server at {self.address} {what} {name} ({code}): {said}") from error

    def infer(self, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        """Return the outputs by name."""
        types = {t["name"]: t["datatype"] for t in self.inputs}
        request = self.classes["ModelInferRequest"](
            model_name=self.model["name"], model_version=self.model["version"]
        )
        for name, value in feed.items():
            kind = types.get(name) or DATATYPES.get(str(value.dtype), "BYTES")
            request.inputs.add(name=name, datatype=kind, shape=list(value.shape))
            request.raw_input_contents.append(to_bytes(value, kind))
        answer = self.call("ModelInfer", request)
        self._keep(request, answer, list(self.cleaner.values))
        raw = list(answer.raw_output_contents)
        if raw and len(raw) != len(answer.outputs):
            raise Refusal(f"the server sends {len(raw)} tensors for {len(answer.outputs)} outputs")
        out = {}
        for number, output in enumerate(answer.outputs):
            tensor = _tensor(output)
            out[output.name] = from_bytes(raw[number] if raw else _typed(output), tensor)
        if not out:
            raise Refusal("the server's answer has no outputs")
        return out

    def _keep(self, request: Any, answer: Any, headers: list[str]) -> None:
        last = Exchange(self.cleaner)
        last.request = {"method": f"/{SERVICE}/ModelInfer", "headers": dict.fromkeys(headers, "")}
        heads, tails = [], []
        for message, field in ((request, "raw_input_contents"), (answer, "raw_output_contents")):
            tails.append(b"".join(getattr(message, field)))
            bare = type(message)()
            bare.CopyFrom(message)
            bare.ClearField(field)
            heads.append(json_format.MessageToJson(bare).encode())
        last.sent, last.got = heads[0] + tails[0], heads[1] + tails[1]
        last.split(len(heads[0]), len(heads[1]))
        self.last = last


def _tensor(message: Any) -> dict[str, Any]:
    return {"name": message.name, "datatype": message.datatype, "shape": list(message.shape)}


def _typed(output: Any) -> bytes:
    """Return the bytes of an output whose numbers stand in the message (mlserver)."""
    for field, values in output.contents.ListFields():
        if field.name == "bytes_contents":
            texts = np.asarray([v.decode("utf-8", "replace") for v in values], dtype=object)
            return to_bytes(texts, output.datatype)
        return to_bytes(np.asarray(values), output.datatype)
    return b""
