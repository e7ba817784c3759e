"""After the gate only the machine may fail: every stop of a later stage, and what asks it before.

The table names each function that makes a hard stop behind the gate. A new one fails the test until
somebody has asked whether the pre-flight can know.
"""

from __future__ import annotations

import ast
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2] / "scripts/deft"
# Not behind the gate: the pre-flight, the configuration, other commands, and what is read by them.
ELSEWHERE = (
    "preflight/", "importers/", "demo/", "doctor/", "bundle/",
    "report/", "core/errors.py", "core/places.py", "settings/config.py",
    "settings/config_values.py", "settings/run_name.py", "run/slurm.py", "settings/session.py",
    "settings/checking.py", "run/state.py", "core/workspace_source.py", "embedding/prune.py",
    "settings/kpi_target.py", "settings/metric_contract.py", "settings/workspace_file.py",
    "stages/score.py", "tables/exchange.py", "record/rows_out.py", "settings/tracking.py",
    # The network and the encoder are built, the spec is read by the pre-flight itself.
    "changenet/spec/", "changenet/backbones/", "embedding/encoders/",
)  # fmt: skip

# What a stage finds that nobody could know before: made or changed after the approval.
CHANGED = "a file that the run made or approved was changed or lost since"
LEARNT = "what the training or the network turns out to give"
MACHINE = "the machine that the job runs on"
BUG = "a guard of this project's own arithmetic"
TAO = "what TAO's container did"
USER = "what the user's own command or system answers"
# Otherwise the id of the check that asks before.
ASKED = {
    "assembly/assemble.py": {"check_arithmetic": BUG, "check_growth": CHANGED,
                             "read_provenance": CHANGED, "validate_combined": BUG,
                             "check_pictures_exist": "goldens"},
    "tables/goldens.py": {"__init__": "goldens", "_found": "goldens"},
    "changenet/data/pairs.py": {"open_pairs": "table_base", "picture": CHANGED},
    "changenet/data/sampling.py": {"check_trainable": "trainable"},
    "causes/facts.py": {"read_facts": CHANGED},
    "record/openings.py": {"read_openings": "acceptance_seal", "best_model_of": "start"},
    "record/promoted_start.py": {"start_of": "start", "_of_champion": "start",
                                 "_of_folder": "start", "carried_rows": CHANGED},
    "record/tracker.py": dict.fromkeys(("open_client", "unusable", "experiment_of"), "mlflow"),
    "stages/accept.py": {"scored": "acceptance", "refuse_edited": CHANGED},
    "record/acceptance_set.py": {"parts_of": "acceptance"},
    "record/champion.py": {"_folder": "champion", "production": "champion"},
    "stages/decide.py": {"decide": "metric_contract", "_proven": CHANGED},
    "changenet/device.py": {"pick_device": MACHINE, "training_devices": "training"},
    "changenet/infer.py": {"score_views": "score_column", "_refuse_endless": LEARNT},
    "changenet/onnx/export.py": {"check_export": "onnx", "_untrue": LEARNT},
    "changenet/onnx/runtime.py": {"require": "onnx"},
    "changenet/onnx/parity.py": {"gate": LEARNT},
    "changenet/onnx/scorer.py": {"wanted_provider": MACHINE, "require_cuda_build": "onnx",
                                 "assert_provider": MACHINE, "__init__": CHANGED,
                                 "_output": BUG},
    "changenet/precision.py": {"__init__": "training"},
    "changenet/speed.py": {"check_compiler": "compiler"},
    "changenet/staged_backbone.py": {"backbone_file": "backbone_file"},
    "changenet/training/callbacks.py": {"_validated": LEARNT},
    "changenet/training/module.py": {"figures": LEARNT},
    "changenet/training/options.py": {"__post_init__": "the configuration's schema",
                                      "require_tensorboard": "training"},
    "changenet/training/restore.py": {"look_at": "resumed_weights",
                                      "_malformed": "backbone_weights",
                                      "check_batches": "backbone_weights",
                                      "require_steps": "trainable",
                                      "_fill_optimizer": "backbone_weights"},
    "changenet/training/resume.py": {"restore_files": CHANGED},
    "changenet/training/selection.py": {"need_both_classes": "validation_rows"},
    "changenet/training/own_process.py": {"_open": BUG, "_require_epochs": "backbone_weights",
                                    "_result": BUG},
    "changenet/weights.py": {"read_state": "backbone_weights", "read_tensors": "backbone_weights",
                             "named_tensors": "backbone_weights", "_unreadable": "start_weights",
                             "check_fit": "start_weights",
                             "fill_strictly": "backbone_weights"},
    # Files of the user's that import_table reads, a command of its own; no stage of a run does.
    "tables/foreign/arrow.py": {"_kind": USER, "parquet_grid": USER},
    "tables/foreign/cells.py": {"_stop": USER}, "tables/foreign/convert.py": {"_stop": USER},
    "tables/foreign/grid.py": {"_stop": USER}, "tables/foreign/text.py": {"_stop": USER},
    "tables/foreign/workbook.py": {"_stop": USER},
    "tables/foreign/workbook_parts.py": {"opened": USER},
    "tables/foreign/record.py": {"read_record": CHANGED},
    "tables/csv_text.py": {"_stop": "table_kpi", "read_bytes": "table_kpi"},
    "embedding/embed.py": {"check_same_encoder": CHANGED},
    "embedding/cache.py": {"__init__": "embedding_cache"},
    "embedding/vector_files.py": {"file_digest": CHANGED, "_prepare": CHANGED, "_check": LEARNT},
    # Equal pictures have a check; what a network makes of others is not known.
    "kpi/views.py": {"views_of_phase": CHANGED},
    "kpi/evaluation.py": {"read_scores": CHANGED, "refuse_alike": LEARNT},
    "core/files.py": {"inside": "table_kpi"},
    # `require` stops every command of a run while it is parsed, the pre-flight's first of all.
    "core/registered.py": {"read_record": "registered_pictures", "require": "registered_pictures"},
    "tables/fingerprint.py": {"decode": "images_kpi", "see_again": "images_kpi"},
    "record/best.py": {"_training_spec": CHANGED},
    "run/jobs.py": {"_read": CHANGED},
    "kpi/measuring.py": {"refuse_program": "metric_contract", "measure": USER, "_run": USER,
                         "_stop": USER},
    "mining/history.py": {"read_ledger": CHANGED},
    "kpi/operating_point.py": {"check_scores": "kpi_classes", "at_recall": BUG},
    "tables/leakage.py": {"stop_of": "leakage_pool_kpi"},
    "core/parquet.py": {"check_columns": CHANGED, "reading_parquet": CHANGED},
    "pool/source_pool.py": {"check_pregen_unchanged": CHANGED, "_stage": "staged_names"},
    "tables/coordinates.py": {"read_pool": "table_pool", "rooted_folder": "table_kpi"},
    "pool/pregen/listing.py": dict.fromkeys(
        ("list_pictures", "paired_pregen", "_check_file"), "pregen_pairs"
    ),
    "pool/pregen/parts.py": dict.fromkeys(
        ("_check_lights", "_check_name", "label_of", "check_allocation"), "defect_spec"
    ),
    "pool/pregen/spec.py": {"_refuse": "defect_spec", "read_defect_spec": "defect_spec"},
    # Files of the run; those that the user hands in have a check each, named at their readers.
    "core/pickles.py": {"refuse": "backbone_file"},
    "core/reading.py": dict.fromkeys(
        ("_guarded", "as_text", "read_bytes", "read_json", "require_file", "stop_of"), CHANGED
    ),
    "record/records.py": {"refuse": CHANGED},
    "run/roots.py": {"paths_here": CHANGED},
    "run/handover.py": {"settings_of": "handover_settings", "kpi_of": "handover_settings"},
    "run/state_rebuilt.py": {"_stop_of": CHANGED},
    "pool/corrected_laps.py": {"kept_corrections": CHANGED},
    "tables/corrected.py": {"unknown_rows": "corrections", "stale": "corrections"},
    "tables/corrections.py": {"_stop": "corrections"},
    "rca/routing.py": {"route_by_label": "routing"},
    "core/schemas/__init__.py": {"checked": CHANGED},
    "tables/sealed.py": {"check": CHANGED, "_other_rows": CHANGED},
    "embedding/shards.py": {"shard_count": CHANGED},
    "stages/context.py": {"damaged": CHANGED},
    "stages/embed_pool.py": {"embed_pool": CHANGED, "_facts_of": CHANGED},
    "stages/encoder.py": {"_baseline": BUG},
    "stages/export_best.py": {"export_best": CHANGED, "refuse_other_decisions": BUG},
    "stages/export_scored.py": {"as_handed_off": CHANGED},
    "stages/export_views.py": {"first_stage": LEARNT},
    "stages/infer.py": {"_scored": "kpi_classes"},
    "stages/rca.py": {"rca": BUG},
    "stages/restore_weights.py": {"restore_weights": CHANGED, "_other_threads": USER},
    "stages/stage_pool.py": {"stage_pool": BUG},
    "stages/weights.py": {"weights_file": CHANGED},
    "mining/strategies/named.py": {"__post_init__": "mining_label_quota"},
    "record/strict.py": {"damaged": CHANGED},
    "tables/changenet_table.py": {"read_table": "table_kpi", "_check_header": "table_kpi",
                  "check_rows": "table_kpi", "check_label_cells": "table_kpi"},
    "run/containers/command.py": {"hydra": "containers"},
    "tao/embed.py": {"missing": CHANGED, "read_vectors": TAO},
    "stages/tao_rca.py": dict.fromkeys(
        ("tao_rca", "read_threshold", "check_threshold", "weak_files", "rows_of"), TAO
    ),
    "stages/tao_infer.py": {"_scored": "kpi_classes", "found_table": TAO, "scores_of": "tao_cells"},
    "run/containers/launch.py": {"require_image": "containers"},
    "tao/mounts.py": {"mounts_for": "containers"},
    "settings/tao.py": {"refuse_native_only": "the configuration's schema"},
    "tao/spec.py": {"check_tao": "spec", "container_spec": "spec"},
    "stages/tao_train.py": {"_trained": CHANGED, "_collect": TAO, "_facts": "tao_intervals"},
    "core/weight_files.py": dict.fromkeys(
        ("refuse_foreign", "_foreign", "_unreadable"), "backbone_file"
    ),
    "core/yaml_files.py": {"read_yaml": "spec", "read_mapping": "containers"},
}  # fmt: skip


