"""One form of a label inside, one spelling outside, and no label that only looks like another."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from spy_encoder import SpyEncoder
from stage_calls import embed_pool, embed_shard, mine, stage_pool
from tiny_workspace import make_tiny_workspace

from deft.core.errors import HardStop
from deft.core.files import read_json, write_text_atomic
from deft.core.layout import BASE_TABLE, KPI_TABLE, POOL_TABLE, VALIDATION_TABLE, Run
from deft.kpi.evaluation import evaluate_table, read_scores
from deft.mining.strategies import Rules
from deft.rca.analysis import analyse
from deft.rca.routing import route_by_label
from deft.rca.spot_check import Pictures
from deft.rca.weakness import weak_samples
from deft.record.lenient import load_run
from deft.stages.context import Context
from deft.stages.mine_inputs import MineOptions
from deft.tables.changenet_table import read_table
from deft.tables.labels import clean_label, first_spellings, label_fault, label_key, shown

HEAD = "input_path,golden_path,label,object_name\n"


def test_the_form_inside_is_a_fixed_point_for_every_character():
    for code in range(0x30000):  # all that have a case or a composed form
        if 0xD800 <= code <= 0xDFFF:
            continue
        for label in (f"b{chr(code)}x", f"{chr(code)}\u0323\u0307"):
            once = clean_label(label)
            assert clean_label(once) == once, hex(code)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("BRIDGE", " bridge"),
        ("L\u00f6tbr\u00fccke", unicodedata.normalize("NFD", "l\u00f6tbr\u00fccke")),
        ("\u77ed\u8def", "\u77ed\u8def "),
        ("\u0130zin", "i\u0307zin"),
    ],
)
def test_spellings_of_one_label_are_one_label(one, other):
    assert clean_label(one) == clean_label(other)
    assert label_fault(one) is None and label_fault(other) is None


@pytest.mark.parametrize(
    "label",
    [
        "bri\u200bdge", "bri\ufeffdge", "bri\u00addge", "bri\u00a0dge", "bridge\u00a0",
        "\u200fbridge",
        "bridge\u202e", "bridge\ufe0f", "bridge\U000e0041", "bridge\U000e0100", "bri\u034fdge",
        "bri\u3164dge", "bri\u2060dge", "bri\u200ddge", "bri\u2003dge", "bri\x0cdge", "bri\x1fdge",
        "bri\u2028dge", "bri\u0085dge", "bri\ufffddge", "\u200b", "\u2800", 'bri"dge', " ",
        "pass", "PASS ", "Pass", "\u0420ASS", "P\u0410SS", "PA\u0405S", "\u0420\u0410\u0405\u0405",
        "\u0440\u0430\u0455\u0455", "\u03a1\u0391SS", "\uff30\uff21\uff33\uff33",
        "\U0001d40f\U0001d400\U0001d412\U0001d412", "PA\u0301SS", "PA\u200bSS", "P\u00adASS",
        "PA\u00df", "\u24c5\u24b6\u24c8\u24c8", "\u13e2\u13aa\u13da\u13da",
        "\ua4d1\ua4ee\ua4e2\ua4e2",
        "'PASS'", "\u201cPASS\u201d", "PASS.", "(pass)", "=PASS", "PASS?", "`PASS`",
        "\u1d18\u1d00\ua731\ua731", "PA\u054fS", "P ASS", "PASS\u00a0", "PA\u017fS",
    ],
)  # fmt: skip
def test_hidden_characters_and_look_alikes_are_refused_with_their_row(tmp_path, label):
    cell = '"' + label.replace('"', '""') + '"'
    path = write_text_atomic(tmp_path / "t.csv", f"{HEAD}a,g,PASS,1\nb,g,{cell},2\n")
    with pytest.raises(HardStop) as caught:
        read_table(path)
    assert (caught.value.code, caught.value.rows) == ("csv_invalid", [3])
    caught.value.text().encode()  # whatever it is, the message can be printed


@pytest.mark.parametrize(
    "label",
    [
        "bridge", "Solder Ball", "bypass", "no-pass", "NO_PASS", "pass-through",
        "compass", "passivation", "0402", "tomb-stone/2",
        "L\u00f6tbr\u00fccke", "\u77ed\u8def", "\u03c0\u03b1\u03c2",
        "\u0644\u062d\u06cc\u0645\u200c\u06a9\u0627\u0631\u06cc",
        "\u043f\u0435\u0440\u0435\u043c\u044b\u0447\u043a\u0430",
    ],
)  # fmt: skip
def test_labels_of_any_language_are_labels(tmp_path, label):
    path = write_text_atomic(tmp_path / "t.csv", f"{HEAD}a,g,{label},1\n")
    assert read_table(path).loc[0, "label"] == label


def test_foreign_tables_may_spell_pass_in_any_case_but_not_in_other_letters(tmp_path):
    path = write_text_atomic(tmp_path / "t.csv", f"{HEAD}a,g,pass ,1\n")
    assert len(read_table(path, check_labels=False)) == 1
    write_text_atomic(path, f"{HEAD}a,g,P\u0410SS,1\n")
    with pytest.raises(HardStop):
        read_table(path, check_labels=False)


def test_the_first_spelling_is_shown():
    spelling = first_spellings(["PASS", "Bridge", "BRIDGE"], ["MISSING", "bridge"], ["missing"])
    assert spelling == {"PASS": "PASS", "bridge": "Bridge", "missing": "MISSING"}
    assert shown("BRIDGE", spelling) == "Bridge" and shown("other", spelling) == "other"
    assert label_key("pass ") == "PASS"


def scores(tmp_path: Path, labels: list[str]) -> Path:
    rows = [f"a,g,{label},{i},{0.1 * (i + 1):.1f}\n" for i, label in enumerate(labels)]
    return write_text_atomic(
        tmp_path / "inference.csv", HEAD.strip() + ",siamese_score\n" + "".join(rows)
    )


MIXED = ["PASS", "Bridge", "PASS", "BRIDGE", "bridge", "MISSING"]


def test_spellings_of_one_label_share_its_counts_and_its_top_k(tmp_path):
    path = scores(tmp_path, MIXED)
    found = evaluate_table(path, 1.0)
    assert {k: v["count"] for k, v in found["labels"].items()} == {
        "PASS": 2, "Bridge": 3, "MISSING": 1,
    }  # fmt: skip
    weak = weak_samples(read_scores(path), 0.25, 2)
    assert weak["label"].value_counts().to_dict() == {"PASS": 2, "Bridge": 2, "MISSING": 1}


def test_routing_knows_a_label_in_any_case_and_form():
    decomposed = unicodedata.normalize("NFD", "L\u00d6TE")
    gaps = pd.DataFrame({"label": ["BRIDGE", decomposed, "Missing"]})
    routes = route_by_label(gaps, {"bridge", "l\u00f6te"}, ["missing"], [])
    assert list(routes.mining["label"]) == ["BRIDGE", decomposed]
    assert list(routes.anomalygen["label"]) == ["Missing"]


def test_quotas_hold_for_any_spelling_and_not_for_two():
    assert Rules(label_quota={"BRIDGE": 0.2}).label_quota == {"bridge": 0.2}
    with pytest.raises(HardStop) as caught:
        Rules(label_quota={"BRIDGE": 0.2, "bridge": 0.3})
    assert caught.value.code == "config_invalid"


@pytest.fixture(scope="module")
def shouted(tmp_path_factory) -> Path:
    """A workspace whose KPI, base and validation tables shout their labels."""
    root = make_tiny_workspace(
        tmp_path_factory.mktemp("labels") / "w", base=6, validation=6, kpi=8, pool=12, pregen=4
    )
    for name in (KPI_TABLE, BASE_TABLE, VALIDATION_TABLE):
        text = (root / name).read_text()
        (root / name).write_text(text.replace("bridge", "BRIDGE").replace("missing", "Missing"))
    pool = (root / POOL_TABLE).read_text()
    (root / POOL_TABLE).write_text(pool.replace("bridge", "bRIDGE"))
    return root


def mined(root: Path, name: str, rules: Rules) -> tuple[dict, Path]:
    context = Context(Run(root, name))
    stage_pool(context, "spy")
    encoder = SpyEncoder()
    embed_shard(context, encoder, "1-of-1", None, 1)
    embed_pool(context, [context.run.synth_pool / "shards" / "1-of-1.parquet"])
    table = read_table(root / KPI_TABLE)
    table["siamese_score"] = np.linspace(0.1, 0.9, len(table))
    pictures = Pictures(root / "kpi/images", context.lights, context.ext)
    out = context.run.rca("baseline")
    out.mkdir(parents=True)
    analyse(table, 1.0, 50, pictures, out)
    routed = context.run.routing("iter1") / "mining_gaps.parquet"
    routed.parent.mkdir(parents=True)
    pd.read_parquet(out / "kpi_gaps.parquet").to_parquet(routed)
    mine(context, "iter1", encoder, MineOptions("nearest", 4, -1.0, 64, "warn", 0, rules=rules))
    return read_json(context.run.phase("iter1") / "mining_filter" / "mining.json"), out


def test_shouted_labels_find_their_kind_in_the_pool(shouted, capsys):
    facts, rca = mined(shouted, "run_a", Rules())
    assert not [w for w in facts["warnings"] if "labelled" in w]
    per_label = {row["label"]: row for row in facts["per_label"]}
    assert {"BRIDGE", "Missing", "PASS"} == set(per_label)
    assert per_label["BRIDGE"]["same_label_candidates"] > 0
    assert per_label["BRIDGE"]["mined_with_label"] > 0
    folder = shouted / "results/run_a/iter1/mining_filter"
    assert "BRIDGE" in (folder / "mining_summary.txt").read_text()
    # Tables that training reads have the one form; what people read has the user's.
    assert set(read_table(folder / "mining_pool.csv")["label"]) <= {"PASS", "bridge", "missing"}
    pairs = pd.read_parquet(folder / "knn_pairs.parquet")
    assert (pairs["target_label"] == pairs["source_label"]).any()
    assert "`BRIDGE`" in (rca / "RCA_Report.md").read_text()
    manifest = read_json(shouted / "results/run_a/synth_pool/manifest.json")
    assert manifest["label_spelling"] == {"PASS": "PASS", "bridge": "BRIDGE", "missing": "Missing"}
    assert set(manifest["labels"]) == {"PASS", "bridge", "missing"}
    files = load_run(shouted / "results/run_a", shouted)
    assert set(files.pool_rows["label"]) == {"PASS", "BRIDGE", "Missing"}
    assert set(files.phases[-1].mined["label"]) <= {"PASS", "BRIDGE", "Missing"}


def test_a_shouted_quota_is_kept(shouted, capsys):
    facts, _ = mined(shouted, "run_b", Rules(label_quota={"BRIDGE": 0.0, "Missing": 0.0}))
    assert not [w for w in facts["warnings"] if "mining_label_quota names" in w]
    assert set(facts["labels"]) == {"PASS"}
    assert json.dumps(facts["rules"]["label_quota"]) == '{"bridge": 0.0, "missing": 0.0}'


def test_a_label_that_the_pool_lacks_is_named_as_the_user_writes_it(shouted, capsys):
    path = shouted / POOL_TABLE
    text = path.read_text()
    path.write_text(text.replace("bRIDGE", "PASS"))
    for picture in (shouted / "augmentation/anomalygen").glob("*/*bridge*"):
        picture.rename(picture.with_name(picture.name.replace("bridge", "missing")))
    facts, _ = mined(shouted, "run_c", Rules())
    assert any("no pool sample is labelled 'BRIDGE'" in w for w in facts["warnings"])
