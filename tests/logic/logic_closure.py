"""What code and which data files a stage can reach, from the script that its rule starts.

Nothing is listed by hand: the rules name the scripts, and from there names are followed through
imports, at the top of a module or inside a function, to the functions, classes and constants that
are really spoken of. A method of a plain class counts when reached code speaks its name, on
whatever object; a class with a base, which may call its methods, is reached as a whole. So is a
module that is used as a value (``getattr(module, name)``), imported under another name or started
as a program.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "deft"
IMPORTERS = ("require", "import_module")  # calls that import what their first argument names
RUN = "<run>"  # what runs whenever a module is imported, beside definitions and constants
MAIN = "<main>"  # what runs when it is started as a program
RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n((?:(?:[ \t].*)?\n)*)", re.MULTILINE)
STAGE = re.compile(r"\blogic=(?:f?[\"{]*(?:\w+_)?logic\([\"'](\w+)|(\w+)_logic\b)")
SCRIPT = re.compile(r"scripts/(\w+)\.py")
Place = tuple[str, str]  # module, unit


def stage_scripts(rules: Path = ROOT / "rules") -> dict[str, set[str]]:
    """Return stage -> scripts (``train``, …) of the rules that name its logic's number.

    A rule that names two numbers runs by the first; the second says what else runs it again.
    """
    found: dict[str, set[str]] = {}
    for path in sorted(rules.glob("*.smk")):
        for _, body in RULE.findall(path.read_text(encoding="utf-8")):
            stage = STAGE.search(body)
            if stage:
                found.setdefault(stage[1] or stage[2], set()).update(SCRIPT.findall(body))
    return found


def never(module: str) -> bool:
    """Return False: every module is followed."""
    return False


@dataclass
class Unit:
    """A top-level function, class or constant: its code, and what it speaks of."""

    nodes: list[ast.AST] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    members: set[Place] = field(default_factory=set)  # (x, y) of x.y
    imports: set[str] = field(default_factory=set)  # dotted names
    bindings: dict[str, set[str]] = field(default_factory=dict)  # local name -> dotted names
    renamed: set[str] = field(default_factory=set)  # local names of `import … as`
    programs: set[str] = field(default_factory=set)  # modules named in strings
    texts: set[str] = field(default_factory=set)  # all string constants
    endings: set[str] = field(default_factory=set)  # of f-strings that may be file names
    attributes: set[str] = field(default_factory=set)  # y of every x.y, and what getattr may name


@dataclass
class Code:
    """The scripts and the library below a folder; ``edited`` replaces files' texts (for tests)."""

    scripts: Path = ROOT / "scripts"
    edited: Mapping[Path, str] = field(default_factory=dict)
    _units: dict[str, dict[str, Unit]] = field(default_factory=dict)

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Dotted name -> file of every script and module."""
        found = {}
        for path in sorted(self.scripts.rglob("*.py")):
            parts = path.relative_to(self.scripts).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
        return found

    def text(self, path: Path) -> str:
        """Return a file's text."""
        return self.edited.get(path) or path.read_text(encoding="utf-8")

    def units(self, module: str) -> dict[str, Unit]:
        """Return the units of a module by name."""
        if module not in self._units:
            tree = ast.parse(self.text(self.modules[module]))
            self._units[module] = dict(self._split(without_words(tree), module))
        return self._units[module]

    def _split(self, tree: ast.Module, module: str) -> Iterator[tuple[str, Unit]]:
        found: dict[str, Unit] = {RUN: Unit()}
        for node in tree.body:
            for name, part in _parts(node):
                self._fill(found.setdefault(name, Unit()), part, module)
            # A decorator of ours may register what it decorates, which nobody need name.
            for outside in getattr(node, "decorator_list", ()):
                self._fill(found[RUN], outside, module, code=False)
                found[RUN].names.add(f"@{_defines(node)[0]}")
        yield from found.items()

    def _fill(self, unit: Unit, root: ast.AST, module: str, *, code: bool = True) -> None:
        if code and not isinstance(root, ast.Import | ast.ImportFrom):
            unit.nodes.append(root)
        owners = set()
        for node in ast.walk(root):
            if isinstance(node, ast.Attribute):
                unit.attributes.add(node.attr)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                unit.members.add((node.value.id, node.attr))
                owners.add(id(node.value))
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    unit.imports.add(alias.name)
                    full = alias.name if alias.asname else alias.name.split(".")[0]
                    unit.bindings.setdefault(alias.asname or full, set()).add(full)
                    unit.renamed |= {alias.asname} if alias.asname else set()
            elif isinstance(node, ast.ImportFrom):
                base = self._from(node, module)
                unit.imports.add(base)
                for alias in node.names:
                    unit.imports.add(f"{base}.{alias.name}")
                    full = f"{base}.{alias.name}"
                    unit.bindings.setdefault(alias.asname or alias.name, set()).add(full)
                    unit.renamed |= {alias.asname} if alias.asname else set()
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                unit.texts.add(node.value)
                named = node.value.split(":")[0].split(" ")[0]  # also "deft.x:function"
                if named.startswith(f"{PACKAGE}."):
                    unit.programs.add(named)
            elif isinstance(node, ast.JoinedStr):
                parts = [p.value for p in node.values if isinstance(p, ast.Constant)]
                unit.endings |= {p for p in parts if re.fullmatch(r"(\.\w+)+", str(p))}
        unit.names |= {
            n.id for n in ast.walk(root) if isinstance(n, ast.Name) and id(n) not in owners
        }

        called = {n.func.id for n in ast.walk(root) if _is_call(n)}
        if called & {"getattr", "hasattr", "attrgetter", "methodcaller", "cached_property"}:
            unit.attributes |= {text for text in unit.texts if text.isidentifier()}

    def _from(self, node: ast.ImportFrom, module: str) -> str:
        if node.level == 0:
            return str(node.module)
        package = self.modules[module].name == "__init__.py"
        above = module.split(".")[: len(module.split(".")) - node.level + package]
        return ".".join([*above, *([node.module] if node.module else [])])

    def defined(self, full: str, depth: int = 0) -> Place | None:
        """Return where a dotted name of ours is defined, through re-exports."""
        module, _, name = full.rpartition(".")
        if module not in self.modules or depth > 8:
            return None
        if name in self.units(module):
            return module, name
        again = self.bindings(module).get(name, set()) - {full}
        found = (self.defined(other, depth + 1) for other in sorted(again))
        return next(filter(None, found), None)

    def bindings(self, module: str) -> dict[str, set[str]]:
        """Return what the imports at the top of a module bind."""
        return self.units(module)[RUN].bindings

    def whole(self, module: str) -> set[Place]:
        """Return every unit of a module."""
        return {(module, name) for name in self.units(module)}

    def spoken(self, module: str, unit: Unit) -> set[Place]:
        """Return the units that a unit speaks of."""
        top = self.bindings(module)
        renamed = self.units(module)[RUN].renamed | unit.renamed
        found: set[Place] = set()

        def bound(name: str) -> set[str]:
            return unit.bindings.get(name, set()) | top.get(name, set())

        for name in unit.names:
            if name in self.units(module):
                found.add((module, name))
            for full in bound(name):
                if full in self.modules:  # a module as a value
                    found |= self.whole(full)
                elif place := self.defined(full):
                    found.add(place)
        for owner, name in unit.members:
            if owner in self.units(module):
                found.add((module, owner))
            for full in bound(owner):
                if full in self.modules and owner in renamed:  # the name may stand for several
                    found |= self.whole(full)
                else:
                    places = (self.defined(f"{full}.{name}"), self.defined(full))
                    found |= {place for place in places if place}
        for name in unit.programs:
            if name in self.modules:
                found |= self.whole(name)
            for inner in self.modules:  # "deft.embedding.encoders." + name
                if name.endswith(".") and inner.startswith(name):
                    found |= self.whole(inner)
        return found

    def run_by(self, module: str, unit: Unit) -> set[Place]:
        """Return what importing the modules that a unit names runs, packages above them too."""
        found = set()
        for name in {*unit.imports, module}:
            parts = name.split(".")
            for i in range(len(parts)):
                above = ".".join(parts[: i + 1])
                found |= {(above, RUN)} if above in self.modules else set()
        return found

    def registered(self, module: str) -> set[Place]:
        """Return what decorators of ours make reachable without its name."""
        run = self.units(module)[RUN]
        found = set()
        for marked in (name[1:] for name in run.names if name.startswith("@")):
            for node in self.units(module)[marked].nodes:
                for outside in getattr(node, "decorator_list", ()):
                    heads = {n.id for n in ast.walk(outside) if isinstance(n, ast.Name)}
                    ours = set().union(*(self.bindings(module).get(h, {h}) for h in heads))
                    if any(self.defined(o) or o in self.units(module) for o in ours):
                        found.add((module, marked))
        return found

    def reached(self, scripts: set[str], ends: Callable[[str], bool] = never) -> set[Place]:
        """Return every unit that the scripts can reach, their own included.

        ``ends``: modules that are reached and not followed further.
        """
        waiting = {place for script in scripts for place in self.whole(script)}
        done: set[Place] = set()
        attributes: set[str] = set()
        methods: dict[str, set[Place]] = {}  # of reached classes, by name, not spoken yet
        while waiting:
            module, name = place = waiting.pop()
            done.add(place)
            if ends(module):
                continue
            unit = self.units(module)[name]
            fresh = self.spoken(module, unit) | self.run_by(module, unit)
            if name == RUN:
                fresh |= self.registered(module)
            for method in self.methods(module, name):
                methods.setdefault(method.rpartition(".")[2], set()).add((module, method))
            attributes |= unit.attributes
            for called in attributes & methods.keys():
                fresh |= methods.pop(called)
            waiting |= fresh - done
        return done

    def methods(self, module: str, name: str) -> list[str]:
        """Return the units of a class's methods that are reached by their name alone."""
        return [] if "." in name else [u for u in self.units(module) if u.startswith(f"{name}.")]

    def data_files(self, places: set[Place]) -> set[Path]:
        """Return the files that reached code names and that are not imported.

        Beside the module that names them, or below the repository; a folder stands for its files.
        """
        found: set[Path] = set()
        root = self.scripts.parent
        for module, name in places:
            unit, folder = self.units(module)[name], self.modules[module].parent
            for text in unit.texts:
                if not re.fullmatch(r"[\w][\w./-]*", text):
                    continue
                below = [root / text] if "/" in text else _below(root / "config", text)
                for path in (folder / text, *below):
                    if path.is_file() and "." in path.name:
                        found.add(path)
                    elif path.is_dir() and path.parent == folder:
                        files = (p for p in path.rglob("*") if p.is_file())
                        found |= {p for p in files if p.suffix not in (".py", ".pyc")}
            for path in folder.iterdir() if unit.endings else ():
                if path.is_file() and any(path.name.endswith(e) for e in unit.endings):
                    found.add(path)
        modules = {self.modules[module] for module, _ in places}
        return {p for p in found if p not in modules and not p.name.startswith("__")}