def raisers(path: Path) -> set[str]:
    """Return the functions of a module in which a hard stop is made."""
    found = set()
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "HardStop":
                    found.add(function.name)
    return found


def test_every_later_stop_was_asked_about() -> None:
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        if not name.startswith(ELSEWHERE) and (functions := raisers(path)):
            found[name] = functions
    known = {name: set(functions) for name, functions in ASKED.items()}
    new = {name: functions - known.get(name, set()) for name, functions in found.items()}
    gone = {name: functions - found.get(name, set()) for name, functions in known.items()}
    assert {k: v for k, v in new.items() if v} == {}, "can the pre-flight know? then add a row"
    assert {k: v for k, v in gone.items() if v} == {}


def test_the_checks_that_are_named_exist() -> None:
    text = "".join(path.read_text() for path in sorted((LIBRARY / "preflight").glob("*.py")))
    free = {CHANGED, LEARNT, MACHINE, BUG, TAO, USER, "the configuration's schema"}
    named = {answer for functions in ASKED.values() for answer in functions.values()} - free
    made_up = {n for n in named if f'"{n}"' not in text and f'"{n.rsplit("_", 1)[0]}' not in text}
    made_up -= {n for n in named if n.startswith(("table_", "images_", "leakage_"))}
    assert made_up == set()
