"""The exact command of each stage as a page shows it, made by the code that runs them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from deft.run.containers.command import Container, command, container_name
from deft.settings.tao import settings
from deft.tao.stages import (
    container_for,
    embed_arguments,
    gap_arguments,
    inference_arguments,
    train_arguments,
)

SHOWN, RUN, PHASE = "/data/line7", "run_20260101_090000", "iter1"
OWNER = "1000:1000"
HEAD = {
    "train": "Training of a phase (`train`)",
    "inference": "Inference, once for each of the two weight files (`infer`)",
    "rca": "Gap analysis (`rca`)",
    "embed": "Embedding of a shard of the pool (`embed_shard`) and of weak samples (`mine`)",
}


def commands(root: Path) -> str:
    """Return the commands of a lap as Markdown.

    ``root``: an empty folder that stands for the workspace while they are made.
    """
    for name in ("specs", "kpi/images", "train/base", f"results/{RUN}"):
        (root / name).mkdir(parents=True, exist_ok=True)
    run = root / "results" / RUN
    parts = []
    for stage, title in HEAD.items():
        phase = PHASE if stage != "embed" else "pool"
        part = {"inference": "best_val", "embed": "1-of-1"}.get(stage, "")
        folder = run if phase == "pool" else run / phase
        scratch = folder / "tao" / (f"{stage}_{part}" if part else stage)
        spec, out = scratch / "spec.yaml", scratch / "out"
        argv = {
            "train": train_arguments(spec),
            "inference": inference_arguments(spec),
            "rca": gap_arguments(
                spec,
                inference=run / phase / "inference/best_val",
                train_config=run / phase / "train/experiment.yaml",
                images=root / "kpi/images",
                out=out,
            ),
            "embed": embed_arguments(
                spec, pictures=scratch / "pictures.parquet", out=out / "embeddings.parquet"
            ),
        }[stage]
        made = container_for(
            settings({}), stage, argv, root=root, run=RUN, phase=phase, scratch=scratch, part=part
        )
        name = container_name(Path(SHOWN), RUN, phase, f"{stage}-{part}" if part else stage)
        parts.append(f"{title}:\n\n```bash\n{shown(made, root, name)}\n```\n")
    return "\n".join(parts)


def shown(container: Container, root: Path, name: str) -> str:
    """Return a command as one would type it, for the workspace that the page speaks of."""
    made = replace(
        container,
        name=name,
        user=OWNER,
        gpus="all",
        network=True,
        runtime="docker",
    )
    words = [word.replace(os.fspath(root), SHOWN) for word in command(made)]
    lines: list[str] = []
    line = words[0]
    for word in words[1:]:
        new = word.startswith("--") or word == made.image
        if new and len(lines) + len(line) > len("docker run"):
            lines.append(line)
            line = "    " + word
        else:
            line += " " + word
    return " \\\n".join([*lines, line])
