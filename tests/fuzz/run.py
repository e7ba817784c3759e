"""Feed spoiled inputs to every reader and tell what is no clear stop.

    python tests/fuzz/run.py --seconds 600 [--only NAME …] [--seed N] [--keep DIR]

An input is made from (seed, reader, index) alone, so that a finding can be made again. What fails
is made smaller, printed, and kept below --keep. Exit status 1 when anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent, HERE.parent / "support", HERE.parents[1] / "scripts"):
    sys.path.insert(0, str(folder))

import mutators  # noqa: E402
import readers  # noqa: E402
import seeds  # noqa: E402
from readers import CLEAR, READERS, Reader  # noqa: E402

from deft.core.reading import stop_of  # noqa: E402

# Of one input. A picture of as many pixels as Pillow decodes (179 million) is no fault: half a
# gigabyte in RGB, and again as much while it is made from another mode.
SLOW_S = 10.0
GROWTH_BYTES = 1500 * 2**20
NOBODY = 65534
SPECIAL_STUCK_S = 20.0
STUCK_S = 60.0  # then the process is ended from outside
SHRINK_S = 2.0
SHOWN = 400  # characters of an input
LEAST = 3  # inputs of a reader, however slow it and the machine are
CURRENT = "current.bin"


class Slow(BaseException):
    """An input took too long; no ``Exception``, so that nobody swallows it."""


def forget_peak() -> bool:
    """Let :func:`peak_bytes` begin anew with what is held now; return whether the system can."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5)
    except OSError:  # no Linux, or another user's process by now
        return False
    return True


def peak_bytes() -> int:
    """Return the most memory that this process has held."""
    with contextlib.suppress(OSError, AttributeError):
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)[1]) * 1024
    # The peak of a process begins with that of the one that started it.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make(reader: Reader, known: list[bytes], seed: int, index: int) -> bytes:
    """Return the input of a number; the first ones are the seeds themselves."""
    if index < len(known):
        return known[index]
    rng = random.Random(f"{seed}:{reader.name}:{index}")
    data = rng.choice(known)
    if reader.kind != "report":
        return mutators.mutate(rng, data, reader.kind, known)
    name, _, content = data.partition(b"\n")
    suffix = name.decode().rpartition(".")[2]
    return name + b"\n" + mutators.mutate(rng, content, suffix, [])


