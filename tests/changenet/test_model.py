import pytest
import torch
from changenet_pairs import spec_data

from deft.changenet.backbones.pretrained import read_backbone_file
from deft.changenet.losses import ContrastiveLoss, WeightedCrossEntropy, distance
from deft.changenet.model import build_model
from deft.changenet.spec import from_dict, render
from deft.changenet.weights import load_weights, read_state, read_tensors, save_weights
from deft.core.errors import HardStop


def pictures(count=3, size=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, count, 3, size, size, generator=generator)


@pytest.mark.parametrize(
    "name", ["test_resnet", "mobilenetv3_small_050", "test_vit", "test_convnext"]
)
def test_backbones_of_any_kind(spec, name):
    model = build_model(render(spec, {"model.backbone.type": f"timm:{name}"})).eval()
    out = model(*pictures())
    assert out.shape == (3, 2)
    levels = model.model.backbone(pictures()[0])
    assert [tuple(x.shape[-2:]) for x in levels] == [(8, 8), (4, 4), (2, 2), (1, 1)]
    assert [x.shape[1] for x in levels] == model.model.backbone.channels


def test_keys_are_taos(spec, euclidean):
    keys = list(build_model(spec).state_dict())
    assert keys[0].startswith("model.backbone.")
    assert "model.decoder.linear_c4.proj.weight" in keys
    assert "model.decoder.classifier.6.bias" in keys
    assert keys[-1] == "criterion.weight"
    keys = list(build_model(euclidean).state_dict())
    assert keys[-1] == "model.fc1.6.bias"


def test_scores(spec, euclidean):
    model = build_model(spec).eval()
    out = model(*pictures())
    assert torch.allclose(model.score(out), out.softmax(1)[:, 1])
    model = build_model(euclidean).eval()
    same = pictures()[0]
    # Not exactly 0: torch adds 1e-6 to each of the five differences.
    assert torch.allclose(model.score(model(same, same)), torch.full((3,), 2.236e-6), rtol=1e-2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnet10", "did you mean"),
        ("c_radio_v9", "not available in the native engine"),
        ("timm:vgg_nope", "timm has no model"),
    ],
)
def test_unknown_backbones(spec, name, said):
    with pytest.raises(HardStop, match=said) as caught:
        build_model(render(spec, {"model.backbone.type": name}))
    assert caught.value.code == "spec_invalid"


def test_one_batch_of_both_equals_two_in_eval(spec):
    model = build_model(spec).eval()
    together = model(*pictures())
    model.model.backbone.joint_batch = False
    assert torch.allclose(together, model(*pictures()), atol=1e-5)


def test_frozen_backbone_stays_in_eval(tmp_path):
    torch.manual_seed(0)
    source = build_model(from_dict(spec_data())).model.backbone.net
    path = tmp_path / "b.pth"
    torch.save(source.state_dict() | {"fc.weight": torch.zeros(2)}, path)
    data = spec_data()
    data["model"]["backbone"] |= {"freeze_backbone": True, "pretrained_backbone_path": str(path)}
    model = build_model(from_dict(data), backbone_file=path).train()
    assert not model.model.backbone.training
    assert model.model.decoder.training
    assert not any(p.requires_grad for p in model.model.backbone.parameters())
    for key, value in source.state_dict().items():
        assert torch.equal(value, model.model.backbone.net.state_dict()[key])
    del data["model"]["backbone"]["freeze_backbone"]
    torch.save({"conv.weight": torch.zeros(2)}, path)
    with pytest.raises(HardStop, match=r"missing.*1 extra \(conv.weight\)"):
        build_model(from_dict(data), backbone_file=path)


def test_weights_round_trip_and_errors(spec, tmp_path):
    path = tmp_path / "m.pth"
    torch.manual_seed(1)
    model = build_model(spec)
    save_weights(path, model, epoch=2, step=9)
    assert list(read_state(path))[:4] == [
        "epoch",
        "global_step",
        "pytorch-lightning_version",
        "state_dict",
    ]
    other = build_model(render(spec, {"train.classify.cls_weight": [1, 7]}))
    load_weights(other, path)
    assert other.criterion.weight.tolist() == [1, 3]  # the file's, as in TAO
    narrow = build_model(render(spec, {"model.decode_head.decoder_params.embed_dim": 4}))
    with pytest.raises(HardStop, match="misshapen"):
        load_weights(narrow, path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(HardStop, match="cut off"):
        load_weights(other, path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"empty \(0 bytes\)"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
            "a Git LFS pointer of 64 bytes in place of the file of 3 bytes.*git lfs pull",
        ),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "a web page"),
        (b"a page of text\n", "a text of 15 bytes, not weights: 'a page of text'"),
        (b"hello, this is no model", "a text of 23 bytes"),
        (b"(lp0\n", "a text of 5 bytes"),
        (b"\x80\x02}q", "broken"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, content, said):
    path = tmp_path / "m.pth"
    path.write_bytes(content)
    with pytest.raises(HardStop, match=f"(?s)the model file is {said}") as stop:
        read_state(path)
    assert stop.value.code == "spec_invalid" and stop.value.file == str(path)


def test_states_that_are_no_tensors_by_name(spec, tmp_path):
    model, path = build_model(spec), tmp_path / "m.pth"
    first = next(iter(model.state_dict()))
    for state, said in (
        ({first: 3}, "int, no tensor, instead of"),
        ({"weight": 3, 7: torch.ones(1)}, r"2 extra \(weight, 7\)"),
    ):
        torch.save({"state_dict": state}, path)
        with pytest.raises(HardStop, match=said):
            load_weights(model, path)
    for read in (read_tensors, read_backbone_file):
        with pytest.raises(HardStop, match=r"named 7 \(int\)"):
            read(path)
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(HardStop, match="no state_dict") as stop:
        load_weights(model, path)
    assert "model.backbone.pretrained_backbone_path" in stop.value.fix


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_pickled_code_is_refused(spec, tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(HardStop, match="refused"):
        load_weights(build_model(spec), path)
    assert "ran" not in capsys.readouterr().out


def test_losses_by_hand():
    label = torch.tensor([[0.0], [1.0]])
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    loss = WeightedCrossEntropy(weight=torch.tensor([1.0, 10.0]))(logits, label)
    assert loss.item() == pytest.approx(0.693147, abs=1e-5)
    far = torch.tensor([1.0, 0.5])
    assert ContrastiveLoss(2.0)(far, label).item() == pytest.approx((1.0 + 1.5**2) / 2)
    compat = ContrastiveLoss(2.0, upstream_compat=True)
    assert compat(far, label).item() == compat(far, label.flip(0)).item()
    equal = torch.ones(1, 5)
    assert distance(equal, equal).item() == pytest.approx(2.236e-6, rel=1e-3)
