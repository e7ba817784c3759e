"""What staging will make of the pre-generated pairs: file names and their type."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from PIL import Image

from deft.core.errors import HardStop
from deft.core.file_names import MAX_NAME_BYTES
from deft.core.layout import PREGEN_NG
from deft.preflight.check import Check, Context, ok, skipped, stopped
from deft.tables.changenet_table import image_name

ID = "staged_names"
# Of a side, in the types whose writers have a limit; a picture with more decodes all the same.
LONGEST_PX = {"JPEG": 65_500, "WEBP": 16_383}


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the check of this topic."""
    if ctx.spec is None or ctx.parts is None:
        yield skipped(ID, "sound pairs and a valid spec")
        return
    try:
        count = _names(ctx)
        _writable(ctx)
    except HardStop as stop:
        yield stopped(ID, stop)
        return
    yield ok(ID, f"{count} staged pictures: every name its own, none too long")


def _names(ctx: Context) -> int:
    """Return how many files are made; raises for a name that is too long or not its own."""
    assert ctx.spec is not None and ctx.parts is not None
    ext = ctx.spec.dataset.classify.image_ext
    made: dict[str, Path] = {}
    for part in ctx.parts:
        for light in ctx.spec.lights:
            name = image_name(part.stem, light, ext)
            source = part.ng.get(light) or part.ng[""]
            size = len(name.encode(errors="surrogateescape"))
            if size > MAX_NAME_BYTES:
                raise HardStop(
                    "config_invalid",
                    f"staged for light {light!r}, the name of this picture has {size} bytes; a "
                    f"file name holds {MAX_NAME_BYTES}",
                    file=source,
                    fix="give the pair a shorter name",
                )
            if name in made:
                raise HardStop(
                    "pregen_unpaired",
                    f"this picture and {made[name].name} would both be staged as {name}",
                    file=source,
                    fix="rename one of the pairs",
                )
            made[name] = source
    return len(made)


def _writable(ctx: Context) -> None:
    """Raise when pictures must be converted into a type in which they cannot be written."""
    assert ctx.spec is not None
    ext = ctx.spec.dataset.classify.image_ext.lower()
    files = [path for pair in ctx.pairs or [] for path in pair]
    suffixes = {path.suffix.lower() for path in files}
    if suffixes <= {ext} or {ext, *suffixes} <= {".jpg", ".jpeg"}:
        return
    kind = Image.registered_extensions().get(ext)
    if kind not in Image.SAVE:
        raise HardStop(
            "spec_invalid",
            f"the pre-generated pictures ({', '.join(sorted(suffixes))}) are to be converted to "
            f"dataset.classify.image_ext {ext!r}, which Pillow cannot write",
            file=Path(ctx.workspace) / PREGEN_NG,
            fix=f"convert the pairs to {ext} yourself",
        )
    longest = LONGEST_PX.get(kind)
    if longest is None:
        return
    for path in files:
        width, height = _size(path)
        if path.suffix.lower() != ext and max(width, height) > longest:
            raise HardStop(
                "image_invalid",
                f"a picture of {width} x {height} px is to be converted to "
                f"dataset.classify.image_ext {ext!r}, whose sides have at most {longest} px",
                file=path,
                fix=f"give the pair as {ext}, or smaller",
            )


def _size(path: Path) -> tuple[int, int]:
    with suppress(Exception):  # a picture that does not decode is another check's to tell
        with Image.open(path) as picture:
            return picture.size
    return 0, 0
