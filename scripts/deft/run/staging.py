"""The weights that a configuration and its spec name: where each lies, and whether it is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core.errors import HardStop
from deft.core.layout import BACKBONE_DIR, BASELINE, SPEC
from deft.core.weight_files import BACKBONE_KEY, staged_files
from deft.core.yaml_files import read_yaml
from deft.run.state import read_state

# Keys of the spec that name a file, with their place in it.
SPEC_KEYS = (
    BACKBONE_KEY,
    "train.pretrained_model_path",
    "train.resume_training_checkpoint_path",
)
ENCODER_KEY = "encoder_weights"
OWN_ENCODER = "changenet"  # the baseline's own weights
WITHOUT_ENCODER = ("random", "none")


@dataclass(frozen=True)
class Named:
    """Weights that a key names. ``path`` is None for a value that is no path of this machine."""

    key: str
    value: str
    path: Path | None

    @property
    def there(self) -> bool:
        """Whether there is a file with something in it, or a folder with files."""
        if self.path is None:
            return False
        if self.path.is_dir():
            return any(child.is_file() for child in self.path.iterdir())
        return self.path.is_file() and self.path.stat().st_size > 0

    def sentence(self) -> str:
        """Return what is named, as the user wrote it."""
        return f"{self.key}: {self.value}"


def named_weights(workspace: str | Path, config: dict[str, Any]) -> list[Named]:
    """Return everything that is to be staged, the encoder's folder last.

    A spec that cannot be read names nothing; its own check says so.
    """
    workspace = Path(workspace)
    found = []
    spec = _spec(workspace / SPEC)
    for key in SPEC_KEYS:
        value: Any = spec
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        named = _named(workspace, key, value) if isinstance(value, str) and value else None
        staged = staged_files(workspace / BACKBONE_DIR) if key == BACKBONE_KEY else []
        if staged and (named is None or not named.there):
            # Which of them the network takes, the pre-flight says.
            found += [Named(key, f"{BACKBONE_DIR}/{path.name}", path) for path in staged]
        elif named is not None:
            found.append(named)
    encoder, weights = config.get("encoder"), config.get(ENCODER_KEY)
    if encoder != OWN_ENCODER and config.get("mining") not in WITHOUT_ENCODER:
        if weights:
            found.append(_named(workspace, ENCODER_KEY, str(weights)))
        else:
            found.append(Named(ENCODER_KEY, f"not set; encoder {encoder}", None))
    return found


def seeded_weights(run_dir: str | Path, workspace: str | Path) -> Path | None:
    """Return the baseline's weights that a pre-seeded state names, whether they exist or not."""
    state = read_state(run_dir)
    entry = (state.get("iterations") or {}).get(BASELINE) or {}
    path = entry.get("best_ckpt_path")
    if state.get("baseline_trained_here") or entry.get("stage_completed") != "train" or not path:
        return None
    return Path(path) if Path(path).is_absolute() else Path(workspace) / path


def _named(workspace: Path, key: str, value: str) -> Named:
    path = None if "://" in value else workspace / Path(value).expanduser()
    return Named(key, value, path)


def _spec(path: Path) -> Any:
    try:
        return read_yaml(path, code="spec_invalid")
    except (OSError, HardStop):
        return None
