"""The order of an exploration: look, ask, make the folder, install, run, report."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from model_explorer import dependencies, environment, formats, imports, layout, refs
from model_explorer.found_inputs import collect
from model_explorer.install import install
from model_explorer.kit.folder import Folder
from model_explorer.kit.outcomes import UNDECIDED, asked_for
from model_explorer.kit.steps import FIRST_OF_REPORTS, STEPS, Step, run_step, run_steps, wanted
from model_explorer.record import HOME, QUESTION, Plan, record, write_needs
from model_explorer.request import Request, check, located
from model_explorer.sidecars import identity

CHANGENET_CODE, CHANGENET_MODULE = HOME / "scripts", "deft.changenet.model"
FIRST_STEPS = ("01_smoke.py", "02_contract.py")


def explore(
    request: Request, workspace: Path, typed_in: Path, told: Callable[[str], None] = print
) -> Path:
    """Explore a model; return the experiment folder.

    Everything that can be refused is refused before the folder appears. Raises HardStop
    ``approval_missing`` when packages are missing and nothing was answered yet, ``spec_invalid``
    when the model does not run (folder and reports are kept then, for the log).
    """
    check(request)
    roots = [workspace, typed_in]
    if request.served:
        found = formats.ModelFile(Path(request.title), "served")
    else:
        path = formats.choose(located(str(request.checkpoint), roots, "explore.checkpoint"))
        found = formats.identify(path, allow_code=request.allow_code)
    place = destination(request, workspace)
    new_parent = not place.parent.exists()
    place.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        layout.make(staging, request.title, QUESTION, f"{found.path.name} ({found.format})")
        plan = prepare(request, found, staging, roots)
        missing = [n for n in plan.needs if n.missing]
        if missing and (request.install is None or any(n.guessed for n in missing)):
            answered = request.install is not None
            raise dependencies.ask_once(missing, plan.environment, answered=answered)
        record(request, plan, staging, roots)
        staging.chmod(0o755)  # mkdtemp lets only its owner in
        if place.exists():
            raise _taken(place)
        staging.rename(place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if new_parent:
            with contextlib.suppress(OSError):  # it holds the experiment now
                place.parent.rmdir()
    folder = Folder(place)
    told(f"[explore] {place}")
    if missing:
        try:
            plan.environment = add_packages(request, plan, missing, folder, told)
        except HardStop as stop:
            report_stop(plan, folder, stop, told)
            raise
    run(request, plan, folder, workspace, roots, told)
    return place


def destination(request: Request, workspace: Path) -> Path:
    """Return where the experiment goes; raises HardStop ``config_invalid`` when it is taken."""
    if request.directory:
        place = Path(request.directory).expanduser()
        place = place if place.is_absolute() else workspace / place
    else:
        place = stamped(request, workspace)
        while place.exists():  # another one of this second
            time.sleep(0.1)
            place = stamped(request, workspace)
    place = place.absolute()
    if place.exists() or place.is_symlink():
        raise _taken(place)
    return place


def stamped(request: Request, workspace: Path) -> Path:
    """Return the folder of an experiment that begins now."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return workspace / "tmp" / f"{request.slug}-{stamp}"


def _taken(place: Path) -> HardStop:
    return HardStop(
        "config_invalid",
        "the experiment's folder exists already and is left as it is",
        file=place,
        fix=(
            "set explore.directory to another name, or leave it out for a new one with the time "
            "in it"
        ),
    )


