"""Which third-party modules a script of ours can really reach, without running it.

Importing a module runs its top level. Imports inside a function count when the function can be
reached: something reached speaks its name. A class is reached as a whole.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PACKAGES = ("deft", "model_explorer", "dl_lab")
IMPORTERS = ("require", "import_module")  # calls that import what their first argument names
BEHIND = {"read_parquet": "pyarrow", "to_parquet": "pyarrow"}  # pandas calls that import more
NEEDS = {"torch.utils.tensorboard": "tensorboard"}  # a module imports it and does not bring it
TOP = "<top>"


@dataclass
class Unit:
    """A top-level function or class, or all else of a module: what it names and imports."""

    names: set[str] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)  # (x, y) of x.y
    imports: set[str] = field(default_factory=set)
    bindings: dict[str, str] = field(default_factory=dict)  # local name -> full dotted name
    # Modules imported `as` another name, which may stand for several: used as a whole.
    renamed: set[Path] = field(default_factory=set)


@cache
def module_file(name: str) -> Path | None:
    """Return the file of one of our modules or scripts, None when there is none."""
    base = SCRIPTS / Path(*name.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if name and path.is_file():
            return path
    return None


def _without_types(tree: ast.Module) -> None:
    """Drop annotations and type-checking blocks: they are never run."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = [ast.Pass()]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)


def _fill(unit: Unit, root: ast.AST, path: Path) -> None:
    for node in ast.walk(root):
        if isinstance(node, ast.Name):
            unit.names.add(node.id)
        elif isinstance(node, ast.Attribute):
            unit.imports |= {BEHIND[node.attr]} if node.attr in BEHIND else set()
            if isinstance(node.value, ast.Name):
                unit.members.add((node.value.id, node.attr))
        elif isinstance(node, ast.Import):
            unit.imports |= {alias.name for alias in node.names}
            unit.bindings |= {a.asname or a.name.split(".")[0]: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = _from(node, path)
            full = {a.asname or a.name: f"{module}.{a.name}" for a in node.names}
            unit.imports |= {module, *full.values()}
            unit.bindings |= full
            renamed = [module_file(f"{module}.{a.name}") for a in node.names if a.asname]
            unit.renamed |= {file for file in renamed if file}
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called in IMPORTERS and isinstance(node.args[0].value, str):
                unit.imports.add(node.args[0].value)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # `python -m deft.x` starts a module that is named in a string.
            if node.value.split(".")[0] in PACKAGES and module_file(node.value):
                unit.imports.add(node.value)


def _from(node: ast.ImportFrom, path: Path) -> str:
    """Return the module of a `from` import; what is copied elsewhere imports relatively."""
    if node.level == 0:
        return str(node.module)
    above = path.resolve().relative_to(SCRIPTS).parts[: -node.level]
    return ".".join([*above, *([node.module] if node.module else [])])


@cache
def units(path: Path) -> dict[str, Unit]:
    """Return the units of a file by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    _without_types(tree)
    found = {TOP: Unit()}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            _fill(found.setdefault(node.name, Unit()), node, path)
            for outside in node.decorator_list:
                _fill(found[TOP], outside, path)
        else:
            _fill(found[TOP], node, path)
    return found


def _defined(full: str, depth: int = 0) -> tuple[Path, str] | None:
    """Return where a dotted name of ours is defined, through re-exports."""
    module, _, name = full.rpartition(".")
    path = module_file(module)
    if path is None or depth > 5:
        return None
    if name in units(path):
        return path, name
    again = units(path)[TOP].bindings.get(name)
    return _defined(again, depth + 1) if again and again != full else None


def _spoken(path: Path, unit: Unit) -> set[tuple[Path, str]]:
    """Return the units that a unit of a file speaks of."""
    bound = units(path)[TOP].bindings | unit.bindings
    found = {(path, name) for name in unit.names if name in units(path)}
    full = [bound[name] for name in unit.names if name in bound]
    full += [f"{bound[x]}.{y}" for x, y in unit.members if x in bound]
    return found | {place for name in full if (place := _defined(name))}


def _run_by_import(names: set[str]) -> set[Path]:
    """Return our files that importing these names runs, the packages above them too."""
    out = set()
    for name in names:
        parts = name.split(".")
        out |= {module_file(".".join(parts[: i + 1])) for i in range(len(parts))}
    return {path for path in out if path}


@cache
def _reached(path: Path, name: str) -> frozenset[tuple[Path, str]]:
    """Return the units that run, or may, when a unit of a file does."""
    unit = units(path)[name]
    run = _run_by_import(unit.imports)
    # A module that is run as a program (a worker) is reached as a whole.
    whole = {f for f in run if f.parent != SCRIPTS and "__main__" in f.read_text(encoding="utf-8")}
    return frozenset(
        _spoken(path, unit)
        | {(file, TOP) for file in run}
        | {(file, each) for file in whole | unit.renamed for each in units(file)}
    )


def third_party(script: Path) -> set[str]:
    """Return the top-level third-party modules that a script can import."""
    waiting = {(script, name) for name in units(script)}
    done, imports = set(), set()
    while waiting:
        path, name = place = waiting.pop()
        done.add(place)
        imports |= units(path)[name].imports
        waiting |= _reached(path, name) - done
    found = {name.split(".")[0] for name in imports}
    found |= {NEEDS[name] for name in imports & NEEDS.keys()}
    ours = {*PACKAGES} | {path.stem for path in SCRIPTS.glob("*.py")}
    return {name for name in found if name not in sys.stdlib_module_names and name not in ours}
