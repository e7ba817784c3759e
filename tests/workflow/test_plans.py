"""What dry runs print, as `docs/plans.md` shows (rewritten by `--update-docs`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from generated_page import Page
from workflow_tools import (
    NOTHING,
    RUN,
    as_documented,
    changes,
    copy_in_its_place,
    snakemake,
    succeed,
    tree,
)

pytestmark = pytest.mark.workflow

HERE = f"results/{RUN}"
TOLD = re.compile(
    r"^(?:This is the plan up to .*|The whole chain to a lap: .*|changed since the approval .*|"
    rf"{NOTHING}.*)$",
    re.MULTILINE,
)
STATS = re.compile(r"^(job +count\n.*?^total +\d+)$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Plan:
    """A dry run on the tiny workspace: of a fresh one, or of a finished run that is changed."""

    title: str
    text: str
    targets: tuple[str, ...] = ()
    config: tuple[tuple[str, Any], ...] = ()
    change: Callable[[Path], None] | None = None  # None: nothing has run yet

    @property
    def command(self) -> str:
        """The command as a user types it."""
        config = "".join(f" {name}={value}" for name, value in self.config)
        shown = f" --config{config}" if config else ""
        return " ".join(["snakemake -n", *self.targets]) + shown


def as_it_is(workspace: Path) -> None:
    """Change nothing."""


def without_metrics(workspace: Path) -> None:
    (workspace / HERE / "iter1/metrics.json").unlink()


def without_weights(workspace: Path) -> None:
    (workspace / HERE / "iter1/train/model_epoch_001_step_00016.pth").unlink()


PLANS = (
    Plan(
        "The whole loop",
        "Nothing has run. Whether a lap follows is decided by the KPI, so the plan ends there.",
    ),
    Plan(
        "One lap",
        "What a lap needs is the baseline, and what the lap itself does.",
        (f"{HERE}/iter1/metrics.json",),
    ),
    Plan(
        "The whole chain to lap 2",
        "As if every decision were to go on.",
        (f"{HERE}/iter2/train/weights.json",),
    ),
    Plan(
        "A single target",
        "The baseline alone: trained, and scored on the KPI set.",
        (f"{HERE}/baseline/metrics.json",),
    ),
    Plan("A finished run", "Nothing is done twice.", change=as_it_is),
    Plan(
        "One more lap after a finished run",
        "What is done stays; the decision is made again and may go on.",
        config=(("max_iterations", 3),),
        change=as_it_is,
    ),
    Plan(
        "A lost file of a finished run",
        "One job, and nothing dearer.",
        (f"{HERE}/iter1/metrics.json",),
        change=without_metrics,
    ),
    Plan(
        "A lost weight file",
        "Its training is repeated aside.",
        (f"{HERE}/iter1/train/model_epoch_001_step_00016.pth",),
        change=without_weights,
    ),
)
PAGE = Page(
    "plans",
    head=f"""\
# What will run

`snakemake -n` plans and changes nothing. These are plans of the tests' tiny workspace, whose run is
`{RUN}`, with at most two laps; `pytest tests/workflow --update-docs` rewrites the page. What makes
something run again is in [reruns.md](reruns.md). `--printshellcmds` shows each job's command.

""",
    keys=[plan.title for plan in PLANS],
    marker="## {}\n",
    end="\n```\n\n",
)


def as_part(plan: Plan, output: str) -> str:
    """Return the plan's section of the page."""
    tables = STATS.findall(output)
    told = TOLD.findall(as_documented(output))
    lines = [f"$ {plan.command}", *(tables[-1:] or []), *told]
    shown = "\n".join(line.rstrip() for text in lines for line in text.splitlines())
    return f"## {plan.title}\n\n{plan.text}\n\n```\n{shown}\n```\n\n"


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.title.replace(" ", "-"))
def test_plan(plan: Plan, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if plan.change is None:
        workspace = request.getfixturevalue("fresh")
    else:
        workspace = copy_in_its_place(request.getfixturevalue("finished"), tmp_path / "copy")
        plan.change(workspace)
    before = tree(workspace)
    output = succeed(snakemake(workspace, *plan.targets, config=dict(plan.config), args=["-n"]))
    assert changes(before, tree(workspace)) == {}
    assert STATS.search(output) or NOTHING in output
    PAGE.check(request.config, plan.title, as_part(plan, output))


def test_the_page_is_complete(request: pytest.FixtureRequest) -> None:
    PAGE.check_rest(request.config)
