"""No download, ever: what a model asks of a network is refused, named and counted."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import explore_tools as tools
import pytest
import torch
from waiting import until

from model_explorer import driver
from model_explorer.kit import no_network, steps
from model_explorer.kit.folder import Folder

KIT = Path(no_network.__file__).parent


@contextlib.contextmanager
def witness() -> Iterator[tuple[int, list[str]]]:
    """Listen on loopback; the list gets whoever connects."""
    server = socket.create_server(("127.0.0.1", 0))
    seen: list[str] = []

    def wait() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                seen.append("connected")
                connection.close()

    threading.Thread(target=wait, daemon=True).start()
    try:
        yield server.getsockname()[1], seen
    finally:
        server.close()


WAYS = {
    "connect": "import socket; socket.create_connection(('127.0.0.1', PORT), 5)",
    "urllib": "import urllib.request as u; u.urlopen('http://127.0.0.1:PORT/w.pth', timeout=5)",
    "http": "import http.client as h; h.HTTPConnection('127.0.0.1', PORT, timeout=5).connect()",
    "datagram": "import socket; socket.socket(2, 2).sendto(b'x', ('127.0.0.1', PORT))",
    "name": "import socket; socket.getaddrinfo('weights.invalid', 443)",
    "requests": "import requests; requests.get('http://127.0.0.1:PORT/w.pth', timeout=5)",
    "asyncio": "import asyncio; asyncio.run(asyncio.open_connection('127.0.0.1', PORT))",
    "not_python": "import ctypes, struct; l = ctypes.CDLL(None, use_errno=True)\n"
    "s = l.socket(2, 1, 0)\n"
    "a = struct.pack('=H', 2) + struct.pack('>H', PORT) + bytes([127, 0, 0, 1]) + bytes(8)\n"
    "assert s >= 0 and l.connect(s, a, 16) == 0",
    "child": "import subprocess, sys; subprocess.run([sys.executable, '-c', CHILD], check=True)",
    "child_alone": "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-I', '-c', CHILD], check=True)",
    "child_process": "import multiprocessing as m, socket\nif __name__ == '__main__':\n"
    " p = m.get_context('fork').Process(target=socket.create_connection, "
    "args=(('127.0.0.1', PORT), 5))\n p.start(); p.join(); assert p.exitcode == 0",
    "curl": "import os; assert os.system('curl -sf http://127.0.0.1:PORT/w.pth') == 0",
    "curl_hidden": "import subprocess as s; s.run(['curl', '-sf', '127.0.0.1:PORT'], check=True)",
}  # fmt: skip
CHILD = "import socket; socket.create_connection(('127.0.0.1', PORT), 5)"
NEEDS_KERNEL = ("not_python", "child_alone", "curl_hidden")


def program(way: str, port: int, *, blocked: bool) -> str:
    """Return a program that tries one way to the witness."""
    head = f"import sys; sys.path.insert(0, {str(KIT.parent)!r})\nfrom kit import no_network\n"
    body = WAYS[way].replace("CHILD", repr(CHILD)).replace("PORT", str(port))
    return (head + "no_network.block()\n" if blocked else "") + body + "\nprint('REACHED')\n"


@pytest.mark.parametrize("way", WAYS)
def test_no_way_leads_to_a_network(tmp_path, way):
    if "curl" in way and shutil.which("curl") is None:
        pytest.skip("no curl here")
    if way in NEEDS_KERNEL and not kernel_can():
        pytest.skip("only the kernel forbids it, and this one cannot")
    script = tmp_path / "try.py"
    with witness() as (port, seen):
        script.write_text(program(way, port, blocked=True))
        done = subprocess.run(
            [sys.executable, str(script)], env=tools.clean(), capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
    assert done.returncode != 0 and "REACHED" not in done.stdout
    assert seen == []


@pytest.mark.parametrize("way", ["connect", "not_python", "child"])
def test_the_same_programs_reach_it_without_the_block(tmp_path, way):
    script = tmp_path / "try.py"
    with witness() as (port, seen):
        script.write_text(program(way, port, blocked=False))
        subprocess.run([sys.executable, str(script)], check=True, env=tools.clean())
        until(lambda: seen, "the witness to take the connection")


def kernel_can() -> bool:
    """Return whether this machine's kernel takes the filter."""
    code = f"import sys; sys.path.insert(0, {str(KIT)!r})\nimport no_network_kernel as k\n"
    done = subprocess.run([sys.executable, "-c", code + "sys.exit(not k.forbid())"])
    return done.returncode == 0


