"""What a source folder imports, read from its syntax; nothing is imported."""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception"}
STANDARD = frozenset(sys.stdlib_module_names)


@dataclass(frozen=True)
class Import:
    """One imported top-level module: where, and whether the code can do without it."""

    module: str
    file: str
    line: int
    optional: bool


def root_of(source: Path, module: str) -> Path | None:
    """Return the folder to put on the path so that ``module`` imports: the source, or its
    ``src``.
    """
    for root in (source, source / "src"):
        if _file(root, module):
            return root
    return None


def reachable(root: Path, module: str) -> list[Import]:
    """Return what ``module`` and all local modules that it imports take from elsewhere, sorted.

    Imports inside functions and those guarded by ``except ImportError`` are optional; those for
    type checkers are left out.
    """
    seen: set[Path] = set()
    left = _chain(root, module)
    found: dict[str, Import] = {}
    while left:
        path = left.pop()
        if path in seen:
            continue
        seen.add(path)
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        package = _package(root, path)
        for name, line, optional in _imports(tree, package):
            chain = _chain(root, name)
            left += [f for f in chain if f not in seen]
            top = name.split(".")[0]
            # A folder without __init__.py is a package too.
            if chain or (root / top).is_dir() or top in STANDARD:
                continue
            entry = Import(top, path.relative_to(root).as_posix(), line, optional)
            known = found.get(top)
            if known is None or (known.optional and not optional):
                found[top] = entry
    return [found[name] for name in sorted(found)]


def _file(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _chain(root: Path, module: str) -> list[Path]:
    """Return the files that importing ``module`` runs: its packages and itself; [] when not
    local.
    """
    parts = module.split(".")
    files = [_file(root, ".".join(parts[:n])) for n in range(1, len(parts) + 1)]
    if files[-1] is None and len(parts) > 1 and files[-2] is None:
        return []
    return [f for f in files if f]


def _package(root: Path, path: Path) -> list[str]:
    parts = list(path.relative_to(root).with_suffix("").parts)
    return parts[:-1]


def _imports(tree: ast.AST, package: list[str]) -> list[tuple[str, int, bool]]:
    out: list[tuple[str, int, bool]] = []

    def visit(node: ast.AST, optional: bool) -> None:
        if isinstance(node, ast.Import):
            out.extend((alias.name, node.lineno, optional) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            if name:
                out.append((name, node.lineno, optional))
            prefix = f"{name}." if name else ""
            # ``from package import module`` runs the module; other names cost nothing to look up.
            if node.level or "." in name or name:
                out.extend((f"{prefix}{a.name}", node.lineno, optional) for a in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.orelse:
                visit(child, optional)
        elif isinstance(node, ast.Try):
            guarded = any(_catches(handler) for handler in node.handlers)
            for child in node.body:
                visit(child, optional or guarded)
            for part in [*node.handlers, *node.orelse, *node.finalbody]:
                visit(part, optional or guarded)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            for inner in ast.iter_child_nodes(node):
                visit(inner, True)
        else:
            for inner in ast.iter_child_nodes(node):
                visit(inner, optional)

    visit(tree, False)
    return out


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {n.id for n in ast.walk(handler.type) if isinstance(n, ast.Name)}
    return bool(names & IMPORT_ERRORS)
