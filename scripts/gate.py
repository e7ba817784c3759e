"""Let the run start: an approval of exactly these parameters and inputs, or a clear stop."""

from __future__ import annotations

import time

from deft.embedding.shards import record_shards
from deft.preflight.approval import gate
from deft.preflight.cli import PHASE, STAGE, parse, recorded
from deft.preflight.start import record_start
from deft.record.promoted_start import begin_from
from deft.run.handover import take_over
from deft.run.stage import main, status_line
from deft.run.state import log_stage, read_log
from deft.settings.session import inherited


def body() -> int:
    """Pass the gate and log pre-flight as done, once per digest."""
    request, started = parse(__doc__), time.monotonic()

    def work() -> str:
        passed = gate(*request[:3], sources=request.sources)
        return f"approved by {passed['approved_by']}, digest {passed['digest'][:16]}"

    summary = recorded(request, work)
    take_over(request.run_dir, request.workspace)
    if request.config["start"] == "best":  # before the run counts as begun
        begin_from(request.workspace, request.run_dir, request.config["champion"])
    record_start(*request[:3])
    if shards := inherited("DEFT_EMBED_SHARDS"):
        record_shards(request.run_dir, int(shards))
    duration = time.monotonic() - started
    done = [e["summary"] for e in read_log(request.run_dir) if e["stage"] == STAGE]
    if summary not in done[-1:]:
        log_stage(request.run_dir, PHASE, STAGE, summary, duration_s=duration)
        print(status_line(PHASE, STAGE, summary, duration, "train"))
    return 0


if __name__ == "__main__":
    main(body)
