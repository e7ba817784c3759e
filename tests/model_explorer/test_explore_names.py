"""Which package an import comes from: what is documented, what is known, and what is a guess."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import explore_tools as tools
import pytest

from deft.core.errors import HardStop
from model_explorer import dependencies, environment
from model_explorer.dependencies import look_up, needs_of
from model_explorer.documented import documented
from model_explorer.import_names import ALIKE, SAME, TABLE, providers
from model_explorer.kit import absent


def needs(source: Path, text: str, **packages: str | None) -> dict[str, dependencies.Need]:
    """Return the needs of a source whose one module is ``text``, nothing being installed."""
    source.mkdir(parents=True, exist_ok=True)
    (source / "net.py").write_text(text)
    found = needs_of(
        "state_dict", source / "w.pth", "source", source=source, code=source, module="net",
        packages=packages,
    )  # fmt: skip
    return {n.module: n for n in look_up(found, {"distributions": {}, "importable": {}})}


def test_names_come_from_metadata_requirement_files_the_table_and_last_by_a_guess(tmp_path):
    """METADATA as the wheel of chgnet has it: its import nvidia_smi is of nvidia-ml-py3."""
    source, info = tmp_path / "chgnet", tmp_path / "chgnet-0.4.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: chgnet\nVersion: 0.4.2\nRequires-Dist: numpy>=1.26\n"
        'Requires-Dist: nvidia-ml-py3>=7.352.0\nRequires-Dist: pytest>=8; extra == "test"\n\n'
        "Requires-Dist: text of the description\n"
    )
    (info / "RECORD").write_text("chgnet/__init__.py,,\n")
    other = tmp_path / "other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Name: other\nRequires-Dist: torch==0.4\n")
    source.mkdir()
    (source / "requirements.txt").write_text("opencv-contrib-python==4.9.0.80\n")
    found = needs(source, "import nvidia_smi, cv2, skimage, torch_scatter, mystery_ops, torch\n")
    named = {m: (found[m].distribution, found[m].named_by, found[m].wanted) for m in found}
    assert named["nvidia_smi"] == ("nvidia-ml-py3", "documented", ">=7.352.0")
    assert found["nvidia_smi"].wanted_in == "chgnet-0.4.2.dist-info/METADATA"
    assert named["cv2"] == ("opencv-contrib-python", "documented", "==4.9.0.80")
    assert named["skimage"] == ("scikit-image", "table", None)
    assert named["torch_scatter"] == ("torch-scatter", "table", None)
    assert named["mystery_ops"] == ("mystery-ops", "guess", None)
    assert named["torch"] == ("torch", "table", None)  # the METADATA of another package is not read


def test_a_package_that_is_only_alike_is_a_guess_even_if_its_bare_name_is_documented(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/requirements.txt").write_text("apex\nclip==0.2.0\n")
    found = needs(tmp_path / "a", "import apex, clip\n")
    assert found["apex"].guessed and found["clip"].guessed
    stop = dependencies.ask_once(list(found.values())[:2], environment.running())
    assert "only guessed from the import; apex on the public index is a toolkit" in stop.message
    assert 'apex: "apex @ git+https://github.com/NVIDIA/apex"' in stop.fix
    (tmp_path / "b").mkdir()
    (tmp_path / "b/requirements.txt").write_text("git+https://github.com/openai/CLIP.git\n")
    clip = needs(tmp_path / "b", "import clip\n")["clip"]
    assert clip.named_by == "documented"
    assert clip.latest == clip.pinned == "clip @ git+https://github.com/openai/CLIP.git"


def test_what_the_user_names_is_installed_as_it_is_and_null_is_not_needed(tmp_path):
    text = "import apex, clip, mystery\n"
    own = {"clip": "openai-clip==1.0.1", "apex": None, "plugin": "its-plugin"}
    found = needs(tmp_path, text, **own)
    assert (found["clip"].latest, found["clip"].pinned) == ("openai-clip==1.0.1",) * 2
    assert found["apex"].optional and not found["apex"].missing
    assert found["plugin"].distribution == "its-plugin" and found["plugin"].missing
    assert [n.module for n in found.values() if n.guessed] == ["mystery"]


def test_a_guess_is_never_installed_though_the_place_was_answered(tmp_path, monkeypatch):
    tools.source_with_dependency(tmp_path)
    (tmp_path / "tinysrc/requirements.txt").unlink()
    monkeypatch.setattr("model_explorer.install._run", None)  # nothing may even be tried
    keys = {"checkpoint": "net.pth", "source": "tinysrc", "class_path": "nets.net:Net"}
    with pytest.raises(HardStop) as stop:
        tools.explored(tmp_path, install="new-venv", **keys)
    assert stop.value.code == "approval_missing" and not (tmp_path / "tmp").exists()
    assert "tinydep (only guessed from the import) for nets/net.py, line 6" in stop.value.message
    assert 'explore.packages: {tinydep: "tinydep"}' in stop.value.fix
    assert "explore.install" not in stop.value.fix
    with pytest.raises(HardStop, match="is no requirement"):
        tools.explored(tmp_path, packages={"tinydep": "not a name!"}, **keys)


def test_requirement_files_as_people_write_them(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "\ufeff# all\n-r more/base.txt\n--extra-index-url https://x/y\n"
        "torch==2.1.0+cu121 --hash=sha256:00\n-e git+https://github.com/o/segment.git@v1#egg=seg\n"
        "git+https://github.com/o/other@main\nclip @ git+https://github.com/openai/CLIP\n"
        "numpy <2 # why\n./local/wheel.whl\ntorch torchvision\n".replace("\ufeff", "")
    )
    (tmp_path / "more").mkdir()
    (tmp_path / "more/base.txt").write_text("scipy>=1\n-r base.txt\n")
    (tmp_path / "pyproject.toml").write_text(
        '[tool.poetry.dependencies]\npython = "^3.9"\neinops = "^0.6.1"\ntimm = "~1.0"\n'
        'rich = "*"\nlmdb = {version = ">=1.3", optional = true}\nfire = "0.5.0"\n'
    )
    found = {name: version for name, (version, _) in documented(tmp_path).items()}
    assert found == {
        "scipy": ">=1", "torch": "==2.1.0+cu121", "numpy": "<2",
        "seg": " @ git+https://github.com/o/segment.git@v1",
        "other": " @ git+https://github.com/o/other@main",
        "clip": " @ git+https://github.com/openai/CLIP",
        "einops": "<0.7,>=0.6.1", "timm": "<1.1,>=1.0", "rich": "", "lmdb": ">=1.3",
        "fire": "==0.5.0",
    }  # fmt: skip


def test_files_of_conda_and_of_powershell(tmp_path):
    (tmp_path / "requirements.txt").write_text("einops==0.7.0\r\ntimm>=1\r\n", "utf-16")
    (tmp_path / "requirements-dev.txt").write_text("lmdb==1.4\n", "utf-8-sig")
    (tmp_path / "environment.yml").write_text(
        "dependencies:\n  - pytorch=1.7\n  - pip:\n    - kornia==0.6\n    - fire\n"
    )
    (tmp_path / "conda.yaml").write_text("dependencies: 3\n")
    (tmp_path / "environment-gpu.yaml").write_text("a: [\n")
    found = {name: version for name, (version, _) in documented(tmp_path).items()}
    assert found == {
        "einops": "==0.7.0", "timm": ">=1", "lmdb": "==1.4", "kornia": "==0.6", "fire": "",
    }  # fmt: skip


def test_a_password_in_a_requirement_is_used_and_kept_nowhere(tmp_path):
    address = "git+https://me:hunter2@host/o/ops@v1"
    (tmp_path / "requirements.txt").write_text(f"{address}\n")
    need = needs(tmp_path, "import ops\n")["ops"]
    assert "hunter2" in need.pinned and need.named_by == "documented"
    stop = dependencies.ask_once([need], environment.running())
    assert "hunter2" not in stop.text() + str(stop.evidence) + str(need.as_dict())
    assert "ops (documented git+https://***@host/o/ops@v1)" in stop.message


def test_the_table_agrees_with_what_is_installed_here():
    """The installed packages' own METADATA is the reference; the table knows a good part of it."""
    seen = 0
    for module, owners in metadata.packages_distributions().items():
        known = providers(module)
        if known:
            seen += 1
            owned = {dependencies.canonicalize_name(owner) for owner in owners}
            assert owned & set(known), f"{module} is of {owners}, the table says {known}"
    assert seen > 40


def test_the_table_is_in_order():
    assert not set(ALIKE) & set(TABLE) and not set(ALIKE) & SAME
    for module, names in TABLE.items():
        assert [dependencies.canonicalize_name(n) for n in names] == list(names), module
    assert all(dependencies.canonicalize_name(n) == n for n in SAME)


def test_a_module_that_the_latest_package_lacks_is_had_from_one_that_has_it(tmp_path):
    need = needs(tmp_path, "import pkg_resources\n")["pkg_resources"]
    assert (need.latest, need.pinned, need.named_by) == ("setuptools", "setuptools<82", "table")


@pytest.mark.parametrize(("name", "line"), [
    ("pkg_resources", 'packages: {pkg_resources: "setuptools<82"}'),
    ("tinydep.deep", 'packages: {tinydep: "tinydep"}'),
])  # fmt: skip
def test_what_a_package_misses_itself_is_asked_for(name, line):
    (need,) = absent.needs_of(ModuleNotFoundError("No module", name=name))
    assert need.line.startswith(line)
    assert absent.needs_of(ImportError("cannot import name", name="x")) == []
