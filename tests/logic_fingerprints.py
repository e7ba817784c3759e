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

# The modules whose change can change a stage's output from equal inputs; a folder stands for all
# modules in it.
NETWORK = ["changenet/" + n for n in ("backbones", "data", "decoder", "layout", "model", "weights")]
SCORING = [*NETWORK, "changenet/embeddings", "changenet/precision", "changenet/scoring"]
ONNX = ["changenet/onnx/export", "changenet/onnx/scorer"]
PICTURES = ["changenet/data/images", "encoders"]
EMBEDDING = ["embedding", *(f"embedding_{n}" for n in ("cache", "files", "segment")), *PICTURES]
SEARCH = ["cosine", "search", "search_ann", "vectors"]
LEAKAGE = ["fingerprint", "leakage", "near"]
BEHIND = {
    "train": [*SCORING, "changenet/losses", "changenet/training", "steps/train"],
    "infer": [*SCORING, *ONNX, "changenet/infer", "steps/infer"],
    "evaluate": ["kpi", "evaluate", "plots"],
    "decide": ["decide", "kpi_target"],
    "rca": ["kpi", "gaps", "rca"],
    "tao_train": ["tao/spec", "tao/stages", "tao/status", "tao/train"],
    "tao_infer": ["tao/infer", "tao/spec", "tao/stages"],
    "tao_rca": ["kpi", "gaps", "rca", "tao/gaps", "tao/stages"],
    "route": ["routing"],
    "ingest": ["pool"],
    "stage_pool": ["pool", "pool_rows", "tables", "steps/pool"],
    "embed_pool": [*EMBEDDING, "shards", "steps/embed", "tao/embed"],
    "mine": ["mining", "strategies", *EMBEDDING, *SEARCH, *LEAKAGE, "steps/mine"],
    "assemble": ["assembly", "pool_rows", "steps/mine"],
    "validate": ["assembly", *LEAKAGE, "steps/mine"],
    "export_best": [*SCORING, *ONNX, "changenet/onnx", "handoff", "steps/export"],
    "finish": ["handoff", "artifacts", "report/results", "report/rows"],
}


def modules(name: str) -> list[Path]:
    """Return the files that a name of ``BEHIND`` stands for."""
    folder = LIBRARY / name
    return sorted(folder.glob("*.py")) if folder.is_dir() else [LIBRARY / f"{name}.py"]


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
    for path in sorted({path for name in BEHIND[stage] for path in modules(name)}):
        text += ast.dump(_strip(ast.parse(path.read_text(encoding="utf-8"))))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def current() -> dict[str, dict[str, object]]:
    """Return version and fingerprint of every stage."""
    versions = json.loads(VERSIONS.read_text(encoding="utf-8"))
    return {s: {"version": versions[s], "fingerprint": fingerprint(s)} for s in sorted(versions)}


if __name__ == "__main__":
    RECORD.write_text(json.dumps(current(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    print(f"recorded {RECORD}")
