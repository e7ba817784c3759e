"""`CITATION.cff` says what `pyproject.toml` says."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cited["cff-version"] == "1.2.0" and cited["message"] and cited["authors"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    assert project["name"] in cited["title"] and project["description"] in cited["title"].replace(
        "the DEFT", "The DEFT"
    )
    assert f"## {cited['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
