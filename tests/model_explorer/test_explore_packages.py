"""Which environment is current, what a model needs, and the one question before any installing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import explore_tools as tools
import pytest

from deft.core.errors import HardStop
from model_explorer import dependencies, driver, environment, imports
from model_explorer.dependencies import Need, fits
from model_explorer.documented import documented
from model_explorer.environment import Environment, detect, running
from model_explorer.install import command_for, install
from model_explorer.kit.folder import Folder
from model_explorer.kit.outcomes import OpenInput
from model_explorer.request import Request

pytestmark = pytest.mark.long


def fake_venv(root: Path) -> Path:
    python = root / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    return python


def test_the_first_root_with_an_environment_decides(tmp_path, monkeypatch):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir(), second.mkdir()
    assert detect([first, second]).command == [sys.executable]
    python = fake_venv(second)
    found = detect([first, second])
    assert (found.kind, found.command) == ("venv", [str(python)])
    assert detect([first, second], "running").command == [sys.executable]
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    (first / "pixi.toml").write_text("[workspace]\n")
    found = detect([first, second])
    assert found.kind == "pixi" and found.command[:2] == ["pixi", "run"]


@pytest.mark.parametrize("manifest", ["pixi.toml", "pyproject.toml"])
def test_pixi_and_venv_together_are_a_question(tmp_path, monkeypatch, manifest):
    fake_venv(tmp_path)
    (tmp_path / manifest).write_text("[tool.pixi.workspace]\nname = 'x'\n")
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    with pytest.raises(HardStop, match="which one is current"):
        detect([tmp_path])
    assert detect([tmp_path], "venv").kind == "venv"
    assert detect([tmp_path], "pixi").kind == "pixi"
    (tmp_path / manifest).write_text("[project]\nname = 'x'\n")
    if manifest == "pyproject.toml":
        assert detect([tmp_path]).kind == "venv"


def test_pixi_without_its_command_is_said(tmp_path, monkeypatch):
    (tmp_path / "pixi.toml").write_text("[workspace]\n")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(HardStop, match="not on the PATH"):
        detect([tmp_path])


def test_an_interpreter_answers_by_itself_or_is_refused(tmp_path):
    answer = environment.ask([sys.executable], ["numpy", "no_such_module"])
    assert answer["importable"] == {"numpy": True, "no_such_module": False}
    assert answer["distributions"]["numpy"]["distribution"] == "numpy"
    with pytest.raises(HardStop, match="does not start"):
        environment.ask([str(tmp_path / "python")], [])


def test_imports_are_read_from_what_the_class_reaches(tmp_path):
    files = {
        "pkg/__init__.py": "",
        "pkg/net.py": "import os, torch\nfrom . import tools\nfrom .deep.parts import block\n"
        "try:\n    import fast\nexcept ImportError:\n    fast = None\n",
        "pkg/tools.py": "import yaml\n\ndef late():\n    import wandb\n",
        "pkg/deep/parts.py": "from einops.layers import torch as layers\nfrom pkg import tools\n"
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import onlytypes\n",
        "pkg/train.py": "import lightning\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {i.module: i for i in imports.reachable(tmp_path, "pkg.net")}
    assert {m for m, i in found.items() if not i.optional} == {"torch", "yaml", "einops"}
    assert {m for m, i in found.items() if i.optional} == {"fast", "wandb"}
    assert (found["yaml"].file, found["yaml"].line) == ("pkg/tools.py", 1)
    src = tmp_path / "outer"
    shutil.copytree(tmp_path / "pkg", src / "src" / "pkg")
    assert imports.root_of(src, "pkg.net") == src / "src" and imports.root_of(src, "no") is None


def test_documented_versions_come_from_every_kind_of_file(tmp_path):
    (tmp_path / "requirements.txt").write_text("a==1.0  # why\n-r other.txt\n# b==9\nPillow>=9\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["c>=2,<3"]\n[project.optional-dependencies]\nx = ["d==4"]\n'
    )
    (tmp_path / "setup.cfg").write_text("[options]\ninstall_requires =\n    e==5\n    f\n")
    (tmp_path / "setup.py").write_text(
        "from setuptools import setup\nsetup(install_requires=['g~=6.1'])\n"
    )
    (tmp_path / "README.md").write_text("Run `pip install -U h==7 f==1.5` first.\n")
    found = documented(tmp_path)
    pins = {"a": "==1.0", "pillow": ">=9", "c": "<3,>=2", "d": "==4", "e": "==5", "g": "~=6.1",
            "h": "==7", "f": "==1.5"}  # fmt: skip
    assert {name: spec for name, (spec, _) in found.items()} == pins
    assert found["f"][1] == "README.md"


def test_needs_carry_what_is_found_and_what_is_wanted(tmp_path):
    source, weights, _ = tools.source_with_dependency(tmp_path)
    needs = dependencies.needs_of(
        "state_dict", weights, "source", source=source, code=source, module="nets.net"
    )
    answer = environment.ask([sys.executable], [n.module for n in needs])
    found = {n.module: n for n in dependencies.look_up(needs, answer)}
    assert found["tinydep"].missing and found["tinydep"].pinned == "tinydep==1.0"
    assert found["tinydep"].needed_by == "nets/net.py, line 6"
    assert found["torch"].satisfies and found["torch"].wanted == ">=2"
    assert found["PIL"].distribution == "pillow" and not found["PIL"].missing
    stop = dependencies.ask_once([found["tinydep"]], environment.running())
    assert stop.code == "approval_missing" and "Nothing was installed" in stop.message
    assert "current" in stop.fix and "new-venv" in stop.fix
    assert fits("1.5", ">=1,<2") is True and fits("2.1", "<2") is False and fits(None, "<2") is None


def test_a_missing_package_is_asked_for_once_and_nothing_is_written(tmp_path):
    tools.source_with_dependency(tmp_path)
    with pytest.raises(HardStop) as stop:
        tools.explored(tmp_path, checkpoint="net.pth", source="tinysrc", class_path="nets.net:Net")
    assert stop.value.code == "approval_missing"
    assert "tinydep (documented ==1.0) for nets/net.py, line 6" in stop.value.message
    assert not (tmp_path / "tmp").exists()


@pytest.fixture(scope="module")
def venv(tmp_path_factory) -> Path:
    return tools.layered_venv(tmp_path_factory.mktemp("project") / ".venv")


def works_with(command_ok: str):
    """Return a smoke test: the code runs there, or the last line of its error."""

    def works(current: Environment, whole: bool) -> str | None:
        done = subprocess.run(
            [*current.command, "-c", command_ok], capture_output=True, text=True, env=tools.clean()
        )
        return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]

    return works


@pytest.mark.parametrize("answer", ["new-venv", "current"])
def test_the_latest_version_first_then_the_documented_one(tmp_path, venv, answer):
    """``new-venv`` leaves the current environment as it is; ``current`` (run second) changes it."""
    _, _, wheels = tools.source_with_dependency(tmp_path)
    current = detect([venv.parent])
    need = Need("tinydep", "tinydep", "model", "nets/net.py", wanted="==1.0")
    folder = tmp_path / "experiment"
    (folder / "logs").mkdir(parents=True)
    used, record = install(
        current, answer, [need], [need], folder=folder, venvs=tmp_path / "venvs",
        arguments=["--no-index", "--find-links", str(wheels)],
        works=works_with("import numpy, tinydep; assert tinydep.double(2) == 4"),
    )  # fmt: skip
    tries = [(a["strategy"], a["packages"], a["result"] == "works") for a in record["attempts"]]
    assert tries == [("latest", ["tinydep"], False), ("documented", ["tinydep==1.0"], True)]
    assert (used.place == current.place) == (answer == "current")
    there = environment.ask(current.command, ["tinydep"])["importable"]["tinydep"]
    assert there == (answer == "current")
    log = (folder / "logs/00_install.log").read_text()
    assert "--find-links" in log and "exit 0" in log


def test_when_no_version_works_the_log_is_named(tmp_path, venv):
    need = Need("tinydep", "nothere", "model", "nets/net.py")
    folder = tmp_path / "experiment"
    with pytest.raises(HardStop) as stop:
        install(
            detect([venv.parent]), "current", [need], [need], folder=folder, venvs=tmp_path / "v",
            arguments=["--no-index"], works=lambda current, whole: None,
        )  # fmt: skip
    assert stop.value.code == "missing_input" and stop.value.file.endswith("00_install.log")
    assert len(stop.value.evidence["attempts"]) == 1  # nothing documented: no second, equal try


PIXI = """#!{python}
import os, pathlib, sys, zipfile
HERE = pathlib.Path(__file__).parent
words = sys.argv[1:]
with open(HERE / "calls", "a") as calls:
    calls.write(" ".join(words) + chr(10))
