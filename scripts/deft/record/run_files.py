"""The files of a run in one piece: what stands in them, phase by phase, and what is not there yet.

Who reads decides what a damaged file means. The report is also rendered while the loop runs and
after it failed, so its reader leaves out what it cannot read (:mod:`deft.record.lenient`). What is
written down or handed off reads strictly (:mod:`deft.record.strict`): damage is a stop.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.kpi.decision import PROVEN
from deft.pool.corrected_laps import KEPT_FILE
from deft.run.state_format import COMPLETE, FAILED, own
from deft.settings.kpi_target import parse_kpi
from deft.settings.metric_contract import Contract, recorded_contract
from deft.tables.corrected import corrected_table
from deft.tables.corrections import KPI, from_dicts
from deft.tables.labels import first_spellings, shown
from deft.tables.sealed import read_parquet, seal_of, seal_of_kind

SECRET = re.compile(r"token|api_?key|ngc_key|secret|passw|credential", re.IGNORECASE)


FINAL_AUTOML = "final_automl"  # of the state's iterations: a sweep that NVIDIA's tools make


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


@dataclass
class RunFiles:
    """What a run has on disk."""

    run: layout.Run
    workspace: Path  # project root of every relative path
    reader: Reader
    state: dict[str, Any]
    log: list[dict[str, Any]]
    checks: dict[str, Any]
    pool: dict[str, Any]
    spec: dict[str, Any]
    phases: list[PhaseFiles]
    export: dict[str, Any] = field(default_factory=dict)  # best_model/export.json
    acceptance: dict[str, Any] = field(default_factory=dict)  # what the sealed set said
    noise: dict[str, Any] = field(default_factory=dict)  # noise/noise.json
    memo: dict[str, Any] = field(default_factory=dict)  # what is dear and made once per reading

    @property
    def name(self) -> str:
        """Run name, e.g. ``run_20260131_120000``."""
        return self.run.name

    @property
    def evaluated(self) -> list[PhaseFiles]:
        """Phases that have a FAR, in order."""
        return [p for p in self.phases if p.far_pct is not None]

    @cached_property
    def contract(self) -> Contract | None:
        """The metric contract that decides in this run, or None where FAR does."""
        return recorded_contract(self.checks.get("metric_contract"))

    @property
    def by_proof(self) -> str | None:
        """The best proven phase where the run's decisions hand off that one, else None."""
        told = [p.decision for p in self.phases if p.decision]
        newest = told[-1] if told else {}
        return str(newest["best_phase"]) if newest.get("best_by") == PROVEN else None

    @property
    def best(self) -> PhaseFiles | None:
        """Best phase by the contract, or proven so where that is asked for, else that with the
        lowest FAR; of equals the earlier one.
        """
        if self.by_proof:
            return next((p for p in self.evaluated if p.name == self.by_proof), None)
        if self.contract is not None:
            measured = [p for p in self.evaluated if not self.contract.check(p.metric_result)]
            results = [p.metric_result for p in measured]
            return measured[self.contract.best(results)] if measured else None
        return min(self.evaluated, key=lambda p: p.far_pct or 0.0, default=None)

    @property
    def target(self) -> dict[str, Any]:
        """The KPI target: ``far_max_pct`` [%], ``min_recall`` [0..1], ``sentence``."""
        found = self.checks.get("kpi_target")
        sentence = str(self.state.get("kpi_target") or "")
        if not isinstance(found, dict) and sentence:
            with suppress(HardStop):
                return parse_kpi(sentence).as_dict()
            return {"sentence": sentence}
        return found if isinstance(found, dict) else {}

    @property
    def parameters(self) -> list[dict[str, Any]]:
        """The run's parameters with the source of each: ``name, value, source``."""
        found = [p for p in self.checks.get("parameters") or [] if isinstance(p, dict)]
        # Nobody should list a credential there; nothing passes it on if somebody does.
        return [
            p
            for p in found
            if not (isinstance(p.get("value"), str) and SECRET.search(str(p.get("name"))))
        ]

    def parameter(self, name: str) -> Any:
        """Value of a parameter, or None."""
        return next((p.get("value") for p in self.parameters if p.get("name") == name), None)

    @property
    def picture_levels(self) -> int | None:
        """Full scale of pictures deeper than 8 bits, as the run was approved with."""
        found = self.parameter("picture_levels")
        return found if isinstance(found, int) and found > 0 else None

    @property
    def arm(self) -> str:
        """Mining strategy of the run (``nearest``, …; ``random`` and ``none`` are controls)."""
        mined = next((p.mining.get("strategy") for p in self.phases if p.mining), None)
        arm = self.checks.get("arm") or self.parameter("mining") or mined or "nearest"
        return str(arm.get("strategy", "nearest") if isinstance(arm, dict) else arm)

    @cached_property
    def corrections(self) -> list[dict[str, Any]]:
        """Corrections of the run's tables (:func:`deft.pool.corrected_laps.keep`)."""
        found = self.reader.record(self.run.dir / KEPT_FILE).get("corrections")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    @property
    def hard_stop(self) -> dict[str, Any]:
        """The hard stop that ended the run, or ``{}`` (also once the run goes on after it)."""
        failed = self.state.get("status") == FAILED
        return (own(self.state).get("hard_stop") or {}) if failed else {}

    @property
    def stop_reason(self) -> str | None:
        """Why the loop ended, or None while it runs."""
        if self.state.get("status") == FAILED:
            return "failed"
        return next((p.decision.get("reason") for p in self.phases if p.decision.get("stop")), None)

    @property
    def running(self) -> bool:
        """Whether more is to come."""
        logged = bool(self.log) and self.log[-1].get("stage") == "loop_stop"
        ended = self.state.get("status") in (COMPLETE, FAILED)
        return not (ended or logged or self.stop_reason)

    @cached_property
    def pool_rows(self) -> pd.DataFrame:
        """One row per part of the staged source pool, with ``label`` and ``provenance``."""
        record = self.run.synth_pool / "manifest.json"
        told = seal_of(self.pool, "source_pool.csv")
        table = self.reader.table(record.with_name("source_pool.csv"), told, record, "stage_pool")
        if "light" in table.columns:  # one line per light: count each part once
            wanted = ("input_path", "golden_path", "label", "object_name", "provenance")
            table = table.drop_duplicates([c for c in wanted if c in table.columns])
        return spelled(table, label_spelling(self.pool), ("label",))

    @cached_property
    def kpi_labels(self) -> dict[str, int]:
        """Label, as it is shown, -> rows of the KPI table; ``{}`` without a table."""
        table = self.reader.table(self.table_path("kpi_test_csv", layout.KPI_TABLE))
        table = table.rename(columns=str.strip)  # as the user's tables are read everywhere
        if "label" not in table:
            return {}
        spelling = first_spellings(table["label"])
        counts = spelled(table, spelling, ("label",))["label"].value_counts()
        return {str(label): int(n) for label, n in counts.items()}

    def table_path(self, key: str, default: str) -> Path:
        """Path of an input table as the state records it, else where contracts put it."""
        return self.inside(dig(self.state, "config", key)) or self.workspace / default

    def inside(self, recorded: str | None) -> Path | None:
        """Return a recorded path when it lies in the workspace (not so after a move), else None."""
        if not recorded:
            return None
        try:
            path, root = (self.workspace / recorded).resolve(), self.workspace.resolve()
            path.exists()
        except (OSError, ValueError):  # a text that is no path: NUL in it, or too long
            return None
        return self.workspace / recorded if root in path.parents else None


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


