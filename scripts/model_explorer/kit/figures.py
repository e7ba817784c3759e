"""The pictures of the reports, drawn from ``outputs/*.json`` (and the inputs themselves)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .folder import Folder
from .markdown import number
from .metrics import PARTS, shares
from .sizes import phrase

PRE, MODEL, POST, INK, FAINT = "#7fb3d5", "#2b7a78", "#d9822b", "#333333", "#cccccc"
SHOWN_INPUTS = 4
NAME_LENGTH = 34


def visualize(folder: Folder) -> str:
    """Write ``reports/figures/*.png``, ``outputs/figures.json`` and ``outputs/artifacts.json``."""
    made = []
    drawings = (
        ("inputs", folder.read("inference"), draw_inputs),
        ("latency", folder.read("stats"), draw_latency),
        ("throughput", folder.read("stats"), draw_throughput),
        ("operators", folder.read("profile"), draw_operators),
        ("training", folder.read("train_check"), draw_training),
    )
    place = folder.path("reports/figures")
    place.mkdir(parents=True, exist_ok=True)
    for name, data, draw in drawings:
        path = place / f"{name}.png"
        path.unlink(missing_ok=True)
        caption = draw(path, data, folder) if data else None
        if caption:
            made.append({"name": name, "file": f"reports/figures/{name}.png", "caption": caption})
    folder.write("figures", made)
    folder.write("artifacts", artifacts(folder))
    return f"{len(made)} figures"


def artifacts(folder: Folder) -> list[dict[str, str]]:
    """Return what lies in the folder and what each is for."""
    roles = {
        "inputs": "input of a run",
        "outputs/raw": "raw output",
        "outputs/decoded": "decoded output",
        "outputs": "figures as JSON, the source of the reports",
        "logs": "log or trace",
        "reports/figures": "picture of a report",
    }
    out: dict[str, str] = {}
    for part, role in roles.items():
        for path in sorted(folder.path(part).glob("**/*" if part == "inputs" else "*")):
            name = path.relative_to(folder.root).as_posix()
            if path.is_file() and path.name != "README.md":
                out[name] = role
    return [{"path": name, "role": out[name]} for name in sorted(out)]


def _figure(width: float, height: float) -> Any:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: Any) -> Any:
    axes = figure.subplots()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _save(figure: Any, path: Path) -> None:
    # No software version in the file: the same numbers give the same bytes.
    figure.savefig(path, metadata={"Software": None})


def draw_inputs(path: Path, inference: dict[str, Any], folder: Folder) -> str | None:
    """Draw the first inputs that are pictures, with the answer below each."""
    from PIL import Image

    rows = []
    for sample in inference["samples"][:SHOWN_INPUTS]:
        named = [f for names in sample["files"].values() for f in names]
        files = [f for f in named if not f.lower().endswith((".npy", ".txt", ".wav"))]
        if files:
            rows.append((sample, files[:SHOWN_INPUTS]))
    if not rows:
        return None
    across = max(len(files) for _, files in rows)
    figure = _figure(2.3 * len(rows) + 0.2, 2.2 * across + 0.5)
    grid = figure.subplots(across, len(rows), squeeze=False)
    for column, (sample, files) in enumerate(rows):
        for row in range(across):
            axes = grid[row][column]
            axes.axis("off")
            if row >= len(files):
                continue
            with Image.open(folder.path(files[row])) as picture:
                axes.imshow(picture.convert("RGB"), interpolation="nearest")
            if across > 1 and column == 0:
                axes.set_title(_input_of(sample, files[row]), fontsize=8, loc="left", color=INK)
        words = _wrapped(sample["answer"])
        grid[across - 1][column].text(
            0.5, -0.04, f"{sample['id']}\n{words}", transform=grid[across - 1][column].transAxes,
            ha="center", va="top", fontsize=8, color=INK,
        )  # fmt: skip
    _save(figure, path)
    return "Inputs as files, and the decoded answer to each"


def _input_of(sample: dict[str, Any], file: str) -> str:
    return str(next(name for name, files in sample["files"].items() if file in files))


def _wrapped(text: str) -> str:
    short = text if len(text) <= 3 * NAME_LENGTH else text[: 3 * NAME_LENGTH - 1] + "…"
    return "\n".join(short[i : i + NAME_LENGTH] for i in range(0, len(short), NAME_LENGTH))


