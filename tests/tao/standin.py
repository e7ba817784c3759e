"""Plays `docker` and, inside, TAO: checks every argument, then answers through the native engine.

It lies on PATH as `docker` (see conftest.py). A container is a process of its own, as with the real
service: it survives the client that asked for it. Inside, opening a file that no mount shows, or
writing outside the writable one, is an error. State and faults lie in the folder `STANDIN_DIR`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ.get("STANDIN_DIR", "/nonexistent"))
REPOSITORY = Path(__file__).resolve().parents[2]
GRACE_S = 10
REFUSED, NO_IMAGE = 125, "Error: No such image: {}"


class Wrong(Exception):
    """An argument that the real container would not take, or that the project must not give."""


def fault(stage: str) -> str:
    path = STATE / "faults.json"
    return json.loads(path.read_text()).get(stage, "") if path.is_file() else ""


def images() -> dict[str, str]:
    return json.loads((STATE / "images.json").read_text())


# --- the runtime -----------------------------------------------------------------------------


class Strict(argparse.ArgumentParser):
    def error(self, message):
        raise Wrong(message)


def run_parser() -> argparse.ArgumentParser:
    out = Strict(prog="docker run", allow_abbrev=False, add_help=False)
    for name in ("rm", "init"):
        out.add_argument(f"--{name}", action="store_true", required=True)
    for name in ("pull", "name", "gpus", "shm-size", "stop-timeout", "user", "workdir"):
        out.add_argument(f"--{name}", required=True)
    for name in ("label", "ulimit", "mount", "env"):
        out.add_argument(f"--{name}", action="append", required=True)
    out.add_argument("--network")
    out.add_argument("image")
    out.add_argument("argv", nargs=argparse.REMAINDER)
    return out


def mount_of(text: str) -> dict:
    (fields,) = list(csv.reader([text]))
    parts = dict(field.partition("=")[::2] for field in fields)
    need(set(parts) <= {"type", "source", "target", "readonly"}, f"mount {text}")
    need(parts.get("type") == "bind", f"mount {text}: no bind mount")
    need(Path(parts["source"]).is_absolute(), f"mount {text}: not absolute")
    need(Path(parts["source"]).exists(), f"mount {text}: no such source")
    return {**parts, "writable": "readonly" not in parts}


def need(holds, message: str) -> None:
    if not holds:
        raise Wrong(message)


def checked(args: argparse.Namespace) -> dict:
    """Return the container as data, or raise at the first thing that is not as agreed."""
    labels = dict(text.partition("=")[::2] for text in args.label)
    need(set(labels) == {"deft.run", "deft.workspace", "deft.stage"}, f"labels {labels}")
    need(args.pull == "never", "an image would be fetched without being asked")
    need(re.fullmatch(r"deft-[0-9a-f]{8}-run_[A-Za-z0-9_.-]+", args.name), f"name {args.name}")
    need(
        args.gpus == "all" or re.fullmatch(r'device=[\w-]+|"device=[\w,-]+"', args.gpus), args.gpus
    )
    need(args.shm_size == "8g", f"shm {args.shm_size}: the loader's workers would die")
    need(sorted(args.ulimit) == ["memlock=-1", "stack=67108864"], f"ulimit {args.ulimit}")
    need(args.stop_timeout == "20", f"stop timeout {args.stop_timeout}")
    need(args.user == f"{os.getuid()}:{os.getgid()}", f"user {args.user}")
    need((args.network == "none") == (os.environ.get("AIR_GAPPED") == "1"), "network")
    mounts = [mount_of(text) for text in args.mount]
    workspace = labels["deft.workspace"]
    written, results = (m["target"] for m in mounts if m["writable"])
    need(results == "/results", "the default folder of results cannot be made by a user")
    need(written.startswith(f"{workspace}/results/{labels['deft.run']}/"), f"writes {written}")
    need(Path(written).is_dir(), "the writable mount is no folder")
    for mount in mounts:
        same = mount["source"] == mount["target"]
        other = mount["target"] in ("/etc/passwd", results) or mount["source"] == "/dev/null"
        need(same or other, f"{mount}: another path inside")
    secrets = Path(workspace, ".env")
    hidden = [m["target"] for m in mounts if m["source"] == "/dev/null"]
    need(hidden == [str(secrets)] * secrets.is_file(), "a container would see the credentials")
    (passwd,) = [m["source"] for m in mounts if m["target"] == "/etc/passwd"]
    ids = [line.split(":")[2] for line in Path(passwd).read_text().splitlines()]
    need(str(os.getuid()) in ids, "the caller has no name inside: getpwuid would fail")
    env = {}
    for text in args.env:
        name, equals, value = text.partition("=")
        if equals:
            need(not re.search("TOKEN|KEY|SECRET", name), f"{name} by value")
        else:
            need(name == "HF_TOKEN", f"{name} is nothing to a container")
            need(name in os.environ, f"{name} has no value to hand on")
            value = os.environ[name]
        env[name] = value
    need(env["HOME"].startswith(written), "HOME cannot be written")
    need(env.get("USER") and env.get("LOGNAME"), "the user has no name")
    need(args.workdir == written, f"works in {args.workdir}")
    need(Path(written, "experiment_specs").is_dir(), "Primary config directory not found")
    entry = args.argv[0]
    wanted = "pyt" if entry == "visual_changenet" else "data-services"
    need(args.image.endswith(f"-{wanted}"), f"{entry} in {args.image}")
    return {
        **{"argv": args.argv, "env": env, "written": written, "image": args.image},
        "mounts": [m["target"] for m in mounts if m["target"] == m["source"]],
        "run": labels["deft.run"],
    }


def run(argv: list[str]) -> int:
    for name in ("HF_TOKEN", "NGC_API_KEY"):
        secret = os.environ.get(name)
        need(not secret or not any(secret in text for text in argv), f"the value of {name} is told")
    args = run_parser().parse_args(argv)
    if args.image not in images():
        print(NO_IMAGE.format(args.image), file=sys.stderr)
        return REFUSED
    note = STATE / "containers" / f"{args.name}.json"
    need(not note.exists(), f"Conflict. The container name {args.name!r} is already in use")
    plan = checked(args)
    note.parent.mkdir(exist_ok=True)
    log = note.with_suffix(".log")
    with log.open("w") as output:
        inside = subprocess.Popen(
            [sys.executable, __file__, "--inside", json.dumps(plan)],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=plan["written"],
            env={**kept_environment(), **plan["env"]},
            start_new_session=True,
        )
    note.write_text(json.dumps({"pid": inside.pid, "argv": args.argv}))
    with log.open() as lines:
        while True:
            status = inside.poll()
            for line in lines:
                print(line, end="", flush=True)
            if status is not None:
                break
            time.sleep(0.05)
    note.unlink(missing_ok=True)
    return status if status >= 0 else 128 - status


def kept_environment() -> dict[str, str]:
    """What the stand-in itself needs; a container inherits nothing of the caller's."""
    names = ("PATH", "STANDIN_DIR", "STANDIN_SCHEMAS", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    return {name: os.environ[name] for name in names if name in os.environ}


def alive(note: Path) -> bool:
    pid = json.loads(note.read_text())["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def named(name: str) -> Path:
    return STATE / "containers" / f"{name}.json"


def ps(argv: list[str]) -> int:
    need(argv[:4] == ["--all", "--quiet", "--filter", argv[3]], f"ps {argv}")
    found = re.fullmatch(r"name=\^(.*)\$", argv[3])
    note = named(re.sub(r"\\(.)", r"\1", found[1]))
    if note.exists() and alive(note):
        print("0123456789ab")
    return 0


def stop(argv: list[str]) -> int:
    need(argv[:2] == ["-t", "20"] and len(argv) == 3, f"stop {argv}")
    note = named(argv[2])
    if not note.exists():
        print(f"Error: No such container: {argv[2]}", file=sys.stderr)
        return 1
    pid = json.loads(note.read_text())["pid"]
    for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        if alive(note):
            os.killpg(pid, number)
        until = time.monotonic() + wait_s
        while alive(note) and time.monotonic() < until:
            time.sleep(0.05)
    note.unlink(missing_ok=True)
    return 0


def image_inspect(argv: list[str]) -> int:
    need(argv[:2] == ["--format", "{{.Id}}"] and len(argv) == 3, f"image inspect {argv}")
    if argv[2] not in images():
        print(NO_IMAGE.format(argv[2]), file=sys.stderr)
        return 1
    print(images()[argv[2]])
    return 0


def outside(argv: list[str]) -> int:
    with (STATE / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(argv) + "\n")
    commands = {("run",): run, ("ps",): ps, ("stop",): stop, ("image", "inspect"): image_inspect}
    for words, answer in commands.items():
        if tuple(argv[: len(words)]) == words:
            try:
                return answer(argv[len(words) :])
            except Wrong as error:
                print(f"stand-in: {error}", file=sys.stderr)
                return REFUSED
    print(f"stand-in: docker {' '.join(argv[:2])} is not used by this project", file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        import standin_tao

        sys.exit(standin_tao.main(json.loads(sys.argv[2])))
    sys.exit(outside(sys.argv[1:]))
