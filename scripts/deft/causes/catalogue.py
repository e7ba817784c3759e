"""The causes that are looked for, in the words of the report, and what helps against each."""

from __future__ import annotations

from dataclasses import dataclass

MECHANISM, GROUP = "mechanism", "group"
SEPARATOR = ";"  # between the causes of one part, in a column of a table


@dataclass(frozen=True)
class Cause:
    """``title`` says what is so of a part, ``cure`` what to do.

    ``more_rows_help``: whether further training rows like the part can mend it.
    """

    id: str
    title: str
    cure: str
    more_rows_help: bool = True


# The order decides between causes that go with the very same parts.
CAUSES = (
    Cause(
        "wrong_golden",
        "the golden picture shows something else",
        "New golden: correct golden_path of these rows, or photograph a new golden for the part.",
        more_rows_help=False,
    ),
    Cause(
        "registration",
        "the test picture lies off its golden (shifted or turned)",
        "Register: mend the fixture or align pictures to their golden before they are stored; "
        "until then the spec's augmentation (random rotation and flips) is all that training has.",
        more_rows_help=False,
    ),
    Cause(
        "brightness",
        "darker or brighter than training knows",
        "Mend the light, or collect good and bad parts under it; in the spec raise "
        "augmentation_config.random_color.brightness.",
    ),
    Cause(
        "contrast",
        "flatter or harder than training knows",
        "Mend light or exposure, or collect parts under it; in the spec raise "
        "augmentation_config.random_color.contrast.",
    ),
    Cause(
        "sharpness",
        "more blurred or sharper than training knows",
        "Mend the focus, or collect parts like these; in the spec see "
        "augmentation_config.with_random_blur.",
    ),
    Cause(
        "unseen_type",
        "a type of defect that no training row has",
        "Collect this type (pool rows or synthetic pairs of its label) and mine with "
        "mining: balanced, which gives every label its rows.",
    ),
    Cause(
        "label_doubt",
        "looks like the parts of the other side: the label is doubtful",
        "Relabel: look at these rows on the page of label doubts (docs/corrections.md) and write "
        "the wrong ones into corrections.csv.",
        more_rows_help=False,
    ),
    Cause(
        "rim",
        "the difference lies at the rim of the picture",
        "Cut the pictures so that the part lies inside, or mine with mining: places, which looks "
        "for defects at every place.",
    ),
    Cause(
        "unseen_place",
        "the difference lies where no training defect has one",
        "Mine with mining: places, or collect defects at these places.",
    ),
    Cause(
        "unseen_look",
        "differs from its golden as no training part does",
        "Collect parts like these, good and bad; mining: nearest looks for just them.",
    ),
    Cause(
        "small_difference",
        "a difference smaller than nearly all that training has",
        "Raise the spec's picture size (image_width, image_height), or collect small defects.",
    ),
)
BY_ID = {cause.id: cause for cause in CAUSES}
# Columns of a table whose every value is looked at as a group, and the word for it.
GROUPS = {
    "golden_path": "parts that share the golden picture",
    "part_type": "parts of the type",
    "boardname": "parts of the board",
    "light": "parts that differ most in the light",
}
GROUP_CURES = {
    "golden_path": "New golden: look at this one beside its parts; if they agree with each other "
    "and not with it, photograph it anew.",
    "part_type": "Collect parts of this type, good and bad.",
    "boardname": "Look at this board: how it was photographed, labelled and cut.",
    "light": "Look at this light's pictures: exposure, and whether its golden pictures are of the "
    "same set-up.",
}


def beyond_rows(causes: str) -> bool:
    """Return whether a part's causes (a cell, see ``SEPARATOR``) have one that no row can mend."""
    found = [BY_ID[one] for one in causes.split(SEPARATOR) if one in BY_ID]
    return any(not cause.more_rows_help for cause in found)
