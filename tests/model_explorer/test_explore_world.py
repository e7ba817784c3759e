"""The downloads of ``make test-explore-world``, with registries that a test makes up."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import explore_world as world
import pytest

PACKAGES = {
    "wheel-one": {"registry": "pypi", "version": "1.0"},
    "@scope/two": {"registry": "npm", "version": "2.0"},
    "zipped": {"registry": "pypi", "version": "3.0", "unpack": "zipped/model.zip"},
}


def zipped(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


GIVEN = {
    "wheel-one": ("wheel_one-1.0-py3-none-any.whl", zipped({"one/a.onnx": b"1"})),
    "@scope/two": ("scope-two-2.0.tgz", tarred("package/b.onnx", b"2")),
    "zipped": ("zipped-3.0-py3-none-any.whl", zipped({"zipped/model.zip": zipped({"c": b"3"})})),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let registries give ``GIVEN``; return what was asked of them."""
    seen: list[str] = []

    def run(command: list[str], *, cwd: Path, **_: Any) -> subprocess.CompletedProcess[str]:
        wanted = command[2] if command[0] == "npm" else command[-1]
        name = next(n for n in PACKAGES if wanted.startswith(n))
        assert wanted.removeprefix(name).lstrip("=@") == PACKAGES[name]["version"]
        seen.append(name)
        file, data = GIVEN.get(name, ("", b""))
        if not file:
            return subprocess.CompletedProcess(command, 1, "", "first\nERROR: no such version\n")
        (cwd / file).write_bytes(data)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(world.subprocess, "run", run)
    return seen


def test_packages_are_unpacked_once(tmp_path, asked):
    for _ in range(2):
        assert [world.have(tmp_path, n, p) for n, p in PACKAGES.items()] == [None] * 3
    assert asked == list(PACKAGES)
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert files == [
        "scope-two-2.0/package/b.onnx", "wheel-one-1.0/one/a.onnx", "zipped-3.0/zipped/model.zip",
        "zipped-3.0/zipped/model/c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "why"),
    [
        ("wheel-one", None, "ERROR: no such version"),
        ("wheel-one", b"no archive", "BadZipFile"),
        ("@scope/two", b"no archive", "ReadError"),
        ("zipped", zipped({"other": b""}), "model.zip"),
    ],
)
def test_what_cannot_be_had_is_said_and_tried_again(tmp_path, asked, monkeypatch, name, given, why):
    monkeypatch.setitem(GIVEN, name, (GIVEN[name][0] if given else "", given))
    for _ in range(2):
        assert why in str(world.have(tmp_path, name, PACKAGES[name]))
    assert len(asked) == 2 and not world.place_of(tmp_path, name, PACKAGES[name]).exists()


@pytest.fixture
def small(tmp_path, asked, monkeypatch) -> Path:
    """A world of two models whose explorations are made up, and its page."""
    models = [
        {"package": "wheel-one", "file": "one/a.onnx", "outcome": "GO"},
        {"package": "zipped", "file": "c", "settings": {"source": "@scope/two"}, "outcome": "GO"},
    ]
    row = {"outcome": "GO", "traceback": False, "ran": True, "sizes": "", "median_ms": 1.0,
           "licence": "MIT"}  # fmt: skip
    page = tmp_path / "page.md"
    page.write_text(f"head\n{world.BEGIN}\nold\n{world.END}\ntail\n")
    monkeypatch.setattr(world, "listed", lambda: {"packages": PACKAGES, "models": models})
    monkeypatch.setattr(world, "explored", lambda _, model, *__: {**row, "model": model})
    monkeypatch.setattr(world, "PAGE", page)
    return page


def test_only_the_packages_of_the_models_asked_for_are_fetched(small, asked, tmp_path, capsys):
    folder = ["--folder", str(tmp_path / "kept")]
    assert world.main([*folder, "--only", "one/a"]) == 0
    assert asked == ["wheel-one"]
    assert "1 of 1 models explored, 1 ran; 0 of 1 packages" in capsys.readouterr().out
    assert world.main([*folder, "--only", "no such", "--table"]) == 1
    assert "zipped c" in capsys.readouterr().out and "old" in small.read_text()
    assert world.main([*folder, "--only", "zipped", "--table"]) == 0
    assert asked == ["wheel-one", "@scope/two", "zipped"]
    text = small.read_text()
    assert text.startswith("head") and text.endswith("tail\n") and "old" not in text
    assert "| wheel-one: `a.onnx` | GO |" in text and "| zipped: `c` | GO |" in text


def test_a_model_whose_source_cannot_be_had_is_counted(small, asked, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(GIVEN, "@scope/two", ("", b""))
    assert world.main(["--folder", str(tmp_path / "kept")]) == 0
    said = capsys.readouterr().out
    assert "not had: @scope/two: ERROR: no such version" in said
    assert "1 of 2 models explored, 1 ran; 1 of 3 packages could not be had" in said


def test_an_exploration_without_end_is_a_failure_and_no_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(world, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(world, "PROJECT", tmp_path)
    script = tmp_path / "scripts" / "explore.py"
    script.parent.mkdir()
    script.write_text("import time; time.sleep(60)\n")
    model = {"package": "wheel-one", "file": "a.onnx", "outcome": "GO"}
    row = world.explored(tmp_path, model, PACKAGES, 0)
    assert row["outcome"] == "no end after 0.2 s" and not world.as_expected(row)


def test_the_list_and_its_table_speak_of_the_same_models():
    found = world.listed()
    assert all({"registry", "version"} <= p.keys() for p in found["packages"].values())
    for model in found["models"]:
        assert {model["package"], *world._sources(model)} <= found["packages"].keys()
    rows = world.PAGE.read_text().partition(world.BEGIN)[2].partition(world.END)[0].splitlines()
    shown = [row.split("|")[1:3] for row in rows if row.startswith("| ")][1:]
    assert len(shown) == len(found["models"])
    for (title, outcome), model in zip(shown, found["models"], strict=True):
        assert title.strip() == f"{model['package']}: `{Path(model['file']).name}`"
        assert model["outcome"][:20] in outcome or "packages" in outcome
