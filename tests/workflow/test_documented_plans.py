"""The Snakemake commands that the pages show are planned (`-n`) on a finished run.

That targets, options and settings exist is tested in `tests/platform/test_documented_commands.py`;
the first hour is run in full.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documented_commands import PAGES, commands_of
from workflow_tools import RUN, snakemake, succeed

# What a command names that only its reader has, and what changes how jobs run, not which.
FOREIGN = re.compile(
    r"--configfile|--workflow-profile|--sdm|--containerize|--set-scatter|--report\b|start=best"
    r"|=(FILE|DIR|ADDRESS|http.*|/home.*|today.csv)|table=|champion=|engine=tao|run=run_\d|<phase>"
)


def _planned() -> list[tuple[str, ...]]:
    """Return the words after `snakemake`, without `-n`, of each command that can be planned."""
    found = {
        command.words[1:]: None
        for page in PAGES
        for command in commands_of(page)
        if command.words[0] == "snakemake" and not FOREIGN.search(" ".join(command.words))
    }
    return [tuple(word for word in words if word != "-n") for words in found]


@pytest.mark.slow
@pytest.mark.workflow
def test_commands_can_be_planned(finished: Path) -> None:
    commands = dict.fromkeys(_planned())
    assert len(commands) > 25
    for words in commands:
        at = words.index("--config") if "--config" in words else len(words)
        pairs = dict(word.split("=", 1) for word in words[at + 1 :])
        pairs.pop("workspace", None)
        args = [word.replace("<run>", RUN) for word in words[:at]]
        done = snakemake(finished, config=pairs, args=["-n", *args])
        try:
            succeed(done)
        except AssertionError as error:
            pytest.fail(f"snakemake {' '.join(words)}: {error}")
