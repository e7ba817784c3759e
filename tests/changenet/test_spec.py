import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deft.changenet.spec import Spec, check_intervals, dump_spec, from_dict, load_spec, render
from deft.changenet.spec.build import parse_yaml
from deft.core.errors import HardStop

GOOD = {
    "model": {
        "backbone": {"type": "timm:test_resnet"},
        "decode_head": {"feature_strides": [4, 8, 16, 32]},
        "classify": {"difference_module": "learnable"},
    },
    "dataset": {"classify": {"num_input": 1, "input_map": {"A": 0}}},
    "train": {"classify": {"loss": "ce"}},
}


def changed(dotted, value):
    data = yaml.safe_load(yaml.safe_dump(GOOD))
    *parents, last = dotted.split(".")
    owner = data
    for part in parents:
        owner = owner.setdefault(part, {})
    owner[last] = value
    return data


def stopped(data, **options):
    with pytest.raises(HardStop) as caught:
        from_dict(data, **options)
    assert caught.value.code == "spec_invalid"
    return str(caught.value)


def test_defaults_are_taos():
    spec = from_dict({"task": "classify"}, engine="tao")
    assert spec.model.backbone.type == "fan_small_12_p4_hybrid"
    assert spec.train.optim.lr == 1e-4
    assert spec.dataset.classify.augmentation_config.rgb_input_std == [0.226] * 3
    assert spec.lights == ["LowAngleLight", "SolderLight", "UniformLight", "WhiteLight"]


@pytest.mark.parametrize(
    ("dotted", "value", "said"),
    [
        ("train.num_epoch", 3, "did you mean train.num_epochs"),
        ("dataset.classify.batchsize", 3, "did you mean dataset.classify.batch_size"),
        ("nonsense", 1, "unknown key nonsense"),
        ("train.num_epochs", 0, "train.num_epochs must be at least 1"),
        ("train.num_epochs", "ten", "train.num_epochs must be a whole number"),
        ("train.num_epochs", True, "must be a whole number"),
        ("train.num_epochs", 2.5, "must be a whole number"),
        ("train.optim.lr", float("nan"), "finite"),
        ("train.optim.policy", "cosine", "one of linear, step"),
        ("train.optim.policy", "steps", "did you mean 'step'"),
        ("train.automl_policy", "bayesian", "automl_policy"),
        ("automl_policy", True, "automl_policy"),
        ("task", "segment", "segment"),
        ("model.decode_head.in_channels", [1, 2], "4 entries"),
        ("train.classify.loss", "contrastive", "does not go with"),
        ("train.num_nodes", 2, "train.num_nodes"),
        ("dataset.classify.num_input", 4, "input_map has 1 light"),
        ("dataset.classify.image_width", 30, "not a multiple"),
        ("dataset.classify.input_map", {"A": "x"}, "input_map.A"),
        ("dataset.classify.fpratio_sampling", 0.0, "fpratio_sampling"),
        ("dataset", [], "must hold keys"),
    ],
)
def test_refused_by_name(dotted, value, said):
    assert said in stopped(changed(dotted, value))


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("encryption_key", "tlt_encode"),
        ("evaluate.trt_engine", "/results/a.engine"),
        ("inference.trt_engine", "${results_dir}/gen_trt_engine/a.trt"),
        ("wandb.enable", True),
        ("train.seed", 7),
        ("inference.gpu_ids", [1]),
        ("export.format", "xdl"),
        ("gen_trt_engine", {"tensorrt": {"data_type": "FP32"}}),
        ("quantize", {"mode": "weight_only_ptq"}),
    ],
)
def test_a_key_without_effect_is_taken_and_said_once(dotted, value):
    spec = from_dict(changed(dotted, value) | {"results_dir": "/r"})
    assert [note.key for note in spec.notes] == [dotted]
    assert "has no effect: " in spec.notes[0].text


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("encryption_key", ""),
        ("evaluate", {"checkpoint": "", "trt_engine": ""}),
        ("inference", {"checkpoint": "???", "trt_engine": "???"}),
        ("export", {"checkpoint": "", "onnx_file": "???", "format": "onnx"}),
        ("wandb", {"enable": False}),
        ("train.seed", 1234),
    ],
)
def test_an_empty_or_usual_value_is_not_worth_a_word(dotted, value):
    assert from_dict(changed(dotted, value)).notes == ()


