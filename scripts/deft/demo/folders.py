"""Drawn boards as a line keeps its pictures: in folders, without a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from deft.core.errors import HardStop
from deft.demo import boards
from deft.demo.canvas import LIGHTS
from deft.demo.parts import Specimen
from deft.demo.plan import PASS, ROLES, Sample, plan_role
from deft.demo.workspace import EXT, picture, specimen_of

SIZE_PX = 64
TODAY = {PASS: 6, "missing": 2, "bridge": 2, "tombstone": 2}  # parts not yet judged by anyone


def make_folders(out: str | Path, *, seed: int = 0, scale: float = 1.0) -> dict[str, int]:
    """Draw `known/` and `today/` below ``out``; return folder -> pictures.

    `known/` holds `OK/`, `NG/<defect>/` and `golden/`, which has a picture of the name of every
    other one. `today/test/` and `today/golden/` hold pictures of other boards, whatever is wrong
    with them: their names do not say it. ``scale``: 1 = 400 good parts and 40 of each defect. Same
    seed, same bytes. Raises HardStop ``config_invalid`` where ``out`` holds anything.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HardStop("config_invalid", "the folder is taken", file=out, fix="name another one")
    known = plan_role(seed, ROLES["pool"], scale)
    today = plan_role(seed, replace(ROLES["kpi"], easiest=0.5), 0.2)
    counts: dict[str, int] = {}
    for sample in known:
        folder = "known/OK" if sample.label == PASS else f"known/NG/{sample.label}"
        counts[folder] = counts.get(folder, 0) + 1
        _draw(out / folder, out / "known" / "golden", sample, seed)
    for label, wanted in TODAY.items():
        for sample in [s for s in today if s.label == label][:wanted]:
            _draw(out / "today" / "test", out / "today" / "golden", sample, seed)
    return {**dict(sorted(counts.items())), "today/test": sum(TODAY.values())}


def _draw(folder: Path, golden_folder: Path, sample: Sample, seed: int) -> None:
    name = f"{sample.board.name}_{sample.part.name.replace('@', '-')}{EXT}"
    specimen, rng = specimen_of(seed, sample)
    pose = boards.random_pose(rng)
    _save(folder / name, sample, sample.board, specimen, pose, rng)
    golden = boards.golden_board(sample.board.design)
    rng = np.random.default_rng([seed, 32, sample.board.design, sample.stream[2]])
    _save(golden_folder / name, sample, golden, Specimen(), boards.Pose(), rng)


def _save(
    path: Path,
    sample: Sample,
    board: boards.Board,
    specimen: Specimen,
    pose: boards.Pose,
    rng: np.random.Generator,
) -> None:
    light = LIGHTS[0]
    taken = picture(board, sample.part, specimen, pose, (light,), SIZE_PX, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(boards.encode(taken[light], EXT))
