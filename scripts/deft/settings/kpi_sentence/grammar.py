"""What may stand where in a target's sentence.

    sentence = free words, clauses, end
    clauses  = FAR clause [recall clause]  |  recall clause, FAR clause
    FAR      = name [at recall …] bound quantity  |  bound quantity name  |  name quantity "or less"
    recall   = name [bound] quantity ["or more"]  |  [bound] quantity name

A closed set of words may stand between and inside clauses; any other word behind the beginning of
a clause refuses the sentence. Free words stand before the first clause alone, and hold no digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from deft.settings.kpi_sentence import phrases
from deft.settings.kpi_sentence.numbers import PPM, UNITS, Quantity, decimal_text, readings
from deft.settings.kpi_sentence.tokens import MAX_CHARACTERS, Token, Unread, tokenize


@dataclass(frozen=True)
class Reading:
    """Shares of 1, exactly; ``recall`` is 1 where the sentence names none."""

    far: Fraction
    recall: Fraction
    strict: bool


@dataclass(frozen=True)
class _Far:
    bound: Quantity
    strict: bool
    recall: Quantity | None  # of "FAR at 99 % recall < 1 %"


def read(sentence: str) -> Reading | None:
    """Return what a sentence says; None when it names no FAR at all.

    Raises
    ------
    Unread with the part that has no reading.
    """
    if len(sentence) > MAX_CHARACTERS:
        told = f"a target has at most {MAX_CHARACTERS} characters, this has {len(sentence)}"
        raise Unread(MAX_CHARACTERS, MAX_CHARACTERS + 20, told)
    tokens = tokenize(sentence)
    parser = _Parser(tokens, len(sentence))
    if not any(parser.far_name(at) for at in range(len(tokens))):
        return None
    worst: Unread | None = None
    for start in range(parser.free_words() + 1):
        try:
            found = parser.clauses(start)
        except Unread as problem:
            # What got furthest knows best where the sense is lost.
            if worst is None or problem.start >= worst.start:
                worst = problem
        else:
            parser.check_before(start)
            return found
    assert worst is not None
    raise worst


class _Parser:
    """Methods named after a part take a token's index and return what they read with the next
    index, or None where that part does not begin there. :class:`Unread` where it begins and breaks.
    """

    def __init__(self, tokens: list[Token], length: int) -> None:
        self.tokens, self.length = tokens, length
        self.behind_leads: dict[int, int] = {}  # keeps the many starts of one sentence cheap

    # --- tokens -----------------------------------------------------------------------------------

    def text(self, at: int) -> str:
        return self.tokens[at].text if 0 <= at < len(self.tokens) else ""

    def kind(self, at: int) -> str:
        return self.tokens[at].kind if 0 <= at < len(self.tokens) else ""

    def phrase(self, at: int, known: phrases.Phrases) -> int | None:
        """Return the index behind the longest known phrase that begins here."""
        for words in known.get(self.text(at), ()):
            if all(self.text(at + i) == word for i, word in enumerate(words)):
                return at + len(words)
        return None

    def skip(self, at: int, known: phrases.Phrases) -> int:
        """Return the index behind any number of phrases."""
        while (behind := self.phrase(at, known)) is not None:
            at = behind
        return at

    def unread(self, at: int, reason: str = "", *, until: int | None = None) -> Unread:
        """Return the error for the tokens from ``at`` to ``until`` (or the end)."""
        if at >= len(self.tokens):
            return Unread(self.length, self.length, reason)
        last = self.tokens[min(until or len(self.tokens), len(self.tokens)) - 1]
        return Unread(self.tokens[at].start, max(last.end, self.tokens[at].end), reason)

    # --- sentence ---------------------------------------------------------------------------------

    def free_words(self) -> int:
        """Return how many tokens at the beginning may be free words."""
        for at, token in enumerate(self.tokens):
            named = self.far_name(at) is not None and not self.is_plain_far(at)
            free = (
                token.text not in phrases.RECALL_NAMES and not any(map(str.isnumeric, token.text))
                if token.kind == "word"
                else token.text in phrases.FREE_SIGNS
            )
            if named or not free:
                return at
        return len(self.tokens)

    def is_plain_far(self, at: int) -> bool:
        """Whether a token is the English word, as in "as far as possible"."""
        return self.tokens[at].written == "far" and (
            self.text(at - 1) in phrases.BEFORE_PLAIN_FAR
            or self.text(at + 1) in phrases.AFTER_PLAIN_FAR
        )

    def clauses(self, start: int) -> Reading:
        """Read everything from ``start``."""
        found = self.far(start)
        if found:
            far, at = found
            recall = far.recall
            if recall is None and not self.is_end(at):
                recall, at = self.recall_behind(at)
        else:
            first = self.recall(start, begins=True)
            if not first:
                stray = self.kind(start) == "number"
                told = "a number that belongs neither to FAR nor to recall" if stray else ""
                raise self.unread(start, told, until=start + 1)
            recall, behind = first
            at = self.skip(behind, phrases.JOINTS)
            found = self.far(at)
            if not found:
                raise self.unread(min(at, len(self.tokens) - 1) if at > behind else behind)
            far, at = found
            if far.recall is not None:
                raise self.unread(behind, "the recall is named twice")
        if not self.is_end(at):
            raise self.unread(at, self.why_not(at))
        return self.judged(far, recall)

    def check_before(self, start: int) -> None:
        """Refuse free words that would turn the clause's sense."""
        at = start - 1
        while self.text(at) in phrases.ARTICLES:
            at -= 1
        if self.text(at) in phrases.NEGATIONS:
            raise self.unread(at, "a negated target")
        if self.text(at) in phrases.ANDS and self.text(at - 1) in phrases.OTHER_METRICS:
            raise self.unread(at - 1, "one target is one FAR, and no other figure")
        word = self.tokens[at] if self.kind(at) == "word" else None
        if self.text(at) in phrases.NOT_BEFORE_VERB or (
            word and self.text(at - 1) in phrases.NOT_BEFORE_VERB and word.text not in phrases.UNTIL
        ):
            raise self.unread(at - 1 if at else at, "a negated target")
        only = at - 1 if self.text(at) in phrases.FREE_SIGNS else at
        if self.text(at) in phrases.QUALIFIERS or self.text(only) == "only":
            raise self.unread(min(at, only), "FAR is counted over all rows, and compared as it is")
        scope = word and self.text(at - 1) in phrases.SCOPES and not word.text.endswith("ing")
        label = word and self.text(start) in phrases.RECALL_NAMES and self.names_label(at)
        if scope or label:
            told = "one target is for all lights and labels"
            raise self.unread(at - 1 if scope else at, told)

    def names_label(self, at: int) -> bool:
        """Whether a word before a recall reads as a label: "BRIDGE recall", "PASS recall"."""
        label, recall = self.tokens[at], self.tokens[at + 1]
        shouted = label.written.isupper() and len(label.text) > 1 and not recall.written.isupper()
        return label.text == "pass" or (shouted and label.text not in phrases.NO_LABELS)

    def is_end(self, at: int) -> bool:
        return all(token.text in phrases.END_SIGNS for token in self.tokens[at:])

    def why_not(self, at: int) -> str:
        for behind in (self.skip(at, phrases.JOINTS), self.leads(at)):
            if self.far_name(behind):
                return "FAR is bounded twice"
            if self.text(behind) in phrases.RECALL_NAMES:
                return "the recall is named twice"
        return ""

    # --- FAR --------------------------------------------------------------------------------------

    def far_name(self, at: int) -> int | None:
        behind = self.phrase(at, phrases.FAR_NAMES)
        if behind is None:
            return None
        if self.text(behind) == "(":
            inside = self.phrase(behind + 1, phrases.FAR_NAMES)
            if inside is not None and self.text(inside) == ")":
                behind = inside + 1
        return behind

    def far(self, at: int) -> tuple[_Far, int] | None:
        named = self.phrase(at, phrases.MAXIMUM)
        if named is not None and (behind := self.far_name(named)) is not None:
            return self.far_behind_name(behind, is_maximum=True)
        behind = self.far_name(at)
        if behind is not None:
            return self.far_behind_name(behind, is_maximum=False)
        return self.far_number_first(at)

    def far_number_first(self, at: int) -> tuple[_Far, int] | None:
        for known, strict in ((phrases.BELOW, True), (phrases.AT_MOST, False)):
            bound = self.phrase(at, known)
            if bound is not None:
                found = self.quantity(bound)
                named = self.far_name(self.skip(found[1], phrases.OF)) if found else None
                if found and named is not None:
                    return _Far(found[0], strict, None), named
        return None

    def far_behind_name(self, at: int, *, is_maximum: bool) -> tuple[_Far, int]:
        recall, at = self.recall_inside(at)
        at = self.skip(at, phrases.VERBS)
        if self.text(at) == ":":
            at += 1
        for known, strict in ((phrases.AT_MOST, False), (phrases.BELOW, True)):
            bound = self.phrase(at, known)
            if bound is not None:
                quantity, behind = self.needed(bound, "a bound of FAR needs a number")
                return _Far(quantity, strict, recall), behind
        if self.phrase(at, phrases.ABOVE) is not None:
            raise self.unread(at, "a target bounds FAR from above: < or <=")
        number = self.skip(at, phrases.EQUALS)
        quantity, behind = self.needed(number, "here a bound of FAR should stand: < or <=")
        worded = self.phrase(behind, phrases.OR_LESS)
        if worded is None and not is_maximum:
            told = "this says what FAR is, not how high it may be: write < or <="
            raise self.unread(at, told, until=behind)
        return _Far(quantity, False, recall), worded or behind

    def recall_inside(self, at: int) -> tuple[Quantity | None, int]:
        """Read the recall of "FAR at 99 % recall below 1 %" and "FAR (at recall=1) < 1e-3"."""
        opened = self.text(at) == "("
        lead = self.leads(at)
        if lead == at:
            return None, at
        found = self.recall(lead, begins=True)
        if not found:
            return None, at
        quantity, behind = found
        if opened and self.text(behind) == ")":
            behind += 1
        return quantity, behind

    # --- recall -----------------------------------------------------------------------------------

    def recall_behind(self, at: int) -> tuple[Quantity, int]:
        """Read the recall clause that follows the FAR clause."""
        lead = self.leads(at)
        found = self.recall(lead, begins=lead > at)
        if not found:
            raise self.unread(lead if lead < len(self.tokens) else at, self.why_not(at))
        return found

    def recall(self, at: int, *, begins: bool) -> tuple[Quantity, int] | None:
        """``begins``: whether a number alone may begin the clause ("at 99 % recall")."""
        at = self.leads(at)
        bound = self.phrase(at, phrases.AT_LEAST)
        least = bound if bound is not None and self.text(bound - 1) in phrases.MINIMUM else at
        behind = self.recall_name(least)
        if behind is not None:
            return self.recall_behind_name(behind)
        if bound is None and not begins:
            return None
        if bound is None and at and not self.may_stand_before_number(at - 1):
            return None
        found = self.quantity(bound if bound is not None else at)
        named = self.recall_name(self.skip(found[1], phrases.OF)) if found else None
        return (found[0], named) if found and named is not None else None

    def leads(self, at: int) -> int:
        """Return the index behind words that lead to a recall; the "at" of "at least" is none."""
        passed = []
        while at not in self.behind_leads and self.phrase(at, phrases.AT_LEAST) is None:
            behind = self.phrase(at, phrases.LEADS)
            if behind is None:
                break
            passed.append(at)
            at = behind
        at = self.behind_leads.get(at, at)
        self.behind_leads.update(dict.fromkeys(passed, at))
        return at

    def may_stand_before_number(self, at: int) -> bool:
        return self.kind(at) != "word" or self.text(at) in phrases.BEFORE_NUMBER

    def recall_name(self, at: int) -> int | None:
        at = self.skip(at, phrases.OF_DEFECTS)
        if self.text(at) not in phrases.RECALL_NAMES:
            return None
        behind = at + 1
        return behind + 1 if self.text(behind) in phrases.RATE else behind

    def recall_behind_name(self, at: int) -> tuple[Quantity, int]:
        at = self.skip(at, phrases.VERBS)
        for known in (phrases.BELOW, phrases.AT_MOST):
            if self.phrase(at, known) is not None and self.phrase(at, phrases.AT_LEAST) is None:
                raise self.unread(at, "a recall is required from below: =, > or >=")
        bound = self.phrase(at, phrases.AT_LEAST) or self.phrase(at, phrases.RECALL_IS) or at
        quantity, behind = self.needed(bound, "a recall needs a number")
        return quantity, self.phrase(behind, phrases.OR_MORE) or behind

    # --- quantities -------------------------------------------------------------------------------

    def needed(self, at: int, reason: str) -> tuple[Quantity, int]:
        found = self.quantity(at)
        if not found:
            raise self.unread(at, reason)
        return found

    def quantity(self, at: int) -> tuple[Quantity, int] | None:
        """Read a number or ``a/b`` with its unit, and the same again in brackets."""
        found = self.one_quantity(at)
        if not found:
            return None
        quantity, behind = found
        if self.text(behind) == "(" and self.kind(behind + 1) == "number":
            again, closed = self.needed(behind + 1, "")
            if self.text(closed) != ")" or again.share != quantity.share:
                raise self.unread(behind, "the number in brackets is another one")
            behind = closed + 1
        return quantity, behind

    def one_quantity(self, at: int) -> tuple[Quantity, int] | None:
        if self.text(at) in ("-", "+") and self.kind(at + 1) == "number":
            raise self.unread(at, "a rate is written without a sign", until=at + 2)
        if self.kind(at) != "number":
            return None
        behind, ratio = at + 1, self.phrase(at + 1, phrases.DIVIDED)
        if ratio is not None and self.kind(ratio) == "number":
            behind = ratio + 1
        unit, unit_name = self.unit(behind)
        dots = ratio is not None or unit_name in PPM
        above = self.numbers(at, dots)
        below = self.numbers(behind - 1, dots) if behind > at + 1 else [Fraction(1)]
        if 0 in below:
            raise self.unread(at, "a division by zero", until=behind)
        size = UNITS.get(unit_name, Fraction(1))
        shares = {a / b * size: a / b for a in above for b in below}
        # A separator that makes more than all of it cannot have been meant.
        possible = {share: v for share, v in shares.items() if share <= 1} or shares
        if len(possible) > 1 and len(set(possible)) > 1:
            told = " or ".join(f"{decimal_text(v)} {unit_name}".strip() for v in possible.values())
            raise self.unread(at, f"this may be {told}: write one of them so", until=unit)
        share = next(iter(possible))
        is_fraction = not unit_name
        bare = is_fraction and behind == at + 1
        start, end = self.tokens[at].start, self.tokens[unit - 1].end
        return Quantity(share, bare, is_fraction, start, end), unit

    def unit(self, at: int) -> tuple[int, str]:
        behind = self.phrase(at, phrases.UNITS)
        if behind is None:
            return at, ""
        name = " ".join(token.text for token in self.tokens[at:behind])
        if name == "pct" and self.text(behind) == "." and not self.is_end(behind):
            behind += 1
        return behind, name

    def numbers(self, at: int, dots: bool) -> list[Fraction]:
        try:
            return readings(self.text(at), grouped_by_dots=dots)
        except ValueError as error:
            raise self.unread(at, str(error), until=at + 1) from None

    # --- sense ------------------------------------------------------------------------------------

    def judged(self, far: _Far, recall: Quantity | None) -> Reading:
        """Return the reading, or refuse one that is ambiguous or cannot be met."""
        bound = far.bound
        all_fractions = bound.is_fraction and recall is not None and recall.is_fraction
        for quantity in filter(None, (bound, recall)):
            if quantity.bare and not all_fractions:
                told = (
                    f"without a unit this may be {decimal_text(quantity.share * 100)} % or "
                    f"{decimal_text(quantity.share)} %: write the unit"
                    if quantity.share
                    else "a number without a unit: write 0 %"
                )
                raise Unread(quantity.start, quantity.end, told)
        if bound.share > 1:
            told = f"a FAR of {decimal_text(bound.share * 100)} %: it lies between 0 and 100 %"
            raise Unread(bound.start, bound.end, told)
        if bound.bare and bound.share == 1:
            raise Unread(bound.start, bound.end, "this may be 100 % or 1 %: write the unit")
        if far.strict and bound.share == 0:
            raise Unread(bound.start, bound.end, "no FAR is below 0 %; <= 0 % can be met")
        if recall is not None and not 0 < recall.share <= 1:
            told = f"a recall of {decimal_text(recall.share * 100)} %: above 0 and at most 100 %"
            raise Unread(recall.start, recall.end, told)
        return Reading(bound.share, recall.share if recall else Fraction(1), far.strict)
