"""Packages at hand; and, where downloads are forbidden, all that is missing, in one row."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence

from deft.core.airgap import HUB, OWN
from deft.core.errors import HardStop
from deft.doctor import judge_software, measure
from deft.doctor.finding import BROKEN, OK
from deft.preflight.check import STOP, Check, Context, ok, stopped, warn
from deft.run.staging import ENCODER_KEY, named_weights

ID = "air_gap"
# Checks whose subject must have been carried here.
CARRIED = ("backbone_weights", "encoder_weights", "containers", "packages")
HOW = "on a connected machine `make bundle`, here its install.py (docs/air_gap.md)"


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the check of the packages that the stages import."""
    wanted = measure.wanted_packages()
    found = judge_software.pins(platform.python_version(), measure.installed(wanted), wanted)
    if found.state == OK:
        yield ok("packages", found.found)
    elif found.state == BROKEN:
        stop = HardStop("missing_input", found.found, fix=found.advice)
        yield stopped("packages", stop)
    else:
        yield warn("packages", found.found, found.advice)


def air_gap(ctx: Context, made: Sequence[Check]) -> Check:
    """Return one row that names all that is missing, after all other checks were made.

    A check may end at the first file that it misses; here every named file is looked for again.
    """
    lacking, advice = [], []
    stops = [check for check in made if check.status == STOP and check.id in CARRIED]
    told = " ".join(check.evidence for check in stops)
    for check in stops:
        lacking.append(f"{check.id}: {check.evidence}")
        advice.append(check.fix)
    for named in named_weights(ctx.workspace, ctx.config):
        # A folder of the encoder, or the hub's cache in its place, has a check of its own.
        if named.key != ENCODER_KEY and not named.there and named.value not in told:
            lacking.append(f"{named.sentence()} is not there")
    if not lacking:
        return ok(ID, f"{OWN} or {HUB} is set: no connection will be tried, all is staged")
    text = f"no connection will be tried, and {len(lacking)} missing: {'; '.join(lacking)}"
    by_hand = "; ".join(dict.fromkeys(filter(None, advice)))
    fix = f"{HOW}; by hand: {by_hand}" if by_hand else HOW
    return stopped(ID, HardStop("missing_input", text, fix=fix, evidence={"missing": lacking}))