NET = """import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)
        {fetch}

    def forward(self, rows):
        return self.layer(rows)
"""
HUB = "torch.hub.load_state_dict_from_url('https://me:hunter2@weights.invalid/w.pth?sig=hunter2')"
FETCHES = [
    (HUB, "https://weights.invalid/w.pth"),
    pytest.param("import huggingface_hub as h; h.hf_hub_download('o/body', 'w.bin')",
                 "https://huggingface.co/o/body/resolve/main/w.bin", marks=pytest.mark.slow),
    pytest.param("import timm; timm.create_model('test_convnext', pretrained=True)",
                 "timm/test_convnext.r160_in1k", marks=pytest.mark.slow),
    pytest.param("import torchvision; torchvision.models.resnet18(weights='DEFAULT')",
                 "/models/resnet18-f37072fd.pth", marks=pytest.mark.slow),
]  # fmt: skip


def downloader(root: Path, fetch: str, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Return a folder made for a network whose constructor runs ``fetch``; nothing is run yet."""
    (root / "src" / "nets").mkdir(parents=True)
    (root / "src/nets/net.py").write_text(NET.replace("{fetch}", fetch))
    torch.save({f"layer.{k}": v for k, v in torch.nn.Linear(6, 4).state_dict().items()},
               root / "net.pth")  # fmt: skip
    monkeypatch.setattr(driver, "run", lambda *_: None)
    return tools.explored(
        root, checkpoint="net.pth", source="src", class_path="nets.net:Net", directory="tmp/mine"
    )


@pytest.mark.parametrize(("fetch", "wanted"), FETCHES)
def test_the_line_that_wants_weights_is_named(tmp_path, monkeypatch, fetch, wanted):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = downloader(tmp_path, fetch, monkeypatch)
    record = steps.run_step(folder, [sys.executable], steps.STEPS[0])
    assert record["status"] == "refused" and not record["proven"]
    assert "it wants to download" in record["said"] and wanted in record["said"]
    assert f"nets/net.py, line 9: {fetch[:30]}" in record["said"]
    assert "class_arguments" in record["needs"][0]["line"]
    assert "hunter2" not in json.dumps(record)


@pytest.mark.slow
def test_what_goes_on_without_its_download_is_recorded(tmp_path, monkeypatch):
    """Also by a Python that it starts; what only greets its maker still runs."""
    greet = "import urllib.request as u; u.urlopen('https://greet.invalid/v')"
    fetch = f"""import subprocess, sys
        subprocess.run([sys.executable, "-c", {greet!r}], stderr=subprocess.DEVNULL)"""
    folder = downloader(tmp_path, fetch, monkeypatch)
    record = steps.run_step(folder, [sys.executable], steps.STEPS[0])
    assert record["status"] == "ok", record["said"]
    assert {n["wanted"] for n in record["network"]} == {"https://greet.invalid/v"}
    if kernel_can():
        assert folder.read("environment")["network"] == "refused by Python and the kernel"
    said = steps.asked_of_networks([record])
    assert any("it asked for https://greet.invalid/v (nets/net.py, line 10: " in s for s in said)
    assert steps.asked_of_networks([{**record, "status": "refused"}]) == []


def test_code_that_tries_for_ever_is_ended(tmp_path):
    body = "import socket\nwhile True:\n    try:\n        socket.getaddrinfo('w.invalid', 1)\n"
    body += "    except OSError:\n        pass\n"
    script = tmp_path / "try.py"
    script.write_text(program("name", 0, blocked=True).replace(WAYS["name"], body))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "STOP: it wants to download the host w.invalid" in done.stderr


def test_a_served_models_own_host_is_let_through_and_no_other(tmp_path):
    with witness() as (port, seen), witness() as (other, unseen):
        script = tmp_path / "try.py"
        text = program("connect", port, blocked=True)
        script.write_text(text.replace("block()", f"block('http://localhost:{port}')"))
        subprocess.run([sys.executable, str(script)], check=True, env=tools.clean())
        script.write_text(script.read_text().replace(f"1', {port}", f"1', {other}"))
        done = subprocess.run([sys.executable, str(script)], env=tools.clean(), capture_output=True)
    assert done.returncode != 0 and seen and not unseen


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://me:hunter2@host:8/w.pth?sig=hunter2#hunter2", "https://host:8/w.pth"),
        ("https://[::1", "https://[::1"),
        ("plain", "plain"),
    ],
)
def test_an_address_is_shown_without_its_secrets(given, shown):
    assert no_network.clean(given) == shown
