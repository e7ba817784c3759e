"""Draws the self-test's five pictures: ``python tests/support/encoder_pictures.py``.

Parts of the demo's boards, without the camera's noise so that the files stay small. Their sides
differ, so that every rule of resizing and cropping takes part; one is grey and one is larger
than it is wide.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from deft.demo import boards, defects  # noqa: E402
from deft.demo.catalogue import design_parts  # noqa: E402
from deft.demo.parts import Specimen  # noqa: E402
from deft.demo.workspace import picture  # noqa: E402
from deft.embedding.encoders.selftest import PICTURES  # noqa: E402

SEED = 20
LIGHT = "SolderLight"
# kind of part, defect, size in px of the drawing, what is cut out of it (left, top, right, bottom)
SCENES = {
    "soic8_bridge.png": ("soic8", "bridge", 72, (0, 0, 72, 72)),
    "resistor.png": ("resistor", None, 80, (0, 16, 80, 64)),
    "capacitor_tombstone.png": ("capacitor", "tombstone", 80, (16, 0, 64, 80)),
    "sot23_lifted_lead.png": ("sot23", "lifted_lead", 56, (0, 0, 56, 56)),
    "diode_grey.png": ("diode", "polarity", 64, (0, 4, 64, 60)),
}


def drawn() -> dict[str, Image.Image]:
    """Return the five pictures by file name."""
    out = {}
    for number, (name, (kind, defect, size_px, box)) in enumerate(SCENES.items()):
        rng = np.random.default_rng([SEED, number])
        part = next(p for p in design_parts(SEED, number) if p.kind == kind)
        specimen = Specimen()
        if defect is not None:
            specimen = defects.spoil(specimen, part, defect, 0.8, rng)
        board = replace(boards.golden_board(number), noise=0.0)
        pose = boards.Pose(dx_px=0.4, dy_px=-0.3, turn_deg=0.3, blur_px=0.3)
        taken = picture(board, part, specimen, pose, (LIGHT,), size_px, rng)[LIGHT]
        image = Image.fromarray(taken).crop(box)
        out[name] = image.convert("L") if "grey" in name else image
    return out


def encoded(image: Image.Image) -> bytes:
    """Return a picture as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    for name, image in drawn().items():
        (PICTURES / name).write_bytes(encoded(image))
        print(f"{PICTURES / name}: {image.size} {(PICTURES / name).stat().st_size} bytes")
