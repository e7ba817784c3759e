"""No download, ever: no step of an exploration, and nothing that it starts, reaches a network.

:func:`begin` is the first thing that a script does. Python's own calls (names, connections,
requests, commands that carry an address) are refused with the place in the code and the weights
that were wanted, and written to ``logs/network.jsonl``; the kernel refuses sockets to all that is
not Python (:mod:`.no_network_kernel`). Only a served model's own host is let through, to the steps
of an experiment that names it.

Standard library only, and nothing of the kit: Python programs that a step starts load this file
too (``child/sitecustomize.py``).
"""

from __future__ import annotations

import json
import linecache
import os
import re
import socket
import sys
import sysconfig
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
LOG_VARIABLE = "EXPLORE_NETWORK_LOG"
LOG = "logs/network.jsonl"
ADDRESS = re.compile(r"\b(?:https?|ftp|s3|gs|ssh|git)://[^\s\"'<>]+|\bgit@[\w.-]+:\S+")
NAMED = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
SENT = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind")
STARTED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn")
LOCAL_FAMILIES = {int(f) for f in (getattr(socket, n, -1) for n in ("AF_UNIX", "AF_NETLINK"))}
# What libraries call the thing that they fetch, most telling first.
WORDS = ("repo_id", "pretrained_model_name_or_path", "model_id", "hf_hub_id", "model_name",
         "filename", "file_name")  # fmt: skip
LIBRARIES = ("site-packages", "dist-packages")
OFFLINE = ("OfflineModeIsEnabled", "LocalEntryNotFoundError")  # of the hubs' own switches
MOST_REFUSED = 20  # of one step: code that tries for ever is ended
EXIT_REFUSED = 3  # as in .folder

attempts: list[dict[str, str]] = []
_state: dict[str, Any] = {"on": False, "hosts": {}, "kernel": False, "from": 0}
_busy = threading.local()


class NetworkRefused(OSError):
    """A connection that was not let through."""


