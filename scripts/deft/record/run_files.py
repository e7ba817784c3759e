"""The files of a run in one piece: what stands in them, and what is not there yet.

Who reads decides what a damaged file means. The report is also rendered while the loop runs and
after it failed, so its reader leaves out what it cannot read (:mod:`deft.record.lenient`). What is
written down or handed off reads strictly (:mod:`deft.record.strict`): damage is a stop.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.kpi.decision import PROVEN
from deft.pool.corrected_laps import KEPT_FILE
from deft.record.phase_files import (
    PhaseFiles,
    Reader,
    dig,
    label_spelling,
    load_phase,
    spelled,
    training_spec,
)
from deft.run.state_format import COMPLETE, FAILED, own
from deft.settings.kpi_target import parse_kpi
from deft.settings.metric_contract import Contract, recorded_contract
from deft.tables.labels import first_spellings
from deft.tables.sealed import seal_of

SECRET = re.compile(r"token|api_?key|ngc_key|secret|passw|credential", re.IGNORECASE)
FINAL_AUTOML = "final_automl"  # of the state's iterations: a sweep that NVIDIA's tools make


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
