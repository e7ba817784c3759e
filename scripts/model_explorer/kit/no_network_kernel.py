"""The kernel's part of no download: sockets of a network cannot be made, by this process or any
that it starts, whatever language it is in.

Linux only (seccomp, x86-64 and ARM64), without any right; elsewhere :func:`forbid` returns False.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys

# What linux/audit.h and the system call tables say: architecture, socket, seccomp.
MACHINES = {"x86_64": (0xC000003E, 41, 317), "aarch64": (0xC00000B7, 198, 277)}
IO_URING_SETUP = 425  # it makes sockets too, past every filter
X32_CALLS = 0x40000000
LOCAL_FAMILIES = (1, 16)  # AF_UNIX (workers of one machine), AF_NETLINK (asking the kernel)
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # classic BPF
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EACCES, ENOSYS = 13, 38
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # of struct seccomp_data, little-endian
NO_NEW_PRIVILEGES, FILTER, ALL_THREADS = 38, 1, 1


def program(machine: str) -> bytes:
    """Return the filter as struct sock_filter entries; jumps are relative to the next entry."""
    architecture, socket, _ = MACHINES[machine]
    unix, netlink = LOCAL_FAMILIES
    rows = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),  # 32-bit programs have other numbers for the same calls
        (LOAD, 0, 0, NUMBER),
        (AT_LEAST, 6, 0, X32_CALLS),
        (EQUAL, 6, 0, IO_URING_SETUP),
        (EQUAL, 0, 3, socket),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (EQUAL, 1, 0, unix),
        (EQUAL, 0, 1, netlink),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE | EACCES),
        (RETURN, 0, 0, REFUSE | ENOSYS),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def forbid() -> bool:
    """Take networks from this process and its children for good; return whether it was done."""
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in MACHINES:
        return False
    code = program(machine)
    # struct sock_fprog: a count, padding, a pointer.
    held = ctypes.create_string_buffer(code)
    fprog = struct.pack("@HP", len(code) // 8, ctypes.addressof(held))
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0):
            return False
        return not libc.syscall(MACHINES[machine][2], FILTER, ALL_THREADS, fprog)
    except (OSError, AttributeError):
        return False
