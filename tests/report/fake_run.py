"""Write a plausible run folder, tiny pictures included, without running any stage."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw

from deft.core.files import sha256_file
from deft.kpi import operating_point
from deft.kpi.handed_off import threshold_to_set
from deft.run.roots import with_root
from deft.tables.changenet_table import PASS, is_ng

RUN = "run_20260131_120000"
TS = RUN.removeprefix("run_")
LIGHTS = ("SolderLight", "WhiteLight")
DEFECTS = {"bridge": 21, "missing": 14, "type_3 <shift>": 4}
GOOD = 160
KPI_TARGET = {
    "far_max_pct": 0.1,
    "min_recall": 1.0,
    "strict": True,
    "sentence": "FAR < 0.1% at recall=100%",
}
SPEC = {
    "task": "classify",
    "encryption_key": "tlt_encode",
    "results_dir": "results/run",
    "model": {
        "backbone": {"type": "c_radio_v2_vit_base_patch16_224", "pretrained_backbone_path": None},
        "classify": {"difference_module": "learnable", "eval_margin": 0.3, "embed_dec": 30},
        "decode_head": {"feature_strides": [4, 8, 16, 16]},
    },
    "dataset": {
        "classify": {
            "train_dataset": {"csv_path": "train/base/training_set.csv", "images_dir": "kpi"},
            "validation_dataset": {"csv_path": "v.csv", "images_dir": "kpi/images"},
            "test_dataset": {"csv_path": "t.csv", "images_dir": "kpi/images"},
            "infer_dataset": {"csv_path": "kpi/testing_set.csv", "images_dir": "kpi/images"},
            "image_ext": ".jpg",
            "image_width": 224,
            "image_height": 224,
            "num_golden": 1,
            "input_map": {light: i for i, light in enumerate(LIGHTS)},
            "augmentation_config": {
                "augment": True,
                "rgb_input_mean": [0.485, 0.456, 0.406],
                "random_flip": {"enable": True, "hflip_probability": 0.5},
                "with_random_blur": True,
                "with_scale_random_crop": {"enable": True, "scale_range": [1, 1.2]},
            },
        }
    },
    "train": {
        "num_epochs": 10,
        "classify": {"loss": "ce", "cls_weight": [1.0, 10.0]},
        "pretrained_model_path": "/weights/secret.pth",
    },
    "evaluate": {"checkpoint": "x.pth"},
    "inference": {"batch_size": 8, "checkpoint": "old.pth"},
}


@dataclass
class FakeRun:
    """A workspace with one run in it."""

    workspace: Path

    @property
    def dir(self) -> Path:
        return self.workspace / "results" / RUN

    def json(self, name: str, content: object) -> None:
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, sort_keys=True))

    def csv(self, name: str, table: pd.DataFrame, *, below: Path | None = None) -> Path:
        path = (below or self.dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
        return path

    def parquet(self, path: Path, table: pd.DataFrame) -> None:
        """Write a table of pictures with the root of their paths, as the loop does."""
        arrow = pa.Table.from_pandas(table, preserve_index=False)
        pq.write_table(with_root(arrow, self.workspace), path)

    def add_phase(self, number: int, separation: float) -> float:
        """Add an evaluated phase with its analysis; returns its FAR in percent."""
        name = "baseline" if number == 0 else f"iter{number}"
        self._train(name, number)
        far = self._evaluate(name, number, separation)
        self._rca(name)
        if number:
            self._assemble(name, number)
        return far

    def _train(self, name: str, number: int) -> None:
        folder = self.dir / name / "train"
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for epoch, loss in ((3, 0.31), (9, 0.44)):
            file = f"model_epoch_{epoch:03d}_step_{epoch * 12:05d}.pth"
            (folder / file).write_bytes(f"{name}{epoch}".encode())
            digest = sha256_file(folder / file)
            files.append({"path": file, "epoch": epoch, "val_loss": loss, "sha256": digest})
        before = "baseline" if number == 1 else f"iter{number - 1}"
        start = {"path": f"results/{RUN}/{before}/train/{files[0]['path']}", "sha256": "1" * 64}
        self.json(
            f"{name}/train/weights.json",
            {
                "schema_version": 1,
                "phase": name,
                "files": files,
                "best_val": files[0]["path"],
                "latest": files[1]["path"],
                "steps": 120,
                "epochs": 10,
                "rows": 230 + 40 * number,
                "validation_rows": 60,
                "initialised_from": start if number else None,
                "seed": 7,
                "spec_sha256": "2" * 64,
            },
        )
        (folder / "experiment.yaml").write_text(yaml.safe_dump(SPEC))
        epochs = np.arange(10)
        loss = 0.8 * np.exp(-epochs / 4)
        self.csv(
            f"{name}/train/train_curve.csv",
            pd.DataFrame({"epoch": epochs, "step": epochs * 12, "train_loss": loss, "lr": 1e-4}),
        )
        self.csv(
            f"{name}/train/validation_curve.csv",
            pd.DataFrame({"epoch": epochs, "step": epochs * 12, "val_loss": loss + 0.05}),
        )

    def _evaluate(self, name: str, number: int, separation: float) -> float:
        table = pd.read_csv(self.workspace / "kpi/testing_set.csv", dtype=str)
        ng = table["label"].map(is_ng).to_numpy()
        metrics: dict[str, object] = {}
        inference: dict[str, object] = {}
        trained = json.loads((self.dir / name / "train/weights.json").read_text())["files"]
        for k, kind in enumerate(("best_val", "latest")):
            rng = np.random.default_rng(100 * number + k)
            raw = rng.normal(0, 1, len(table)) + np.where(ng, separation - 0.4 * k, 0)
            scores = (1 / (1 + np.exp(-1.5 * (raw - 2)))).astype(np.float32)
            scored = table.assign(siamese_score=scores)
            out = self.csv(f"{name}/inference/{kind}/inference.csv", scored)
            sweep = operating_point.sweep(scores, ng)
            self.csv(f"{name}/inference/{kind}/threshold_metrics.csv", pd.DataFrame(sweep))
            best_f1 = operating_point.point(sweep, operating_point.best_f1_point(sweep), None)
            metrics[kind] = {
                "recall_point": operating_point.at_recall(sweep, 1.0),
                "best_f1": best_f1,
                "far_at_recall": {
                    n: operating_point.at_recall(sweep, int(n) / 100) for n in ("100", "99", "95")
                },
                "recall_table": [
                    operating_point.at_recall(sweep, n / 100)
                    for n in operating_point.RECALL_LEVELS_PCT
                ],
                "degenerate": False,
                "auroc": 0.981,
                "average_precision": 0.93,
            }
            inference[kind] = {
                "weights": trained[k]["path"],
                "weights_sha256": trained[k]["sha256"],
                "csv": f"{kind}/inference.csv",
                "csv_sha256": sha256_file(out),
                "rows": len(scored),
            }
        point = metrics["best_val"]["recall_point"]  # type: ignore[index]
        scored = pd.read_csv(self.dir / name / "inference/best_val/inference.csv")
        labels = {}
        for label, group in scored.groupby("label"):
            values = group["siamese_score"]
            above = int((values.astype(np.float32) > np.float32(point["threshold"])).sum())
            entry = {
                "count": len(group),
                "min_score": float(values.min()),
                "max_score": float(values.max()),
                "mean_score": float(values.mean()),
            }
            if label == PASS:
                entry["rejected"] = above
            else:
                entry["caught"] = above
                entry["recall_lower95_pct"] = 100 * float(
                    operating_point.recall_lower_bound(above, len(group))
                )
            labels[str(label)] = entry
        counts = {str(k): int(v) for k, v in table["label"].value_counts().items()}
        file = f"train/{trained[0]['path']}"
        self.json(
            f"{name}/metrics.json",
            {
                "schema_version": 1,
                "phase": name,
                "min_recall": 1.0,
                "chosen": "best_val",
                "weights": {**trained[0], "path": file},
                "counts": {"rows": len(table), "ng": int(ng.sum()), "pass": GOOD, "labels": counts},
                "kinds": metrics,
                "labels": labels,
            },
        )
        self.json(f"{name}/inference/inference.json", {"kinds": inference})
        return float(point["far_pct"])

    def _rca(self, name: str) -> None:
        scored = pd.read_csv(self.dir / name / "inference/best_val/inference.csv")
        point = json.loads((self.dir / name / "metrics.json").read_text())["kinds"]["best_val"]
        threshold = point["recall_point"]["threshold"]
        ng = scored["label"].map(is_ng)
        scored["weakness"] = np.where(ng, -1, 1) * (scored["siamese_score"] - threshold)
        scored["row"] = np.arange(len(scored))
        weak = scored.sort_values(["label", "weakness"], ascending=[True, False])
        weak = weak.groupby("label").head(5)
        rows = []
        for _, row in weak.iterrows():
            for light in LIGHTS:
                images = self.workspace / "kpi/images"
                test = images / row["input_path"] / f"{row['object_name']}_{light}.jpg"
                golden = images / row["golden_path"] / f"{row['object_name']}_{light}.jpg"
                rows.append(
                    {
                        "filepath": str(test),
                        "golden_filepath": str(golden),
                        "light": light,
                        "label": row["label"],
                        "siamese_score": row["siamese_score"],
                        "weakness": row["weakness"],
                        "row": row["row"],
                        "object_name": row["object_name"],
                    }
                )
                draw(test, golden, defective=is_ng(row["label"]))
        folder = self.dir / name / "rca_results" / TS
        folder.mkdir(parents=True)
        self.parquet(folder / "kpi_gaps.parquet", pd.DataFrame(rows))
        self.json(f"{name}/rca_results/{TS}/metrics.json", {"precision": 0.5})

    def _assemble(self, name: str, number: int) -> None:
        rows = 230 + 40 * number
        self.mine(name, new_rows=40)
        self.csv(f"{name}/dataset/train_combined_{name}.csv", pd.DataFrame({"label": ["PASS"]}))
        self.json(
            f"{name}/dataset/assembly.json",
            {
                "previous_rows": rows - 40,
                "mined_rows": 44,
                "duplicates": 4,
                "rows": rows,
                "real_rows": rows - 12 * number,
                "sdg_rows": 12 * number,
                "sources": {},
            },
        )

    def mine(self, name: str, new_rows: int) -> None:
        """Write the files of a mining stage."""
        before = "baseline" if name == "iter1" else f"iter{int(name[4:]) - 1}"
        gaps = pd.read_parquet(self.dir / before / "rca_results" / TS / "kpi_gaps.parquet")
        pool = pd.read_csv(self.dir / "synth_pool/source_pool.csv")
        pairs = [
            {
                "target": gaps["filepath"][i],
                "source": pool["filepath"][3 * i + j],
                "rank": j + 1,
                "similarity": 0.97 - 0.01 * (i + j),
                "target_label": gaps["label"][i],
                "source_label": pool["label"][3 * i + j],
                "light": "SolderLight",
                "provenance": pool["provenance"][3 * i + j],
            }
            for i in range(4)
            for j in range(3)
        ]
        folder = self.dir / name / "mining_filter"
        folder.mkdir(parents=True)
        self.parquet(folder / "knn_pairs.parquet", pd.DataFrame(pairs))
        self.csv(f"{name}/mining_filter/mining_pool.csv", pool.head(new_rows))
        self.json(
            f"{name}/mining_filter/mining.json",
            {
                "strategy": "nearest",
                "encoder": {"name": "siglip"},
                "targets": 30,
                "candidate_count": 61,
                "kept_count": 44,
                "rejected_count": 17,
                "new_rows": new_rows,
                "new_real": new_rows,
                "new_sdg": 0,
                "labels": {},
                "warnings": ["2 targets labelled missing have no same-label candidate"],
                "similarity_threshold": 0.9,
            },
        )

    def decide(self, phase: str, part: str, reason: str) -> None:
        """Write a decision; every reason but ``continue`` stops."""
        stop = reason != "continue"
        checks = json.loads((self.dir / "preflight/checks.json").read_text())
        target = checks["kpi_target"]["far_max_pct"]
        fars = {}
        for path in sorted(self.dir.glob("*/metrics.json")):  # baseline, iter1, …: in order
            found = json.loads(path.read_text())
            fars[found["phase"]] = found["kinds"]["best_val"]["recall_point"]["far_pct"]
        best = min(fars, key=lambda name: fars[name])
        self.json(
            f"{phase}/decide/{part}.json",
            {
                "stop": stop,
                "reason": reason,
                "phase": phase,
                "best_phase": best,
                "best_far_pct": fars[best],
                "target_far_pct": target,
                "kpi_met": fars[best] < target,
            },
        )

    @property
    def decision(self) -> Path:
        """The decision that ended the loop."""
        found = sorted(self.dir.glob("*/decide/*.json"))
        return next(p for p in reversed(found) if json.loads(p.read_text())["stop"])

    def export(self, phase: str) -> None:
        """Write ``best_model/`` of a phase, with no real network in it."""
        metrics = json.loads((self.dir / phase / "metrics.json").read_text())
        kpi_threshold = metrics["kinds"]["best_val"]["recall_point"]["threshold"]
        folder = self.dir / "best_model"
        folder.mkdir()
        (folder / "model.onnx").write_bytes(b"onnx" * 100)
        (folder / "score_pair.py").write_text("print()\n")
        digest = sha256_file(folder / "model.onnx")
        (folder / "model.onnx.sha256").write_text(f"{digest}  model.onnx\n")
        scored = pd.read_csv(self.dir / phase / "inference/best_val/inference.csv")
        safe = threshold_to_set(scored["siamese_score"].to_numpy(np.float32), kpi_threshold)
        self.json(
            "best_model/preprocessing.json",
            {
                "sha256": digest,
                "threshold": safe,
                "kpi_threshold": float(np.float32(kpi_threshold)),
            },
        )
        names = ("model.onnx", "model.onnx.sha256", "preprocessing.json", "score_pair.py")
        self.json(
            "best_model/export.json",
            {
                "phase": phase,
                "file": "model.onnx",
                "sha256": digest,
                "weights_sha256": metrics["weights"]["sha256"],
                "data_file": None,
                "parity": {
                    "at_safe_threshold": {"threshold": safe},
                    "at_kpi_threshold": {"threshold": float(np.float32(kpi_threshold))},
                },
                "files": {name: sha256_file(folder / name) for name in names},
            },
        )

    def log(self, *stages: tuple[str, str], status: str = "ok") -> None:
        """Append log lines."""
        path = self.dir / "loop_log.jsonl"
        seq = len(path.read_text().splitlines()) if path.exists() else 0
        with path.open("a") as handle:
            for i, (phase, stage) in enumerate(stages):
                line = {"seq": seq + i + 1, "iter": phase, "stage": stage, "status": status}
                line |= {"ts": "2026-01-31T12:00:00Z", "summary": "", "duration_sec": 12.5}
                handle.write(json.dumps(line) + "\n")

    def state(self, status: str = "in_progress", **more: object) -> None:
        """Write the state."""
        self.json(
            "deft_state.json",
            {
                "version": 2,
                "started_at": "2026-01-31T12:00:00Z",
                "status": status,
                "max_iterations": 3,
                "config": {
                    "images_dir": str(self.workspace / "kpi/images"),
                    "training_csv": str(self.workspace / "train/base/training_set.csv"),
                    "validation_csv": str(self.workspace / "train/base/validation_set.csv"),
                    "kpi_test_csv": str(self.workspace / "kpi/testing_set.csv"),
                },
                "iterations": {},
                **more,
            },
        )


def draw(*paths: Path, defective: bool = False) -> None:
    """Draw small solder-joint-like pictures; the first one shows the defect."""
    for i, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = zlib.crc32(path.stem.encode()) % 40
        picture = Image.new("RGB", (96, 96), (20, 70 + shade, 40))
        pen = ImageDraw.Draw(picture)
        pen.rectangle((12, 30, 38, 66), fill=(190, 190, 200))
        pen.rectangle((58, 30, 84, 66), fill=(190, 190, 200))
        if defective and i == 0:
            pen.rectangle((36, 44, 60, 52), fill=(210, 210, 215))
        picture.save(path, quality=90)


def parts(labels: list[str], prefix: str) -> pd.DataFrame:
    """Return a ChangeNet table with one part per label."""
    return pd.DataFrame(
        {
            "input_path": [f"board{i % 5}" for i in range(len(labels))],
            "golden_path": [f"golden{i % 5}" for i in range(len(labels))],
            "label": labels,
            "object_name": [f"{prefix}{i}@1" for i in range(len(labels))],
        }
    )


def make_workspace(root: Path, **target: object) -> FakeRun:
    """Write a workspace whose run has passed the pre-flight and staged its pool."""
    run = FakeRun(root)
    labels = [PASS] * GOOD + [name for name, n in DEFECTS.items() for _ in range(n)]
    run.csv("kpi/testing_set.csv", parts(labels, "K"), below=root)
    run.csv("train/base/training_set.csv", parts([PASS, "bridge"] * 115, "T"), below=root)
    run.csv("train/base/validation_set.csv", parts([PASS, "bridge"] * 30, "V"), below=root)
    pool = parts(["bridge", PASS, "missing"] * 30, "P")
    pool_csv = "augmentation/mining_pool/mining_pool.csv"
    run.csv(pool_csv, pool, below=root)
    (root / "specs").mkdir()
    (root / "specs/baseline_spec.yaml").write_text(yaml.safe_dump(SPEC))
    pool["provenance"] = ["sdg" if i % 6 == 5 else "real" for i in range(len(pool))]
    images = root / "augmentation/mining_pool/images"
    pool["filepath"] = [str(images / f"{name}.jpg") for name in pool["object_name"]]
    for path, label in zip(pool["filepath"][:15], pool["label"], strict=False):
        draw(Path(path), defective=label != PASS)
    run.csv("synth_pool/source_pool.csv", pool)
    real = int((pool["provenance"] == "real").sum())
    counts = {"real_rows": real, "sdg_rows": len(pool) - real, "total_rows": len(pool)}
    run.json("synth_pool/manifest.json", {"schema_version": 1, "counts": counts})
    staged = run.dir / "synth_pool/images"
    draw(staged / "synth_ng/b1+bridge_0_SolderLight.jpg", defective=True)
    draw(staged / "synth_ok/b1+bridge_0_SolderLight.jpg")
    run.json(
        "preflight/checks.json",
        {
            "checks": [
                {"id": "pool_found", "status": "ok", "evidence": "90 rows"},
                {"id": "label_coverage", "status": "warn", "evidence": "no NG part for 1 type"},
            ],
            "parameters": [
                {"name": "top_k_per_target", "value": 5, "source": "default"},
                {"name": "min_similarity", "value": 0.9, "source": "default"},
                {"name": "max_iterations", "value": 3, "source": "user"},
                {"name": "training_epochs", "value": 10, "source": "spec"},
                {"name": "encoder", "value": "siglip", "source": "default"},
                {"name": "encoder_weights", "value": None, "source": "default"},
                {"name": "upstream_compat", "value": False, "source": "default"},
                {"name": "seed", "value": 7, "source": "user"},
                {"name": "hf_token", "value": "hf_abcdef", "source": "user"},
            ],
            "kpi_target": KPI_TARGET | target,
            "arm": "nearest",
        },
    )
    run.json("preflight/inputs.json", {"schema_version": 1})
    run.log(("preflight", "preflight"))
    run.state()
    return run


PHASE_STAGES = ("train", "inference", "evaluate", "rca")


def running(root: Path) -> FakeRun:
    """Only the baseline is done; the first lap is being mined."""
    run = make_workspace(root)
    run.add_phase(0, 2.6)
    run.decide("baseline", "kpi", "continue")
    run.log(*[("baseline", stage) for stage in PHASE_STAGES])
    return run


def finished(
    root: Path, laps: int = 2, reason: str = "max_iterations", **target: object
) -> FakeRun:
    """A run that ended after ``laps`` laps."""
    run = make_workspace(root, **target)
    for number, separation in zip(range(laps + 1), (2.6, 4.6, 4.2, 5.0), strict=False):
        name = "baseline" if number == 0 else f"iter{number}"
        run.add_phase(number, separation)
        run.decide(name, "kpi", reason if number == laps else "continue")
        run.log(*[(name, stage) for stage in PHASE_STAGES])
    run.log((f"iter{laps}", "loop_stop"))
    run.state("complete")
    run.export(json.loads(run.decision.read_text())["best_phase"])
    return run


def met(root: Path) -> FakeRun:
    """A run whose first lap meets a mild target."""
    return finished(root, laps=1, reason="kpi_met", far_max_pct=30.0, sentence="FAR < 30%")


def exhausted(root: Path) -> FakeRun:
    """A run whose first lap found nothing new in the pool."""
    run = running(root)
    run.mine("iter1", new_rows=0)
    run.decide("iter1", "pool", "pool_exhausted")
    run.log(("iter1", "data_mining"), ("iter1", "loop_stop"))
    run.state("complete")
    return run


def failed(root: Path) -> FakeRun:
    """A run that a leaking pool row stopped in its first lap."""
    run = running(root)
    run.log(("iter1", "data_merge"), status="error")
    stop = {
        "code": "leakage",
        "message": "3 mined rows are pictures of the KPI set",
        "file": "results/x/mining_pool.csv",
        "rows": [4, 9, 11],
        "fix": "remove the 3 rows from the pool",
    }
    run.state("failed", native={"hard_stop": {"phase": "iter1", "stage": "data_merge", **stop}})
    return run


def untouched(root: Path) -> FakeRun:
    """A run with its pre-flight and nothing else."""
    return make_workspace(root)


SITUATIONS = {
    "running": running,
    "finished": finished,
    "met": met,
    "exhausted": exhausted,
    "failed": failed,
    "untouched": untouched,
}