def failure(reader: Reader, data: bytes, place: Path) -> tuple[str, str] | None:
    """Return (signature, traceback) when a reader does not stop clearly, else None."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    forget_peak()
    before = peak_bytes()

    def late(number: int, frame: object) -> None:
        raise Slow

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SLOW_S)
    began = time.monotonic()
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stderr(quiet), contextlib.redirect_stdout(quiet):
            reader.call(place, data)
    except (*CLEAR, *reader.expects) as stop:
        words = str(stop)
        if len(words) > 4000:
            return f"{type(stop).__name__} of {len(words) // 1000} thousand characters", words[:500]
    except Slow:
        return f"slower than {SLOW_S:g} s", traceback.format_exc()
    except BaseException as error:
        if isinstance(error, OSError) and stop_of(error) is not None:
            return None  # every stage's last resort turns these into a stop that names the file
        frames = [
            f for f in traceback.extract_tb(error.__traceback__) if "/tests/fuzz/" not in f.filename
        ]
        ours = [f for f in frames if "/deft/" in f.filename] or frames
        at = f"{Path(ours[-1].filename).name}:{ours[-1].name}" if ours else "reader"
        return f"{type(error).__name__} in {at}", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.monotonic() - began
    if took > SLOW_S:
        return f"slower than {SLOW_S:g} s", f"{took:.1f} s"
    grown = peak_bytes() - before
    if grown > GROWTH_BYTES:
        return f"more than {GROWTH_BYTES >> 20} MiB", f"grew by {grown >> 20} MiB"
    return None


def smaller(reader: Reader, data: bytes, signature: str, place: Path) -> bytes:
    """Return an input as small as could be found in a few seconds that fails in the same way."""
    end = time.monotonic() + SHRINK_S
    if signature.startswith(("slower", "more than")):
        return data
    size = max(1, len(data) // 2)
    while size >= 1 and time.monotonic() < end:
        start = 0
        while start < len(data) and time.monotonic() < end:
            shorter = data[:start] + data[start + size :]
            found = failure(reader, shorter, place)
            if found and found[0] == signature:
                data = shorter
            else:
                start += size
        size //= 2
    return data


def fuzz_here(
    names: list[str], seconds: float, seed: int, first: int, out: Path, place: Path
) -> None:
    """Fuzz readers in this process, the least tried first; write counts and findings as JSON."""
    report: dict[str, dict] = {n: {"inputs": 0, "seconds": 0.0, "findings": {}} for n in names}
    known = {name: READERS[name].seeds() for name in names}
    for name in names:  # imports are no fault of an input
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        quiet = contextlib.redirect_stderr(io.StringIO())
        with contextlib.suppress(Exception), quiet:
            READERS[name].call(place, known[name][0])
    end = time.monotonic() + seconds
    written = 0.0
    while True:
        for name in names:
            reader, mine = READERS[name], report[name]
            slice_end = time.monotonic() + 0.2
            while time.monotonic() < slice_end:
                data = make(reader, known[name], seed, first + mine["inputs"])
                (out.parent / CURRENT).write_bytes(name.encode() + b"\n" + data)
                began = time.monotonic()
                found = failure(reader, data, place)
                mine["inputs"] += 1
                mine["seconds"] += time.monotonic() - began
                if found and found[0] not in mine["findings"]:
                    small = smaller(reader, data, found[0], place)
                    mine["findings"][found[0]] = {
                        "index": first + mine["inputs"] - 1,
                        "trace": found[1][-3000:],
                        "input": small.hex(),
                        "times": 0,
                    }
                if found:
                    mine["findings"][found[0]]["times"] += 1
        if time.monotonic() - written > 2:
            gc.collect()
            out.write_text(json.dumps(report))
            written = time.monotonic()
        if time.monotonic() >= end and all(m["inputs"] >= LEAST for m in report.values()):
            break
    out.write_text(json.dumps(report))


def specials_here(names: list[str], first: int, out: Path, place: Path) -> None:
    """Give every reader what is no readable file, from number ``first`` on; findings as JSON.

    The rights come last: for them this process becomes a user whom they bind.
    """
    report: dict[str, dict] = {n: {"inputs": 0, "seconds": 0.0, "findings": {}} for n in names}
    for name in names:
        for data in READERS[name].seeds():
            with contextlib.suppress(Exception), contextlib.redirect_stderr(io.StringIO()):
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(parents=True)
                READERS[name].call(place, data)
    pairs = [(kind, name) for kind in readers.SPECIALS for name in names]
    for number, (kind, name) in list(enumerate(pairs))[first:]:
        if kind == readers.NO_RIGHTS and os.getuid() == 0:
            _become_nobody(out, place)
        (out.parent / CURRENT).write_text(f"{name}\n{number} {kind}")
        readers.special[:] = [kind]
        found = failure(READERS[name], readers.SPECIAL, place)
        report[name]["inputs"] += 1
        if found:
            report[name]["findings"][f"{kind}: {found[0]}"] = {
                "index": number, "trace": found[1][-3000:], "input": "", "times": 1,
            }  # fmt: skip
        out.write_text(json.dumps(report))


def _become_nobody(out: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    for path in (seeds.root(), *seeds.root().rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o005 if path.is_dir() else 0o004))
    for path in (out, out.parent / CURRENT):
        path.touch()
        path.chmod(0o666)
    out.parent.chmod(0o777)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def families(names: list[str]) -> dict[str, list[str]]:
    """Return readers by what they import."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(READERS[name].family, []).append(name)
    return found


