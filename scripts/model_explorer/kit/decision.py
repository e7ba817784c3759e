"""The head of the stakeholder report: one of four outcomes, its reasons, and what is asked for."""

from __future__ import annotations

from typing import Any

from .markdown import bullets, cell, plural
from .outcomes import CONDITIONAL, GO, NO_GO, UNDECIDED, yaml_block


def decision(facts: dict[str, Any]) -> list[str]:
    """Return the first lines of the report: the outcome, why, and what is open."""
    asked, found = facts["parameters"], facts["verdict"]
    word, title = found["verdict"], cell(asked["title"])
    if word == NO_GO:
        first = f"**No-go.** {title} should not be used as it is: {found['blocking'][0]}."
    elif word == UNDECIDED:
        count = plural(len(found["needs"]), "fact")
        wanted = f"I need {count} that only you have"
        if not found["needs"]:
            wanted = "what was asked could not be found out here"
        first = f"**Not decided.** Nothing here speaks against {title}, but {wanted}."
    elif word == CONDITIONAL:
        count = plural(len(found["conditions"]), "point")
        first = (
            f"**Go with conditions.** {title} runs here; {count} must be settled before it "
            "is relied on."
        )
    else:
        first = f"**Go.** {title} runs here and meets every target that was set."
    lines = [f"# {title}: can we use it?", "", cell(first), ""]
    if word == NO_GO and len(found["blocking"]) > 1:
        lines += ["Also:", "", *bullets(cell(b) for b in found["blocking"][1:])]
    if found["undecided"]:
        lines += ["Open before anything is said:", ""]
        lines += bullets(cell(u) for u in found["undecided"])
    if word != NO_GO and found["needs"]:
        lines += _asked("I need", found["needs"])
    if word != GO and found["conditions"]:
        lines += ["To be settled:", "", *bullets(cell(c) for c in found["conditions"])]
    if word != NO_GO and found["further_needs"]:
        lines += _asked("What would settle it", found["further_needs"])
    return lines


def _asked(head: str, needs: list[dict[str, Any]]) -> list[str]:
    """Return open inputs as a list, and as lines to be pasted."""
    said = [f"{n['what']}{f' ({why})' if (why := n.get('why')) else ''}" for n in needs]
    return [
        f"{head}:", "", *bullets(cell(text) for text in said), "```yaml", *yaml_block(needs), "```",
        "",
    ]  # fmt: skip