def _below(folder: Path, name: str) -> list[Path]:
    return sorted(folder.rglob(name)) if "." in name and folder.is_dir() else []


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def _parts(node: ast.stmt) -> list[tuple[str, ast.stmt]]:
    """Return the units of a statement with their code; methods of plain classes stand alone."""
    if not isinstance(node, ast.ClassDef) or node.bases or node.keywords:
        return [(name, node) for name in _defines(node)]
    apart = [
        part
        for part in node.body
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
        and not part.name.startswith("__")
    ]
    kept = [part for part in node.body if part not in apart] or [ast.Pass()]
    rest = ast.ClassDef(**{f: getattr(node, f, []) for f in node._fields} | {"body": kept})
    return [(node.name, rest), *((f"{node.name}.{part.name}", part) for part in apart)]


def _defines(node: ast.stmt) -> list[str]:
    """Return the names of the units that a statement of a module belongs to."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
        return names or [RUN]
    if isinstance(node, ast.If) and "__main__" in ast.dump(node.test):
        return [MAIN]
    return [RUN]


def without_words(tree: ast.Module) -> ast.Module:
    """Drop docstrings, the types of functions and type-checking blocks: nothing depends on them.

    Types of a class's fields stay: the spec's schema is made of them.
    """
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Pass()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body = [ast.Pass()]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return tree
