"""What all rules share: the configuration, the run's name, resources, options, digests.

Nothing here imports torch or pandas: the file is parsed again in every cluster job.
"""

import atexit
import functools
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from deft.settings import config as deft_config
from deft.core import layout, places, registered
from deft.run import slurm
from deft.run import handover as deft_handover
from deft.run import roots as deft_roots
from deft.core.commands import again, called_itself, note_command
from deft.core.errors import HardStop
from deft.core.hardware import has_card
from deft.core.kept_digests import KeptDigests
from deft.settings.kpi_target import parse_kpi
from deft.settings.metric_contract import contract_of, measured_by
from deft.core.reading import stop_of
from deft.settings.run_name import check_run_name, require_run, run_of_command
from deft.settings.session import check_container, hand_down, inherited
from deft.settings.tracking import require_uri
from deft.settings.workspace_file import merged, read_workspace_settings
from deft.embedding.shards import shard_count
from deft.pool import digest as deft_digest
from deft.pool.corrected_laps import digest_upto
from deft.pool.replaced import REPLACED_FILE, digest_of_tables
from deft.tables import corrections
from deft.settings import tao as deft_tao
from deft.core.yaml_files import load_yaml


def stop_parsing(error):
    """End with the message alone; a traceback would say nothing about the user's mistake."""
    print(f"\nHARD STOP {error.text()}", file=sys.stderr)
    sys.exit(1)


def resolve_workspace():
    """Absolute workspace. Jobs inherit it, since they start inside the workspace themselves."""
    if not is_main_process() and inherited("DEFT_WORKSPACE"):
        return Path(inherited("DEFT_WORKSPACE"))
    path = Path(config["workspace"]).expanduser()
    if DOCTOR and not path.is_dir():
        return Path(doctor_folder())
    making = MAKING & set(sys.argv)
    if not path.is_dir() and "explore" in sys.argv and "workspace" not in NAMED_BY_USER:
        return Path.cwd()  # exploring needs a place for tmp/ and no workspace
    if not path.is_dir() and not making:
        raise HardStop(
            "missing_input",
            f"the workspace {str(path)!r} is not a folder",
            fix=f"set it with --config workspace=DIR, or draw one: {again('demo_workspace')}",
        )
    return path.absolute()


