"""What every step needs to know about a run: spec, lights, image root, weights of a phase."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from deft import layout
from deft.changenet.spec import Spec, load_spec
from deft.errors import HardStop
from deft.files import read_json, sha256_file
from deft.layout import Run
from deft.session import inherited

WEIGHTS = {"files": [{"path": str, "sha256": str}], "best_val": str, "latest": str}


@dataclass(frozen=True)
class Context:
    """A run and its spec; paths are below ``run.workspace``."""

    run: Run

    @cached_property
    def config(self) -> dict[str, Any]:
        """The settings that Snakemake handed down; empty for a script that is run by hand."""
        return json.loads(inherited("DEFT_CONFIG") or "{}")

    @property
    def engine(self) -> str:
        """Who runs the model stages: ``native`` or ``tao``."""
        return self.config.get("engine", "native")

    @cached_property
    def spec(self) -> Spec:
        """The experiment spec, checked for the engine."""
        return load_spec(self.workspace / layout.SPEC, engine=self.engine)

    @property
    def workspace(self) -> Path:
        """The workspace, as given."""
        return Path(self.run.workspace)

    @property
    def root(self) -> Path:
        """The workspace, absolute (links kept)."""
        return Path(os.path.abspath(self.run.workspace))

    @property
    def lights(self) -> list[str]:
        """Lights of the spec, in its order."""
        return self.spec.lights

    @property
    def ext(self) -> str:
        """Extension of the pictures, with its dot."""
        return self.spec.dataset.classify.image_ext

    @property
    def image_root(self) -> Path:
        """Root of base, validation and KPI pictures."""
        return layout.image_root(self.workspace)

    def relative(self, path: str | Path) -> str:
        """Return a path relative to the workspace."""
        return os.path.relpath(os.path.abspath(path), self.root)

    def weights_table(self, phase: str) -> dict[str, Any]:
        """Return ``weights.json`` of a phase."""
        return read_json(self.run.phase(phase) / "train" / "weights.json", WEIGHTS)

    def weights_file(self, phase: str, name: str, sha256: str) -> Path:
        """Return a weight file after checking that it is the one that was trained."""
        path = self.run.phase(phase) / "train" / name
        advice = f"snakemake {self.relative(path)}"
        if self.engine == "tao":  # a training in a container is not repeated to the same bytes
            advice = f"snakemake -R {self.relative(path.with_name('weights.json'))}"
        if not path.is_file():
            raise HardStop(
                "missing_input", "a weight file of the run is gone", file=path, fix=advice
            )
        if sha256_file(path) != sha256:
            raise HardStop(
                "missing_input",
                "a weight file is not the one that was trained (other SHA-256)",
                file=path,
                fix=f"delete it, then {advice}",
            )
        return path

    def chosen_weights(self, phase: str) -> Path:
        """Return the weight file that the KPI chose for a phase."""
        path = self.run.phase(phase) / "metrics.json"
        weights = read_json(path, {"weights": {"path": str, "sha256": str}})["weights"]
        return self.weights_file(phase, Path(weights["path"]).name, weights["sha256"])
