"""Words for good parts and for no verdict, in the spellings that people use."""

from __future__ import annotations

import pytest

from deft.tables.label_words import doubtful_word, good_word, no_verdict, quoted


@pytest.mark.parametrize(
    "label",
    [
        *(
            "OK",
            "OK ",
            "O.K.",
            "'ok'",
            "ＯＫ",
            "Good",
            "No Defect",
            "no-defect",
            "NoFault",
            "Passed",
        ),
        *(
            "i.O.",
            "i. O.",
            "IO",
            "Gut",
            "fehlerfrei",
            "bon",
            "Bueno",
            "conforme",
            "годен",
            "0",
            "1",
        ),
        *("良品", "合格", "正常", "양품", "pass", "P\u0410SS", "true", "False", "GODKA\u0308ND"),
    ],
)
def test_words_for_a_good_part(label: str) -> None:
    assert good_word(label) and doubtful_word(label) and not no_verdict(label)


@pytest.mark.parametrize("label", ["N/A", "#NV", "null", "NaN", "unknown", "-", "?", "–"])
def test_words_for_no_verdict(label: str) -> None:
    assert no_verdict(label) and doubtful_word(label) and not good_word(label)


@pytest.mark.parametrize(
    "label", ["PASS", "NG", "n.i.O.", "NOK", "bridge", "不良", "10", "goo", "2"]
)
def test_defects(label: str) -> None:
    assert not doubtful_word(label)


def test_a_label_is_shown_in_its_own_script_unless_it_deceives() -> None:
    assert quoted("合格") == "'合格'" and quoted("P\u0410SS") == "'P\\u0410SS'"
    assert quoted("a\u200bb") == "'a\\u200bb'"
