"""Install from this bundle on a machine without a connection.

    python3.11 install.py --verify
    python3.11 install.py --venv DIR [--workspace DIR] [--code DIR]

First every file is compared with SHA256SUMS, and every file must be listed there; nothing is
installed from a damaged bundle. `--sums DIGEST` also asks for the digest of SHA256SUMS that the
packing machine printed, which tells a bundle that was changed on purpose.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

SUMS, FACTS, WHEELS, CODE = "SHA256SUMS", "bundle.json", "wheels", "code.tar"
LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[^\x00-\x1f]+)")
FACTS_KEYS = {
    "python": str,
    "system": str,
    "machine": str,
    "requirements": str,
    "weights": list,
    "files": list,
}
WEIGHT_KEYS = ("key", "path", "target")
# What file managers leave in every folder that they show, beside no or any file ("._NAME").
LITTER, BESIDE = {".DS_Store", "Thumbs.db", "desktop.ini"}, "._"
SHOWN = 20  # faults
BLOCK = 1 << 22


class Refused(Exception):
    """Something that installing again cannot mend; the text says what to do."""


def sha256(path: Path) -> str:
    """Return a file's digest."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def inside(root: Path, name: str) -> Path:
    """Return a path below ``root``; refuses one that leaves it."""
    parts = PurePosixPath(name)
    if "\0" in name or any(0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise Refused(f"{name!r} in the bundle is no name of a file: do not use this bundle")
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise Refused(f"{name!r} in the bundle leads out of its folder: do not use this bundle")
    return root / Path(*parts.parts)


def read_sums(root: Path) -> dict[str, str]:
    """Return file -> digest; refuses a list that is not as it was made."""
    path = root / SUMS
    if not path.is_file():
        raise Refused(f"{path} is missing: carry the whole folder")
    sums = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is no text ({error})") from None
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        found = LINE.fullmatch(line)
        if not found or found["name"] in sums:
            why = "stands twice" if found else "is no digest and name"
            raise Refused(f"line {number} of {path} {why}: {line[:120]!r}")
        inside(root, found["name"])
        sums[found["name"]] = found["digest"]
    return sums


def faults(root: Path, say: Callable[[str], object] = print) -> list[str]:
    """Return one line per file that is missing, damaged or not of the bundle."""
    sums, found = read_sums(root), []
    for count, (name, digest) in enumerate(sorted(sums.items()), 1):
        path = inside(root, name)
        if leaves(root, path):
            found.append(f"leads out of the bundle: {name}")
        elif not path.is_file():
            found.append(f"missing: {name}")
        elif sha256(path) != digest:
            found.append(f"damaged: {name} ({path.stat().st_size} bytes)")
        if count % 50 == 0:
            say(f"  {count} of {len(sums)} files compared")
    # Everywhere: what a line is missing for would be installed all the same.
    files = (p for p in root.rglob("*") if p.is_symlink() or not p.is_dir())
    listed = {inside(root, name) for name in sums}
    there = {p.relative_to(root).as_posix() for p in files if not is_litter(p, listed)}
    found += [f"not of this bundle: {name}" for name in sorted(there - set(sums) - {SUMS})]
    # A line and its file may be gone together: the names stand in a second place.
    named = {FACTS, *read_facts(root)["files"]} if (root / FACTS).is_file() else {FACTS}
    found += [f"no digest in {SUMS}: {name}" for name in sorted(named - set(sums))]
    found += [f"in {SUMS} alone: {name}" for name in sorted(set(sums) - named)]
    return found


def is_litter(path: Path, listed: set[Path]) -> bool:
    """Return whether a file is a file manager's own; nothing is installed from such."""
    beside = path.name.startswith(BESIDE) and path.with_name(path.name[len(BESIDE) :]) in listed
    return not path.is_symlink() and (path.name in LITTER or beside) and path not in listed


def leaves(root: Path, path: Path) -> bool:
    """Return whether a link takes a path out of the bundle."""
    return root.resolve() not in path.resolve().parents


def read_facts(root: Path) -> dict[str, Any]:
    """Return what the bundle says of itself; refuses anything else."""
    try:
        facts: dict[str, Any] = json.loads((root / FACTS).read_text(encoding="utf-8"))
        good = all(isinstance(facts[key], kind) for key, kind in FACTS_KEYS.items()) and all(
            isinstance(entry[key], str) for entry in facts["weights"] for key in WEIGHT_KEYS
        )
        good = good and all(isinstance(name, str) for name in facts["files"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise Refused(f"{root / FACTS} cannot be read ({type(error).__name__}: {error})") from None
    if not good:
        raise Refused(f"{root / FACTS} is not what a bundle says of itself")
    return facts


def check_machine(facts: dict[str, Any]) -> None:
    """Refuse another Python or processor than the wheels are for."""
    mine = (".".join(platform.python_version_tuple()[:2]), sys.platform, platform.machine())
    theirs = (facts["python"], facts["system"], facts["machine"])
    if mine != theirs:
        raise Refused(
            f"the wheels are for Python {theirs[0]} on {theirs[1]} {theirs[2]}, this is Python "
            f"{mine[0]} on {mine[1]} {mine[2]}: start me with that Python, or make a bundle here"
        )


def install_packages(root: Path, venv: Path, requirements: str) -> None:
    """Make the environment and fill it from the wheels alone."""
    wanted = inside(root, requirements)
    if not wanted.is_file():
        raise Refused(f"{requirements} is not in the bundle")
    if venv.exists() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").is_file():
        raise Refused(f"{venv} holds other things: name an empty folder")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = venv / "bin" / "python"
    # --isolated: no index that this machine's pip settings name is asked.
    pip = [str(python), "-m", "pip", "--isolated", "--disable-pip-version-check", "install"]
    options = ["--no-index", "--no-cache-dir", "--find-links", str(root / WHEELS)]
    done = subprocess.run([*pip, *options, "-r", str(wanted)], check=False)
    if done.returncode:
        raise Refused(f"pip could not install {requirements} from {root / WHEELS}; see above")


def place_weights(root: Path, weights: list[dict[str, str]], workspace: Path) -> list[str]:
    """Copy the weights into a workspace; return the settings to make."""
    settings = []
    for entry in weights:
        source, target = inside(root, entry["path"]), inside(workspace, entry["target"])
        pairs = [(source, target)]
        if source.is_dir():
            listed = {inside(root, name) for name in read_sums(root)}
            files = sorted(p for p in source.rglob("*") if p.is_file() and p in listed)
            pairs = [(p, target / p.relative_to(source)) for p in files]
        for old, new in pairs:
            if new.exists() and sha256(new) != sha256(old):
                raise Refused(f"{new} is there with other contents: move it away first")
            new.parent.mkdir(parents=True, exist_ok=True)
            part = new.with_name(f".{new.name}.part")
            shutil.copyfile(old, part)
            os.replace(part, new)
        settings.append(f"{entry['key']}: {entry['target']}")
    return settings


def unpack_code(root: Path, target: Path) -> None:
    """Unpack the project into an empty folder."""
    if not (root / CODE).is_file():
        raise Refused(f"this bundle holds no {CODE}")
    if target.exists() and any(target.iterdir()):
        raise Refused(f"{target} is not empty")
    target.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(root / CODE) as tar:
            unpack(tar, target)
    except tarfile.TarError as error:
        raise Refused(f"{CODE} is no archive that can be read ({error})") from None


def unpack(tar: tarfile.TarFile, target: Path) -> None:
    """Unpack files, folders and links among them; anything else is refused before the first one.

    Python before 3.11.4 (Debian 12 has 3.11.2) has no filters that would refuse it.
    """
    for member in tar.getmembers():
        inside(target, member.name)
        if member.issym():
            inside(target, member.linkname)  # from the link's own folder, so not out of the target
        elif not (member.isfile() or member.isdir()):
            archive = os.fsdecode(tar.name or CODE)
            raise Refused(f"{member.name} in {archive} is neither a file nor a folder")
    if hasattr(tarfile, "data_filter"):
        tar.extractall(target, filter="data")
    else:
        tar.extractall(target)


def run(args: argparse.Namespace, root: Path) -> None:
    """Do what the command line asks."""
    print(f"comparing the files of {root} with {SUMS}", flush=True)
    for target in filter(None, (args.venv, args.code, args.workspace)):
        if root.resolve() in (target.resolve(), *target.resolve().parents):
            raise Refused(f"{target} lies in the bundle, which must stay as it is: name another")
    listed = sha256(root / SUMS) if (root / SUMS).is_file() else ""
    if args.sums and listed != args.sums.lower():
        raise Refused(f"{SUMS} has the digest {listed or '(missing)'}, not the one you gave")
    if found := faults(root):
        more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
        told = "\n  ".join([*found[:SHOWN], *more])
        raise Refused(f"the bundle is not as it was made:\n  {told}")
    print(f"all files are as they were made; {SUMS} itself is {listed}", flush=True)
    facts = read_facts(root)
    if args.venv:
        check_machine(facts)
        install_packages(root, args.venv, args.requirements or facts["requirements"])
        print(f"packages are in {args.venv}: source {args.venv}/bin/activate")
    if args.code:
        unpack_code(root, args.code)
        print(f"the project is in {args.code}")
    if args.workspace:
        for line in place_weights(root, facts["weights"], args.workspace):
            print(f"weights are in place; the setting is  {line}")


def main(argv: list[str] | None = None) -> int:
    """Return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verify", action="store_true", help="only compare the digests")
    parser.add_argument("--sums", help=f"digest of {SUMS} that the packing machine printed")
    parser.add_argument("--venv", type=Path, help="environment to make and fill")
    parser.add_argument(
        "--requirements", help="another list of envs/, e.g. envs/requirements-gpu.txt"
    )
    parser.add_argument("--workspace", type=Path, help="put the weights into this workspace")
    parser.add_argument("--code", type=Path, help="unpack the project into this empty folder")
    args = parser.parse_args(argv)
    if not (args.verify or args.venv or args.workspace or args.code):
        parser.error("name --verify, --venv, --workspace or --code")
    try:
        run(args, Path(__file__).resolve().parent)
    except Refused as error:
        print(f"REFUSED {error}", file=sys.stderr)
        return 1
    except Exception as error:  # nothing here is worth a traceback on a machine far away
        print(f"REFUSED {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
