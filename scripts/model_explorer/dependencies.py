"""What the model needs: the list, each with the version found and the version documented."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from deft.core.errors import HardStop
from dl_lab.record import without_credentials
from model_explorer import imports
from model_explorer.documented import documented
from model_explorer.environment import Environment
from model_explorer.import_names import ALIKE, providers
from model_explorer.kit.absent import GONE

TOOLS = (("numpy", "utility"), ("PIL", "utility"), ("matplotlib", "utility"))
NAMED = 6
GUESS = "guess"


@dataclass
class Need:
    """One package. ``group``: runtime, model, utility or acceleration (never required).

    ``named_by``: what says that the module comes from this distribution: the format, documented,
    the table (:mod:`.import_names`), installed, the user, or only a guess from the module's name.
    ``exact``: the user's own requirement, which is installed as it is.
    """

    module: str
    distribution: str
    group: str
    needed_by: str
    optional: bool = False
    wanted: str | None = None
    wanted_in: str | None = None
    found: str | None = None
    satisfies: bool | None = None
    named_by: str = "table"
    exact: str | None = None
    warning: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form; an address in it has no password."""
        found = asdict(self)
        for name in ("wanted", "exact"):
            found[name] = found[name] and without_credentials(found[name])
        return found

    @property
    def missing(self) -> bool:
        """Whether the model cannot run for want of it."""
        return self.found is None and not self.optional

    @property
    def guessed(self) -> bool:
        """Whether nothing but the module's name says which package this is."""
        return self.named_by == GUESS

    @property
    def latest(self) -> str:
        """The requirement without a version; a repository's address is no version."""
        return (
            self.pinned if (self.wanted or "").startswith(" @") else self.exact or self.distribution
        )

    @property
    def pinned(self) -> str:
        """The requirement with its documented version."""
        return self.exact or f"{self.distribution}{self.wanted or ''}"


def needs_of(
    kind: str,
    file: Path,
    family: str | None,
    *,
    source: Path | None = None,
    code: Path | None = None,
    module: str | None = None,
    device: str = "auto",
    packages: Mapping[str, str | None] | None = None,
    texts: bool = False,
    served: str = "",
) -> list[Need]:
    """Return everything the model needs, without versions found.

    In the order of authority: imports of the source (from ``module`` on, below ``code``), then what
    the format and the name imply. Documented versions come from ``source``'s own files.
    ``packages``: what the user says of a module: its requirement, or None: it can do without.
    ``texts``: texts are given and a tokenizer lies beside the model.
    """
    out: dict[str, Need] = {}

    def add(name: str, group: str, by: str, optional: bool = False) -> None:
        if name not in out or (out[name].optional and not optional):
            out[name] = Need(name, name, group, by, optional)

    if kind == "served":
        for name in ("grpc", "google.protobuf") if served == "grpc" else ():
            add(name, "runtime", "the served model's gRPC")
    elif kind == "onnx":
        add("onnxruntime", "runtime", "the ONNX format")
        if device != "cpu":
            out["onnxruntime-gpu"] = Need(
                "onnxruntime", "onnxruntime-gpu", "acceleration", "ONNX on NVIDIA cards", True
            )
    else:
        add("torch", "runtime", f"the {kind} format")
    if file.suffix == ".safetensors":
        add("safetensors", "runtime", "the safetensors format")
    if family in ("timm", "open_clip", "transformers"):
        add(family, "model", f"the name ({family})")
    if texts:
        add("tokenizers", "model", "tokenizer.json beside the model")
    for name, group in TOOLS:
        add(name, group, "the exploration itself")
    pins: dict[str, tuple[str, str]] = {}
    if source is not None:
        pins = documented(source)
        for found in imports.reachable(code, module) if code and module else []:
            group = out[found.module].group if found.module in out else "model"
            add(found.module, group, f"{found.file}, line {found.line}", found.optional)
    for name in packages or {}:
        add(name, "model", "the user (explore.packages)")
    for need in out.values():
        if need.group != "acceleration":
            _name(need, pins, packages or {})
    return sorted(out.values(), key=lambda n: (n.optional, n.group != "runtime", n.distribution))


