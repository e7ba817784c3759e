"""The files of one phase of a run in one piece, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from deft.core import layout
from deft.tables.corrected import corrected_table
from deft.tables.corrections import KPI, from_dicts
from deft.tables.labels import shown
from deft.tables.sealed import read_parquet, seal_of, seal_of_kind


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV (every cell text) or parquet table of the loop's own.

    Raises HardStop for parquet, what pandas raises for CSV.
    """
    if path.suffix == ".parquet":
        return read_parquet(path)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


class Reader(Protocol):
    """How the files of a run are read. Absent ones are ``{}``, ``[]`` or empty frames."""

    def record(self, path: Path) -> dict[str, Any]:
        """Return the object of a JSON file."""

    def table(
        self,
        path: Path,
        told: Mapping[str, Any] | None = None,
        record: Path | None = None,
        rule: str = "",
    ) -> pd.DataFrame:
        """Return a CSV (every cell text) or parquet table, its seal checked if one is given."""

    def paths_here(self, table: pd.DataFrame, path: Path, run: layout.Run) -> pd.DataFrame:
        """Return a table of a parquet file with its paths below the present workspace."""

    def yaml(self, path: Path) -> dict[str, Any]:
        """Return a YAML mapping."""

    def state(self, run_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return ``deft_state.json`` and the log's entries."""


def dig(data: Any, *keys: str) -> Any:
    """Return ``data[k1][k2]…``, or None as soon as a level is missing."""
    for key in keys:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


@dataclass
class PhaseFiles:
    """What one phase has on disk; absent parts are ``{}`` or empty frames."""

    name: str
    dir: Path
    run: layout.Run
    reader: Reader
    weights: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    inference: dict[str, Any] = field(default_factory=dict)
    mining: dict[str, Any] = field(default_factory=dict)
    assembly: dict[str, Any] = field(default_factory=dict)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    rca_dir: Path | None = None
    rca: dict[str, Any] = field(default_factory=dict)
    spelling: dict[str, str] = field(default_factory=dict)  # clean label -> as the user writes it
    metric_result: dict[str, Any] = field(default_factory=dict)  # by a metric contract
    causes: dict[str, Any] = field(default_factory=dict)  # root causes, where they were looked for

    @property
    def chosen(self) -> str:
        """Kind of the phase's weights: ``best_val`` or ``latest``."""
        return str(self.metrics.get("chosen") or "best_val")

    @property
    def kind(self) -> dict[str, Any]:
        """Metrics of the chosen kind."""
        found = dig(self.metrics, "kinds", self.chosen)
        return found if isinstance(found, dict) else {}

    @property
    def point(self) -> dict[str, Any]:
        """Operating point of the chosen kind: the recall point."""
        found = self.kind.get("recall_point")
        return found if isinstance(found, dict) else {}

    @property
    def far_pct(self) -> float | None:
        """FAR of the phase in percent, or None before it was evaluated."""
        return self.point.get("far_pct")

    @property
    def decision(self) -> dict[str, Any]:
        """The decision that ends the loop here, else the last one taken, else ``{}``."""
        stopping = [d for d in self.decisions if d.get("stop")]
        return (stopping or self.decisions or [{}])[-1]

    def kind_file(self, name: str, kind: str | None = None) -> Path:
        """Path of a file beside an ``inference.csv``."""
        return self.dir / "inference" / (kind or self.chosen) / name

    @cached_property
    def scores(self) -> pd.DataFrame:
        """KPI table of the chosen kind with ``siamese_score`` as float (higher = worse)."""
        table = self.reader.table(
            self.kind_file("inference.csv"),
            seal_of_kind(self.inference, self.chosen),
            self.dir / "inference" / "inference.json",
            "infer",
        )
        if "siamese_score" not in table or "label" not in table:
            return pd.DataFrame()
        found = from_dicts(self.metrics.get("corrections") or [])
        table = corrected_table(table, found, KPI, self.run.workspace)
        table["siamese_score"] = pd.to_numeric(table["siamese_score"], errors="coerce")
        return table.dropna(subset=["siamese_score"])

    @cached_property
    def sweep(self) -> pd.DataFrame:
        """``threshold_metrics.csv`` of the chosen kind as numbers, by rising threshold."""
        name = f"inference/{self.chosen}/threshold_metrics.csv"
        table = self._sealed(self.dir / "metrics.json", self.metrics, name, "evaluate")
        if not {"threshold", "far", "recall"} <= set(table.columns):
            return pd.DataFrame()
        numbers: pd.DataFrame = table.apply(pd.to_numeric, errors="coerce")
        numbers = numbers.dropna(subset=["threshold"])
        return numbers.sort_values("threshold", kind="stable").reset_index(drop=True)

    @cached_property
    def gaps(self) -> pd.DataFrame:
        """Weak samples of the root-cause analysis, one row per sample and light."""
        if self.rca_dir is None:
            return pd.DataFrame()
        record = self.rca_dir / "metrics.json"
        return self._pictures(record, self.rca, "kpi_gaps.parquet", "rca")

    @cached_property
    def neighbours(self) -> pd.DataFrame:
        """``knn_pairs.parquet``: target, source, rank, similarity."""
        record = self.dir / "mining_filter" / "mining.json"
        table = self._pictures(record, self.mining, "knn_pairs.parquet", "mine")
        return spelled(table, self.spelling, ("target_label", "source_label"))

    @cached_property
    def mined(self) -> pd.DataFrame:
        """``mining_pool.csv`` of the phase: the rows that passed the filter."""
        record = self.dir / "mining_filter" / "mining.json"
        table = self._sealed(record, self.mining, "mining_pool.csv", "mine")
        return spelled(table, self.spelling, ("label",))

    def curve(self, name: str) -> pd.DataFrame:
        """``train_curve.csv`` or ``validation_curve.csv`` as numbers."""
        table = self.reader.table(self.dir / "train" / name)
        return table.apply(pd.to_numeric, errors="coerce") if len(table) else table

    def _sealed(self, record: Path, facts: dict[str, Any], name: str, rule: str) -> pd.DataFrame:
        return self.reader.table(record.parent / name, seal_of(facts, name), record, rule)

    def _pictures(self, record: Path, facts: dict[str, Any], name: str, rule: str) -> pd.DataFrame:
        table = self._sealed(record, facts, name, rule)
        return (
            self.reader.paths_here(table, record.parent / name, self.run) if len(table) else table
        )


def label_spelling(manifest: Any) -> dict[str, str]:
    """Return how the user writes each label, as the pool's manifest records it; else ``{}``."""
    found = dig(manifest, "label_spelling")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def spelled(
    table: pd.DataFrame, spelling: Mapping[str, str], columns: Sequence[str]
) -> pd.DataFrame:
    """Return a table whose labels are spelled as the user does; inside they are lower-cased."""
    present = [name for name in columns if name in table]
    return table.assign(**{n: table[n].map(lambda v: shown(str(v), spelling)) for n in present})


def load_phase(
    run: layout.Run, name: str, reader: Reader, spelling: Mapping[str, str] | None = None
) -> PhaseFiles:
    """Read what one phase has on disk; ``spelling``: of :func:`label_spelling`."""
    folder = run.phase(name)
    rca_dir = run.rca(name) if run.rca(name).is_dir() else None
    decisions = [reader.record(folder / "decide" / f"{part}.json") for part in ("pool", "kpi")]
    return PhaseFiles(
        name=name,
        dir=folder,
        run=run,
        reader=reader,
        weights=reader.record(folder / "train" / "weights.json"),
        metrics=reader.record(folder / "metrics.json"),
        inference=reader.record(folder / "inference" / "inference.json"),
        mining=reader.record(folder / "mining_filter" / "mining.json"),
        assembly=reader.record(folder / "dataset" / "assembly.json"),
        decisions=[d for d in decisions if d],
        rca_dir=rca_dir,
        rca=reader.record(rca_dir / "metrics.json") if rca_dir else {},
        metric_result=reader.record(folder / "metric_result.json"),
        causes=reader.record(folder / "causes.json"),
        spelling=dict(spelling or {}),
    )


def training_spec(phase: PhaseFiles) -> dict[str, Any]:
    """Return the spec that a phase was trained with, or ``{}``."""
    return phase.reader.yaml(phase.dir / "train" / "experiment.yaml")
