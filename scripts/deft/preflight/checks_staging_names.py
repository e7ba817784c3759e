"""What staging will make of the pre-generated pairs: file names and their type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from deft.core.errors import HardStop
from deft.core.file_names import MAX_NAME_BYTES
from deft.core.layout import PREGEN_NG
from deft.preflight.check import Check, Context, ok, skipped, stopped
from deft.tables.changenet_table import image_name

ID = "staged_names"


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
    """Raise when pictures must be converted into a type that cannot be written."""
    assert ctx.spec is not None
    ext = ctx.spec.dataset.classify.image_ext.lower()
    suffixes = {path.suffix.lower() for pair in ctx.pairs or [] for path in pair}
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
