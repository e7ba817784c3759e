"""One check's answer, and what the checks share: inputs read once, or the reason they are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from deft.changenet.spec import Spec
from deft.core.errors import HardStop
from deft.core.layout import TABLES as TABLES
from deft.kpi.operating_point import KpiTarget
from deft.pool.pregen.parts import SynthPart
from deft.tables.corrections import Correction
from deft.tables.fingerprint import Fingerprint
from deft.tables.foreign.grid import reading_of
from deft.tables.goldens import Goldens
from deft.tables.label_words import doubtful_word
from deft.tables.labels import PASS, clean_label, first_spellings, shown
from deft.tables.leakage import Side

OK, WARN, STOP = "ok", "warn", "stop"


@dataclass
class Check:
    """The answer of one check. ``stop`` is set when ``status`` is ``stop``."""

    id: str
    status: str
    evidence: str
    fix: str = ""
    stop: HardStop | None = None
    pairs: tuple[tuple[str, str], ...] | None = None  # pictures that look alike

    def as_dict(self) -> dict[str, Any]:
        """Return the form of ``checks.json``."""
        out: dict[str, Any] = {
            "id": self.id,
            "status": self.status,
            "evidence": self.evidence,
            "fix": self.fix,
        }
        if self.stop is not None:
            out["code"] = self.stop.code
            out["file"] = self.stop.file
            out["rows"] = self.stop.rows[:100]
        if self.pairs is not None:
            out["pairs"] = [list(pair) for pair in self.pairs]
        return out


def ok(id: str, evidence: str) -> Check:
    """Return a passed check."""
    return Check(id, OK, evidence)


def warn(id: str, evidence: str, fix: str = "") -> Check:
    """Return a check that the run may go on with."""
    return Check(id, WARN, evidence, fix)


def stopped(id: str, stop: HardStop) -> Check:
    """Return a check that forbids the run."""
    evidence = stop.message
    if stop.file:
        evidence += f" [{stop.file}"
        if stop.rows:
            shown = ", ".join(str(r) for r in stop.rows[:5])
            more = f" and {len(stop.rows) - 5} more" if len(stop.rows) > 5 else ""
            evidence += f", row{'s' if len(stop.rows) > 1 else ''} {shown}{more}"
        evidence += "]"
    return Check(id, STOP, evidence, stop.fix or "", stop)


def skipped(id: str, needs: str) -> Check:
    """Return a check that could not be made, because what it needs is broken."""
    return Check(id, WARN, f"not checked: needs {needs}, see above", "mend that first")


class Suspect(NamedTuple):
    """Two pictures that a check found too much alike, workspace-relative; to be looked at."""

    check: str
    left: str
    right: str
    what: str


@dataclass
class Context:
    """What the checks share. A broken input is None (or absent); the check that read it says why.

    ``raw`` holds the tables as read, ``tables`` with paths relative to the workspace; both are
    keyed by :data:`TABLES`' names and only hold tables whose cells stay inside the workspace.
    """

    workspace: Path
    run_dir: Path
    config: dict[str, Any]
    sources: dict[str, str]
    log: Callable[[str], None]
    image_root: Path | None = None
    spec: Spec | None = None
    draft: Spec | None = None  # of a file that stops, its `dataset` part being sound
    kpi: KpiTarget | None = None
    pool_prefix: int | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    raw: dict[str, pd.DataFrame] = field(default_factory=dict)
    sound: set[str] = field(default_factory=set)  # tables whose pictures may be opened
    pairs: list[tuple[Path, Path]] | None = None  # pre-generated (NG, OK) files
    parts: list[SynthPart] | None = None
    facts: dict[str, Any] = field(default_factory=dict)  # for the summary
    sides: dict[str, Side] = field(default_factory=dict)  # of the leakage checks, by table
    prints: dict[str, Fingerprint] = field(default_factory=dict)  # by picture, as rows name it
    replaced: dict[str, Any] = field(default_factory=dict)  # pictures of another content, by table
    suspects: list[Suspect] = field(default_factory=list)
    corrections: list[Correction] | None = None  # None: not read, or refused
    spellings: dict[str, str] = field(default_factory=dict)  # clean label -> as the user writes it

    @cached_property
    def goldens(self) -> Goldens:
        """Which golden pictures a row has, by the spec; cells are relative to the workspace."""
        assert self.spec is not None
        data = self.spec.dataset.classify
        return Goldens(self.workspace, self.spec.lights, data.image_ext, data.num_golden)

    def add_spellings(self, *columns: Iterable[str]) -> None:
        """Take over spellings of labels that no earlier table has."""
        self.spellings = first_spellings(self.spellings.values(), *columns)

    def shown(self, label: str) -> str:
        """Return a label as the user writes it."""
        return shown(label, self.spellings)

    @cached_property
    def meant_labels(self) -> frozenset[str]:
        """The clean labels that ``import_table.labels`` gives: what they mean is decided."""
        try:
            reading = reading_of(self.config.get("import_table"), list(TABLES))
        except HardStop:  # the check of made tables tells it
            return frozenset()
        return frozenset(map(clean_label, reading.labels.values()))

    def doubtful(self, label: str) -> bool:
        """Return whether a label may mean a good part or no verdict, and nobody said which."""
        return doubtful_word(label) and clean_label(label) not in self.meant_labels

    def relative(self, path: str | Path) -> str:
        """Return a path as the user types it: below the workspace where possible."""
        try:
            return str(Path(path).relative_to(self.workspace))
        except ValueError:
            return str(path)


def counted(file: str, labels: Iterable[str], shown: Callable[[str], str] = str) -> dict[str, Any]:
    """Return what the summary shows of a table: its rows, good and defective, and each label."""
    counts = Counter(map(clean_label, labels))
    total = counts.total()
    return {
        "file": file,
        "rows": total,
        "pass": counts[PASS],
        "ng": total - counts[PASS],
        "labels": {shown(label): count for label, count in sorted(counts.items())},
    }
