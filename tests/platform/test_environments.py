"""One list of packages: files made from it, what each rule imports, whether pip can solve it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from import_walk import SCRIPTS, third_party
from platform_rules import rules_by_family

from deft.settings import environments
from deft.settings.environments import ENVS_DIR, FAMILIES, TABLE, files, table, write

ROOT = SCRIPTS.parent
BESIDE = ("requirements-dev.txt", "requirements-tao.txt")  # lists that go on from another one
# Imported from what another pinned package brings along.
BROUGHT = {"markupsafe": "jinja2", "google": "onnx"}
# Installed by who wants it; without it the command stops and says how (docs/mlflow.md).
OPTIONAL = {"mlflow"}
# Named by an exploration that needs them, as any package of a model is (docs/explore.md).
ASKED_FOR = {"grpc", "tokenizers", "transformers"}


def modules_of(env: str) -> set[str]:
    """Return the modules that an environment's packages provide."""
    listed = {package.module for package in table().of(env)}
    return listed | {module for module, by in BROUGHT.items() if by in listed}


@pytest.mark.parametrize("name", sorted(files(table())))
def test_files_are_as_the_list_makes_them(name):
    made, committed = files(table())[name], (ENVS_DIR / name).read_text(encoding="utf-8")
    assert committed == made, f"envs/{name} differs from packages.yaml: run `make envs`"


def test_no_other_list_of_packages_lies_about():
    lying = {path.name for path in ENVS_DIR.iterdir()} - {TABLE.name} - set(files(table()))
    assert not lying


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_environment_holds_what_its_rules_import_and_no_more(family):
    reached = {
        script: third_party(SCRIPTS / f"{script}.py") - OPTIONAL
        for script in rules_by_family()[family]
    }
    # Steps of an exploration are files that are copied and run, not imported.
    copied = list((SCRIPTS / "model_explorer/kit").glob("*.py")) if family == "explore" else []
    beside = {file.stem for file in copied}  # a child process imports them by their bare names
    reached.update({str(file): third_party(file) - ASKED_FOR - beside for file in copied})
    held = modules_of(family)
    lacking = {s: sorted(wanted - held) for s, wanted in sorted(reached.items()) if wanted - held}
    assert not lacking, f"packages.yaml: add {family} to the envs of these modules: {lacking}"
    behind = {p.module for p in table().of(family) if p.needed_by in held}
    idle = held - set().union(*reached.values()) - behind - BROUGHT.keys()
    assert not idle, f"packages.yaml: no rule of {family} imports {sorted(idle)}"


@pytest.mark.parametrize("script", ["resume", "close_run", "gate"])
def test_the_full_list_holds_what_runs_beside_snakemake_itself(script):
    """These run in the environment of the command that the user typed, with `--sdm` too."""
    functions = (ROOT / "rules" / f"{name}.smk" for name in ("common", "inputs", "command"))
    wanted = third_party(SCRIPTS / f"{script}.py").union(*map(third_party, functions))
    pinned = {package.module for package in table().packages}
    assert wanted - OPTIONAL <= pinned | BROUGHT.keys()


def test_the_walk_agrees_with_python_about_what_a_light_script_loads():
    # What an import statement at the top of a file brings in must be in the walk's answer.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import evaluate\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(SCRIPTS)], capture_output=True, text=True, check=True
    )
    pinned = {package.module for package in table().packages}
    loaded = set(done.stdout.split()) & pinned
    assert loaded and loaded <= third_party(SCRIPTS / "evaluate.py") | {"numpy"}
    assert "torch" not in loaded, "a light stage loads torch"


def test_the_walk_sees_lazy_imports_and_leaves_out_what_nobody_calls(tmp_path):
    script = tmp_path / "one.py"
    script.write_text(
        "from __future__ import annotations\nimport yaml\n"
        "def body():\n    import torch\n    helper()\n"
        "def helper():\n    import faiss\n"
        "def never(x: Idle):\n    import cv2\n"
        "class Idle:\n    def f(self):\n        import timm\n"
    )
    # All of a script counts; of what it imports only what is spoken of.
    assert third_party(script) == {"yaml", "torch", "faiss", "cv2", "timm"}
    assert "faiss" in third_party(SCRIPTS / "mine.py")
    assert "faiss" not in third_party(SCRIPTS / "assemble.py")  # the same module, other functions


