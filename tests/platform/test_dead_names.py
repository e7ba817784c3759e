"""A function, class or constant of the library that only tests speak of, or nobody, is removed."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("scripts/deft/", "scripts/model_explorer/")
KEPT = {
    "SECTIONS": "of the settings, for their page in the documentation",
    "SHIFT": "one of three words that stand together",
}


def named(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield what a module defines at its top."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.ClassDef():
                yield node.name, node
            case ast.Assign():
                stored = (n for target in node.targets for n in ast.walk(target))
                yield from ((n.id, node) for n in stored if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, node
            case ast.If() | ast.Try() | ast.With():
                yield from named(node.body)


def spoken(node: ast.AST) -> Counter[str]:
    """Return the names that code reads, imports or looks up, and the words of short texts."""
    found: Counter[str] = Counter()
    for one in ast.walk(node):
        match one:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                found[name] += 1
            case ast.ImportFrom():
                found.update(alias.name for alias in one.names)
            case ast.Constant(value=str(text)) if len(text) < 200:
                found.update(re.findall(r"\w+", text))
    return found


def dead(files: dict[str, str]) -> list[str]:
    """Return ``file: name`` of what nobody but itself and tests speaks of."""
    trees = {path: ast.parse(text) for path, text in files.items() if path.endswith(".py")}
    words: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for path, text in files.items():
        told = spoken(trees[path]) if path in trees else Counter(re.findall(r"\w+", text))
        for name, times in told.items():
            words[name][path] = times
    found = []
    for path, tree in trees.items():
        for name, node in named(tree.body) if path.startswith(ROOMS) else ():
            # Another module's name counts too: better a dead one kept than a used one named.
            if sum(words[name].values()) == spoken(node)[name] and not name.startswith("__"):
                found.append(f"{path}: {name}")
    return found


def files() -> dict[str, str]:
    """Return the texts of all that may speak of the library, but for tests."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    kinds = (".py", ".smk", ".j2", ".html", ".sh", ".toml", ".yaml", "Snakefile", "Makefile")
    return {
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in listed
        if name.endswith(kinds) and not name.startswith("tests/") and (ROOT / name).is_file()
    }


def test_nothing_of_the_library_is_dead() -> None:
    found = {one.rpartition(" ")[2]: one for one in dead(files())}
    assert {name: one for name, one in found.items() if name not in KEPT} == {}
    assert sorted(KEPT) == sorted(found)


def test_a_dead_name_is_found_and_a_used_one_is_not() -> None:
    module = "A = 1\nB, C = 2, 3\ndef f():\n    return f() + B\ndef g():\n    return C\n"
    user = "from deft.a import g\nprint(g())\n"
    texts = {"scripts/deft/a.py": module, "scripts/b.py": user}
    assert dead(texts) == ["scripts/deft/a.py: A", "scripts/deft/a.py: f"]
    assert dead({**texts, "rules/c.smk": "a.f(); a.A"}) == []
