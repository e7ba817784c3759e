"""Summaries, hand-off, artifacts and knowledge base."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import fake_run
import jsonschema
import pytest
import yaml
from fake_run import RUN, FakeRun
from run_results import build_results

from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.core.places import KNOWLEDGE_PAGES
from deft.core.schemas import validate
from deft.kpi.metric_definitions import METRICS
from deft.record import knowledge
from deft.record.artifacts import write_artifacts
from deft.record.handoff import inference_spec, without_augmentation, write_handoff
from deft.record.lenient import Lenient
from deft.record.run_files import load_run
from deft.record.summaries import MAX_WORDS, write_summary
from dl_lab.record import git_state, without_credentials


def artifacts(run: FakeRun, command: str = "snakemake --cores 2") -> Path:
    return write_artifacts(run.dir, run.workspace, command=command, seed=7, code_dir=run.workspace)


def read(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def test_the_kpi_set_is_shown_before_a_phase_was_measured(tmp_path: Path) -> None:
    """As it was read for the run: blanks around a column's name do not hide the column."""
    (tmp_path / "kpi").mkdir()
    text = "input_path,golden_path, label ,object_name\na,g,Bridge,1\na,g,PASS,2\na,g,BRIDGE,3\n"
    (tmp_path / "kpi/testing_set.csv").write_text(text, encoding="utf-8-sig")
    files = load_run(tmp_path / "results/run_1", tmp_path, Lenient())
    assert files.kpi_labels == {"Bridge": 2, "PASS": 1}


# --- summaries -------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["baseline", "iter1", "iter2"])
def test_summaries_are_short_and_tell_the_counts(finished: FakeRun, phase: str) -> None:
    path = write_summary(finished.dir, phase)
    assert path == finished.dir / f"{phase}_summary.md"
    text = path.read_text()
    assert len(text.split()) <= MAX_WORDS
    assert "pp from target" in text and "39/39" in text and "at least 92.61 %" in text
    assert "NOT MET" not in text


def test_a_summary_shows_the_bound_as_it_is_compared(finished: FakeRun) -> None:
    """ "FAR below 0 %" cannot be met, and ``<= 0%`` can; a tiny target divides by no zero."""
    checks = read(finished.dir / "preflight", "checks")
    for far, strict, words in ((0.0, False, "(FAR ≤ 0 % at"), (1e-17, True, "(FAR < 1e-17 % at")):
        checks["kpi_target"] |= {"far_max_pct": far, "strict": strict}
        finished.json("preflight/checks.json", checks)
        assert words in write_summary(finished.dir, "iter1").read_text().replace("\u00a0", " ")


def test_a_long_summary_is_cut_by_whole_lines(finished: FakeRun) -> None:
    metrics = read(finished.dir / "iter1", "metrics")
    one = metrics["labels"]["bridge"]
    metrics["labels"] |= {"a very long defect name " * 12 + str(i): one for i in range(30)}
    finished.json("iter1/metrics.json", metrics)
    text = write_summary(finished.dir, "iter1").read_text()
    assert len(text.split()) <= MAX_WORDS
    assert "- recall 100.00 %" in text


def test_summary_of_the_lap_that_found_nothing(built: dict[str, FakeRun]) -> None:
    text = write_summary(built["exhausted"].dir, "iter1").read_text()
    assert "Not evaluated" in text and "0 new rows" in text


def test_summary_of_an_unknown_phase(finished: FakeRun) -> None:
    with pytest.raises(ValueError, match="iter9"):
        write_summary(finished.dir, "iter9")


# --- hand-off --------------------------------------------------------------------------------


def test_handoff_takes_the_lowest_far(finished: FakeRun) -> None:
    model = write_handoff(finished.dir, finished.workspace, finished.decision)
    assert model == read(finished.dir, "best_model")
    results = build_results(finished.dir, finished.workspace)
    assert model["iteration"] == "iter1"
    assert model["far_pct"] == min(results[f"{p}.far_pct"] for p in ("baseline", "iter1", "iter2"))
    for name in ("checkpoint", "images_dir", "training_spec"):
        assert Path(model[name]).is_absolute() and Path(model[name]).exists()
    assert model["bounds"]["recall_lower95_pct"] == results["best.recall_lower95_pct"]
    assert model["kpi_met"] is False
    assert model["kpi_target"]["far_max_pct"] == 0.1


