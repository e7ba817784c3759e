"""Which script belongs to which family of environments, as the rule files say it."""

from __future__ import annotations

import re

from import_walk import SCRIPTS

from deft.settings.environments import FAMILIES

RULES = SCRIPTS.parent / "rules"
RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
CONDA = re.compile(r'conda_env\("(\w+)"\)')
SCRIPT = re.compile(r"scripts/(\w+)\.py")


def rules_by_family() -> dict[str, set[str]]:
    """Return family -> the scripts of its rules."""
    found: dict[str, set[str]] = {family: set() for family in FAMILIES}
    for path in sorted(RULES.glob("*.smk")):
        for name, text in RULE.findall(path.read_text(encoding="utf-8")):
            scripts = SCRIPT.findall(text)
            if not scripts:
                continue
            family = CONDA.search(text)
            assert family, f'{path.name}: rule {name} needs `conda: conda_env("loop|torch|embed")`'
            found[family[1]] |= set(scripts)
    return found
