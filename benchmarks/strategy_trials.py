"""Which selection strategy lowers FAR most? Trials on DeepPCB with equal rows and equal steps.

    python benchmarks/strategy_trials.py --root DIR --out /tmp/trials --seeds 0 1 2 3 4

Per seed: a workspace from the importer and one baseline that all arms share. Then per arm and lap:
weak samples of the arm's own model, their neighbours by the baseline's features, the strategy,
training from the previous weights. Every arm adds as many rows a lap as the contract's neighbours
of the baseline's weak samples would, so all train for equally many steps. The last weights are
scored on the KPI table. `--shift 2` moves every group's role by two: boards in other roles.
Finished trials are kept in OUT/results.jsonl and only read again; the table is Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from paired import HEAD, compared  # noqa: E402

from deft.assembly.assemble import assemble, first_combined  # noqa: E402
from deft.changenet.infer import score_table  # noqa: E402
from deft.changenet.spec import Spec, load_spec, render  # noqa: E402
from deft.changenet.training.options import Options  # noqa: E402
from deft.changenet.training.train import train  # noqa: E402
from deft.core import layout  # noqa: E402
from deft.embedding.encoders import changenet  # noqa: E402
from deft.embedding.encoders.base import embed_pictures  # noqa: E402
from deft.embedding.encoders.torch_encoder import Options as EncoderOptions  # noqa: E402
from deft.embedding.vectors import ArrayVectors  # noqa: E402
from deft.importers.deeppcb import import_deeppcb  # noqa: E402
from deft.importers.deeppcb_settings import Settings  # noqa: E402
from deft.importers.deeppcb_source import find_groups  # noqa: E402
from deft.kpi.operating_point import at_recall, sweep  # noqa: E402
from deft.mining import neighbours  # noqa: E402
from deft.mining.strategies import Lap, Rules, select  # noqa: E402
from deft.mining.strategies.rows import fresh_parts  # noqa: E402
from deft.pool.pregen.parts import pregen_parts  # noqa: E402
from deft.pool.source_pool import build_source_pool, stage_parts  # noqa: E402
from deft.rca.analysis import gaps_table  # noqa: E402
from deft.rca.spot_check import Pictures  # noqa: E402
from deft.rca.weakness import weak_samples  # noqa: E402
from deft.tables import changenet_table  # noqa: E402
from deft.tables.coordinates import read_pool  # noqa: E402

LEVELS_PCT = (100, 99, 95)
COMPARED = "99"  # the recall in percent at which arms are compared
MIN_SIMILARITY = 0.9  # the configuration's default
NEIGHBOURS = (5, 10, 20, 40, 80, 160, 320)  # the contract's 5; more where 5 give too few new rows


@dataclass(frozen=True)
class Bench:
    """One seed's workspace, pool and baseline; ``tag`` names it in the results."""

    root: Path
    tag: dict[str, int]
    given: argparse.Namespace

    @property
    def spec(self) -> Spec:
        """The workspace's spec."""
        return load_spec(self.root / layout.SPEC)

    @property
    def seed(self) -> int:
        """Seed of everything."""
        return self.tag["seed"]

    def train(self, name: str, table: str, images: str, start: Path | None, epochs: int) -> Path:
        """Train unless it was; return the last weights."""
        out = self.root / "trials" / name
        if not (out / "weights.json").exists():
            data = "dataset.classify.train_dataset"
            keys = {f"{data}.csv_path": table, f"{data}.images_dir": images}
            # Saved and validated only at the end.
            intervals = ("num_epochs", "checkpoint_interval", "validation_interval")
            spec = render(self.spec, keys | {f"train.{name}": epochs for name in intervals})
            options = Options(seed=self.seed, initial_weights=start and str(start.absolute()))
            train(
                spec,
                workspace=self.root,
                out_dir=out,
                resume_dir=out / "resume",
                options=options,
                log=lambda line: None,
            )
        return out / json.loads((out / "weights.json").read_text())["latest"]

    def score(self, weights: Path) -> pd.DataFrame:
        """Return the KPI table with scores."""
        images = layout.image_root(self.root)
        scores, table = score_table(self.spec, weights, self.root / layout.KPI_TABLE, images)
        return table.assign(**{changenet_table.SCORE_COLUMN: scores})

    def pool(self) -> pd.DataFrame:
        """Return the pool, one row a part (there is one light)."""
        lights, ext = self.spec.lights, self.spec.dataset.classify.image_ext
        parts = pregen_parts(self.root, lights)
        sdg = stage_parts(parts, self.root / "trials/images", self.root, lights, ext)
        return build_source_pool(read_pool(self.root), sdg, self.root, lights, ext)[0]


