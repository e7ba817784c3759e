"""The reader of a run for what is written down: absence is an answer, damage is a stop.

Records, hand-off and summaries outlive the run, so none of them is made from the rest of a damaged
file (:class:`deft.record.lenient.Lenient` does that, for pages).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.files import made_again, read_json, target_of
from deft.core.reading import read_text
from deft.core.schemas import checked
from deft.core.yaml_files import YamlProblem, load_yaml
from deft.record.phase_files import read_table
from deft.run import roots
from deft.run.state import read_log, read_state
from deft.tables import sealed

# Records whose shape others rely on, by their path in a phase or a run -> schema.
SCHEMAS = {
    "*/metrics.json": "metrics",
    "train/weights.json": "weights",
    "decide/kpi.json": "decision",
    "decide/pool.json": "decision",
    "best_model/export.json": "export",
}
PHASE = re.compile(r"baseline|iter[1-9][0-9]*")


def _without_phase(path: Path) -> tuple[str, str]:
    folder = path.parent.name
    return ("*" if PHASE.fullmatch(folder) else folder), path.name


class Strict:
    """See :class:`deft.record.phase_files.Reader`; a damaged file is a HardStop that names it."""

    def record(self, path: Path) -> dict[str, Any]:
        """Return the object of a JSON file, ``{}`` when there is none."""
        if not path.exists():
            return {}
        found = read_json(path)
        if not isinstance(found, dict):
            raise damaged(path, f"it holds no JSON object but {str(found)[:40]!r}")
        schema = SCHEMAS.get("/".join(_without_phase(path)))
        return checked(schema, found, path, made_again(path)) if schema else found

    def table(
        self,
        path: Path,
        told: Mapping[str, Any] | None = None,
        record: Path | None = None,
        rule: str = "",
    ) -> pd.DataFrame:
        """Return a table, checked against its seal; an empty frame when there is none."""
        if told and record is not None:
            sealed.check(path, told, record, rule=rule, target=target_of(path))
        elif not path.is_file():
            return pd.DataFrame()
        try:
            return read_table(path)
        except (OSError, ValueError, pd.errors.ParserError) as error:
            raise damaged(path, str(error), code="csv_invalid") from None

    def paths_here(self, table: pd.DataFrame, path: Path, run: layout.Run) -> pd.DataFrame:
        """Return a table of a parquet file with its paths below the present workspace."""
        earlier = roots.places_of(read_state(run.dir))
        return roots.paths_here(
            table, roots.recorded_root(path), run.workspace, path, earlier=earlier
        )

    def yaml(self, path: Path) -> dict[str, Any]:
        """Return a YAML mapping, ``{}`` when there is no such file."""
        if not path.exists():
            return {}
        try:
            content = load_yaml(read_text(path, code="spec_invalid"))
        except YamlProblem as problem:
            raise damaged(path, str(problem), code="spec_invalid") from None
        if not isinstance(content, dict):
            raise damaged(path, "it holds no mapping", code="spec_invalid")
        return content

    def state(self, run_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return ``deft_state.json`` and the log's entries."""
        return read_state(run_dir), read_log(run_dir)


def damaged(path: Path, why: str, *, code: str = "missing_input") -> HardStop:
    """Return the stop for a file of the loop's own that cannot be read any more."""
    return HardStop(
        code,
        f"the file is damaged: {why}",
        file=path,
        fix=made_again(path),
    )
