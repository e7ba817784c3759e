"""Train the small network and a linear one beside it, and write down what came out."""

from __future__ import annotations

import csv
import io
import time
from dataclasses import asdict, replace
from pathlib import Path

from .learner import SPLITS, Row, Settings, draw_rows, judged, restored, train
from .record import Data, Metric, Outcome, relative, sha256_of, write_json, write_record, write_text

SPLIT_LOGIC = (
    "two half moons drawn from the seed; a seeded shuffle, then half of the rows train, a quarter "
    "picks the epoch (validation), a quarter is scored once at the end (test)"
)


def demo_outcome(data_dir: Path, model_dir: Path, settings: Settings, seed: int) -> Outcome:
    """Draw the data, train both arms, judge each once on the test rows; write data and weights.

    Arms: ``linear`` (logistic regression, the baseline) and ``network``. Same rows, same order of
    steps. The better one by validation loss is handed on; the test rows decide nothing.
    """
    drawn = draw_rows(settings, seed)
    rows: dict[str, list[Row]] = {name: [] for name in SPLITS}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["x", "y", "label", "split"])
    for row, split in drawn:
        rows[split].append(row)
        writer.writerow([repr(row[0]), repr(row[1]), row[2], split])
    source = write_text(data_dir / f"two_moons_seed{seed}.csv", table.getvalue())
    results: dict[str, float] = {
        "data.rows": len(drawn),
        **{f"data.{name}_rows": len(rows[name]) for name in SPLITS},
    }
    history, outputs, kept = [], [], {}
    for arm, own in (("linear", replace(settings, hidden=0)), ("network", settings)):
        weights, epoch, curve = train(rows, own, seed)
        network = restored(weights)
        val_loss, _ = judged(network, rows["validation"])
        test_loss, right = judged(network, rows["test"])
        numbers = {
            "best_epoch": epoch,
            "val_loss": val_loss,
            "test_loss": test_loss,
            "test_right": right,
            "test_accuracy_pct": 100.0 * right / len(rows["test"]),
        }
        results.update({f"{arm}.{name}": value for name, value in numbers.items()})
        history.append({"phase": arm, **numbers})
        path = write_json(model_dir / f"{arm}_weights.json", weights)
        curve_path = write_json(model_dir / f"{arm}_curve.json", curve)
        outputs += [path, curve_path]
        kept[arm] = (val_loss, path, epoch)
    best = min(kept, key=lambda arm: kept[arm][0])
    for name in ("test_accuracy_pct", "test_right", "val_loss"):
        results[f"best.{name}"] = results[f"{best}.{name}"]
    results["best.gain_pp"] = (
        results["best.test_accuracy_pct"] - results["linear.test_accuracy_pct"]
    )
    return Outcome(
        data=[Data("two_moons", source, len(drawn), SPLIT_LOGIC)],
        metrics={
            "test_accuracy_pct": Metric(
                results["best.test_accuracy_pct"],
                "share of the test rows whose label the chosen arm tells right",
                "%",
                True,
            ),
            "test_right": Metric(
                results["best.test_right"], "test rows told right, of data.test_rows", "count", True
            ),
            "val_loss": Metric(
                results["best.val_loss"],
                "mean cross-entropy on the validation rows, at the epoch where it is lowest",
                "nats",
                False,
            ),
            "gain_over_linear_pp": Metric(
                results["best.gain_pp"],
                "test_accuracy_pct minus that of logistic regression on the same rows",
                "percentage points",
                True,
            ),
        },
        primary="test_accuracy_pct",
        results=results,
        history=history,
        weights=kept[best][1],
        selected_by=f"lowest validation loss over both arms ({best})",
        epoch=kept[best][2],
        outputs=outputs,
    )


def trace(tag: str, outcome: Outcome, project_root: Path) -> dict[str, str]:
    """Return the run's pages of the knowledge base by topic; each number links to its key."""
    results = outcome.results

    def number(key: str, form: str = "%d") -> str:
        link = f"../../artifacts/runs/{tag}/analysis.json#results.{key}"
        return f"[{form % results[key]}]({link})"

    def arm(name: str) -> str:
        return (
            f"{name}: validation loss {number(f'{name}.val_loss', '%.4f')} at epoch "
            f"{number(f'{name}.best_epoch')}, {number(f'{name}.test_right')} of "
            f"{number('data.test_rows')} test rows right"
        )

    data = outcome.data[0]
    return {
        "data": f"# {tag}: {data.name}\n\n"
        f"- Source: drawn by this project; `{relative(data.path, project_root)}`, "
        f"{number('data.rows')} rows, sha256 `{sha256_of(data.path)}`.\n"
        f"- Split: {data.notes}.\n",
        "decisions": f"# {tag}: which weights\n\n- {arm('linear')}.\n- {arm('network')}.\n"
        f"- Chosen: {outcome.selected_by}; "
        f"{number('best.gain_pp', '%.2f')} percentage points over logistic regression.\n",
        "methodology_traces": f"# {tag}: protocol\n\n"
        "- Baseline: logistic regression; same rows, same seed, same number of steps.\n"
        "- The epoch is picked by the validation rows; the test rows are scored once an arm and "
        "decide nothing.\n"
        + "".join(
            f"- `{name}` [{m.unit}]: {m.definition}.\n" for name, m in outcome.metrics.items()
        ),
    }


def demo_record(
    folder: Path,
    *,
    tag: str,
    project_root: Path,
    data_dir: Path,
    model_dir: Path,
    settings: Settings,
    seed: int,
    command: str,
    inputs: tuple[Path, ...] = (),
) -> Outcome:
    """Train, then write the record into ``folder``; return what was found."""
    began = time.monotonic()
    outcome = demo_outcome(data_dir, model_dir, settings, seed)
    write_record(
        folder,
        outcome,
        tag=tag,
        project_root=project_root,
        command=command,
        seed=seed,
        config=asdict(settings),
        inputs=inputs,
        duration_seconds=time.monotonic() - began,
    )
    return outcome