def begin() -> None:
    """Take networks from this script of an experiment; ``outputs/parameters.json`` may name the
    host of a served model, the only one that is let through.
    """
    root = HERE.parents[1]
    log = Path(os.environ.setdefault(LOG_VARIABLE, str(root / LOG)))
    _state["from"] = log.stat().st_size if log.is_file() else 0
    try:
        asked = json.loads((root / "outputs" / "parameters.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        asked = {}
    served = (asked.get("model") or {}).get("served") or {}
    block(served.get("address"))


def block(address: str | None = None) -> None:
    """Refuse every connection from here on, but to the host and port of ``address``."""
    if _state["on"]:
        return
    # A model hub is never asked, and its library says so at once instead of trying.
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ.setdefault(name, "1")
    paths = [str(HERE / "child"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(p for p in paths if p)
    if address:
        _state["hosts"] = _let_through(address)
    else:
        _state["kernel"] = _kernel()
    _state["on"] = True
    sys.addaudithook(_hook)


def _kernel() -> bool:
    try:
        if __package__:
            from . import no_network_kernel as kernel
        else:  # loaded by a child's sitecustomize
            sys.path.insert(0, str(HERE))
            try:
                import no_network_kernel as kernel  # type: ignore[import-not-found, no-redef]
            finally:
                sys.path.remove(str(HERE))
        return bool(kernel.forbid())
    except ImportError:
        return False


def _let_through(address: str) -> dict[str, set[int]]:
    """Return host name and numbers -> ports; {} when the name is not known (it is said later)."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    host = parts.hostname or ""
    port = parts.port or {"https": 443, "grpcs": 443}.get(parts.scheme, 80)
    names = {host}
    try:
        names |= {str(found[4][0]) for found in socket.getaddrinfo(host, port)}
    except OSError:
        pass
    return dict.fromkeys(names, {port})


def protection() -> str:
    """Return in words what keeps this process from networks."""
    if not _state["on"]:
        return "not refused: run outside of its script"
    if _state["hosts"]:
        return "refused by Python to every host but the served model's"
    return "refused by Python and the kernel" if _state["kernel"] else "refused by Python only"


def said() -> str:
    """Return what was refused so far, children's attempts too, in one phrase; "" for nothing."""
    found = list({a["wanted"]: a for a in _all()}.values())
    return "; ".join(f"{a['wanted']} (by {a['where']})" for a in found[:3])


def _all() -> list[dict[str, str]]:
    """Return the attempts of this step: of its process and of the Pythons that it started."""
    try:
        with open(os.environ[LOG_VARIABLE], encoding="utf-8") as handle:
            handle.seek(_state["from"])
            return [json.loads(line) for line in handle] or attempts
    except (OSError, KeyError, ValueError):
        return attempts


def offline_wish(error: BaseException | None) -> str:
    """Return what a hub's library wanted before its own switch stopped it; "" for other errors."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if type(error).__name__ in OFFLINE and error.__traceback__:
            frames = []
            trace: TracebackType | None = error.__traceback__
            while trace is not None:
                frames.append(trace.tb_frame)
                trace = trace.tb_next
            first = frames[0]
            while first.f_back is not None:
                first = first.f_back
                frames.insert(0, first)
            frames.reverse()
            return f"{_what(frames, 'a file of a model hub')} (by {_where(frames)})"
        error = error.__cause__ or error.__context__
    return ""


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event[:6] not in ("socket", "urllib", "http.c", "subpro", "os.sys", "os.exe", "os.pos"):
        return
    if getattr(_busy, "on", False):
        return
    wanted = _refused(event, args)
    if wanted is None:
        return
    _busy.on = True
    try:
        _refuse(wanted, event in STARTED)
    finally:
        _busy.on = False


def _refused(event: str, args: tuple[Any, ...]) -> str | None:
    """Return what is asked for by an event that is not let through, else None."""
    if event == "urllib.Request":
        found = ADDRESS.match(str(args[0]))
        return None if not found or _may(urlsplit(found[0]).hostname, None) else found[0]
    if event == "http.client.connect":
        return None if _may(args[1], args[2]) else f"{args[1]}:{args[2]}"
    if event in NAMED:
        host = args[0].decode("ascii", "replace") if isinstance(args[0], bytes) else args[0]
        return None if host is None or _may(host, None) else f"the host {host}"
    if event in SENT:
        where = args[1]
        if not isinstance(where, tuple) or len(where) < 2 or args[0].family in LOCAL_FAMILIES:
            return None
        return None if _may(where[0], where[1]) else f"{where[0]}:{where[1]}"
    if event == "socket.__new__":
        is_local = args[1] in LOCAL_FAMILIES or _state["hosts"]
        # Without the kernel the connection that follows is refused, and tells more.
        return None if is_local or not _state["kernel"] else "a network socket"
    if event in STARTED:
        parts = [p for a in args[:2] for p in (a if isinstance(a, (list, tuple)) else [a])]
        found = ADDRESS.search(
            " ".join(os.fsdecode(p) for p in parts if isinstance(p, (str, bytes)))
        )
        return found[0] if found else None
    return None


def _may(host: Any, port: Any) -> bool:
    ports = _state["hosts"].get(str(host))
    return ports is not None and (port is None or int(port) in ports)


def _refuse(wanted: str, started: bool) -> None:
    frames = _frames()
    if not any(_is_theirs(f) for f in frames):  # a worker thread of an event loop asks for others
        main = sys._current_frames().get(threading.main_thread().ident or 0)
        frames += _frames(main) if main else []
    what, where = _what(frames, wanted), _where(frames)
    entry = {"wanted": what, "where": where}
    if wanted != "a network socket":  # libraries make one at import to see what the machine has
        attempts.append(entry)
        log = os.environ.get(LOG_VARIABLE)
        if log:
            try:
                with open(log, "a", encoding="utf-8") as handle:
                    handle.write(json.dumps(entry) + "\n")
            except OSError:
                pass
    if len(attempts) > MOST_REFUSED:
        text = f"STOP: {refusal(said())}; it tried {len(attempts)} times"
        print(text, file=sys.stderr, flush=True)
        os._exit(EXIT_REFUSED)
    if started and _state["kernel"]:
        return  # the command may run; it gets no connection
    raise NetworkRefused(13, f"nothing is downloaded: {what} was wanted by {where}")


def refusal(wished: str) -> str:
    """Return the sentence for a step that failed for want of a download."""
    return (
        f"it wants to download {wished}, and no step reaches a network; give a file that is "
        "complete, or build the model without the download"
    )


def _frames(start: FrameType | None = None) -> list[FrameType]:
    """Return the stack, innermost frame first, without this module's own."""
    frame: FrameType | None = start or sys._getframe()
    out = []
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            out.append(frame)
        frame = frame.f_back
    return out


def _what(frames: list[FrameType], asked: str) -> str:
    """Return the weights that are meant: an address, or a hub's names, else the bare request."""
    addresses: list[str] = []
    words: dict[str, str] = {}
    for frame in frames:
        if not _is_code(frame):
            continue
        for name, value in list(frame.f_locals.items()):
            if type(value).__name__ in ("Request", "PreparedRequest"):
                value = getattr(value, "full_url", None) or getattr(value, "url", None)
            if isinstance(value, str) and name not in ("self", "asked"):
                if name in WORDS and value and len(value) < 300:
                    words.setdefault(name, value)
                if ADDRESS.fullmatch(value):
                    addresses.append(value)
    if ADDRESS.fullmatch(asked):
        return clean(asked)
    longest = max(map(clean, addresses), key=lambda a: len(urlsplit(a).path), default="")
    if len(urlsplit(longest).path) > 1:
        return longest
    named = [words[w] for w in WORDS if w in words and not os.path.isabs(words[w])][:2]
    of_host = asked if not asked.startswith("a file of") else "a model hub"
    if named:
        return f"{' '.join(dict.fromkeys(named))} from {longest or of_host}"
    return longest or asked


def _where(frames: list[FrameType]) -> str:
    """Return the innermost line of the model's own code, else the library's outermost one."""
    theirs = [f for f in frames if _is_theirs(f)]
    libraries = [f for f in frames if _is_code(f)]
    chosen = theirs[0] if theirs else (libraries[-1] if libraries else frames[0])
    path, line = chosen.f_code.co_filename, chosen.f_lineno
    text = ADDRESS.sub(lambda found: clean(found[0]), linecache.getline(path, line).strip())
    return f"{_short(path)}, line {line}" + (f": {text[:160]}" if text else "")


def _is_theirs(frame: FrameType) -> bool:
    return _is_code(frame) and not any(p in frame.f_code.co_filename for p in LIBRARIES)


STANDARD = tuple(
    os.path.realpath(p) + os.sep
    for p in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    if p
)


def _is_code(frame: FrameType) -> bool:
    """Return whether a frame is of the model or a library: not the kit, Python's own or made up."""
    path = frame.f_code.co_filename
    if path.startswith("<") or Path(path).parent in (HERE, HERE.parent, HERE / "child"):
        return False
    return any(p in path for p in LIBRARIES) or not os.path.realpath(path).startswith(STANDARD)


def _short(path: str) -> str:
    """Return a source file's name below the folder that Python found it in."""
    roots = [p for p in sys.path if p and path.startswith(p.rstrip(os.sep) + os.sep)]
    root = max(roots, key=len, default="")
    return os.path.relpath(path, root) if root else os.path.basename(path)


def clean(address: str) -> str:
    """Return an address without user, password and query (which may be a signature).

    >>> clean("https://me:secret@host/w.pth?token=abc")
    'https://host/w.pth'
    """
    try:
        parts = urlsplit(address)
    except ValueError:  # no address after all
        return address.rpartition("@")[2]
    if not parts.netloc:
        return address
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