def test_inference_spec(finished: FakeRun) -> None:
    model = write_handoff(finished.dir, finished.workspace, finished.decision)
    spec = yaml.safe_load((finished.dir / "best_model_inference_spec.yaml").read_text())
    classify = spec["dataset"]["classify"]
    assert not {"train_dataset", "validation_dataset", "test_dataset"} & set(classify)
    assert classify["infer_dataset"] == {"csv_path": "", "images_dir": ""}
    assert classify["input_map"] == fake_run.SPEC["dataset"]["classify"]["input_map"]
    inference = {"batch_size": 8, "checkpoint": "/model/best.pth", "results_dir": ""}
    assert spec["inference"] == inference and spec["results_dir"] == ""
    assert spec["model"]["classify"]["eval_margin"] == model["threshold"]
    backbone = fake_run.SPEC["model"]["backbone"] | {"pretrained_backbone_path": ""}
    assert spec["model"]["backbone"] == backbone
    assert spec["train"] == {"classify": {"loss": "ce"}}
    augmentation = classify["augmentation_config"]
    assert augmentation["rgb_input_mean"] == [0.485, 0.456, 0.406]
    assert augmentation["random_flip"]["enable"] is False
    assert augmentation["with_random_blur"] is False and augmentation["augment"] is False
    assert "secret.pth" not in json.dumps(spec)


def hand_off(run: FakeRun, found: str | None, named: str) -> tuple[dict, dict, dict]:
    """Write the hand-off of a run whose pre-flight found this backbone file."""
    path = run.dir / "preflight/checks.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"backbone_file": found}))
    spec = run.workspace / "specs/baseline_spec.yaml"
    spec.parent.mkdir(exist_ok=True)
    spec.write_text(yaml.safe_dump({"model": {"backbone": {"pretrained_backbone_path": named}}}))
    model = write_handoff(run.dir, run.workspace, run.decision)
    specs = [
        yaml.safe_load((run.dir / f"best_model_inference_spec{form}.yaml").read_text())
        for form in ("", "_host")
    ]
    return model, specs[0], specs[1]


@pytest.mark.parametrize(
    ("file", "named", "inside"),
    [
        ("c_radio.pth", "/data/pretrained_models/C-RADIOv2_B.pth", "C-RADIOv2_B.pth"),
        ("c_radio.ckpt", "/data/pretrained_models/C-RADIOv2_B.pth", "c_radio.ckpt"),
        ("c_radio.pth", "/data/elsewhere/a.pth", "c_radio.pth"),
        ("c_radio.pth", "augmentation/backbone/c_radio.pth", "c_radio.pth"),
        ("c_radio.pth", "", "c_radio.pth"),
    ],
)
def test_the_backbone_is_a_file_here_and_a_path_in_the_container(finished, file, named, inside):
    relative = f"augmentation/backbone/{file}"
    model, spec, host = hand_off(finished, relative, named)
    assert model["backbone"] == str((finished.workspace / relative).resolve())
    assert model["backbone_container_path"] == f"/data/pretrained_models/{inside}"
    assert model["backbone_type"] == "c_radio_v2_vit_base_patch16_224"
    assert model["backbone_frozen"] is False
    key = "pretrained_backbone_path"
    assert spec["model"]["backbone"].pop(key) == model["backbone_container_path"]
    assert host["model"]["backbone"].pop(key) == model["backbone"]
    assert spec["inference"].pop("checkpoint") == "/model/best.pth"
    assert host["inference"].pop("checkpoint") == model["checkpoint"]
    assert spec == host  # the two forms differ in paths alone


def test_random_numbers_have_no_file_but_its_folder(finished):
    model, spec, host = hand_off(finished, None, "")
    assert model["backbone"] == str((finished.workspace / "augmentation/backbone").resolve())
    assert model["backbone_container_path"] is None
    for form in (spec, host):
        assert form["model"]["backbone"]["pretrained_backbone_path"] == ""


