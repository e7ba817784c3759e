"""What the terminal shows, settled before Snakemake says anything."""

import sys
from pathlib import Path

HOME = str(
    Path(workflow.current_basedir).parent
)  # of this project, also as a module of another
sys.path.insert(0, f"{HOME}/scripts")

from deft.run.terminal import make_brief


def is_main_process():
    """Whether this is the process that the user started, not a job's own Snakemake."""
    return workflow.is_main_process and not workflow.remote_exec


BRIEF_TERMINAL = make_brief(workflow.output_settings) if is_main_process() else None
