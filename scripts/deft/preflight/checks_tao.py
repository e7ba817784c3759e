"""What ``engine: tao`` needs of this machine: the runtime, its images, a spec that TAO takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from deft.core.airgap import offline
from deft.core.credentials import state_of
from deft.core.errors import HardStop, StageFailed
from deft.core.hardware import gpus
from deft.core.layout import SPEC
from deft.core.weight_files import BACKBONE_KEY, refuse_foreign
from deft.preflight.check import Check, Context, ok, stopped, warn
from deft.run.containers.launch import require_image
from deft.settings.tao import needed_images, settings
from deft.tao.embed import MODELS, cached, folder_of, missing, weight_files


def checks(ctx: Context) -> Iterator[Check]:
    """Yield the checks; all that is missing is named at once."""
    found = settings(ctx.config)
    runtime = shutil.which(found.runtime)
    for image, stages in needed_images(ctx.config).items():
        name = f"containers ({', '.join(stages)})"
        try:
            here = require_image(found.runtime, image)
        except HardStop as stop:
            stop.message += f"; NGC_API_KEY is {state_of(ctx.workspace, 'NGC_API_KEY')}"
            yield stopped(name, stop)
        except StageFailed as error:
            fix = f"start the service, or see {found.runtime} info"
            yield stopped(name, HardStop("missing_input", str(error), file=runtime, fix=fix))
        else:
            yield ok(name, f"{image} is here ({here.id[:19]})")
        if runtime is None:
            break  # without the runtime no image can be looked for
    if not gpus():
        yield warn(
            "container_gpu",
            "TAO's containers need an NVIDIA GPU, and none is visible here",
            "right on a login node whose jobs get a GPU; otherwise set engine: native",
        )
    if ctx.spec is not None:
        yield _spec(ctx)


def _spec(ctx: Context) -> Check:
    """Return whether TAO takes the spec as a container would get it."""
    from deft.tao.spec import container_spec

    try:
        # The backbone's path is the staged file's by then, and has a check of its own.
        _, named = container_spec(ctx.workspace / SPEC, {BACKBONE_KEY: ""}, ctx.workspace)
    except HardStop as stop:
        return stopped("tao_spec", stop)
    return ok("tao_spec", f"every key is TAO's; it names {len(named)} files and folders")


def encoder(ctx: Context, name: str, weights: str | None) -> Check:
    """Return whether the weights of TAO's encoder are at hand."""
    if weights:
        try:
            files = weight_files(name, folder_of(ctx.workspace, weights))
            refuse_foreign(files[-1], "the encoder's weights file")
        except HardStop as stop:
            return stopped("encoder_weights", stop)
        return ok("encoder_weights", f"{name} in TAO's container: {ctx.relative(files[-1])}")
    repository = MODELS[name][1]
    if cached(name):
        return ok("encoder_weights", f"{name} = {repository}, in the local cache")
    if offline():
        return stopped(
            "encoder_weights", missing(name, Path(repository), "is not in the local cache")
        )
    return warn(
        "encoder_weights",
        f"{name} = {repository} is not cached; the container will fetch it; HF_TOKEN is "
        f"{state_of(ctx.workspace, 'HF_TOKEN')}",
        "without a connection: stage the folder and set encoder_weights, or encoder=changenet",
    )
