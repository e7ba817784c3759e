"""Reading, changing and writing the experiment spec of Visual ChangeNet (task ``classify``).

``load_spec`` is the only way in: whatever it returns has known keys, right types, values in range
and (engine ``native``) nothing that would change a result and the native engine cannot do. Whatever
is wrong is told at once; what is taken without effect stands in ``Spec.notes``.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deft.changenet.spec.build import (
    SpecProblem,
    build,
    parse_yaml,
    resolve_references,
    together,
)
from deft.changenet.spec.native import check_native
from deft.changenet.spec.schema import SpecFields
from deft.changenet.spec.taken import Note, normalised, part_of, switched_off, without_effect
from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from deft.core.reading import read_text

ENGINES = ("native", "tao")


@dataclass(kw_only=True)
class Spec(SpecFields):
    """A checked spec. Treat it as read-only; :func:`render` makes a changed one."""

    # Where it was read from, for which engine it was checked, whether it says how many epochs, and
    # what is taken without effect; no keys of the spec.
    source: str | None = field(default=None, init=False, compare=False)
    engine: str = field(default="native", init=False, compare=False)
    names_epochs: bool = field(default=True, init=False, compare=False)
    notes: tuple[Note, ...] = field(default=(), init=False, compare=False)

    @property
    def lights(self) -> list[str]:
        """Lights in the order in which they are joined; ``[""]`` when pictures have no suffix."""
        return list(self.dataset.classify.input_map) or [""]

    @property
    def grid(self) -> tuple[int, int] | None:
        """(x, y) tiles of a grid join, or None for the linear one (also what odd counts get)."""
        data = self.dataset.classify
        if data.concat_type == "grid" and data.num_input % 2 == 0:
            return data.grid_map.x, data.grid_map.y
        return None

    @property
    def picture_size(self) -> tuple[int, int]:
        """(height, width) in pixels of one light's picture after resizing."""
        data = self.dataset.classify
        return data.image_height, data.image_width

    @property
    def tensor_size(self) -> tuple[int, int]:
        """(height, width) in pixels of the joined lights, as the network sees them."""
        height, width = self.picture_size
        if self.grid is not None:
            return height * self.grid[1], width * self.grid[0]
        return height * len(self.lights), width

    @property
    def named_epochs(self) -> int | None:
        """``train.num_epochs`` as the file has it; TAO's default does not count for the loop."""
        return self.train.num_epochs if self.names_epochs else None

    @property
    def learnable(self) -> bool:
        """Whether the difference module is the learnable one (else euclidean)."""
        return self.model.classify.difference_module == "learnable"

    @property
    def digest(self) -> str:
        """SHA-256 of every value that changes a result; where outputs go is none of them."""
        values = self.to_dict()
        values.pop("results_dir", None)
        values.get("train", {}).pop("results_dir", None)
        text = json.dumps(values, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data in schema order; parts that are empty and not ours are left out."""
        data = dataclasses.asdict(self)
        del data["source"], data["engine"], data["names_epochs"], data["notes"]
        for owner in (data, data["dataset"], data["train"]):
            for name in ("segment", "gen_trt_engine", "quantize"):
                if owner.get(name) == {}:
                    del owner[name]
        return data


def load_spec(path: str | Path, *, engine: str = "native") -> Spec:
    """Read and check a spec file.

    Raises
    ------
    HardStop ``missing_input`` when there is no such file, ``spec_invalid`` for everything that is
    wrong inside it.
    """
    spec, stop = examine(path, engine=engine)
    if stop is not None:
        raise stop
    assert spec is not None
    return spec


def examine(path: str | Path, *, engine: str = "native") -> tuple[Spec | None, HardStop | None]:
    """Return a file's spec and the stop that tells all that is wrong with it; either may be None.

    Beside a stop the spec is there where its ``dataset`` part is sound, so that tables and pictures
    can be checked all the same.
    """
    path = Path(path)
    if not os.path.lexists(path):
        return None, HardStop("missing_input", "the experiment spec does not exist", file=path)
    try:
        text = read_text(path, code="spec_invalid")
        spec, problems = _examined(parse_yaml(text), engine, path)
    except HardStop as stop:
        return None, stop
    except SpecProblem as problem:
        return None, problem.as_stop(path)
    if not problems:
        return spec, None
    readable = not any(problem.key.partition(".")[0] == "dataset" for problem in problems)
    return spec if readable else None, together(problems).as_stop(path)


def from_dict(data: dict[str, Any], *, engine: str = "native", source: Any = None) -> Spec:
    """Build and check a spec from plain data; raises HardStop ``spec_invalid``."""
    try:
        spec, problems = _examined(data, engine, source)
    except SpecProblem as problem:
        raise problem.as_stop(source) from None
    if problems:
        raise together(problems).as_stop(source)
    return spec


def _examined(data: dict[str, Any], engine: str, source: Any) -> tuple[Spec, list[SpecProblem]]:
    """Return a spec and all that is wrong with it; raises SpecProblem where none can be built."""
    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}, got {engine!r}")
    data, notes = plain_keys(copy.deepcopy(data))
    problems: list[SpecProblem] = []
    spec: Spec = build(Spec, data, "", problems)
    built = not problems
    if built:
        problems += _check_task(spec, data)
    if engine == "native":
        problems += check_native(spec, built=built)
    spec.source = str(source) if source is not None else None
    spec.engine = engine
    spec.names_epochs = part_of(data, "train").get("num_epochs") is not None
    said = without_effect(spec, Spec()) if engine == "native" else switched_off(spec)
    spec.notes = (*notes, *said)
    return spec, problems


def plain_keys(data: dict[str, Any]) -> tuple[dict[str, Any], list[Note]]:
    """Return plain data with references resolved and present names, and what was renamed.

    Raises :class:`SpecProblem`.
    """
    return normalised(resolve_references(without_automl(data)))


def render(spec: Spec, overrides: dict[str, Any]) -> Spec:
    """Return a copy with ``overrides`` (dotted key -> value) set, checked like a file."""
    data = spec.to_dict()
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        owner = data
        for part in parents:
            owner = owner.setdefault(part, {})
            if not isinstance(owner, dict):
                raise HardStop("spec_invalid", f"{dotted}: {part} holds no keys", file=spec.source)
        owner[last] = value
    return from_dict(data, engine=spec.engine, source=spec.source)


def dump_spec(spec: Spec, path: str | Path) -> Path:
    """Write every value as YAML, whole or not at all; reading it back gives an equal spec."""
    text = yaml.safe_dump(spec.to_dict(), sort_keys=False, allow_unicode=True, width=100)
    return write_text_atomic(path, text)


def without_automl(data: dict[str, Any]) -> dict[str, Any]:
    """Drop ``automl_policy: off`` (YAML reads the bare word as false); refuse any other value."""
    train = data.get("train")
    for name, owner in (("automl_policy", data), ("train.automl_policy", train)):
        if isinstance(owner, dict) and "automl_policy" in owner:
            value = owner.pop("automl_policy")
            if value not in (False, None) and str(value).lower() != "off":
                raise SpecProblem(
                    f"{name} {value!r}: this loop trains plainly",
                    "set automl_policy: off and give the winning values in the spec",
                )
    return data


def check_intervals(spec: Spec, epochs: int, source: str) -> None:
    """Raise HardStop ``spec_invalid`` for an interval longer than a training.

    ``epochs``, ``source``: of the run (:func:`deft.settings.config.epochs`), which need not be the
    spec's own.
    """
    said = (
        "train.num_epochs {}" if source == "spec" else "the {} epochs of this run (" + source + ")"
    )
    for name in ("checkpoint_interval", "validation_interval"):
        value = getattr(spec.train, name)
        by_step = name == "checkpoint_interval" and spec.train.checkpoint_interval_unit == "step"
        if value > epochs and not by_step:
            raise HardStop(
                "spec_invalid",
                f"train.{name} {value} is more than {said.format(epochs)}",
                file=spec.source,
                fix=f"set train.{name} to {epochs} or less, or raise training_epochs",
            )


def _check_task(spec: Spec, data: dict[str, Any]) -> list[SpecProblem]:
    dataset = data.get("dataset") or {}
    if spec.task != "classify":
        return [SpecProblem(f"task {spec.task!r} is not run by this loop", "set task: classify")]
    if "task" not in data and dataset.get("segment") and not dataset.get("classify"):
        return [
            SpecProblem(
                "task is not given, and dataset holds segment alone: a spec of another task",
                "give dataset.classify and task: classify",
            )
        ]
    return []