def _phase_names(run: layout.Run) -> list[str]:
    """Phases that have begun, in order (``layout`` lists only those with metrics)."""
    found = []
    for path in run.dir.iterdir() if run.dir.is_dir() else []:
        try:
            layout.phase_number(path.name)
        except ValueError:
            continue
        if path.is_dir() and any(p.is_file() for p in path.rglob("*")):
            found.append(path.name)
    return sorted(found, key=layout.phase_number)


def load_run(run_dir: str | Path, workspace: str | Path, reader: Reader) -> RunFiles:
    """Read ``<workspace>/results/<run>``; see :class:`RunFiles`."""
    workspace = Path(workspace).absolute()
    run_dir = workspace / Path(run_dir)
    run = layout.Run(run_dir.parent.parent, run_dir.name)
    pool = reader.record(run.synth_pool / "manifest.json")
    phases = [load_phase(run, name, reader, label_spelling(pool)) for name in _phase_names(run)]
    spec = next((s for s in (training_spec(p) for p in phases) if s), None)
    state, log = reader.state(run.dir)
    return RunFiles(
        run=run,
        workspace=workspace,
        reader=reader,
        state=state,
        log=log,
        checks=reader.record(run.preflight / "checks.json"),
        pool=pool,
        spec=spec or reader.yaml(workspace / layout.SPEC),
        phases=phases,
        export=reader.record(run.best_model / "export.json"),
        acceptance=reader.record(run.dir / layout.ACCEPTANCE_FILE),
        noise=reader.record(run.dir / layout.NOISE_FILE),
    )


def training_spec(phase: PhaseFiles) -> dict[str, Any]:
    """Return the spec that a phase was trained with, or ``{}``."""
    return phase.reader.yaml(phase.dir / "train" / "experiment.yaml")
