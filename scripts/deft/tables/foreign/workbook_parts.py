"""The parts of an .xlsx file: a ZIP archive of XML, opened with bounds and without entities.

Standard library only. Readers of spreadsheets turn a cell into a value (12 for 0012 shown by a
format, a float for a long number, the last result of a formula) and keep little of what the cell
was; here that is what decides.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.parsers import expat

from deft.core.errors import HardStop

CHUNK = 1 << 20
PART_BYTES = 4 << 30  # of one part, unpacked: far above a full sheet
RATIO, RATIO_FROM = 250, 64 << 20  # beyond this unpacked size no sheet is packed so tightly
PARTS_MOST = 10_000
OTHER_ARCHIVES = (
    ("content.xml", "an OpenDocument spreadsheet (.ods)"),
    ("xl/workbook.bin", "a binary workbook (.xlsb)"),
    ("index/document.iwa", "a Numbers document"),
    ("word/document.xml", "a Word document"),
)

Attributes = dict[str, str]


class _Refused(Exception):
    """Why a part is not read, in words."""


class Package:
    """An open .xlsx file; names of parts count without case, ``\\`` as ``/``, as Excel takes them.

    Raises HardStop ``csv_invalid`` for anything else than a sound one.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._archive = path, archive
        found = archive.infolist()
        if len(found) > PARTS_MOST:
            raise _Refused(f"it has {len(found)} parts")
        self._parts = {_plain(info.filename): info for info in found}

    def has(self, name: str) -> bool:
        """Return whether there is such a part."""
        return _plain(name) in self._parts

    def other_kind(self) -> str | None:
        """Return what else this archive is, in words."""
        return next((what for name, what in OTHER_ARCHIVES if self.has(name)), None)

    def parse(
        self,
        name: str,
        start: Callable[[str, Attributes], None],
        end: Callable[[str], None] = lambda tag: None,
        text: Callable[[str], None] = lambda data: None,
    ) -> None:
        """Send a part's elements (names without their namespace) to the three functions."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True

        def doctype(*_: object) -> None:  # what entities are declared in
            raise _Refused(f"{name} declares a document type, which no spreadsheet does")

        parser.StartDoctypeDeclHandler = doctype
        parser.StartElementHandler = lambda tag, given: start(
            tag.rpartition(" ")[2], {key.rpartition(" ")[2]: value for key, value in given.items()}
        )
        parser.EndElementHandler = lambda tag: end(tag.rpartition(" ")[2])
        parser.CharacterDataHandler = text
        for block in self._blocks(name):
            parser.Parse(block, False)
        parser.Parse(b"", True)

    def _blocks(self, name: str) -> Iterator[bytes]:
        info = self._parts.get(_plain(name))
        if info is None:
            raise _Refused(f"its part {name} is missing")
        if info.flag_bits & 1:
            raise _Refused("it has a password")
        size = 0
        with self._archive.open(info) as part:
            while block := part.read(CHUNK):
                size += len(block)
                # By what really came out: the directory may say any size.
                if size > PART_BYTES or size > max(RATIO_FROM, RATIO * info.compress_size):
                    raise _Refused(f"its part {name} unpacks to more than {size >> 20} MB")
                yield block

    def targets(self, name: str) -> dict[str, tuple[str, str]]:
        """Return relation -> (kind, part) of a part; ``""`` is the package itself."""
        folder, base = posixpath.split(name)
        found: dict[str, tuple[str, str]] = {}

        def start(tag: str, given: Attributes) -> None:
            if tag == "Relationship" and given.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, given.get("Target", "")))
                kind = given.get("Type", "").rpartition("/")[2]
                found[given.get("Id", "")] = (kind, target.lstrip("/"))

        relations = posixpath.join(folder, "_rels", f"{base}.rels")
        if self.has(relations):
            self.parse(relations, start)
        return found


@contextmanager
def opened(path: Path, data: bytes) -> Iterator[Package]:
    """Open the bytes of an .xlsx file; whatever is wrong with it is HardStop ``csv_invalid``."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield Package(path, archive)
    except _Refused as error:
        why = str(error)
    except expat.ExpatError as error:
        why = f"one of its parts is no XML ({error})"
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        why = f"its archive is damaged ({error})"
    except (ValueError, KeyError, IndexError, OverflowError, UnicodeError, RecursionError) as error:
        why = f"a part of it is damaged ({type(error).__name__}: {error})"
    else:
        return
    fix = "open it in the program that made it and save it again as .xlsx"
    raise HardStop("csv_invalid", f"the workbook cannot be read: {why}", file=path, fix=fix)


def _plain(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").lower()