if words[0] == "init":
    pathlib.Path(words[1]).mkdir(parents=True)
    (pathlib.Path(words[1]) / "pixi.toml").write_text("[workspace]" + chr(10))
python = HERE / "environment/bin/python"
if words[0] == "add" and "--pypi" in words:
    (packages,) = HERE.glob("environment/lib/python*/site-packages")
    for name, _, version in (w.partition("==") for w in words[words.index("--pypi") + 1:]):
        found = sorted((HERE / "wheels").glob(name + "-" + (version or "*") + "-*.whl"))
        if found:
            zipfile.ZipFile(found[-1]).extractall(packages)
if words[0] == "run":
    os.execv(python, [str(python), *words[words.index("python") + 1:]])
"""


@pytest.mark.parametrize("answer", ["current", "new-venv"])
def test_pixi_adds_the_latest_from_pypi_and_then_the_documented(tmp_path, monkeypatch, answer):
    """By a stand-in for pixi: its environment is a venv, and what is added is really installed."""
    wheels = tools.source_with_dependency(tmp_path)[2]
    place = tmp_path / "bin"
    place.mkdir()
    wheels.rename(place / "wheels")
    (place / "pixi").write_text(PIXI.replace("{python}", sys.executable))
    (place / "pixi").chmod(0o755)
    tools.layered_venv(place / "environment")
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    project = tmp_path / "project"
    project.mkdir()
    (project / "pixi.toml").write_text("[workspace]\n")
    current = detect([project])
    assert environment.ask(current.command, ["numpy"])["importable"]["numpy"]
    needs = [
        Need("tinydep", "tinydep", "model", "x", wanted="==1.0"),
        Need("numpy", "numpy", "runtime", "y", found="2"),
        Need("mystery", "mystery", "model", "z", found="present", named_by=dependencies.GUESS),
    ]
    folder = tmp_path / "experiment"
    used, record = install(
        current, answer, needs[:1], needs, folder=folder, venvs=tmp_path / "venvs", arguments=[],
        works=works_with("import numpy, tinydep; assert tinydep.double(2) == 4"),
    )  # fmt: skip
    tries = [(a["strategy"], a["result"] == "works") for a in record["attempts"]]
    assert tries == [("latest", False), ("documented", True)]
    said = (place / "calls").read_text().splitlines()
    adds = [line for line in said if line.startswith("add") and "--pypi" in line]
    if answer == "current":
        add = f"add --manifest-path {project / 'pixi.toml'} --pypi"
        assert adds == [f"{add} tinydep", f"{add} tinydep==1.0"]
        assert used == current
    else:
        own = tmp_path / "venvs" / "experiment" / "pixi.toml"
        # A new pixi environment is empty: everything that is needed goes into it, but no guess.
        add = f"add --manifest-path {own} --pypi"
        assert adds == [f"{add} tinydep numpy", f"{add} tinydep==1.0 numpy"]
        assert f"init {own.parent}" in said and used.manifest == own
        assert (tmp_path / "venvs/.gitignore").read_text() == "*\n"


def test_uv_takes_over_where_a_venv_has_no_pip(tmp_path, monkeypatch):
    bare = Environment("venv", [sys.executable], tmp_path, [])
    monkeypatch.setattr(
        "model_explorer.install.ask", lambda command, modules: {"interpreter": {"pip": False}}
    )
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    assert command_for(bare, ["x"], ["--no-index"])[:5] == [
        "uv", "pip", "install", "--python", sys.executable
    ]  # fmt: skip
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(HardStop, match="no pip"):
        command_for(bare, ["x"], [])


def test_an_air_gap_wants_to_know_where_packages_come_from(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "model_explorer.install.ask", lambda command, modules: {"interpreter": {"pip": True}}
    )
    monkeypatch.setenv("AIR_GAPPED", "1")
    here = Environment("venv", [sys.executable], tmp_path, [])
    with pytest.raises(HardStop, match="AIR_GAPPED"):
        command_for(here, ["x"], ["--quiet"])
    with pytest.raises(HardStop, match="AIR_GAPPED"):
        command_for(Environment("pixi", ["pixi"], tmp_path, []), ["x"], ["--no-index"])
    assert command_for(here, ["x"], ["--no-index"])[-2:] == ["--no-index", "x"]
    assert command_for(here, ["x"], ["--index-url=https://mirror/simple"])[-1] == "x"


def test_packages_that_cannot_be_had_decide_nothing(tmp_path, monkeypatch):
    tools.source_with_dependency(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(HardStop) as stop:
        tools.explored(
            tmp_path, in_process=monkeypatch, checkpoint="net.pth", source="tinysrc",
            class_path="nets.net:Net", install="new-venv", directory="tmp/mine",
            pip_arguments=["--no-index", "--find-links", str(tmp_path / "empty")],
        )  # fmt: skip
    assert stop.value.code == "missing_input" and stop.value.file.endswith("00_install.log")
    report = (tmp_path / "tmp/mine/reports/stakeholder-report.md").read_text()
    assert "**Not decided.**" in report and "does not load after installing" in report
    listed = (tmp_path / "tmp/mine/reports/experiment-report.md").read_text()
    assert "tinydep==1.0" in listed and "exit status 1" in listed


def test_what_an_installed_package_misses_itself_is_asked_for(tmp_path, monkeypatch):
    need = OpenInput("the package of gone", "packages.gone", "gone").as_dict()
    record = {"status": "refused", "said": "No module named 'gone'", "needs": [need]}
    monkeypatch.setattr(driver, "run_step", lambda *_: record)
    monkeypatch.setattr(driver, "run_steps", lambda *_: [])
    monkeypatch.setattr(driver, "write_needs", lambda *_: None)

    def fails(current, *_, works, **__):
        raise HardStop("missing_input", works(current, False), file="log", fix="see the log")

    monkeypatch.setattr(driver, "install", fails)
    plan, folder = SimpleNamespace(environment=running(), needs=[]), Folder(tmp_path)
    (tmp_path / "outputs").mkdir()
    folder.write("parameters", {"train": {"steps": 0}, "model": {}})
    with pytest.raises(HardStop, match="No module named 'gone'") as stop:
        driver.add_packages(Request(install="new-venv"), plan, [], folder, print)
    assert need["line"] in stop.value.fix
    driver.report_stop(plan, folder, stop.value, print)
    assert folder.read("steps")[0]["needs"] == [need]


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["current", "new-venv"])
def test_a_source_with_a_missing_package_runs_after_the_answer(tmp_path, answer):
    """From the question to the reports, by the venv's own Python, and again from a moved folder."""
    workspace = tmp_path / "project"
    workspace.mkdir()
    tools.layered_venv(workspace / ".venv")
    _, _, wheels = tools.source_with_dependency(workspace)
    keys = {
        "checkpoint": "net.pth", "source": "tinysrc", "class_path": "nets.net:Net",
        "environment": "auto", "warm_runs": 3, "batch_sizes": [1],
        "pip_arguments": ["--no-index", "--find-links", str(wheels)],
    }  # fmt: skip
    with pytest.raises(HardStop, match="Nothing was installed"):
        tools.explored(workspace, **keys)
    folder = tools.explored(workspace, install=answer, **keys)
    needs = folder.need("dependencies")
    assert needs["installed"]["answer"] == answer
    assert [a["strategy"] for a in needs["installed"]["attempts"]] == ["latest", "documented"]
    (found,) = [n["found"] for n in needs["list"] if n["module"] == "tinydep"]
    assert found == "1.0"
    own = environment.ask([str(workspace / ".venv/bin/python")], ["tinydep"])
    assert own["importable"]["tinydep"] == (answer == "current")
    assert {s["status"] for s in folder.need("steps")} == {"ok"}
    shapes = folder.need("stats")["shapes"]
    away = tmp_path / "away"
    shutil.move(folder.root, away)
    tools.run_again(away)
    assert tools.outputs(away, "stats")["stats"]["shapes"] == shapes
    assert "tinydep" in (away / "reports/experiment-report.md").read_text()
