"""Record the user's approval of the Pre-Flight Summary that an earlier command printed.

Without such a summary it is printed now and nothing is approved (exit status 1).
"""

from __future__ import annotations

from deft.preflight.approval import approve
from deft.preflight.cli import parse, recorded
from deft.run.stage import main


def body() -> int:
    """Approve, or print the summary and stop."""
    request = parse(__doc__)
    recorded(request, lambda: approve(*request[:3], sources=request.sources)["digest"])
    return 0


if __name__ == "__main__":
    main(body)
