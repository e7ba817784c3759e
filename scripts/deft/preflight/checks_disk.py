"""Free disk: a warning below what the whole run may take, a stop below what one phase takes."""

from __future__ import annotations

from dataclasses import dataclass

from deft.core.disk import size_text
from deft.core.errors import HardStop
from deft.core.hardware import free_disk_gib
from deft.core.layout import BASE_TABLE, KPI_TABLE, POOL_TABLE
from deft.preflight.check import Check, Context, ok, stopped, warn

GIB = 2**30
SPARE_BYTES = 2 * GIB  # of a whole run: logs, plots, reports, what the estimate cannot know
PHASE_SPARE_BYTES = 2**26  # of one phase
VECTOR_BYTES = 3 * 4 * 768  # of a pool picture: in the cache, its shard and the joined table
ADAM_STATE = 2  # numbers that the optimizer keeps of each weight
TABLES = 4  # times that a phase writes the rows of a table: combined, provenance, scored, swept


@dataclass(frozen=True)
class Need:
    """What is going to be written, in bytes.

    ``weights``: of one phase's model files. ``state``: what its training goes on from. ``tables``
    of one phase. ``pool``: copies of the pre-generated pairs and the pool's vectors, once a run.
    ``export``: the last network.
    """

    weights: float
    state: float
    tables: float
    pool: float
    export: float

    @property
    def phase(self) -> float:
        """Of the first phase that is still to come."""
        return self.weights + self.state + self.tables + self.pool + PHASE_SPARE_BYTES

    def run(self, phases: int) -> float:
        """Of ``phases`` phases; a training's state goes when its phase is scored."""
        each = self.weights + self.tables
        return phases * each + self.state + self.pool + self.export + SPARE_BYTES


def check(ctx: Context) -> Check:
    """Compare the disk of the run folder with the estimate."""
    free = free_disk_gib(ctx.run_dir) * GIB
    if ctx.spec is None:
        return ok("disk", f"{free / GIB:.1f} GiB free")
    found, files = need(ctx)
    phases = int(ctx.config.get("max_iterations", 3)) + 1
    run = found.run(phases)
    ctx.facts["disk"] = {"free_gib": round(free / GIB, 1), "need_gib": round(run / GIB, 1)}
    fix = "free some space, or raise train.checkpoint_interval to keep fewer files"
    if free < found.phase:
        return stopped(
            "disk",
            HardStop(
                "config_invalid",
                f"{size_text(int(free))} are free, and one phase with these settings writes about "
                f"{size_text(int(found.phase))}: {size_text(int(found.weights))} for {files} "
                f"weights files, {size_text(int(found.state))} for the training's state, "
                f"{size_text(int(found.tables + found.pool))} for tables and the pool",
                file=ctx.run_dir,
                fix=fix,
                evidence={"free_bytes": int(free), "phase_bytes": int(found.phase)},
            ),
        )
    text = (
        f"{free / GIB:.1f} GiB free; about {run / GIB:.1f} GiB for {phases} phases of {files} "
        "weights files"
    )
    return warn("disk", text, fix) if free < run else ok("disk", text)


def need(ctx: Context) -> tuple[Need, int]:
    """Return the estimate, and the number of model files that a phase keeps."""
    from deft.changenet.model import state_bytes  # seconds of import, wanted only here

    assert ctx.spec is not None
    train = ctx.spec.train
    count, _ = ctx.facts.get("num_epochs", (train.num_epochs, ""))
    each = state_bytes(ctx.spec)
    files = -(-count // max(1, train.checkpoint_interval))
    # TAO keeps the optimizer's state in every file.
    tao = ctx.config.get("engine") == "tao"
    wanted = "all" if tao else ctx.config.get("optimizer_state", "last")
    kept = {"none": 0, "last": 1, "all": files}[wanted]
    staged = (ctx.run_dir / "synth_pool/source_embeddings.parquet").is_file()
    return Need(
        weights=each * (files + kept * ADAM_STATE),
        state=each * (1 + ADAM_STATE),
        tables=TABLES * sum(_size(ctx, name) for name in (BASE_TABLE, KPI_TABLE)),
        pool=0 if staged else _pool_bytes(ctx),
        export=each,
    ), files


def _pool_bytes(ctx: Context) -> int:
    """Return what staging and embedding the pool write."""
    lights = len(ctx.spec.lights) if ctx.spec else 1
    files = [path for part in ctx.parts or () for path in (*part.ng.values(), *part.ok.values())]
    copies = sum(path.stat().st_size for path in files if path.is_file())
    shared = lights if ctx.parts and all("" in part.ng for part in ctx.parts) else 1
    vectors = len(ctx.tables.get("pool", ())) * lights * VECTOR_BYTES
    return copies * shared + vectors + 2 * _size(ctx, POOL_TABLE) * lights


def _size(ctx: Context, name: str) -> int:
    path = ctx.workspace / name
    return path.stat().st_size if path.is_file() else 0
