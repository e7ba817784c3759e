"""What every stage needs to know about a run: its workspace, the spec, how records are checked."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft.changenet.spec import Spec, load_spec
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import made_again, read_json
from deft.core.layout import Run
from deft.core.reading import check_shape
from deft.run import roots
from deft.run.state import read_state
from deft.tables import sealed
from deft.tables.corrections import Correction, of_table, read_corrections
from deft.tables.kept import KeptFacts, keeping

if TYPE_CHECKING:  # some stages read no table, and pandas takes a second
    import pandas as pd

    from deft.tables.goldens import Goldens


@dataclass(frozen=True)
class Context:
    """A run and its spec.

    Parameters
    ----------
    run: where the state, the log and scratch files lie; what a stage reads and writes beside them
        is handed to it by name.
    engine: who runs the model stages, ``native`` or ``tao``.
    picture_levels: full scale of pictures deeper than 8 bits
        (:func:`deft.tables.pictures.open_rgb`).
    containers: settings of ``engine: tao`` (:func:`deft.settings.tao.settings`).
    random_weights: a training's backbone starts from random numbers where the spec names no file.
    """

    run: Run
    engine: str = "native"
    picture_levels: int | None = None
    containers: Mapping[str, Any] = field(default_factory=dict)
    random_weights: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace, run: Run) -> Context:
        """Return the context that a stage's command line names (:func:`deft.run.cli.parser`)."""
        random = getattr(args, "random_weights", False)  # of the trainings' command lines
        return cls(run, args.engine, args.picture_levels, args.containers, random)

    @cached_property
    def spec(self) -> Spec:
        """The experiment spec, checked for the engine."""
        return load_spec(self.workspace / layout.SPEC, engine=self.engine)

    @property
    def workspace(self) -> Path:
        """The workspace, as given."""
        return Path(self.run.workspace)

    @property
    def root(self) -> Path:
        """The workspace, absolute (links kept)."""
        return Path(os.path.abspath(self.run.workspace))

    @property
    def lights(self) -> list[str]:
        """Lights of the spec, in its order."""
        return self.spec.lights

    @property
    def ext(self) -> str:
        """Extension of the pictures, with its dot."""
        return self.spec.dataset.classify.image_ext

    @cached_property
    def goldens(self) -> Goldens:
        """The golden that is looked at beside a part; cells are relative to the workspace."""
        from deft.tables.goldens import Goldens

        return Goldens(self.root, self.lights, self.ext, self.spec.dataset.classify.num_golden)

    @property
    def image_root(self) -> Path:
        """Root of base, validation and KPI pictures."""
        return layout.image_root(self.workspace)

    @cached_property
    def _corrections(self) -> list[Correction]:
        return read_corrections(self.workspace)

    def pictures_kept(self) -> AbstractContextManager[KeptFacts]:
        """Keep in the workspace what is found on pictures while the block lasts."""
        return keeping(self.workspace / layout.PICTURES_KEPT)

    def corrections(self, table: str) -> list[Correction]:
        """Return what the user corrected in a table (``kpi``, ``training``, ``pool``)."""
        return of_table(self._corrections, table)

    def relative(self, path: str | Path) -> str:
        """Return a path relative to the workspace; one that lies elsewhere stays absolute."""
        full = os.path.abspath(path)
        return os.path.relpath(full, self.root) if roots.below(full, str(self.root)) else full

    def absolute(self, path: str | Path) -> str:
        """Return a path with the workspace as it is called here, as the state holds it."""
        return str(self.root / self.relative(path))

    def checked(
        self,
        path: Path,
        told: Mapping[str, Any],
        record: Path,
        *,
        rule: str,
        explain: Callable[[Path], object] | None = None,
    ) -> Path:
        """Return a table's path when a record speaks of this one (:mod:`deft.tables.sealed`)."""
        target = self.relative(path)
        return sealed.check(path, told, record, rule=rule, target=target, explain=explain)

    def checked_by(
        self,
        record: Path,
        name: str,
        *,
        rule: str,
        rows: str = "",
        explain: Callable[[Path], object] | None = None,
    ) -> Path:
        """Return the path of a table beside its record, checked.

        ``rows``: the record's key that held the number of rows before there were seals.
        """
        facts = facts_of(record)
        told = sealed.seal_of(facts, name) or ({"rows": facts.get(rows)} if rows else {})
        return self.checked(record.parent / name, told, record, rule=rule, explain=explain)

    def paths_here(self, table: pd.DataFrame, path: Path) -> pd.DataFrame:
        """Return what was read from a parquet file with its paths below this workspace."""
        recorded = roots.recorded_root(path)
        earlier = [] if recorded else roots.places_of(read_state(self.run.dir))
        return roots.paths_here(table, recorded, self.root, path, earlier=earlier)


def facts_of(record: Path) -> dict[str, Any]:
    """Return a record with seals; one whose seals have another shape is damaged, not unsealed."""
    facts: dict[str, Any] = read_json(record, {})
    problem = check_shape({"sha256": "", **facts}, {"sha256": str})
    for group, key in ((sealed.TABLES, "sha256"), ("kinds", "csv_sha256")):
        told = facts.get(group, {})
        problem = problem or check_shape(told, {}, group)
        for name, seal in told.items() if not problem else ():
            absent = {} if group == sealed.TABLES else {key: ""}  # an earlier version's kinds
            problem = problem or check_shape(seal, {}, f"{group}.{name}")
            problem = problem or check_shape({**absent, **seal}, {key: str}, f"{group}.{name}")
    if problem:
        raise damaged(record, problem)
    return facts


# Not by its schema (deft.record.records): the environment of embedding has no jsonschema.
def damaged(path: Path, why: str) -> HardStop:
    """Return the stop for a record that contradicts itself."""
    return HardStop(
        "missing_input", f"the record is damaged: {why}", file=path, fix=made_again(path)
    )
