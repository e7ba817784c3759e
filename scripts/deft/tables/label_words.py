"""Words that people write for a good part, or for no verdict; as a label each counts as a defect.

The one list of them stands in the scoring kit, which refuses them too and can import nothing of
this: ``import_table`` refuses the good words until it is told what they mean, the pre-flight names
both kinds in tables and corrections.
"""

from __future__ import annotations

from deft.score_kit.naming import GOOD_WORDS, NO_VERDICT, plain_word
from deft.tables.labels import PASS, looks_like_pass


def good_word(label: str) -> bool:
    """Return whether people may mean a good part by a label that is not ``PASS``.

    >>> [good_word(label) for label in ("OK", "i. O.", "pass", "PASS", "n.i.O.")]
    [True, True, True, False, False]
    """
    return label != PASS and (plain_word(label) in GOOD_WORDS or looks_like_pass(label))


def no_verdict(label: str) -> bool:
    """Return whether a label rather says that nobody looked: ``N/A``, ``unknown``, ``-``, ``?``."""
    plain = plain_word(label)
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