def test_the_threshold_survives_yaml(finished: FakeRun) -> None:
    spec = inference_spec(fake_run.SPEC, "/w.pth", 0.1 + 0.2)
    again = yaml.safe_load(yaml.safe_dump(spec))
    assert again["model"]["classify"]["eval_margin"] == 0.1 + 0.2
    assert fake_run.SPEC["model"]["classify"]["eval_margin"] == 0.3  # the source is untouched


def test_augmentation_off_keeps_what_is_no_switch() -> None:
    config = {"rgb_input_std": [1, 2, 3], "random_color": {"enable": True, "hue": 0.3}}
    assert without_augmentation(config) == {
        "rgb_input_std": [1, 2, 3],
        "random_color": {"enable": False, "hue": 0.3},
    }


def test_no_phase_no_handoff(built: dict[str, FakeRun]) -> None:
    run = built["untouched"]
    with pytest.raises(HardStop, match=r"kpi\.json"):
        write_handoff(run.dir, run.workspace, run.dir / "baseline/decide/kpi.json")
    assert not (run.dir / "best_model.json").exists()


def test_met_is_handed_off_as_met(built: dict[str, FakeRun]) -> None:
    run = built["met"]
    assert write_handoff(run.dir, run.workspace, run.decision)["kpi_met"] is True


# --- artifacts -------------------------------------------------------------------------------


@pytest.mark.parametrize("situation", fake_run.SITUATIONS)
def test_artifacts_keep_their_schemas(built: dict[str, FakeRun], situation: str) -> None:
    run = built[situation]
    folder = artifacts(run)
    assert folder == run.workspace / "artifacts/runs" / RUN
    for name in ("manifest", "summary", "analysis"):
        validate(name, read(folder, name))
    assert read(folder, "analysis")["results"] == build_results(run.dir, run.workspace)


def test_manifest(finished: FakeRun) -> None:
    write_handoff(finished.dir, finished.workspace, finished.decision)
    manifest = read(artifacts(finished, "snakemake --config hf_token=hf_x seed=7"), "manifest")
    assert manifest["code"]["git"] == {"branch": None, "commit": None, "is_dirty": None}
    assert manifest["run"]["command"] == "snakemake --config hf_token=*** seed=7"
    assert manifest["run"]["run_dir"] == f"results/{RUN}"
    assert manifest["hyperparameters"]["config"]["seed"] == {"source": "user", "value": 7}
    for entry in manifest["outputs"] + manifest["inputs"] + manifest["data"]:
        assert not Path(entry["path"]).is_absolute()
        assert entry["sha256"] == sha256_file(finished.workspace / entry["path"])
    rows = {d["name"]: d["rows"] for d in manifest["data"]}
    assert rows["kpi_testing_set"] == 199 and rows["base_training_set"] == 230
    outputs = {o["path"] for o in manifest["outputs"]}
    assert f"results/{RUN}/best_model.json" in outputs
    assert f"artifacts/runs/{RUN}/analysis.json" in outputs
    text = json.dumps(manifest)
    assert "hf_abcdef" not in text and "hf_x" not in text
    assert str(finished.workspace) not in text


def test_summary_defines_every_metric(finished: FakeRun) -> None:
    folder = artifacts(finished)
    summary = read(folder, "summary")
    assert set(summary["metrics"]) == set(METRICS) == set(summary["metric_definitions"])
    assert summary["metrics"][summary["primary_metric"]] == min(summary["metrics"]["far_pct"], 100)
    results = read(folder, "analysis")["results"]
    for name, (key, *_) in METRICS.items():
        assert summary["metrics"][name] == results[key]
    best = summary["best_checkpoint"]
    assert best["phase"] == "iter1" and (finished.workspace / best["path"]).is_file()


def test_history_has_one_entry_per_phase(finished: FakeRun) -> None:
    history = read(artifacts(finished), "analysis")["history"]
    assert [h["phase"] for h in history] == ["baseline", "iter1", "iter2"]
    assert history[2]["decision"] == "max_iterations"
    assert history[1]["dataset.rows"] == 270


