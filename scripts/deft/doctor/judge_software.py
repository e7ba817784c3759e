"""Packages, SLURM, conda and containers: facts in, a finding out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from deft.doctor.finding import Finding, broken, ok, warn
from deft.settings.environments import Package

NAMED = 6


def pins(python: str, installed: Mapping[str, str], wanted: Sequence[Package]) -> Finding:
    """Judge the versions. ``installed``: distribution -> version."""
    what = "packages"
    missing, other = [], []
    for package in wanted:
        found = {name: installed[name] for name in package.builds if name in installed}
        if not found:
            missing.append(package.name)
        elif not any(package.builds[name] == version for name, version in found.items()):
            name, version = next(iter(found.items()))
            other.append(f"{name} {version} (pinned {package.builds[name]})")
    if missing:
        advice = "pip install -r envs/requirements.txt; without a connection: docs/air_gap.md"
        return broken(what, f"Python {python}; missing: {_some(missing)}", advice)
    if other:
        advice = "numbers may differ from the tested ones: pip install -r envs/requirements.txt"
        return warn(what, f"Python {python}; {_some(other)}", advice)
    return ok(what, f"Python {python}; all {len(wanted)} have the pinned version")


class Ping(NamedTuple):
    """What ``scontrol ping`` answered. ``status`` is None when it was cut off."""

    status: int | None
    text: str


def slurm(ping: Ping | None, plugin: str | None, *, used: bool) -> Finding:
    """Judge SLURM. ``ping`` is None without ``scontrol``; ``plugin``: version of the executor.

    ``used``: jobs go to a cluster; else what is wrong with SLURM ends no run.
    """
    what, only = "SLURM", "only profiles/slurm needs it"
    if ping is None:
        return ok(what, f"not on this machine: {only}")
    bad, aside = (broken, "") if used else (warn, f"{only}; to use it: ")
    if ping.status is None:
        return bad(
            what,
            "scontrol ping does not answer",
            f"{aside}ask for slurmctld and the network to it",
        )
    # "Slurmctld(primary) at head is UP", one line a controller; older: "at a/b are UP/DOWN".
    if not re.search(r"\b(is|are)\b.*\bUP\b", ping.text):
        return bad(
            what,
            f"no controller is up: {ping.text}",
            f"{aside}systemctl status slurmctld; munge -n",
        )
    if plugin is None:
        advice = "pip install -r envs/requirements.txt"
        return warn(what, "a controller is up; snakemake-executor-plugin-slurm is missing", advice)
    return ok(what, f"a controller is up; executor plugin {plugin}")


class Tool(NamedTuple):
    """A program: its name, and the first line of its ``--version`` or what went wrong."""

    name: str
    version: str
    error: str = ""


def tools(what: str, purpose: str, found: Sequence[Tool]) -> Finding:
    """Judge programs of which one is enough."""
    good = [tool for tool in found if not tool.error]
    if good:
        return ok(what, "; ".join(tool.version or tool.name for tool in good))
    if found:
        why = "; ".join(f"{tool.name}: {tool.error}" for tool in found)
        return warn(what, f"there, but of no use: {why}", f"mend it before {purpose}")
    return ok(what, f"not there: only for {purpose}")


def docker(client: Tool | None, engine: str | None, error: str) -> Finding:
    """Judge Docker. ``engine``: the version its engine gave."""
    what = "docker"
    if client is None:
        return ok(what, "not there: only for the container and engine: tao")
    if engine is None:
        advice = "start it, or join the group docker; not needed by engine: native"
        return warn(what, f"{client.version or client.name}, but its engine: {error}", advice)
    return ok(what, f"{client.version or client.name}, engine {engine}")


def configuration(problem: str, workspace: str, exists: bool) -> Finding:
    """Judge the configuration and whether the workspace is there."""
    what = "configuration"
    if problem:
        first, *rest = problem.split("\n  do: ")
        return broken(what, first, rest[0] if rest else "see config/config.yaml")
    if not exists:
        advice = "add --config workspace=DIR; disk and locks here are the temporary folder's"
        return warn(what, f"no workspace at {workspace}", advice)
    return ok(what, f"workspace {workspace}")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
