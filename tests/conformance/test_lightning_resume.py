"""The Lightning that TAO trains with goes on from our files, and we from its.

It is older than the one that we train with, and stands beside it under the project's other name:
`lightning` instead of `pytorch-lightning` (`envs/requirements-tao.txt`). Without it these tests are
skipped.
"""

import pytest
import torch
from changenet_pairs import draw_pairs, spec_data
from training_runs import run

from deft.changenet.data.pairs import batches, open_pairs
from deft.changenet.model import ChangeNet
from deft.changenet.spec import from_dict
from deft.changenet.weights import LIGHTNING_VERSION, read_state

lightning = pytest.importorskip(
    "lightning.pytorch", reason=f"pip install lightning=={LIGHTNING_VERSION} to compare"
)
BASE = 1e-5
# Lightning's advice on callbacks and loaders of its own is nothing that can be heeded here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:`isinstance")


def spec_of(**train):
    return from_dict(spec_data(**{"num_epochs": 2, "optim": {"lr": BASE}, **train}))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return draw_pairs(tmp_path_factory.mktemp("pairs"))


class Module(lightning.LightningModule):
    """The network as TAO's module holds it: ``model`` and ``criterion``, a rate per epoch."""

    def __init__(self, spec, epochs):
        super().__init__()
        built = ChangeNet(spec)
        self.model, self.criterion = built.model, built.criterion
        self.epochs, self.seen = epochs, []

    def training_step(self, batch, _index):
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.seen.append((self.current_epoch, self.global_step, rate))
        return self.criterion(self.model(batch[0], batch[1]), batch[2])

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=BASE)
        factor = lambda epoch: 1 - epoch / (self.epochs + 1)  # noqa: E731
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule}}


def fit(spec, workspace, folder, epochs, path=None):
    """Train with Lightning on three fixed batches; return the module and the trainer."""
    data = open_pairs(spec, workspace / "train.csv", workspace / "images")
    loader = torch.utils.data.DataLoader(
        [tuple(batch) for batch in batches(data, range(18), 6)], batch_size=None
    )
    module = Module(spec, epochs)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, ckpt_path=path)
    return module, trainer


def test_lightning_goes_on_from_our_file(workspace, tmp_path):
    spec = spec_of()
    result, _ = run(spec, workspace, tmp_path)
    path = str(tmp_path / "out" / result["latest"])
    module, trainer = fit(spec, workspace, tmp_path / "on", 4, path)
    # As io/run_*.json has it: epoch 2, step 6, the saved rate first, then the new formula.
    kept, after = BASE * (1 - 2 / 3), BASE * (1 - 3 / 5)
    wanted = [(2, step, kept) for step in (6, 7, 8)] + [(3, step, after) for step in (9, 10, 11)]
    assert [x[:2] for x in module.seen] == [x[:2] for x in wanted]
    assert [x[2] for x in module.seen] == pytest.approx([x[2] for x in wanted])
    state = trainer.optimizers[0].state_dict()["state"][0]
    assert float(state["step"]) == 12, "AdamW counts on from the file's 6"


def test_lightning_goes_on_in_the_middle_of_an_epoch(workspace, tmp_path):
    spec = spec_of(checkpoint_interval=2, checkpoint_interval_unit="step")
    result, _ = run(spec, workspace, tmp_path, optimizer_state="all")
    assert result["files"][1]["path"] == "model_epoch_001_step_00004.pth"
    path = str(tmp_path / "out" / result["files"][1]["path"])
    module, _ = fit(spec, workspace, tmp_path / "on", 2, path)
    assert [x[:2] for x in module.seen] == [(1, 4), (1, 5)]


def test_we_go_on_from_lightnings_file(workspace, tmp_path):
    _, trainer = fit(spec_of(), workspace, tmp_path / "theirs", 2)
    file = tmp_path / "theirs.pth"
    trainer.save_checkpoint(file)
    assert read_state(file)["global_step"] == 6
    spec = spec_of(num_epochs=4, resume_training_checkpoint_path=str(file))
    result, _ = run(spec, workspace, tmp_path, optimizer_state="all")
    names = [f["path"] for f in result["files"]]
    assert names == ["model_epoch_002_step_00009.pth", "model_epoch_003_step_00012.pth"]
    rows = (tmp_path / "out/train_curve.csv").read_text().splitlines()[1:]
    rates = [float(row.split(",")[3]) for row in rows]
    assert rates == pytest.approx([BASE * (1 - 2 / 3), BASE * (1 - 3 / 5)])
    last = read_state(tmp_path / "out" / names[-1])["optimizer_states"][0]["state"][0]
    assert float(last["step"]) == 12
