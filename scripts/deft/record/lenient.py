"""Read a file of a run that may be absent or half written: what cannot be read is left out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.reading import read_json
from deft.core.yaml_files import read_yaml
from deft.record import run_files
from deft.record.phase_files import read_table
from deft.run import roots
from deft.run.state import read_log, read_state
from deft.tables import sealed

logger = logging.getLogger(__name__)


class Lenient:
    """A reader that goes on without what it cannot read, and keeps a list of what that was."""

    def __init__(self) -> None:
        self.damaged: list[str] = []  # names of files, each once

    def _left_out(self, path: Path, why: object) -> None:
        logger.warning("left out %s: %s", path, why)
        name = "/".join(path.parts[-3:])
        if name not in self.damaged:
            self.damaged.append(name)

    def record(self, path: Path) -> dict[str, Any]:
        """See :class:`deft.record.phase_files.Reader`."""
        if not path.exists():
            return {}
        try:
            content: dict[str, Any] = read_json(path, {}, not_finite=True)
        except (OSError, HardStop) as error:
            self._left_out(path, error)
            return {}
        return content

    def table(
        self,
        path: Path,
        told: Mapping[str, Any] | None = None,
        record: Path | None = None,
        rule: str = "",
    ) -> pd.DataFrame:
        """See :class:`deft.record.phase_files.Reader`; one that is not its record's is left out."""
        if not path.is_file():
            return pd.DataFrame()
        try:
            if told and record is not None:
                sealed.check(path, told, record, rule=rule, say=logger.info)
            return read_table(path)
        except Exception as error:  # a half-written or foreign file must not stop the report
            self._left_out(path, error)
            return pd.DataFrame()

    def paths_here(self, table: pd.DataFrame, path: Path, run: layout.Run) -> pd.DataFrame:
        """See :class:`deft.record.phase_files.Reader`; pictures of unknown place are not sought."""
        try:
            earlier = roots.places_of(read_state(run.dir))
            return roots.paths_here(
                table, roots.recorded_root(path), run.workspace, path, earlier=earlier
            )
        except Exception as error:
            self._left_out(path, error)
            gone = [name for name in roots.PATH_COLUMNS if name in table]
            return table.assign(**{name: "" for name in gone})

    def yaml(self, path: Path) -> dict[str, Any]:
        """See :class:`deft.record.phase_files.Reader`."""
        try:
            content = read_yaml(path, code="missing_input") if path.exists() else {}
        except (OSError, HardStop) as error:
            self._left_out(path, error)
            return {}
        return content if isinstance(content, dict) else {}

    def state(self, run_dir: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """See :class:`deft.record.phase_files.Reader`."""
        try:
            return read_state(run_dir), read_log(run_dir)
        except (HardStop, OSError, ValueError) as error:
            self._left_out(run_dir / "deft_state.json", error)
            return {}, []


def load_run(run_dir: str | Path, workspace: str | Path) -> run_files.RunFiles:
    """Read ``<workspace>/results/<run>``; nothing raises because a file is damaged."""
    return run_files.load_run(run_dir, workspace, Lenient())
