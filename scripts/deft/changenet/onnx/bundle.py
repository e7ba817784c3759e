"""``best_model/``: everything that scores two pictures elsewhere, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import PIL

from deft import score_kit
from deft.changenet.onnx import recipes
from deft.changenet.spec import Spec
from deft.core import layout
from deft.core.files import sha256_file, write_json_atomic, write_text_atomic
from deft.score_kit.embeddings import REFERENCE as EMBEDDINGS
from deft.score_kit.embeddings import Reference
from deft.score_kit.registration import OFF
from deft.score_kit.statistics import REFERENCE
from deft.tables import pictures

MODEL = "model.onnx"
INT8 = "model.int8.onnx"
PREPROCESSING = "preprocessing.json"
EXAMPLE = "score_pair.py"
README = "README.md"
CHECKSUM = "model.onnx.sha256"
FACTS = "export.json"
READER = "read_picture.py"
EXAMPLE_SOURCE = Path(__file__).with_name(EXAMPLE)
COMMANDS = {name: Path(__file__).with_name(name) for name in ("score.py", "compare_engine.py")}
VIEWS_KEYS = ("score_views", "views")  # what the graph does inside; absent for one view
KIT = Path(score_kit.__file__).parent
# Since when Pillow may resize the height first, which shows in the last bit.
HEIGHT_MAY_LEAD = 13


def preprocessing(
    spec: Spec,
    exported: dict[str, Any],
    *,
    threshold: float,
    kpi_threshold: float,
    levels: int | None = None,
    register: str = OFF,
) -> dict[str, Any]:
    """Return ``preprocessing.json``: how pictures become inputs, and the output a decision.

    ``threshold`` is the one to use; ``kpi_threshold`` is a KPI picture's own score, see
    :func:`deft.kpi.handed_off.threshold_to_set`. Scores are compared in float32. ``levels``: full
    scale of pictures deeper than 8 bits; without it the key ``picture_levels`` is left out.
    ``register``: how the workspace's test pictures were laid on their goldens.
    """
    data = spec.dataset.classify
    grid = spec.grid or (1, len(spec.lights))
    height, width = spec.picture_size
    return {
        "schema_version": 1,
        "file": exported["file"],
        "sha256": exported["sha256"],
        "batch": max(1, exported["batch"]),
        "lights": spec.lights,
        "picture_name": "{object_name}_{light}" + data.image_ext,
        "colour_order": "RGB",
        "height_px": height,
        "width_px": width,
        "resample": f"bilinear, Pillow's Image.resize (measured with Pillow {PIL.__version__})",
        "resize_height_may_lead": int(PIL.__version__.split(".")[0]) >= HEIGHT_MAY_LEAD,
        "join": "left to right, then down, in the order of lights",
        "join_x": grid[0],
        "join_y": grid[1],
        "input_height_px": spec.tensor_size[0],
        "input_width_px": spec.tensor_size[1],
        "scale": "pixel / 255, then (value - mean) / std per channel",
        "mean": list(data.augmentation_config.rgb_input_mean),
        "std": list(data.augmentation_config.rgb_input_std),
        "inputs": {
            "input_1": "test picture, float32 (batch, 3, height, width)",
            "input_2": "golden picture, the same"
            if data.num_golden == 1
            else "golden pictures, float32 (batch, num_golden, 3, height, width)",
        },
        "num_golden": data.num_golden,
        "output": "logits" if spec.learnable else "distance",
        "score": "softmax of the two logits, second value" if spec.learnable else "the output",
        "threshold": threshold,
        "kpi_threshold": kpi_threshold,
        "rule": "score > threshold means NO_PASS",
        **({} if levels is None else {"picture_levels": levels}),
        **({} if register == OFF else {"register": register}),
        **({k: exported[k] for k in VIEWS_KEYS if k in exported}),
    }


def write_bundle(
    folder: Path,
    facts: dict[str, Any],
    record: dict[str, Any],
    reference: dict[str, Any],
    *,
    run: str,
    phase: str,
    embeddings: Reference | None = None,
) -> None:
    """Write what stands beside the ONNX: preprocessing, checksums, commands, README, record.

    ``reference``: the KPI set's scores (:func:`deft.score_kit.statistics.reference`);
    ``embeddings``: those of its good parts.
    """
    write_json_atomic(folder / PREPROCESSING, facts)
    write_json_atomic(folder / REFERENCE, reference)
    if embeddings is not None:
        embeddings.write(folder / EMBEDDINGS)
    record = {**record, "kpi_embeddings": 0 if embeddings is None else len(embeddings.numbers)}
    for name, text in (
        (recipes.TRITON, recipes.triton_config(facts, record["batch"])),
        (recipes.TENSORRT, recipes.tensorrt_script(facts, record["batch"])),
    ):
        write_text_atomic(folder / name, text)
    (folder / "score_kit").mkdir(exist_ok=True)
    for module in layout.SCORE_KIT:
        shutil.copyfile(KIT / f"{module}.py", folder / f"score_kit/{module}.py")
    for name, source in COMMANDS.items():
        shutil.copyfile(source, folder / name)
    names = [p.name for p in sorted(folder.glob("model*.onnx*")) if p.name != CHECKSUM]
    lines = [f"{sha256_file(folder / name)}  {name}" for name in names]
    write_text_atomic(folder / CHECKSUM, "\n".join(lines) + "\n")
    write_text_atomic(folder / EXAMPLE, example(facts))
    shutil.copyfile(pictures.__file__, folder / READER)
    write_text_atomic(folder / README, readme(facts, record, run=run, phase=phase))
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FACTS)
    digests = {p.relative_to(folder).as_posix(): sha256_file(p) for p in files}
    record = {**record, "files": digests}
    write_json_atomic(folder / FACTS, record)


def example(facts: dict[str, Any]) -> str:
    """Return ``score_pair.py``; where pictures are registered, with two lines more and OpenCV."""
    text = EXAMPLE_SOURCE.read_text(encoding="utf-8")
    if "register" not in facts:
        return text
    place = text.index("test, *goldens =")
    align = (
        'read[:lights] = align(read[:lights], read[lights : 2 * lights], facts["register"]).lights'
    )
    text = f"{text[:place]}{align}  # as in training\n{text[place:]}"
    return text.replace(
        "from read_picture", "from score_kit.registration import align\nfrom read_picture"
    )


EMBEDDINGS_ROW = f"| `{EMBEDDINGS}` | the same for what the network sees in its pictures |"
SERVING = (
    "",
    "Nothing in this folder names a place outside of it: copy or move it as a whole.",
    "",
    "## Triton",
    "",
    "```bash",
    "mkdir -p triton/changenet/1 && cp model.onnx triton/changenet/1/   # and model.onnx.data",
    'docker run --rm --gpus all -p 8000-8002:8000-8002 -v "$PWD/triton:/models" \\',
    "    nvcr.io/nvidia/tritonserver:24.12-py3 tritonserver --model-repository=/models",
    "```",
    "",
    f"Its inputs are normalised pictures, see `{PREPROCESSING}`; its output is turned into a score "
    "and a decision there too.",
    "",
    "## TensorRT",
    "",
    "```bash",
    "sh tensorrt/build_engine.sh fp32        # or fp16; trtexec of TensorRT 8 to 10 on PATH",
    "python compare_engine.py --csv TABLE --images ROOT --engine tensorrt/model.fp16.plan",
    "```",
    "",
    "The second line ends with 4 when the engine decides a part of the table (best: the KPI table) "
    "otherwise than the ONNX; such an engine is not to be used.",
)


def readme(facts: dict[str, Any], record: dict[str, Any], *, run: str, phase: str) -> str:
    """Return the folder's README; its figures are those of the record."""
    found = record["parity"]["at_safe_threshold"]
    lights, goldens = facts["lights"], facts["num_golden"]
    sides = ["TEST", *(["GOLDEN"] if goldens == 1 else [f"GOLDEN{i + 1}" for i in range(goldens)])]
    ext = facts["picture_name"].rpartition("}")[2]
    names = [f"{side}_{light}{ext}" if light else side for side in sides for light in lights]
    opencv = ", OpenCV" if "register" in facts else ""
    run_example = f"python {EXAMPLE} {' '.join(names)}"
    parts = [
        f"# The best model of {run} ({phase})",
        "",
        "```bash",
        "sha256sum -c model.onnx.sha256",
        "pip install numpy opencv-python-headless onnxruntime",
        "python score.py --csv TABLE --images ROOT --out scores.csv        # or",
        "python score.py --test DIR --golden DIR --out scores.csv",
        f"{run_example}   # numpy, Pillow and onnxruntime{opencv}; prints the score",
        "```",
        "",
        "| file | what |",
        "|---|---|",
        f"| `{MODEL}` | the network, float32, opset {record['opset']} |",
    ]
    if record["data_file"]:
        parts.append(f"| `{record['data_file']}` | its numbers; must lie beside it |")
    if (record["int8"] or {}).get("kept"):
        parts.append(f"| `{INT8}` | the same in int8; put its name into `{PREPROCESSING}` |")
    parts += [
        f"| `{PREPROCESSING}` | how pictures become inputs; threshold and rule |",
        "| `score.py` | scores a table or two folders; `--help` says what it writes |",
        "| `score_kit/` | what it is made of |",
        f"| `{REFERENCE}` | scores of the KPI set, against which it judges drift |",
        *([EMBEDDINGS_ROW] if record.get("kpi_embeddings") else []),
        f"| `{recipes.TRITON}` | for Triton, see below |",
        f"| `{recipes.TENSORRT}` | builds a TensorRT engine |",
        "| `compare_engine.py` | the gate: does the engine decide as the ONNX does? |",
        f"| `{EXAMPLE}` | the whole path in 30 lines |",
        f"| `{READER}` | how the pipeline reads a picture file, and which ones it refuses |",
        f"| `{FACTS}` | how the export was checked |",
        "",
        f"A part is NO_PASS when its score is above {facts['threshold']!r}.",
        "",
        f"Checked on {found['pairs']} of {record['kpi_rows']} KPI parts, from file to decision: "
        f"scores differ from the pipeline's by at most {found['largest_difference']:.2g}, no score "
        f"is nearer to the threshold than {found['smallest_margin']:.2g}, "
        f"{found['flips']} decisions differ.",
    ]
    if "register" in facts:
        parts += [
            "",
            f"Trained on test pictures that were laid on their goldens (`register: "
            f"{facts['register']}`): `score.py` and `{EXAMPLE}` do so with each part before the "
            "network sees it; whoever feeds the network otherwise (Triton, TensorRT, TAO) must do "
            "it too: `align` in `score_kit/registration.py`.",
        ]
    if "views_cost" in record:
        cost = record["views_cost"]
        parts += [
            "",
            f"The graph scores each pair over {record['views']} views (`score_views: "
            f"{record['score_views']}`) and gives their mean: feed it a pair once, as it is. It "
            f"costs {cost['times_the_cost']:g} times a single view "
            f"({cost['pairs_per_s']:g} instead of {cost['one_view_pairs_per_s']:g} pairs/s here).",
        ]
    if "two_stage" in record:
        told = record["two_stage"]
        parts += [
            "",
            f"`score.py` works in two stages: `{facts['first_stage']['file']}` scores one view of "
            "every pair, and only pairs that it leaves within the margin of the threshold are "
            f"scored over all views ({100 * told['share_again']:.3g} % of the KPI parts). Beyond "
            f"the margin a decision is that of one view. {told['pairs']} KPI parts were compared: "
            "none is decided otherwise than over all views.",
        ]
    parts += SERVING
    if not found["above_noise"]:
        parts.append(
            "\nThat margin is within float noise: on another machine the parts nearest to the "
            "threshold may fall on its other side. The network does not tell them apart."
        )
    if found["flips"]:
        parts.append(
            f"\nWarning: {found['flips']} of the checked parts were decided otherwise by this file "
            f"than by the pipeline, all within float noise; `{FACTS}` counts them."
        )
    if record.get("score_py_cannot_read"):
        parts.append(
            f"\nWarning: score.py cannot read such pictures ({record['score_py_cannot_read']}); "
            f"{EXAMPLE} can. The figures above were measured with the pipeline's reader."
        )
    if record["int8"]:
        kept = "kept" if record["int8"]["kept"] else "not kept"
        parts.append(
            f"\nint8 ({record['int8']['form']}): {kept}; {record['int8']['reason']}; "
            f"{record['int8']['speed_ratio']:g} times the speed of float32 here."
        )
    return "\n".join(parts) + "\n"
