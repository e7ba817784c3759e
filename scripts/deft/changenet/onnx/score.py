"""Score boards with this model: python score.py --help"""

import sys
from pathlib import Path

PACKAGES = "pip install numpy opencv-python-headless onnxruntime"

if __name__ == "__main__":
    sys.dont_write_bytecode = True  # the folder stays as it was handed off
    try:
        from score_kit.command import main
    except ImportError as error:
        sys.exit(f"STOP {error}\n  do: {PACKAGES}; score_kit/ must lie beside score.py")
    sys.exit(main(Path(__file__).resolve().parent))
