"""Where each file of a workspace and of a run lies. Only :func:`image_root` looks at the disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

BASELINE = "baseline"
RUN_PREFIX = "run_"
CURRENT_RUN = "results/current_run"

BASE_TABLE = "train/base/training_set.csv"
VALIDATION_TABLE = "train/base/validation_set.csv"
KPI_TABLE = "kpi/testing_set.csv"
ACCEPTANCE_TABLE = "kpi/acceptance_set.csv"  # optional: sealed, see deft.record.openings
KPI_IMAGES = "kpi/images"
FALLBACK_IMAGES = "images"
POOL_DIR = "augmentation/mining_pool"
POOL_TABLE = "augmentation/mining_pool/mining_pool.csv"
TABLES = {"base": BASE_TABLE, "validation": VALIDATION_TABLE, "kpi": KPI_TABLE, "pool": POOL_TABLE}
PREGEN_DIR = "augmentation/anomalygen"
PREGEN_NG = "augmentation/anomalygen/reconstructed_image"
PREGEN_OK = "augmentation/anomalygen/original_image"
DEFECT_SPEC = "augmentation/anomalygen/defect_spec.jsonl"
BACKBONE_DIR = "augmentation/backbone"
SPEC = "specs/baseline_spec.yaml"
CHECKS_FILE = "preflight/checks.json"  # of a run: what its pre-flight found
MANIFEST_FILE = "synth_pool/manifest.json"  # of a run: its staged pool
DIGESTS_KEPT = ".snakemake/deft_digests.json"  # of tables, see deft.core.kept_digests
PICTURES_KEPT = "results/kept_pictures"  # what was found on them, see deft.tables.kept
REGISTERED = "registered_pictures.json"  # of a workspace whose test pictures are laid on goldens
CORRECTIONS = "corrections.csv"  # of labels, optional; the tables themselves stay as they are
ACCEPTANCE_FILE = "acceptance/acceptance.json"  # of a run: what its sealed set said
NOISE_FILE = "noise/noise.json"  # of a run: how much trainings of one table differ
START_FILE = "start/start.json"  # of a run that goes on from a promoted model
BEST_MODEL_FILE = "best_model.json"  # of a run: which weights to deploy
SCORE_KIT = (  # copied into best_model/score_kit/
    *("__init__", "command", "embeddings", "engine", "errors", "files", "headers", "loop"),
    *("naming", "network", "partial", "pictures", "prepare", "registration", "report", "resize"),
    *("score", "sheet", "statistics", "table"),
)
SCORING_FILES = (  # of best_model/: what scores new boards and serves the model
    *("score.py", "compare_engine.py", "kpi_reference.json"),
    *("triton/changenet/config.pbtxt", "tensorrt/build_engine.sh"),
    *(f"score_kit/{name}.py" for name in SCORE_KIT),
)


def phase_name(iteration: int) -> str:
    """Return ``baseline`` for 0 and ``iterN`` for N."""
    return BASELINE if iteration == 0 else f"iter{iteration}"


def phase_number(phase: str) -> int:
    """Return 0 for ``baseline`` and N for ``iterN``."""
    if phase == BASELINE:
        return 0
    if not re.fullmatch(r"iter[1-9][0-9]*", phase):
        raise ValueError(f"{phase!r} is not a phase; expected baseline, iter1, iter2, …")
    return int(phase[4:])


def previous_phase(phase: str) -> str:
    """Return the phase before ``iterN``."""
    return phase_name(phase_number(phase) - 1)


@dataclass(frozen=True)
class Run:
    """Paths of one run. ``workspace`` is absolute or relative to the working directory."""

    workspace: Path
    name: str

    @property
    def dir(self) -> Path:
        """``<workspace>/results/<name>``."""
        return Path(self.workspace) / "results" / self.name

    @property
    def ts(self) -> str:
        """The run's own time stamp, which names the folders ``rca_results/<TS>``."""
        return self.name.removeprefix(RUN_PREFIX)

    def phase(self, phase: str) -> Path:
        """Folder of a phase."""
        return self.dir / phase

    def rca(self, phase: str) -> Path:
        """Folder of a phase's root-cause analysis."""
        return self.dir / phase / "rca_results" / self.ts

    def routing(self, phase: str) -> Path:
        """Folder of a phase's routing."""
        return self.dir / phase / "routing_results" / self.ts

    @property
    def preflight(self) -> Path:
        """Folder of the pre-flight files."""
        return self.dir / "preflight"

    @property
    def synth_pool(self) -> Path:
        """Folder of the staged source pool."""
        return self.dir / "synth_pool"

    @property
    def best_model(self) -> Path:
        """Folder of the exported best model."""
        return self.dir / "best_model"


def image_root(workspace: str | Path) -> Path:
    """Return the KPI image root: ``kpi/images``, or ``images`` where only that holds anything."""
    root = Path(workspace)
    preferred = root / KPI_IMAGES
    fallback = root / FALLBACK_IMAGES
    if not fallback.is_dir():
        return preferred
    try:
        return preferred if any(preferred.iterdir()) else fallback
    except (NotADirectoryError, FileNotFoundError):
        return fallback
    except OSError:  # it may not be read: the pre-flight says so
        return preferred