def _name(need: Need, pins: dict[str, tuple[str, str]], packages: Mapping[str, str | None]) -> None:
    """Fill in which distribution a module comes from, and which version is documented."""
    if need.module in packages:
        need.named_by, need.optional = "user", packages[need.module] is None
        need.exact = packages[need.module]
        if need.exact:
            asked = Requirement(need.exact)
            need.distribution, need.wanted = asked.name, str(asked.specifier) or None
            need.wanted_in = "explore.packages"
        return
    known = providers(need.module)
    own = canonicalize_name(need.module)
    there = [n for n in (*known, own) if n in pins]
    # A look-alike is only believed where a repository's address stands beside its name.
    alike = need.module in ALIKE and not any(pins[n][0].startswith(" @") for n in there)
    if there and not alike:
        need.distribution, need.named_by = there[0], "documented"
        need.wanted, need.wanted_in = pins[there[0]][0] or None, pins[there[0]][1]
    elif known:
        need.distribution, need.named_by = known[0], "table"
        if need.module in GONE:  # the latest has it no longer
            need.wanted, need.wanted_in = GONE[need.module][1], "the table of packages"
    else:
        need.distribution, need.named_by = own, GUESS
    if alike:
        need.warning = f"{own} on the public index is {ALIKE[need.module][0]}"


def look_up(needs: list[Need], answer: dict[str, Any]) -> list[Need]:
    """Fill in what an environment has (see :func:`model_explorer.environment.ask`)."""
    for need in needs:
        owner = answer["distributions"].get(need.module) or {}
        if need.group == "acceleration":
            same = owner.get("distribution") == need.distribution
            need.found = owner.get("version") if same else None
            continue
        there = answer["importable"].get(need.module, False)
        need.found = (owner.get("version") or "present") if there else None
        if owner.get("distribution") and need.wanted is None:
            need.distribution = owner["distribution"]
            need.named_by = "installed" if need.named_by != "user" else need.named_by
        need.satisfies = fits(need.found, need.wanted)
    return needs


def fits(found: str | None, wanted: str | None) -> bool | None:
    """Return whether a version meets its documented specifier; None where one of them is not
    known.
    """
    if not found or not wanted or found == "present" or wanted.startswith(" @"):
        return None
    try:
        return SpecifierSet(wanted).contains(found, prereleases=True)
    except InvalidVersion:
        return None


def ask_once(missing: list[Need], environment: Environment, *, answered: bool = False) -> HardStop:
    """Return the one question: what is missing, and the ways to get it. Nothing was installed.

    ``answered``: where to install was said, and only the guessed names are left to ask about.
    """
    guessed = [n for n in missing if n.guessed]
    asked = guessed if answered else missing
    more = f" and {len(asked) - NAMED} more" if len(asked) > NAMED else ""
    many = f"{len(asked)} packages are" if len(asked) > 1 else "a package is"
    if environment.kind == "pixi":
        ways = (
            "explore.install: current (pixi add --pypi to its manifest), or new-venv (a new pixi "
            "environment beside the experiment)"
        )
    else:
        ways = (
            f"explore.install: current (pip, into {environment.place}), or new-venv (a venv "
            "beside the "
            "experiment that sees the current packages; the current one stays as it is)"
        )
    fix = "" if answered else f"choose once, for all of them: {ways}"
    if guessed:
        lines = ", ".join(f"{n.module}: {_meant(n)}" for n in guessed)
        fix += f"{'; and ' if fix else ''}say what is meant (null: not needed), a guess each: "
        fix += f"explore.packages: {{{lines}}}"
    return HardStop(
        "approval_missing",
        f"{many} missing in the {environment.kind} environment {environment.place}: "
        f"{'; '.join(map(_shown, asked[:NAMED]))}{more}. Nothing was installed",
        fix=fix,
        evidence={"missing": [n.as_dict() for n in missing]},
    )


def _shown(need: Need) -> str:
    version = f" (documented {need.wanted.removeprefix(' @ ')})" if need.wanted else ""
    guess = f" (only guessed from the import{f'; {need.warning}' if need.warning else ''})"
    text = f"{need.distribution}{version}{guess if need.guessed else ''} for {need.needed_by}"
    return without_credentials(text)


def _meant(need: Need) -> str:
    likely = ALIKE[need.module][1] if need.module in ALIKE else need.distribution
    return json.dumps(likely or "REQUIREMENT")
