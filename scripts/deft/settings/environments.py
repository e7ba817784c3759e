"""The one list of pinned packages, and the pip and conda files that are written from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from deft.core.files import write_text_atomic

ENVS_DIR = Path(__file__).resolve().parents[3] / "envs"
TABLE = ENVS_DIR / "packages.yaml"
FAMILIES = {
    "loop": "Tables, KPI, reports: the light stages.",
    "torch": "Pre-flight, training, inference, export.",
    "embed": "Embedding and mining.",
    "explore": "Exploring a model file.",
}
MADE = "Made from packages.yaml by `make envs`."


@dataclass(frozen=True)
class Package:
    """A pinned package. ``gpu``: its (name, version) on a machine with a GPU, where they differ.

    ``alone``: installed without what it asks for, since the other pins are newer.
    """

    name: str
    version: str
    module: str
    envs: tuple[str, ...] = ()
    gpu: tuple[str, str] | None = None
    needed_by: str | None = None  # not imported by us, but by this module
    alone: bool = False

    def line(self, gpu: bool = False) -> str:
        """Return the pip requirement."""
        name, version = self.gpu if gpu and self.gpu else (self.name, self.version)
        return f"{name}=={version}"

    @property
    def builds(self) -> dict[str, str]:
        """Name -> version of every build that provides the module."""
        return {self.name: self.version} | (dict([self.gpu]) if self.gpu else {})


@dataclass(frozen=True)
class Table:
    """What ``envs/packages.yaml`` says."""

    python: str
    channels: tuple[str, ...]
    base_image: str
    packages: tuple[Package, ...]
    development: tuple[Package, ...]

    def of(self, env: str) -> list[Package]:
        """Return the packages of an environment, in the order of the list."""
        return [package for package in self.packages if env in package.envs]


@cache
def table(path: Path = TABLE) -> Table:
    """Read the list. Raises ``ValueError`` for an entry that is not understood or stands twice."""
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = Table(
        raw["python"],
        tuple(raw["channels"]),
        raw["base_image"],
        tuple(_package(entry) for entry in raw["packages"]),
        tuple(_package(entry) for entry in raw["development"]),
    )
    names = [name for p in (*found.packages, *found.development) for name in p.builds]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{path}: named twice: {', '.join(sorted(twice))}")
    return found


def _package(entry: dict[str, Any]) -> Package:
    known = {"name", "version", "module", "envs", "gpu", "with", "alone"}
    wrong = [*(set(entry) - known), *(set(entry.get("envs", [])) - set(FAMILIES))]
    if wrong or not isinstance(entry["version"], str):
        raise ValueError(f"{entry['name']}: not understood: {wrong or entry['version']}")
    return Package(
        entry["name"],
        entry["version"],
        entry.get("module", entry["name"]),
        tuple(entry.get("envs", ())),
        (entry["gpu"]["name"], entry["gpu"]["version"]) if "gpu" in entry else None,
        entry.get("with"),
        bool(entry.get("alone")),
    )


def files(listed: Table) -> dict[str, str]:
    """Return name -> text of every file that is made from the list."""
    everything = listed.packages
    out = {
        "requirements.txt": _pip(everything, "Everything, for a CPU; runs on a GPU too."),
        "requirements-gpu.txt": _pip(
            everything,
            "For a machine with an NVIDIA GPU: instead of requirements.txt, never beside it.",
            gpu=True,
        ),
        "requirements-dev.txt": _pip(
            [package for package in listed.development if not package.alone],
            "Tests and formatting, beside requirements.txt.",
            "-r requirements.txt",
        ),
        "requirements-tao.txt": _pip(
            [package for package in listed.development if package.alone],
            "TAO's version, for tests: pip install --no-deps, after requirements-dev.txt.",
        ),
    }
    for family in FAMILIES:
        out[conda_name(family)] = _conda(listed, family)
        if any(package.gpu for package in listed.of(family)):
            out[conda_name(family, gpu=True)] = _conda(listed, family, gpu=True)
    return out


def conda_name(family: str, *, gpu: bool = False) -> str:
    """Return the file of a family's conda environment; ``gpu`` for one that has such a build."""
    return f"{family}-gpu.yaml" if gpu else f"{family}.yaml"


def _pip(packages: Any, about: str, *first: str, gpu: bool = False) -> str:
    lines = [f"# {about}", f"# {MADE}", *first, *(package.line(gpu) for package in packages)]
    return "\n".join(lines) + "\n"


def _conda(listed: Table, family: str, *, gpu: bool = False) -> str:
    lines = [f"# {FAMILIES[family]}{' With a GPU.' if gpu else ''}", f"# {MADE}"]
    lines += [f"name: deft-{family}{'-gpu' if gpu else ''}", "channels:"]
    lines += [f"  - {channel}" for channel in listed.channels]
    lines += ["dependencies:", f"  - python={listed.python}", "  - pip", "  - pip:"]
    lines += [f"      - {package.line(gpu)}" for package in listed.of(family)]
    return "\n".join(lines) + "\n"


def write(folder: Path = ENVS_DIR) -> list[str]:
    """Write the files that differ and remove those no longer made; return their names."""
    made = files(table(folder / TABLE.name))
    changed = []
    for name, text in made.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text_atomic(path, text)
            changed.append(name)
    for path in sorted([*folder.glob("requirements*.txt"), *folder.glob("*.yaml")]):
        if path.name not in made and path.name != TABLE.name:
            path.unlink()
            changed.append(path.name)
    return changed