def run(
    names: list[str], seconds: float, seed: int, keep: Path | None = None, *, special: bool = False
) -> dict[str, dict]:
    """Fuzz in one process per family, one after another; return the report by reader.

    Each family gets a share of the time by its number of readers. A process that crashes or hangs
    is a finding too, and a new one goes on behind the input that did it.
    """
    whole: dict[str, dict] = {}
    for members in families(names).values():
        left, first = seconds * len(members) / len(names), 0
        while left > 0:
            with tempfile.TemporaryDirectory(prefix="deft_fuzz_", dir=_memory()) as temporary:
                began = time.monotonic()
                found = _child(members, left, seed, first, Path(temporary), special)
            died_at = found.pop("died", None)
            for name, mine in found.items():
                known = whole.setdefault(name, {"inputs": 0, "seconds": 0.0, "findings": {}})
                known["inputs"] += mine["inputs"]
                known["seconds"] += mine["seconds"]
                known["findings"].update(mine["findings"])
            if died_at is None:
                break
            if special:  # they are numbered and go on behind the one that did it
                first = died_at + 1
            else:
                first += 1_000_000
                left -= max(1.0, time.monotonic() - began)
    if keep is not None:
        for name, mine in whole.items():
            for number, finding in enumerate(mine["findings"].values()):
                path = keep / name / f"found{number}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bytes.fromhex(finding["input"]))
    return whole


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _child(
    members: list[str], seconds: float, seed: int, first: int, folder: Path, special: bool
) -> dict:
    command = [sys.executable, str(HERE / "run.py"), "--child", str(folder / "report.json")]
    command += ["--special"] if special else []
    command += ["--seconds", f"{seconds:.1f}", "--seed", str(seed), "--first", str(first)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    # A file: image libraries write more than a pipe holds that nobody empties, and then they hang.
    with (folder / "stderr.txt").open("wb") as errors:
        process = subprocess.Popen([*command, "--only", *members], env=environment, stderr=errors)
    limit = time.monotonic() + seconds + STUCK_S + 240
    stuck = False
    while process.poll() is None:
        time.sleep(0.2)
        current = folder / CURRENT
        patience = SPECIAL_STUCK_S if special else STUCK_S
        quiet = current.exists() and time.time() - current.stat().st_mtime > patience
        if quiet or time.monotonic() > limit:
            stuck = True
            process.kill()
            process.wait()
    report = folder / "report.json"
    found = json.loads(report.read_text()) if report.exists() else {}
    if process.returncode == 0:
        return found
    words = (folder / "stderr.txt").read_text("utf-8", "replace")[-2000:]
    data = (folder / CURRENT).read_bytes() if (folder / CURRENT).exists() else b"?\n"
    name, _, content = data.partition(b"\n")
    kind = content.partition(b" ")[2].decode() + ": " if special else ""
    how = f"{kind}stuck" if stuck else f"{kind}the process died ({process.returncode})"
    mine = found.setdefault(name.decode(), {"inputs": 0, "seconds": 0.0, "findings": {}})
    mine["findings"][how] = {"index": -1, "trace": words, "input": content.hex(), "times": 1}
    number = content.split(b" ")[0]
    return {**found, "died": int(number) if special and number.isdigit() else 0}


def told(report: dict[str, dict], *, traces: bool = True) -> str:
    """Return the totals and every finding for reading."""
    lines = [f"{'reader':<32}{'inputs':>9}{'inputs/s':>10}{'findings':>10}"]
    for name in sorted(report):
        mine = report[name]
        rate = mine["inputs"] / max(mine["seconds"], 1e-9)
        lines.append(f"{name:<32}{mine['inputs']:>9}{rate:>10.0f}{len(mine['findings']):>10}")
    total = sum(mine["inputs"] for mine in report.values())
    bad = sum(len(mine["findings"]) for mine in report.values())
    lines.append(f"{len(report)} readers, {total} inputs, {bad} findings")
    for name in sorted(report):
        for signature, finding in report[name]["findings"].items():
            data = bytes.fromhex(finding["input"])
            lines.append(
                f"\n{name}: {signature} ({finding['times']} times, index {finding['index']})"
            )
            lines.append(f"  input of {len(data)} bytes: {data[:SHOWN]!r}")
            if traces:
                lines.append("  " + finding["trace"].strip().replace("\n", "\n  "))
    return "\n".join(lines)


def main() -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of all readers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=sorted(READERS), default=sorted(READERS))
    parser.add_argument("--keep", type=Path, help="folder for the inputs that were found")
    parser.add_argument("--special", action="store_true", help="folders, pipes, rights instead")
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        place = args.child.parent / "place"
        if args.special:
            specials_here(args.only, args.first, args.child, place)
        else:
            fuzz_here(args.only, args.seconds, args.seed, args.first, args.child, place)
        return 0
    report = run(args.only, args.seconds, args.seed, args.keep, special=args.special)
    print(told(report))
    return 1 if any(mine["findings"] for mine in report.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
