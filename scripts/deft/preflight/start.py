"""What is kept of a run that passed the gate: its target, tables and settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from deft.changenet.spec import load_spec
from deft.core import layout
from deft.core.files import write_text_atomic
from deft.core.hardware import gpus
from deft.core.reading import read_text
from deft.run.state import update_state
from deft.run.state_format import EVENTS_VERSION, IN_PROGRESS, STARTED, own_part
from deft.run.state_version_4 import as_version_2, execution_policy
from deft.settings.config import epochs
from deft.settings.metric_contract import contract_of
from deft.settings.tao import settings
from deft.settings.workspace_file import SETTINGS_FILE

CONFIG_FILE = "preflight/config.yaml"


def record_start(workspace: str | Path, run_dir: str | Path, config: dict[str, Any]) -> None:
    """Write the run-level fields of ``deft_state.json``; what is there already survives."""
    root = Path(os.path.abspath(workspace))
    facts = start_facts(root, Path(os.path.abspath(run_dir)), config)

    def change(state: dict[str, Any]) -> None:
        settings = {**state.get("config", {}), **facts.pop("config")}
        version = config["state_version"] or state.get("version")
        state.update(facts, config=settings, status=IN_PROGRESS)
        if version == EVENTS_VERSION:
            state.update(version=version, **version_4_facts(config))
            settings.update(version_4_config(root, Path(state["results_dir"]), config))
        else:
            as_version_2(state)
        state.setdefault("current_iteration", 0)
        own_part(state)[STARTED] = True

    update_state(run_dir, change)
    # What `make resume` goes on with, and a record of every setting beside the results.
    settings = {**config, "workspace": str(root), "run": Path(run_dir).name}
    text = yaml.safe_dump(settings, sort_keys=True, allow_unicode=True)
    write_text_atomic(Path(run_dir) / CONFIG_FILE, text)
    own, kept = root / SETTINGS_FILE, Path(run_dir) / "preflight" / SETTINGS_FILE
    if own.is_file():
        write_text_atomic(kept, read_text(own, code="config_invalid"))
    else:
        kept.unlink(missing_ok=True)


def start_facts(root: Path, run_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return the run-level fields as the contract lists them. Paths are absolute."""
    spec = load_spec(root / layout.SPEC, engine=config["engine"])
    pregen = {
        "sub_skill": None,
        "mode": "pregen_ingest",
        "pregen_dir": str(root / layout.PREGEN_DIR),
        "reconstructed_image_dir": str(root / layout.PREGEN_NG),
        "original_image_dir": str(root / layout.PREGEN_OK),
        "defect_spec": str(root / layout.DEFECT_SPEC)
        if (root / layout.DEFECT_SPEC).is_file()
        else None,
    }
    return {
        "kpi_target": config["kpi"],
        "results_dir": str(run_dir),
        "max_iterations": config["max_iterations"],
        "config": {
            "specs_file": str(root / layout.SPEC),
            "training_csv": str(root / layout.BASE_TABLE),
            "validation_csv": str(root / layout.VALIDATION_TABLE),
            "kpi_test_csv": str(root / layout.KPI_TABLE),
            "images_dir": str(layout.image_root(root)),
            "backbone_weight_dir": str(root / layout.BACKBONE_DIR),
            "train_container": settings(config).image("train")
            if config["engine"] == "tao"
            else None,
            "num_gpus": len(gpus()),
            "batch_size": spec.dataset.classify.batch_size,
            "num_epochs": epochs(config, spec.named_epochs)[0],
            "anomalygen": pregen,
            "pregen": str(run_dir / layout.MANIFEST_FILE),
            "mining_filter": mining_filter(config),
        },
    }


def version_4_facts(config: dict[str, Any]) -> dict[str, Any]:
    """Return the run-level fields that only version 4 of the state has."""
    return {
        "metric_contract": contract_of(config).as_dict(),
        "execution_policy": execution_policy(),
    }


def version_4_config(root: Path, run_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Return its further fields of ``config``, the whole ``mining_filter`` among them."""
    cards = gpus()
    model = f"{cards[0].name} ({cards[0].memory_gib:g} GiB)" if cards else "none (CPU)"
    return {
        "mining_pool_csv": str(root / layout.POOL_TABLE),
        "mining_images_root": str(root / layout.POOL_DIR),
        "resolved_mining_pool_csv": str(
            (run_dir / layout.MANIFEST_FILE).with_name("source_pool.csv")
        ),
        "gpu_model": model,
        "mining_filter": {
            **mining_filter(config),
            "history_aware": {
                "enabled": config["mining_history"],
                "identity": "filepath",
                "history_file": str(run_dir / "mining_history.json"),
            },
        },
    }


def mining_filter(config: dict[str, Any]) -> dict[str, Any]:
    """Return how mining chooses, as both versions have it."""
    return {
        "sub_skill": "tao-mine-aoi-images",
        "top_k_per_target": config["top_k_per_target"],
        "metric": "cosine",
        "min_similarity": config["min_similarity"],
    }
