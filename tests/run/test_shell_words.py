"""Nothing that a person can write reaches a shell without quotes.

Every placeholder of every rule's shell command is quoted (`:q`), or its value comes from a closed
set: numbers, the schema's enumerations, wildcards with a pattern. The code of the library starts
programs by argument lists.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deft.settings import known

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "rules").glob("*.smk"))
RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n((?:[ \t]+.*\n|\n)+)", re.MULTILINE)
PLACEHOLDER = re.compile(r"(?<!\{)\{([a-z_]+(?:\.[a-z_]+)?)(:q)?\}(?!\})")
CONFIG = re.compile(r'config\["([a-z_]+)"\]')
# Wildcards whose pattern stands in the Snakefile; `scatteritem` is Snakemake's own N-of-M.
WILDCARDS = {"ts", "phase", "lap", "question", "scatteritem"}
# Made by one function each, of closed sets and quoted parts: tested below.
BUILT = {"training_options()", "tao_training_options()", "encoder_options()", "engine_options()"}
BUILT |= {"MIN_RECALL", "cluster_option"}


def rules() -> list[tuple[str, str]]:
    found = [(m[1], m[2]) for path in RULES for m in RULE.finditer(path.read_text() + "\n")]
    assert len(found) > 25
    return found


def params_of(body: str) -> dict[str, str]:
    block = re.search(r"^    params:\n((?:        .*\n)+)", body, re.MULTILINE)
    return dict(re.findall(r"^        (\w+)=(.*),$", block[1], re.MULTILINE)) if block else {}


def shell_of(body: str) -> str:
    block = re.search(r"^    shell:\n((?:        .*\n?)+)", body, re.MULTILINE)
    return (
        "".join(ast.literal_eval(line.strip()) for line in block[1].splitlines()) if block else ""
    )


def is_closed(key: str) -> bool:
    rule = known.schema()["properties"][key]
    kinds = rule.get("type", [])
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if "enum" in rule:
        return all(re.fullmatch(r"[A-Za-z0-9_]+", str(value)) for value in rule["enum"])
    return bool(kinds) and kinds <= {"integer", "number", "boolean", "null"}


@pytest.mark.parametrize(("name", "body"), rules(), ids=[name for name, _ in rules()])
def test_what_a_rule_puts_into_its_shell_is_quoted_or_closed(name, body):
    params = params_of(body)
    for place, quoted in PLACEHOLDER.findall(shell_of(body)):
        kind, _, of = place.partition(".")
        if quoted or place in ("threads", "resources.try_number"):
            continue
        if kind == "wildcards":
            assert of in WILDCARDS, f"{name}: {{{place}}}"
            continue
        assert kind == "params", f"{name}: {{{place}}} is not quoted"
        value = re.sub(r"^(?:no_trigger|verbatim)\((.*)\)$", r"\1", params[of]).removesuffix(
            " or 0"
        )
        if value not in BUILT:
            key = CONFIG.fullmatch(value)
            assert key and is_closed(key[1]), f"{name}: {{{place}}} = {value} is not quoted"


def test_the_wildcards_have_patterns_without_a_shells_signs():
    text = (ROOT / "Snakefile").read_text()
    patterns = dict(re.findall(r'^    (\w+)=r?"(.+?)",', text, re.MULTILINE))
    for name in WILDCARDS - {"scatteritem"}:
        for sign in " ;|&$`'\"\\<>(){}*?!#~\n":
            assert not re.fullmatch(patterns[name], f"a{sign}b"), name
            assert not re.fullmatch(patterns[name], f"iter1{sign}"), name


def test_options_in_one_text_are_made_of_closed_sets():
    text = (ROOT / "rules/common.smk").read_text()
    for function in ("encoder_options", "engine_options", "training_options"):
        body = re.search(rf"^def {function}\(\):\n(.*?)\n\n\n", text, re.DOTALL | re.MULTILINE)[1]
        for line in body.splitlines():
            if "shlex.quote(" not in line:
                for key in CONFIG.findall(line):
                    assert is_closed(key), f"{function}: {key}"
    for key in ("tao_pyt_image", "tao_data_services_image", "container"):
        pattern = known.schema()["properties"][key]["pattern"]
        for bad in ("a b", "a;b", "$(id)", "a`id`", "a'b", "-x", "a|b", "a>b", "a&b", "a\\b"):
            assert not re.search(pattern, bad), f"{key}: Snakemake puts it into a shell as it is"


def test_no_code_starts_a_shell():
    for path in sorted((ROOT / "scripts").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("os.system", "os.popen", "subprocess.getoutput"), path
                assert not any(k.arg == "shell" for k in node.keywords), path


def test_helpers_of_a_command_quote_the_runs_name():
    text = (ROOT / "rules/command.smk").read_text()
    assert "{run_dir.name:q}" in text and '["--run", RUN, ' in text
    assert "{shlex.join(options)}" in text
    for unquoted in ("{run_dir.name} --", "--run {RUN}"):
        assert unquoted not in text


SPITEFUL = ["a b", "x; touch PWNED", "$(touch PWNED)", "`touch PWNED`", "q\"uo'te", "do$lar"]


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize("value", SPITEFUL)
def test_make_hands_on_what_was_typed(tmp_path, value):
    """As text, whatever stands in it; Python is replaced by something that shows its arguments."""
    for name in ("venv/bin/python", "envs/requirements.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    python = tmp_path / "venv/bin/python"
    python.write_text('#!/bin/sh\nfor word in "$@"; do printf \'<%s>\\n\' "$word"; done\n')
    python.chmod(0o755)
    (tmp_path / "envs/requirements.txt").touch()
    (tmp_path / "venv/.installed").touch()
    for target, given, words in (
        ("resume", {"WORKSPACE": value}, [f"<--workspace={value}>"]),
        ("bundle", {"OUT": value, "WORKSPACE": value}, [f"<--out={value}>"]),
        ("scaffold", {"OUT": value, "NAME": value}, [f"<--out={value}>", f"<--name={value}>"]),
    ):
        arguments = [f"{key}={text}" for key, text in given.items()]
        done = subprocess.run(
            ["make", "-s", "-f", ROOT / "Makefile", target, "VENV=venv", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert set(words) <= set(done.stdout.splitlines()), done.stdout
    assert not list(tmp_path.glob("PWNED"))
