"""DeepPCB as a workspace of the loop.

Roles go by group, and within a group by board picture: base groups give the training and the
validation table, pool groups the mining pool and (from pictures kept out of it) the templates of
the synthetic pairs, KPI groups the testing set. The same settings make the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import write_bytes_atomic, write_text_atomic
from deft.core.workspace_source import already_made, batch_that_fits, begin, finish, with_values
from deft.importers.deeppcb_pairs import draw_defect
from deft.importers.deeppcb_pool import TRUTH, as_on_a_line, photographed_again
from deft.importers.deeppcb_settings import Resolved, Settings, choose, stream
from deft.importers.deeppcb_source import (
    DEFECTS,
    LICENCE_NOTE,
    BoardPicture,
    find_groups,
    read_boxes,
    read_pair,
)
from deft.importers.deeppcb_windows import (
    RARE_MIN,
    Crop,
    Window,
    defect_windows,
    pass_windows,
    rare_share,
)
from deft.importers.lite0 import BACKBONE, backbone_bytes, with_backbone
from deft.tables.changenet_table import COLUMNS, PASS, image_name, write_table

KIND = "deeppcb"
IMPORTER_VERSION = 1  # raise it when the same settings would make other bytes
LIGHT, EXT = "WhiteLight", ".png"  # one back-lit picture per board; binarised, so lossless
TEMPLATE = Path(__file__).resolve().parents[3] / "config" / "specs" / "deeppcb_spec.yaml"
VALIDATION_EVERY = 4  # every fourth board picture of the base groups
PAIRS_PER_DEFECT = 8
PAIR_PICTURES = 4  # board pictures per pool group whose templates carry the synthetic pairs
PAIR_TRIES = 400
LINE = ("pool_defect_share", "pool_rows", "pool_near_copies", "pool_wrong_labels")


def import_deeppcb(
    root: str | Path, out: str | Path, settings: Settings, template: str | Path = TEMPLATE
) -> dict[str, dict[str, int]]:
    """Make a workspace under ``out``; return label counts per table (``{}`` = already made).

    Raises HardStop ``missing_input``, ``csv_invalid`` (file and line of a broken box),
    ``image_invalid`` or ``config_invalid``.
    """
    groups = find_groups(root)
    full = settings.resolve(groups)
    out = Path(out)
    record = {**asdict(full), "importer_version": IMPORTER_VERSION}
    del record["root"], record["backbone"]  # where they lie says nothing about their content
    backbone = None if full.backbone is None else backbone_bytes(full.backbone)
    if backbone is not None:
        record["backbone_sha256"] = hashlib.sha256(backbone).hexdigest()
    for name in LINE:  # younger than workspaces that were made without them
        if record[name] is None:
            del record[name]
    record["copy_sha256"] = copy_digest(groups)
    if already_made(out, KIND, record):
        return {}

    def chosen(names: list[str]) -> list[BoardPicture]:
        return [p for name in names for p in choose(groups[name], full)]

    base = chosen(full.base_groups)
    pool, reserved = [], []
    for name in full.pool_groups:
        pictures = choose(groups[name], full)
        # Templates of the synthetic pairs come from pictures that no table uses.
        kept = min(PAIR_PICTURES, max(1, len(pictures) // 4))
        reserved += pictures[:kept]
        pool += pictures[kept:]
    validation = base[VALIDATION_EVERY - 1 :: VALIDATION_EVERY]
    training = [p for i, p in enumerate(base) if (i + 1) % VALIDATION_EVERY]

    seen: set[str] = set()  # equal windows of two roles would be leakage
    kpi_crops = _crops(chosen(full.kpi_groups), full, seen)
    validation_crops = _balanced(_crops(validation, full, seen), max(4, full.base_rows // 3), full)
    base_crops = _balanced(_crops(training, full, seen), full.base_rows, full)
    pool_crops = as_on_a_line(_crops(pool, full, seen), full)

    tables = {
        "base": (layout.BASE_TABLE, base_crops),
        "validation": (layout.VALIDATION_TABLE, validation_crops),
        "kpi": (layout.KPI_TABLE, kpi_crops),
        "pool": (layout.POOL_TABLE, pool_crops),
    }
    for role, (_, crops) in tables.items():
        _check_labels(role, crops)
    pairs = _draw_pairs(reserved, full)
    begin(out, KIND, record)
    counts = {role: _write(out, table, crops, role) for role, (table, crops) in tables.items()}
    if any(name in record for name in LINE):
        _write_truth(out, pool_crops)
    counts["pregen"] = _write_pairs(out, pairs)
    if backbone is not None:
        write_bytes_atomic(out / BACKBONE, backbone)
    write_text_atomic(out / layout.SPEC, spec_text(full, template, len(base_crops)))
    finish(out, KIND, record, {**counts, "licence": LICENCE_NOTE})
    return counts


def _check_labels(role: str, crops: list[Crop]) -> None:
    labels = sorted({crop.label for crop in crops})
    if PASS not in labels or len(labels) < 2:
        raise HardStop(
            "config_invalid",
            f"the {role} table would have {labels or 'no rows'}; it needs good and bad windows",
            fix="give the role more groups, or raise deeppcb.images_per_group",
        )


def spec_text(
    settings: Settings, template: str | Path = TEMPLATE, base_rows: int | None = None
) -> str:
    """Return the spec: the template at the window's size, rounded up to the network's stride.

    ``base_rows``: rows of the training table, which a batch must not exceed.
    """
    side = str(max(64, -(-settings.window // 32) * 32))
    text = Path(template).read_text(encoding="utf-8")
    values = {"image_width": side, "image_height": side}
    if settings.backbone is not None:
        text, more = with_backbone(text)
        values |= more
    if base_rows is not None:
        values["batch_size"] = batch_that_fits(text, base_rows)
    return with_values(text, values)


def copy_digest(groups: dict[str, list[BoardPicture]]) -> str:
    """Return a digest of what the copy holds: every picture's name and its box file's bytes."""
    digest = hashlib.sha256()
    for name, pictures in sorted(groups.items()):
        for picture in pictures:
            digest.update(f"{name}/{picture.name}\n".encode())
            digest.update(picture.boxes.read_bytes())
    return digest.hexdigest()


def _crops(pictures: list[BoardPicture], settings: Resolved, seen: set[str]) -> list[Crop]:
    """Return every window of the pictures whose pixels were not cut before."""
    crops = []
    for picture in pictures:
        boxes = read_boxes(picture.boxes)
        test, _ = read_pair(picture)
        side = settings.window
        if side > min(test.shape):
            raise HardStop(
                "config_invalid",
                f"deeppcb.window {side} is larger than the picture {test.shape[::-1]}",
                file=picture.test,
            )
        for box in boxes:
            if box.x2 > test.shape[1] or box.y2 > test.shape[0]:
                raise HardStop("csv_invalid", f"{box} lies outside the picture", file=picture.boxes)
        rng = stream(settings, "windows", picture.group, picture.name)
        windows = defect_windows(boxes, test.shape, side, rng)
        windows += pass_windows(test, boxes, side, settings.pass_per_image, rng)
        for number, window in enumerate(windows):
            pixels = window.cut(test)
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()
            if digest in seen:
                continue
            seen.add(digest)
            name = f"P{picture.name}@{number + 1}"
            crops.append(Crop(picture, window, name))
    return crops


def _balanced(crops: list[Crop], rows: int, settings: Resolved) -> list[Crop]:
    """Return ``rows`` crops: half PASS, the rest shared evenly by the base set's defects."""
    rng = stream(settings, "base", rows, len(crops))
    by_label: dict[str, list[Crop]] = {}
    for crop in (crops[i] for i in rng.permutation(len(crops))):
        by_label.setdefault(crop.window.label, []).append(crop)
    bad: list[Crop] = []
    queues = [by_label.get(defect, []) for defect in settings.base_defects]
    while len(bad) < rows // 2 and any(queues):
        bad += [queue.pop() for queue in queues if queue]
    bad = bad[: rows // 2]
    good = by_label.get(PASS, [])[: rows - len(bad)]
    return sorted(bad + good, key=lambda crop: (crop.picture.name, crop.window.label, crop.name))


def _row(crop: Crop, input_path: str, golden_path: str) -> dict[str, str]:
    window = crop.window
    return {
        "input_path": input_path,
        "golden_path": golden_path,
        "label": crop.label,
        "object_name": crop.name,
        "project": "DeepPCB",
        "boardname": crop.picture.name,
        "mpass_mfail": "MPASS" if crop.label == PASS else "MFAIL",
        "is_valid": "1",
        "comp_name": crop.name,
        "part_type": crop.picture.group,
        "description": f"x {window.x} y {window.y} side {window.side}",
    }


def _write(out: Path, table: str, crops: list[Crop], role: str) -> dict[str, int]:
    """Write a role's pictures and its table; golden pictures lie below the KPI image root."""
    images = out / layout.KPI_IMAGES
    rows, open_picture = [], None
    for crop in crops:
        board = f"{crop.picture.group}/{crop.picture.name}"
        golden_path = f"golden/{board}"
        if role == "pool":
            folder, cell = out / layout.POOL_DIR / "images" / board, f"images/{board}"
            cell = f"{cell}/{image_name(crop.name, LIGHT, EXT)}"  # a file, as real exports have it
        else:
            folder, cell = images / role / board, f"{role}/{board}"
        if crop.picture != open_picture:  # crops come picture by picture
            open_picture, (test, golden) = crop.picture, read_pair(crop.picture)
        pixels = crop.window.cut(test)
        if crop.copy_of:
            pixels = photographed_again(pixels, crop.seed)
        _save(folder / image_name(crop.name, LIGHT, EXT), pixels)
        _save(images / golden_path / image_name(crop.name, LIGHT, EXT), crop.window.cut(golden))
        rows.append(_row(crop, cell, golden_path))
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).fillna("")
    write_table(frame, out / table)
    return {str(k): int(v) for k, v in frame["label"].value_counts().sort_index().items()}


