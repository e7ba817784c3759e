"""A data set of somebody's as a workspace: tables, pictures, spec, and where all came from."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import numpy as np
import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import write_bytes_atomic, write_text_atomic
from deft.core.progress import Progress
from deft.core.registered import COUNTS, write_record
from deft.core.workspace_source import already_made, batch_that_fits, begin, finish, with_values
from deft.importers.folder_settings import GROUP, FolderSettings
from deft.importers.lite0 import BACKBONE, backbone_bytes, with_backbone
from deft.importers.pairs import pairs, write_pairs
from deft.importers.parts import FoundPart, Picture, file_safe
from deft.importers.picture_tree import size_of
from deft.importers.pixels import Reader, again, colour, common_ending, encoded, write
from deft.importers.plan import Plan
from deft.score_kit.registration import align
from deft.tables.changenet_table import COLUMNS, PASS, image_name, write_table

KIND = GROUP
IMPORTER_VERSION = 1  # raise it when the same settings would make other bytes
ONE_LIGHT = "WhiteLight"  # what the light of pictures is called that name none
SPECS = Path(__file__).resolve().parents[3] / "config" / "specs"
NETWORKS = {"small": "deeppcb_spec.yaml", "c_radio_v2_b": "c_radio_v2_b_spec.yaml"}
STRIDE_PX, SIDES_PX = 32, (64, 224)
ORIGINS, LEFT_OVER = "import_origins.csv", "import_left_over.csv"


def build(plan: Plan, settings: FolderSettings, out: str | Path) -> dict[str, dict[str, int]]:
    """Make a workspace under ``out``; return label counts per table (``{}`` = already made).

    Raises HardStop ``config_invalid`` where the place is taken, ``disk_full``.
    """
    out = Path(out)
    backbone = None if settings.backbone is None else backbone_bytes(settings.backbone)
    record = {
        **settings.request(),
        "importer_version": IMPORTER_VERSION,
        "data_sha256": plan.digest,
        "backbone_sha256": None if backbone is None else hashlib.sha256(backbone).hexdigest(),
    }
    if settings.registered and plan.goldens > 1:
        raise HardStop(
            "config_invalid",
            f"{GROUP}.register is {settings.register}, and parts have {plan.goldens} goldens",
            fix='set register: "off"; a part is laid on one golden',
        )
    ext = extension(plan)
    spec = _spec(plan, settings, ext)
    if already_made(out, KIND, record):
        return {}
    writer = _Writer(plan, out, ext, settings)
    next(pairs(plan.roles["base"], writer.reader, settings.seed or 0))  # stops before it writes
    begin(out, KIND, record)
    counts = {role: writer.table(role, name) for role, name in layout.TABLES.items()}
    lights = [light or ONE_LIGHT for light in plan.lights]
    drawn = pairs(plan.roles["base"], writer.reader, settings.seed or 0)
    counts["pregen"] = write_pairs(drawn, lights, out)
    writer.progress.close()
    _write_rows(out / ORIGINS, writer.origins)
    left_over = [(one.what, one.why) for one in plan.left_over]
    _write_rows(out / LEFT_OVER, [("what", "why"), *left_over])
    if backbone is not None:
        write_bytes_atomic(out / BACKBONE, backbone)
    write_text_atomic(out / layout.SPEC, spec)
    if settings.registered:
        write_record(out, str(settings.register), writer.registered)
    facts = {"layout": plan.source.layout, "licence": settings.licence or plan.source.licence}
    finish(out, KIND, record, {**counts, **facts, "left_over": len(left_over)})
    return counts


def extension(plan: Plan) -> str:
    """Return the ending that all pictures of the workspace get."""
    pictures: list[Picture] = []
    for part in (part for parts in plan.roles.values() for part in parts):
        pictures += part.pictures.values()
        pictures += [golden for found in part.goldens.values() for golden in found]
    return common_ending(pictures)


class _Writer:
    """Writes tables and their pictures; a golden that several rows share is written once."""

    def __init__(self, plan: Plan, out: Path, ext: str, settings: FolderSettings) -> None:
        self.plan, self.out, self.ext, self.settings = plan, out, ext, settings
        self.reader = Reader(settings.picture_levels)
        self.registered = dict.fromkeys(COUNTS, 0)
        self.goldens: dict[Picture, Path] = {}
        rows = sum(map(len, plan.roles.values()))
        self.progress = Progress(rows, "write")
        self.origins: list[tuple[str, ...]] = [
            ("object_name", "table", "label", "origin", "picture", "golden", "golden_match")
        ]

    def table(self, role: str, name: str) -> dict[str, int]:
        """Write a role's pictures and its table; return its labels' counts."""
        rows = []
        for part in self.plan.roles[role]:
            rows.append(self._row(role, part))
            self._origin(name, part)
            self.progress(1)
        frame = pd.DataFrame(rows, columns=list(COLUMNS)).fillna("")
        write_table(frame, self.out / name)
        return {str(k): int(v) for k, v in frame["label"].value_counts().sort_index().items()}

    def _row(self, role: str, part: FoundPart) -> dict[str, str]:
        images = self.out / layout.KPI_IMAGES
        board = _folder(part.board)
        folder = f"{role}/{board}"
        # Several goldens of a part have a folder of their own: TAO takes all that lie there.
        golden = f"golden/{board}" if self.plan.goldens == 1 else f"golden/{part.name}"
        if role == "pool":
            place, folder = self.out / layout.POOL_DIR / "images" / board, f"images/{board}"
        else:
            place = images / folder
        laid = self._aligned(part) if self.settings.registered else {}
        for light, picture in part.pictures.items():
            file = place / self._file(part.name, light)
            if light in laid:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(encoded(laid[light], self.ext))
            else:
                write(self.reader, picture, self.ext, file)
            for number, one in enumerate(part.goldens[light][: self.plan.goldens], start=1):
                # The first has the part's own name: whoever shows or checks a pair looks for that.
                name = part.name if number == 1 else f"g{number}"
                self._golden(one, images / golden / self._file(name, light))
        return {
            "input_path": folder,
            "golden_path": golden,
            "label": part.label,
            "object_name": part.name,
            "project": self.plan.source.layout,
            "boardname": part.board,
            "mpass_mfail": "MPASS" if part.label == PASS else "MFAIL",
            "is_valid": "1",
            "comp_name": part.name,
            "part_type": part.part_type,
        }

    def _aligned(self, part: FoundPart) -> dict[str, np.ndarray]:
        """Return a part's test pictures by light where they moved onto their goldens; count it."""
        goldens = [part.goldens[light][0] for light in part.pictures]
        tests, known = (
            [colour(self.reader.pixels(picture)) for picture in pictures]
            for pictures in (list(part.pictures.values()), goldens)
        )
        one = align(tests, known, str(self.settings.register))
        self.registered["parts"] += 1
        self.registered["moved"] += one.moved
        self.registered["doubtful"] += bool(one.doubt)
        return dict(zip(part.pictures, one.lights, strict=True)) if one.moved else {}

    def _file(self, name: str, light: str) -> str:
        return image_name(name, light or ONE_LIGHT, self.ext)

    def _golden(self, picture: Picture, place: Path) -> None:
        if picture in self.goldens:
            again(self.goldens[picture], place)
        else:
            write(self.reader, picture, self.ext, place)
            self.goldens[picture] = place

    def _origin(self, table: str, part: FoundPart) -> None:
        first = next(iter(part.pictures))
        match = self.plan.match.get(part.name)
        self.origins.append(
            (
                *(part.name, table, part.label, part.origin),
                *(_told(part.pictures[first]), _told(part.goldens[first][0])),
                "" if match is None else f"{match:.3f}",
            )
        )


