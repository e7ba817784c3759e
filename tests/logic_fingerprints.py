"""Fingerprints of the code behind each stage, without comments, docstrings and layout.

`python tests/logic_fingerprints.py` records the present ones (make logic), after a person has
decided for each changed stage whether its number in rules/logic_versions.json must be raised.
"""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "scripts" / "deft"
RECORD = Path(__file__).with_suffix(".json")
VERSIONS = ROOT / "rules" / "logic_versions.json"

# The modules whose change can change a stage's output from equal inputs.
MODEL = ["changenet/" + n for n in ("augment", "backbone", "data", "decoder", "images", "model")]
BEHIND = {
    "train": [*MODEL, "changenet/losses", "changenet/schedule", "changenet/train",
              "changenet/validate", "changenet/weights", "steps/train"],
    "infer": [*MODEL, "changenet/infer", "changenet/validate", "steps/infer"],
    "evaluate": ["kpi", "evaluate", "plots"],
    "decide": ["decide", "kpi_target"],
    "rca": ["kpi", "gaps", "rca"],
    "route": ["routing"],
    "ingest": ["pool"],
    "stage_pool": ["pool", "pool_rows", "tables", "steps/pool"],
    "embed_pool": ["embedding", "changenet/features", "changenet/images", "steps/pool"],
    "mine": ["mining", "embedding", "changenet/features", "steps/mine", "leakage"],
    "assemble": ["assembly", "pool_rows", "steps/mine"],
    "validate": ["assembly", "leakage", "steps/mine"],
    "finish": ["handoff", "artifacts", "report/results"],
}  # fmt: skip


def _strip(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
    return tree


def fingerprint(stage: str) -> str:
    """Return the digest of the modules behind a stage."""
    text = ""
    for name in sorted(BEHIND[stage]):
        tree = ast.parse((LIBRARY / f"{name}.py").read_text(encoding="utf-8"))
        text += ast.dump(_strip(tree))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def current() -> dict[str, dict[str, object]]:
    """Return version and fingerprint of every stage."""
    versions = json.loads(VERSIONS.read_text(encoding="utf-8"))
    return {s: {"version": versions[s], "fingerprint": fingerprint(s)} for s in sorted(versions)}


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"recorded {RECORD}")