def prepare(request: Request, found: formats.ModelFile, staging: Path, roots: list[Path]) -> Plan:
    """Link or clone the sources, find out what the file is and what it needs."""
    said = identity(request, found.format, found.path, roots)
    records: list[dict[str, Any]] = []
    sources: list[str] = []
    upstream: Path | None = None
    if request.source:
        upstream = located(request.source, roots, "explore.source")
        records.append(refs.link(staging, upstream))
    if request.repository:
        records.append(refs.clone(staging, request.repository, request.repository_ref))
        upstream = upstream or staging / records[-1]["path"]
    code, module = None, None
    if said.family == "source":
        if upstream is None:
            raise HardStop(
                "config_invalid",
                "explore.class_path needs the source that the class is in",
                fix="set explore.source (a local folder) or explore.repository",
            )
        module = str(request.class_path).partition(":")[0]
        code = imports.root_of(upstream, module)
        if code is None:
            raise HardStop(
                "missing_input",
                f"{module} (explore.class_path) is neither in the source folder nor in its src/",
                file=upstream,
                fix="give package.module:Class as it is imported from the source folder",
            )
        sources.append((Path(records[0]["path"]) / code.relative_to(upstream)).as_posix())
    elif said.family == "changenet" and found.format == "state_dict":
        record = refs.link(staging, HOME)
        record["note"] = "this project: the network's source"
        records.append(record)
        code, module, upstream = CHANGENET_CODE, CHANGENET_MODULE, HOME
        sources.append(f"{record['path']}/{CHANGENET_CODE.relative_to(HOME).as_posix()}")
    elif request.allow_code and upstream is not None:
        tops = [p for p in (upstream, upstream / "src") if p.is_dir()]
        sources += [f"{records[0]['path']}/{p.relative_to(upstream).as_posix()}" for p in tops]
    current = environment.detect([roots[0], HOME], request.environment)
    needs = dependencies.needs_of(
        found.format, found.path, said.family, source=upstream, code=code, module=module,
        device=request.device, packages=request.packages,
        texts=bool(said.model.get("tokenizer")) and gives_texts(request, roots),
        served=str(said.model.get("served", {}).get("protocol", "")),
    )  # fmt: skip
    answer = environment.ask(current.command, [n.module for n in needs])
    return Plan(found, said, current, dependencies.look_up(needs, answer), records, sources)


def gives_texts(request: Request, roots: list[Path]) -> bool:
    """Return whether the user gives texts, which a tokenizer must read."""
    if not request.inputs:
        return False
    given = located(request.inputs, roots, "explore.inputs")
    return given.suffix == ".txt" or (given.is_dir() and any(given.rglob("*.txt")))


def add_packages(
    request: Request,
    plan: Plan,
    missing: list[dependencies.Need],
    folder: Folder,
    told: Callable[[str], None],
) -> environment.Environment:
    """Install what is missing as the user answered; return the environment to run in."""
    first = [s for s in STEPS if s.script in FIRST_STEPS]
    asked: list[dict[str, Any]] = []

    def works(current: environment.Environment, whole: bool) -> str | None:
        for step in first if whole else first[:1]:
            done = run_step(folder, current.command, step)
            if done["status"] != "ok":
                asked[:] = done["needs"]
                return str(done["said"])
        return None

    told(f"[explore · install] {', '.join(n.distribution for n in missing)} ({request.install})")
    try:
        current, installed = install(
            plan.environment, str(request.install), missing, plan.needs, folder=folder.root,
            venvs=folder.root.parent / ".venvs", arguments=request.pip_arguments, works=works,
        )  # fmt: skip
    except HardStop as stop:
        if asked:
            stop.evidence["needs"] = asked
            stop.fix = f"tell what is open and explore again: {asked_for(asked)}"
        raise
    before = {n.distribution for n in missing}
    plan.environment = current
    dependencies.look_up(
        plan.needs, environment.ask(current.command, [n.module for n in plan.needs])
    )
    installed["packages"] = sorted(before)
    write_needs(folder, plan, installed)
    folder.note("outputs", f"installed {', '.join(sorted(before))} ({request.install})")
    told(f"[explore · install] {installed['attempts'][-1]['strategy']} versions work")
    return current


def report_stop(plan: Plan, folder: Folder, stop: HardStop, told: Callable[[str], None]) -> None:
    """Record and report packages that could not be had; the folder is kept for its log."""
    attempts = stop.evidence.get("attempts", [])
    write_needs(folder, plan, {"answer": "failed", "attempts": attempts})
    smoke = STEPS[0]
    failed = {"script": smoke.script, "what": smoke.what, "status": "refused",
              "said": stop.message, "log": "logs/00_install.log",
              "needs": stop.evidence.get("needs", [])}  # fmt: skip
    folder.write("steps", [failed])
    run_steps(folder, plan.environment.command, _reporting(wanted(folder.parameters)), told)


