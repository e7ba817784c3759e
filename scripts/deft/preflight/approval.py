"""The one user gate: an approval covers one digest, and only of a summary that was shown before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import write_json_atomic
from deft.core.layout import CHECKS_FILE, DEFECT_SPEC, PREGEN_DIR
from deft.core.reading import read_json
from deft.pool import digest
from deft.pool.digest import APPROVAL_FILE, GATE_FILE
from deft.pool.source_pool import check_pregen_unchanged
from deft.preflight.run import SUMMARY_FILE, run_preflight
from deft.preflight.summary import on_terminal
from deft.run.handover import staged_elsewhere
from deft.run.state import STATE_FILE, read_state, update_state, utc_now
from deft.run.state_format import IN_PROGRESS, own, own_part
from deft.settings.kpi_target import parse_kpi

Log = Callable[[str], None]


def gate(
    workspace: Path,
    run_dir: Path,
    config: dict[str, Any],
    *,
    sources: dict[str, str],
    log: Log = print,
) -> dict[str, Any]:
    """Let the run start, or stop with ``approval_missing``; return what ``gate.json`` holds.

    Checks that were not made for the present parameters and inputs, or that stopped, are made
    (again) first. ``config["approve"]`` true counts as an approval and is recorded as such.
    """
    run_dir = Path(run_dir)
    matter, approval = digest.current(workspace, run_dir, config), read_approval(run_dir)
    refuse_mutated_pregen(Path(workspace), run_dir, approval, matter)
    now = digest.digest_of(matter)
    printed = False
    if not checked(run_dir, now):
        now = run_preflight(workspace, run_dir, config, sources=sources, log=log).digest
        matter, printed = digest.current(workspace, run_dir, config), True
    if approval is None or approval.get("digest") != now:
        if config.get("approve") is not True:
            if not printed:
                log(on_terminal(read_json(run_dir / CHECKS_FILE), run_dir))
            raise missing_approval(run_dir, approval, matter)
        approval = write_approval(run_dir, matter, by="config", how="approve: true")
        log(f"approved by the configuration: {parse_kpi(config['kpi']).canonical()}")
    passed = {
        "digest": now,
        "approved_by": approval["approved_by"],
        "approved_at": approval["approved_at"],
        "how": approval["how"],
    }
    write_json_atomic(run_dir / GATE_FILE, passed)
    forget_stop(run_dir)
    return passed


def refuse_mutated_pregen(
    workspace: Path, run_dir: Path, approval: dict[str, Any] | None, matter: dict[str, Any]
) -> None:
    """Raise ``pregen_mutated`` when a run that has staged its pool finds other pairs.

    No approval can mend that: the pool's copies and embeddings belong to the earlier pairs.
    """
    manifest = run_dir / "synth_pool" / "manifest.json"
    approved = (approval or {}).get("inputs", {}).get("inputs", {})
    names = (PREGEN_DIR, DEFECT_SPEC)
    if staged_elsewhere(run_dir):
        return
    if manifest.is_file() and any(approved.get(n) != matter["inputs"].get(n) for n in names):
        check_pregen_unchanged(workspace, read_json(manifest), manifest)


def approve(
    workspace: Path,
    run_dir: Path,
    config: dict[str, Any],
    *,
    sources: dict[str, str],
    log: Log = print,
) -> dict[str, Any]:
    """Record the user's approval of a summary that an earlier command printed.

    Raises
    ------
    HardStop ``approval_missing`` when there is no such summary: it is printed now, and the same
    command approves it. Any stop of the checks forbids approval.
    """
    run_dir = Path(run_dir)
    matter = digest.current(workspace, run_dir, config)
    if not checked(run_dir, digest.digest_of(matter)):
        earlier = digest.recorded(run_dir)
        changes = digest.explain_changes(earlier, matter) if earlier else []
        run_preflight(workspace, run_dir, config, sources=sources, log=log)
        raise HardStop(
            "approval_missing",
            "nothing is approved yet: the summary above was not shown before"
            + (f"; changed since the last one: {'; '.join(changes)}" if changes else ""),
            file=run_dir / SUMMARY_FILE,
            fix=f"read it, then run again: {again('approve')}",
            evidence={"changes": changes},
        )
    approval = write_approval(run_dir, matter, by="user", how="snakemake approve")
    log(f"approved: {parse_kpi(config['kpi']).canonical()}")
    log(f"{run_dir.name}, digest {approval['digest'][:16]}")
    return approval


def checked(run_dir: Path, hex_digest: str) -> bool:
    """Return whether an earlier command checked and showed exactly this, without a stop.

    Checks that stopped are never kept: what stopped them (a picture, say) may be mended
    without any table or parameter changing.
    """
    try:
        report = read_json(Path(run_dir) / CHECKS_FILE, {"checks": [{"status": str}]})
        shown = (Path(run_dir) / SUMMARY_FILE).is_file()
    except HardStop:
        return False
    stops = any(c["status"] == "stop" for c in report.get("checks", []))
    return shown and report.get("digest") == hex_digest and not stops


def read_approval(run_dir: Path) -> dict[str, Any] | None:
    """Return the recorded approval, or None when there is none (or a broken one)."""
    return digest.read_or_none(Path(run_dir) / APPROVAL_FILE, digest.APPROVAL)


def write_approval(run_dir: Path, matter: dict[str, Any], *, by: str, how: str) -> dict[str, Any]:
    """Write ``approval.json`` and return it. ``by`` is ``user`` or ``config``."""
    approval = {
        "schema_version": 1,
        "digest": digest.digest_of(matter),
        "inputs": matter,
        "approved_at": utc_now(),
        "approved_by": by,
        "how": how,
    }
    write_json_atomic(Path(run_dir) / APPROVAL_FILE, approval)
    return approval


def missing_approval(
    run_dir: Path, approval: dict[str, Any] | None, matter: dict[str, Any]
) -> HardStop:
    """Return the stop of the gate; says what voided an earlier approval."""
    changes = digest.explain_changes(approval.get("inputs", {}), matter) if approval else []
    if approval:
        message = f"the approval of {approval.get('approved_at')} is void: {'; '.join(changes)}"
    else:
        message = "the pre-flight summary is not approved yet"
    return HardStop(
        "approval_missing",
        message,
        file=Path(run_dir) / SUMMARY_FILE,
        fix=f"read the summary above, then run: {again('approve')}",
        evidence={"changes": changes},
    )


def forget_stop(run_dir: Path) -> None:
    """Clear a pre-flight stop from the state once the gate is passed."""
    stopped = (Path(run_dir) / STATE_FILE).exists() and own(read_state(run_dir)).get("hard_stop")
    if stopped and stopped.get("stage") == "preflight":

        def change(state: dict[str, Any]) -> None:
            del own_part(state)["hard_stop"]
            state["status"] = IN_PROGRESS

        update_state(run_dir, change)
