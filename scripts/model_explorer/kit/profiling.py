"""Where the model's time goes: a profiler trace and its operators with the most own time."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from .folder import Folder
from .models import ONNX, open_model
from .preprocess import item

TOP = 10
RUNS = 3
TRACE = "logs/profile_trace.json"


def profile(folder: Folder) -> str:
    """Write ``outputs/profile.json`` and ``logs/profile_trace.json``; return the summary line."""
    parameters, contract = folder.parameters, folder.need("io_contract")
    sample = folder.need("inputs")["samples"][0]
    feed = item(folder, contract, sample)
    onnx = parameters["model"]["format"] == ONNX
    rows, tool = (_by_onnx if onnx else _by_torch)(folder, parameters, feed)
    total = sum(r["self_ms"] for r in rows)
    rows.sort(key=lambda r: (-r["self_ms"], r["operator"]))
    for row in rows:
        row["share_pct"] = 100 * row["self_ms"] / total if total else 0.0
    found = {
        "tool": tool, "runs": RUNS, "trace": TRACE, "total_self_ms_per_run": total,
        "operators": len(rows), "top": rows[:TOP],
    }  # fmt: skip
    folder.write("profile", found)
    if not rows:
        return f"{tool}: no operator was seen"
    return (
        f"{tool}: {rows[0]['operator']} takes {rows[0]['share_pct']:.0f} % of {len(rows)} operators"
    )


def _by_torch(
    folder: Folder, parameters: dict[str, Any], feed: dict[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as torch_profile

    model = open_model(folder, parameters)
    model.run(feed)
    activities = [ProfilerActivity.CPU]
    cuda = model.device == "cuda"
    if cuda:
        activities.append(ProfilerActivity.CUDA)
    with torch_profile(activities=activities, profile_memory=True) as seen:
        for _ in range(RUNS):
            model.run(feed)
    seen.export_chrome_trace(str(folder.path(TRACE)))
    rows = []
    for event in seen.key_averages():
        spent = event.self_device_time_total if cuda else event.self_cpu_time_total
        if spent > 0:
            rows.append(
                {
                    "operator": event.key,
                    "self_ms": spent / 1e3 / RUNS,
                    "calls": event.count / RUNS,
                }
            )
    return rows, "torch.profiler"


def _by_onnx(
    folder: Folder, parameters: dict[str, Any], feed: dict[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    from .onnx_runtime import session_for

    prefix = str(folder.path("logs") / "onnxruntime_profile")
    runtime = parameters["runtime"]
    session, _ = session_for(
        folder, parameters["model"], runtime, int(runtime["threads"]), trace=prefix
    )
    for _ in range(RUNS + 1):
        session.run(None, feed)
    written = Path(session.end_profiling())
    events = json.loads(written.read_text(encoding="utf-8"))
    written.replace(folder.path(TRACE))
    spent: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith("_kernel_time"):
            kind = event.get("args", {}).get("op_name") or event["name"]
            spent[kind] += event["dur"] / 1e3
            calls[kind] += 1
    many = RUNS + 1  # the warm-up run is in the trace too
    rows = [
        {"operator": k, "self_ms": spent[k] / many, "calls": calls[k] / many} for k in sorted(spent)
    ]
    return rows, "ONNX Runtime's profiler"
