"""``model_card.md``: what the handed-off model is, its data, its figures with bounds, its limits.

For whoever gets the model without the run. Every figure is one of the run's record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deft.core.files import write_text_atomic
from deft.record.artifacts import data_entries
from deft.record.best import Best, read_best
from deft.record.breakdown import GROUPED
from deft.record.judged import lights_and_ext
from deft.record.phase_files import dig
from deft.record.phrases import PERCENT, SCORE, shown
from deft.record.proof import acceptance
from deft.record.results import collect_results
from deft.record.summaries import evaluation_lines, type_lines
from deft.record.verdict import verdict_of
from deft.tables.corrections import OUT, WRONG, from_dicts

CARD_FILE = "model_card.md"


def write_card(run_dir: Path, workspace: Path, decision: Path) -> Path:
    """Write the card of a run's best model; raises as :func:`deft.record.best.read_best` does."""
    best = read_best(run_dir, workspace, decision)
    text = card_text(best, collect_results(best.files))
    return write_text_atomic(best.files.run.dir / CARD_FILE, text)


def card_text(best: Best, results: Mapping[str, Any]) -> str:
    """Return the card."""
    files, phase = best.files, next(p for p in best.files.phases if p.name == best.phase)
    verdict = verdict_of(files, phase, results)
    parts: list[str] = [f"# Model card: the best model of {files.name} ({best.phase})", ""]
    parts += _section("What it is", _what(best, results))
    parts += _section("What it is for", _purpose(best, results))
    parts += _section("Data", _data(best))
    figures = [
        *evaluation_lines(files, phase, results)[1:],
        *type_lines(phase, results, every=True),
    ]
    parts += _section("Figures on the KPI set", figures)
    opened = list(_acceptance(best, results))
    parts += _section("Figures on the sealed acceptance set", opened) if opened else []
    parts += _section("How far they can be trusted", verdict.lines(results) if verdict else [])
    parts += _section("Limits", _limits(best, results))
    return "\n".join(parts).replace("\u00a0", " ") + "\n"


def _section(title: str, lines: Any) -> list[str]:
    found = [line if line.startswith(("-", "|")) else f"- {line}" for line in lines]
    return [f"## {title}", "", *found, ""]


def _what(best: Best, results: Mapping[str, Any]) -> Iterator[str]:
    model, classify = dig(best.spec, "model") or {}, dig(best.spec, "dataset", "classify") or {}
    lights, _ = lights_and_ext(best.files)
    start = best.files.checks.get("backbone_file")
    size = f"{classify.get('image_width')} x {classify.get('image_height')} px"
    yield (
        f"TAO Visual ChangeNet: {dig(model, 'backbone', 'type')}, difference module "
        f"{dig(model, 'classify', 'difference_module')}; two pictures of a part, test and golden, "
        f"{size} for each of {', '.join(lights)}; one score, high is bad"
    )
    yield (
        f"backbone began with {start}"
        if start
        else "no weight file was named for its backbone when the run began"
    )
    yield (
        f"NO_PASS where the score is above {shown(results, 'best.set_threshold', '%.9g')} (the "
        f"KPI's own threshold is {shown(results, f'{best.phase}.threshold', SCORE)})"
    )
    yield f"weights SHA-256 `{best.metrics['weights']['sha256']}`, ONNX `{best.export['sha256']}`"


def _purpose(best: Best, results: Mapping[str, Any]) -> Iterator[str]:
    sentence = best.files.target.get("sentence")
    yield f"to accept or reject parts as the KPI set has them; the target was {sentence!r}"
    yield "not for other products, lights, cameras or picture sizes without a KPI set of theirs"


def _data(best: Best) -> Iterator[str]:
    yield "| table | rows | SHA-256 | what for |"
    yield "|---|---|---|---|"
    for entry in data_entries(best.files):
        name, rows, digest = entry["name"], entry["rows"], entry["sha256"][:12]
        yield f"| {name} | {rows} | `{digest}…` | {entry['notes'].split(';')[0]} |"


def _acceptance(best: Best, results: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the sealed set said of this hand-off; nothing where none was opened for it."""
    told = acceptance(best.files)
    if not told:
        return

    def rate(name: str, low: str, high: str) -> str:
        key = f"acceptance.challenger.{name}_pct"
        bounds = [shown(results, f"acceptance.challenger.{b}", PERCENT) for b in (low, high)]
        return f"{shown(results, key, PERCENT)} ({bounds[0]} to {bounds[1]})"

    yield (
        f"{shown(results, 'acceptance.set.good', '%d')} good parts and "
        f"{shown(results, 'acceptance.set.defects', '%d')} defects that no phase has seen, opening "
        f"{shown(results, 'acceptance.opening', '%d')} of the set: {dig(told, 'gate', 'outcome')}"
    )
    yield (
        f"FAR {rate('far', 'far_lower95_pct', 'far_upper95_pct')}, recall "
        f"{rate('recall', 'recall_lower95_pct', 'recall_upper95_pct')}; bounds one-sided, 95 %"
    )


def _limits(best: Best, results: Mapping[str, Any]) -> Iterator[str]:
    files = best.files
    yield (
        "the KPI set chose threshold, weights and phase and ended the loop, so figures flatter: "
        f"{shown(results, 'run.models_scored', '%d')} weight files were scored on it."
        + ("" if acceptance(files) else " Confirm on parts that no phase has seen")
    )
    table = next(p for p in files.phases if p.name == best.phase).scores
    for column, title in GROUPED.items():
        if column in table:
            values = sorted({str(v).strip() for v in table[column]} - {""})
            if 0 < len(values) <= 20:
                yield f"{title}: measured on {', '.join(values)} alone"
    found = from_dicts(files.corrections)
    wrong = sum(one.verdict == WRONG for one in found)
    out = sum(one.verdict in OUT for one in found)
    if wrong or out:
        yield f"people corrected {wrong} labels and left out {out} rows of the tables"
    share = results.get(f"{best.phase}.dataset.sdg_share_pct")
    if share:
        yield (
            f"{shown(results, f'{best.phase}.dataset.sdg_share_pct', '%.1f')} % of its training "
            "rows are synthetic"
        )
    yield (
        "a score does not tell that a picture is unlike the KPI set's; `best_model/score.py` tells "
        "drift of scores and pictures for whole tables"
    )
