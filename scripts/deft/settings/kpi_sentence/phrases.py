"""The closed sets of words and signs that the grammar knows."""

from __future__ import annotations

from deft.settings.kpi_sentence import numbers
from deft.settings.kpi_sentence.tokens import tokenize

Phrases = dict[str, tuple[tuple[str, ...], ...]]  # by their first word, the longest first


def _phrases(text: str) -> Phrases:
    """Return phrases that are parted by ``|``."""
    found = {tuple(t.text for t in tokenize(part)) for part in text.split("|")} - {()}
    longest_first = sorted(found, key=len, reverse=True)
    return {
        first: tuple(words for words in longest_first if words[0] == first)
        for first in {words[0] for words in found}
    }


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# FAR as the loop's documents call it. Overkill, escape, FPR, FRR are other people's words for other
# denominators or the other class: refused, not guessed.
_KINDS = ("alarm", "accept", "acceptance", "call")
FAR_NAMES = _phrases(
    "FAR | FAR rate |"
    + "|".join(
        f"false{between}{kind}{plural}{rate}"
        for between in (" ", "-")
        for kind in _KINDS
        for plural in ("", "s")
        for rate in ("", " rate", "-rate", " rates")
    )
)
RECALL_NAMES = _words("recall")
OF_DEFECTS = _phrases("NG | defect | defects | NO_PASS")
RATE = _words("rate value score")
OTHER_METRICS = _words(
    "fnr fpr frr tpr tnr fdr precision specificity sensitivity accuracy auc auroc escape escapes "
    "overkill"
)
MAXIMUM = _phrases("max | max. | maximum | maximal | the maximum | a maximum")

_BELOW = "< | below | under | less than | lower than | smaller than"
BELOW = _phrases(_BELOW + "| down to below | down to under | to below | to under | to less than")
AT_MOST = _phrases(
    "<= | =< | ≤ | at most | at max | at max. | at maximum | max | max. | maximum | max of"
    "| maximum of | a maximum of | no more than | not more than | no higher than | not higher than"
    "| no greater than | not greater than | not above | never above | not over | no larger than"
    "| not exceed | not exceeding | never exceed | never exceeds | up to | at or below"
    "| at or under | below or at | less than or equal to | lower than or equal to"
    "| smaller than or equal to | below or equal to | less or equal to | less or equal | = <"
    "| not be above | never be above | not be over | not be higher than | not be greater than"
    "| not be more than | not rise above | never rise above | not go above | never go above"
    "| cannot exceed | max : | max = | max. : | max. = | maximum : | maximum ="
)
ABOVE = _phrases(
    "> | >= | => | ≥ | above | over | more than | greater than | higher than | larger than"
    "| at least | no less than | not less than | not below | not under | min | minimum"
)
OR_LESS = _phrases(
    "or less | or lower | or below | or better | or fewer | or under | at most | max | max. "
    "| maximum"
)
EQUALS = _phrases("= | == | : | of | equals | equal to")

AT_LEAST = _phrases(
    "> | >= | => | ≥ | above | over | more than | greater than | higher than | at least | at min"
    "| at min. | at minimum | min | min. | minimum | min of | minimum of | a minimum of"
    "| no less than | not less than | no lower than | not lower than | not below | never below"
    "| not under | at or above | above or equal to | greater than or equal to | not worse than"
    "| no worse than | more than or equal to | higher than or equal to | greater or equal to"
    "| not be below | never be below | not be less than | not be lower than | not be under"
    "| not drop below | never drop below | not drop under | not fall below | never fall below"
    "| not fall under | not go below | never go below | exceed | exceeds | exceeding"
    "| min : | min = | min. : | min. = | minimum : | minimum ="
)
MINIMUM = frozenset({"min", "minimum", "."})
RECALL_IS = _phrases("= | == | : | of | at | @ | equals | equal to | of exactly | exactly")
OR_MORE = _phrases(
    "or more | or higher | or above | or better | or over | at least | min | minimum"
)

VERBS = _phrases(
    "is | are | be | to be | being | stays | stay | staying | remains | remain | remaining | drops"
    "| drop | falls | fall | goes | go | gets | get | lies | lie | kept | held | has | have | must"
    "| should | shall | can | will | needs | does | do | of | rate | fixed"
)
OF = _phrases("of | in")
DIVIDED = _phrases("/ | in | out of")
UNITS = _phrases("|".join(numbers.UNITS))

ARTICLES = _words("a an the any its our")
# What may stand between the FAR clause and the recall clause, or before either after the other.
LEADS = _phrases(
    "/ | at | @ | with | while | and | & | but | for | when | where | whereas | given | subject to"
    "| provided | provided that | keeping | maintaining | holding | having | keep | keeps"
    "| maintain | hold | required | the | a | an | our | , | ; | . | ( | - | – | — | fixed | total"
)
JOINTS = _phrases(
    "with | while | and | & | but | then | we | want | wanted | wants | need | needs | get | reach"
    "| achieve | bring | keep | keeping | have | having | a | an | the | our | to | is | , | ; | :"
    "| . | - | – | — | )"
)
BEFORE_NUMBER = _words(
    "at with while and for until till reach reaching achieve get have having a an the keep keeping "
    "maintain maintaining given when hold holding but"
)
# Before a FAR: what makes another figure of it, or bounds a part of the boards alone.
QUALIFIERS = _words("only half twice double triple thrice times relative delta log mean average")
SCOPES = _words("on for per")  # "on SolderLight FAR < 1%"
NOT_BEFORE_VERB = _words("not never cannot avoid prevent no")  # "never accept FAR < 1%"
UNTIL = _words("until till before than")  # "do not until" is none: they end what was negated
NO_LABELS = _words("kpi aoi pcb deft the with keep at and defect ng no_pass")
NEGATIONS = _words("not no never without unless cannot nor neither except")
ANDS = frozenset({"and", "or", "&", "/", ",", "nor"})
BEFORE_PLAIN_FAR = _words("so as too by how thus very not")
AFTER_PLAIN_FAR = _words("as from too better away beyond more")
FREE_SIGNS = frozenset(",.;:!?-–—'\"()[]/&“”„‘’«»…、。")
END_SIGNS = frozenset(".!;)]'\"”’»。…")
