"""XML that annotation tools wrote, read without letting it grow.

Entities, which can make gigabytes of a few lines or name files of this machine, live in a document
type; no annotation tool writes one, so a file that has one is refused before it is parsed.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

from deft.core.errors import HardStop
from deft.core.reading import read_text, shortened

FORBIDDEN = re.compile(r"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
SHOWN = 60


def read_xml(path: str | Path) -> ElementTree.Element:
    """Return a file's outermost element.

    Raises HardStop ``csv_invalid`` for what is no UTF-8 text, no XML, or has a document type.
    """
    text = read_text(path, code="csv_invalid")
    found = FORBIDDEN.search(text)
    if found:
        raise HardStop(
            "csv_invalid",
            f"the XML has a document type ({found[0]}), in which entities could hide",
            file=path,
            row=text.count("\n", 0, found.start()) + 1,
            fix="export the annotations again, or remove the document type",
        )
    try:
        return ElementTree.fromstring(text)  # as text: what encoding it names counts no more
    except (ElementTree.ParseError, ValueError) as error:
        line = getattr(error, "position", (None, 0))[0]
        raise HardStop(
            "csv_invalid",
            f"not readable as XML ({shortened(error)})",
            file=path,
            row=line,
            fix="export the annotations again",
        ) from None


def words(element: ElementTree.Element, name: str) -> str:
    """Return the text of a child, stripped; "" where there is none."""
    return (element.findtext(name) or "").strip()


def number(text: str | None, what: str, path: Path) -> float:
    """Return a coordinate; raises HardStop ``csv_invalid`` for no (finite) number.

    ``what``: where it stands, for the message.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise HardStop(
            "csv_invalid",
            f"{what} is {(text or '')[:SHOWN]!r}, no number",
            file=path,
            fix="correct the box in the annotation tool and export again",
        )
    return value
