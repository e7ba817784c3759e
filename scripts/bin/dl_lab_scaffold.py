#!/usr/bin/env python3
"""Start a research project whose runs leave a record that a paper can quote."""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from deft.core.errors import HardStop  # noqa: E402
from dl_lab.scaffold import scaffold  # noqa: E402


def pinned(package: str) -> str:
    """Return the version that this repository pins a package to."""
    for path in (ROOT / "envs").glob("requirements*.txt"):
        found = re.search(rf"^{package}==(\S+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found[1]
    raise SystemExit(f"no requirements file of envs/ pins {package}")


def main() -> int:
    """Write the project, say what to do next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder, empty or not there yet")
    parser.add_argument("--name", required=True, help="name of the project")
    given = parser.parse_args()
    try:
        files = scaffold(
            given.out,
            given.name,
            {
                name.upper().replace("-", "_"): pinned(name)
                for name in ("jsonschema", "markdown-it-py", "pytest")
            },
        )
    except HardStop as stop:
        print(f"HARD STOP {stop.text()}", file=sys.stderr)
        return 1
    print(f"{given.name}: {len(files)} files in {given.out}")
    print(f"next: python3 {given.out / 'scripts' / 'make_artifacts.py'} --tag M0-demo")
    return 0


if __name__ == "__main__":
    sys.exit(main())
