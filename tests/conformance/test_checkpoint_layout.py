"""Our model file's entries against a file that a training of TAO wrote (io/run_*.json)."""

import pytest
from changenet_pairs import draw_pairs, spec_data
from tao_reference import has, load_json
from training_runs import run

from deft.changenet.spec import from_dict
from deft.changenet.weights import read_state

RUNS = ["learnable", "euclidean"]


def shape_of(value):
    """The nesting of keys, with numbers and texts as they are, tensors as 'tensor'."""
    if isinstance(value, dict):
        return {str(name): shape_of(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape_of(inner) for inner in value]
    return "tensor" if str(value).startswith("tensor") or hasattr(value, "shape") else str(value)


@pytest.fixture(scope="module", params=RUNS)
def both(request, tmp_path_factory):
    """What TAO's file of epoch 1 held, and ours of the same epoch and step."""
    name = f"io/run_{request.param}.json"
    if not has(name):
        pytest.skip(f"{name} is not among the reference numbers here")
    workspace = draw_pairs(tmp_path_factory.mktemp("pairs"))
    data = spec_data(num_epochs=2, optim={"lr": 1e-5})
    if request.param == "euclidean":
        data["train"]["classify"]["loss"] = "contrastive"
        data["model"]["classify"]["difference_module"] = "euclidean"
    folder = tmp_path_factory.mktemp(request.param)
    run(from_dict(data), workspace, folder, optimizer_state="all")
    theirs = load_json(name)["checkpoint"]
    return theirs, read_state(folder / "out" / theirs["file"])


def test_top_level_keys_in_order(both):
    theirs, ours = both
    wanted = [k for k in theirs["top_level_keys_in_order"] if k != "tao_model_type"]
    assert list(ours) == wanted  # the type belongs to C-RADIO's backbones alone
    assert str(ours["epoch"]) == theirs["values"]["epoch"]
    assert str(ours["global_step"]) == theirs["values"]["global_step"]
    assert repr(ours["pytorch-lightning_version"]) == theirs["values"]["pytorch-lightning_version"]
    assert repr(ours["tao_model"]) == theirs["values"]["tao_model"]


def test_loop_counters(both):
    theirs, ours = both
    wanted = theirs["values"]["loops"]
    found = shape_of(ours["loops"])
    validation = "epoch_loop.val_loop.batch_progress"
    # The example validated 3 batches, ours 2: everything else is equal, keys in order.
    counters = found["fit_loop"][validation]
    for which in ("total", "current"):
        assert set(counters[which].values()) == {"2"}
        counters[which] = wanted["fit_loop"][validation][which]
    assert found == wanted
    assert list(found) == list(wanted) and list(found["fit_loop"]) == list(wanted["fit_loop"])


def test_saver_entry(both):
    theirs, ours = both
    ((wanted_name, wanted),) = theirs["values"]["callbacks"].items()
    ((name, found),) = ours["callbacks"].items()
    assert name == wanted_name and list(found) == list(wanted)
    for key in ("monitor", "best_model_score", "current_score", "best_k_models"):
        assert str(found[key]) == str(wanted[key])
    # Names alone: a file must not tell where it was made.
    assert repr(found["best_model_path"]).strip("'") == wanted["best_model_path"][15:-1]
    assert "/" not in str(found)


def test_optimizer_and_scheduler(both):
    theirs, ours = both
    (wanted,) = theirs["optimizer_state"]["param_groups"]
    (state,) = ours["optimizer_states"]
    assert list(state) == theirs["optimizer_state"]["keys"]
    (group,) = state["param_groups"]
    assert list(group) == list(wanted)
    count = len(group.pop("params"))
    assert group.pop("betas") == tuple(wanted["betas"])
    assert group == {k: v for k, v in wanted.items() if k not in ("params", "betas")}
    assert set(state["state"]) <= set(range(count))
    first = next(iter(state["state"].values()))
    assert list(first) == list(theirs["optimizer_state"]["state0"])
    assert str(first["step"].dtype) == "torch.float32" and first["step"].shape == ()
    (scheduler,) = ours["lr_schedulers"]
    assert [list(scheduler)] == theirs["lr_scheduler_keys"]
    assert {k: v for k, v in scheduler.items() if k != "lr_lambdas"} == theirs["lr_schedulers"][0]
