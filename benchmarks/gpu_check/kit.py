"""Pack what a bare machine with a CUDA PyTorch lacks: ``make gpu-kit``.

    make gpu-kit                                        # a machine that has torch alone
    make gpu-kit PRESENT=there.txt PYTHON_VERSION=3.12  # there.txt: what ``pip list`` prints there

The kit holds wheels of the pinned packages and of what they need, in the versions that are
installed here, this project's committed code, and a drawn workspace. Over there:
``bash gpu_kit/gpu_check.sh``.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

ROOT_FOLDER = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT_FOLDER / "scripts"), str(ROOT_FOLDER / "benchmarks")]

from deft.core.files import sha256_file, write_json_atomic  # noqa: E402
from deft.demo.workspace import WorkspaceRequest, make_workspace  # noqa: E402
from deft.settings.environments import table  # noqa: E402
from gpu_check.table import ROWS_SCALE  # noqa: E402

HOME = Path(__file__).resolve().parents[2]
MB = 1_000_000
LIMIT_MB = 60.0
# The CUDA build of torch is what the machine has.
TORCH = ("torch", "torchvision", "triton")
GLIBC = (17, 28, 27, 34, 35, 31, 24)  # pip takes such a tag literally
PLATFORMS = ("manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64")
LISTED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\s*==\s*|\s+|\s*$)(\S*)")
NO_WHEEL = re.compile(r"No matching distribution found for (\S+)")


def present_of(text: str) -> dict[str, str]:
    """Return name -> version ("" = unknown) from ``pip list``, ``pip freeze``, names or commas."""
    found = {}
    for line in text.replace(",", "\n").splitlines():
        line = line.split("#")[0].strip().rstrip(".")
        match = LISTED.match(line)
        if match is None or set(line) <= {"-", " "} or line.startswith("Package "):
            continue
        found[canonicalize_name(match[1])] = match[2]
    return found


def lacking(
    roots: Iterable[str], present: dict[str, str], python: str, fresh: Iterable[str] = ()
) -> dict[str, str]:
    """Return name -> requirement of all that ``roots`` need and ``present`` does not have.

    Versions are those installed here, which are what the project is tested with; a package that
    only the other Python needs is asked for as its needer names it. ``fresh``: packages that are
    packed although they are present.
    """
    environment = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    wanted: dict[str, str] = {}
    waiting = [Requirement(root) for root in roots]
    skip = set(present) - {canonicalize_name(name) for name in fresh}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in wanted or name in skip:
            continue
        if requirement.marker and not requirement.marker.evaluate(environment):
            continue
        try:
            here = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            wanted[name] = f"{name}{requirement.specifier}"
            continue
        wanted[name] = f"{name}=={here.version}"
        for text in here.requires or []:
            need = Requirement(text)
            extras = [{**environment, "extra": extra} for extra in (*requirement.extras, "")]
            if need.marker is None or any(need.marker.evaluate(one) for one in extras):
                need.marker = None
                waiting.append(need)
    return wanted


def download(requirements: Iterable[str], python: str, target: Path) -> None:
    """Get one wheel for each requirement; what is published as source alone is built, if pure.

    Raises ``RuntimeError`` naming what gives no wheel for that Python.
    """
    command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation", "cp"]
    command += ["--python-version", python, "--dest", str(target)]
    for tag in (*(f"manylinux_2_{minor}_x86_64" for minor in GLIBC), *PLATFORMS):
        command += ["--platform", tag]
    wanted, source_only = list(requirements), []
    while wanted:
        done = _quiet([*command, *wanted])
        if done.returncode == 0:
            break
        named = NO_WHEEL.search(done.stderr)
        if named is None or named[1] not in wanted:
            raise RuntimeError(f"pip download failed: {done.stderr.strip()[-400:]}")
        wanted.remove(named[1])
        source_only.append(named[1])
    for requirement in source_only:
        before = set(target.iterdir())
        build = [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "-q",
            "--no-deps",
            "--wheel-dir",
            str(target),
        ]
        done = _quiet([*build, requirement])
        made = [path.name for path in set(target.iterdir()) - before]
        if done.returncode or not all(name.endswith("-none-any.whl") for name in made):
            raise RuntimeError(f"{requirement} has no wheel for Python {python}")


def _quiet(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def older(present: dict[str, str], wheels: Iterable[Path]) -> list[str]:
    """Return what the machine has in an older version than a wheel's packages ask for."""
    needs = []
    for wheel in wheels:
        for text in _requires(wheel):
            need = Requirement(text)
            version = present.get(canonicalize_name(need.name), "")
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            try:
                fits = not version or need.specifier.contains(Version(version), prereleases=True)
            except InvalidVersion:
                fits = True
            if not fits:
                needs.append(
                    f"{parse_wheel_filename(wheel.name)[0]} wants {need}, there is {version}"
                )
    return sorted(set(needs))


