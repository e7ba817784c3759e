"""Where a workspace lay when a file was written, and where its pictures lie now.

The contract asks for absolute paths in several files. A workspace that is moved or copied goes on
with its own files all the same: a table's metadata holds the root that its paths were written
under, and whoever reads it gets paths below the present root. The old place is never looked at.

A table of an earlier version has no such metadata; then the places count that ``deft_state.json``
knows (its ``results_dir``, and ``moved_from``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.layout import CHECKS_FILE
from deft.core.reading import read_json
from deft.run.state_format import OWN, own

if TYPE_CHECKING:  # the Snakefile reads this module, and pandas takes a second
    import pandas as pd

ROOT_KEY = b"deft_root"  # of a parquet file's metadata
PATH_COLUMNS = ("filepath", "golden_filepath", "target", "source")
MOVED_FROM = "moved_from"  # of what is our own in the state: places where the workspace was
STATE_PATHS = ("results_dir", "config", "iterations", "final_artifacts", "metric_contract")


def absolute(root: str | Path) -> str:
    """Return a root as it is recorded: absolute, without an end slash, links kept."""
    return os.path.abspath(root)


def below(path: str, root: str) -> bool:
    """Return whether a path is the root or lies below it, by its text alone."""
    root = root.rstrip("/")
    return bool(root) and (path == root or path.startswith(f"{root}/"))


def rerooted(path: str, old: str, new: str) -> str:
    """Return a path below ``old`` as the same path below ``new``; any other stays.

    >>> rerooted("/was/kpi/a.png", "/was/", "/is")
    '/is/kpi/a.png'
    >>> rerooted("/was2/kpi/a.png", "/was", "/is")
    '/was2/kpi/a.png'
    """
    if not below(path, old):
        return path
    rest = path[len(old.rstrip("/")) :].lstrip("/")
    return f"{new.rstrip('/')}/{rest}" if rest else new.rstrip("/")


def with_root(table: Any, root: str | Path) -> Any:
    """Return an Arrow table whose metadata is the root of its paths, and nothing else."""
    return table.replace_schema_metadata({ROOT_KEY: absolute(root).encode()})


def root_metadata(path: str | Path) -> dict[bytes, Any]:
    """Return the part of a parquet file's metadata that holds its root, to be handed on."""
    root = recorded_root(path)
    return {} if root is None else {ROOT_KEY: root.encode()}


def recorded_root(path: str | Path) -> str | None:
    """Return the root in a parquet file's metadata, or None.

    Raises HardStop ``missing_input`` for a file that is damaged.
    """
    import pyarrow.parquet as pq  # the light stages do without it

    from deft.core.parquet import reading_parquet

    with reading_parquet(path):
        found = (pq.read_schema(path).metadata or {}).get(ROOT_KEY)
        return found.decode() if found else None


def paths_here(
    table: pd.DataFrame,
    recorded: str | None,
    root: str | Path,
    file: str | Path,
    *,
    earlier: Iterable[str] = (),
) -> pd.DataFrame:
    """Return a table whose path columns lie below ``root``, the present workspace.

    Parameters
    ----------
    recorded: the root in the file's metadata; paths outside it stay as they are.
    earlier: places where the workspace was, for a file without metadata.

    Raises
    ------
    HardStop ``missing_input`` for a file without metadata whose paths lie in none of these places.
    """
    here = absolute(root)
    columns = [name for name in PATH_COLUMNS if name in table]
    if recorded is not None:
        if recorded == here:
            return table
        return table.assign(**{c: [_here(p, recorded, here) for p in table[c]] for c in columns})
    known = sorted({here, os.path.realpath(here), *earlier}, key=len, reverse=True)
    moved: dict[str, list[str]] = {}
    for column in columns:
        moved[column] = []
        for line, path in enumerate(table[column].tolist()):
            if not isinstance(path, str):
                raise HardStop(
                    "missing_input",
                    f"{column} is {path!r} and no path: the file is damaged",
                    file=file,
                    row=line,
                    fix="put the file back as it was, or delete it and run the same command again",
                )
            old = next((place for place in known if below(path, place)), None)
            if old is None:
                raise HardStop(
                    "missing_input",
                    f"{column} {path!r} lies outside this workspace, and the file does not say "
                    "where the workspace was when it was written",
                    file=file,
                    row=line,
                    fix="if the workspace was moved, move it back to finish this run, or start "
                    f"another one: {again('preflight', run='new')}",
                )
            moved[column].append(rerooted(path, old, here))
    return table.assign(**moved)


def _here(path: Any, old: str, new: str) -> Any:
    return rerooted(path, old, new) if isinstance(path, str) else path


def birthplace(run_dir: Path) -> str | None:
    """Return where the workspace lay when this run passed its checks, or None before that."""
    try:
        checks = read_json(run_dir / CHECKS_FILE)
        given = next(p["value"] for p in checks["parameters"] if p["name"] == "workspace")
        return str(os.path.realpath(given))
    except (HardStop, OSError, ValueError, LookupError, TypeError, StopIteration):
        return None


def places_of(state: dict[str, Any]) -> list[str]:
    """Return where the workspace was, as a state tells."""
    given = own(state).get(MOVED_FROM)
    found = [str(place) for place in given] if isinstance(given, list) else []
    root = _root_of(state.get("results_dir"))
    return [*found, *([root] if root else [])]


def _root_of(results_dir: Any) -> str | None:
    """Return ``<root>`` of ``<root>/results/<run>``."""
    if not isinstance(results_dir, str) or not os.path.isabs(results_dir):
        return None
    path = Path(os.path.normpath(results_dir))
    return str(path.parent.parent) if path.parent.name == "results" else None


def state_here(state: dict[str, Any], run_dir: str | Path) -> dict[str, Any]:
    """Return a state whose paths lie below the present workspace, ``run_dir`` being its run.

    It has moved when its ``results_dir`` is a run of the same name in another place. Paths outside
    that place (weights that the user named) stay.
    """
    here = Path(absolute(run_dir))
    old = _root_of(state.get("results_dir")) if isinstance(state, dict) else None
    if old is None or Path(os.path.normpath(state["results_dir"])).name != here.name:
        return state
    new = str(here.parent.parent)
    if old == new or os.path.realpath(old) == os.path.realpath(new):
        return state
    out = {**state, **{k: rerooted_in(state[k], old, new) for k in STATE_PATHS if k in state}}
    earlier = own(state).get(MOVED_FROM)
    earlier = earlier if isinstance(earlier, list) else []
    places = [*(place for place in earlier if place != new), old]
    out[OWN] = {**rerooted_in(own(state), old, new), MOVED_FROM: places}
    return out


def rerooted_in(value: Any, old: str, new: str) -> Any:
    """Return what JSON held with every path below ``old`` below ``new``."""
    if isinstance(value, str):
        return rerooted(value, old, new)
    if isinstance(value, dict):
        return {k: rerooted_in(v, old, new) for k, v in value.items()}
    return [rerooted_in(v, old, new) for v in value] if isinstance(value, list) else value
