"""Real files to spoil: what the project itself writes, and what its users hand in."""

from __future__ import annotations

import functools
import io
import json
import os
import socket
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

RUN = "run_20260131_120000"


@functools.cache
def root() -> Path:
    """Return a folder that lives as long as the process."""
    kept = tempfile.TemporaryDirectory(prefix="deft_fuzz_seeds_")
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT: list[Any] = []


@functools.cache
def workspace() -> Path:
    """Return a tiny workspace with every input."""
    from tiny_workspace import make_tiny_workspace

    return make_tiny_workspace(
        root() / "w", base=6, validation=4, kpi=6, pool=6, pregen=4, defect_spec=True
    )


def of_workspace(*names: str) -> list[bytes]:
    """Return the bytes of files of the tiny workspace."""
    return [(workspace() / name).read_bytes() for name in names]


def foreign_texts() -> list[bytes]:
    """Return the KPI table as Excel and databases save it."""
    text = of_workspace("kpi/testing_set.csv")[0].decode()
    german = text.replace(",", ";").replace("\n", "\r\n")
    return [
        german.encode(),
        text.replace(",", "\t").encode("utf-16"),
        f"sep=;\r\n{german}".encode(),
    ]


def foreign_workbook() -> list[bytes]:
    """Return a workbook with numbers, dates, common texts, a hidden row and a hidden sheet."""
    from odd_tables import HEADER, ROWS, sheet_xml, workbook

    data = sheet_xml([["Line 7"], HEADER, *ROWS, ["b", "g", "PASS", 12]], hidden=[1])
    styles = '<styleSheet><cellXfs><xf numFmtId="14"/></cellXfs></styleSheet>'
    path = workbook(
        root() / "seed.xlsx", {"s": data, "old": [HEADER]}, shared=["R1"], styles=styles,
        states={"old": "hidden"},
    )  # fmt: skip
    return [path.read_bytes()]


def foreign_sheets() -> list[bytes]:
    """Return the XML of a sheet."""
    from odd_tables import HEADER, ROWS, sheet_xml

    merged = '<mergeCells><mergeCell ref="F1:G1"/></mergeCells>'
    return [sheet_xml([HEADER, *ROWS], hidden=[3], after=merged).encode()]


def as_json(*values: Any) -> list[bytes]:
    """Return values as JSON files."""
    return [json.dumps(value, indent=2).encode() for value in values]


def verdicts(tool: str) -> list[bytes]:
    """Return an export of verdicts on two rows, as ``label_studio`` or ``fiftyone`` writes it."""
    from deft.tables.exchange import ROW, fiftyone_files, label_studio_tasks

    row = dict.fromkeys(ROW, "a") | {"suggested": "bridge", "doubt": 0.5}
    rows = [row | {"test_file": f"t{i}.png", "golden_file": f"g{i}.png"} for i in range(2)]
    if tool == "fiftyone":
        return as_json(fiftyone_files(rows)[0])
    tasks = [{**t, "annotations": t["predictions"]} for t in label_studio_tasks(rows)]
    return as_json(tasks, [{**tasks[0]["data"], "verdict": "label_right"}])


def state() -> list[bytes]:
    """Return states: of a run under way, and one that a user pre-seeded."""
    from deft.core.errors import HardStop
    from deft.run.state import read_state, record_hard_stop, update_phase, update_state

    folder = root() / "state"
    update_state(folder, lambda s: s.update(config={"images_dir": "/x"}, kpi_target={"far": 1}))
    update_phase(folder, "baseline", stage_completed="train", best_ckpt_path="a.pth", far_pct=1.0)
    update_phase(folder, "iter1", stage_completed="rca", rca_target_defects=["bridge"])
    record_hard_stop(folder, "iter1", "rca", HardStop("leakage", "x", file="y", row=[1, 2]))
    seeded = {"iterations": {"baseline": {"stage_completed": "train", "best_ckpt_path": "w.pth"}}}
    return [json.dumps(read_state(folder)).encode(), json.dumps(seeded).encode()]


def log() -> list[bytes]:
    """Return a log of some stages."""
    from deft.run.state import LOG_FILE, log_stage

    folder = root() / "log"
    for number, stage in enumerate(("preflight", "train", "inference", "evaluate", "rca")):
        log_stage(folder, "baseline" if number else "preflight", stage, f"did {stage}, 12.5 %")
    return [(folder / LOG_FILE).read_bytes()]


def note() -> dict[str, Any]:
    """Return the note of a process that has ended."""
    return {"host": socket.gethostname(), "pid": 2**22 - 1, "started": 1.5, "slurm_job": None}


def commands() -> list[bytes]:
    """Return the notes of three commands."""
    lines = [{"run": RUN, **note(), "slurm_name": name} for name in (None, "deft_0a", None)]
    return ["".join(json.dumps(line) + "\n" for line in lines).encode()]


def matter() -> dict[str, Any]:
    """Return what an approval covers."""
    from deft.pool.digest import inputs_digest
    from deft.settings.config import resolve

    return inputs_digest(workspace(), resolve({"workspace": "w"}))


