"""`deft.yaml` of a workspace: what it may hold, what is written into it."""

from __future__ import annotations

import pytest
import yaml

from deft.core.errors import HardStop
from deft.settings.config import resolve
from deft.settings.known import defaults
from deft.settings.workspace_file import (
    SETTINGS_FILE,
    as_text,
    differing,
    merged,
    read_workspace_settings,
)

GIVEN = {
    "kpi": "FAR < 1%, Recall: 98%",
    "encoder": "changenet",
    "demo": {"parts": 7} if "parts" in defaults()["demo"] else {},
    "int8": True,
    "encoder_weights": "a folder: with # signs/é",
    "content_leakage": "warn",
}


def test_what_is_written_is_read_back(tmp_path) -> None:
    config = resolve(GIVEN)
    (tmp_path / SETTINGS_FILE).write_text(as_text(config), encoding="utf-8")
    read = read_workspace_settings(tmp_path)
    assert resolve(read) == config
    assert set(read) == {key for key, value in GIVEN.items() if value}


def test_defaults_leave_nothing_to_write() -> None:
    assert differing(defaults()) == {}
    assert yaml.safe_load(as_text(defaults())) is None


def test_neither_place_nor_run_is_written() -> None:
    config = resolve({"workspace": "/data", "run": "run_a", "seed": 3})
    assert differing(config) == {"seed": 3}


def test_without_a_file_nothing_is_set(tmp_path) -> None:
    assert read_workspace_settings(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workspace: /elsewhere", "workspace cannot be set"),
        ("run: run_a", "run cannot be set"),
        ("sede: 3", "sede"),
        ("seed: many", "seed"),
        ("- seed", "holds a list"),
        ("seed: [", "not readable as YAML"),
        ("demo:\n  seeed: 1", "seeed"),
    ],
)
def test_a_mistake_is_told_with_the_file(tmp_path, text, said) -> None:
    (tmp_path / SETTINGS_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(HardStop) as caught:
        read_workspace_settings(tmp_path)
    assert caught.value.code == "config_invalid" and said in caught.value.message
    assert caught.value.file == str(tmp_path / SETTINGS_FILE)


def test_a_folder_in_its_place_is_told(tmp_path) -> None:
    (tmp_path / SETTINGS_FILE).mkdir()
    with pytest.raises(HardStop, match="config_invalid"):
        read_workspace_settings(tmp_path)


def test_later_layers_win_inside_groups_too() -> None:
    found = merged({"demo": {"a": 1, "b": 1}, "seed": 1}, {"demo": {"b": 2}}, {"seed": 3})
    assert found == {"demo": {"a": 1, "b": 2}, "seed": 3}
