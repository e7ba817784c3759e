"""The hand-off beside the one that NVIDIA's own script makes of the same run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from nvidia_skills import needs_skills, run_aoi, succeeded

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))
import fake_run  # noqa: E402

from deft.changenet.spec import load_spec  # noqa: E402
from deft.record.handoff import write_handoff  # noqa: E402

IN_A_CONTAINER = "/data/pretrained_models/C-RADIOv2_B.pth"
FILES = ("best_model.json", "best_model_inference_spec.yaml")


def finished(tmp_path, *, named: str, staged: str | None):
    """Return a finished run whose spec names a backbone and whose workspace has one staged."""
    run = fake_run.finished(tmp_path)
    spec = yaml.safe_load(yaml.safe_dump(fake_run.SPEC))
    spec["model"]["backbone"]["pretrained_backbone_path"] = named
    spec["model"]["decode_head"]["feature_strides"] = [4, 8, 16, 32]
    user_spec = run.workspace / "specs/baseline_spec.yaml"
    user_spec.parent.mkdir(exist_ok=True)
    user_spec.write_text(yaml.safe_dump(spec))
    folder = run.workspace / "augmentation/backbone"
    folder.mkdir(parents=True, exist_ok=True)
    relative = None
    if staged:
        (folder / staged).write_bytes(b"weights")
        relative = f"augmentation/backbone/{staged}"
    checks = run.dir / "preflight/checks.json"
    checks.write_text(json.dumps(json.loads(checks.read_text()) | {"backbone_file": relative}))
    phases = {}
    for phase in ("baseline", "iter1", "iter2"):
        trained = run.dir / phase / "train/experiment.yaml"
        if trained.is_file():
            trained.write_text(yaml.safe_dump({**spec, "results_dir": f"results/{phase}"}))
        metrics = json.loads((run.dir / phase / "metrics.json").read_text())
        point = metrics["kinds"][metrics["chosen"]]["recall_point"]
        phases[phase] = {
            "status": "complete",
            "far_pct": point["far_pct"],
            "threshold": point["threshold"],
            "best_ckpt_path": str((run.dir / phase / metrics["weights"]["path"]).resolve()),
        }
    state = json.loads((run.dir / "deft_state.json").read_text())
    state["kpi_target"] = "FAR < 0.1% at Recall=100%"
    state["iterations"] = phases
    state["config"] |= {
        "specs_file": str(user_spec),
        "backbone_weight_dir": str(folder),
        "images_dir": str((run.workspace / "kpi/images").resolve()),
    }
    (run.dir / "deft_state.json").write_text(json.dumps(state))
    return run


def both(run, variant):
    """Return (our model, our spec, their model, their spec) of one run."""
    write_handoff(run.dir, run.workspace, run.decision)
    model, text = ((run.dir / name).read_text() for name in FILES)
    succeeded(run_aoi(variant, "prepare_inference_spec.py", "--results-dir", run.dir))
    theirs, their_text = ((run.dir / name).read_text() for name in FILES)
    return json.loads(model), yaml.safe_load(text), json.loads(theirs), yaml.safe_load(their_text)


@needs_skills
@pytest.mark.parametrize("variant", ["ea", "cur"])
def test_their_script_makes_the_same_of_our_run(tmp_path, variant):
    run = finished(tmp_path, named=IN_A_CONTAINER, staged="c_radio_v2_b.pth")
    ours, spec, theirs, their_spec = both(run, variant)
    # EA reads the user's spec where ours names the phase's own (docs/interop.md).
    # The threshold lies between two scores here, theirs is a part's own, our ``kpi_threshold``.
    assert theirs["threshold"] == ours["kpi_threshold"]
    for margin in (spec, their_spec):
        del margin["model"]["classify"]["eval_margin"]
    on_purpose = {"training_spec", "metric_contract", "metric_result", "threshold"}
    assert set(theirs) - on_purpose <= set(ours)
    assert {k: ours[k] for k in theirs if k not in on_purpose} == {
        k: v for k, v in theirs.items() if k not in on_purpose
    }
    for part in ("task", "results_dir", "model"):
        assert spec[part] == their_spec[part], part
    assert spec["inference"]["checkpoint"] == their_spec["inference"]["checkpoint"]
    assert spec["inference"]["results_dir"] == their_spec["inference"]["results_dir"] == ""
    assert spec["train"]["classify"]["loss"] == their_spec["train"]["classify"]["loss"]
    data, their_data = (s["dataset"]["classify"] for s in (spec, their_spec))
    for name in ("batch_size", "workers", "augmentation_config"):
        data.pop(name, None)
        their_data.pop(name, None)
    assert data == their_data


@needs_skills
def test_a_run_from_random_numbers_names_their_folder(tmp_path):
    run = finished(tmp_path, named="", staged=None)
    ours, _, theirs, _ = both(run, "ea")
    assert ours["backbone"] == theirs["backbone"] and ours["backbone_container_path"] is None
    refused = run_aoi("cur", "prepare_inference_spec.py", "--results-dir", run.dir)
    assert "no model.backbone.pretrained_backbone_path" in refused.stderr  # docs/interop.md


@pytest.mark.parametrize("form", ["", "_host"])
def test_both_forms_of_the_spec_pass_our_own_check(tmp_path, form):
    run = finished(tmp_path, named=IN_A_CONTAINER, staged="c_radio_v2_b.pth")
    model = write_handoff(run.dir, run.workspace, run.decision)
    path = run.dir / f"best_model_inference_spec{form}.yaml"
    spec = load_spec(path, engine="tao")
    assert spec.model.classify.eval_margin == model["threshold"]
    expected = "/model/best.pth" if not form else model["checkpoint"]
    assert spec.inference.checkpoint == expected
