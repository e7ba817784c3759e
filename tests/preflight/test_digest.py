"""What voids an approval and what does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_workspace import make_tiny_workspace

from deft.core.layout import BASE_TABLE, POOL_TABLE, PREGEN_NG
from deft.pool.digest import (
    INPUTS_FILE,
    current,
    digest_of,
    explain_changes,
    inputs_digest,
    pool_prefix,
)
from deft.settings.config import resolve

CONFIG = resolve({})


@pytest.fixture
def workspace(tmp_path):
    return make_tiny_workspace(tmp_path, base=3, validation=3, kpi=3, pool=3, pregen=2)


def record(workspace: Path, run: Path) -> dict:
    matter = inputs_digest(workspace, CONFIG)
    path = run / INPUTS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(matter))
    return matter


def test_same_inputs_same_digest(workspace):
    assert digest_of(inputs_digest(workspace, CONFIG)) == digest_of(
        inputs_digest(workspace, dict(reversed(CONFIG.items())))
    )


@pytest.mark.parametrize(
    ("key", "value", "voids"),
    [
        ("top_k_per_target", 7, True),
        ("kpi", "FAR < 1%", True),
        ("device", "cpu", True),
        ("approve", True, False),
        ("workspace", "/elsewhere", False),
        ("run", "run_1", False),
        ("search_memory_mb", 64, False),
    ],
)
def test_parameters_that_count(workspace, key, value, voids):
    old = inputs_digest(workspace, CONFIG)
    new = inputs_digest(workspace, {**CONFIG, key: value})
    assert (digest_of(old) != digest_of(new)) is voids
    changes = explain_changes(old, new)
    if voids:
        assert changes == [f"{key}: {json.dumps(CONFIG[key])} → {json.dumps(value)}"]
    else:
        assert changes == []


def test_every_result_parameter_is_covered():
    covered = inputs_digest("/nowhere", CONFIG)["parameters"]
    wanted = (
        "kpi max_iterations top_k_per_target top_k_per_label min_similarity mining routing encoder "
        "encoder_weights training_epochs seed engine runtime upstream_compat content_leakage device"
    )
    assert set(wanted.split()) <= covered.keys()


def test_an_edited_table_is_named(workspace):
    old = inputs_digest(workspace, CONFIG)
    with (workspace / BASE_TABLE).open("a") as handle:
        handle.write("x,y,PASS,z,,,,,,,,,,\n")
    changes = explain_changes(old, inputs_digest(workspace, CONFIG))
    assert len(changes) == 1 and changes[0].startswith(BASE_TABLE)


def test_pregen_files_count_by_name_and_size(workspace):
    old = inputs_digest(workspace, CONFIG)
    (workspace / PREGEN_NG / "new.png").write_bytes(b"1")
    changed = explain_changes(old, inputs_digest(workspace, CONFIG))
    assert changed == ["augmentation/anomalygen: files were added, removed or changed in size"]
    (workspace / PREGEN_NG / "new.png").unlink()
    assert inputs_digest(workspace, CONFIG) == old


def test_appended_pool_rows_do_not_void_but_edits_do(workspace):
    run, table = workspace / "results/run_1", workspace / POOL_TABLE
    matter = record(workspace, run)
    before = table.read_text()
    table.write_text(before + "images,golden/pool,PASS,R9,,,,,,,,,,\n")
    assert current(workspace, run, CONFIG) == matter
    assert pool_prefix(run) == len(before.encode())
    table.write_text(before.replace("R3001@1", "R3001@2"))
    assert "edited or removed" in explain_changes(matter, current(workspace, run, CONFIG))[0]
    table.write_text("\n".join(before.splitlines()[:-1]) + "\n")
    assert "edited or removed" in explain_changes(matter, current(workspace, run, CONFIG))[0]
    table.unlink()
    assert explain_changes(matter, current(workspace, run, CONFIG)) == [f"{POOL_TABLE}: is gone"]


def test_parsing_the_snakefile_stays_light():
    code = (
        "import sys, deft.pool.digest as d; d.inputs_digest('.', {});"
        "heavy = {'pandas', 'numpy', 'torch', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    scripts = Path(__file__).parents[2] / "scripts"
    subprocess.run([sys.executable, "-c", code], cwd=scripts, check=True)
