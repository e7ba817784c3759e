"""What runs in the suite's containers: TAO's entry points, answered by the native engine.

Here the kernel refuses what no mount shows; the stand-in's own watch over files is not needed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tao"))
sys.dont_write_bytecode = True

import standin_tao  # noqa: E402

plan = {"argv": sys.argv[1:], "mounts": [""], "written": os.getcwd()}
sys.exit(standin_tao.main(plan, watched=False))
