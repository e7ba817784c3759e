"""The whole drawn workspace: tables, pictures, pre-generated pairs, weights and the spec."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from deft.core.workspace_source import already_made, batch_that_fits, begin, finish, with_values
from deft.demo import boards, defects
from deft.demo.canvas import LIGHTS, Canvas
from deft.demo.catalogue import design_parts
from deft.demo.drawing import draw
from deft.demo.parts import Part, Specimen, pads_of
from deft.demo.plan import DESIGNS, ROLES, UNSEEN, Sample, plan_role
from deft.demo.weights import write_backbone
from deft.tables.changenet_table import COLUMNS, PASS, image_name, write_table

KIND = "demo"
DRAWING_VERSION = 2  # raise it when the same request would draw other bytes
EXT = ".jpg"
TEMPLATE = Path(__file__).resolve().parents[3] / "config" / "specs" / "demo_spec.yaml"
GOLDEN = "golden"
# Folders of the KPI image root; base rows are relative to it, as in TAO's own workspaces.
FOLDERS = {"base": "base", "validation": "validation", "kpi": "line"}


@dataclass(frozen=True)
class WorkspaceRequest:
    """What to draw: ``size_px`` a light, ``lights`` 1 or 2, ``rows_scale`` of the default size."""

    seed: int = 0
    size_px: int = 64
    lights: int = 1
    rows_scale: float = 1.0

    def check(self) -> WorkspaceRequest:
        """Return self, or raise HardStop ``config_invalid``."""
        rules = [
            (self.seed >= 0, "demo.seed", "0 or more", self.seed),
            (32 <= self.size_px <= 512, "demo.size_px", "32 to 512", self.size_px),
            (self.size_px % 32 == 0, "demo.size_px", "a multiple of 32", self.size_px),
            (self.lights in (1, 2), "demo.lights", "1 or 2", self.lights),
            (0 < self.rows_scale <= 1000, "demo.rows_scale", "above 0, to 1000", self.rows_scale),
        ]
        for fine, key, allowed, found in rules:
            if not fine:
                raise HardStop("config_invalid", f"{key} must be {allowed}, found {found!r}")
        return self


def make_workspace(
    out: str | Path, request: WorkspaceRequest, template: str | Path = TEMPLATE
) -> dict[str, Any]:
    """Draw a workspace under ``out``; return its row counts (``{}`` when it is already there).

    The same request makes the same bytes. Raises HardStop ``config_invalid`` when ``out`` holds a
    workspace of another request.
    """
    out, request = Path(out), request.check()
    record = {**asdict(request), "drawing_version": DRAWING_VERSION}
    if already_made(out, KIND, record):
        return {}
    begin(out, KIND, record)
    lights = LIGHTS[: request.lights]
    images = out / layout.KPI_IMAGES
    counts: dict[str, dict[str, int]] = {}
    for design in range(DESIGNS):
        _golden_pictures(images / GOLDEN / f"D{design}", design, request, lights)
    for name, table in (
        ("base", layout.BASE_TABLE),
        ("validation", layout.VALIDATION_TABLE),
        ("kpi", layout.KPI_TABLE),
    ):
        samples = plan_role(request.seed, ROLES[name], request.rows_scale)
        rows = []
        for sample in samples:
            folder = f"{FOLDERS[name]}/{sample.board.name}"
            _pictures(images / folder, sample, request, lights)
            rows.append(row_of(sample, folder))
        counts[name] = _write_rows(out / table, rows)
    counts["pool"] = _pool(out, request, lights)
    counts["pregen"] = _pairs(out, request, lights[0])
    write_backbone(out, request.seed)
    base_rows = sum(counts["base"].values())
    write_text_atomic(out / layout.SPEC, spec_text(request, template, base_rows))
    finish(out, KIND, record, counts)
    return counts


def spec_text(
    request: WorkspaceRequest, template: str | Path = TEMPLATE, base_rows: int | None = None
) -> str:
    """Return the spec of the drawn workspace: the template with this request's size and lights.

    ``base_rows``: rows of the training table, which a batch must not exceed.
    """
    text = Path(template).read_text(encoding="utf-8")
    lights = ", ".join(f"{light}: {i}" for i, light in enumerate(LIGHTS[: request.lights]))
    values = {
        "input_map": "{" + lights + "}",
        "num_input": str(request.lights),
        "image_width": str(request.size_px),
        "image_height": str(request.size_px),
    }
    if base_rows is not None:
        values["batch_size"] = batch_that_fits(text, base_rows)
    return with_values(text, values)


def row_of(sample: Sample, input_path: str) -> dict[str, str]:
    """Return the ChangeNet row of a sample; ``golden_path`` is relative to the KPI image root."""
    part = sample.part
    spoiled = sample.label != PASS
    return {
        "input_path": input_path,
        "golden_path": f"{GOLDEN}/D{sample.board.design}",
        "label": sample.label,
        "object_name": part.name,
        "project": f"D{sample.board.design}",
        "boardname": sample.board.name,
        "comp_type_2": part.marking,
        "mpass_mfail": "MFAIL" if spoiled else "MPASS",
        "is_valid": "1",
        "comp_name": part.name.split("@")[0],
        "part_type": part.kind,
        "number_of_pins": str(len(pads_of(part))),
        "description": f"severity {sample.severity:.2f}" if spoiled else "",
        "comp_type_1": part.kind,
    }


def specimen_of(seed: int, sample: Sample) -> tuple[Specimen, np.random.Generator]:
    """Return the specimen of a sample and the generator that goes on to photograph it."""
    rng = np.random.default_rng([seed, 31, *sample.stream])
    specimen = defects.good(sample.part, sample.board.aged, rng)
    if sample.label != PASS:
        specimen = defects.spoil(specimen, sample.part, sample.label, sample.severity, rng)
    return specimen, rng


def picture(
    board: boards.Board,
    part: Part,
    specimen: Specimen,
    pose: boards.Pose,
    lights: tuple[str, ...],
    size_px: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return light -> (size_px, size_px, 3) uint8 RGB, all of one scene and one camera pose."""
    canvas = Canvas(size_px, boards.ground(board, rng))
    draw(canvas, part, specimen)
    return {
        light: boards.photograph(canvas.shade(light), board, pose, size_px, rng) for light in lights
    }


