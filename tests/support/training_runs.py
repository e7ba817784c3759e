"""How the training tests train: into ``out`` and ``resume`` of a folder, log lines kept."""

from deft.changenet.training.options import Options
from deft.changenet.training.train import train


def run(spec, workspace, folder, **options):
    """Train and return (result, log lines); ``options`` are those of ``Options``, seed 1."""
    lines = []
    result = train(
        spec,
        workspace=workspace,
        out_dir=folder / "out",
        resume_dir=folder / "resume",
        options=Options(**({"seed": 1} | options)),
        log=lines.append,
    )
    return result, lines
