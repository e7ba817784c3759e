"""Served models: a real server on loopback, what is asked of it, and what is kept of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import explore_tools as tools
import numpy as np
import pytest
import served_models as servers

from deft.core.errors import HardStop
from model_explorer.kit import exchange, served, served_http, served_plain, steps, tensors
from model_explorer.kit.folder import Folder, Refusal
from model_explorer.kit.rerun import STAGE
from model_explorer.request import Request, check
from model_explorer.served_request import served as asked_of

run_step = steps.run_step  # explorations in this process replace it
SECRET = "sesame-9f8e7d"


def explored(root: Path, patch: pytest.MonkeyPatch | None, address: str, **keys) -> Folder:
    """Explore a served model with the scripts run in this process."""
    keys.setdefault("served", {"address": address, "model": "twice"})
    return tools.explored(root, in_process=patch, directory="tmp/mine", **keys)


def check_answers(folder: Folder) -> None:
    """The model doubles its rows: what was answered is compared with what was asked."""
    for sample in folder.read("inference")["samples"]:
        rows = np.load(folder.path(next(iter(sample["files"].values()))[0]))
        found = np.load(folder.path(sample["raw"][0]))
        (name,) = (n for n in found.files if n in ("doubled", "predictions"))
        np.testing.assert_array_equal(found[name], (2 * rows).astype(found[name].dtype))


def check_nothing_is_kept(folder: Folder) -> None:
    """No file of the experiment has the secret."""
    for path in folder.root.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_a_served_model_from_its_address_to_the_reports(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", servers.TOKEN)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody is there: no proxy is asked
    with servers.over_http(guarded=True) as server:
        # As copied from a request that works: model and version are taken from it.
        address = f"{server.address}/v2/models/twice/versions/1/infer"
        headers = {"Authorization": "MY_TOKEN"}
        folder = explored(
            tmp_path, monkeypatch, "", served={"address": address, "headers": headers}
        )
        contract, stats = folder.read("io_contract"), folder.read("stats")
        (rows,) = contract["inputs"]
        assert rows["run_shape"] == [1, 4] and rows["dtype"] == "float32"
        assert rows["source"] == "the server's metadata" and contract["batch"]["free"]
        assert contract["facts"]["runtime"] == "KServe v2 over HTTP: tiny 0.1"
        assert stats["memory"]["peak_ram_mib"] is None  # the server's is not this process's
        assert "14_profile.py" not in {s["script"] for s in folder.read("steps")}
        check_answers(folder)
        sample = folder.read("inference")["samples"][0]
        assert len(sample["exchange"]) == 4
        request = json.loads(folder.path(sample["exchange"][1]).read_text())
        assert request["headers"]["Authorization"] == "***"
        assert request["path"] == "/v2/models/twice/versions/1/infer"
        assert request["body"]["inputs"][0]["parameters"] == {"binary_data_size": 16}
        tensor = np.frombuffer(folder.path(request["tensors"]["file"]).read_bytes(), "<f4")
        np.testing.assert_array_equal(tensor, np.load(folder.path(sample["files"]["rows"][0]))[0])
        response = json.loads(folder.path(sample["exchange"][3]).read_text())
        assert response["status"] == 200 and response["headers"]["set-cookie"] == "***"
        for name in ("experiment-report.md", "stakeholder-report.md"):
            text = (folder.root / "reports" / name).read_text()
            assert "127.0.0.1" in text and not re.search(r"\bNone\b(?! was|\.)", text)
        check_nothing_is_kept(folder)
        # A step by itself: networks are taken from its process, but for this host.
        record = run_step(folder, [sys.executable], steps.STEPS[0])
        assert record["status"] == "ok" and record["network"] == [], record["said"]


@pytest.mark.slow
def test_a_served_model_again_while_it_is_there_and_after(tmp_path, monkeypatch):
    with servers.over_http() as server:
        folder = explored(tmp_path, monkeypatch, server.address)
        tools.run_again(folder.root)
        check_answers(folder)
    before = {p: p.read_bytes() for p in (folder.root / "reports").rglob("*") if p.is_file()}
    done = tools.rerun(folder.root)
    assert done.returncode == 3 and "does not answer" in done.stderr
    assert before == {p: p.read_bytes() for p in before} and not folder.path(STAGE).exists()


@pytest.mark.parametrize("typed", [False, True])
def test_a_served_model_over_grpc(tmp_path, monkeypatch, typed):
    pytest.importorskip("grpc")
    with servers.over_grpc(typed=typed) as server:
        monkeypatch.setenv("MY_TOKEN", servers.TOKEN)
        told = {"address": server.address, "model": "twice"}
        folder = explored(
            tmp_path, monkeypatch, "", served={**told, "headers": {"Authorization": "MY_TOKEN"}}
        )
        check_answers(folder)
        assert servers.TOKEN in server.seen[0][1]  # it was sent, and is nowhere
        check_nothing_is_kept(folder)
        needs = {n["distribution"]: n for n in folder.read("dependencies")["list"]}
        assert needs["grpcio"]["needed_by"] == "the served model's gRPC" and "protobuf" in needs
        with pytest.raises(Refusal, match=r"refuses ModelMetadata \(NOT_FOUND\): no such model"):
            open_here({**told, "model": "other", "protocol": "grpc"})
    with pytest.raises(Refusal, match="does not answer ServerMetadata"):
        open_here({**told, "protocol": "grpc", "timeout_s": 3})


def test_a_served_model_by_plain_json(tmp_path, monkeypatch):
    with servers.over_http() as server:
        told = {"address": f"{server.address}/predict", "protocol": "json"}
        contract = {"inputs": {"rows": {"shape": ["batch", 4], "dtype": "float32"}}}
        with pytest.raises(Refusal, match="nothing says what a request") as refused:
            open_here(told, contract)
        assert refused.value.needs[0]["line"].startswith('served: {body: {"instances": "{rows}"}}')
        with pytest.raises(Refusal, match="does not tell the model's inputs"):
            open_here(told)
        folder = explored(
            tmp_path, monkeypatch, "", served={**told, "body": {"instances": "{rows}"}},
            contract=contract,
        )  # fmt: skip
        check_answers(folder)
        outputs = {o["name"]: o["dtype"] for o in folder.read("io_contract")["outputs"]}
        assert outputs["predictions"] == "float64" and outputs["note"] == "str"
        check_nothing_is_kept(folder)


def open_here(told: dict, contract: dict | None = None) -> served.ServedModel:
    """Open a served model as a step does, without an experiment."""

    class Place:
        parameters = {"contract": contract or {}}

    return served.load(Place(), {"served": told}, {}, 1)


@pytest.mark.parametrize("binary", [True, False])
def test_both_forms_of_tensors_give_the_same(binary):
    with servers.over_http(binary=binary) as server:
        model = open_here({"address": server.address, "model": "twice", "protocol": "v2"})
        rows = np.asarray([[0.1, -1e-30, 3e37, 0]], np.float32)
        found = model.run({"rows": rows})
        np.testing.assert_array_equal(found["doubled"], 2 * rows)
        assert found["doubled"].dtype == np.float32 and found["word"].tolist() == ["hé"]
        with pytest.raises(Refusal, match=r"refuses the input \(400\): unexpected shape \[1, 5\]"):
            model.run({"rows": np.zeros((1, 5), np.float32)})
        assert model.run({"rows": rows})["doubled"].shape == (1, 4)  # and it goes on


def changed(**keys):
    """Return a fault that changes keys of the first output, or the answer itself."""

    def fault(status, headers, data):
        if b"outputs" not in data or status != 200:
            return status, headers, data
        end = int(headers.get(servers.LENGTH, len(data)))
        answer = json.loads(data[:end])
        if "model_name" not in answer:
            return status, headers, data
        answer["outputs"][0].update(keys)
        text = json.dumps(answer).encode()
        return status, {**headers, servers.LENGTH: str(len(text))}, text + data[end:]

    return fault


def of_infer(status, headers, data):
    """Return a fault that replaces the answers of inferences."""

    def fault(old, kept, body):
        return (status, headers, data) if b"model_version" in body else (old, kept, body)

    return fault


FAULTS = {
    "redirect": (of_infer(307, {"Location": "http://elsewhere/"}, b""), "is moved to http://elsew"),
    "html": (
        of_infer(200, {}, b"<html>sesame-9f8e7d"),
        r"something else than JSON: '<html>\*\*\*'",
    ),
    "error": (of_infer(500, {}, b'{"error": "out of memory"}'), r"\(500\): out of memory"),
    "empty": (of_infer(200, {}, b'{"outputs": []}'), "no outputs"),
    "list": (of_infer(200, {}, b"[1]"), "not as the v2 protocol"),
    "cut": (lambda s, h, d: (s, h, d[:-4] if b"model_name" in d else d), "is cut off|no BYTES"),
    "size": (changed(parameters={"binary_data_size": 10**9}), "is cut off: "),
    "size of nothing": (changed(parameters={"binary_data_size": -4}), "is cut off: "),
    "size in words": (changed(parameters={"binary_data_size": "16"}), "not as the v2 protocol"),
    "parameters": (changed(parameters=[1]), "not as the v2 protocol"),
    "shape in words": (changed(shape=[1, "n"]), "not as the v2 protocol"),
    "no type": (changed(datatype=None), "not as the v2 protocol"),
    "shape": (changed(shape=[1, 3]), r"said to be \[1, 3\], and 4 values were sent"),
    "type": (changed(datatype="FP12"), "FP12 is none of the v2"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_server_does_wrong_is_one_line(monkeypatch, name):
    monkeypatch.setenv("MY_TOKEN", servers.TOKEN)
    fault, words = FAULTS[name]
    with servers.over_http() as server:
        model = open_here(
            {"address": server.address, "model": "twice", "protocol": "v2",
             "headers": {"Authorization": "MY_TOKEN"}}
        )  # fmt: skip
        server.fault = fault
        with pytest.raises(Refusal, match=words) as refused:
            model.run({"rows": np.zeros((1, 4), np.float32)})
        assert "\n" not in str(refused.value) and not refused.value.proven
        assert SECRET not in str(refused.value)


def test_what_a_server_refuses_is_said_without_the_secret(monkeypatch):
    monkeypatch.setenv("WRONG", f"Bearer x{SECRET}")
    with servers.over_http(guarded=True) as server:
        told = {"address": server.address, "model": "twice", "protocol": "v2"}
        with pytest.raises(Refusal, match=r"/v2: the server says 401: not you: \*\*\*"):
            open_here({**told, "headers": {"Authorization": "WRONG"}})
        monkeypatch.setenv("WRONG", servers.TOKEN)
        with pytest.raises(Refusal, match="says 404: no such model"):
            open_here({**told, "model": "other", "headers": {"Authorization": "WRONG"}})


@pytest.mark.parametrize(
    ("told", "code", "words"),
    [
        ({}, "config_invalid", "is no address of a server"),
        ({"address": "ftp://h/x", "model": "m"}, "config_invalid", "is no address"),
        ({"address": "http://", "model": "m"}, "config_invalid", "is no address"),
        ({"address": "http://h:99999999", "model": "m"}, "config_invalid", "is no address"),
        ({"address": "http://me:hunter2@h", "model": "m"}, "config_invalid", "a password"),
        ({"address": "http://h/p?key=hunter2", "protocol": "json"}, "config_invalid", "a query"),
        ({"address": "http://h"}, "config_invalid", "which of the server's models"),
        ({"address": "grpc://h", "model": "m"}, "config_invalid", "a port that must be given"),
        ({"address": "grpc://h:1", "protocol": "json"}, "config_invalid", "gRPC speaks the v2"),
        ({"address": "http://h", "model": "m", "headers": {"A": "Bearer hunter2"}},
         "config_invalid", "must name an environment variable"),
        ({"address": "http://h", "model": "m", "headers": {"A": "NOT_SET_ANYWHERE"}},
         "missing_input", "NOT_SET_ANYWHERE"),
    ],
)  # fmt: skip
def test_a_served_group_that_cannot_be_meant_or_would_keep_a_secret(told, code, words):
    with pytest.raises(HardStop, match=words) as stop:
        asked_of(Request(served=told))
    assert stop.value.code == code and "hunter2" not in stop.value.text() and stop.value.fix


def test_a_file_and_a_server_at_once_are_refused():
    with pytest.raises(HardStop, match="a model that a server runs"):
        check(Request(served={"address": "http://h"}, checkpoint="m.onnx"))
    check(Request(served={"address": "http://h"}))
    assert Request(served={"address": "http://me:hunter2@h:1/p"}).slug == "h-1"


@pytest.mark.parametrize("kind", [*tensors.NAMES_OF])
def test_every_type_goes_there_and_back(kind):
    name = tensors.NAMES_OF[kind]
    value = np.asarray([[1, 0, 3]], dtype="float32" if kind == "BF16" else name)
    entry = {"name": "x", "datatype": kind, "shape": [1, 3]}
    back = tensors.from_bytes(tensors.to_bytes(value, kind), entry)
    assert back.tolist() == value.tolist()
    if kind in ("FP16", "BF16"):
        with pytest.raises(Refusal, match="cannot be sent as JSON"):
            tensors.to_json(value, kind)
    else:
        sent = json.loads(json.dumps(tensors.to_json(value, kind)))
        assert tensors.from_json({**entry, "data": sent}).tolist() == value.tolist()


@pytest.mark.parametrize("value", ["sesame\nsesame", "sés\u00e4me", "\x07sesame"])
def test_a_value_that_no_header_may_have_is_refused_unshown(monkeypatch, value):
    monkeypatch.setenv("MY_TOKEN", value)
    with pytest.raises(Refusal, match=r"MY_TOKEN \(explore.served.headers\) holds") as refused:
        exchange.Cleaner.of({"X-Api": "MY_TOKEN"})
    assert value.strip() not in str(refused.value)
    monkeypatch.setenv("MY_TOKEN", f"{SECRET}\n")  # as a mounted secret ends
    assert exchange.Cleaner.of({"X-Api": "MY_TOKEN"}).headers() == {"X-Api": SECRET}


def test_what_is_kept_is_cleaned_by_value_and_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("MY_TOKEN", servers.TOKEN)
    cleaner = exchange.Cleaner.of({"X-Api": "MY_TOKEN"})
    body = {"token": "abc", "access_key": "abc", "tokens": ["a"], "keypoints": [1], "note": SECRET,
            "deep": [{"password": "abc", "n": 1}]}  # fmt: skip
    assert cleaner.cleaned(body) == {
        "token": "***", "access_key": "***", "tokens": ["a"], "keypoints": [1], "note": "***",
        "deep": [{"password": "***", "n": 1}],
    }  # fmt: skip
    headers = {"X-Api": "1", "Cookie": "c", "X-Auth-Token": "t", "Via": SECRET, "Accept": "a"}
    assert set(cleaner.sent(headers).values()) == {"***", "a"}
    data = b"\0" + SECRET.encode() + b"\1"
    assert cleaner.raw(data) == b"\0" + b"*" * len(SECRET) + b"\1"
    last = exchange.Exchange(cleaner)
    last.sent = b'{"a": 1}' + b"x" * (exchange.MOST_KEPT + 5)
    last.split(8, 0)
    files = last.save(Folder(tmp_path), "big")
    assert (tmp_path / exchange.PLACE / "big_request.bin").stat().st_size == exchange.MOST_KEPT
    assert len(files) == 3


def test_names_of_the_leaves_of_an_answer():
    found = served_plain.leaves({"a": [[1, 2]], "b": [[1], [2, 3]], "c": {}, "d": {"e": None}})
    assert found["a"].shape == (1, 2) and found["b"] == [[1], [2, 3]]
    assert found["c"] == {} and found["d.e"] is None
    assert served_plain.leaves([0.5])["output"].tolist() == [0.5]
    assert served_http.tensors_of({}, "outputs") == []


def test_a_real_mlserver_is_explored(tmp_path, monkeypatch):
    """MLServer, an implementation of the protocol by others, where its command is installed."""
    command = shutil.which("mlserver")
    if command is None:
        pytest.skip("no mlserver on the PATH (pip install mlserver, in an environment of its own)")
    (tmp_path / "model.py").write_text(MLSERVER)
    name = {"name": "twice", "implementation": "model.Twice", "platform": "own",
            "inputs": servers.ABOUT["inputs"], "outputs": servers.ABOUT["outputs"][:1]}  # fmt: skip
    (tmp_path / "model-settings.json").write_text(json.dumps(name))
    ports = tools.free_ports(3)
    keys = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
    (tmp_path / "settings.json").write_text(
        json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **keys})
    )
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([command, "start", "."], cwd=tmp_path, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{ports[0]}/v2/models/twice/ready")
                break
            except OSError:
                time.sleep(0.5)
        for kind, port in (("http", ports[0]), ("grpc", ports[1])):
            folder = explored(tmp_path / kind, monkeypatch, f"{kind}://127.0.0.1:{port}")
            check_answers(folder)
            assert "mlserver" in folder.read("io_contract")["facts"]["runtime"]
    finally:
        server.terminate()
        server.wait()


MLSERVER = """from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Twice(MLModel):
    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype("float32")
        outputs = [NumpyCodec.encode_output("doubled", 2 * rows)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
"""