def test_all_that_is_wrong_is_told_at_once():
    data = changed("train.num_nodes", 2) | {"encryption_key": "k"}
    data["dataset"]["classify"]["num_input"] = 4
    said = stopped(data)
    assert said.startswith("spec_invalid: 2 findings: (1) train.num_nodes")
    assert "(2) dataset.classify.num_input is 4" in said
    assert "do: (1) set train.num_nodes: 1" in said and "encryption_key" not in said
    data["nonsense"], data["train"]["optim"] = 1, {"lr": "fast"}
    said = stopped(data)
    assert "3 findings" in said and "unknown key nonsense" in said and "train.optim.lr" in said
    assert "train.num_nodes" in said and "num_input" not in said  # that may be a default's fault


def test_endless_findings_end():
    said = stopped({f"key{i}": 1 for i in range(5000)})
    assert said.startswith("spec_invalid: 20 or more findings")


def test_the_older_name_of_the_difference_module():
    old = changed("model.classify", {"diff_module": "learnable"})
    for engine in ("native", "tao"):
        spec = from_dict(old, engine=engine)
        assert spec.learnable
        assert [note.key for note in spec.notes] == ["model.classify.diff_module"]
    same = changed("model.classify.diff_module", "learnable")
    assert from_dict(same).learnable
    assert "one key under two names" in stopped(changed("model.classify.diff_module", "euclidean"))


def test_what_is_not_given_and_could_not_be_trained_gets_what_fits():
    radio = {"type": "c_radio_v2_vit_base_patch16_224"}
    data = changed("model", {"backbone": radio, "classify": {"difference_module": "learnable"}})
    del data["train"]
    spec = from_dict(data)
    assert spec.model.decode_head.feature_strides == [4, 8, 16, 32]
    assert spec.train.classify.loss == "ce"
    assert len(spec.notes) == 2
    data["model"]["decode_head"] = {"feature_strides": [4, 8, 16, 16]}
    assert "feature_strides" in stopped(data)  # a given value is never replaced


def test_any_batch_of_a_tensorrt_engine_is_no_batch_of_a_training():
    data = changed("dataset.classify.batch_size", -1)
    assert "batch_size must be at least 1" in stopped(data)
    spec = from_dict(data | {"gen_trt_engine": {"batch_size": -1}})
    assert spec.dataset.classify.batch_size == 8
    assert spec.notes[0].key == "dataset.classify.batch_size"


def test_a_spec_of_segmentation_without_its_task_is_told():
    assert "task is not given" in stopped({"dataset": {"segment": {"root_dir": "/data"}}})


@pytest.mark.parametrize("name", ["checkpoint_interval", "validation_interval"])
def test_an_interval_longer_than_the_run(name):
    spec = from_dict(changed(f"train.{name}", 11))
    check_intervals(spec, 11, "user")
    for source, said in (("spec", "train.num_epochs 10"), ("user", "the 10 epochs of this run")):
        with pytest.raises(HardStop, match=f"train.{name} 11 is more than {said}"):
            check_intervals(spec, 10, source)


def test_what_only_tao_can_do_passes_for_tao():
    spec = from_dict(changed("train.num_nodes", 4), engine="tao")
    assert spec.train.num_nodes == 4


def test_references_keep_types_and_join_text():
    data = changed("results_dir", "/r")
    data["train"] |= {"num_epochs": 7, "checkpoint_interval": "${train.num_epochs}"}
    data["train"]["results_dir"] = "${results_dir}/train"
    data["evaluate"] = {"results_dir": "${train.results_dir}/x"}
    spec = from_dict(data)
    assert spec.train.checkpoint_interval == 7
    assert spec.evaluate.results_dir == "/r/train/x"


@pytest.mark.parametrize("text", ["${results_dir}", "${nowhere.at.all}", "${oc.env:HOME}"])
def test_bad_references(text):
    stopped(changed("results_dir", text))


