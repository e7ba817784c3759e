"""What every step needs to know about a run: spec, lights, image root, weights of a phase."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from deft.changenet.spec import Spec, load_spec
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import made_again, read_json, sha256_file
from deft.core.layout import Run
from deft.core.reading import check_shape
from deft.kpi.evaluation import read_scores
from deft.run import roots
from deft.run.state import read_state
from deft.settings.session import inherited
from deft.tables import sealed

ROUTING_RECORD = "routing.json"  # beside the routed gaps: their seals

WEIGHTS = {"files": [{"path": str, "sha256": str}], "best_val": str, "latest": str}


@dataclass(frozen=True)
class Context:
    """A run and its spec; paths are below ``run.workspace``."""

    run: Run

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings that Snakemake handed down; empty for a script that is run by hand."""
        return json.loads(inherited("DEFT_CONFIG") or "{}")

    @property
    def engine(self) -> str:
        """Who runs the model stages: ``native`` or ``tao``."""
        return self.config.get("engine", "native")

    @property
    def picture_levels(self) -> int | None:
        """Full scale of pictures deeper than 8 bits, see :func:`deft.tables.pictures.open_rgb`."""
        return self.config.get("picture_levels")

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

    @property
    def image_root(self) -> Path:
        """Root of base, validation and KPI pictures."""
        return layout.image_root(self.workspace)

    def relative(self, path: str | Path) -> str:
        """Return a path relative to the workspace; one that lies elsewhere stays absolute."""
        full = os.path.abspath(path)
        return os.path.relpath(full, self.root) if roots.below(full, str(self.root)) else full

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
        facts = _facts(record)
        told = sealed.seal_of(facts, name) or ({"rows": facts.get(rows)} if rows else {})
        return self.checked(record.parent / name, told, record, rule=rule, explain=explain)

    def paths_here(self, table: pd.DataFrame, path: Path) -> pd.DataFrame:
        """Return what was read from a parquet file with its paths below this workspace."""
        recorded = roots.recorded_root(path)
        earlier = [] if recorded else roots.places_of(read_state(self.run.dir))
        return roots.paths_here(table, recorded, self.root, path, earlier=earlier)

    def training_table(self, phase: str) -> Path | None:
        """Return the combined table of a lap, as it was validated; None for the baseline."""
        if phase == layout.BASELINE:
            return None
        record = self.run.phase(phase) / "dataset" / "validation.json"
        path = record.with_name(f"train_combined_{phase}.csv")
        # Always there in the workflow; a stage that is run by hand may have been given a table.
        facts = _facts(record) if record.is_file() else {}
        return self.checked(path, facts, record, rule="assemble")

    def routed_gaps(self, phase: str) -> Path:
        """Return the gaps that were routed to a lap's mining."""
        record = self.run.routing(phase) / ROUTING_RECORD
        facts = _facts(record) if record.is_file() else {}
        path = record.with_name("mining_gaps.parquet")
        told = sealed.seal_of(facts, path.name)
        return self.checked(path, told, record, rule="route")

    def scored_table(self, phase: str, kind: str) -> Path:
        """Return the inference table of a kind of weights, as the inference left it."""
        record = self.run.phase(phase) / "inference" / "inference.json"
        path = record.parent / kind / "inference.csv"
        told = sealed.seal_of_kind(_facts(record), kind)
        return self.checked(path, told, record, rule="infer", explain=read_scores)

    def weights_table(self, phase: str) -> dict[str, Any]:
        """Return ``weights.json`` of a phase."""
        path = self.run.phase(phase) / "train" / "weights.json"
        table = read_json(path, WEIGHTS)
        known = {entry["path"] for entry in table["files"]}
        if not {table["best_val"], table["latest"]} <= known:
            raise _damaged(path, "it does not list the model files that it chooses")
        return table

    def weights_file(self, phase: str, name: str, sha256: str) -> Path:
        """Return a weight file after checking that it is the one that was trained."""
        path = self.run.phase(phase) / "train" / name
        advice = f"snakemake {self.relative(path)}"
        if self.engine == "tao":  # a training in a container is not repeated to the same bytes
            advice = f"snakemake -R {self.relative(path.with_name('weights.json'))}"
        if not path.is_file():
            raise HardStop(
                "missing_input", "a weight file of the run is gone", file=path, fix=advice
            )
        if sha256_file(path) != sha256:
            raise HardStop(
                "missing_input",
                "a weight file is not the one that was trained (other SHA-256)",
                file=path,
                fix=f"delete it, then {advice}",
            )
        return path

    def chosen_weights(self, phase: str) -> Path:
        """Return the weight file that the KPI chose for a phase."""
        path = self.run.phase(phase) / "metrics.json"
        metrics = read_json(path, {"weights": {"path": str, "sha256": str}})
        if metrics.get("phase", phase) != phase:
            raise _damaged(path, f"it is that of {metrics['phase']}")
        weights = metrics["weights"]
        return self.weights_file(phase, Path(weights["path"]).name, weights["sha256"])


def _facts(record: Path) -> dict[str, Any]:
    """Return a record with seals; one whose seals have another shape is damaged, not unsealed."""
    facts = read_json(record, {})
    problem = check_shape({"sha256": "", **facts}, {"sha256": str})
    for group, key in ((sealed.TABLES, "sha256"), ("kinds", "csv_sha256")):
        told = facts.get(group, {})
        problem = problem or check_shape(told, {}, group)
        for name, seal in told.items() if not problem else ():
            absent = {} if group == sealed.TABLES else {key: ""}  # an earlier version's kinds
            problem = problem or check_shape(seal, {}, f"{group}.{name}")
            problem = problem or check_shape({**absent, **seal}, {key: str}, f"{group}.{name}")
    if problem:
        raise _damaged(record, problem)
    return facts


# Not by its schema (deft.record.records): the environment of embedding has no jsonschema.
def _damaged(path: Path, why: str) -> HardStop:
    return HardStop(
        "missing_input", f"the record is damaged: {why}", file=path, fix=made_again(path)
    )
