"""From pictures on disk to the scored table: TAO's ``inference.csv`` with filled weights."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
import torch
from tao_reference import FOLDER, LOGITS_TOLERANCE, fill, has

from deft.changenet.data.pairs import PairData
from deft.changenet.infer import scored_csv
from deft.changenet.model import build_model
from deft.changenet.scoring import TableScorer
from deft.changenet.spec import from_dict

pytestmark = pytest.mark.long

LOSSES = {"learnable": "ce", "euclidean": "contrastive"}


@pytest.mark.parametrize("kind", [k for k in LOSSES if has(f"io/inference_{k}.csv")])
def test_scored_table(kind):
    spec = from_dict(
        {
            "model": {
                "backbone": {"type": "c_radio_v2_vit_base_patch16_224"},
                "decode_head": {"feature_strides": [4, 8, 16, 32], "use_summary_token": True},
                "classify": {"difference_module": kind, "embed_dec": 30},
            },
            "dataset": {
                "classify": {
                    "num_input": 1,
                    "input_map": {"SolderLight": 0},
                    "image_ext": ".png",
                    "image_width": 224,
                    "image_height": 224,
                    "augmentation_config": {"rgb_input_std": [0.229, 0.224, 0.225]},
                }
            },
            "train": {"classify": {"loss": LOSSES[kind]}},
        }
    )
    model = build_model(spec)
    fill(model)
    table = pd.read_csv(FOLDER / "dataset/pairs.csv", dtype=str, keep_default_na=False)
    scorer = TableScorer(model, torch.device("cpu"))
    scores = model.score(scorer.outputs(PairData(spec, table, FOLDER / "dataset/images"), 4))
    assert scorer.embedded == 9  # six pairs, three goldens
    theirs = list(csv.reader(io.StringIO((FOLDER / f"io/inference_{kind}.csv").read_text())))
    ours = list(csv.reader(io.StringIO(scored_csv(table, scores.numpy()))))
    assert [row[:-1] for row in ours] == [row[:-1] for row in theirs]
    assert ours[0] == theirs[0]
    wanted = np.array([row[-1] for row in theirs[1:]], np.float32)
    assert np.abs(scores.numpy() - wanted).max() < LOGITS_TOLERANCE
