"""Numbers as people print them, and whether one is a value rounded to the digits that it has.

Known are thousands separators (comma, apostrophe, no-break and thin space, three points or more),
a decimal comma, ``.05``, the minus of typography, ``1.2e-4``, ``1.2 × 10⁻⁴``, ``1.2×10^{-4}``,
``12.4 ± 0.3``, ``23.2M``. Where a print has two readings (``12,345``), either may be the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal

GAP = r"[ \u00a0\u2007\u2009\u202f\u200b]{0,4}"
# Letters of names; those of Chinese or Japanese prose stand right before a number too.
LETTER = "A-Za-z\u00c0-\u024f\u0370-\u03ff"
MINUS = "-−‐‑‒–"
SEPARATORS = ",'’\u00a0\u2007\u2009\u202f"
RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+", strict=True))
BODY = re.compile(
    rf"(?:(?<![{LETTER}\d_%)\]}}])[{MINUS}+])?(?:"
    # Not a part of a name (v2, ResNet-50, iter_3, Hits@10, #12), nor of a longer number.
    rf"(?<![{LETTER}\d_.@#])(?<![{LETTER}][{MINUS}])"
    rf"(?:\d{{1,3}}(?:[{SEPARATORS}]\d{{3}})+(?!\d)(?:\.\d+)?|\d{{1,3}}(?:\.\d{{3}})+,\d+"
    r"|\d+(?:\.\d+){2,}|\d+(?:[.,]\d+)?)"
    rf"|(?<![{LETTER}\d_.,)\]}}])\.\d+)"
)
POWER = (
    rf"10{GAP}(?:\^{GAP}\{{?{GAP}(?P<flat>[{MINUS}+]?\d{{1,4}}){GAP}\}}?"
    r"|(?P<up>[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]{1,4}))"
)
BARE_POWER = re.compile(POWER)
TAIL = re.compile(
    rf"[eE](?P<e>[{MINUS}+]?\d{{1,4}})(?![{LETTER}\d_])|{GAP}%?{GAP}\)?{GAP}[×·⋅∙x*]{GAP}(?:{POWER})"
)
# An ordinal or a dimension is a word: 2nd, 3D.
WORD_AFTER = re.compile(r"(?:st|nd|rd|th|D)\b")
INDEX_BEFORE = re.compile(rf"[\^_]\{{?[{MINUS}+]?\Z")
PERCENT = re.compile(rf"{GAP}(?:[%％]|per ?cent\b)")
SCALE = re.compile(
    rf"{GAP}(?:(?P<k>[kK]|thousand)|(?P<m>M|million)|(?P<b>[GB]|billion))(?![{LETTER}\d_])"
)
SCALES = {"k": 3, "m": 6, "b": 9}
ROUNDED_BEFORE = re.compile(
    r"(?:[≈~∼≃]|\b(?:about|around|approximately|approx\.?|roughly|ca\.?|circa|nearly|almost|"
    r"rounded(?: to)?))[\s(\u00a0\u200b]*\Z",
    re.IGNORECASE,
)
ROUNDED_AFTER = re.compile(r"[^\d.;]{0,12}\brounded\b")
RELATION = re.compile(rf"(?<![-=<])([<>≤≥]){GAP}\Z")
SPREAD = re.compile(rf"{GAP}%?{GAP}±{GAP}")
MOST_CHARACTERS = 60
EXACT = Decimal("1e-9")


@dataclass(frozen=True)
class Printed:
    """A number of a text: where it stands, and the values that its print may mean.

    ``readings`` are (value, weight of its last digit). ``relation`` is one of ``< > ≤ ≥`` before
    it, ``rounded``: the text itself calls it so, ``spread``: it stands behind ``±``.
    """

    start: int
    end: int
    text: str
    readings: tuple[tuple[Decimal, Decimal], ...]
    exponent: int = 0
    percent: bool = False
    rounded: bool = False
    relation: str = ""
    spread: bool = False


def numbers_in(text: str) -> list[Printed]:
    """Return the numbers of a text, in order; digits of names, ordinals and indices are none."""
    found: list[Printed] = []
    at = 0
    while body := BODY.search(text, at):
        at = body.end()
        if INDEX_BEFORE.search(text, max(0, body.start() - 3), body.start()):
            continue
        if WORD_AFTER.match(text, body.end()):
            continue
        number = _printed(text, body)
        at = number.end
        if found and SPREAD.fullmatch(text, found[-1].end, number.start):
            found[-1] = _of_spread(found[-1], number)
            number = replace(number, spread=True)
        found.append(number)
    return found


def _printed(text: str, body: re.Match[str]) -> Printed:
    digits, end, exponent = body[0], body.end(), 0
    power = BARE_POWER.match(text, body.start()) if digits == "10" else None
    tail = power or TAIL.match(text, body.end())
    if tail is not None:
        groups = tail.groupdict()
        raised = groups.get("e") or groups["flat"] or "".join(RAISED[c] for c in groups["up"])
        exponent, end = int(_ascii(raised)), tail.end()
    readings = _readings("1" if power else digits)
    scale = SCALE.match(text, end)
    if scale and scale.lastgroup:
        by = SCALES[scale.lastgroup]
        readings += tuple((v.scaleb(by), ulp.scaleb(by)) for v, ulp in readings)
    before = text[max(0, body.start() - 20) : body.start()]
    relation = RELATION.search(before)
    return Printed(
        start=body.start(),
        end=end,
        text=text[body.start() : end].strip().replace("\u200b", ""),
        readings=tuple((v.scaleb(exponent), ulp.scaleb(exponent)) for v, ulp in readings),
        exponent=exponent,
        percent=bool(PERCENT.match(text, end)),
        rounded=bool(ROUNDED_BEFORE.search(before) or ROUNDED_AFTER.match(text, end)),
        relation=relation[1] if relation else "",
    )


def _of_spread(mean: Printed, spread: Printed) -> Printed:
    """Return the mean of ``mean ± spread``, to which what follows the spread belongs too."""
    readings, by = mean.readings, spread.exponent
    if by and not mean.exponent:  # 3.68 ± 0.08 × 10⁻⁴
        readings += tuple((v.scaleb(by), ulp.scaleb(by)) for v, ulp in readings)
    return replace(mean, readings=readings, percent=mean.percent or spread.percent)


def _ascii(digits: str) -> str:
    return digits.translate({ord(c): "-" for c in MINUS})


def _readings(digits: str) -> tuple[tuple[Decimal, Decimal], ...]:
    """Return the values that digits with separators may mean, and the weight of the last digit."""
    if len(digits) > MOST_CHARACTERS:
        return ()
    plain = re.sub(rf"[{SEPARATORS[1:]}]", "", _ascii(digits).lstrip("+"))
    commas, points = plain.count(","), plain.count(".")
    forms: list[str]
    if commas and points:
        last = max(",", ".", key=plain.rfind)
        forms = [plain.replace("," if last == "." else ".", "").replace(last, ".")]
    elif commas == 1:
        forms = [plain.replace(",", ".")]
        if re.fullmatch(r"-?[1-9]\d{0,2},\d{3}", plain):
            forms.insert(0, plain.replace(",", ""))
    elif commas:
        forms = [plain.replace(",", "")]
    elif points > 1:
        grouped = re.fullmatch(r"-?[1-9]\d{0,2}(?:\.\d{3})+", plain)
        forms = [plain.replace(".", "")] if grouped else []  # else a version, which is no value
    else:
        forms = [plain]
    return tuple((Decimal(form), Decimal(1).scaleb(-len(form.partition(".")[2]))) for form in forms)


def disagreement(number: Printed, value: float, *, percent: bool = False) -> str | None:
    """Return what is wrong with a number that stands for ``value``, or None.

    A number agrees when it is the value rounded to the digits shown (a tie may go either way), or
    when its ``<`` holds. What is not all must not be shown as all: 99.96 is neither ``100 %`` nor
    0.04 ``0 %``, unless the text says that it is rounded.

    Parameters
    ----------
    value: finite.
    percent: the value is one in percent, whether or not a sign follows the number.
    """
    exact = _exactly(value)
    if number.relation:
        held = any(
            {"<": exact < v, ">": exact > v, "≤": exact <= v, "≥": exact >= v}[number.relation]
            for v, _ in number.readings
        )
        return None if held else f"shows {number.relation} {number.text}, the value is {value!r}"
    near = _near(number, value)
    if not near:
        return f"shows {number.text}, the value is {value!r}"
    if number.rounded or any(abs(v - exact) <= EXACT for v, _ in near):
        return None
    if not (percent or number.percent) or not all(v in (0, 100) for v, _ in near):
        return None
    return (
        f"shows {number.text} %, which says {'all' if near[0][0] else 'none'}, the value is "
        f"{value!r}: show more digits, or say 'about'"
    )


def same_at_precision(text: str, value: float) -> bool:
    """Return whether ``text`` is ``value`` rounded to the digits that ``text`` has.

    >>> same_at_precision("12.40", 12.3999), same_at_precision("12.40", 12.41)
    (True, False)
    >>> same_at_precision("2.67", 2.675), same_at_precision("2.68", 2.675)
    (True, True)
    """
    found = numbers_in(text)
    return len(found) == 1 and bool(_near(found[0], value))


def _exactly(value: float) -> Decimal:
    return Decimal(value) if isinstance(value, int) else Decimal(repr(float(value)))


def _near(number: Printed, value: float) -> list[tuple[Decimal, Decimal]]:
    """Return the readings that are the value rounded; printing rounds the binary number itself."""
    forms = (_exactly(value), Decimal(value))
    return [
        (v, ulp) for v, ulp in number.readings if any(abs(v - form) <= ulp / 2 for form in forms)
    ]
