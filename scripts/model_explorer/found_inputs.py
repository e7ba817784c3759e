"""Real inputs: given by the user, or found in the workspace once the contract is known."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.file_names import shortened, slugs
from deft.core.files import inside
from deft.pool.pregen.listing import is_litter
from deft.tables import changenet_table
from deft.tables.fingerprint import decode
from deft.tables.pictures import PictureError, open_rgb
from model_explorer.array_files import arrays_of, read_arrays
from model_explorer.known_answers import Known
from model_explorer.table_rows import boards as boards_of
from model_explorer.table_rows import known_to_the_loop, pairs_in_turn, sample

SEARCHED = ("datasets", "data", "downloads", "inputs", "images", "kpi/images",
            "augmentation/mining_pool/images")  # fmt: skip
EXAMPLES = ("examples", "example", "assets", "demo", "samples", "images")  # of a source
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LOOKED_AT = 20_000  # entries of a folder that are looked at
PLACE = "inputs/found"


def collect(
    folder: Path,
    contract: dict[str, Any],
    *,
    given: Path | None,
    labels: Path | None,
    workspace: Path,
    count: int,
    upstream: list[str] | None = None,
) -> dict[str, Any]:
    """Copy fitting inputs to ``inputs/found`` and return ``outputs/found_inputs.json``.

    Given inputs must be usable: HardStop ``missing_input`` or ``image_invalid`` otherwise. Found
    ones are taken only where the contract says how they become inputs.
    """
    changenet = contract["postprocess"]["kind"] == "changenet"
    names = [i["name"] for i in contract["inputs"] if i.get("role", "data") == "data"]
    rules = contract["preprocess"]
    if changenet and (given is None or given.suffix == ".csv"):
        return _pairs(folder, contract, given, workspace, count)
    if given is not None:
        return _given(folder, contract, given, labels, count)
    blank: dict[str, Any] = {"items": [], "searched": []}
    unknown = [n for n in names if n not in rules]
    if unknown:
        why = f"how real data becomes {', '.join(unknown)} is unknown, so none was searched for"
        return {**blank, "why_none": why}
    if len(names) > 1:
        return {
            **blank,
            "why_none": f"{len(names)} inputs belong together; give them as explore.inputs",
        }
    searched: list[str] = []
    items: list[dict[str, Any]] = []
    unanswered: list[Path] = []
    # The author's own example comes first: what is known to be good.
    for root, names_of, most in (
        (folder, [f"{ref}/{name}" for ref in upstream or [] for name in EXAMPLES], 1),
        (workspace, list(SEARCHED), count),
    ):
        found: list[Path] = []
        for name in names_of:
            if (root / name).is_dir():
                searched.append(name)
                found += pictures_below(root / name)
        known = Known(labels, root)
        answered = known.answered(found) if labels else found
        if answered:
            known.only(answered, contract)
        unanswered += found if not answered else []
        for path in spread(answered, min(most, count - len(items))):
            items.append(_copy(folder, {names[0]: [path]}, len(items), known))
    if unanswered and not items:
        known.only(unanswered, contract)  # stops: the answers given are of none of them
    why = "no picture was found" if searched else "the workspace has none of the folders searched"
    return {"items": items, "searched": searched or list(SEARCHED), "why_none": why}


def pictures_below(place: Path) -> list[Path]:
    """Return the pictures below a folder that decode, sorted by path."""
    out: list[Path] = []
    seen = 0
    for base, folders, names in os.walk(place):
        folders.sort()
        for name in sorted(names):
            seen += 1
            if seen > LOOKED_AT:
                return sorted(out)
            path = Path(base, name)
            if path.suffix.lower() in PICTURES:
                out.append(path)
    return sorted(out)


def spread(found: list[Path], count: int) -> list[Path]:
    """Return ``count`` decodable pictures, evenly spread over the list."""
    good: list[Path] = []
    evenly = dict.fromkeys(sample(found, count))
    for path in [*evenly, *(p for p in found if p not in evenly)]:
        if len(good) == count:
            break
        if decodes(path):
            good.append(path)
    return sorted(good)


def decodes(path: Path) -> bool:
    """Return whether a picture can be read to its end, and as it is (see deft.tables.pictures)."""
    try:
        open_rgb(path)
    except PictureError:
        return False
    return True


def _given(
    folder: Path, contract: dict[str, Any], given: Path, labels: Path | None, count: int
) -> dict[str, Any]:
    inputs, rules = contract["inputs"], contract["preprocess"]
    names = [i["name"] for i in inputs if i.get("role", "data") == "data"]
    files = [given] if given.is_file() else sorted(p for p in given.rglob("*") if p.is_file())
    files = [p for p in files if not is_litter(p.name)]
    arrays = arrays_of(given)
    pictures = [p for p in files if p.suffix.lower() in PICTURES]
    texts = [p for p in files if p.suffix.lower() == ".txt"]
    sounds = [p for p in files if p.suffix.lower() == ".wav"]
    known = Known(labels, given.parent if given.is_file() else given)
    if arrays:
        if len(names) > 1 and any(p.suffix == ".npy" for p in arrays):
            raise HardStop(
                "missing_input",
                f"the model takes {len(names)} inputs ({', '.join(names)}); a .npy file holds one",
                file=given,
                fix="give .npz files whose arrays have these names",
            )
        answered = known.only(arrays, contract)
        chosen = sample(answered, count)
        items = [_arrays(folder, inputs, p, i, known) for i, p in enumerate(chosen)]
    elif pictures:
        if len(names) > 1 or names[0] not in rules:
            raise HardStop(
                "missing_input",
                "pictures were given, but how a picture becomes "
                f"{', '.join(n for n in names if n not in rules) or 'several inputs'} is unknown",
                file=given,
                fix=(
                    "set explore.contract.preprocess, or give .npy / .npz arrays as the model "
                    "takes them"
                ),
            )
        for picture in pictures:
            decode(picture)  # what cannot be read, or not as it is, stops here
        answered = known.only(pictures, contract)
        chosen = sample(answered, count)
        items = [_copy(folder, {names[0]: [p]}, i, known) for i, p in enumerate(chosen)]
    elif texts or sounds:
        taking = list(contract.get("texts") or {}) if texts else [
            i["name"] for i in inputs if i["name"] in names and "float" in str(i["dtype"])
        ]  # fmt: skip
        if not taking or len(names) > len(taking):
            raise HardStop(
                "missing_input",
                "texts were given, but no tokenizer.json lies beside the model, or it takes no "
                "tokens"
                if texts
                else "sounds were given, but the model takes no single input of float numbers",
                file=given,
                fix="put tokenizer.json beside the model" if texts else "give .npz arrays",
            )
        answered = known.only(texts or sounds, contract)
        chosen = sample(answered, count)
        items = [_copy(folder, {n: [p] for n in taking}, i, known) for i, p in enumerate(chosen)]
    else:
        raise HardStop(
            "missing_input",
            "explore.inputs holds no pictures, sounds (.wav), texts (.txt) or .npy / .npz arrays",
            file=given,
            fix=f"pictures: {', '.join(PICTURES)}; for a ChangeNet also its CSV table",
        )
    said = known.told(answered)
    told = {"answers_from": said} if said else {}
    return {"items": items, "searched": [str(given)], "why_none": "", **told}


def _copy(folder: Path, files: dict[str, list[Path]], index: int, known: Known) -> dict[str, Any]:
    out: dict[str, list[str]] = {}
    target = folder / PLACE
    target.mkdir(parents=True, exist_ok=True)
    first = next(iter(files.values()))[0]
    for name, paths in files.items():
        out[name] = []
        for number, path in enumerate(paths):
            tail = f"_{name}_{number}" if len(files) > 1 or len(paths) > 1 else ""
            copied = f"{PLACE}/{shortened(f'{index:03d}{tail}_{path.name}')}"
            shutil.copyfile(path, folder / copied)
            out[name].append(copied)
    return {"files": out, "origin": known.place(first), "label": known.label(first)}


def _arrays(
    folder: Path, inputs: list[dict[str, Any]], path: Path, index: int, known: Known
) -> dict[str, Any]:
    """Copy one item's arrays; values and first states may be left out, data may not."""
    import numpy as np

    parts = read_arrays(path)
    data = [i["name"] for i in inputs if i.get("role", "data") == "data"]
    if list(parts) == [""]:
        parts = {data[0]: parts[""]}
    names = [i["name"] for i in inputs if i["name"] in parts]
    if set(data) - set(names):
        raise HardStop("missing_input", f"the arrays must be named {', '.join(data)}", file=path)
    target = folder / PLACE
    target.mkdir(parents=True, exist_ok=True)
    files, forms = {}, slugs(names)
    for name in names:
        copied = f"{PLACE}/{shortened(f'{index:03d}_{path.stem}_{forms[name]}.npy')}"
        np.save(folder / copied, parts[name])
        files[name] = [copied]
    return {"files": files, "origin": known.place(path), "label": known.label(path)}