def _told(picture: Picture) -> str:
    x = picture.box
    return str(picture.path) if x is None else f"{picture.path} [{x[0]},{x[1]} {x[2]}x{x[3]}]"


def _folder(board: str) -> str:
    """Return a board's name as one folder below the image root; parts without board share one."""
    return file_safe(board).strip(".") or "single"


def _write_rows(path: Path, rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text_atomic(path, text.getvalue())


def _spec(plan: Plan, settings: FolderSettings, ext: str) -> str:
    """Return the spec: the network's template with this data set's lights, goldens and sizes."""
    text = (SPECS / NETWORKS[settings.network]).read_text(encoding="utf-8")
    lights = ", ".join(f"{light or ONE_LIGHT}: {i}" for i, light in enumerate(plan.lights))
    values = {
        "image_ext": ext,
        "input_map": "{" + lights + "}",
        "num_input": str(len(plan.lights)),
        "num_golden": str(plan.goldens),
        "batch_size": batch_that_fits(text, len(plan.roles["base"])),
    }
    if settings.network == "small":
        side = str(settings.size_px or _side(plan))
        values |= {"image_width": side, "image_height": side}
    elif settings.size_px is not None:
        raise HardStop(
            "config_invalid",
            f"{GROUP}.size_px {settings.size_px}, and network {settings.network} has its own",
            fix="leave size_px out, and edit the spec of the workspace where another is wanted",
        )
    if settings.backbone is not None:
        text, more = with_backbone(text)
        values |= more
    text = text.replace("an imported DeepPCB workspace", "an imported workspace")
    return with_values(text, values)


def _side(plan: Plan) -> int:
    """Return the side for the spec: the median picture's longer one, in whole strides, bounded."""
    low, high = SIDES_PX
    if plan.goldens > 1:
        return high  # the network compares windows of 7 at its coarsest stride: 7 * 32
    first = [part.pictures[plan.lights[0]] for part in plan.roles["base"]]
    sides = sorted(max(one.box[2:] if one.box else size_of(one.path)) for one in first)
    middle = sides[len(sides) // 2]
    return min(max(-(-middle // STRIDE_PX) * STRIDE_PX, low), high)
