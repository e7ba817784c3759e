"""A small pool of parts, each with one picture a light, as the mining stage reads it."""

import numpy as np
import pandas as pd

from deft.embedding.embed import normalise


def frames(seed=0, n=30, lights=("A", "B")):
    """Return the pool's rows and their vectors (rows, 8); every third part is defective."""
    rng = np.random.default_rng(seed)
    rows = [
        {"filepath": f"/p/{i:03d}_{light}.png", "label": "PASS" if i % 3 else "bridge",
         "light": light, "provenance": "real" if i % 2 else "sdg", "input_path": "p",
         "golden_path": "g", "object_name": f"{i:03d}"}
        for light in lights
        for i in range(n)
    ]  # fmt: skip
    pool = pd.DataFrame(rows)
    return pool, normalise(rng.normal(size=(len(pool), 8)))
