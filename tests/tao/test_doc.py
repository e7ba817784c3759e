"""docs/engine_tao.md shows the commands that the code makes."""

from pathlib import Path

import pytest
from tao_commands import HEAD, commands

from deft.settings.tao import NATIVE_ONLY, settings

PAGE = Path(__file__).resolve().parents[2] / "docs/engine_tao.md"
BEGIN, END = "<!-- commands: made by tests/tao/test_doc.py --update-docs -->\n", "<!-- end -->\n"


@pytest.fixture
def made(tmp_path, monkeypatch):
    for name in ("AIR_GAPPED", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return commands(tmp_path)


def test_the_commands_are_those_of_the_code(made, request):
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    if request.config.getoption("--update-docs"):
        PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")
    assert f"{BEGIN}\n{made}\n{END}" in PAGE.read_text(), (
        "pytest tests/tao/test_doc.py --update-docs"
    )


def test_the_page_names_every_image_and_every_refused_setting(made):
    text = PAGE.read_text()
    assert made.count("docker run") == len(HEAD)
    for name in [*settings({}).images, *settings({}).images.values(), *NATIVE_ONLY]:
        assert name in text, name
