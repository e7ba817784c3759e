"""Controller and nodes as hosts: a network namespace each, a name and an address, on one bridge.

They share this machine's file system, processes and memory; what differs is what a host tells of
itself and how it is reached. Daemons listen in their own namespace alone, so none can be reached
from outside this machine.
"""

from __future__ import annotations

import shutil
import subprocess

PREFIX = "deft-"  # of a namespace and of the name that its host has
BRIDGE = "deftbr0"
TIMEOUT_S = 30


class Hosts:
    """A host for each name, beside this machine, which is the one that commands are typed on."""

    NET = "10.213.77"

    def __init__(self, nodes: list[str]) -> None:
        self.address = {node: f"{self.NET}.{11 + i}" for i, node in enumerate(nodes)}

    @classmethod
    def made(cls, nodes: list[str]) -> Hosts | None:
        """Return such hosts; None where the kernel has none, or this user may not make them."""
        if not all(shutil.which(program) for program in ("ip", "nsenter", "unshare")):
            return None
        hosts = cls(nodes)
        cls.remove(nodes)
        try:
            ip("link", "add", BRIDGE, "type", "bridge")
            ip("addr", "add", f"{cls.NET}.1/24", "dev", BRIDGE)
            ip("link", "set", BRIDGE, "up")
            for node, address in hosts.address.items():
                space, cable = PREFIX + node, f"deft{node}"
                ip("netns", "add", space)
                ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", space)
                ip("link", "set", cable, "master", BRIDGE, "up")
                ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
                for device in ("eth0", "lo"):
                    ip("-n", space, "link", "set", device, "up")
        except subprocess.CalledProcessError as error:
            print(f"no hosts of their own: {error.stderr.strip()}")
            cls.remove(nodes)
            return None
        return hosts

    @staticmethod
    def remove(nodes: list[str]) -> None:
        """Remove what `made` made, also of an ended suite."""
        if shutil.which("ip"):
            for words in (("netns", "del", PREFIX + node) for node in nodes):
                subprocess.run(["ip", *words], capture_output=True, timeout=TIMEOUT_S)
            subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, timeout=TIMEOUT_S)

    def place(self, node: str) -> str:
        """Return what slurm.conf says of where a node is."""
        return f"NodeHostname={PREFIX}{node} NodeAddr={self.address[node]}"

    def inside(self, node: str) -> list[str]:
        """Return what stands before a command that runs on a node."""
        named = f'hostname {PREFIX}{node} && exec "$@"'
        # Not `ip netns exec`, which mounts another /sys, without the cgroups that slurmd wants.
        enter = ["nsenter", f"--net=/run/netns/{PREFIX}{node}", "unshare", "--uts"]
        return [*enter, "sh", "-c", named, "sh"]


def ip(*words: str) -> None:
    """Change the network; raises CalledProcessError."""
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