def test_file_round_trip_and_exponents(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(GOOD) + "automl_policy: off\nwandb: {enable: false}\n")
    text = path.read_text().replace("loss: ce", "loss: ce\n  optim: {lr: 1e-5}")
    path.write_text(text)
    spec = load_spec(path)
    assert spec.train.optim.lr == 1e-5
    again = load_spec(dump_spec(spec, tmp_path / "again.yaml"))
    assert again == spec
    assert again.digest == spec.digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a: [1",
        "- 1",
        "task: classify\ntask: classify\n",
        "!!python/x 1",
        "? [a, b]\n: 1",
        "? {a: b}\n: 1",
        "a: 2024-13-45",
        "a: !!int x",
        "train: &x {classify: *x}",
        "train: &x [*x]",
        "train: " + "[" * 5000 + "]" * 5000,
        "train: " + "[" * 40 + "]" * 40,
        "a: &a {x: 1}\nb: {<<: *a, y: 1, y: 2}",
    ],
)
def test_files_that_are_no_spec(tmp_path, text):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(HardStop) as caught:
        load_spec(path)
    assert caught.value.code == "spec_invalid"
    assert caught.value.file == str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {optim: {lr: 0x" + "f" * 5000 + "}}", "train.optim.lr: the number is too large"),
        ("train: {optim: {lr: 1" + "0" * 400 + "}}", "train.optim.lr: the number is too large"),
        ("train: {num_epochs: 0x" + "f" * 5000 + "}", "train.num_epochs: the number is too large"),
        ("quantize: {a: 2024-01-01}", "quantize.a: datetime.date(2024, 1, 1) is read by YAML"),
        ("quantize: {a: [!!binary aGk=]}", "quantize.a.0: b'hi' is read by YAML as a bytes"),
        ("quantize: {1: a, b: c}", "YAML reads '1' as a number (line 1)"),
        ("dataset: {classify: {input_map: {on: 0}}}", "YAML reads 'on' as true or false"),
        ('train: {pretrained_model_path: "\\ud800"}', "is U+D800"),
        ('train: {pretrained_model_path: "a\\0"}', "is U+0000"),
        ('quantize: {"\\ud800": 1}', "is U+D800"),
        ('dataset: {classify: {input_map: {"A\\nB": 0}}}', "a light with the name 'A\\nB'"),
        ("a: [" + "1," * 9000 + "]\nb: ['${a}'" + ",'${a}'" * 9000 + "]", "stand for more than"),
    ],
    ids=lambda text: text[:40],
)
def test_values_that_yaml_can_say_and_no_spec_can_have(tmp_path, text, said):
    """Each of these passed the reader and broke what writes, compares or counts later."""
    path = tmp_path / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HardStop) as caught:
        load_spec(path, engine="tao")
    assert caught.value.code == "spec_invalid"
    assert said in caught.value.message
    assert len(caught.value.message) < 500


def test_merge_keys_add_what_a_mapping_does_not_say_itself():
    text = (
        "evaluate: &base {batch_size: 3, checkpoint: a}\n"
        "inference: &more {<<: *base, checkpoint: b}\n"
        "other: {<<: [*more], batch_size: 5}\n"
    )
    data = parse_yaml(text)
    assert data["inference"] == {"batch_size": 3, "checkpoint": "b"}
    assert data["other"] == {"batch_size": 5, "checkpoint": "b"}


def test_missing_file(tmp_path):
    with pytest.raises(HardStop, match="missing_input"):
        load_spec(tmp_path / "none.yaml")


def test_render_changes_a_copy_and_checks():
    spec = from_dict(GOOD)
    other = render(spec, {"train.num_epochs": 3, "dataset.classify.train_dataset.csv_path": "x"})
    assert (spec.train.num_epochs, other.train.num_epochs) == (10, 3)
    assert other.dataset.classify.train_dataset.csv_path == "x"
    with pytest.raises(HardStop, match=r"train\.nope"):
        render(spec, {"train.nope": 1})


@pytest.mark.parametrize(
    ("lights", "concat", "grid", "size"),
    [
        ({}, "linear", (2, 2), (24, 32)),
        ({"A": 0}, "grid", (2, 2), (24, 32)),
        ({"A": 1, "B": 0}, "linear", (2, 2), (48, 32)),
        ({"A": 1, "B": 0}, "grid", (2, 1), (24, 64)),
        ({"A": 0, "B": 1, "C": 2}, "grid", (3, 1), (72, 32)),
        ({"A": 0, "B": 1, "C": 2, "D": 3}, "grid", (4, 1), (24, 128)),
    ],
)
def test_tensor_size(lights, concat, grid, size):
    data = changed("dataset.classify.input_map", lights or None)
    data["model"]["decode_head"]["feature_strides"] = [4, 8, 16, 16]
    data["dataset"]["classify"] |= {
        "num_input": max(1, len(lights)),
        "concat_type": concat,
        "grid_map": {"x": grid[0], "y": grid[1]},
        "image_height": 24,
        "image_width": 32,
    }
    spec = from_dict(data)
    assert spec.lights == (list(lights) or [""])
    assert spec.tensor_size == size


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["train", "model", "dataset", "classify", "num_epochs", "lr", "x"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_data_is_a_spec_or_a_clear_stop(data):
    try:
        assert isinstance(from_dict(data if isinstance(data, dict) else {"train": data}), Spec)
    except HardStop as stop:
        assert stop.code == "spec_invalid"
