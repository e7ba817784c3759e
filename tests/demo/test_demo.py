"""The drawn workspace: deterministic, disjoint, complete, and recognisable in its defects."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from deft.changenet.spec import load_spec
from deft.core import layout
from deft.core.errors import HardStop
from deft.core.workspace_source import SOURCE_FILE
from deft.demo import boards, canvas, catalogue, defects, parts
from deft.demo.plan import ROLES, SEEN, UNSEEN, plan_role
from deft.demo.workspace import WorkspaceRequest, make_workspace, picture, spec_text
from deft.pool.pregen.parts import check_allocation, pregen_parts
from deft.tables.changenet_table import COLUMNS, PASS, image_file, read_table
from deft.tables.coordinates import base_rows, pool_rows, read_pool
from deft.tables.leakage import find_key_leaks

SMALL = WorkspaceRequest(seed=5, rows_scale=0.1, size_px=32)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "my workspace"
    make_workspace(out, SMALL)
    return out


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def shown(part: parts.Part, specimen: parts.Specimen, light: str = "SolderLight") -> np.ndarray:
    """Return a noise-free golden-board picture as float (64, 64, 3)."""
    board = replace(boards.golden_board(0), noise=0.0)
    rng = np.random.default_rng(1)
    taken = picture(board, part, specimen, boards.Pose(), (light,), 64, rng)
    return taken[light].astype(float)


def one_part(kind: str) -> parts.Part:
    return next(p for p in catalogue.design_parts(0, 0) if p.kind == kind)


def test_same_request_draws_the_same_bytes(drawn, tmp_path):
    make_workspace(tmp_path / "again", SMALL)
    assert digests(tmp_path / "again") == digests(drawn)


def test_another_seed_draws_other_pictures(drawn, tmp_path):
    make_workspace(tmp_path / "other", replace(SMALL, seed=6))
    mine, other = digests(drawn), digests(tmp_path / "other")
    same = [name for name in mine if name.endswith(".jpg") and other.get(name) == mine[name]]
    assert same == []


def test_every_row_has_its_test_and_golden_picture(drawn):
    spec = load_spec(drawn / layout.SPEC)
    height, width = spec.picture_size
    ext = spec.dataset.classify.image_ext
    tables = [
        base_rows(read_table(drawn / name), drawn)
        for name in (layout.BASE_TABLE, layout.VALIDATION_TABLE, layout.KPI_TABLE)
    ]
    tables.append(pool_rows(read_pool(drawn), drawn))
    for table in tables:
        assert len(table)
        assert list(table.columns) == list(COLUMNS)
        for row in table.itertuples():
            for folder in (row.input_path, row.golden_path):
                for light in spec.lights:
                    file = image_file(drawn, folder, row.object_name, light, ext)
                    with Image.open(file) as opened:
                        assert opened.size == (width, height)


def test_pool_table_names_files(drawn):
    cells = read_table(drawn / layout.POOL_TABLE)["input_path"]
    assert cells.str.match(r"images/B\d+/[A-Z]+\d+@\d_SolderLight\.jpg").all()


def test_roles_share_neither_sample_nor_board_nor_picture(drawn):
    sides = {
        name: base_rows(read_table(drawn / table), drawn)
        for name, table in (
            ("base", layout.BASE_TABLE),
            ("validation", layout.VALIDATION_TABLE),
            ("kpi", layout.KPI_TABLE),
        )
    }
    sides["pool"] = pool_rows(read_pool(drawn), drawn)
    pixels: dict[str, set[str]] = {}
    for name, rows in sides.items():
        pixels[name] = {
            hashlib.sha256(
                image_file(drawn, r.input_path, r.object_name, "SolderLight", ".jpg").read_bytes()
            ).hexdigest()
            for r in rows.itertuples()
        }
        assert len(pixels[name]) == len(rows)
    names = sorted(sides)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert find_key_leaks(sides[a], sides[b]) == []
            assert not set(sides[a]["boardname"]) & set(sides[b]["boardname"])
            assert not pixels[a] & pixels[b]


def test_base_lacks_what_pool_and_kpi_have(drawn):
    labels = {
        name: set(read_table(drawn / table)["label"])
        for name, table in (
            ("base", layout.BASE_TABLE),
            ("validation", layout.VALIDATION_TABLE),
            ("kpi", layout.KPI_TABLE),
            ("pool", layout.POOL_TABLE),
        )
    }
    assert labels["base"] == labels["validation"] == {PASS, *SEEN}
    assert labels["kpi"] == labels["pool"] == {PASS, *SEEN, *UNSEEN}


def test_pairs_are_accepted_by_the_staging(drawn):
    found = pregen_parts(drawn, ["SolderLight"])
    check_allocation(found, drawn)
    assert {part.label for part in found} == set(defects.DEFECTS)
    for part in found:
        ng, ok = (np.asarray(Image.open(side[""]), float) for side in (part.ng, part.ok))
        assert np.abs(ng - ok).mean() > 1.0


def test_two_lights_show_one_scene_twice(tmp_path):
    request = WorkspaceRequest(seed=1, rows_scale=0.02, lights=2, size_px=32)
    make_workspace(tmp_path / "two", request)
    spec = load_spec(tmp_path / "two" / layout.SPEC)
    assert spec.lights == list(canvas.LIGHTS)
    row = read_table(tmp_path / "two" / layout.KPI_TABLE).iloc[0]
    folder = tmp_path / "two" / layout.KPI_IMAGES
    files = [image_file(folder, row.input_path, row.object_name, x, ".jpg") for x in spec.lights]
    first, second = (np.asarray(Image.open(f), float) for f in files)
    assert np.abs(first - second).mean() > 5.0


@pytest.mark.parametrize("defect", defects.DEFECTS)
@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_each_defect_shows_more_than_good_parts_vary(defect, severity):
    """The slightest reject must still be visible, else no model could reach full recall."""
    for kind in defects.SUITS[defect]:
        part = one_part(kind)
        golden = shown(part, parts.Specimen())
        calm = np.random.default_rng(7)
        benign = shown(part, replace(defects.good(part, 0.0, calm), dust=0))
        spoilt = defects.spoil(parts.Specimen(), part, defect, severity, np.random.default_rng(3))
        bad = np.abs(shown(part, spoilt) - golden).max(axis=2)
        good = np.abs(benign - golden).max(axis=2)
        assert np.sort(bad.ravel())[-40:].mean() > 1.2 * np.sort(good.ravel())[-40:].mean(), kind


@pytest.mark.parametrize("defect", ["shift", "excess_solder"])
def test_severity_grows_what_is_seen(defect):
    part = one_part("resistor")
    golden = shown(part, parts.Specimen())

    def change(severity: float) -> float:
        spoilt = defects.spoil(parts.Specimen(), part, defect, severity, np.random.default_rng(2))
        return float(np.abs(shown(part, spoilt) - golden).mean())

    assert change(1.0) > change(0.5) > change(0.0) > 0


def test_a_kind_cannot_have_a_foreign_defect():
    with pytest.raises(ValueError, match="cannot have"):
        defects.spoil(
            parts.Specimen(), one_part("capacitor"), "lifted_lead", 0.5, np.random.default_rng(0)
        )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**31), scale=st.floats(0.05, 1.5), name=st.sampled_from(sorted(ROLES)))
def test_plans_keep_their_counts_and_never_use_a_part_twice(seed, scale, name):
    role = ROLES[name]
    samples = plan_role(seed, role, scale)
    counted = {label: 0 for label in role.counts(scale)}
    for sample in samples:
        counted[sample.label] += 1
        assert sample.label == PASS or sample.part.kind in defects.SUITS[sample.label]
        assert 0.0 <= sample.severity <= 1.0
    expected = role.counts(scale)
    if not role.good:
        expected[PASS] = 0
    assert counted == expected
    places = [(s.board.name, s.part.name) for s in samples]
    assert len(set(places)) == len(places)


def test_same_request_again_leaves_a_grown_pool_alone(tmp_path):
    tiny = replace(SMALL, rows_scale=0.01)
    assert make_workspace(tmp_path, tiny)
    with (tmp_path / layout.POOL_TABLE).open("a", encoding="utf-8") as handle:
        handle.write("images/new,golden/D0,PASS,R1@1" + "," * 10 + "\n")
    before = digests(tmp_path)
    assert make_workspace(tmp_path, tiny) == {}
    assert digests(tmp_path) == before


def test_another_request_is_refused_and_changes_nothing(drawn):
    before = digests(drawn)
    with pytest.raises(HardStop, match="another request.*seed: there 5, asked 9") as stop:
        make_workspace(drawn, replace(SMALL, seed=9))
    assert stop.value.code == "config_invalid"
    assert digests(drawn) == before


def test_a_foreign_workspace_is_refused(tmp_path):
    (tmp_path / "kpi").mkdir()
    (tmp_path / "kpi" / "testing_set.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(HardStop, match="already holds kpi"):
        make_workspace(tmp_path, SMALL)
    assert digests(tmp_path).keys() == {"kpi/testing_set.csv"}


def test_an_unfinished_drawing_is_drawn_again(drawn, tmp_path):
    source = json.loads((drawn / SOURCE_FILE).read_text())
    out = tmp_path / "half"
    (out / "kpi").mkdir(parents=True)
    (out / "kpi" / "testing_set.csv").write_text("half", encoding="utf-8")
    (out / SOURCE_FILE).write_text(json.dumps({**source, "complete": False}))
    assert make_workspace(out, SMALL)
    assert digests(out) == digests(drawn)


@pytest.mark.parametrize(
    "wrong", [{"size_px": 50}, {"lights": 3}, {"rows_scale": 0}, {"seed": -1}, {"size_px": 16}]
)
def test_wrong_settings_are_named(tmp_path, wrong):
    with pytest.raises(HardStop, match=f"demo.{next(iter(wrong))}"):
        make_workspace(tmp_path, replace(SMALL, **wrong))
    assert list(tmp_path.iterdir()) == []


def test_the_command_takes_settings_and_options(tmp_path):
    command = [
        sys.executable,
        str(Path(__file__).resolve().parents[2] / "scripts" / "demo_workspace.py"),
        *("--out", str(tmp_path / "o u t"), "--seed", "3", "--log", str(tmp_path / "log.txt")),
        *("--config-json", '{"rows_scale": 0.01, "size_px": 32}'),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pregen" in done.stdout and (tmp_path / "log.txt").read_text() == done.stdout
    request = json.loads((tmp_path / "o u t" / SOURCE_FILE).read_text())["request"]
    assert (request["seed"], request["rows_scale"], request["size_px"]) == (3, 0.01, 32)
    wrong = subprocess.run([*command[:-1], '{"rows": 1}'], capture_output=True, text=True)
    assert wrong.returncode != 0 and "unknown setting(s) in demo: rows" in wrong.stderr


def test_spec_follows_size_and_lights_and_keeps_its_comments():
    text = spec_text(WorkspaceRequest(size_px=96, lights=2))
    assert "image_width: 96" in text and "num_input: 2" in text
    assert "{SolderLight: 0, WhiteLight: 1}" in text
    assert text.count("#") == spec_text(WorkspaceRequest()).count("#")


@pytest.mark.parametrize(("rows", "batch"), [(16, 8), (31, 15), (32, 32), (296, 32), (3, 2)])
def test_a_batch_never_exceeds_the_training_rows(rows, batch):
    """The smallest workspaces must train, and larger ones keep their spec to the byte."""
    text = spec_text(WorkspaceRequest(rows_scale=0.05, size_px=32), base_rows=rows)
    assert yaml.safe_load(text)["dataset"]["classify"]["batch_size"] == batch
    assert (text == spec_text(WorkspaceRequest(rows_scale=0.05, size_px=32))) == (rows >= 32)
