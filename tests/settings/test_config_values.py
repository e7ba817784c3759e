"""Whatever stands in a configuration is a value or one clear line, at once."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from deft.changenet.spec import load_spec
from deft.core.errors import HardStop
from deft.core.yaml_files import TooDeep, TooLarge, load_yaml, read_mapping
from deft.record.lenient import Lenient
from deft.settings import config, known

ROOT = Path(__file__).parents[2]
NASTY = [
    math.nan, math.inf, -math.inf, -1, 0, 1.0, 10.0, 2.5, 1e300, 10**30, 10**5000, 2**63,
    "1e1", "0x10", "1_000", "1.0", ".nan", "yes", "on", "off", "", " ", "\t", "x" * 20_000,
    "a\0b", "a\nb", "a\x7fb", "\udcff", "-5", "--help", "$(touch x)", "`id`", "a;b", "a: b",
    True, False, None, [], [1], [None], ["\0"], {}, {"a": 1}, {1: 2}, {True: 1}, {"a": {"b": {}}},
    b"x", object(), ["a"] * 20_000,
]  # fmt: skip


def keys():
    for key, rule in known.schema()["properties"].items():
        for inner in rule["properties"] if key in config.GROUPS else [None]:
            yield key, inner


@pytest.mark.parametrize(("key", "inner"), keys(), ids=lambda k: k or "")
def test_every_key_takes_a_value_or_says_one_line(key, inner):
    wanted = known.schema()["properties"][key]
    wanted = wanted["properties"][inner] if inner else wanted
    kinds = wanted.get("type", [])
    started = time.monotonic()
    for value in NASTY:
        try:
            found = config.resolve({key: {inner: value} if inner else value})
        except HardStop as stop:
            assert stop.code == "config_invalid" and stop.fix
            assert len(stop.text()) < 800 and len(stop.text().splitlines()) <= 3
            continue
        found = found[key][inner] if inner else found[key]
        json.dumps(found, allow_nan=False).encode()  # jobs get it so
        if isinstance(found, int) and not isinstance(found, bool):
            assert "integer" in kinds or "number" in kinds or found in wanted.get("enum", [])
        if "integer" in kinds:
            assert found is None or type(found) is int
        if isinstance(found, bool):
            assert "boolean" in kinds or found in wanted["enum"]
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"training_epochs": 1.0}, ("1.0 is not a whole number", "write 1")),
        ({"training_epochs": 10.0}, ("10.0", "write 10")),
        ({"training_epochs": "1e1"}, ("'1e1' is not a whole number", "write 10")),
        ({"training_epochs": math.nan}, ("nan is no number",)),
        ({"training_epochs": ".nan"}, ("'.nan'",)),
        ({"training_epochs": True}, ("true is not a whole number",)),
        ({"prune_days": math.inf}, ("inf is no number",)),
        ({"min_similarity": "1e-3"}, ("write 0.001",)),
        ({"automl_policy": False}, ("false is not one of off", "in quotes")),
        ({"embedding_cache": False}, ("in quotes",)),
        ({"mining_label_quota": {False: 0.2}}, ("the key false is no text", "in quotes")),
        ({"approve": "yes"}, ("write true or false",)),
        (
            {"demo": {"rows_scale": "0.5"}},
            ("demo.rows_scale: '0.5' is not a number", "--configfile"),
        ),
        ({"demo": {"lights": 1.0}}, ("write 1",)),
        ({"run": "run_a\n"}, ("control character",)),
        ({"container": "image;touch x"}, ("does not have the form",)),
        ({1: 2}, ("the key 1 is no text",)),
        ({"k" * 5000: 2}, ("unknown configuration key",)),
    ],
)
def test_a_mistake_says_what_to_write(given, words):
    with pytest.raises(HardStop) as stop:
        config.resolve(given)
    assert all(word in stop.value.text() for word in words), stop.value.text()


def test_a_sentence_with_a_colon_survives_the_command_line():
    """Snakemake reads ``--config`` values as YAML, where a colon parts key and value."""
    assert config.resolve({"kpi": {"FAR < 1%, Recall": "98%"}})["kpi"] == "FAR < 1%, Recall: 98%"


def bomb(levels: int, *, mappings: bool = False, merged: bool = False) -> str:
    lines = []
    for level in range(levels):
        part = f"*a{level - 1}" if level else "x"
        if merged:
            body = f"{{<<: [{', '.join([part] * 9)}]}}" if level else "{k: x}"
        elif mappings:
            body = "{" + ", ".join(f"k{i}: {part}" for i in range(9)) + "}"
        else:
            body = "[" + ", ".join([part] * 9) + "]"
        lines.append(f"  a{level}: &a{level} {body}\n")
    return "".join(lines)


@pytest.mark.parametrize("form", [{}, {"mappings": True}, {"merged": True}], ids=str)
def test_a_thousand_aliases_are_one_line_at_once(tmp_path, form):
    text = "bomb:\n" + bomb(12, **form)
    path = tmp_path / "specs.yaml"
    path.write_text(text)
    started = time.monotonic()
    with pytest.raises(TooLarge):
        load_yaml(text)
    with pytest.raises(HardStop) as stop:
        read_mapping(path, code="config_invalid")
    assert "aliases" in stop.value.message
    with pytest.raises(HardStop) as stop:
        load_spec(path)
    assert stop.value.code == "spec_invalid" and len(stop.value.text()) < 500
    assert Lenient().yaml(path) == {}
    if "merged" not in form:  # PyYAML itself builds it: what Snakemake hands us of a --configfile
        with pytest.raises(HardStop) as stop:
            config.resolve({"explore": {"contract": yaml.safe_load(text)}})
        assert "aliases" in stop.value.message and len(stop.value.text()) < 500
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "text", ["? a\n" * 200_000, "a: 1\n" * 150_000, "- a\n" * 200_000], ids=["?", ":", "-"]
)
def test_a_pasted_table_is_one_line_at_once(text):
    """Counted while it is read: to read all of it first takes a minute."""
    started = time.monotonic()
    with pytest.raises(TooLarge, match=r"more than 20000 values \(line \d+\)"):
        load_yaml(text)
    assert time.monotonic() - started < 8


def test_anchors_that_are_no_bombs_are_kept():
    text = "a: &a {x: 1, y: [1, 2]}\nb: *a\nc: {<<: *a, x: 2}\n"
    assert load_yaml(text) == yaml.safe_load(text)
    assert config.resolve({"explore": {"class_arguments": load_yaml(text)}})


@pytest.mark.parametrize("text", ["&a [*a]", "&a {k: *a}", "[" * 100_000])
def test_endless_nesting_is_said(text):
    with pytest.raises(TooDeep):
        load_yaml(text)
    if len(text) < 100:
        with pytest.raises(HardStop) as stop:
            config.resolve({"explore": {"class_arguments": {"a": yaml.safe_load(text)}}})
        assert "inside itself" in stop.value.message


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "training_epochs=1.0"], "write 1"),
        (["--config", "training_epochs=.nan"], "training_epochs: '.nan'"),
        (["--config", "kpi=FAR < 1% #at recall=99%"], "'#at recall=99%'"),
        (["--configfile", "bomb.yaml"], "aliases"),
    ],
)
def test_the_command_ends_with_one_line(tmp_path, arguments, words):
    (tmp_path / "w").mkdir()
    (tmp_path / "bomb.yaml").write_text("explore:\n  contract:\n" + bomb(9).replace("  a", "    a"))
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "preflight", *arguments]
    if "--configfile" in arguments:
        command += ["--config"]
    done = subprocess.run(
        [*command, f"workspace={tmp_path / 'w'}"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr) < 3000
    assert not list((tmp_path / "w").iterdir())