def test_writing_twice_writes_the_same_bytes(
    finished: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deft.record.artifacts.utc_now", lambda: "2026-01-31T12:00:00Z")
    folder = artifacts(finished)
    files = [*folder.iterdir(), *(finished.workspace / "knowledge_base").rglob("*.md")]
    before = {path: path.read_bytes() for path in files}
    monkeypatch.setattr("deft.record.artifacts.utc_now", lambda: "2027-01-31T12:00:00Z")
    artifacts(finished)
    assert {path: path.read_bytes() for path in files} == before
    (finished.dir / "iter2/metrics.json").unlink()
    assert read(artifacts(finished), "manifest")["created_at"].startswith("2027")


def test_a_summary_that_breaks_its_schema_is_refused() -> None:
    with pytest.raises(jsonschema.ValidationError):
        validate(
            "analysis", {"schema_version": 1, "tag": "x", "results": {"a": "1"}, "history": []}
        )


# --- knowledge base ---------------------------------------------------------------------------


def test_knowledge_base(finished: FakeRun) -> None:
    artifacts(finished)
    root = finished.workspace / "knowledge_base"
    for topic in KNOWLEDGE_PAGES:
        assert (root / topic).is_file()
    decisions = (root / "decisions/decisions.md").read_text()
    assert decisions.count("<!-- begin") == 4  # the run and its three phases
    assert "The loop stops: max_iterations." in decisions
    traces = (root / "methodology_traces/evaluation.md").read_text()
    link = f"../../artifacts/runs/{RUN}/analysis.json#results.iter1"
    assert f"[39]({link}.tp) / [39]({link}.ng)" in traces
    assert "kpi/testing_set.csv" in (root / "data/datasets.md").read_text()


def test_sections_are_replaced_and_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    knowledge.upsert_section(path, "run/iter1", r"old \1 text", "Title")
    knowledge.upsert_section(path, "run/iter10", "other", "Title")
    path.write_text(path.read_text() + "\nA person's note.\n")
    knowledge.upsert_section(path, "run/iter1", r"new \g<0> text", "Title")
    text = path.read_text()
    assert "old" not in text and r"new \g<0> text" in text
    assert "other" in text and text.endswith("A person's note.\n")
    assert text.count("# Title") == 1


def test_the_failed_run_records_its_stop(built: dict[str, FakeRun]) -> None:
    run = built["failed"]
    (run.dir / "iter1").mkdir(exist_ok=True)
    (run.dir / "iter1/note.txt").write_text("begun")
    artifacts(run)
    assert "leakage" in (run.workspace / "knowledge_base/decisions/decisions.md").read_text()


# --- provenance -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("x --config NGC_API_KEY=abc", "x --config NGC_API_KEY=***"),
        ("x --config NGC_KEY=abc", "x --config NGC_KEY=***"),
        ("x --hf-token abc --cores 2", "x --hf-token *** --cores 2"),
        ("x --config top_k_per_target=5", "x --config top_k_per_target=5"),
        ("x -i https://me:a@b@host/simple y@z", "x -i https://***@host/simple y@z"),
        ("""x '{"hf_token": "abc"}'""", """x '{"hf_token": ***"""),
        ("x https://host/f?X-Amz-Credential=abc", "x https://host/f?X-Amz-Credential=***"),
    ],
)
def test_credentials_are_taken_out(command: str, kept: str) -> None:
    assert without_credentials(command) == kept


def test_git_state_leaves_the_index_to_who_works_there(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "code.py").write_text("1")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *words], check=True)
    os.utime(tmp_path / "code.py", (0, 0))  # a plain `git status` would write that down
    before = (tmp_path / ".git/index").read_bytes()
    assert git_state(tmp_path)["is_dirty"] is False
    assert (tmp_path / ".git/index").read_bytes() == before


def test_git_state_without_git(tmp_path: Path) -> None:
    assert git_state(tmp_path / "absent") == {"commit": None, "branch": None, "is_dirty": None}
