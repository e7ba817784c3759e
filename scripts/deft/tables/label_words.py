"""Words that people write for a good part, or for no verdict; as a label each counts as a defect.

The one list of them: ``import_table`` refuses the good words until it is told what they mean, the
pre-flight names both kinds in tables and corrections.
"""

from __future__ import annotations

import unicodedata

from deft.tables.labels import PASS, looks_like_pass

# Plain (see `_plain`), so that "no_defect", "No defect" and "I.O." need one entry each.
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


def good_word(label: str) -> bool:
    """Return whether people may mean a good part by a label that is not ``PASS``.

    >>> [good_word(label) for label in ("OK", "i. O.", "pass", "PASS", "n.i.O.")]
    [True, True, True, False, False]
    """
    return label != PASS and (_plain(label) in GOOD_WORDS or looks_like_pass(label))


def no_verdict(label: str) -> bool:
    """Return whether a label rather says that nobody looked: ``N/A``, ``unknown``, ``-``, ``?``."""
    plain = _plain(label)
    return not plain or plain in NO_VERDICT


def doubtful_word(label: str) -> bool:
    """Return whether a label may mean a good part or no verdict at all."""
    return good_word(label) or no_verdict(label)


def quoted(label: str) -> str:
    """Return a label for a message: readable in its own script, in escapes where it deceives.

    >>> print(quoted("合格"), quoted("P\\u0410SS"))
    '合格' 'P\\u0410SS'
    """
    return ascii(label) if looks_like_pass(label) else repr(label)


def _plain(label: str) -> str:
    """Return the letters and digits of a label, in no case and no width."""
    text = unicodedata.normalize("NFKC", label).casefold()
    return "".join(char for char in text if unicodedata.category(char)[0] not in "PZSC")