def _write_truth(out: Path, crops: list[Crop]) -> None:
    """Write what is true of each row of the pool, for who judges a choice of rows."""
    rows = [(crop.name, crop.label, crop.window.label, crop.copy_of) for crop in crops]
    frame = pd.DataFrame(rows, columns=["object_name", "label", "true_label", "copy_of"])
    write_table(frame, out / layout.POOL_DIR / TRUTH)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError(f"cannot encode {path.name}")
    path.write_bytes(data.tobytes())


def _draw_pairs(
    pictures: list[BoardPicture], settings: Resolved
) -> dict[str, tuple[str, np.ndarray, np.ndarray]]:
    """Return stem -> (defect, NG, OK): defects drawn on templates that no table uses."""
    rng = stream(settings, "pairs")
    templates = [read_pair(picture)[1] for picture in pictures]
    side = settings.window
    pairs: dict[str, tuple[str, np.ndarray, np.ndarray]] = {}
    for defect in DEFECTS:
        number = 0
        for _ in range(PAIR_TRIES):
            if number == PAIRS_PER_DEFECT:
                break
            at = int(rng.integers(len(pictures)))
            height, width = templates[at].shape
            x, y = int(rng.integers(0, width - side + 1)), int(rng.integers(0, height - side + 1))
            good = Window(x, y, side, PASS).cut(templates[at])
            bad = draw_defect(good, defect, rng) if rare_share(good) >= RARE_MIN else None
            if bad is not None:
                number += 1
                pairs[f"{pictures[at].name}+{defect}_{number}"] = (defect, bad, good)
    if not pairs:
        raise HardStop(
            "config_invalid",
            f"no template window of {side} px could take a synthetic defect",
            fix="raise deeppcb.window, or name other deeppcb.pool_groups",
        )
    return pairs


def _write_pairs(out: Path, pairs: dict[str, tuple[str, np.ndarray, np.ndarray]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for stem, (defect, bad, good) in sorted(pairs.items()):
        counts[defect] = counts.get(defect, 0) + 1
        _save(out / layout.PREGEN_NG / f"{stem}{EXT}", bad)
        _save(out / layout.PREGEN_OK / f"{stem}{EXT}", good)
    counts = dict(sorted(counts.items()))
    lines = [json.dumps({"count": n, "defect_type": defect}) for defect, n in counts.items()]
    write_text_atomic(out / layout.DEFECT_SPEC, "\n".join(lines) + "\n")
    return counts