def _pairs(
    folder: Path, contract: dict[str, Any], table: Path | None, workspace: Path, count: int
) -> dict[str, Any]:
    """Take test and golden pictures from a ChangeNet table, defective and good ones in turn."""
    path = table or workspace / layout.KPI_TABLE
    searched = [layout.KPI_TABLE if table is None else str(path)]
    blank = {"items": [], "searched": searched}
    if not path.is_file():
        return {**blank, "why_none": f"there is no {layout.KPI_TABLE} in the workspace"}
    rules = list(contract["preprocess"].values())
    lights = rules[0]["lights"]
    if any(int(r.get("pictures", 1)) > 1 for r in rules):
        return {**blank, "why_none": "several goldens a pair are made up, not taken from the table"}
    rows = changenet_table.read_table(path)
    root = layout.image_root(workspace)
    names = [i["name"] for i in contract["inputs"]]
    items: list[dict[str, Any]] = []
    chosen: list[int] = []
    unread = 0
    for row in pairs_in_turn(rows, count):
        entry = rows.loc[row]
        sides = [
            _light_files(root, str(entry[column]), str(entry["object_name"]), lights)
            for column in ("input_path", "golden_path")
        ]
        if all(sides):
            item = _copy(
                folder, dict(zip(names, sides, strict=True)), len(items), Known(None, workspace)
            )
            items.append({**item, "label": str(entry["label"])})
            chosen.append(row)
        else:
            unread += 1
        if len(items) == count:
            break
    if not items:
        return {**blank, "why_none": "no row's pictures could be read"}
    taken = rows.loc[chosen]
    count_boards = boards_of(taken).nunique()
    said = f"{searched[0]}: {len(items)} of {len(rows)} rows, of {count_boards} boards"
    if unread:
        said += f" ({unread} left out, whose pictures could not be read)"
    return {
        "items": items, "searched": searched, "why_none": "", "rows_from": said,
        "chosen_on": known_to_the_loop(taken, workspace),
    }  # fmt: skip


def _light_files(root: Path, where: str, name: str, lights: list[str]) -> list[Path]:
    out = []
    for light in lights:
        stem = f"{where}/{name}_{light}" if light else f"{where}/{name}"
        tried = [inside(root, stem + ending, what="picture") for ending in PICTURES]
        found = next((p for p in tried if p.is_file() and decodes(p)), None)
        if found is None:
            return []
        out.append(found)
    return out
