"""``register_pictures``: test pictures are laid on their goldens once, and so are new boards.

Boards are moved here by rolling a larger drawing, not by the code that takes the move back.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import workflow_tools
from handoff_folder import COLUMNS, made_bundle
from picture_folders import save
from PIL import Image
from planted_causes import golden_picture
from tiny_workspace import make_tiny_workspace

from deft.core import layout
from deft.core.errors import HardStop
from deft.core.reading import read_json
from deft.core.registered import kind_of, require
from deft.core.workspace_source import SOURCE_FILE
from deft.importers import registered
from deft.importers.build import build
from deft.importers.folder_settings import FolderSettings
from deft.importers.plan import plan
from deft.importers.registered import PARTS, register_workspace
from deft.importers.sources import find_goldens, read_source
from deft.preflight.run import run_preflight
from deft.score_kit.prepare import Preparer, facts_of, read_facts
from deft.score_kit.registration import align
from deft.score_kit.table import read_parts
from deft.settings.config import resolve
from deft.settings.kpi_target import parse_kpi
from deft.tables.changenet_table import read_table, write_table

LIGHT = "SolderLight"
SHIFT = (3, -2)  # px right, down


def moved(golden: np.ndarray, dx: int, dy: int, seed: int) -> np.ndarray:
    """Return the golden's picture taken (dx, dy) off, with noise; edges show what lies outside."""
    noise = np.random.default_rng(seed).normal(0, 2, golden.shape)
    return np.clip(np.roll(golden, (dy, dx), (0, 1)) + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A tiny workspace; the KPI's board B1 and the pool lie three pixels off, B0 lies right."""
    made = make_tiny_workspace(tmp_path / "taken", base=6, validation=6, kpi=12, pool=6, pregen=2)
    for name in (layout.KPI_TABLE, layout.POOL_TABLE):
        table = read_table(made / name)
        for i, row in enumerate(table.itertuples()):
            golden = golden_picture(np.random.default_rng([i, len(name)]))
            off = name == layout.POOL_TABLE or i % 2 == 1
            test = moved(golden, *(SHIFT if off else (0, 0)), seed=i)
            root = made / ("kpi/images" if name == layout.KPI_TABLE else layout.POOL_DIR)
            file = f"{row.object_name}_{LIGHT}.png"
            folder = row.input_path if "." not in Path(row.input_path).name else None
            save(root / folder / file if folder else root / row.input_path, test)
            save(made / "kpi/images" / row.golden_path / file, golden)
            table.loc[i, "boardname"] = f"B{i % 2}"
        write_table(table, made / name)
    return made


def kpi_picture(workspace: Path, row: int, column: str = "input_path") -> Path:
    table = read_table(workspace / layout.KPI_TABLE)
    folder = workspace / "kpi/images" / table[column][row]
    return folder / f"{table['object_name'][row]}_{LIGHT}.png"


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")).astype(int)


def off_by(workspace: Path, row: int) -> float:
    inner = slice(8, -8)
    test, golden = (pixels(kpi_picture(workspace, row, c)) for c in ("input_path", "golden_path"))
    return float(np.abs(test - golden)[inner, inner].mean())


def test_what_lies_off_is_taken_back_and_all_else_is_the_same_file(workspace, tmp_path) -> None:
    out = tmp_path / "laid"
    lines = register_workspace(workspace, out, "shift")
    parts = pd.read_csv(out / PARTS, keep_default_na=False)
    assert lines[0].startswith(f"{len(parts)} parts: 12 moved onto their goldens (median 3.6 px")
    for row in (1, 3, 5):
        assert off_by(workspace, row) > 8 and off_by(out, row) < 4
    for row in (0, 2):
        assert kpi_picture(out, row).samefile(kpi_picture(workspace, row))
    assert kpi_picture(out, 1, "golden_path").samefile(kpi_picture(workspace, 1, "golden_path"))
    for name in (*layout.TABLES.values(), layout.SPEC):
        assert (out / name).read_bytes() == (workspace / name).read_bytes()
        assert not (out / name).samefile(workspace / name)  # a pool's table is appended to
    assert kind_of(out) == "shift" and kind_of(workspace) == "off"
    assert not list(out.rglob("*.tmp"))


def test_it_is_done_once_and_what_grows_is_added(workspace, tmp_path, monkeypatch) -> None:
    out, calls = tmp_path / "laid", []
    (workspace / "deft.yaml").write_text("kpi: FAR < 1% at recall=95%\n")
    spied = lambda *given: calls.append(1) or align(*given)  # noqa: E731
    monkeypatch.setattr(registered, "align", spied)
    register_workspace(workspace, out, "shift")
    assert (out / "deft.yaml").read_text() == "kpi: FAR < 1% at recall=95%\n"
    (out / "deft.yaml").write_text("kpi: FAR < 2% at recall=95%\n")  # theirs to change
    first, whole = len(calls), {p: p.stat().st_ino for p in out.rglob("*.png")}
    told = register_workspace(workspace, out, "shift")
    assert len(calls) == first
    assert {p: p.stat().st_ino for p in out.rglob("*.png")} == whole

    pool = read_table(workspace / layout.POOL_TABLE)
    row = pool.iloc[0].copy()
    golden = golden_picture(np.random.default_rng(99))
    row["object_name"], row["input_path"] = "grown", "images/grown"
    save(
        workspace / layout.POOL_DIR / "images/grown" / f"grown_{LIGHT}.png", moved(golden, 4, 1, 9)
    )
    save(workspace / "kpi/images" / row["golden_path"] / f"grown_{LIGHT}.png", golden)
    write_table(pd.concat([pool, row.to_frame().T]), workspace / layout.POOL_TABLE)
    check = preflight(out)
    assert check.status == "warn" and layout.POOL_TABLE in check.evidence
    grown = register_workspace(workspace, out, "shift")
    assert len(calls) == first + 1 and grown != told
    assert preflight(out).status == "ok"
    assert (out / "deft.yaml").read_text() == "kpi: FAR < 2% at recall=95%\n"


def preflight(workspace: Path):
    config = resolve({"encoder": "changenet", "device": "cpu"})
    run = workspace / "results/run_1"
    result = run_preflight(workspace, run, config, sources={}, log=lambda line: None)
    found = {check.id: check for check in result.checks}
    assert "B1" not in found["registration"].evidence
    return found["registered_pictures"]


def test_a_table_that_was_changed_there_is_not_overwritten(workspace, tmp_path) -> None:
    out = tmp_path / "laid"
    register_workspace(workspace, out, "shift")
    table = out / layout.KPI_TABLE
    table.write_text(table.read_text().replace("B1", "B7"))
    with pytest.raises(HardStop, match="changed here") as stop:
        register_workspace(workspace, out, "shift")
    assert Path(stop.value.file) == table and "B7" in table.read_text()


@pytest.mark.parametrize("place", ["taken", "taken/inside", "."])
def test_a_place_that_overlaps_is_refused(workspace, tmp_path, place) -> None:
    before = sorted(workspace.rglob("*"))
    with pytest.raises(HardStop, match="lie in each other"):
        register_workspace(workspace, tmp_path / place, "shift")
    assert sorted(workspace.rglob("*")) == before


def test_other_requests_and_wrong_sources_are_refused(workspace, tmp_path) -> None:
    out = tmp_path / "laid"
    register_workspace(workspace, out, "shift")
    with pytest.raises(HardStop, match="another request"):
        register_workspace(workspace, out, "euclidean")
    with pytest.raises(HardStop, match="registered already"):
        register_workspace(out, tmp_path / "twice", "shift")
    with pytest.raises(HardStop, match="is no folder"):
        register_workspace(tmp_path / "absent", tmp_path / "b", "shift")
    spec = (workspace / layout.SPEC).read_text()
    several = spec.replace("num_golden: 1", "num_golden: 2").replace(
        "image_width: 32", "image_width: 224"
    )
    several = several.replace("image_height: 32", "image_height: 224")
    (workspace / layout.SPEC).write_text(several)
    with pytest.raises(HardStop, match="num_golden is 2"):
        register_workspace(workspace, tmp_path / "b", "shift")
    (workspace / layout.SPEC).write_text(spec)
    table = read_table(workspace / layout.KPI_TABLE)
    table.loc[0, "golden_path"] = str(workspace / "kpi/images" / table["golden_path"][0])
    write_table(table, workspace / layout.KPI_TABLE)
    with pytest.raises(HardStop, match="is absolute"):
        register_workspace(workspace, tmp_path / "b", "shift")
    assert not (tmp_path / "b").exists()


def test_an_interrupted_one_goes_on_and_says_so_until_it_is_whole(
    workspace, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "laid"
    monkeypatch.setattr(registered, "KEEP_EVERY", 5)
    real, calls = align, []

    def dies(*given):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(registered, "align", dies)
    with pytest.raises(KeyboardInterrupt):
        register_workspace(workspace, out, "shift")
    assert not (out / layout.KPI_TABLE).exists() and kind_of(out) == "off"
    assert read_json(out / SOURCE_FILE, {})["complete"] is False
    with (out / PARTS).open("a") as half:  # of a line that was being written
        half.write("kpi/images/board,12:")
    register_workspace(workspace, out, "shift")
    parts = len(pd.read_csv(out / PARTS))
    assert len(calls) < parts + 12  # what was done stays done
    assert kind_of(out) == "shift"


def test_a_broken_picture_is_told_and_left(workspace, tmp_path) -> None:
    broken = kpi_picture(workspace, 1)
    broken.write_bytes(broken.read_bytes()[:200])
    lines = register_workspace(workspace, tmp_path / "laid", "shift")
    assert any("1 not read" in line and broken.name in line for line in lines)
    assert kpi_picture(tmp_path / "laid", 1).read_bytes() == broken.read_bytes()


def test_a_setting_that_the_workspace_does_not_follow_is_a_stop(workspace, tmp_path) -> None:
    require(workspace, "off")
    require(workspace, False)  # YAML's off
    with pytest.raises(HardStop, match="as they were taken") as stop:
        require(workspace, "shift")
    assert "register_from=" in stop.value.fix
    out = tmp_path / "laid"
    register_workspace(workspace, out, "shift")
    require(out, "shift")
    require(out, "off")
    with pytest.raises(HardStop, match="registered by shift"):
        require(out, "euclidean")
    (out / layout.REGISTERED).write_text('{"register": 3}')
    with pytest.raises(HardStop, match="damaged"):
        require(out, "off")


def test_lights_move_together_and_an_aligned_part_is_its_own_result() -> None:
    golden = golden_picture(np.random.default_rng(5))
    flat = np.full_like(golden, 90)  # of this light alone nothing could be said
    known = [np.repeat(p[..., None], 3, 2) for p in (flat, golden)]
    dot = flat.copy()
    dot[40:44, 50:54] = 250
    tests = [np.repeat(moved(p, *SHIFT, seed=1)[..., None], 3, 2) for p in (dot, golden)]
    one = align(tests, known, "shift")
    assert one.moved and (one.dx_px, one.dy_px) == pytest.approx(SHIFT, abs=0.25)
    where = np.argwhere(one.lights[0][..., 0] > 200).mean(0)
    assert where == pytest.approx([41.5, 51.5], abs=0.3)
    again = align(one.lights, known, "shift")
    assert not again.moved and all(map(np.array_equal, again.lights, one.lights))


def test_the_hand_off_lays_new_boards_as_the_training_s_were(tmp_path) -> None:
    folder = tmp_path / "best_model"
    made_bundle(folder)
    facts = read_json(folder / "preprocessing.json")
    lights, rows = facts["lights"], []
    taken, laid = tmp_path / "taken", tmp_path / "laid"
    for i in range(3):
        golden = np.repeat(golden_picture(np.random.default_rng(i))[..., None], 3, 2)
        tests = [moved(golden, *SHIFT, seed=10 * i + k) for k in range(len(lights))]
        kept = align(tests, [golden] * len(lights), "shift")
        assert kept.moved
        for light, test, one in zip(lights, tests, kept.lights, strict=True):
            name = f"p{i}_{light}.png" if light else f"p{i}.png"
            for root, picture in ((taken, test), (laid, one)):
                save(root / "in" / name, picture)
                save(root / "gold" / name, golden)
        rows.append(("in", "gold", "PASS", f"p{i}"))
    table = tmp_path / "parts.csv"
    pd.DataFrame(rows, columns=COLUMNS).to_csv(table, index=False)
    shapes = [np.zeros((3, *s[1:]), np.float32) for s in [read_facts(folder).input_shape] * 2]
    inputs = {}
    for root, kind in ((taken, "shift"), (laid, "off"), (taken, "off")):
        known = facts_of({**facts, "register": kind})
        parts = read_parts(table, root, known)
        for row in range(3):
            out = [side.copy() for side in shapes]
            Preparer(known).write_pair(parts.test[row], parts.golden[row], out)
            inputs[root.name, kind, row] = out[0]
    for row in range(3):
        assert np.array_equal(inputs["taken", "shift", row], inputs["laid", "off", row])
        assert not np.array_equal(inputs["taken", "off", row], inputs["laid", "off", row])
    for wrong in ({"register": "turn"}, {"register": "shift", "num_golden": 2}):
        with pytest.raises(ValueError, match="register"):
            facts_of({**facts, **wrong})


def test_import_folder_registers_on_request(tmp_path) -> None:
    root = tmp_path / "boards"
    for i in range(24):
        golden = golden_picture(np.random.default_rng(i))
        test = moved(golden, *SHIFT, seed=i)
        if i % 3 == 0:
            test[40:52, 40:52] = 255 - test[40:52, 40:52]
        name = f"B{i // 2:02d}_{i}.png"
        save(root / ("NG/short" if i % 3 == 0 else "OK") / name, test)
        save(root / "golden" / name, golden)
    target = parse_kpi("FAR < 10% at recall=90%")
    made = {}
    for kind in ("off", "shift"):
        settings = FolderSettings(
            root=str(root), golden="golden", seed=1, board="(B[0-9]+)_", register=kind
        )
        planned = plan(read_source(settings), settings, target, find_goldens)
        made[kind] = tmp_path / kind
        build(planned, settings, made[kind])
    assert kind_of(made["shift"]) == "shift" and kind_of(made["off"]) == "off"
    request = read_json(made["off"] / SOURCE_FILE, {})["request"]
    assert "register" not in request  # workspaces of earlier versions are known again
    counts = read_json(made["shift"] / layout.REGISTERED, {})["counts"]
    assert counts["parts"] == 24 and counts["moved"] >= 20
    for name in layout.TABLES.values():
        assert (made["off"] / name).read_bytes() == (made["shift"] / name).read_bytes()
    row = read_table(made["shift"] / layout.KPI_TABLE).iloc[0]
    inner, apart = slice(8, -8), {}
    for kind, place in made.items():
        light = next(
            iter((place / "kpi/images" / row["input_path"]).glob(f"{row['object_name']}_*"))
        )
        golden = place / "kpi/images" / row["golden_path"] / light.name
        apart[kind] = np.abs(pixels(light) - pixels(golden))[inner, inner].mean()
    assert 2 * apart["shift"] < apart["off"]


@pytest.mark.slow
def test_a_registered_workspace_is_handed_off_with_its_registration(workspace, tmp_path) -> None:
    out = tmp_path / "laid"
    asked = {"register": "shift", "register_from": workspace.name}  # beside where it is typed
    typed = workflow_tools.working_folder(out)
    (typed / workspace.name).symlink_to(workspace)
    made = workflow_tools.snakemake(out, "register_pictures", config=asked)
    assert "12 moved onto their goldens" in workflow_tools.succeed(made)
    stop = workflow_tools.snakemake(workspace, config={"register": "shift"})
    assert stop.returncode == 1 and "register_pictures" in stop.stdout
    workflow_tools.succeed(workflow_tools.snakemake(out, config={"max_iterations": 1, **asked}))
    folder = out / "results" / workflow_tools.RUN / "best_model"
    assert read_json(folder / "preprocessing.json")["register"] == "shift"
    assert "were laid on their goldens" in (folder / "README.md").read_text()

    # The hand-off alone gives the pictures as they were taken the scores of the registered ones.
    scores = {}
    for root in (workspace, out):
        command = [sys.executable, str(folder / "score.py"), "--csv", str(root / layout.KPI_TABLE)]
        command += ["--images", str(root / "kpi/images"), "--out", str(tmp_path / "scores.csv")]
        subprocess.run(command, check=True, capture_output=True)
        scores[root] = pd.read_csv(tmp_path / "scores.csv")["score"].to_numpy()
        (tmp_path / "scores.csv").unlink()
    assert np.array_equal(scores[workspace], scores[out])
    row = read_table(out / layout.KPI_TABLE).iloc[1]  # of the board that lies off
    pair = [
        str(workspace / "kpi/images" / at / f"{row.object_name}_{LIGHT}.png")
        for at in (row.input_path, row.golden_path)
    ]
    example = [sys.executable, "score_pair.py", *pair]
    told = subprocess.run(example, cwd=folder, check=True, capture_output=True, text=True)
    assert float(told.stdout.split()[0]) == pytest.approx(scores[out][1], abs=1e-6)
