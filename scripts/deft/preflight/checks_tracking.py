"""MLflow, where the run is to be logged to it: its packages, and whether its server answers."""

from __future__ import annotations

from collections.abc import Iterator

from deft.core.airgap import OWN, air_gapped
from deft.core.errors import HardStop
from deft.preflight.check import Check, Context, ok, stopped
from deft.record.tracker import ask_server
from deft.settings.tracking import is_remote

ID = "mlflow"


def checks(ctx: Context) -> Iterator[Check]:
    """Yield one check where ``mlflow_uri`` is set."""
    uri = ctx.config.get("mlflow_uri")
    if not uri:
        return
    name = ctx.config["mlflow_experiment"]
    try:
        if air_gapped() and is_remote(uri):
            raise HardStop(
                "config_invalid",
                f"mlflow_uri {uri} is on another machine, and {OWN} forbids every connection",
                fix=f"give sqlite:///PATH or a folder, or unset {OWN}",
            )
        known = ask_server(uri, ctx.workspace, name)
    except HardStop as stop:
        yield stopped(ID, stop)
        return
    told = {None: "", True: "; it answers", False: "; it answers, the experiment is new there"}
    yield ok(ID, f"logged to {uri}, experiment {name!r}{told[known]}")
