"""The commands that messages advise: what the user typed with another target, ready to be pasted.

The process that parses the Snakefile notes how it was called; its jobs inherit the note. Without
one (a script started by hand, a test) a command is told in its shortest form.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOTE = "DEFT_COMMAND"
# Options of Snakemake without which the command would be another one, with the values they take.
ONE, MANY = 1, 99
KEPT = {
    **dict.fromkeys(("-s", "--snakefile", "--profile", "--workflow-profile"), ONE),
    **dict.fromkeys(("-c", "--cores", "-e", "--executor", "-j", "--jobs"), ONE),
    **dict.fromkeys(("--configfile", "--configfiles"), MANY),
    **dict.fromkeys(("--sdm", "--software-deployment-method", "--deployment"), MANY),
}
CONFIG = ("--config", "-C")
OF_ONE_COMMAND = ("run=new", "approve=")  # not said again


def note_command(argv: Sequence[str], home: str) -> None:
    """Keep for this process and its jobs how it was called; ``home``: folder of the project."""
    here = os.path.realpath(home) == os.path.realpath(os.getcwd())
    make = ["make"] if here else ["make", "-C", home]
    os.environ[NOTE] = json.dumps({**_parts(argv), "make": make})


def called_itself(program: str, home: str, config: Mapping[str, Any]) -> list[str]:
    """Return the command line that does by itself what a module does with this configuration."""
    pairs = [
        f"{key}={_typed(value)}"
        for key, value in config.items()
        if isinstance(value, str | int | float)
    ]
    return [program, "--snakefile", f"{home}/Snakefile", "--config", *pairs]


def again(*targets: str, **config: str | bool) -> str:
    """Return the user's command with other targets and, beside his settings, these.

    >>> again("preflight", run="new")
    'snakemake preflight --config run=new'
    """
    parts = json.loads(os.environ.get(NOTE, "{}"))
    kept = [p for p in parts.get("config", []) if p.partition("=")[0] not in config]
    pairs = [*kept, *(f"{key}={_typed(value)}" for key, value in config.items())]
    words = [*parts.get("program", ["snakemake"]), *targets]
    # --config takes all that follows: last. And a list of files would swallow a target.
    words += parts.get("options", [])
    words += ["--config", *pairs] if pairs else []
    return " ".join(map(quoted, words))


def _typed(value: str | float) -> str:
    return as_typed(value) if isinstance(value, str) else json.dumps(value)


def quoted(word: str) -> str:
    """Return a word for a shell; as it is where no shell would read it otherwise."""
    return word if re.fullmatch(r"~?[\w./:@%+=,-]+", word) else shlex.quote(word)


def resume(workspace: str | Path) -> str:
    """Return the command that goes on after a crash.

    >>> resume("/data/line7")
    'make resume WORKSPACE=/data/line7'
    """
    make = json.loads(os.environ.get(NOTE, "{}")).get("make", ["make"])
    return " ".join(map(quoted, [*make, "resume", f"WORKSPACE={os.path.abspath(workspace)}"]))


def as_typed(text: str) -> str:
    """Return how a text is typed behind ``--config key=`` so that it arrives as it is.

    Snakemake strips quotes from both ends and reads the rest as YAML, where ``: `` and `` #`` part
    a path. A tag in front and an empty comment behind keep the quotes from being stripped.
    """
    plain = re.fullmatch(r"/[\w./+@%=~-]*|run_[\w.-]+|new|FILE|DIR|shift|euclidean", text)
    if plain:
        return text
    told = json.dumps(text, ensure_ascii=False)  # its pairs of surrogates are no YAML
    # YAML folds these line ends to blanks, and takes no control character as it is.
    told = re.sub("[\x7f-\x9f\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", told)
    return f"!!str {told} #"


def _parts(argv: Sequence[str]) -> dict[str, list[str]]:
    """Return program, options that are kept, and settings of a command line."""
    options: list[str] = []
    config: list[str] = []
    words = _split(argv[1:])
    for name, values in words:
        if name in CONFIG:
            config = values  # of several the last one counts
        elif name in KEPT and values:
            options += [name, *values]
    told = [pair for pair in config if not pair.startswith(OF_ONE_COMMAND)]
    return {"program": _program(argv[0]), "options": options, "config": told}


def _split(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return the options with the words behind them, as many as each may have."""
    found: list[tuple[str, list[str]]] = []
    room = 0
    for word in words:
        if word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            name, joined, value = word.partition("=")
            if not word.startswith("--") and word[:2] in KEPT and len(word) > 2:
                name, joined, value = word[:2], "=", word[2:]
            found.append((name, [value] if joined else []))
            most = MANY if name in CONFIG else KEPT.get(name, 0)
            room = most - len(found[-1][1])
        elif room > 0:
            found[-1][1].append(word)
            room -= 1
    return found


def _program(first: str) -> list[str]:
    """Return the words that start Snakemake again in the same shell."""
    if Path(first).name == "__main__.py":
        return [sys.executable, "-m", "snakemake"]
    name = Path(first).name
    found = shutil.which(name)
    return [name if found and first in (name, found) else first]