def _save(folder: Path, name: str, taken: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for light, pixels in taken.items():
        (folder / image_name(name, light, EXT)).write_bytes(boards.encode(pixels, EXT))


def _golden_pictures(
    folder: Path, design: int, request: WorkspaceRequest, lights: tuple[str, ...]
) -> None:
    board = boards.golden_board(design)
    for index, part in enumerate(design_parts(request.seed, design)):
        rng = np.random.default_rng([request.seed, 32, design, index])
        taken = picture(board, part, Specimen(), boards.Pose(), lights, request.size_px, rng)
        _save(folder, part.name, taken)


def _pictures(
    folder: Path, sample: Sample, request: WorkspaceRequest, lights: tuple[str, ...]
) -> None:
    specimen, rng = specimen_of(request.seed, sample)
    pose = boards.random_pose(rng)
    taken = picture(sample.board, sample.part, specimen, pose, lights, request.size_px, rng)
    _save(folder, sample.part.name, taken)


def _write_rows(path: Path, rows: list[dict[str, str]]) -> dict[str, int]:
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_table(table, path)
    return {str(k): int(v) for k, v in table["label"].value_counts().sort_index().items()}


def _pool(out: Path, request: WorkspaceRequest, lights: tuple[str, ...]) -> dict[str, int]:
    """Draw the pool. Its table names a file where others name a folder, as real exports do."""
    rows = []
    for sample in plan_role(request.seed, ROLES["pool"], request.rows_scale):
        folder = f"images/{sample.board.name}"
        _pictures(out / layout.POOL_DIR / folder, sample, request, lights)
        rows.append(row_of(sample, f"{folder}/{image_name(sample.part.name, lights[0], EXT)}"))
    return _write_rows(out / layout.POOL_TABLE, rows)


def _pairs(out: Path, request: WorkspaceRequest, light: str) -> dict[str, int]:
    """Draw the NG / OK pairs that a generator of anomalies would hand over.

    One picture serves every light of the spec, as the staging of pairs has it. Both pictures of a
    pair show one scene from one camera pose: a generator paints the defect into the good picture.
    """
    numbers: dict[str, int] = {}
    for folder in (layout.PREGEN_NG, layout.PREGEN_OK):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for sample in plan_role(request.seed, ROLES["pregen"], request.rows_scale):
        numbers[sample.label] = number = numbers.get(sample.label, 0) + 1
        stem = f"{sample.board.name}+{sample.label}_{number}"
        spoiled, rng = specimen_of(request.seed, sample)
        whole = defects.good(sample.part, 0.0, np.random.default_rng([request.seed, 33, number]))
        pose = boards.random_pose(rng)
        for folder, specimen in ((layout.PREGEN_NG, spoiled), (layout.PREGEN_OK, whole)):
            taken = picture(
                sample.board, sample.part, specimen, pose, (light,), request.size_px, rng
            )
            (out / folder / f"{stem}{EXT}").write_bytes(boards.encode(taken[light], EXT))
    lines = [
        json.dumps(
            {"defect_type": label, "count": number, "new_to_base": label in UNSEEN}, sort_keys=True
        )
        for label, number in sorted(numbers.items())
    ]
    write_text_atomic(out / layout.DEFECT_SPEC, "\n".join(lines) + "\n")
    return dict(sorted(numbers.items()))