def draw_latency(path: Path, stats: dict[str, Any], folder: Folder) -> str:
    """Draw the three parts of a cold and a warm run, and the spread of the warm runs."""
    figure = _figure(7, 2.6)
    axes = _axes(figure)
    warm = stats["warm"]
    bars = bars_of(stats)
    for row, (_, parts) in enumerate(bars):
        left = 0.0
        for part, colour in zip(PARTS, (PRE, MODEL, POST)):  # noqa: B905
            label = part if row == 0 else None
            axes.barh(row, parts[part], left=left, color=colour, height=0.5, label=label)
            left += parts[part]
        axes.text(left, row, f" {number(left)} ms", va="center", fontsize=9, color=INK)
    total = warm["total_ms"]
    axes.plot([total["min"], total["p95"]], [1.36, 1.36], color=INK, linewidth=1.4)
    axes.plot([total["p95"]], [1.36], "|", color=INK, markersize=8)
    axes.text(
        total["p95"], 1.45, f" p95 {number(total['p95'])} ms", fontsize=8, color=INK, va="center"
    )
    axes.set_yticks([0, 1], [name for name, _ in bars])
    axes.set_ylim(1.75, -0.5)
    axes.set_xlim(left=0, right=1.2 * max(total["p95"], *(sum(b.values()) for _, b in bars)))
    axes.set_xlabel("time of one item [ms]")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0))
    _save(figure, path)
    size = phrase(folder.read("io_contract", {}))
    return f"Time of one item{size}: first run of a fresh process, and warm runs"


def bars_of(stats: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Return the bars of a cold and a warm run, each with its parts in ms.

    A bar is as long as the time that the tables give: of the warm runs the median of whole ones.
    """
    warm = stats["warm"]
    middle = warm["total_ms"]["median"]
    return [
        ("cold run", {part: stats["cold"][f"{part}_ms"] for part in PARTS}),
        (
            f"warm, median of {warm['runs']}",
            {part: share * middle for part, share in shares(warm).items()},
        ),
    ]


def draw_throughput(path: Path, stats: dict[str, Any], folder: Folder) -> str | None:
    """Draw items per second by batch size; one size alone is no picture."""
    good = [t for t in stats["throughput"] if t["ok"]]
    if len(good) < 2:
        return None
    figure = _figure(5, 2.6)
    axes = _axes(figure)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.grid(axis="x", visible=False)
    sizes = [str(t["batch_size"]) for t in good]
    speed = [t["items_per_s"] for t in good]
    axes.bar(sizes, speed, color=MODEL, width=0.6)
    for place, value in enumerate(speed):
        axes.text(place, value, number(value), ha="center", va="bottom", fontsize=8, color=INK)
    axes.set_ylim(0, 1.15 * max(speed))
    axes.set_xlabel("batch size [items]")
    axes.set_ylabel("model alone [items/s]")
    _save(figure, path)
    return f"Throughput of the model by batch size{phrase(folder.read('io_contract', {}))}"


def draw_operators(path: Path, profile: dict[str, Any], folder: Folder) -> str | None:
    """Draw the operators that take the most time of their own."""
    top = profile["top"]
    if not top:
        return None
    figure = _figure(7, 1.2 + 0.26 * len(top))
    axes = _axes(figure)
    names = [
        t["operator"]
        if len(t["operator"]) <= NAME_LENGTH
        else t["operator"][: NAME_LENGTH - 1] + "…"
        for t in top
    ]
    places = list(range(len(top)))
    axes.barh(places, [t["share_pct"] for t in top], color=MODEL, height=0.65)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    for place, entry in enumerate(top):
        text = f" {number(entry['self_ms'], 2)} ms"
        axes.text(entry["share_pct"], place, text, va="center", fontsize=8, color=INK)
    axes.set_xlim(0, 1.15 * max(t["share_pct"] for t in top))
    axes.set_xlabel("share of the time inside operators [%]")
    _save(figure, path)
    return f"Operators with the most time of their own ({profile['tool']})"


def draw_training(path: Path, record: dict[str, Any], folder: Folder) -> str | None:
    """Draw the loss of the training check."""
    losses = record.get("losses") or []
    if len(losses) < 2:
        return None
    figure = _figure(5, 2.4)
    axes = _axes(figure)
    axes.plot(range(1, len(losses) + 1), losses, "o-", color=MODEL, markersize=3)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step [count]")
    axes.set_ylabel("loss on one batch")
    _save(figure, path)
    return "Training check: loss on one batch"
