"""Drawn boards with boxes around their defects, as the published layouts and exports have them.

Numbers of the layouts (folders, keys, spellings of names) follow what the tools write: HRIPCB's
copies, Roboflow, Label Studio, CVAT, labelImg, and NVIDIA's page of TAO's data formats.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (240, 200)  # width, height in px
CLASSES = ("missing_hole", "short", "spur")
HASH = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


@dataclass(frozen=True)
class Shot:
    """One picture of a board: its golden's number, a name, pixels (h, w, 3), boxes with classes."""

    board: int
    name: str
    pixels: np.ndarray
    boxes: tuple[tuple[int, int, int, int, str], ...]


@lru_cache(maxsize=64)
def golden(board: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return a board's good picture, uint8 (h, w, 3): tracks, pads and a grain of its own."""
    rng = np.random.default_rng([7, board])
    width, height = size
    pixels = np.full((height, width, 3), (30, 90, 50), np.int16)
    for _ in range(14):
        x, y = int(rng.integers(0, width - 8)), int(rng.integers(0, height - 8))
        if rng.integers(2):
            pixels[:, x : x + 4] = (190, 150, 60)
        else:
            pixels[y : y + 4] = (190, 150, 60)
        pixels[y : y + 8, x : x + 8] = (220, 220, 210)
    return np.clip(pixels + rng.integers(-6, 7, (height, width, 1)), 0, 255).astype(np.uint8)


def shots(
    boards: int = 3, each: int = 2, good: int = 0, size: tuple[int, int] = SIZE
) -> list[Shot]:
    """Return ``each`` pictures per class and board with one or two boxes, and ``good`` without."""
    out = []
    for board in range(1, boards + 1):
        for kind, name in enumerate(CLASSES):
            for number in range(1, each + 1):
                out.append(_bad(board, kind, name, number, size))
        for number in range(1, good + 1):
            rng = np.random.default_rng([9, board, number])
            pixels = _again(golden(board, size), rng)
            out.append(Shot(board, f"{board:02d}_good_{number:02d}", pixels, ()))
    return out


def _again(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    noise = rng.integers(-4, 5, pixels.shape)
    return np.clip(pixels.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def _bad(board: int, kind: int, name: str, number: int, size: tuple[int, int]) -> Shot:
    rng = np.random.default_rng([8, board, kind, number])
    pixels = _again(golden(board, size), rng)
    boxes = []
    for _ in range(1 + number % 2):
        x, y = int(rng.integers(2, size[0] - 24)), int(rng.integers(2, size[1] - 24))
        wide, high = int(rng.integers(10, 20)), int(rng.integers(10, 20))
        pixels[y : y + high, x : x + wide] = ((10, 10, 10), (230, 200, 90), (120, 20, 20))[kind]
        boxes.append((x, y, x + wide, y + high, name))
    return Shot(board, f"{board:02d}_{name}_{number:02d}", pixels, tuple(boxes))


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write a picture; JPEG or PNG by its ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    how = {"compress_level": 1} if kind == "PNG" else {"quality": 95}
    path.unlink(missing_ok=True)  # may be a hard link to the file of another test
    Image.fromarray(pixels).save(path, kind, **how)
    return path


def text(path: Path, content: str) -> Path:
    """Write a text file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def voc_xml(
    shot: Shot,
    *,
    filename: str | None = None,
    size: tuple[int, int] | None = SIZE,
    path: str = "C:\\Users\\x\\01.jpg",
    cell: str = "{}",
) -> str:
    """Return labelImg's file of a picture; ``cell``: how a coordinate is written."""
    objects = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated>"
        "<difficult>0</difficult><bndbox>"
        + "".join(
            f"<{key}>{cell.format(value)}</{key}>"
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>"
        for *box, name in shot.boxes
    )
    sides = (
        ""
        if size is None
        else (f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>")
    )
    return (
        f"<annotation><folder>f</folder><filename>{filename or shot.name + '.jpg'}</filename>"
        f"<path>{path}</path>{sides}<segmented>0</segmented>{objects}</annotation>\n"
    )


def hripcb(root: Path, found: Iterable[Shot]) -> Path:
    """Write HRIPCB as its copies have it; ``rotation/`` holds pictures of the same names."""
    for shot in found:
        kind = shot.boxes[0][4].capitalize() if shot.boxes else "Good"
        save(root / "images" / kind / f"{shot.name}.jpg", shot.pixels)
        text(root / "Annotations" / kind / f"{shot.name}.xml", voc_xml(shot))
        if shot.name.endswith("_01"):
            turned = np.rot90(shot.pixels).copy()
            save(root / "rotation" / f"{kind}_rotation" / f"{shot.name}.jpg", turned)
            text(root / "rotation" / f"{kind}_angles.txt", "90\n")
        save(root / "PCB_USED" / f"{shot.board:02d}.JPG", golden(shot.board))
    return root


def yolo_lines(shot: Shot, *, polygon: bool = False, names: Sequence[str] = CLASSES) -> str:
    """Return a label file: boxes, or polygons of their corners."""
    lines = []
    height, width = shot.pixels.shape[:2]
    for x1, y1, x2, y2, name in shot.boxes:
        if polygon:
            places = (x1, y1, x2, y1, x2, y2, x1, y2)
            cells = [v / (width if i % 2 == 0 else height) for i, v in enumerate(places)]
        else:
            cells = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]
            cells += [(x2 - x1) / width, (y2 - y1) / height]
        lines.append(" ".join([str(names.index(name)), *(f"{cell:.6f}" for cell in cells)]))
    return "".join(f"{line}\n" for line in lines)


def roboflow_yolo(root: Path, found: Sequence[Shot]) -> Path:
    """Write Roboflow's YOLOv8 export: splits, names with hashes, polygons among the boxes."""
    for i, shot in enumerate(found):
        split = ("train", "train", "valid", "test")[i % 4]
        for copy in range(1 + (i % 3 == 0)):  # two augmentations of one original
            name = f"{shot.name}_jpg.rf.{HASH[copy:]}{copy}"
            pixels = shot.pixels if copy == 0 else np.clip(shot.pixels + 9.0, 0, 255)
            save(root / split / "images" / f"{name}.jpg", pixels.astype(np.uint8))
            label = yolo_lines(shot, polygon=i % 2 == 1)
            text(root / split / "labels" / f"{name}.txt", label)
        save(root / "golden" / f"{shot.board:02d}.png", golden(shot.board))
    text(root / "README.roboflow.txt", "exported via roboflow.com\n")
    text(root / "README.dataset.txt", "https://example.org\nLicense: CC BY 4.0\n")
    text(
        root / "data.yaml",
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\n"
        f"nc: {len(CLASSES)}\nnames: {list(CLASSES)}\n\nroboflow:\n  license: CC BY 4.0\n",
    )
    return root


def label_studio_yolo(root: Path, found: Sequence[Shot]) -> Path:
    """Write Label Studio's YOLO export: prefixes, blanks as %20, classes in two files."""
    for i, shot in enumerate(found):
        name = f"cb0618f{i % 10}-{shot.name}"
        spaced = name.replace("_", " ") if i % 2 else name
        save(root / "images" / f"{spaced}.jpg", shot.pixels)
        text(root / "labels" / f"{spaced.replace(' ', '%20')}.txt", yolo_lines(shot))
        save(root / "golden" / f"{shot.board:02d}.jpg", golden(shot.board))
    text(root / "classes.txt", "".join(f"{name}\n" for name in CLASSES))
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    text(root / "notes.json", json.dumps({"categories": categories, "info": {"year": 2026}}))
    return root


def cvat_yolo(root: Path, found: Sequence[Shot]) -> Path:
    """Write CVAT's "YOLO 1.1"."""
    lines = []
    for shot in found:
        save(root / "obj_train_data" / f"{shot.name}.png", shot.pixels)
        text(root / "obj_train_data" / f"{shot.name}.txt", yolo_lines(shot))
        lines.append(f"data/obj_train_data/{shot.name}.png\n")
        save(root / "golden" / f"{shot.board:02d}.png", golden(shot.board))
    text(root / "train.txt", "".join(lines))
    text(root / "obj.names", "".join(f"{name}\n" for name in CLASSES))
    text(root / "obj.data", "classes = 3\ntrain = data/train.txt\nnames = data/obj.names\n")
    return root


def coco_data(found: Sequence[Shot], names: Sequence[str], *, first: int = 1) -> dict:
    """Return a COCO file of pictures called ``names``; categories count from ``first``."""
    images, rows = [], []
    for i, (shot, name) in enumerate(zip(found, names, strict=True)):
        height, width = shot.pixels.shape[:2]
        images.append({"id": i, "file_name": name, "width": width, "height": height})
        for x1, y1, x2, y2, kind in shot.boxes:
            box = [x1 + 0.25, y1 + 0.5, x2 - x1 - 0.5, y2 - y1 - 0.75]
            corners = [x1, y1, x2, y1, x2, y2, x1, y2]
            rows.append(
                {
                    "id": len(rows),
                    "image_id": i,
                    "category_id": CLASSES.index(kind) + first,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "segmentation": [corners],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + first, "name": name} for i, name in enumerate(CLASSES)]
    return {"images": images, "categories": categories, "annotations": rows}


def roboflow_coco(root: Path, found: Sequence[Shot]) -> Path:
    """Write Roboflow's COCO export: a file in each split, a category of the project's name."""
    for place, split in enumerate(("train", "valid")):
        own = [shot for i, shot in enumerate(found) if i % 2 == place]
        names = [f"{shot.name}_jpg.rf.{HASH}.jpg" for shot in own]
        data = coco_data(own, names)
        data["categories"].insert(0, {"id": 0, "name": "pcb-defects", "supercategory": "none"})
        data["licenses"] = [{"id": 1, "url": "https://creativecommons.org/", "name": "CC BY 4.0"}]
        text(root / split / "_annotations.coco.json", json.dumps(data))
        for shot, name in zip(own, names, strict=True):
            save(root / split / name, shot.pixels)
            save(root / "golden" / f"{shot.board:02d}.jpg", golden(shot.board))
    return root


def label_studio_coco(root: Path, found: Sequence[Shot]) -> Path:
    """Write Label Studio's COCO export of a Windows server: back slashes, a project number."""
    names = [f"cb0618f{i % 10}-{shot.name}.jpg" for i, shot in enumerate(found)]
    told = [f"images\\1/{n}" if i % 2 else f"..\\..\\label-studio\\media\\upload\\4\\{n}"
            for i, n in enumerate(names)]  # fmt: skip
    text(root / "result.json", json.dumps(coco_data(found, told, first=0)))
    for shot, name in zip(found, names, strict=True):
        save(root / "images" / name, shot.pixels)
        save(root / "golden" / f"{shot.board:02d}.jpg", golden(shot.board))
    return root


def cvat_coco(root: Path, found: Sequence[Shot]) -> Path:
    """Write CVAT's "COCO 1.0"."""
    names = [f"{shot.name}.png" for shot in found]
    text(root / "annotations" / "instances_default.json", json.dumps(coco_data(found, names)))
    for shot, name in zip(found, names, strict=True):
        save(root / "images" / "default" / name, shot.pixels)
        save(root / "golden" / f"{shot.board:02d}.png", golden(shot.board))
    return root


def cvat_xml(root: Path, found: Sequence[Shot]) -> Path:
    """Write "CVAT for images 1.1"."""
    rows = []
    for i, shot in enumerate(found):
        shapes = ""
        for x1, y1, x2, y2, kind in shot.boxes:
            if i % 2:
                points = f"{x1}.0,{y1}.0;{x2}.0,{y1}.0;{x2}.0,{y2}.0"
                shapes += f'<polygon label="{kind}" points="{points}" z_order="0"></polygon>'
            else:
                shapes += (
                    f'<box label="{kind}" occluded="0" xtl="{x1}.00" ytl="{y1}.00" '
                    f'xbr="{x2}.00" ybr="{y2}.00" z_order="0" rotation="0.00"></box>'
                )
        rows.append(
            f'<image id="{i}" name="sub/{shot.name}.png" width="{SIZE[0]}" height="{SIZE[1]}">'
            f"{shapes}</image>"
        )
        save(root / "images" / "sub" / f"{shot.name}.png", shot.pixels)
        save(root / "golden" / f"{shot.board:02d}.png", golden(shot.board))
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    text(root / "annotations.xml", f"{head}<meta/>{''.join(rows)}</annotations>\n")
    return root


LIGHTS = ("SolderLight", "UniformLight", "LowAngleLight", "WhiteLight")


def tao_set(
    root: Path,
    *,
    rows: int = 6,
    lights: Sequence[str] = LIGHTS,
    goldens: int = 1,
    spec: bool = True,
    ext: str = ".jpg",
    side: int = 48,
) -> Path:
    """Write TAO's own layout (images/, labels/, a spec with a container's paths)."""
    tables = {"train": [], "validation": [], "test": []}
    for table, lines in tables.items():
        for i in range(rows):
            board, name = f"{table}_B{i // 2}", f"C{i}"
            label = "PASS" if i % 2 == 0 else ("MISSING", "BRIDGE")[i // 2 % 2]
            base = golden(hash_of(table, i), (side, side))
            for light in lights:
                suffix = f"_{light}" if light else ""
                file = f"{name}{suffix}{ext}"
                pixels = base if label == "PASS" else base[::-1].copy()
                save(root / "images" / board / file, pixels)
                for number in range(goldens):
                    own = file if goldens == 1 else f"G{number}{suffix}{ext}"
                    save(root / "images" / "golden" / board / name / own, base)
            lines.append(f"{board},golden/{board}/{name},{label},{name},{board}\n")
    for table, lines in tables.items():
        head = "input_path,golden_path,label,object_name,boardname\n"
        text(root / "labels" / f"{table}.csv", head + "".join(lines))
    if spec:
        maps = ", ".join(f"{light}: {i}" for i, light in enumerate(lights) if light)
        sets = "".join(
            f"    {name}_dataset: {{csv_path: /data/labels/{file}.csv, images_dir: /data/images}}\n"
            for name, file in (("train", "train"), ("validation", "validation"), ("test", "test"),
                               ("infer", "test"))
        )  # fmt: skip
        text(
            root / "experiment.yaml",
            f"task: classify\ndataset:\n  classify:\n{sets}    image_ext: {ext}\n"
            f"    input_map: {{{maps}}}\n    num_input: {len(lights)}\n    num_golden: {goldens}\n"
            "    concat_type: grid\n    grid_map: {x: 2, y: 2}\n",
        )
    return root


def hash_of(table: str, row: int) -> int:
    """Return a number of its own for each row of each table."""
    return 100 * len(table) + row