def doctor_folder():
    """A folder for Snakemake's own files while the doctor looks at a machine without workspace."""
    folder = tempfile.mkdtemp(prefix="deft_doctor_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def workspace_settings():
    """What the workspace's `deft.yaml` says; a job goes on with what its command has read."""
    if not is_main_process() and inherited("DEFT_CONFIG"):
        return json.loads(inherited("DEFT_CONFIG"))
    try:
        return read_workspace_settings(WORKSPACE)
    except HardStop as error:
        if not DOCTOR:
            raise
        return {"problem": error.text()}


def resolve_config(config):
    """The configuration, complete. The doctor goes on with defaults and tells what is wrong."""
    problem = config.pop("problem", "")
    try:
        found = deft_config.resolve(config)
        contract_of(found)
        for typed in (a.removeprefix("kpi=") for a in sys.argv if a.startswith("kpi=")):
            if "#" in typed:  # to Snakemake, which reads YAML there, a comment
                parse_kpi(typed)
        return found, problem
    except HardStop as error:
        if not DOCTOR:
            raise
        given = config.get("workspace")
        named = {"workspace": given} if isinstance(given, str) and given else {}
        return {**deft_config.defaults(), **named}, error.text()


def resolve_run():
    """Name of the run: given, of a target, current, or (first command in a workspace) a new one.

    Only the start of a new run reads the clock; `preflight` records the name.
    """
    if not is_main_process() and inherited("DEFT_RUN"):
        return check_run_name(inherited("DEFT_RUN"), source="DEFT_RUN")
    targets = asked_for()
    name = run_of_command(WORKSPACE, config["run"], targets)
    if READERS & targets and (name or config["run"] is None):
        require_run(WORKSPACE, name)
    return name or new_run()


def new_run():
    """Name of a run that begins now."""
    return time.strftime("run_%Y%m%d_%H%M%S", time.gmtime())


def asked_for():
    """Files and rules that this command names, in whatever option.

    Snakemake keeps them from a Snakefile that is being parsed, so its own parser reads them again.
    """
    if not any(READERS & {a} or "results" in a or "artifacts" in a for a in sys.argv):
        return set()  # no run can be named: its parser takes half a second
    from snakemake.cli import get_argument_parser

    given = get_argument_parser().parse_known_args(sys.argv[1:])[0]
    named = (given.targets, given.forcerun, given.until, given.prioritize)
    return {str(target) for targets in named for target in targets or ()}


# They make the workspace, or tell of one that could be made.
MAKING = {
    *("demo_workspace", "import_deeppcb", "import_folder", "import_folder_plan"),
    "register_pictures",
}
# They use what a run has, and begin none.
READERS = {"report", "check_quotes", "label_doubts", "score"}


def run_file(name):
    """Path of a file of the chosen run, relative to the workspace."""
    return f"results/{RUN}/{name}"


def resolve_shards():
    """Number of the pool's shards; --set-scatter embed=N wins, jobs inherit it."""
    chosen = workflow.resource_settings.overwrite_scatter.get("embed")
    if chosen is not None:
        return int(chosen)
    if not is_main_process() and inherited("DEFT_EMBED_SHARDS"):
        return int(inherited("DEFT_EMBED_SHARDS"))
    return shard_count(WORKSPACE, WORKSPACE / run_file(""), config["embed_shard_rows"])


def profile_default(name):
    """A value under the profile's `default-resources`, or None."""
    given = workflow.resource_settings.default_resources or {}
    return given[name].raw if name in given else None


def gpus(count):
    """Resources (`gpu`, `gres`) of a job that uses so many GPUs; the profile says which counts.

    With `device: auto` a cluster's head node cannot tell what a job will find; the profile can: one
    with a `gpu_request` has GPUs. Without one, jobs take the card of the machine that parses, and
    must wait for each other; a cluster's job parses elsewhere and has what was asked for. A
    container of TAO wants a GPU whatever `device` says.
    """
    device = "cuda" if config["engine"] == "tao" else config["device"]
    found = GPU_REQUEST or (has_card() and not workflow.remote_exec)
    has = device == "cuda" or (device == "auto" and found)
    return slurm.gpu_resources(count if has else 0, GPU_REQUEST)


TYPED = dict(workflow.config_settings.overwrite_config)
NAMED_BY_USER = set(TYPED)
DOCTOR = "doctor" in sys.argv[1:]
if is_main_process():
    # As a module of another Snakefile, whose rules have other names there.
    own = HOME == os.path.abspath(workflow.basedir)
    note_command(sys.argv if own else called_itself(sys.argv[0], HOME, config), HOME)
try:
    of_files = config
    config, CONFIG_PROBLEM = resolve_config(dict(of_files))
    TYPED_IN = Path(inherited("DEFT_TYPED_IN") or Path.cwd())
    WORKSPACE = resolve_workspace()
    places.require_path(WORKSPACE)
    OWN = workspace_settings()
    if OWN:
        config, CONFIG_PROBLEM = resolve_config(merged(of_files, OWN, TYPED))
        NAMED_BY_USER |= set(OWN)
    if "mlflow" in sys.argv[1:]:  # before a run that has not ended goes on to its end
        require_uri(config["mlflow_uri"])
    if not DOCTOR:
        check_container(config["container"], WORKSPACE)
    GPU_REQUEST = profile_default("gpu_request")
    GPU, GRES = gpus(1)
    try:
        RUN = resolve_run()
    except HardStop as error:
        if not DOCTOR:
            raise
        RUN, CONFIG_PROBLEM = new_run(), CONFIG_PROBLEM or error.text()
    TAKEN = []
    if not DOCTOR:
        config, TAKEN = deft_handover.with_taken(
            config, WORKSPACE / run_file(""), NAMED_BY_USER
        )
    MIN_RECALL = parse_kpi(config["kpi"]).min_recall
    METRIC = measured_by(config)
    PROVEN = config["best_phase"] == "proven"
    if is_main_process() and not DOCTOR and not {"explore", *MAKING} & set(sys.argv):
        # Snakemake would make its folders first, and fail there.
        places.require(WORKSPACE, layout.Run(WORKSPACE, RUN))
        registered.require(WORKSPACE, config["register"])
    EMBED_SHARDS = resolve_shards()
    CORRECTIONS = [] if DOCTOR else corrections.read_corrections(WORKSPACE)
except HardStop as error:
    stop_parsing(error)
except OSError as error:
    # A file of the workspace that this user may not read, a folder in its place.
    if stop_of(error) is None:
        raise
    stop_parsing(stop_of(error))
WORKSPACE_ASKED = (
    Path(config["workspace"]).expanduser().absolute()
)  # that may not be there
hand_down(
    home=HOME,
    workspace=WORKSPACE,
    typed_in=TYPED_IN,
    run=RUN,
    config=config,
    user_keys=(
        sorted(NAMED_BY_USER)
        if is_main_process()
        else (inherited("DEFT_USER_KEYS") or "").split()
    ),
    taken_keys=TAKEN,
    embed_shards=EMBED_SHARDS,
)

GATE = "results/run_{ts}/preflight/gate.json"


def in_report(path, category, **labels):
    """A phase's output that `snakemake --report` shows."""
    return report(path, category=category, labels={"phase": "{phase}", **labels})


def conda_env(family):
    """Conda file of a family of rules; with `device: cuda` its build for GPUs, if it has one."""
    build = f"{family}-gpu.yaml"
    if config["device"] == "cuda" and Path(f"{HOME}/envs/{build}").is_file():
        return f"../envs/{build}"
    return f"../envs/{family}.yaml"


def logic(stage):
    """Version of a stage's logic; raised on purpose, it makes the stage run again."""
    return LOGIC_VERSIONS[stage]


def reading_logic(stage):
    """`logic` of a stage that reads pictures: reading them by other levels makes it run again."""
    levels = config["picture_levels"]
    return logic(stage) if levels is None else f"{logic(stage)}-levels{levels}"


def scoring_logic(stage):
    """`reading_logic` of a stage that scores parts: by other views they get other scores."""
    views = config["score_views"]
    found = reading_logic(stage)
    return found if views == "one" else f"{found}-{views}"


def export_best_logic():
    """`scoring_logic` of the hand-off, which may work in two stages."""
    found = scoring_logic("export_best")
    return f"{found}-two-stage" if config["score_two_stage"] else found


LOGIC_VERSIONS = json.loads(Path(f"{HOME}/rules/logic_versions.json").read_text())


def no_trigger(value):
    """A parameter whose change makes nothing run again: where a job computes, what a line shows.

    Snakemake leaves parameters out of its comparison that are made of a job's outputs.
    """
    return lambda wildcards, output: value


def verbatim(value):
    """A setting as a parameter: braces in it are the user's, and no wildcards of Snakemake's."""
    return lambda wildcards: value


KEPT_DIGESTS = KeptDigests(WORKSPACE / layout.DIGESTS_KEPT)


def content_digest(*names):
    """Digest of the user's own files (below the workspace); absent ones are 'absent'."""
    found = [KEPT_DIGESTS.sha256(WORKSPACE / name) for name in names]
    return "-".join((sha256 or "absent")[:16] for sha256 in found)


def digest(*names):
    """`content_digest` as a parameter: only jobs that are looked at have their files read.

    In `params` they trigger by content whatever their size, and a missing one is reported by the
    pre-flight in its own words instead of Snakemake's.
    """
    return lambda wildcards: content_digest(*names)


def engine_options():
    """Options of every stage that opens the spec, pictures or model files."""
    given = {"engine": config["engine"]}
    if config["picture_levels"] is not None:
        given["picture-levels"] = config["picture_levels"]
    if config["engine"] == "tao":
        settings = {
            k: v for k, v in config.items() if k.startswith(("tao_", "container_"))
        }
        given["containers"] = shlex.quote(json.dumps(settings, sort_keys=True))
    return " ".join(f"--{name}={value}" for name, value in given.items())


def encoder_options():
    """Options on a command line that make another encoder; its folder may hold any character."""
    given = {
        "encoder": config["encoder"],
        "encoder-weights": shlex.quote(config["encoder_weights"] or ""),
        "precision": config["embed_precision"],
        "compile": config["embed_compile"],
        "runtime": config["embed_runtime"],
    }
    if config["picture_levels"] is not None:
        given["picture-levels"] = config["picture_levels"]
    if deft_tao.embeds_in_container(config):  # another image, other vectors
        given["image"] = deft_tao.settings(config).image("embed")
    return " ".join(f"--{name}={value}" for name, value in given.items())


def cluster_option(wildcards):
    """The doctor's option where jobs go to a cluster; which executor there is, is not known before."""
    return "" if workflow.local_exec else "--cluster"


def training_options():
    """Options of a training's command line, by one function so that a restored file gets the same.

    The required recall counts only where it chooses the weights.
    """
    by_far = config["select_weights_by"] == "val_far"
    given = {
        "epochs": config["training_epochs"] or 0,
        "seed": config["seed"],
        "upstream-compat": config["upstream_compat"],
        "accumulate-steps": config["accumulate_steps"],
        "select-weights-by": config["select_weights_by"],
        "early-stop-epochs": config["early_stop_epochs"] or 0,
        "min-recall": MIN_RECALL if by_far else 1.0,
        "optimizer-state": config["optimizer_state"],
        "compile": config["compile"],
    }
    if config["picture_levels"] is not None:
        given["picture-levels"] = config["picture_levels"]
    if config["random_weights"]:
        given["random-weights"] = True
    return " ".join(f"--{name} {value}" for name, value in given.items())


def tao_training_options():
    """Epochs of a training in TAO's container, and `--random-weights` behind them where it is set.

    The number alone otherwise, as ever: another parameter would train finished phases again.
    """
    epochs = config["training_epochs"] or 0
    return f"{epochs} --random-weights true" if config["random_weights"] else epochs


def all_cores(wildcards):
    """Cores of this command; through a cluster's profile, which gives none, the head node's share."""
    settings = workflow.resource_settings
    return settings.cores or settings.local_cores or 1


@functools.cache
def training_processes():
    """Processes of a training: as many as the spec's train.num_gpus, on the CPU too."""
    try:
        spec = load_yaml((WORKSPACE / layout.SPEC).read_text(encoding="utf-8"))
        return max(1, int(spec["train"]["num_gpus"]))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, yaml.YAMLError):
        return 1  # the pre-flight says what is wrong with the spec


def training_gpu(wildcards):
    """GPUs of a training job that are asked for as `gpu`: one a process."""
    return gpus(training_processes())[0]


def training_gres(wildcards):
    """GPUs of a training job that are asked for as `gres`."""
    return gpus(training_processes())[1]


def training_mem_mb(wildcards, attempt=1):
    """Memory of a training job, MB: 8 GB a process, more at each attempt."""
    return 8000 * training_processes() * attempt
