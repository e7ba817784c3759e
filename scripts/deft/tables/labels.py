"""Labels: their one form inside, the user's spelling for what is shown, and what is refused.

Inside, a label is ``PASS`` or else stripped, lower-cased and composed (Unicode NFC), see
:func:`clean_label`: rows, pairs and quotas are compared in that form, and the training table, the
source pool and the tables of the mining hold it. Whatever a person reads (report, root-cause
analysis, summaries, warnings) has the user's spelling, see :func:`first_spellings`; so have
``inference.csv`` (the KPI table's cells as they were), ``metrics.json`` and ``kpi_gaps.parquet``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

PASS = "PASS"

# Letters that fonts draw like P, A or S and that neither case folding nor NFKD turns into them:
# Cyrillic, Greek, Coptic, Cherokee, Lisu, Carian, Canadian, Armenian, Georgian, Deseret, phonetic
# (those of Unicode's confusables that make a whole word pass for another).
DRAWN_AS = {
    "p": "\u0440\u0420\u03c1\u03a1\u03f1\u2ca3\u2ca2\u13e2\uabb2\ua4d1\U00010295\u146d\u1d18",
    "a": "\u0430\u0410\u03b1\u0391\u0251\u2c6d\u2c81\u2c80\u13aa\uab7a\ua4ee\U000102a0\u15c5\u1d00",
    "s": "\u0455\u0405\u054f\u10bd\u13da\uabaa\u13d5\uaba5\ua4e2\ua731\u01bd\U00010420\U00010448",
}
LOOK_ALIKES = {ord(char): letter for letter, chars in DRAWN_AS.items() for char in chars}
JOINERS = "\u200c\u200d"
# Drawn as nothing, or as a blank, without being of the categories that say so.
BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffd\ufffc")
CATEGORIES = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cs": "half of a surrogate pair",
    "Zs": "a special blank",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}


def clean_label(label: str) -> str:
    """Return ``PASS`` unchanged and any other label stripped, lower-cased and in Unicode's NFC."""
    if label == PASS:
        return label
    if label.isascii():
        return label.strip().lower()
    # Lower-casing can take a composed letter apart, and composing can make a capital again.
    lowered = unicodedata.normalize("NFC", label).strip().lower()
    return unicodedata.normalize("NFC", lowered)


def is_ng(label: str) -> bool:
    """Return whether a label means a defective part, leniently (for foreign tables)."""
    return label.strip().upper() != PASS


def label_key(label: str) -> str:
    """Return what two spellings of one label share, leniently: every ``pass`` is ``PASS``."""
    return clean_label(label) if is_ng(label) else PASS


def hidden_character(text: str) -> str | None:
    """Return the first character of ``text`` that a reader cannot see, in words, else None.

    Joiners are let through between letters of the scripts that are written with them (Arabic,
    the Indic ones).
    """
    if text.isascii() and text.isprintable():
        return None
    for i, char in enumerate(text):
        if char == " " or (char in JOINERS and _joins(text, i)):
            continue
        kind = unicodedata.category(char)
        if kind in CATEGORIES:
            return f"{CATEGORIES[kind]} (U+{ord(char):04X})"
        if char in BLANK_LETTERS or _selects_a_variant(char):
            return f"an invisible character (U+{ord(char):04X})"
    return None


def _joins(text: str, at: int) -> bool:
    around = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    return all(char and "\u0600" <= char <= "\u0dff" for char in around)


def _selects_a_variant(char: str) -> bool:
    return (
        "\ufe00" <= char <= "\ufe0f"
        or "\U000e0100" <= char <= "\U000e01ef"
        or "\u180b" <= char <= "\u180d"
        or char == "\u180f"
    )


def looks_like_pass(label: str) -> bool:
    """Return whether a label is drawn like ``PASS`` in any case, and is not written so.

    >>> looks_like_pass("P\\u0410SS"), looks_like_pass("pass"), looks_like_pass("PASS")
    (True, True, False)
    """
    return label != PASS and _skeleton(label) == "pass"


def _skeleton(text: str) -> str:
    """Return the letters that a reader takes ``text`` for, as far as they can spell PASS.

    Marks around or between them are left out: ``'PASS'`` and ``PASS.`` name no defect.
    """
    seen = [
        char
        for char in unicodedata.normalize("NFKD", text)
        if unicodedata.category(char)[0] not in "MCZP"
        and char not in "=+<>|~^`$"
        and char not in BLANK_LETTERS
    ]
    # Before folding too: the small letter of a capital may look like another.
    return "".join(seen).translate(LOOK_ALIKES).casefold().translate(LOOK_ALIKES)


def label_fault(label: str) -> str | None:
    """Return what is wrong with a label as somebody wrote it, in a sentence, or None."""
    if not label.strip():
        return "label is empty"
    if looks_like_pass(label):
        if label.strip().upper() == PASS:
            return (
                f"label {label!r} is PASS only after changing case or spaces; "
                "training would count the part as defective"
            )
        return (
            f"label {label!a} looks like PASS and is another text; "
            "training would count the part as defective"
        )
    hidden = hidden_character(label.strip(" \t"))
    if hidden:
        return f"label {label!a} holds {hidden}: two labels that look alike would be two defects"
    if '"' in label:
        return f"label {label!r} holds a quotation mark"
    return None


def first_spellings(*columns: Iterable[str]) -> dict[str, str]:
    """Return clean label -> the spelling that is shown: the first of the first column that has it.

    The order of the columns, everywhere: KPI, base, validation, pool, pre-generated.
    """
    found = {PASS: PASS}
    for labels in columns:
        for label in dict.fromkeys(labels):
            found.setdefault(label_key(label), label.strip())
    return found


def shown(label: str, spellings: Mapping[str, str]) -> str:
    """Return a label as the user spells it, itself where no table of the user's has it."""
    return spellings.get(label_key(label), label)
