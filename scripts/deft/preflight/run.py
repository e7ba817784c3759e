"""Pre-flight: make every check, write the summary, and say whether the run may start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.changenet.without_compiler import without_compiler
from deft.core.airgap import offline
from deft.core.errors import HardStop
from deft.core.files import write_json_atomic, write_text_atomic
from deft.core.layout import CHECKS_FILE, MANIFEST_FILE, PICTURES_KEPT, POOL_TABLE
from deft.core.reading import stop_of
from deft.pool import digest
from deft.pool.corrected_laps import keep
from deft.preflight import (
    checks_acceptance,
    checks_corrections,
    checks_data,
    checks_handover,
    checks_inputs,
    checks_machine,
    checks_model,
    checks_pictures,
    checks_places,
    checks_registration,
    checks_rehearsal,
    checks_replaced,
    checks_rows,
    checks_run,
    checks_staging,
    checks_staging_names,
    checks_tables,
    checks_tracking,
    checks_training,
)
from deft.preflight.check import OK, STOP, WARN, Check, Context, skipped, stopped
from deft.preflight.pairs_page import write_pairs
from deft.preflight.summary import on_terminal, render
from deft.preflight.tables import parameters, summary_tables
from deft.run.handover import staged_elsewhere
from deft.settings.metric_contract import contract_of
from deft.tables.kept import keeping

SUMMARY_FILE = "preflight/summary.md"
TOPICS = (
    ("inputs", checks_inputs.checks),
    ("made tables", checks_tables.checks),
    ("handover", checks_handover.checks),
    ("pictures", checks_pictures.checks),
    ("registration", checks_registration.checks),
    ("rows", checks_rows.checks),
    ("corrections", checks_corrections.checks),
    ("replaced", checks_replaced.checks),
    ("data", checks_data.checks),
    ("acceptance", checks_acceptance.checks),
    ("training", checks_training.checks),
    ("staging", checks_staging_names.checks),
    ("places", checks_places.checks),
    ("machine", checks_machine.checks),
    ("packages", checks_staging.checks),
    ("mlflow", checks_tracking.checks),
    ("resume", checks_run.checks),
)
# These read no more of the spec than its `dataset` part, so that another part's stop hides none.
BY_DATASET = ("pictures", "registration", "rows", "replaced", "data", "acceptance", "staging")


@dataclass
class PreflightResult:
    """The digest that an approval would cover, the checks and the summary as text."""

    digest: str
    checks: list[Check]
    summary: str

    @property
    def stops(self) -> list[Check]:
        """The checks that forbid the run."""
        return [c for c in self.checks if c.status == STOP]

    @property
    def warnings(self) -> list[Check]:
        """The checks that the user should read."""
        return [c for c in self.checks if c.status == WARN]

    def sentence(self) -> str:
        """Return the log line's summary."""
        passed = sum(c.status == OK for c in self.checks)
        return f"{passed} checks passed, {len(self.warnings)} warnings"


def run_preflight(
    workspace: Path,
    run_dir: Path,
    config: dict[str, Any],
    *,
    sources: dict[str, str],
    log: Callable[[str], None] = print,
) -> PreflightResult:
    """Make all checks and write ``preflight/{inputs,checks,pictures}.json``, ``summary.md`` beside.

    Parameters
    ----------
    config: the resolved configuration.
    sources: ``user`` or ``default`` per parameter.
    log: gets progress lines and, at the end, what of the summary a decision needs.

    Raises
    ------
    HardStop of the first stop, after the files are written; its message names the other stops.
    """
    workspace, run_dir = Path(workspace), Path(run_dir)
    prefix = pool_prefix_to_use(workspace, run_dir)
    matter = digest.inputs_digest(workspace, config, pool_prefix_bytes=prefix)
    ctx = Context(workspace, run_dir, config, sources, log, pool_prefix=prefix)
    # Building a network on shapes alone would load the compiler in passing, two seconds.
    compiled = bool(config.get("compile"))
    with keeping(workspace / PICTURES_KEPT, log), without_compiler(unless=compiled):
        found = list(all_checks(ctx))
    if all(check.status != STOP for check in found):
        checks_replaced.write_seen(ctx)
    matter = digest.with_replaced(matter, run_dir)
    report = _report(ctx, found, digest.digest_of(matter))
    report["suspicious_pairs"] = write_pairs(ctx)
    summary = render(report)
    write_json_atomic(run_dir / digest.INPUTS_FILE, {**matter, "digest": report["digest"]})
    write_text_atomic(run_dir / SUMMARY_FILE, summary)
    write_json_atomic(run_dir / CHECKS_FILE, report)
    if ctx.corrections is not None:
        keep(workspace, run_dir, ctx.corrections)
    log(on_terminal(report, run_dir))
    result = PreflightResult(report["digest"], found, summary)
    if result.stops:
        raise first_stop(result.stops)
    return result


