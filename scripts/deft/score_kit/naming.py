"""Where the pictures of a row lie, which is TAO's rule, and words that labels are written in."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Plain (see `plain_word`), so that "no_defect", "No defect" and "I.O." need one entry each.
GOOD_WORDS = frozenset(
    (
        *("ok", "okay", "okey", "good", "goodpart", "passed", "passes", "accept", "accepted"),
        *("acceptable", "approved", "go", "p", "y", "yes", "true", "false", "0", "1", "normal"),
        *("none", "nodefect", "nodefects", "nofault", "nofaults", "nofail", "noerror", "perfect"),
        *("nondefective", "defectfree", "faultfree", "falsecall", "falsealarm", "pseudo"),
        *("io", "inordnung", "gut", "gutteil", "fehlerfrei", "bestanden", "pseudofehler"),
        *("bon", "bonne", "bien", "conforme", "buono", "buona", "correcto", "bueno", "buena"),
        *("aprobado", "bom", "aprovado", "goed", "godkänd", "dobry", "dobrý", "iyi"),
        *("годен", "годный", "норма", "хорошо"),
        *(
            "良品",
            "良",
            "合格",
            "合格品",
            "正常",
            "好",
            "好品",
            "通过",
            "無欠陥",
            "无缺陷",
            "无不良",
        ),
        *("양품", "정상", "양호", "합격"),
    )
)
NO_VERDICT = frozenset(("null", "nan", "na", "nv", "unknown", "undefined", "tbd", "unbekannt"))
# Of these words those that are the name of a defect, or of no verdict, to some; "" is "-" or "?".
UNCLEAR_WORDS = NO_VERDICT | frozenset(("", *"0 1 true false yes y p none pseudo".split()))


def image_name(object_name: str, light: str, ext: str) -> str:
    """Return the file name of one light's picture; an empty light adds no suffix."""
    return f"{object_name}_{light}{ext}" if light else f"{object_name}{ext}"


def golden_names(folder: Path, lights: Sequence[str], ext: str) -> list[str]:
    """Return the names of a folder's goldens in order, by the files of the first light.

    Another light's file that is absent is found on reading. Raises OSError for a folder that
    cannot be listed.
    """
    ending = image_name("", lights[0], ext)
    return sorted(name.removesuffix(ending) for name in os.listdir(folder) if name.endswith(ending))


def evenly(names: Sequence[T], count: int) -> list[T]:
    """Return ``count`` of the names in order: neighbours in a folder are often alike."""
    return [names[i * len(names) // count] for i in range(count)]


def plain_word(label: str) -> str:
    """Return the letters and digits of a label, in no case and no width."""
    text = unicodedata.normalize("NFKC", label).casefold()
    return "".join(char for char in text if unicodedata.category(char)[0] not in "PZSC")