def parquet(**columns: Any) -> bytes:
    """Return a parquet file of plain columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def embeddings(more: dict[bytes, Any] | None = None) -> bytes:
    """Return a table of embeddings as the loop writes it."""
    import numpy as np
    import pyarrow as pa

    from deft.embedding.embed import EmbeddingWriter

    path = root() / f"embeddings{len(more or {})}.parquet"
    names = ["filepath", "label", "light", "provenance"]
    rows = pa.table({name: [f"{name}{i}" for i in range(6)] for name in names})
    encoder = SimpleNamespace(name="siglip", dim=8, digest="ab" * 32)
    vectors = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    with EmbeddingWriter(path, rows.schema, encoder, more) as out:
        out.add(rows, vectors)
    return path.read_bytes()


def segment() -> bytes:
    """Return a segment of the cache of embedded pictures."""
    import numpy as np

    from deft.embedding.segment import write_segment

    rng = np.random.default_rng(0)
    keys = rng.integers(0, 255, (5, 20)).astype(np.uint8)
    path = root() / "one.seg"
    write_segment(path, "ab" * 32, keys, rng.normal(size=(5, 8)).astype(np.float32))
    return path.read_bytes()


def weights() -> list[bytes]:
    """Return model files: TAO's layout with an optimizer's state, a bare state_dict."""
    import torch

    out = []
    layer = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(3)}
    whole = {
        "epoch": 0, "global_step": 3, "state_dict": layer, "loops": {}, "callbacks": {},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(1.0)}},
                              "param_groups": [{"lr": 0.1, "params": [0, 1]}]}],
        "lr_schedulers": [{"base_lrs": [0.1]}], "tao_model": "visual_changenet_classify",
    }  # fmt: skip
    for data in (whole, layer):
        buffer = io.BytesIO()
        torch.save(data, buffer)
        out.append(buffer.getvalue())
    return out


def safetensors() -> list[bytes]:
    """Return a safetensors file."""
    import torch
    from safetensors.torch import save

    return [save({"a.weight": torch.zeros(3, 2), "b": torch.ones(4)}, {"format": "pt"})]


def onnx_model() -> list[bytes]:
    """Return an ONNX file."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return [model.SerializeToString()]


def handed_off() -> list[bytes]:
    """``preprocessing.json`` and ``kpi_reference.json`` of a hand-off."""
    facts = {
        "file": "model.onnx", "sha256": "0", "lights": ["A"], "picture_name": "{object_name}.png",
        "height_px": 8, "width_px": 8, "join_x": 1, "join_y": 1, "num_golden": 1,
        "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2], "output": "logits", "threshold": 0.5,
        "resize_height_may_lead": True,
    }  # fmt: skip
    kpi = {
        "threshold": 0.5, "counts": {"tp": 1, "fn": 0, "fp": 0, "tn": 2},
        "good": [0.1] * 40, "defects": [0.9],
    }  # fmt: skip
    return as_json(facts, kpi)


def kpi_embeddings() -> list[bytes]:
    """``kpi_embeddings.npz`` of a hand-off."""
    import numpy as np

    from deft.score_kit.embeddings import made_reference

    made = made_reference(np.random.default_rng(0).standard_normal((60, 6)), "t", "s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "e.npz"
        assert made is not None
        made.write(path)
        return [path.read_bytes()]


def pictures() -> list[bytes]:
    """Return pictures of several formats and depths."""
    import numpy as np
    from PIL import Image

    out = []
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 255, (12, 10)).astype(np.uint8))
    deep = Image.fromarray(rng.integers(0, 65535, (12, 10)).astype(np.uint16))
    drawn = [
        (grey, "PNG"), (deep, "PNG"), (grey, "JPEG"), (grey, "BMP"), (grey, "TIFF"),
        (grey.convert("P"), "PNG"), (grey.convert("RGBA"), "WEBP"), (grey, "GIF"),
    ]  # fmt: skip
    for picture, form in drawn:
        buffer = io.BytesIO()
        picture.save(buffer, form)
        out.append(buffer.getvalue())
    return out


def bundle() -> dict[str, bytes]:
    """Return the files of a small bundle, name -> bytes, without its SHA256SUMS."""
    import tarfile

    from deft.bundle import install

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("Snakefile", "scripts/a.py"):
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"hello"))
    files = {
        "code.tar": buffer.getvalue(),
        "envs/requirements.txt": b"x==1\n",
        "install.py": Path(install.__file__).read_bytes(),
        "weights/0/a.pth": b"numbers",
    }
    facts = {
        "schema_version": 1, "python": "3.11", "system": "linux", "machine": "x86_64",
        "requirements": "envs/requirements.txt",
        "weights": [{"key": "k", "path": "weights/0/a.pth", "target": "augmentation/a.pth"}],
        "files": sorted(files),
    }  # fmt: skip
    return {**files, "bundle.json": json.dumps(facts).encode()}


def exported() -> list[bytes]:
    """Return an archive in the shape of torch.export's."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("m/archive_format", "pt2")
        archive.writestr("m/models/model.json", json.dumps({"graph_module": {"nodes": []}}))
        archive.writestr("m/data/weights/weight_0", b"\0" * 16)
    return [out.getvalue()]


@functools.cache
def fake_run() -> tuple[Path, Path]:
    """Return (workspace, run folder) of a finished run that nobody ran."""
    import sys

    sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[1] / "report"))
    (root() / "fake").mkdir()
    import fake_run as maker

    made = maker.finished(root() / "fake")
    return made.workspace, made.dir
