"""What the stages share: the context's settings, the scratch folder, one container run in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deft.run.containers.command import Mount
from deft.run.containers.launch import Image, require_image, run_container
from deft.run.leases import LEASES
from deft.settings.tao import Settings, settings
from deft.tao.stages import container_for, give_back

SCRATCH = "tao"  # undeclared, inside the phase: declared outputs are wiped when a job fails


class Work:
    """One stage's work in TAO's containers.

    Parameters
    ----------
    context: the run (:class:`deft.stages.context.Context`).
    phase, stage: what is worked on; ``stage`` is a key of ``config/images.yaml``'s stages.
    part: names the scratch folder where a stage needs several.
    job: the stage of the loop that the container works for, where that has another name.
    """

    def __init__(
        self, context: Any, phase: str, stage: str, part: str = "", job: str | None = None
    ) -> None:
        self.context, self.phase, self.stage = context, phase, stage
        self.part, self.job = part, job or stage
        self.root: Path = context.root
        folder = context.run.dir if phase in ("", "pool") else context.run.phase(phase)
        name = f"{stage}_{part}" if part else stage
        self.scratch: Path = self.root / context.relative(folder) / SCRATCH / name
        self.settings: Settings = settings(context.containers)

    @property
    def out(self) -> Path:
        """The folder that the container's results go to."""
        return self.scratch / "out"

    def image(self) -> Image:
        """Return the stage's image, or stop when it is not on this machine."""
        return require_image(self.settings.runtime, self.settings.image(self.stage))

    def clear(self) -> None:
        """Start from an empty scratch folder."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def run(
        self,
        argv: tuple[str, ...],
        *,
        read: Iterable[Path] = (),
        env: tuple[tuple[str, str], ...] = (),
        secrets: dict[str, str] | None = None,
        written: Iterable[Mount] = (),
    ) -> None:
        """Run one container to its end, on a GPU that is this process's alone.

        Raises :class:`deft.core.errors.StageFailed`, or HardStop without the image.
        """
        LEASES.take()  # nothing where a training has its own already
        container = container_for(
            self.settings,
            self.stage,
            argv,
            root=self.root,
            run=self.context.run.name,
            phase=self.phase,
            scratch=self.scratch,
            part=self.part,
            read=read,
            env=env,
            env_names=tuple(sorted(secrets or {})),
            written=written,
        )
        print(f"container {container.name}: {' '.join(argv[:2])} in {container.image}", flush=True)
        where: dict[str, Any] = {"phase": self.phase, "stage": self.job}
        try:
            run_container(container, self.context.run.dir, secrets=secrets, **where)
        finally:
            if container.user is None:
                run_container(give_back(container, self.scratch), self.context.run.dir, **where)
        shutil.rmtree(self.scratch / "home", ignore_errors=True)
