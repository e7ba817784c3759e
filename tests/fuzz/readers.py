"""Every reader of a file that a person, another program or a crash may have made.

A reader gets an empty folder and the bytes of a file. It may return whatever it likes, or raise
``HardStop``, or an exception that its docstring names; anything else is a finding.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import seeds

from deft.core.errors import HardStop, StageFailed
from deft.score_kit.errors import Stop

Call = Callable[[Path, bytes], Any]
RUN = seeds.RUN
IMPORTS = {"light": "a moment", "arrow": "pandas and pyarrow", "torch": "torch, PIL, onnx"}


@dataclass(frozen=True)
class Reader:
    """A reader, its seeds, and how they are spoiled (see ``mutators.STRUCTURED``).

    ``family``: readers of one process, by what they import. ``expects``: exceptions besides
    ``HardStop`` that its caller turns into words.
    """

    name: str
    call: Call
    seeds: Callable[[], list[bytes]]
    kind: str
    family: str
    expects: tuple[type[BaseException], ...] = ()


READERS: dict[str, Reader] = {}


def reader(
    kind: str,
    seed: Callable[[], list[bytes]],
    family: str = "light",
    expects: tuple[type[BaseException], ...] = (),
) -> Callable[[Call], Call]:
    """Register a reader under its function's name."""

    def add(call: Call) -> Call:
        READERS[call.__name__] = Reader(call.__name__, call, seed, kind, family, expects)
        return call

    return add


# In place of an input: what lies at a path that is no file, or none that may be read.
SPECIAL = b"this stands for something that is no readable file"
NO_RIGHTS = "a file without rights"
SPECIALS: dict[str, Callable[[Path], None]] = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a socket": lambda path: _socket(path),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link with an endless name": lambda path: path.symlink_to("x" * 400),
    "a device": lambda path: path.symlink_to("/dev/full"),
    NO_RIGHTS: lambda path: (path.write_bytes(b"{}"), path.chmod(0))[0] and None,
}
special: list[str] = []  # which of them, while one is tried


