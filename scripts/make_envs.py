"""Write the pip lists and conda files of `envs/` from its one list of pinned packages."""

from __future__ import annotations

from deft.run.stage import main
from deft.settings.environments import write


def body() -> None:
    """Write what differs and say so."""
    changed = write()
    print(f"written: {', '.join(changed)}" if changed else "envs/ fits packages.yaml")


if __name__ == "__main__":
    main(body)
