"""Every command that README and `docs/` show is one that exists: targets, options, settings.

Nothing is started here: Snakemake's own parser and the scripts' own read the command lines, `make`
says what it would do. The page of the first hour is run in full (`tests/workflow`).
"""

from __future__ import annotations

import argparse
import re
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from documented_commands import FENCE, HEREDOC, PAGES, ROOT, Command, commands_of
from snakemake.cli import get_argument_parser, parse_config

from deft.settings.config import resolve
from deft.settings.known import defaults

RULES = {
    name
    for path in (ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk"))
    for name in re.findall(r"^ *(?:rule|checkpoint) (\w+):", path.read_text("utf-8"), re.MULTILINE)
}
COMMANDS = [command for page in PAGES for command in commands_of(page)]
FILE_OF_A_RUN = re.compile(r"(results|artifacts)/[^ ]+")
# Their scripts lie in a folder that a command makes: an experiment, a hand-off, a new project.
MADE = {"scripts/run_all.py", "scripts/32_html.py", "best_model/score.py", "score_pair.py"}
MADE |= {"compare_engine.py", "/path/to/new-project/scripts/make_artifacts.py"}


@cache
def _names_in_scripts() -> set[str]:
    """Return the names of all scripts, and those that scripts write."""
    paths = list((ROOT / "scripts").rglob("*.py"))
    written = (re.findall(r"\w+\.py", path.read_text(encoding="utf-8")) for path in paths)
    return {path.name for path in paths}.union(*written)


class Parsed(BaseException):
    """The command line was understood; what would follow is not wanted."""


def of(*programs: str) -> list[Any]:
    """Return each command line of a program once, named by its page."""
    found = {c.words: c for c in COMMANDS if c.words[0] in programs}
    return [pytest.param(c, id=f"{c.page}:{' '.join(c.words)}"[:90]) for c in found.values()]


def test_the_pages_show_commands() -> None:
    count = {name: sum(c.words[0] == name for c in COMMANDS) for name in ("snakemake", "make")}
    assert count["snakemake"] > 80 and count["make"] > 25


@pytest.mark.parametrize("command", of("snakemake"))
def test_snakemake_understands(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for word in command.words[1:] if not word.endswith("…")]
    # `-R`, `--config` and the like take what follows; a page may speak of the option alone.
    try:
        given = get_argument_parser().parse_args(words)
    except SystemExit:
        pytest.fail(f"{command.page}: {command.text}\n{capsys.readouterr().err[-300:]}")
    config = parse_config(given.config) if given.config else {}
    resolve({key: value for key, value in config.items() if key != "workspace"})
    for target in (*given.targets, *(given.forcerun or ())):
        assert target in RULES or FILE_OF_A_RUN.fullmatch(target), f"{command.page}: {target}"
    profile = given.workflow_profile
    if profile and profile.startswith("profiles/"):
        assert (ROOT / profile / "profile.yaml").is_file(), f"{command.page}: {profile}"


@pytest.mark.parametrize("command", of("make"))
def test_make_knows(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in command.words[1:] if "=" not in word]
    for name in (word.split("=")[0] for word in command.words[1:] if "=" in word):
        assert re.search(rf"\b{name}\b", makefile), f"{command.page}: no variable {name}"
    for target in targets:
        assert re.search(rf"^## make {target}\b", makefile, re.MULTILINE), target
    if targets:
        line = ["make", "-n", *command.words[1:]]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command.page}: {command.text}\n{done.stderr}"


@pytest.mark.parametrize("command", of("python", "python3"))
def test_scripts_understand(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if len(command.words) < 2 or not command.words[1].endswith(".py"):
        return  # speaks of Python itself
    name, *arguments = command.words[1:]
    if name in MADE:
        assert Path(name).name in _names_in_scripts(), f"{command.page}: {name}"
        return
    script = ROOT / name
    assert script.is_file(), f"{command.page}: {name}"
    bracket = next((i for i, word in enumerate(arguments) if word.startswith("[")), None)
    parse = argparse.ArgumentParser.parse_args

    def parse_and_leave(*args: Any, **kwargs: Any) -> Any:
        parse(*args, **kwargs)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_leave)
    monkeypatch.setattr(sys, "argv", [str(script), *_filled(arguments[:bracket])])
    monkeypatch.syspath_prepend(str(script.parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    except Parsed:
        return
    except SystemExit:
        pass
    pytest.fail(f"{command.page}: {command.text}\n{capsys.readouterr().err[-300:]}")


def _filled(words: list[str]) -> list[str]:
    """Return the words with a name where a page says `<run>`, which a script would refuse."""
    return [word.replace("<run>", "run_a") for word in words]


@pytest.mark.parametrize("command", of("pytest"))
def test_pytest_finds(command: Command) -> None:
    paths = [word for word in command.words[1:] if word.startswith("tests")]
    assert paths and all((ROOT / path).exists() for path in paths), command.text


def _settings_shown() -> list[Any]:
    """Return the blocks of YAML whose first key is a setting of ours."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        blocks = [block for language, block in FENCE.findall(text) if language == "yaml"]
        blocks += [m[0].split("\n", 1)[1].rsplit("\n", 1)[0] for m in HEREDOC.finditer(text)]
        for number, block in enumerate(blocks):
            shown = yaml.safe_load(block)
            if isinstance(shown, dict) and next(iter(shown)) in defaults():
                found.append(pytest.param(shown, id=f"{page.name}-{number}"))
    return found


@pytest.mark.parametrize("shown", _settings_shown())
def test_settings_are_valid(shown: dict[str, Any]) -> None:
    resolve(shown)