def _socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # a socket's name may not be long
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def put(path: Path, data: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if data == SPECIAL and special:
        if not os.path.lexists(path):
            SPECIALS[special[0]](path)
    else:
        path.write_bytes(data)
    return path


# --- what the user hands in -----------------------------------------------------------------------


@reader("csv", lambda: seeds.of_workspace("kpi/testing_set.csv"), "arrow")
def table(place: Path, data: bytes) -> None:
    """No row is lost: a row for every line below the header."""
    from deft.tables.changenet_table import read_table
    from deft.tables.coordinates import base_rows

    read = read_table(put(place / "testing_set.csv", data))
    lines = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    assert len(read) == len(lines) - 1
    base_rows(read, place)


@reader("csv", lambda: seeds.of_workspace("augmentation/mining_pool/mining_pool.csv"), "arrow")
def pool_table(place: Path, data: bytes) -> None:
    from deft.tables.coordinates import pool_rows, read_pool

    put(place / "augmentation/mining_pool/mining_pool.csv", data)
    pool_rows(read_pool(place, random.Random(len(data)).choice((None, len(data) // 2))), place)


@reader(
    "csv",
    lambda: [
        b"input_path,golden_path,label,object_name,siamese_score\na,b,PASS,C1,0.25\na,b,x,C2,0.5\n"
    ],
    "arrow",
)
def inference_table(place: Path, data: bytes) -> None:
    from deft.kpi.evaluation import read_scores

    read_scores(put(place / "inference.csv", data))


@reader(
    "csv",
    lambda: [
        b"table,input_path,golden_path,object_name,label,verdict,new_label,picture,note\n"
        b"kpi,line/B1,golden/D0,R1,PASS,label_wrong,bridge,0123456789abcdef,\n"
        b"pool,images/B1/R2_SolderLight.jpg,,R2,,leave_out,,,blurred\n"
    ],
    "arrow",
)
def corrections(place: Path, data: bytes) -> None:
    """What is read says the same of a row when it is written and read again."""
    from deft.tables.corrected import parts_meant
    from deft.tables.corrections import digest, read_corrections, read_file
    from deft.tables.exchange import corrections_csv

    put(place / "corrections.csv", data)
    found = read_corrections(place)
    again = put(place / "again.csv", corrections_csv(found).encode())
    assert digest(read_file(again)) == digest(found)
    parts_meant(found, place)


@reader("json", lambda: seeds.verdicts("label_studio"))
def label_studio(place: Path, data: bytes) -> None:
    from deft.tables.exchange import from_label_studio

    from_label_studio(put(place / "export.json", data))


@reader("json", lambda: seeds.verdicts("fiftyone"))
def fiftyone(place: Path, data: bytes) -> None:
    from deft.tables.exchange import from_fiftyone

    from_fiftyone(put(place / "labels.json", data))


@reader(
    "text",
    lambda: [
        b"FAR < 0.1% at recall=100%",
        b"fine-tune until FAR < 1e-3 at recall=1.0",
        b"false accept rate below 50 ppm while recall >= 99.5 %",
    ],
)
def target_sentence(place: Path, data: bytes) -> None:
    """What is shown of a target is read as the same target."""
    from deft.settings.kpi_target import parse_kpi

    target = parse_kpi(os.fsdecode(data))
    again = parse_kpi(target.canonical())
    assert (again.far_max_pct, again.min_recall, again.strict) == (
        (target.far_max_pct, target.min_recall, target.strict)
    ), target


@reader("text", lambda: ["PASS Bridge solder-ball РАЅЅ \u200b İ ẞ".encode()])
def labels(place: Path, data: bytes) -> None:
    """A label without fault has one form, which is without fault too, and a spelling."""
    from deft.tables import labels

    for label in os.fsdecode(data).split(" "):
        assert labels.hidden_character(label) is None or label
        if labels.label_fault(label) is None:
            clean = labels.clean_label(label)
            assert labels.clean_label(clean) == clean and labels.label_fault(clean) is None
            assert labels.shown(clean, labels.first_spellings([label])) == label.strip()


@reader(
    "yaml",
    lambda: [
        b"workspace: w\nkpi: FAR < 0.1% at recall=100%\nmax_iterations: 2\ntraining_epochs: 3\n"
        b"explore: {checkpoint: a.pth, name: 'timm:x'}\nmining_label_quota: {bridge: 0.5}\n"
    ],
)
def settings(place: Path, data: bytes) -> None:
    from deft.core.yaml_files import read_yaml
    from deft.settings.config import resolve, sources

    given = read_yaml(put(place / "settings.yaml", data), code="config_invalid")
    if isinstance(given, dict):
        sources(resolve(given), set())


@reader("json", lambda: seeds.as_json({"workspace": "w", "seed": 1, "mining_budget": None}))
def settings_from_json(place: Path, data: bytes) -> None:
    from deft.settings.config import from_json

    from_json(data.decode("utf-8", "replace"))


@reader("yaml", lambda: seeds.of_workspace("specs/baseline_spec.yaml"))
def spec(place: Path, data: bytes) -> None:
    from deft.changenet.spec import dump_spec, load_spec

    for engine in ("native", "tao"):
        with contextlib.suppress(HardStop):
            read = load_spec(put(place / "spec.yaml", data), engine=engine)
            again = load_spec(dump_spec(read, place / "again.yaml"), engine=engine)
            assert again.digest == read.digest


@reader("yaml", lambda: seeds.of_workspace("specs/baseline_spec.yaml"))
def spec_for_containers(place: Path, data: bytes) -> None:
    from deft.tao.spec import container_spec

    container_spec(put(place / "spec.yaml", data), {"train.num_epochs": 2}, place)


@reader("yaml", lambda: seeds.of_workspace("specs/baseline_spec.yaml"))
def weights_that_a_spec_names(place: Path, data: bytes) -> None:
    from deft.run.staging import named_weights

    put(place / "specs/baseline_spec.yaml", data)
    named = named_weights(place, {"encoder": "siglip", "encoder_weights": "x", "mining": "nearest"})
    [one.there for one in named]


@reader("jsonl", lambda: seeds.of_workspace("augmentation/anomalygen/defect_spec.jsonl"), "arrow")
def defect_spec(place: Path, data: bytes) -> None:
    from deft.pool.pregen.parts import SynthPart, check_allocation, label_of, spelled
    from deft.pool.pregen.spec import read_defect_spec

    put(place / "augmentation/anomalygen/defect_spec.jsonl", data)
    stated = read_defect_spec(place)
    label_of("B001_bridge_3", stated)
    parts = [SynthPart("a", "bridge", "", {}, {})]
    spelled(parts, stated)
    check_allocation(parts, place)


@reader(
    "text",
    lambda: [b"B000+bridge_0.png\nB001+missing_1.png\nx.jpg\nB002+a b_2_SolderLight.PNG"],
    "arrow",
)
def pregenerated_names(place: Path, data: bytes) -> None:
    """The names of pictures, one a line, as the bytes that a file system takes."""
    from deft.core import layout
    from deft.pool.pregen.listing import pregen_digest, unread_files
    from deft.pool.pregen.parts import pregen_parts

    for line in data.split(b"\n")[:40]:
        for side in (layout.PREGEN_NG, layout.PREGEN_OK):
            folder = place / side
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError, ValueError):
                target = os.path.join(os.fsencode(folder), line)
                if os.path.dirname(target) == os.fsencode(folder) and line not in (b".", b".."):
                    with open(target, "wb") as handle:
                        handle.write(b"x")
    pregen_digest(place)
    unread_files(place)
    for part in pregen_parts(place, ["SolderLight"]):
        (part.stem + part.label + part.board).encode()


@reader("text", lambda: [RUN.encode() + b"\n"])
def current_run(place: Path, data: bytes) -> None:
    """What the Snakefile and ``make resume`` do with the name of the current run."""
    from deft.core import layout
    from deft.settings import run_name

    put(place / layout.CURRENT_RUN, data)
    name = run_name.current_run(place)
    assert name is None or run_name.RUN_NAME.fullmatch(name)
    run_name.require_run(place, name)


@reader("text", lambda: [f"results/{RUN}/iter1/metrics.json all".encode()])
def runs_in_targets(place: Path, data: bytes) -> None:
    from deft.settings import run_name

    targets = os.fsdecode(data).split(" ")
    put(place / f"results/{RUN}/deft_state.json", b"{}")
    for given in (None, RUN, targets[0]):
        with contextlib.suppress(HardStop):
            run_name.run_of_command(place, given, targets)


@reader("text", lambda: [b"# keys\nexport HF_TOKEN='hf_x'\nNGC_API_KEY_ORG=abc\n"])
def credentials(place: Path, data: bytes) -> None:
    from deft.core.credentials import state_of

    put(place / ".env", data)
    for name in ("HF_TOKEN", "NGC_API_KEY"):
        state_of(place, name)


@reader("text", lambda: [b"10 20 30 40 1\n5,6,9,12,3\n\n1 2 3 4 6\n"], "torch")
def boxes(place: Path, data: bytes) -> None:
    from deft.importers.deeppcb_source import read_boxes

    read_boxes(put(place / "1.txt", data))


def _annotated(place: Path, name: str, layout: str) -> None:
    """Read one board picture's annotations, and cut what was found."""
    import importlib

    import board_sets as sets

    from deft.importers import board_goldens, boxes, picture_tree

    sets.save(place / "01_short_01.png", sets.golden(1))
    tree = picture_tree.tree_of(place)
    assert [path.name for path in tree.ending([Path(name).suffix])] or special
    module = importlib.import_module(f"deft.importers.layouts.{layout}")
    pictures = module.find(tree, tree.pictures()).pictures
    how = boxes.Cutting(free_per_picture=1)
    parts, _, _ = boxes.cut(tree, pictures, board_goldens.BoardGoldens(tree, None), how)
    for part in parts:
        x, y, width, height = part.pictures[""].box or (0, 0, 0, 0)
        assert x >= 0 and y >= 0 and x + width <= sets.SIZE[0] and y + height <= sets.SIZE[1]


def _of_board_sets(make: str, name: str) -> list[bytes]:
    import board_sets as sets

    found = sets.shots(boards=1, each=1)[1:2]  # 01_short_01
    root = getattr(sets, make)(seeds.root() / make, found)
    return [next(root.rglob(name)).read_bytes()]


@reader("text", lambda: _of_board_sets("hripcb", "*.xml"), "torch")
def boards_voc(place: Path, data: bytes) -> None:
    put(place / "01_short_01.xml", data)
    _annotated(place, "a.xml", "voc")


@reader("text", lambda: _of_board_sets("cvat_xml", "*.xml"), "torch")
def boards_cvat(place: Path, data: bytes) -> None:
    put(place / "annotations.xml", data)
    _annotated(place, "a.xml", "cvat")


@reader("json", lambda: _of_board_sets("cvat_coco", "*.json"), "torch")
def boards_coco(place: Path, data: bytes) -> None:
    from deft.importers.layouts import coco
    from deft.importers.picture_tree import tree_of

    put(place / "annotations.json", data)
    with contextlib.suppress(HardStop):
        coco.licence(tree_of(place))
    _annotated(place, "a.json", "coco")


@reader("text", lambda: [b"0 0.5 0.5 0.1 0.2\n1 0.1 0.1 0.2 0.1 0.2 0.2\n"], "torch")
def boards_yolo(place: Path, data: bytes) -> None:
    put(place / "01_short_01.txt", data)
    _annotated(place, "a.txt", "yolo")


@reader("yaml", lambda: [b"nc: 2\nnames: [open, short]\n", b"names:\n  0: a\n  1: b\n"], "torch")
def boards_yolo_names(place: Path, data: bytes) -> None:
    put(place / "01_short_01.txt", b"1 0.5 0.5 0.1 0.2\n")
    put(place / "data.yaml", data)
    put(place / "classes.txt", data)
    _annotated(place, "a.yaml", "yolo")


def _tao_set() -> Path:
    import board_sets as sets

    root = seeds.root() / "tao"
    return root if root.exists() else sets.tao_set(root, rows=4, lights=("SolderLight",))


@reader("yaml", lambda: [(_tao_set() / "experiment.yaml").read_bytes()], "torch")
def tao_import_spec(place: Path, data: bytes) -> None:
    _import_tao(place, "experiment.yaml", data)


@reader("csv", lambda: [(_tao_set() / "labels/train.csv").read_bytes()], "torch")
def tao_import_table(place: Path, data: bytes) -> None:
    _import_tao(place, "labels/train.csv", data)


def _import_tao(place: Path, name: str, data: bytes) -> None:
    """No part has a picture that lies elsewhere or is not there."""
    from deft.importers.layouts import tao
    from deft.importers.picture_tree import tree_of

    shutil.copytree(_tao_set(), place / "set")
    (place / "set" / name).unlink()
    put(place / "set" / name, data)
    for part in tao.find(tree_of(place / "set")).parts:
        for picture in part.pictures.values():
            assert picture.path.is_file()
            assert (place / "set").resolve() in picture.path.resolve().parents


def _unpaired(make: str) -> Path:
    """Return a small set of an unpaired layout, drawn once."""
    import unpaired_sets as sets

    root = seeds.root() / make
    small = {"visa": {"objects": ("pcb1",)}, "real_iad": {"views": 1}}[make]
    return root if root.exists() else getattr(sets, make)(root, good=2, bad=2, **small)


def _import_unpaired(place: Path, layout: str, name: str, data: bytes, **how: Any) -> None:
    """No part has a picture that is not there, and each has a label."""
    import importlib

    from deft.importers.picture_tree import tree_of

    shutil.copytree(_unpaired(layout), place / "set")
    (place / "set" / name).unlink()
    put(place / "set" / name, data)
    module = importlib.import_module(f"deft.importers.layouts.{layout}")
    for part in module.find(tree_of(place / "set"), **how).parts:
        assert part.label and all(one.path.is_file() for one in part.pictures.values())


VISA_TABLES = ("pcb1/image_anno.csv", "split_csv/2cls_highshot.csv")
REAL_IAD_JSON = "realiad_jsons/realiad_jsons/pcb.json"


@reader("csv", lambda: [(_unpaired("visa") / VISA_TABLES[0]).read_bytes()], "torch")
def visa_annotations(place: Path, data: bytes) -> None:
    _import_unpaired(place, "visa", VISA_TABLES[0], data)


@reader("csv", lambda: [(_unpaired("visa") / VISA_TABLES[1]).read_bytes()], "torch")
def visa_split(place: Path, data: bytes) -> None:
    _import_unpaired(place, "visa", VISA_TABLES[1], data, keep_split=True)


@reader("json", lambda: [(_unpaired("real_iad") / REAL_IAD_JSON).read_bytes()], "torch")
def real_iad_json(place: Path, data: bytes) -> None:
    _import_unpaired(place, "real_iad", REAL_IAD_JSON, data)


@reader("json", lambda: seeds.as_json({"checkpoint": "m.onnx", "name": "timm:x", "providers": []}))
def explore_request(place: Path, data: bytes) -> None:
    from deft.core.workspace_source import read_group
    from model_explorer.request import Request

    read_group(str(put(place / "explore.json", data)), "explore", Request.names())
    read_group(data.decode("utf-8", "replace"), "explore", Request.names())


@reader("csv", lambda: [b"file,label\na/x.png,PASS\nb/y.png,bridge\n"])
def explore_labels(place: Path, data: bytes) -> None:
    from model_explorer.known_answers import Known

    known = Known(put(place / "labels.csv", data), place)
    known.label(place / "a/x.png")


def _sidecars() -> list[bytes]:
    return seeds.as_json(
        {"model_cfg": {"embed_dim": 8}, "preprocess_cfg": {"mean": [0.5]}},
        {"architecture": "resnet18", "model_args": {}, "pretrained_cfg": {"input_size": [3, 8, 8]}},
        {"file": "m.pth", "inputs": {}, "mean": [0], "std": [1], "output": "s", "threshold": 0.5},
        {"checkpoint": "m.pth", "threshold": 0.5, "run": RUN},
    )


@reader("json", _sidecars)
def explore_sidecars(place: Path, data: bytes) -> None:
    """Configurations beside a model file, under each of the names that are looked for."""
    from deft.core import layout
    from model_explorer import sidecars
    from model_explorer.request import Request

    names = ("open_clip_config.json", "config.json", "preprocessing.json", layout.BEST_MODEL_FILE)
    model = put(place / "m.pth", b"x")
    for name in names:
        put(place / name, data)
    for kind in ("onnx", "state_dict"):
        for named in (None, "timm:resnet18", "changenet"):
            request = Request(checkpoint=str(model), name=named)
            with contextlib.suppress(HardStop):
                sidecars.identity(request, kind, model, [place])


def _papers() -> list[bytes]:
    return [
        b"torch==2.1\n-r requirements.txt\ngit+https://h/o/n@v#egg=n\nnumpy <2 ; extra=='x'\n",
        b"Metadata-Version: 2.1\nName: a\nRequires-Dist: torch>=2; extra == 'x'\n\nText\n",
        b"[tool.poetry.dependencies]\neinops = '^0.6'\n[project]\ndependencies = ['a>=1']\n",
        b"dependencies:\n  - pip:\n    - kornia==0.6\n",
        b"[options]\ninstall_requires =\n    e==5\n",
        b"setup(install_requires=['g~=6.1'])\n",
    ]


@reader("text", _papers)
def explore_papers(place: Path, data: bytes) -> None:
    """What a source documents, under each of the names that are looked for."""
    from model_explorer.documented import documented

    for name in ("requirements.txt", "pyproject.toml", "environment.yml", "setup.cfg", "setup.py",
                 "README.md", "a-1.dist-info/METADATA"):  # fmt: skip
        put(place / name, data)
    documented(place)


def _answers() -> list[bytes]:
    tensor = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.5]}
    texts = {"name": "w", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    return seeds.as_json({"outputs": [tensor, texts]}, {"predictions": [[1, 2]], "a": {"b": "c"}})


def _refusal() -> tuple[type[BaseException], ...]:
    from model_explorer.kit.folder import Refusal

    return (Refusal,)


@reader("json", _answers, expects=_refusal())
def served_answer(place: Path, data: bytes) -> None:
    """What a server of a model sends: JSON, and the same bytes as every kind of tensor."""
    from model_explorer.kit import exchange, served_http, served_plain, tensors
    from model_explorer.kit.folder import Folder, Refusal

    for kind in tensors.NAMES_OF:
        with contextlib.suppress(Refusal):
            tensors.from_bytes(data, {"name": "y", "datatype": kind, "shape": [len(data)]})
    http = served_http.Http({"address": "http://127.0.0.1:1"})
    http.reason(data)
    last = exchange.Exchange(exchange.Cleaner({"A": "secret value"}))
    last.got = data
    last.split(0, len(data))
    last.save(Folder(place), "x")
    answer = http.parsed(data)
    served_plain.leaves(answer)
    for tensor in served_http.tensors_of(answer, "outputs"):
        tensors.from_json(tensor)


@reader("json", lambda: seeds.as_json({"model_cfg": {"embed_dim": 8}, "preprocess_cfg": {}}))
def encoder_config(place: Path, data: bytes) -> None:
    from deft.embedding.encoders.files import EncoderFiles

    path = put(place / "config.json", data)
    EncoderFiles(None, {"config.json": path}, path).config("config.json")  # type: ignore[arg-type]


# --- what the loop hands itself -------------------------------------------------------------------


@reader("json", seeds.state)
def state(place: Path, data: bytes) -> None:
    from deft.run.state import log_stage, read_state, update_phase

    put(place / "deft_state.json", data)
    with contextlib.suppress(HardStop):
        read_state(place)
        update_phase(place, "iter1", far_pct=1.0)
    log_stage(place, "baseline", "train", "done")
    update_phase(place, "iter2", far_pct=1.0)
    assert read_state(place)["current_iteration"] >= 2


@reader("jsonl", seeds.log)
def log(place: Path, data: bytes) -> None:
    """The numbers of a spoiled log go on, and no line of it is lost."""
    from deft.run.log_lines import KEPT_FILE, read_lines
    from deft.run.state import LOG_FILE, log_stage, read_log

    path = put(place / LOG_FILE, data)
    before = read_lines(path)
    read_log(place)
    entry = log_stage(place, "iter1", "rca", "after \u2028 \u0085 \x1c it\nand on")
    after = read_log(place)
    assert after[-1] == entry and entry["seq"] == before.next_seq
    mended = path.read_bytes().split(b"\n")
    kept = place / KEPT_FILE
    held = mended + (kept.read_bytes().split(b"\n") if kept.exists() else [])
    assert all(line in held for _, line in before.bad)
    assert [e for e in after if e in before.entries] == before.entries
    assert len(mended) - 1 == len(after) == len(path.read_text("utf-8").splitlines())


def _note() -> list[bytes]:
    return seeds.as_json(seeds.note())


@reader("json", _note)
def job_note(place: Path, data: bytes) -> None:
    from deft.run.jobs import end_orphans, orphans, registered

    put(place / ".jobs/baseline_train.json", data)
    for _, note in orphans(place):  # a note that by chance names this machine's own process
        assert note["pid"] == os.getpid() or note["host"] != socket.gethostname(), note
        return
    end_orphans(place)
    with registered(place, "baseline", "train"):
        pass


@reader(
    "json",
    lambda: seeds.as_json(
        {**seeds.note(), "runtime": "docker", "name": "c1", "phase": "a", "stage": "b"}
    ),
)
def container_note(place: Path, data: bytes) -> None:
    from deft.run.containers import running

    put(place / ".jobs/containers/c1.json", data)
    running.living(place, "a", "b")


@reader("jsonl", seeds.commands)
def commands(place: Path, data: bytes) -> None:
    from deft.run.jobs import COMMANDS, commands, is_alive, note_command

    put(place / COMMANDS, data)
    for note in commands(place, RUN):
        is_alive(note)
    note_command(place, RUN, "deft_1")
    assert commands(place, RUN)[-1]["slurm_name"] == "deft_1"


def _approvals() -> list[bytes]:
    matter = seeds.matter()
    approval = {
        "digest": "ab",
        "inputs": matter,
        "approved_by": "user",
        "approved_at": "t",
        "how": "h",
    }
    return seeds.as_json(
        approval, {**matter, "digest": "ab"}, {"digest": "ab", "checks": [{"status": "ok"}]}
    )


@reader("json", _approvals, "arrow")
def approvals(place: Path, data: bytes) -> None:
    from deft.pool import digest
    from deft.preflight import approval
    from deft.preflight.run import CHECKS_FILE, SUMMARY_FILE, pool_prefix_to_use
    from deft.settings.config import resolve

    for name in (
        digest.APPROVAL_FILE,
        digest.GATE_FILE,
        digest.INPUTS_FILE,
        CHECKS_FILE,
        SUMMARY_FILE,
    ):
        put(place / "run" / name, data)
    config = resolve({"workspace": "w"})
    run_dir = place / "run"
    digest.pool_prefix(run_dir)
    matter = digest.current(seeds.workspace(), run_dir, config)
    assert digest.changes_since_gate(seeds.workspace(), run_dir, config)
    approval.checked(run_dir, digest.digest_of(matter))
    found = approval.read_approval(run_dir)
    approval.missing_approval(run_dir, found, matter)
    approval.refuse_mutated_pregen(seeds.workspace(), run_dir, found, matter)
    pool_prefix_to_use(seeds.workspace(), run_dir)


@reader("json", lambda: seeds.as_json({"embed": 3}))
def shards(place: Path, data: bytes) -> None:
    from deft.embedding.shards import SHARDS_FILE, shard_count

    put(place / "run" / SHARDS_FILE, data)
    assert shard_count(place, place / "run", 100) >= 1


@reader(
    "json", lambda: seeds.as_json(HardStop("leakage", "m", file="f", row=[1], fix="x").as_dict())
)
def marker(place: Path, data: bytes) -> None:
    from deft.run.stage import run_stage

    put(place / "hard_stops/iter1_rca.json", data)
    run_stage(place, "iter1", "rca", lambda: "done", attempt=2)


@reader("json", lambda: [json.dumps({"/x": {"facts": {"size": 1}, "sha256": "a" * 64}}).encode()])
def kept_digests(place: Path, data: bytes) -> None:
    from deft.core.files import sha256_file
    from deft.core.kept_digests import KeptDigests

    table = put(place / "t.csv", b"a,b\n")
    store = put(place / "kept.json", data.replace(b"/x", str(table).encode()))
    assert KeptDigests(store).sha256(table) == sha256_file(table)


@reader("json", lambda: seeds.as_json({"pid": 5, "holder": "run_1 baseline train"}))
def lease(place: Path, data: bytes) -> None:
    from deft.run.leases import Card, _waiting

    card = Card("0", "GPU-a")
    put(place / f"{card.key}.lock", data)
    assert "waiting" in _waiting(place, [card], 1, 3.0)


@reader("json", lambda: seeds.as_json({"best_val": "m.pth", "latest": "m.pth", "files": [
    {"path": "m.pth", "sha256": "a" * 64, "epoch": 0, "val_loss": 0.1}],
    "weights": {"path": "train/m.pth", "sha256": "a" * 64}}))  # fmt: skip
def weights_tables(place: Path, data: bytes) -> None:
    """``weights.json`` and ``metrics.json`` of a phase, as the stages ask for its weights."""
    from deft.core.layout import Run
    from deft.stages.context import Context
    from deft.stages.weights import chosen_weights, weights_table

    folder = place / "results" / RUN / "baseline"
    put(folder / "train/m.pth", b"x")
    put(folder / "train/weights.json", data)
    put(folder / "metrics.json", data)
    table = weights_table(folder / "train/weights.json")
    [entry["sha256"] for entry in table["files"]]
    chosen_weights(Context(Run(place, RUN)), folder / "metrics.json")


@reader(
    "json",
    lambda: seeds.as_json(
        {"kind": "demo", "request": {"seed": 1}, "request_sha256": "x", "complete": True}
    ),
)
def workspace_source(place: Path, data: bytes) -> None:
    from deft.core.workspace_source import SOURCE_FILE, already_made

    put(place / SOURCE_FILE, data)
    already_made(place, "demo", {"seed": 2})


@reader("text", lambda: [b"# Data\n\n<!-- begin run_1 -->\nold\n<!-- end run_1 -->\n"], "arrow")
def knowledge_page(place: Path, data: bytes) -> None:
    from deft.record.knowledge import upsert_section

    path = put(place / "data.md", data)
    upsert_section(path, "run_1", "new \\1 text", "Data")
    assert "new \\1 text" in path.read_text("utf-8")


def _analysis() -> list[bytes]:
    return seeds.as_json({"results": {"far_pct": 12.4, "rows": 10}, "history": []})


@reader("json", _analysis)
def record_of_results(place: Path, data: bytes) -> None:
    from dl_lab.quotes import check_files

    analysis = put(place / "analysis.json", data)
    text = put(
        place / "a.md",
        b"12.40 % (analysis.json:results.far_pct)\n10 (analysis.json:results.rows)\n",
    )
    check_files([text], analysis)


@reader(
    "text",
    lambda: [
        b"A FAR of 12.40 % (analysis.json:results.far_pct), 1,000 (`analysis.json:results.rows`)",
        b"see [12.40 %](../x/analysis.json#results.far_pct) and $1\\,000$ analysis.json:results.x",
    ],
)
def quotes(place: Path, data: bytes) -> None:
    from dl_lab.quotes import check_files

    analysis = put(place / "analysis.json", _analysis()[0])
    check_files([put(place / "a.md", data), put(place / "b.tex", data)], analysis)


@reader(
    "text", lambda: [b'<p>FAR <b data-key="far_pct">12.40</b> % of <i data-key="rows">10</i></p>']
)
def quoted_page(place: Path, data: bytes) -> None:
    from deft.report.check import check_html

    check_html(put(place / "a.html", data), {"far_pct": 12.4, "rows": 10})


STATUS = [
    {"epoch": 0, "step": 3, "kpi": {"val_loss": 0.5}, "message": "Eval metrics generated."},
    {"epoch": 0, "step": 3, "status": "RUNNING", "message": "x"},
    {"kpi": {"train_loss": 0.4}, "status": "FAILURE", "message": "m"},
]


@reader("jsonl", lambda: ["".join(json.dumps(s) + "\n" for s in STATUS).encode()])
def training_status(place: Path, data: bytes) -> None:
    from deft.tao.status import read_status

    found = read_status(put(place / "status.json", data))
    assert all(isinstance(e.train_loss, int | float | None) for e in found.ordered())


@reader("text", lambda: [b"0.1234\n"], "arrow")
def containers_threshold(place: Path, data: bytes) -> None:
    from deft.stages.tao_rca import read_threshold

    put(place / "threshold.txt", data)
    read_threshold(place)


@reader("text", lambda: [b"host: vm\nSLURM run ID: deft_0a-1b\nBuilding DAG of jobs...\n"])
def slurm_log(place: Path, data: bytes) -> None:
    from deft.run.slurm import name_in_log

    name_in_log(put(place / "a.log", data))


REPORTED = (
    "deft_state.json", "loop_log.jsonl", "preflight/checks.json", "synth_pool/manifest.json",
    "baseline/metrics.json", "baseline/train/weights.json", "iter1/mining_filter/mining.json",
    "iter1/dataset/assembly.json", "iter1/decide/kpi.json", "baseline/inference/inference.json",
    "baseline/train/experiment.yaml", "iter1/mining_filter/mining_pool.csv",
    "iter2/decide/kpi.json", "iter2/metrics.json", "iter2/train/weights.json",
    "iter2/train/experiment.yaml", "iter2/inference/inference.json", "best_model/export.json",
    "best_model/preprocessing.json", "best_model/model.onnx.sha256",
    "synth_pool/source_pool.csv",
)  # fmt: skip


LAST_DECISION = "iter2/decide/kpi.json"


def _reported() -> list[bytes]:
    _, run_dir = seeds.fake_run()
    names = [name for name in REPORTED if (run_dir / name).is_file()]
    return [f"{name}\n".encode() + (run_dir / name).read_bytes() for name in names]


def _spoiled_run(place: Path, data: bytes) -> tuple[Path, Path] | None:
    """Return workspace and run folder with one file spoiled; the first line says which, if any."""
    name, _, content = data.partition(b"\n")
    if name.decode("latin-1") not in REPORTED:
        return None
    workspace, run_dir = seeds.fake_run()
    copy = place / "w"
    shutil.copytree(workspace, copy, copy_function=os.link)
    here = copy / run_dir.relative_to(workspace)
    (here / name.decode()).unlink()
    put(here / name.decode(), content)
    return copy, here


@reader("report", _reported, "arrow")
def report_of_a_run(place: Path, data: bytes) -> None:
    """One spoiled file of a finished run; the first line says which."""
    from deft.record.lenient import load_run
    from deft.record.results import collect_results

    found = _spoiled_run(place, data)
    if found:
        copy, here = found
        collect_results(load_run(here, copy))


SEALED = (
    "synth_pool/manifest.json", "baseline/inference/inference.json",
    "baseline/inference/latest/inference.csv", "iter1/dataset/validation.json",
    "iter1/dataset/assembly.json", "iter1/dataset/train_combined_iter1.csv",
    "iter1/mining_filter/mining.json", "iter1/mining_filter/mining_pool.csv",
)  # fmt: skip


def _sealed() -> list[bytes]:
    """Records as the stages write them, with the seals of small tables beside them."""
    return [f"{name}\n".encode() + data for name, data in _sealed_files().items()]


def _sealed_files() -> dict[str, bytes]:
    import hashlib

    table = (
        b"input_path,golden_path,label,object_name,siamese_score\na,b,PASS,C1,0.25\na,b,x,C2,1\n"
    )
    told = {"sha256": hashlib.sha256(table).hexdigest(), "rows": 2}
    kind = {"csv_sha256": told["sha256"], "rows": 2}
    names = ("train_combined_iter1.csv", "mining_pool.csv", "inference.csv")
    record = json.dumps({"rows": 2, **told, "kinds": {"latest": kind}, "digests": {},
                         "tables": dict.fromkeys(names, told)}).encode()  # fmt: skip
    return {name: record if name.endswith("json") else table for name in SEALED}


@reader("report", _sealed, "arrow")
def sealed_tables(place: Path, data: bytes) -> None:
    """One spoiled record, or table of which a record speaks."""
    from deft.core.layout import Run
    from deft.stages.context import Context
    from deft.stages.run_tables import scored_table, validated_table

    name, _, content = data.partition(b"\n")
    if name.decode("latin-1") not in SEALED:
        return
    run = Run(place, RUN)
    for file, inner in _sealed_files().items():
        put(run.dir / file, content if file == name.decode() else inner)
    context = Context(run)
    mining, dataset = run.phase("iter1") / "mining_filter", run.phase("iter1") / "dataset"
    for ask in (
        lambda: validated_table(
            context, dataset / "validation.json", dataset / "train_combined_iter1.csv"
        ),
        lambda: scored_table(context, run.phase("baseline") / "inference/inference.json", "latest"),
        lambda: context.checked_by(mining / "mining.json", "mining_pool.csv", rule="mine"),
        lambda: context.checked_by(mining / "mining.json", "x.csv", rule="mine", rows="rows"),
    ):
        with contextlib.suppress(HardStop):
            ask()


@reader("report", _reported, "arrow")
def written_down_of_a_run(place: Path, data: bytes) -> None:
    """Hand-off, summaries and records read strictly: one spoiled file of a finished run."""
    from deft.core.layout import Run
    from deft.record.handoff import write_handoff
    from deft.record.records import read_metrics, read_weights
    from deft.record.results import collect_results
    from deft.record.run_files import load_run
    from deft.record.strict import Strict
    from deft.record.summaries import write_summary

    found = _spoiled_run(place, data)
    if not found:
        return
    copy, here = found
    for ask in (
        lambda: read_metrics(Run(copy, RUN).phase("baseline") / "metrics.json"),
        lambda: read_weights(Run(copy, RUN), "baseline"),
        lambda: write_handoff(here, copy, here / LAST_DECISION),
        lambda: write_summary(here, "baseline"),
        lambda: collect_results(load_run(here, copy, Strict())),
    ):
        with contextlib.suppress(HardStop):
            ask()


def _moved() -> list[bytes]:
    old = {
        "results_dir": f"/was/results/{RUN}",
        "config": {"images_dir": "/was/kpi"},
        "native": {"moved_from": ["/before"]},
        "iterations": {"iter1": {"best_ckpt_path": "/was/a"}},
    }
    checks = {"parameters": [{"name": "workspace", "value": "/was"}]}
    return seeds.as_json(old, checks)


def _handed_over() -> list[bytes]:
    contract = {
        "name": "far_pct",
        "operator": "<",
        "target": 5.0,
        "evaluator": {"parameters": {"recall_target_pct": 99.0}},
        "constraints": [{"name": "recall_pct", "operator": ">=", "target": 99.0}],
    }
    config = {"num_epochs": 3, "mining_filter": {"min_similarity": 0.5, "top_k_per_target": 2}}
    phases = {"baseline": {"stage_completed": "rca", "best_ckpt_path": "/w/a.pth"}, "iter1": {}}
    told = {"max_iterations": 2, "config": config, "iterations": phases}
    return seeds.as_json({**told, "kpi_target": "FAR < 5%"}, {**told, "metric_contract": contract})


@reader("json", _handed_over)
def handed_over_state(place: Path, data: bytes) -> None:
    """What a run that other tools began hands over, from a spoiled state."""
    from deft.run.handover import given_weights, settings_of, trained_laps, with_taken
    from deft.run.state import read_state
    from deft.settings.config import defaults

    put(place / "deft_state.json", data)
    for ask in (
        lambda: with_taken(defaults(), place, []),
        lambda: settings_of(read_state(place)),
        lambda: given_weights(place, place),
        lambda: trained_laps(read_state(place)),
    ):
        with contextlib.suppress(HardStop):
            ask()


@reader("json", _moved)
def places_of_a_state(place: Path, data: bytes) -> None:
    """Where a workspace lay, from a spoiled state and a spoiled list of checks."""
    from deft.core.reading import read_json
    from deft.run import roots

    run_dir = place / "results" / RUN
    put(run_dir / roots.CHECKS_FILE, data)
    roots.birthplace(run_dir)
    state = read_json(put(run_dir / "deft_state.json", data))
    roots.places_of(state if isinstance(state, dict) else {})
    roots.state_here(state, run_dir)


def _rooted() -> list[bytes]:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    table = pa.table({"filepath": ["/was/a.png", "/was/b"], "label": ["x", "PASS"]})
    pq.write_table(table.replace_schema_metadata({b"deft_root": b"/was"}), out)
    return [out.getvalue(), seeds.parquet(filepath=["/was/a", "b"], label=["x", "PASS"])]


@reader("parquet", _rooted, "arrow")
def rooted_table(place: Path, data: bytes) -> None:
    """A table whose paths are brought below the present workspace."""
    from deft.core.layout import Run
    from deft.stages.context import Context
    from deft.tables.sealed import read_parquet

    path = put(place / "gaps.parquet", data)
    table = Context(Run(place, RUN)).paths_here(read_parquet(path), path)
    if "filepath" in table:
        assert not [p for p in table["filepath"] if str(p).startswith("/was/") and p is None]


@reader("text", lambda: [b"# Data\n"])
def places_in_the_way(place: Path, data: bytes) -> None:
    """What stands where the run will write."""
    from deft.core import places
    from deft.core.layout import Run

    run = Run(place, RUN)
    folders, files = places.all_needed(run, 1)
    for name in ("results", "artifacts", f"{places.KNOWLEDGE}/data"):
        put(place / name, data)
    list(places.stops(place, folders, files))
    places.outside(place)
    with contextlib.suppress(HardStop):
        places.require(place, run)


HANDED_IN = (
    "specs/baseline_spec.yaml", "kpi/testing_set.csv", "train/base/training_set.csv",
    "augmentation/mining_pool/mining_pool.csv", "augmentation/anomalygen/defect_spec.jsonl",
)  # fmt: skip


def _handed_in() -> list[bytes]:
    there = [name for name in HANDED_IN if (seeds.workspace() / name).is_file()]
    return [f"{name}\n".encode() + (seeds.workspace() / name).read_bytes() for name in there]


@reader("report", _handed_in, "torch")
def preflight(place: Path, data: bytes) -> None:
    """All checks of what the user handed in, with one spoiled file of it.

    Those of the machine build the network, which takes a second.
    """
    from unittest import mock

    from deft.preflight import run
    from deft.settings.config import resolve, sources

    name, _, content = data.partition(b"\n")
    if name.decode("latin-1") not in HANDED_IN:
        return
    copy = place / "w"
    shutil.copytree(seeds.workspace(), copy, copy_function=os.link)
    (copy / name.decode()).unlink()
    put(copy / name.decode(), content)
    config = resolve({"workspace": str(copy), "kpi": "FAR < 1% at recall=100%"})
    told: list[str] = []
    known = sources(config, set())
    ctx = run.Context(copy, copy / "results" / RUN, config, known, told.append)
    cheap = [topic for topic in run.TOPICS if topic[0] != "machine"]
    with mock.patch.object(run, "TOPICS", cheap):
        ends = [check.status for check in run._topics(ctx)]
    assert ends and set(ends) <= {run.OK, run.WARN, run.STOP}


# --- parquet, vectors -----------------------------------------------------------------------------


@reader(
    "parquet",
    lambda: [seeds.parquet(filepath=["a", "b"], label=["x", "PASS"], weakness=[0.1, -0.2])],
    "arrow",
)
def gaps(place: Path, data: bytes) -> None:
    from deft.core.parquet import read_frame

    read_frame(put(place / "gaps.parquet", data), ("filepath", "label"))


@reader("parquet", lambda: [seeds.embeddings()], "arrow")
def embeddings(place: Path, data: bytes) -> None:
    from deft.embedding.embed import check_same_encoder, open_embeddings

    rows, vectors, meta = open_embeddings(put(place / "e.parquet", data))
    check_same_encoder(meta, {"name": "siglip", "digest": "ab" * 32}, place)
    for _ in vectors.blocks(4):
        pass


def _shard() -> list[bytes]:
    from deft.stages.embed_shard import SHARD_KEY

    counts = {"pictures": 6, "distinct": 6, "cached": 0, "embedded": 6}
    return [seeds.embeddings({SHARD_KEY: {"rows": [0, 6, 6], "pool": "x", "counts": counts}})]


@reader("parquet", _shard, "torch")
def shard(place: Path, data: bytes) -> None:
    from deft.stages.embed_pool import Files, embed_pool
    from deft.stages.embed_shard import read_slice

    pool = place / "results" / RUN / "synth_pool"
    put(pool / "manifest.json", b'{"digests": {"source_pool": "x"}}')
    path = put(pool / "shards/1-of-1.parquet", data)
    with contextlib.suppress(HardStop):
        read_slice(path, 1, 4, ["filepath", "label"])
    written = (pool / "source_embeddings.parquet", pool / "source_embeddings.json")
    embed_pool(Files(pool / "manifest.json", *written, (path,)))


def _facts() -> list[bytes]:
    import tempfile

    import numpy as np
    import pandas as pd

    from deft.causes.facts import KEY, SIGNATURE, write_facts
    from deft.causes.measure import NUMBERS, measure
    from deft.tables.differing import SIDE_PX

    picture = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    one = measure(picture, picture)
    table = pd.DataFrame([dict.fromkeys(KEY, "a")] * 2)
    for name in NUMBERS:
        table[name] = float(getattr(one, name))
    table[SIGNATURE] = [one.signature] * 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "parts.parquet"
        write_facts(path, table)
        return [path.read_bytes()]


@reader("parquet", _facts, "arrow")
def facts_of_parts(place: Path, data: bytes) -> None:
    from deft.causes.facts import PART, of_parts, read_facts

    table = read_facts(put(place / "parts.parquet", data))
    of_parts(table[list(PART)], table)


@reader(
    "parquet",
    lambda: [seeds.parquet(filepath=["a", "b"], embedding=[[1.0, 2.0], [3.0, 4.0]])],
    "arrow",
)
def containers_vectors(place: Path, data: bytes) -> None:
    from deft.tao.embed import read_vectors

    read_vectors(put(place / "v.parquet", data), ["a", "b"])


@reader("bytes", lambda: [seeds.segment()], "arrow")
def cache_segment(place: Path, data: bytes) -> None:
    """A spoiled segment is left out with a word; what it held is embedded again."""
    import numpy as np

    from deft.embedding.cache import EmbeddingCache, Lookup
    from deft.embedding.prune import prune

    encoder = type("E", (), {"name": "siglip", "dim": 8, "digest": "ab" * 32})()
    said: list[str] = []
    cache = EmbeddingCache(place, encoder, said.append)
    put(cache.folder / f"{1:020d}-aaaaaaaaaaaa.seg", data)
    keys = np.random.default_rng(0).integers(0, 255, (5, 20)).astype(np.uint8)
    keys = keys[np.lexsort(keys.T[::-1])]
    found = Lookup(cache, keys)
    vectors, good = found.read(np.arange(5))
    assert np.isfinite(vectors[good]).all() and (good.all() or said or data == SPECIAL)
    prune(place, log=said.append)


@reader("json", lambda: seeds.as_json({"name": "siglip", "dim": 8, "digest": "ab" * 32}), "arrow")
def cache_encoder(place: Path, data: bytes) -> None:
    from deft.embedding.cache import ENCODER_FILE, FOLDER_DIGITS
    from deft.embedding.prune import prune

    put(place / ("ab" * 32)[:FOLDER_DIGITS] / ENCODER_FILE, data)
    prune(place, log=lambda text: None)


# --- model files and pictures ---------------------------------------------------------------------


def _kinds_of_files() -> list[bytes]:
    return [*_models(), *seeds.pictures()[:1], b"version https://git-lfs.github.com/spec/v1\n"]


@reader("zip", _kinds_of_files, "torch")
def what_a_weights_file_is(place: Path, data: bytes) -> None:
    from deft.core.weight_files import looks_like_safetensors, refuse_foreign

    for name in ("m.pth", "m.safetensors"):
        path = put(place / name, data)
        with contextlib.suppress(HardStop):
            refuse_foreign(path)
            looks_like_safetensors(path)


@reader("zip", seeds.weights, "torch")
def weights_file(place: Path, data: bytes) -> None:
    from deft.changenet.weights import read_state, read_tensors

    path = put(place / "m.pth", data)
    with contextlib.suppress(HardStop):
        read_state(path)
    read_tensors(path)


@reader("safetensors", seeds.safetensors, "torch")
def safetensors_file(place: Path, data: bytes) -> None:
    from deft.changenet.weights import read_tensors

    read_tensors(put(place / "m.safetensors", data))


@reader("zip", seeds.weights, "torch")
def training_to_go_on_from(place: Path, data: bytes) -> None:
    import torch

    from deft.changenet.training.restore import restore_training

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Linear(2, 3)

    network = Net()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    restore_training(put(place / "m.pth", data), network, optimizer, lambda text: None)


def _resume() -> list[bytes]:
    import io

    import torch

    out = io.BytesIO()
    torch.save({"identity": {"a": 1}, "model": {"w": torch.zeros(2)}, "files": []}, out)
    return [out.getvalue()]


@reader("zip", _resume, "torch")
def resume_state(place: Path, data: bytes) -> None:
    from deft.changenet.training.resume import STATE_FILE, load_resume

    put(place / "train_resume" / STATE_FILE, data)
    load_resume(place / "train_resume", {"a": 1}, lambda text: None)


def _neighbours() -> list[bytes]:
    return [
        *seeds.as_json(
            {"image_mean": [0.5], "image_std": [0.5], "size": {"shortest_edge": 8}, "resample": 2,
             "crop_size": 8, "do_center_crop": True, "crop_pct": 0.9, "rescale_factor": 0.1},
            {"id2label": {"0": "a", "1": "b"}, "max_position_embeddings": 9, "license": "mit",
             "architectures": ["BertModel"], "pretrained_cfg": {"input_size": [3, 8, 8]}},
            {"name": "x", "version": "1", "license": {"type": "MIT"}, "names": "{0: 'a', 1: 'b'}"},
            ["a", "b"],
        ),
        b"model_path: m.onnx\nrec_img_shape: [3, 48, 320]\nlabel_list: ['0', '180']\n",
        b"Name: x\nVersion: 1\nLicense-Expression: MIT\n\ntext\n",
        b"m.onnx,sha256=x,1\n",
    ]  # fmt: skip


@reader("json", _neighbours)
def explore_neighbours(place: Path, data: bytes) -> None:
    """What lies beside a model, its package, and its metadata, whatever they hold."""
    from model_explorer.beside import beside
    from model_explorer.kit.metadata import known
    from model_explorer.kit.sizes import hint_for, hints

    model = put(place / "m.onnx", b"x")
    configs = ("preprocessor_config.json", "config.json", "id2label.json", "m.yaml", "package.json")
    for name in (*configs, "labels.txt", "LICENSE", "x-1.dist-info/METADATA"):
        put(place / name, data)
    put(place / "x-1.dist-info/RECORD", b"m.onnx,,\n")
    text = data.decode("utf-8", "replace")
    facts = {"metadata": {"names": text, "imgsz": text, "stride": text, "license": text}}
    parameters = {"model": {"beside": beside(model)}}
    known(parameters, facts)
    hint_for(hints(parameters, facts), {"shape": ["b", 3, "h", "w"], "dtype": "float32"}, 2)


def _models() -> list[bytes]:
    return [*seeds.onnx_model(), *seeds.weights(), *seeds.safetensors(), *seeds.exported()]


@reader("zip", _models, "torch")
def model_file_of_any_kind(place: Path, data: bytes) -> None:
    from model_explorer.formats import identify

    for name in ("m.onnx", "m.pt", "m.pt2", "m.safetensors", "m.bin"):
        with contextlib.suppress(HardStop):
            identify(put(place / name, data))
        with contextlib.suppress(HardStop):
            identify(place / name, allow_code=True)


@reader("png", seeds.pictures, "torch")
def picture(place: Path, data: bytes) -> None:
    """``PictureError`` names the picture; its callers make a stop of it."""
    from deft.changenet.data.images import PictureError, read_picture
    from deft.tables.pictures import open_rgb

    for name, levels in (("p.png", None), ("p.jpg", 65535), ("p.tif", 1)):
        path = put(place / name, data)
        with contextlib.suppress(PictureError):
            assert read_picture(path, (8, 8), levels=levels).shape == (8, 8, 3)
        with contextlib.suppress(PictureError):
            open_rgb(path, levels, draft_px=4)


@reader("png", seeds.pictures, "torch")
def picture_to_score(place: Path, data: bytes) -> None:
    """What is read has Pillow's bytes: where OpenCV is more lenient, the file is refused."""
    from deft.score_kit.pictures import PictureError, read_rgb

    for name, levels in (("p.png", None), ("p.jpg", 65535)):
        with contextlib.suppress(PictureError):
            assert read_rgb(put(place / name, data), levels).shape[2] == 3


@reader("csv", lambda: seeds.of_workspace("kpi/testing_set.csv"), "torch", (Stop,))
def table_to_score(place: Path, data: bytes) -> None:
    """No row is lost: a row for every line below the header."""
    from deft.score_kit.table import read_csv

    read = read_csv(put(place / "testing_set.csv", data))[1]
    lines = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    assert len(read) == len(lines) - 1


@reader("json", seeds.handed_off, "torch", (Stop,))
def hand_off_that_scores(place: Path, data: bytes) -> None:
    from deft.score_kit.prepare import Preparer, read_facts
    from deft.score_kit.statistics import drift, read_reference

    put(place / "preprocessing.json", data)
    put(place / "kpi_reference.json", data)
    with contextlib.suppress(Stop):
        Preparer(read_facts(place))
    drift([0.1] * 40, read_reference(place))


@reader("zip", seeds.kpi_embeddings, "torch", (Stop,))
def hand_off_s_embeddings(place: Path, data: bytes) -> None:
    from deft.score_kit.embeddings import REFERENCE, read_embeddings

    read_embeddings(put(place / REFERENCE, data).parent)


@reader("png", seeds.pictures, "torch")
def fingerprint(place: Path, data: bytes) -> None:
    from deft.tables.fingerprint import decode

    for levels in (None, 4095):
        with contextlib.suppress(HardStop):
            decode(put(place / "p.png", data), levels)


@reader("png", seeds.pictures, "torch")
def staged_picture(place: Path, data: bytes) -> None:
    from deft.pool.source_pool import _stage

    for levels in (None, 65535):
        with contextlib.suppress(HardStop):
            _stage(put(place / "p.png", data), place / "out/p.jpg", levels)


@reader("png", seeds.pictures, "torch")
def board_picture(place: Path, data: bytes) -> None:
    from deft.importers.deeppcb_source import BoardPicture, read_pair

    path = put(place / "p.jpg", data)
    read_pair(BoardPicture("g", "n", path, path, path))


@reader("json", lambda: [_reference()], "torch")
def encoder_selftest(place: Path, data: bytes) -> None:
    from deft.embedding.encoders.selftest import read_reference

    read_reference(put(place / "selftest.json", data))


def _reference() -> bytes:
    from deft.core.files import sha256_file
    from deft.embedding.encoders.selftest import SCHEMA_VERSION, picture_paths

    names = picture_paths()
    return json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "precision": "float32",
            "pictures": {p.name: sha256_file(p) for p in names},
            "vectors": {p.name: [0.1, 0.2] for p in names},
        }
    ).encode()


# --- bundles --------------------------------------------------------------------------------------


def _bundle_seeds() -> list[bytes]:
    import hashlib

    files = seeds.bundle()
    sums = "".join(f"{hashlib.sha256(d).hexdigest()}  {n}\n" for n, d in sorted(files.items()))
    named = {"SHA256SUMS": sums.encode(), **{n: files[n] for n in ("bundle.json", "code.tar")}}
    return [f"{name}\n".encode() + data for name, data in named.items()]


@reader("report", _bundle_seeds)
def bundle(place: Path, data: bytes) -> None:
    """One spoiled file of a bundle, with its digest in the list made right; ``Refused`` is told."""
    import hashlib

    from deft.bundle import install

    name, _, content = data.partition(b"\n")
    files = seeds.bundle()
    root, out = place / "bundle", place / "out"
    wanted = name.decode("latin-1")
    if wanted != install.SUMS and wanted not in files:
        return
    files = {**files, wanted: content} if wanted != install.SUMS else files
    sums = "".join(f"{hashlib.sha256(d).hexdigest()}  {n}\n" for n, d in sorted(files.items()))
    files[install.SUMS] = content if wanted == install.SUMS else sums.encode()
    for file, inner in files.items():
        put(root / file, inner)
    before = {p for p in place.rglob("*")}
    try:
        install.faults(root, say=lambda text: None)
        facts = install.read_facts(root)
        install.place_weights(root, facts["weights"], out / "w")
        install.unpack_code(root, out / "code")
    except (install.Refused, OSError):  # main tells both in one line
        pass
    strange = {p for p in place.rglob("*") if p not in before and out not in (p, *p.parents)}
    assert not strange, f"written outside its folders: {strange}"


CLEAR = (HardStop, StageFailed)


def _metric() -> dict[str, Any]:
    evaluator = {"type": "command", "path": "/opt/cost.py", "args": ["--policy", "/opt/p.json"]}
    held = [{"name": "recall_pct", "operator": ">=", "target": 99.5, "unit": "%"}]
    made = {"name": "cost", "operator": "<=", "target": 0.02, "unit": "cost/board"}
    return made | {"evaluator": evaluator, "constraints": held}


@reader("json", lambda: seeds.as_json(_metric()))
def metric_contract(place: Path, data: bytes) -> None:
    from deft.core.reading import read_json
    from deft.settings.metric_contract import parse_contract, recorded_contract

    given = read_json(put(place / "contract.json", data), not_finite=True)
    recorded_contract(given)
    made = parse_contract(given)
    assert parse_contract(made.as_dict()) == made
    made.programs()


@reader(
    "json",
    lambda: seeds.as_json(
        {"name": "cost", "value": 0.1, "unit": "cost/board", "constraints": {"recall_pct": 99.8}}
    ),
)
def metric_answer(place: Path, data: bytes) -> None:
    from deft.kpi.measuring import measure
    from deft.settings.metric_contract import parse_contract

    path = str(place / "{iter_label}.json")
    evaluator = {"type": "artifact", "producer": "plant", "path_template": path}
    contract = parse_contract(_metric() | {"evaluator": evaluator})
    put(place / "iter1.json", data)
    contract.failed(measure(contract, "iter1", place / "inference.csv", 1))


def _ledger() -> list[bytes]:
    entry = {"iteration": 1, "selected_filepaths": ["/w/a.png"], "output_parquet": "/w/m.parquet"}
    return seeds.as_json({"version": 1, "iterations": [entry], "deft_root": "/w"})


@reader("json", _ledger)
def mining_history(place: Path, data: bytes) -> None:
    from deft.mining.history import novel, read_ledger

    entries = read_ledger(put(place / "mining_history.json", data), place, 2)
    novel([str(place / "a.png")], entries)


def _openings() -> list[bytes]:
    opening = {
        **{"opening": 1, "at": "2026-01-31T12:00:00Z", "run": RUN, "phase": "iter1"},
        **{"set_sha256": "0" * 64, "parts": ["0" * 16], "weights_sha256": "1" * 64},
        **{"threshold": 0.5, "outcome": "promote", "champion": ""},
    }
    later = {**opening, "opening": 2, "outcome": "keep"}
    return [json.dumps({"schema_version": 1, "openings": [opening, later]}).encode()]


@reader("json", _openings)
def openings_of_the_acceptance_set(place: Path, data: bytes) -> None:
    from deft.record.openings import LEDGER_FILE, last_promoted, read_openings, seen_before

    put(place / LEDGER_FILE, data)
    seen_before(read_openings(place), ["0" * 16])
    last_promoted(place, other_than="run_z")