def test_conda_files_can_be_read_and_name_pins_only():
    for path in ENVS_DIR.glob("*.yaml"):
        if path == TABLE:
            continue
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        *conda, pip = read["dependencies"]
        assert conda == [f"python={table().python}", "pip"] and read["channels"] == ["conda-forge"]
        assert pip["pip"] and all(re.fullmatch(r"[\w-]+==[\w.]+", line) for line in pip["pip"])


def test_gpu_files_differ_in_the_builds_alone():
    for cpu, gpu in (
        ("requirements.txt", "requirements-gpu.txt"),
        ("torch.yaml", "torch-gpu.yaml"),
    ):
        lines = [set(re.findall(r"[\w-]+==[\w.]+", files(table())[name])) for name in (cpu, gpu)]
        swapped = {p.line() for p in table().packages if p.gpu}
        assert lines[0] - lines[1] <= swapped and lines[0] != lines[1]
        assert lines[1] - lines[0] <= {p.line(gpu=True) for p in table().packages if p.gpu}


def test_writing_mends_what_was_edited_and_removes_what_is_no_longer_made(tmp_path):
    shutil.copy2(TABLE, tmp_path)
    assert set(write(tmp_path)) == set(files(table())) and write(tmp_path) == []
    (tmp_path / "loop.yaml").write_text("name: edited\n")
    (tmp_path / "old.yaml").write_text("name: old\n")
    assert write(tmp_path) == ["loop.yaml", "old.yaml"]
    assert (tmp_path / "loop.yaml").read_text() == files(table())["loop.yaml"]
    assert not (tmp_path / "old.yaml").exists() and (tmp_path / TABLE.name).exists()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("{name: onnx,", "{name: torch,"), "twice"),
        (("version: 1.23.2", "version: 1.2"), "not understood"),  # YAML reads a number
        (("envs: [torch]", "envs: [trch]"), "not understood"),
        (("module: faiss", "modul: faiss"), "not understood"),
    ],
)
def test_a_slip_in_the_list_is_refused(tmp_path, edit, words):
    path = tmp_path / TABLE.name
    path.write_text(TABLE.read_text(encoding="utf-8").replace(*edit), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        table(path)


def test_this_environment_has_the_pinned_versions():
    differ = {}
    for package in (*table().packages, *table().development):
        found = {name: _version(name) for name in package.builds}
        if not any(found[name] == version for name, version in package.builds.items()):
            differ[package.name] = (package.version, found)
    assert not differ


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def test_every_package_has_its_reason_in_the_docs():
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w-]+", text))
    every = {p.name for p in (*table().packages, *table().development)}
    assert every <= named, sorted(every - named)


def test_rules_take_the_gpu_build_where_the_family_has_one():
    text = (ROOT / "rules" / "common.smk").read_text(encoding="utf-8")
    assert environments.conda_name("torch", gpu=True) == "torch-gpu.yaml"
    assert '"../envs/{family}.yaml"' in text and "{family}-gpu.yaml" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(n for n in files(table()) if n not in BESIDE))
def test_pip_can_solve(name, tmp_path):
    """Every file is solved against the package index for the platform that we ship for."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{Path('/usr/local/bin')}")
    if uv is None:
        pytest.skip("needs uv (requirements-dev.txt)")
    listed = tmp_path / "list.txt"
    pins = re.findall(r"[\w-]+==[\w.]+", (ENVS_DIR / name).read_text(encoding="utf-8"))
    listed.write_text("\n".join(pins) + "\n")
    command = [uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", str(listed)]
    platform = ["--python-version", table().python, "--python-platform", "x86_64-manylinux_2_28"]
    done = subprocess.run([*command, *platform], capture_output=True, text=True, check=False)
    if "dns error" in done.stderr or "Could not connect" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    solved = set(done.stdout.split())
    assert {pin.lower() for pin in pins} <= {line.lower() for line in solved}