def all_checks(ctx: Context) -> Iterator[Check]:
    """Yield every check; a broken one never hides the others."""
    made = []
    for check in _topics(ctx):
        check = checks_tables.in_source(ctx, check)
        made.append(check)
        yield check
    if offline() and ctx.workspace.is_dir():
        made.append(checks_staging.air_gap(ctx, made))
        yield made[-1]
    if all(check.status != STOP for check in made) and ctx.workspace.is_dir():
        yield from checks_model.checks(ctx)
        yield from checks_rehearsal.checks(ctx)


def _topics(ctx: Context) -> Iterator[Check]:
    for topic, checks in TOPICS:
        if topic != "inputs" and not ctx.workspace.is_dir():
            yield skipped(topic, "the workspace")
            continue
        usable = ctx.spec
        if topic in BY_DATASET:
            ctx.spec = usable or ctx.draft
        try:
            yield from checks(ctx)
        except HardStop as stop:  # a stop that its check did not expect still is one
            yield Check(topic, STOP, stop.message, stop.fix or "", stop)
        except OSError as error:  # a file that this user may not read, say
            told = stop_of(error)
            if told is None:
                raise
            yield stopped(topic, told)
        finally:
            if topic in BY_DATASET:
                ctx.spec = usable


def first_stop(stops: list[Check]) -> HardStop:
    """Return the first stop, its message naming the other checks that stop."""
    first, others = stops[0].stop, stops[1:]
    assert first is not None
    more = f" (also stopped: {', '.join(c.id for c in others)}; see the summary)" if others else ""
    return HardStop(
        first.code,
        first.message + more,
        file=first.file,
        row=first.rows,
        fix=first.fix,
        evidence={**first.evidence, "check": stops[0].id, "stops": [c.id for c in stops]},
    )


def pool_prefix_to_use(workspace: Path, run_dir: Path) -> int | None:
    """Return how much of the pool's table this run takes; None for all of it.

    A run that is approved or has staged its pool keeps its rows, unless they were edited.
    """
    known = (digest.recorded(run_dir) or {}).get("inputs", {}).get(POOL_TABLE)
    if known is not None and digest.pool_prefix(run_dir) is None:
        known = None  # spoiled: then all rows are looked at, and the approval is void
    staged = (run_dir / MANIFEST_FILE).exists() and not staged_elsewhere(run_dir)
    begun = (run_dir / digest.APPROVAL_FILE).exists() or staged
    if not known or not begun:
        return None
    now = digest.pool_digest(workspace / POOL_TABLE, known["prefix_bytes"])
    return known["prefix_bytes"] if now == known else None


def _contract(ctx: Context) -> dict[str, Any] | None:
    """Return what the run is judged by, NVIDIA's form; None where it cannot be read."""
    with suppress(HardStop):
        return contract_of(ctx.config).as_dict()
    return None


def _report(ctx: Context, found: list[Check], hex_digest: str) -> dict[str, Any]:
    spec, facts = ctx.spec, ctx.facts
    return {
        "schema_version": 1,
        "run": ctx.run_dir.name,
        "digest": hex_digest,
        "checks": [c.as_dict() for c in found],
        "parameters": parameters(ctx),
        "dataset": facts.get("dataset", {}),
        "kpi_target": ctx.kpi.as_dict() if ctx.kpi else None,
        "metric_contract": _contract(ctx),
        "arm": ctx.config.get("mining"),
        "lights": spec.lights if spec else [],
        "image_root": facts.get("image_root"),
        "backbone_file": facts.get("backbone_file"),
        "table_roots": facts.get("table_roots", {}),
        "pregen": facts.get("pregen"),
        "coverage": facts.get("coverage"),
        "gpus": facts.get("gpus", []),
        "credentials": facts.get("credentials", {}),
        "resume": facts.get("resume", {"run": ctx.run_dir.name, "resumes": False}),
        "summary_tables": summary_tables(ctx),
    }
