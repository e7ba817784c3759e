"""The checks, most wanted first: names, time limits, and which need the machine for themselves.

Those that share the machine stand together, so that none of the others has to wait for the longest.
"""

from __future__ import annotations

from dataclasses import dataclass

ROWS_SCALE = 0.3  # of the drawn workspace: 90 pairs to train on


@dataclass(frozen=True)
class Check:
    """``module:function`` of this package, run in a process of its own.

    ``limit_s``: the process is ended then, on a GPU and on a CPU. ``alone``: it measures time, so
    nothing runs beside it. ``cpu_asks``: on a CPU it takes minutes and runs only when it is named
    (``--only``). ``rows``: the results it gives; one that is missing at the end of the
    process is told as failed.
    """

    name: str
    where: str
    rows: tuple[str, ...]
    limit_s: tuple[float, float] = (90.0, 400.0)
    alone: bool = False
    cpu_asks: bool = False

    def limit(self, device: str) -> float:
        """Return the limit on ``cuda`` or ``cpu``."""
        return self.limit_s[0 if device.startswith("cuda") else 1]


CHECKS = (
    Check("machine", "machine:facts", ("machine", "ceilings"), (120, 400), alone=True),
    Check("speed", "speed:pairs", ("pairs/s scoring", "pairs/s training"), (120, 400), alone=True),
    Check(
        "equality",
        "equality:networks",
        ("forward small", "forward ViT-B", "train step small", "train step ViT-B"),
        (150, 400),
    ),
    Check("resume", "resume:resume", ("resume", "resume exact", "resume fp16"), (180, 400)),
    Check("loader", "loader:loader", ("loader", "pinned memory"), (60, 400)),
    Check("decisions", "decisions:flips", ("decision flips",), (120, 400)),
    Check("embedding", "embedding:equality", ("embedding", "mined table"), (150, 400)),
    Check("precision", "training:precisions", ("bf16 training", "fp16 training"), (120, 400)),
    Check("ddp", "ddp:one_process", ("a process of its own", "DDP of one"), (120, 400)),
    Check("search", "search:search", ("search", "FAISS GPU"), (90, 400)),
    Check("onnx", "onnx_runtime:provider", ("ONNX export", "ONNX CUDA provider"), (90, 400)),
    Check("leases", "machine:leases", ("leases",), (60, 400)),
    Check("doctor", "machine:doctor", ("doctor",), (90, 400)),
    Check("stage", "embedding:stage_speed", ("embedding stage",), (90, 400), alone=True),
    Check("memory", "speed:memory", ("memory by batch size",), (60, 400), alone=True),
    Check("lap", "lap:lap", ("demo lap", "pre-flight of the lap"), (180, 800), alone=True),
    Check("compile", "speed:compiled", ("torch.compile",), (120, 600), cpu_asks=True),
)
BY_NAME = {check.name: check for check in CHECKS}
