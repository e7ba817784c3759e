"""What the stand-in does inside a container: TAO's entry points, answered by the native engine."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts"))

DATA = (".png", ".jpg", ".csv", ".pth", ".yaml", ".parquet", ".safetensors", ".json")
SCALE = 3.0  # TAO's vectors need not have unit length
TAO_KPI = {"train_loss", "train_acc", "train_fpr", "val_loss", "val_acc", "val_fpr"}
SLOW_S = 300


def watch_files(mounts: list[str], written: str) -> None:
    """Refuse to open what a container would not see, or could not write."""
    named = (
        str(REPOSITORY),
        sys.prefix,
        sys.base_prefix,
        "/usr",
        "/proc",
        "/dev",
        "/tmp/torch",
        os.environ.get("STANDIN_SCHEMAS", "/usr"),
        os.environ["STANDIN_DIR"],
    )
    own = [os.path.abspath(folder) for folder in named]

    def below(path: str, folders) -> bool:
        return any(path == f or path.startswith(f.rstrip("/") + "/") for f in folders)

    def look(event: str, args: tuple) -> None:
        if event != "open" or not isinstance(args[0], str):
            return
        path, mode, flags = os.path.abspath(args[0]), args[1], args[2]
        writes = (
            bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if mode is None
            else (any(c in mode for c in "wax+"))
        )
        if writes and not below(path, [written, "/dev", "/proc", "/tmp"]):
            raise PermissionError(f"Read-only file system: {path}")
        if not writes and path.endswith(DATA) and not below(path, [*mounts, *own]):
            raise FileNotFoundError(f"no mount shows {path}")

    sys.addaudithook(look)


# --- the spec against TAO's published schema --------------------------------------------------


def check_schema(data: dict, task: str) -> None:
    """Raise for a key, type, choice or range that the published schema does not have."""
    folder = os.environ.get("STANDIN_SCHEMAS")
    from deft.changenet.spec import from_dict

    from_dict(data, engine="tao")
    if folder:
        schema = json.loads((Path(folder) / f"{task}.schema.json").read_text())
        # A spec serves every task; each one's schema knows its own section alone.
        others = {"train", "evaluate", "inference", "export", "gen_trt_engine"} - {task}
        _walk({k: v for k, v in data.items() if k not in others}, schema, "")


KINDS = {"bool": bool, "int": int, "float": (int, float), "string": str, "categorical": str}
OPEN = ("model.backbone.type",)  # TAO's code takes further backbones than its schema lists


def _walk(value, node: dict, where: str) -> None:
    if isinstance(value, dict) and node.get("properties"):
        for name, inner in value.items():
            dotted = f"{where}.{name}" if where else name
            if name not in node["properties"]:
                raise KeyError(f"Key {name!r} not in {where or 'ExperimentConfig'!r}: {dotted}")
            _walk(inner, node["properties"][name], dotted)
        return
    if value is None:
        return
    kind = KINDS.get(node.get("type"))
    if kind and (not isinstance(value, kind) or (kind is not bool and isinstance(value, bool))):
        raise TypeError(f"{where}: {value!r} is no {node['type']}")
    if node.get("enum") and where not in OPEN and value not in node["enum"]:
        raise ValueError(f"{where}: {value!r} is none of {node['enum']}")
    for bound, broken in (("minimum", lambda a, b: a < b), ("maximum", lambda a, b: a > b)):
        limit = node.get(bound)
        if isinstance(limit, int | float) and isinstance(value, int | float):
            if broken(value, limit):
                raise ValueError(f"{where}: {value!r} is beyond its {bound} {limit}")


# --- entry points -------------------------------------------------------------------------------


def overrides(argv: list[str]) -> dict[str, str]:
    out = {}
    for text in argv:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is no override")
        if value.startswith("'"):
            value = value[1:-1].replace("\\'", "'")
        elif not re.fullmatch(r"[A-Za-z0-9_./@:+-]+", value):
            raise ValueError(f"mismatched input in {text!r}")
        out[name] = value
    return out


def read_spec(argv: list[str]) -> dict:
    import yaml

    if argv[2] != "-e":
        raise ValueError(f"The subtask {argv[1]} requires the following argument: -e")
    return yaml.safe_load(Path(argv[3]).read_text())


def absolute_paths(data: dict, mounts: list[str]) -> None:
    """Raise for a path of the spec that means nothing inside, or lies where no mount is."""
    classify = data["dataset"]["classify"]
    given = [v for name, d in classify.items() if name.endswith("_dataset") for v in d.values()]
    given += [data["train"].get(k) for k in ("pretrained_model_path", "results_dir")]
    given += [data["model"]["backbone"].get("pretrained_backbone_path"), data["results_dir"]]
    for path in filter(None, given):
        if not any(path == m or path.startswith(m + "/") for m in mounts) or "${" in path:
            raise FileNotFoundError(f"[Errno 2] No such file or directory: {path!r}")


def train(data: dict, plan: dict) -> None:
    out = Path(data["train"]["results_dir"])
    if out != Path(plan["written"], "out") or any(out.glob("*_latest.pth")):
        raise ValueError(f"results_dir {out}")
    mistake = fault("train")
    if mistake == "slow":
        print("training slowly", flush=True)
        time.sleep(SLOW_S)
    if mistake == "memory":
        print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
        sys.exit(1)
    if mistake == "no weights":
        # What TAO does when it goes on from a finished training: zero steps, and a good end.
        line = {"status": "SUCCESS", "message": "Train finished successfully."}
        out.joinpath("status.json").write_text(json.dumps(line) + "\n")
        return
    if mistake == "says fail":
        return
    from deft.changenet.spec import from_dict
    from deft.changenet.training.options import Options
    from deft.changenet.training.train import train as native

    spec = from_dict(data)
    options = Options(optimizer_state="all")
    aside = out.parent / "home" / "state"
    facts = native(spec, workspace="/", out_dir=out, resume_dir=aside, options=options, log=print)
    for name in ("weights.json", "train_curve.csv", "validation_curve.csv"):
        out.joinpath(name).unlink()
    lines = [json.loads(x) for x in out.joinpath("status.json").read_text().splitlines()]
    for line in lines:
        if "kpi" in line:
            line["kpi"] = {k: v for k, v in line["kpi"].items() if k in TAO_KPI}
    text = "".join(json.dumps(line) + "\n" for line in lines)
    out.joinpath("status.json").write_text(text)
    out.joinpath("changenet_model_classify_latest.pth").symlink_to(facts["latest"])
    if mistake == "killed after an epoch":
        # As after a loss of power: the last epoch is gone, the file before it is whole.
        out.joinpath(facts["latest"]).write_bytes(b"half a file")
        out.joinpath("changenet_model_classify_latest.pth").unlink()
        os.kill(os.getpid(), 9)


def inference(data: dict, plan: dict) -> None:
    from deft.changenet.infer import infer_table
    from deft.changenet.spec import from_dict

    source, section = data["dataset"]["classify"]["infer_dataset"], data["inference"]
    # A release that adds a folder of the task's name.
    out = Path(section["results_dir"]) / "inference" / "inference.csv"
    if data["dataset"]["classify"]["augmentation_config"]["augment"]:
        raise ValueError("an inference does not augment")
    infer_table(
        from_dict(data), section["checkpoint"], source["csv_path"], source["images_dir"], out
    )
    if fault("inference") == "a row less":
        out.write_text("".join(out.read_text().splitlines(keepends=True)[:-1]))


def gap_analysis(data: dict, given: dict[str, str]) -> None:
    import numpy as np
    import pandas as pd
    import yaml

    from deft.kpi import operating_point
    from deft.kpi.evaluation import read_scores
    from deft.rca.weakness import weak_samples
    from deft.tables.changenet_table import SCORE_COLUMN, image_file, is_ng

    expected = {"inference_results_dir", "train_config", "kpi_media_path", "results_dir"}
    if set(given) != expected or data["top_k_per_label"] < 1:
        raise ValueError(f"overrides {sorted(given)}, spec {data}")
    out = Path(given["results_dir"])
    table = read_scores(Path(given["inference_results_dir"]) / "inference.csv")
    swept = operating_point.sweep(
        table[SCORE_COLUMN].to_numpy(dtype=np.float32), table["label"].map(is_ng).to_numpy()
    )
    index = operating_point.recall_point(swept, data["min_recall"])
    if index is None or fault("rca") == "unreachable":
        out.joinpath("unreachable_kpi.txt").write_text("the best recall is 0.5\n")
        raise SystemExit(1)
    threshold = float(swept["threshold"][index])
    if fault("rca") == "another threshold":
        threshold = float(np.median(table[SCORE_COLUMN]))
    weak = weak_samples(table, threshold, data["top_k_per_label"])
    classify = yaml.safe_load(Path(given["train_config"]).read_text())["dataset"]["classify"]
    rows = [
        {
            "filepath": str(
                image_file(
                    given["kpi_media_path"], r["input_path"], r["object_name"], light,
                    classify["image_ext"],
                )
            ),
            **{name: r[name] for name in ("label", "siamese_score", "weakness")},
        }
        for _, r in weak.iterrows()
        for light in classify["input_map"]
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(out / "kpi_gaps.parquet")
    out.joinpath("threshold.txt").write_text(f"{threshold:.8f}\n")
    out.joinpath("weak_samples_breakdown.txt").write_text("kept rows by label\n")


def embedding(data: dict, given: dict[str, str]) -> None:
    import numpy as np
    import pandas as pd

    from deft.embedding.encoders.base import embed_pictures
    from deft.embedding.encoders.opening import open_encoder
    from deft.embedding.encoders.torch_encoder import Options

    if set(data) != {"model", "model_path", "batch_size"}:
        raise ValueError(f"spec {data}")
    if os.environ.get("HF_HUB_OFFLINE") != "1":
        raise ValueError("a local model asks for no connection")
    table = pd.read_parquet(given["input_parquet"])
    options = Options(batch_size=data["batch_size"])
    encoder = open_encoder(data["model"].lower(), data["model_path"], options)
    vectors = embed_pictures(encoder, [Path(p) for p in table["filepath"]]) * np.float32(SCALE)
    order = np.argsort(table["filepath"].to_numpy())[::-1]  # rows in an order of its own
    table = table.iloc[order].assign(embedding=list(vectors[order]))
    if fault("embed") == "a row less":
        table = table.iloc[:-1]
    table.to_parquet(given["output_parquet"])


def fault(stage: str) -> str:
    path = Path(os.environ["STANDIN_DIR"]) / "faults.json"
    return json.loads(path.read_text()).get(stage, "") if path.is_file() else ""


def main(plan: dict, watched: bool = True) -> int:
    argv = plan["argv"]
    if watched:
        watch_files(plan["mounts"], plan["written"])
    data = read_spec(argv)
    stage = {"gap_analysis": "rca", "embedding": "embed"}.get(argv[0], argv[1])
    if fault(stage) == "status 1":
        print("RuntimeError: something TAO did not like")
        print("Execution status: FAIL")
        return 1
    if argv[0] == "visual_changenet":
        if len(argv) != 4:
            raise ValueError(f"arguments {argv}")
        check_schema(data, argv[1])
        absolute_paths(data, plan["mounts"])
        {"train": train, "inference": inference}[argv[1]](data, plan)
    elif argv[:2] == ["gap_analysis", "vcn_aoi"]:
        gap_analysis(data, overrides(argv[4:]))
    elif argv[:2] == ["embedding", "image_embeddings"]:
        embedding(data, overrides(argv[4:]))
    else:
        raise ValueError(f"no such entry point: {argv[:2]}")
    print("Execution status: FAIL" if fault(stage) == "says fail" else "Execution status: PASS")
    return 0
