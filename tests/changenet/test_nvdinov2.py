import pytest
import torch
from changenet_pairs import spec_data

from deft.changenet.backbones.nvdinov2 import (
    NAME,
    DinoSize,
    NvDino,
    NvDinoAdapter,
    build_nvdinov2,
    positions,
)
from deft.changenet.backbones.vit_adapter import AdapterSize
from deft.changenet.spec import from_dict
from deft.core.errors import HardStop

TINY = DinoSize(width=16, depth=4, heads=2, hidden=24, table_px=42)
SMALL = AdapterSize(prior_width=4, heads=2, points=2, norm_eps=1e-6, drop_path=0.4)


def picture(height, width):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, height, width, generator=generator)


def test_maps_and_embedding():
    torch.manual_seed(0)
    adapter = NvDinoAdapter(64, TINY, SMALL).eval()
    sizes = [tuple(level.shape) for level in adapter(picture(64, 32))]
    assert sizes == [(2, 16, 16, 8), (2, 16, 8, 4), (2, 16, 4, 2), (2, 16, 2, 1)]
    assert adapter.train().joint_batch is False
    plain = NvDino(TINY).eval()
    assert plain.embedding(picture(28, 56)).shape == (2, plain.embedding_width)
    assert plain(picture(28, 56))[0].shape == (2, 16, 2, 4)


def test_class_token_reaches_the_maps():
    torch.manual_seed(0)
    adapter = NvDinoAdapter(32, TINY, SMALL).eval()
    with torch.no_grad():
        before = adapter(picture(32, 32))
        adapter.cls_token += 1.0
        after = adapter(picture(32, 32))
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_freezing_leaves_adapter_and_class_token():
    adapter = NvDinoAdapter(32, TINY, SMALL)
    for parameter in adapter.pretrained_part.parameters():
        parameter.requires_grad_(False)
    adapter.train()
    adapter.pretrained_part.eval()
    assert not adapter.blocks.training and adapter.spm.training
    learning = {k.partition(".")[0] for k, p in adapter.named_parameters() if p.requires_grad}
    assert "cls_token" in learning and "interactions" in learning
    assert not learning & {"blocks", "patch_embed", "pos_embed", "norm"}


def test_position_table():
    table = torch.randn(1, 10, 4)
    assert positions(table, 3, 3) is table
    flat = torch.cat([torch.zeros(1, 1, 4), torch.full((1, 9, 4), 2.0)], dim=1)
    larger = positions(flat, 5, 2, offset=0.1)
    assert larger.shape == (1, 11, 4)
    assert torch.allclose(larger[:, 1:], torch.tensor(2.0)) and not larger[:, 0].any()


def test_backbone_files(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "dino.pth"
    plain = NvDino(TINY)
    names = {".mlp.fc1.": ".mlp.w12.", ".mlp.fc2.": ".mlp.w3."}
    file = {"mask_token": torch.zeros(1, 16)}
    for key, value in plain.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        file[key] = value
    torch.save(file, path)
    other = NvDino(TINY)
    assert other.load_pretrained(path) == ["mask_token"]
    assert all(torch.equal(v, plain.state_dict()[k]) for k, v in other.state_dict().items())
    # The adapter's patches are 16 pixels instead of 14, its table 4 x 4 instead of 3 x 3.
    adapter = NvDinoAdapter(64, TINY, SMALL)
    adapter.load_pretrained(path)
    assert torch.equal(adapter.blocks[3].mlp.fc1.weight, plain.blocks[3].mlp.fc1.weight)
    assert torch.equal(adapter.cls_token, plain.cls_token)
    assert torch.equal(adapter.pos_embed[:, :1], plain.pos_embed[:, :1])
    del file["norm.bias"]
    torch.save(file, path)
    with pytest.raises(HardStop, match=r"1 missing \(norm.bias\)"):
        other.load_pretrained(path)


@pytest.mark.parametrize(
    ("module", "size", "said"),
    [("learnable", (32, 64), "squares"), ("euclidean", (32, 32), "multiples of 14")],
)
def test_sizes(module, size, said):
    data = spec_data(classify={"loss": "ce" if module == "learnable" else "contrastive"})
    data["model"]["backbone"]["type"] = NAME
    data["model"]["classify"]["difference_module"] = module
    classify = data["dataset"]["classify"]
    classify["image_height"], classify["image_width"] = size
    with pytest.raises(HardStop, match=said) as caught:
        build_nvdinov2(from_dict(data))
    assert caught.value.code == "spec_invalid"


def test_encoder_pads_sides_that_do_not_fit():
    torch.manual_seed(0)
    for backbone, (height, width) in (
        (NvDino(TINY), (28, 56)),
        (NvDinoAdapter(64, TINY, SMALL), (32, 64)),
    ):
        backbone.eval()
        small = picture(height - 3, width - 5)
        fitting = torch.nn.functional.pad(small, (0, 5, 0, 3))
        assert torch.equal(backbone.pooled(small), backbone.pooled(fitting))
