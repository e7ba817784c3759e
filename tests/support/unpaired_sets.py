"""Drawn anomaly sets without goldens, in the layouts that are published.

Names of folders, files, columns and keys follow VisA's repository, MVTec's pages and what loaders
of Real-IAD read.
"""

from __future__ import annotations

import csv
import json
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 96, 72  # px
DEFECTS = ("bent", "melt")


@lru_cache(maxsize=64)
def _object(name: str) -> np.ndarray:
    """Return an object's own pattern, uint8 (2 * HEIGHT, 2 * WIDTH, 3): pads and tracks."""
    rng = np.random.default_rng(list(name.encode()))
    pixels = np.full((2 * HEIGHT, 2 * WIDTH, 3), (50, 90, 40), np.uint8)
    for _ in range(24):
        x, y = int(rng.integers(0, 2 * WIDTH)), int(rng.integers(0, 2 * HEIGHT))
        w, h = int(rng.integers(6, 40)), int(rng.integers(6, 24))
        colour = tuple(int(v) for v in rng.integers(60, 250, 3))
        cv2.rectangle(pixels, (x, y), (x + w, y + h), colour, -1)
    return pixels


def shot(name: str, number: int, defect: str | None = None, shift: int = 2) -> np.ndarray:
    """Return picture ``number`` of an object, uint8 (HEIGHT, WIDTH, 3), up to ``shift`` px off."""
    rng = np.random.default_rng([number, *name.encode(), *(defect or "").encode()])
    x, y = (int(v) for v in rng.integers(-shift, shift + 1, 2))
    at = _object(name)[HEIGHT // 2 + y :, WIDTH // 2 + x :][:HEIGHT, :WIDTH].astype(np.int16)
    at = at + rng.integers(-5, 6, at.shape)
    pixels = np.clip(at, 0, 255).astype(np.uint8)
    if defect:
        centre = (int(rng.integers(24, WIDTH - 24)), int(rng.integers(20, HEIGHT - 20)))
        if defect == DEFECTS[0]:
            cv2.circle(pixels, centre, 7, (0, 0, 0), -1)
        else:
            cv2.line(pixels, centre, (centre[0] + 16, centre[1] + 10), (255, 255, 255), 4)
    return pixels


def save(path: Path, pixels: np.ndarray) -> None:
    """Write a picture; the ending may be in capitals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix.lower(), pixels)[1].tobytes())


def _mask(path: Path) -> None:
    save(path, np.full((HEIGHT, WIDTH), 255, np.uint8))


def visa(
    root: Path, objects: tuple[str, ...] = ("pcb1", "pcb2"), good: int = 12, bad: int = 6
) -> Path:
    """Write VisA as its archive has it, with ``split_csv`` of its repository. CR LF, ``.JPG``."""
    split: list[list[str]] = []
    for name in objects:
        rows: list[list[str]] = []
        for number in range(good):
            image = f"{name}/Data/Images/Normal/{number:04d}.JPG"
            save(root / image, shot(name, number))
            rows.append([image, "normal", ""])
            split.append([name, "test" if number % 3 == 0 else "train", "normal", image, ""])
        for number in range(bad):
            image = f"{name}/Data/Images/Anomaly/{number:03d}.JPG"
            mask = f"{name}/Data/Masks/Anomaly/{number:03d}.png"
            defect = DEFECTS[number % 2]
            save(root / image, shot(name, number, defect))
            _mask(root / mask)
            rows.append([image, "melt, scratch" if number == 1 else defect, mask])
            split.append([name, "test" if number % 2 else "train", "anomaly", image, mask])
        table(root / name / "image_anno.csv", ["image", "label", "mask"], rows)
    columns = ["object", "split", "label", "image", "mask"]
    table(root / "split_csv" / "2cls_highshot.csv", columns, split)
    one_class = [[n, "test" if label == "anomaly" else s, label, *r] for n, s, label, *r in split]
    table(root / "split_csv" / "1cls.csv", columns, one_class)
    return root


def table(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """Write a CSV file as the published ones are: CR LF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def mvtec(
    root: Path, objects: tuple[str, ...] = ("metal_nut",), good: int = 12, bad: int = 6
) -> Path:
    """Write MVTec AD: train/good, test/<good or defect>, ground_truth with ``_mask``."""
    for name in objects:
        for number in range(good):
            where = "test" if number % 4 == 0 else "train"
            save(root / name / where / "good" / f"{number:03d}.png", shot(name, number))
        for number in range(bad):
            defect = DEFECTS[number % 2]
            save(root / name / "test" / defect / f"{number:03d}.png", shot(name, number, defect))
            _mask(root / name / "ground_truth" / defect / f"{number:03d}_mask.png")
        (root / name / "license.txt").write_text("see the pages of the data set\n")
    return root


def mvtec_ad_2(root: Path, name: str = "vial", scenes: int = 6) -> Path:
    """Write MVTec AD 2: illuminations in the names, private sets without labels."""
    for number in range(scenes):
        for where in ("train/good", "validation/good"):
            save(
                root / name / where / f"{number:03d}_regular.png",
                shot(name, number + 50 * len(where)),
            )
        for light in ("regular", "overexposed", "shift_1"):
            for kind, defect in (("good", None), ("bad", DEFECTS[0])):
                pixels = shot(name, number, defect)
                lit = np.clip(pixels * (1.3 if light == "overexposed" else 1.0), 0, 255)
                save(root / name / "test_public" / kind / f"{number:03d}_{light}.png",
                     lit.astype(np.uint8))  # fmt: skip
                if defect:
                    _mask(
                        root / name / f"test_public/ground_truth/bad/{number:03d}_{light}_mask.png"
                    )
        save(root / name / "test_private" / f"{number:03d}_regular.png", shot(name, 900 + number))
        save(
            root / name / "test_private_mixed" / f"{number:03d}_mixed.png", shot(name, 950 + number)
        )
    return root


def real_iad(
    root: Path, name: str = "pcb", good: int = 8, bad: int = 4, views: int = 3, jsons: bool = True
) -> Path:
    """Write Real-IAD: five-view samples (here ``views``), masks beside defective ones, its JSONs.

    The defect of a sample is seen in every view but the last, whose class in the JSON is ``OK``.
    """
    train: list[dict[str, str | None]] = []
    test: list[dict[str, str | None]] = []
    for number in range(good + bad):
        defect = ("AK", "BX")[number % 2] if number >= good else None
        folder = f"NG/{defect}/S{number:04d}" if defect else f"OK/S{number:04d}"
        words = f"NG_{defect}" if defect else "OK"
        for view in range(1, views + 1):
            seen = bool(defect) and view < views
            stem = f"{name}_{number:04d}_{words}_C{view}_2023092514{number:02d}{view:02d}"
            pixels = shot(f"{name}{view}", number, DEFECTS[number % 2] if seen else None)
            save(root / f"realiad_256/{name}/{folder}/{stem}.jpg", pixels)
            if seen:
                _mask(root / f"realiad_256/{name}/{folder}/{stem}.png")
            entry = {
                "category": name,
                "anomaly_class": defect if seen else "OK",
                "image_path": f"{folder}/{stem}.jpg",
                "mask_path": f"{folder}/{stem}.png" if seen else None,
            }
            (train if number % 2 and not defect else test).append(entry)  # type: ignore[arg-type]
    if jsons:
        meta = {"prefix": f"{name}/", "normal_class": "OK", "pre_transform": {}}
        top = [[e for e in entries if "_C1_" in str(e["image_path"])] for entries in (train, test)]
        for setting, lists in (("realiad_jsons", [train, test]), ("realiad_jsons_sv", top)):
            path = root / "realiad_jsons" / setting / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"meta": meta, "train": lists[0], "test": lists[1]}))
    return root
