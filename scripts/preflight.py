"""Make every pre-flight check; write and print the Pre-Flight Summary. Nothing else happens."""

from __future__ import annotations

from deft.preflight.cli import parse, recorded
from deft.preflight.run import run_preflight
from deft.run.stage import main


def body() -> int:
    """Run the checks; a stop is printed by ``main`` after the summary."""
    request = parse(__doc__)
    recorded(request, lambda: run_preflight(*request[:3], sources=request.sources).digest)
    return 0


if __name__ == "__main__":
    main(body)
