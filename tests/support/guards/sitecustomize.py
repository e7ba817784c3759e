"""Loaded by every Python that has this folder on PYTHONPATH: no connection leaves this machine.

Each attempt (a name looked up, a socket connected, a datagram sent) is written to the file named by
GUARD_LOG, and fails. An audit hook sees all of Python's sockets and cannot be taken off again.
GUARD_ENVS, the path of a JSON file `script -> modules`, also hides the named modules from a script,
as if its environment did not hold them.
"""

import json
import os
import socket
import sys
from importlib.machinery import PathFinder

SENT = ("socket.connect", "socket.sendto", "socket.sendmsg")
EVENTS = (*SENT, "socket.getaddrinfo", "socket.gethostbyname")
HERE = {"", "localhost", "::1", "::", "0.0.0.0", None}


def _is_local(host):
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    return host in HERE or host == NAME or host.startswith("127.") or host in ADDRESSES


def _own_addresses():
    try:
        return {entry[4][0] for entry in socket.getaddrinfo(NAME, None)}
    except OSError:
        return set()


def _guard(event, args):
    if event not in EVENTS:
        return
    target = args[1] if event in SENT else args[0]
    if isinstance(target, tuple):
        target = target[0]
    elif event in SENT:
        return  # a path: a socket of this machine
    if _is_local(target):
        return
    with open(os.environ["GUARD_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{event} {target} by {' '.join(sys.argv[:3])}\n")
    raise OSError(f"the guard lets nothing out: {event} {target}")


class _Hidden:
    """Python's own finder, blind for some modules: to ask whether they are there says no, too."""

    def __init__(self, modules):
        self.modules = frozenset(modules)

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.modules:
            return None
        return PathFinder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(PathFinder, name)


if os.environ.get("GUARD_LOG"):
    NAME = socket.gethostname()
    ADDRESSES = _own_addresses()
    sys.addaudithook(_guard)
if os.environ.get("GUARD_ENVS"):
    # The script's name is not known yet at this point; it is in the command line of the process.
    with open("/proc/self/cmdline", "rb") as _line:
        _words = [os.path.basename(w) for w in _line.read().decode().split("\0")]
    with open(os.environ["GUARD_ENVS"], encoding="utf-8") as _file:
        for _script, _modules in json.load(_file).items():
            if _script in _words:
                sys.meta_path[sys.meta_path.index(PathFinder)] = _Hidden(_modules)