def run(
    request: Request,
    plan: Plan,
    folder: Folder,
    workspace: Path,
    roots: list[Path],
    told: Callable[[str], None],
) -> None:
    """Run all steps in the chosen environment; raises HardStop when the model does not run."""
    steps = wanted(folder.parameters)
    command = plan.environment.command
    first = [s for s in steps if s.script in FIRST_STEPS]
    results = run_steps(folder, command, first, told)
    if all(r["status"] == "ok" for r in results):
        try:
            search(request, folder, workspace, roots)
        except HardStop as stop:
            refused_inputs(folder, stop)
            results += run_steps(folder, command, _reporting(steps), told)
            raise
        rest = [s for s in steps if s not in first]
    else:
        for step in steps:
            if step not in first and step not in _reporting(steps):
                leave_out(folder, step)
        rest = _reporting(steps)
    results += run_steps(folder, command, rest, told)
    for part in ("inputs", "outputs", "logs", "reports"):
        folder.note(part, f"explored: {len([r for r in results if r['status'] == 'ok'])} steps ran")
    verdict = folder.read("verdict", {})
    told(
        f"[explore] {verdict.get('verdict', 'no verdict')} · "
        f"{folder.root}/reports/stakeholder-report.md"
    )
    for need in verdict.get("needs") or []:
        told(f"[explore] I need {need['what']}: explore: {need['line']}")
    needed = {s.script for s in STEPS if s.required}
    bad = [r for r in results if r["status"] in ("failed", "refused") and r["script"] in needed]
    if bad and bad[0]["script"] == "03_inputs.py" and request.inputs:
        raise HardStop(
            "missing_input",
            f"a given input does not fit the model: {bad[0]['said']}",
            file=located(request.inputs, roots, "explore.inputs"),
            fix="give it as outputs/io_contract.json says",
        )
    if bad:
        raise _ended(bad[0], verdict, folder)


def _ended(step: dict[str, Any], verdict: dict[str, Any], folder: Folder) -> HardStop:
    """Return the stop of a model that does not run: by its own fault, or for want of a fact."""
    said = f"{step['what']} failed ({step['said']})"
    if verdict.get("verdict") != UNDECIDED:
        return HardStop(
            "spec_invalid",
            f"the model does not run to its end: {said}",
            file=folder.path(step["log"]),
            fix="the log has the details; the reports say what is known so far",
        )
    needs = verdict["needs"]
    return HardStop(
        "missing_input",
        f"not decided, the model does not run to its end yet: {said}",
        file=folder.path(step["log"]),
        fix=f"tell what is open and explore again: {asked_for(needs)}" if needs else
        "the log has the details; what the model wants may be stated in explore.contract",
    )  # fmt: skip


def _reporting(steps: list[Step]) -> list[Step]:
    return [s for s in steps if s.script >= FIRST_OF_REPORTS]


def refused_inputs(folder: Folder, stop: HardStop) -> None:
    """Record that the given inputs, or their answers, cannot be used, so that the reports say
    why.
    """
    step = next(s for s in STEPS if s.script == "03_inputs.py")
    log = f"logs/{step.script[:-3]}.log"
    folder.path(log).write_text(f"{stop}\n", encoding="utf-8")
    needs = stop.evidence.get("needs", [])
    refused = {"script": step.script, "what": step.what, "status": "refused",
               "said": stop.message, "log": log, "needs": needs}  # fmt: skip
    folder.write("steps", [*folder.read("steps", []), refused])


def leave_out(folder: Folder, step: Step) -> None:
    """Record a step that cannot run for want of an earlier one."""
    records = folder.read("steps", [])
    records.append({"script": step.script, "status": "left out", "what": step.what})
    folder.write("steps", sorted(records, key=lambda r: r["script"]))


def search(request: Request, folder: Folder, workspace: Path, roots: list[Path]) -> None:
    """Look for real inputs and write ``outputs/found_inputs.json``."""
    given = located(request.inputs, roots, "explore.inputs") if request.inputs else None
    labels = located(request.labels, roots, "explore.labels") if request.labels else None
    found = collect(
        folder.root, folder.need("io_contract"), given=given, labels=labels, workspace=workspace,
        count=request.samples, upstream=[r["path"] for r in folder.need("provenance")["refs"]],
    )  # fmt: skip
    folder.write("found_inputs", found)