def workspace(given: argparse.Namespace, seed: int) -> Path:
    """Import DeepPCB for a seed with the groups' roles moved by ``--shift``; return the folder."""
    names = sorted(find_groups(given.root))
    names = names[given.shift :] + names[: given.shift]
    base, kpi_groups = max(1, len(names) // 6), max(1, len(names) // 3)
    out = given.out / f"seed{seed}_shift{given.shift}"
    settings = Settings(
        root=str(given.root),
        base_groups=names[:base],
        pool_groups=names[base : len(names) - kpi_groups],
        kpi_groups=names[len(names) - kpi_groups :],
        seed=seed,
    )
    import_deeppcb(given.root, out, settings)
    return out


def targets_of(bench: Bench, scored: pd.DataFrame) -> pd.DataFrame:
    """Return the weak samples as the routed gaps hold them."""
    ng = scored["label"].map(changenet_table.is_ng).to_numpy()
    lowest = float(
        scored.loc[ng, changenet_table.SCORE_COLUMN].min()
    )  # the threshold at recall 100 %
    weak = weak_samples(scored, lowest, bench.given.top_k_per_label)
    spec = bench.spec
    pictures = Pictures(layout.image_root(bench.root), spec.lights, spec.dataset.classify.image_ext)
    return gaps_table(weak, pictures).drop_duplicates("filepath").reset_index(drop=True)


def figures(scored: pd.DataFrame) -> dict[str, float]:
    """Return FAR in percent at the recalls of ``LEVELS_PCT``."""
    swept = sweep(
        scored[changenet_table.SCORE_COLUMN].to_numpy(),
        scored["label"].map(changenet_table.is_ng).to_numpy(),
    )
    return {str(p): at_recall(swept, p / 100)["far_pct"] for p in LEVELS_PCT}


class Trial:
    """The arms of one seed, from one baseline."""

    def __init__(self, bench: Bench) -> None:
        self.bench, given = bench, bench.given
        images = layout.image_root(bench.root).relative_to(bench.root).as_posix()
        self.base = bench.train("baseline", layout.BASE_TABLE, images, None, given.base_epochs)
        self.encoder = changenet.build(bench.spec, self.base, EncoderOptions())
        self.pool = bench.pool()
        ext = bench.spec.dataset.classify.image_ext
        self.pictures = [
            (
                changenet_table.image_file(
                    bench.root, row.input_path, row.object_name, row.light, ext
                ),
                changenet_table.image_file(
                    bench.root, row.golden_path, row.object_name, row.light, ext
                ),
            )
            for row in self.pool.itertuples()
        ]
        paths = [Path(p) for p in self.pool["filepath"]]
        self.vectors = embed_pictures(self.encoder, paths)
        self.scored = bench.score(self.base)
        taken = frozenset(neighbours.part_keys(self.first()[0]))
        pairs = self.neighbours(targets_of(bench, self.scored), NEIGHBOURS[0], None)
        near = neighbours.select_nearest(pairs, self.pool, MIN_SIMILARITY)
        self.budget = fresh_parts(near.rows, taken)

    def first(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the base table and its provenance."""
        base = changenet_table.read_table(self.bench.root / layout.BASE_TABLE)
        return first_combined(base, self.bench.root)

    def neighbours(
        self, targets: pd.DataFrame, k: int, left_out: np.ndarray | None
    ) -> pd.DataFrame:
        """Return each target's ``k`` nearest pool rows."""
        paths = [Path(p) for p in targets["filepath"]]
        found = embed_pictures(self.encoder, paths)
        return neighbours.knn_pairs(targets, found, self.pool, self.vectors, k=k, left_out=left_out)

    def chosen(self, arm: str, lap: int, scored: pd.DataFrame, taken: frozenset) -> pd.DataFrame:
        """Return ``budget`` new rows by a strategy (nearest: ever more neighbours until enough)."""
        targets = targets_of(self.bench, scored)
        known = np.array([key in taken for key in neighbours.part_keys(self.pool)], bool)
        rules = Rules(
            good_share=self.bench.given.good_share,
            min_similarity=MIN_SIMILARITY if lap == 1 else -1.0,
            skip_known=True,
        )
        todo = Lap(taken, self.budget, self.bench.seed * 1_000_003 + lap)
        for k in NEIGHBOURS:
            pairs = self.neighbours(targets, k, known)
            table = ArrayVectors(self.vectors)
            rows = select(arm, self.pool, table, pairs, rules, todo, self.pictures).rows
            if len(rows) == self.budget:
                return rows
        raise SystemExit(f"{arm}: {len(rows)} of {self.budget} rows")

    def run(self, arm: str, note: Callable[..., None]) -> None:
        """Run an arm's laps; ``note`` takes each lap's figures."""
        bench, weights, scored = self.bench, self.base, self.scored
        table, provenance = self.first()
        for lap in range(1, bench.given.laps + 1):
            rows = self.chosen(arm, lap, scored, frozenset(neighbours.part_keys(table)))
            mined = changenet_table.in_contract_order(
                rows[[*changenet_table.COLUMNS, "provenance"]]
            )
            grown = assemble(table, provenance, mined, lap)
            table, provenance = grown.table, grown.provenance
            name = f"{arm}_{lap}"
            path = f"trials/{name}.csv"
            changenet_table.write_table(table, bench.root / path)
            weights = bench.train(name, path, ".", weights, bench.given.epochs)
            scored = bench.score(weights)
            labels = rows["label"].value_counts().sort_index()
            note(arm, lap, len(table), figures(scored), {k: int(v) for k, v in labels.items()})


def markdown(rows: list[dict], arms: list[str], laps: int) -> str:
    """Return the table: one line a seed, arm and lap; then the arms compared at recall 99 %."""
    numbers = range(1, laps + 1)
    head = ("shift", "seed", "arm", "lap", "rows", "FAR at recall 100 %", "99 %", "95 %")
    lines = [_line(head), "|" + "---|" * len(head)]
    for r in sorted(rows, key=lambda r: (r["shift"], r["seed"], r["lap"], r["arm"])):
        far = [f"{r['far'][str(p)]:.2f} %" for p in LEVELS_PCT]
        lines.append(_line([*(r[k] for k in ("shift", "seed", "arm", "lap", "rows")), *far]))
    lines += ["", _line(HEAD), "|" + "---|" * len(HEAD)]
    for lap in numbers:
        far: dict[str, dict[tuple, float]] = {arm: {} for arm in arms}
        for r in rows:
            if r["lap"] == lap and r["arm"] in far:
                far[r["arm"]][r["shift"], r["seed"]] = r["far"][COMPARED]
        lines += [_line(cells) for cells in compared(far, arms, lap)]
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def keep_settings(given: argparse.Namespace) -> None:
    """Write the settings that a results folder was begun with, or stop when they differ."""
    names = ("base_epochs", "epochs", "top_k_per_label", "good_share")
    mine = {name: getattr(given, name) for name in names}
    file = given.out / "settings.json"
    if not file.exists():
        file.write_text(json.dumps(mine) + "\n")
    found = json.loads(file.read_text())
    if found != mine:
        raise SystemExit(f"{given.out} holds trials with {found}; choose another --out")


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds PCBData/")
    parser.add_argument("--out", type=Path, required=True, help="where workspaces and results go")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--arms", nargs="+", default=["random", "nearest", "places"])
    parser.add_argument("--shift", type=int, default=0, help="move the roles of the groups")
    parser.add_argument("--laps", type=int, default=2)
    parser.add_argument("--base-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20, help="of each lap")
    parser.add_argument("--top-k-per-label", type=int, default=50)
    parser.add_argument("--good-share", type=float, default=Rules().good_share)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    keep_settings(given)
    file = given.out / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    for seed in given.seeds:
        tag = {"shift": given.shift, "seed": seed}
        trial = None
        for arm in given.arms:
            if sum(tag.items() <= r.items() and r["arm"] == arm for r in rows) >= given.laps:
                continue
            trial = trial or Trial(Bench(workspace(given, seed).absolute(), tag, given))

            def note(arm, lap, count, far, labels, tag=tag) -> None:
                row = {**tag, "arm": arm, "lap": lap, "rows": count, "far": far, "labels": labels}
                if row in rows:
                    return  # from an earlier command with fewer laps
                rows.append(row)
                with file.open("a") as out:
                    out.write(json.dumps(row) + "\n")
                print(row, file=sys.stderr, flush=True)

            trial.run(arm, note)
    print(markdown(rows, given.arms, given.laps))


if __name__ == "__main__":
    main()