def _requires(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        text = archive.read(name).decode("utf-8", "replace")
    head = text.split("\n\n")[0]
    return [
        line.split(":", 1)[1].strip()
        for line in head.splitlines()
        if line.startswith("Requires-Dist:")
    ]


def copy_code(target: Path) -> None:
    """Copy the files that git knows or would take up.

    Raises ``RuntimeError`` where there is no clone.
    """
    listed = _quiet(
        ["git", "-C", str(HOME), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    )
    if listed.returncode:
        raise RuntimeError(f"{HOME} must be a git clone: {listed.stderr.strip()}")
    for name in filter(None, listed.stdout.split("\0")):
        source = HOME / name
        if source.is_file() and not name.startswith(("tests/", "docs/", ".")):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / name)


def size_of(folder: Path) -> int:
    """Return the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(argv: list[str] | None = None) -> int:
    """Make the kit; return 1 when it is larger than it may be."""
    parser = argparse.ArgumentParser(prog="make gpu-kit", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HOME / "gpu_kit")
    parser.add_argument("--python-version", default="3.12", help="of the bare machine")
    parser.add_argument("--present", type=Path, help="file: what pip list prints over there")
    parser.add_argument("--fresh", nargs="*", default=[], help="pack these although they are there")
    parser.add_argument("--leave-out", nargs="*", default=[], help="never pack these")
    parser.add_argument("--limit-mb", type=float, default=LIMIT_MB)
    given = parser.parse_args(argv)
    present = present_of(given.present.read_text(encoding="utf-8")) if given.present else {}
    present |= {name: present.get(name, "") for name in TORCH}
    left_out = {canonicalize_name(name): "" for name in given.leave_out}
    roots = [package.line() for package in table().packages]
    wanted = lacking(roots, present | left_out, given.python_version, given.fresh)
    part = given.out.with_name(f".{given.out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        (part / "wheels").mkdir(parents=True)
        print(f"{len(wanted)} packages for Python {given.python_version}", flush=True)
        download(sorted(wanted.values()), given.python_version, part / "wheels")
        copy_code(part / "code")
        make_workspace(part / "data" / "workspace", WorkspaceRequest(rows_scale=ROWS_SCALE))
        shutil.copyfile(HOME / "gpu_check.sh", part / "gpu_check.sh")
        wheels = sorted((part / "wheels").iterdir())
        facts = {
            "python": given.python_version,
            "wheels": {path.name: sha256_file(path) for path in wheels},
            "does_not_fit": older(present, wheels),
        }
        write_json_atomic(part / "kit.json", facts)
        shutil.rmtree(given.out, ignore_errors=True)
        part.rename(given.out)
    except RuntimeError as error:
        print(f"gpu-kit: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return _told(given, facts)


def _told(given: argparse.Namespace, facts: dict) -> int:
    """Print sizes and what may not fit; return the exit status."""
    largest = sorted((given.out / "wheels").iterdir(), key=lambda path: -path.stat().st_size)
    for path in largest[:5]:
        print(f"  {path.stat().st_size / MB:6.1f} MB  {path.name}")
    for text in facts["does_not_fit"]:
        print(f"warning: {text} (--fresh packs it)")
    whole = size_of(given.out) / MB
    print(f"{given.out}: {whole:.1f} MB, {len(facts['wheels'])} wheels", flush=True)
    if whole > given.limit_mb:
        enough = math.ceil(whole) + 1
        print(
            f"gpu-kit: above the limit of {given.limit_mb:g} MB: name what is there "
            "(PRESENT=FILE), leave packages out (ARGS='--leave-out NAME'), or allow it "
            f"(ARGS='--limit-mb {enough}')",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
