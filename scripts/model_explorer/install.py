"""Adding packages after the user's answer: latest versions first, documented ones second."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deft.core.airgap import OWN, air_gapped
from deft.core.errors import HardStop
from deft.core.files import write_text_atomic
from dl_lab.record import without_credentials
from model_explorer.dependencies import Need
from model_explorer.environment import Environment, ask

TIMEOUT_S = 3600
LAYER = "packages_of_the_current_environment.pth"


def new_venv(current: Environment, place: Path, log: Path) -> Environment:
    """Make a venv at ``place`` that sees the current environment's packages below its own."""
    facts = ask(current.command, [])["interpreter"]
    # pip, like every other package, is seen below; making another takes longer than all the rest.
    without = ["--without-pip"] if facts["pip"] else []
    _run([*current.command, "-m", "venv", *without, str(place)], log)
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        raise HardStop("missing_input", "the new venv could not be made", file=log)
    own = ask([str(python)], [])["interpreter"]["packages"][0]
    below = list(dict.fromkeys([*facts["packages"], *facts["sys_path"]]))
    (Path(own) / LAYER).write_text("\n".join(below) + "\n", encoding="utf-8")
    return Environment(
        "venv", [str(python)], place, [f"made beside the experiment, over {current.place}"]
    )


def new_pixi(current: Environment, place: Path, log: Path) -> Environment:
    """Make a pixi project at ``place``: an environment of its own for this model."""
    version = ask(current.command, [])["interpreter"]["version"].rpartition(".")[0]
    _run(["pixi", "init", str(place)], log)
    manifest = place / "pixi.toml"
    _run(["pixi", "add", "--manifest-path", str(manifest), f"python={version}.*"], log)
    command = ["pixi", "run", "--manifest-path", str(manifest), "python"]
    return Environment("pixi", command, place, ["made beside the experiment"], manifest)


def command_for(environment: Environment, packages: list[str], arguments: list[str]) -> list[str]:
    """Return the command that adds packages to an environment, never outside of it.

    Raises HardStop ``missing_input`` with ``AIR_GAPPED`` unless ``arguments`` name the place that
    packages come from, and for an environment without pip and uv.
    """
    if air_gapped() and (environment.kind == "pixi" or not _placed(arguments)):
        raise HardStop(
            "missing_input",
            f"{OWN} is set, so no package is fetched from the public index",
            fix="explore.pip_arguments: [--no-index, --find-links, FOLDER] (or --index-url of a "
            "mirror); a pixi environment must be mended by hand",
        )
    if environment.kind == "pixi":
        return ["pixi", "add", "--manifest-path", str(environment.manifest), "--pypi", *packages]
    facts = ask(environment.command, [])["interpreter"]
    if facts["pip"]:
        head = [*environment.command, "-m", "pip", "install", "--disable-pip-version-check"]
    elif shutil.which("uv"):
        head = ["uv", "pip", "install", "--python", environment.command[0]]
    else:
        raise HardStop(
            "missing_input",
            "the environment has no pip, and uv is not there",
            file=environment.place,
            fix=f"{shlex.join(environment.command)} -m ensurepip, or explore.install: new-venv",
        )
    return [*head, *arguments, *packages]


def _placed(arguments: list[str]) -> bool:
    return any(a.split("=")[0] in ("--no-index", "--index-url", "-i") for a in arguments)


def install(
    environment: Environment,
    answer: str,
    missing: list[Need],
    needs: list[Need],
    *,
    folder: Path,
    venvs: Path,
    arguments: list[str],
    works: Callable[[Environment, bool], str | None],
) -> tuple[Environment, dict[str, Any]]:
    """Install all that is missing as ``answer`` says; return the environment to use and the record.

    ``works(environment, whole)`` is the smoke test: None, or why the model does not load
    (``whole``: or not compute). It is asked for the whole while other versions are left to try,
    since a newer package may break where it is used and not where it is imported. Raises HardStop
    ``missing_input`` when neither the latest nor the documented versions work.
    """
    log = folder / "logs" / "00_install.log"
    if answer == "new-venv":
        place = venvs / folder.name
        place.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(venvs / ".gitignore", "*\n")
        if environment.kind == "pixi":
            environment = new_pixi(environment, place, log)
            missing = [n for n in needs if not n.optional and not n.guessed]
        else:
            environment = new_venv(environment, place, log)
    attempts: list[dict[str, Any]] = []
    latest, pinned = [n.latest for n in missing], [n.pinned for n in missing]
    tries = {"latest": latest, "documented": pinned}
    if pinned == latest:
        del tries["documented"]  # nothing is documented: it would be the first try again
    for strategy, packages in tries.items():
        command = command_for(environment, packages, arguments)
        code = _run(command, log)
        last = strategy == list(tries)[-1]
        said = f"exit status {code}" if code else works(environment, not last)
        attempts.append(
            {
                "strategy": strategy,
                "packages": [without_credentials(p) for p in packages],
                "command": without_credentials(shlex.join(command)),
                "result": said or "works",
                "log": "logs/00_install.log",
            }
        )
        if said is None:
            return environment, {
                "answer": answer,
                "attempts": attempts,
                "place": str(environment.place),
            }
    raise HardStop(
        "missing_input",
        f"the model does not load after installing: {attempts[-1]['result']}",
        file=log,
        fix="see the log; give other versions in the source's requirement file, or mend the "
        "environment by hand",
        evidence={"attempts": attempts},
    )


def _run(command: list[str], log: Path) -> int:
    """Run a command, append it and what it says to ``log``; return its exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        code, said = done.returncode, done.stdout + done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        code, said = 127, f"{error}\n"
    with log.open("a", encoding="utf-8") as handle:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        handle.write(
            f"{stamp} $ {without_credentials(shlex.join(command))}\n"
            f"{without_credentials(said)}--- exit {code}\n"
        )
    return code
