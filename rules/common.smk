"""Functions that the rules share: the run's name, which phase comes before which, digests.

Nothing here imports torch or pandas: the file is parsed again in every cluster job.
"""

import atexit
import functools
import json
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, f"{workflow.basedir}/scripts")

from deft import config as deft_config
from deft import layout, slurm
from deft.errors import HardStop
from deft.hardware import has_card
from deft.kept_digests import KeptDigests
from deft.kpi_target import parse_kpi
from deft.preflight import digest as approval_digest
from deft.session import check_container, hand_down, inherited
from deft.shards import shard_count
from deft.tao import settings as deft_tao


def stop_parsing(error):
    """End with the message alone; a traceback would say nothing about the user's mistake."""
    print(f"\nHARD STOP {error.text()}", file=sys.stderr)
    sys.exit(1)


def is_main_process():
    """Whether this is the process that the user started, not a job's own Snakemake."""
    return workflow.is_main_process and not workflow.remote_exec


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
            fix="set it with --config workspace=DIR, or draw one: snakemake demo_workspace "
            "--config workspace=DIR",
        )
    return path.absolute()


def doctor_folder():
    """A folder for Snakemake's own files while the doctor looks at a machine without workspace."""
    folder = tempfile.mkdtemp(prefix="deft_doctor_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def resolve_config():
    """The configuration, complete. The doctor goes on with defaults and tells what is wrong."""
    try:
        found = deft_config.resolve(config)
        parse_kpi(found["kpi"])
        return found, ""
    except HardStop as error:
        if not DOCTOR:
            raise
        given = config.get("workspace")
        named = {"workspace": given} if isinstance(given, str) and given else {}
        return {**deft_config.defaults(), **named}, error.text()


def resolve_run():
    """Name of the run: given, current, or (first command in a workspace) a new one.

    Only the start of a new run reads the clock; `preflight` records the name.
    """
    if not is_main_process() and inherited("DEFT_RUN"):
        return inherited("DEFT_RUN")
    if config["run"] not in (None, "new"):
        return config["run"]
    current = WORKSPACE / layout.CURRENT_RUN
    if config["run"] is None and current.is_file():
        return current.read_text(encoding="utf-8").strip()
    return time.strftime("run_%Y%m%d_%H%M%S", time.gmtime())


MAKING = {"demo_workspace", "import_deeppcb"}  # they make the workspace
# Rules that are no part of a run: when one fails, the run is left as it is.
OUTSIDE = {*MAKING, "encoder_selftest", "prune_embeddings", "explore"}


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


NAMED_BY_USER = sorted(workflow.config_settings.overwrite_config)
DOCTOR = "doctor" in sys.argv[1:]
try:
    config, CONFIG_PROBLEM = resolve_config()
    TYPED_IN = Path(inherited("DEFT_TYPED_IN") or Path.cwd())
    WORKSPACE = resolve_workspace()
    if not DOCTOR:
        check_container(config["container"], WORKSPACE)
    MIN_RECALL = parse_kpi(config["kpi"]).min_recall
    GPU_REQUEST = profile_default("gpu_request")
    GPU, GRES = gpus(1)
    RUN = resolve_run()
    EMBED_SHARDS = resolve_shards()
except HardStop as error:
    stop_parsing(error)
WORKSPACE_ASKED = (
    Path(config["workspace"]).expanduser().absolute()
)  # that may not be there
hand_down(
    home=workflow.basedir,
    workspace=WORKSPACE,
    typed_in=TYPED_IN,
    run=RUN,
    config=config,
    user_keys=NAMED_BY_USER,
    embed_shards=EMBED_SHARDS,
)

GATE = "results/run_{ts}/preflight/gate.json"


def conda_env(family):
    """Conda file of a family of rules; with `device: cuda` its build for GPUs, if it has one."""
    build = f"{family}-gpu.yaml"
    if (
        config["device"] == "cuda"
        and Path(f"{workflow.basedir}/envs/{build}").is_file()
    ):
        return f"../envs/{build}"
    return f"../envs/{family}.yaml"


def logic(stage):
    """Version of a stage's logic; raised on purpose, it makes the stage run again."""
    return LOGIC_VERSIONS[stage]


LOGIC_VERSIONS = json.loads(
    Path(f"{workflow.basedir}/rules/logic_versions.json").read_text()
)


def phases_upto(phase):
    """`baseline` … `phase`."""
    return [layout.phase_name(n) for n in range(layout.phase_number(phase) + 1)]


def previous_rca(wildcards):
    """Gaps of the phase before the wildcard `lap`."""
    before = layout.previous_phase(wildcards.lap)
    return f"results/run_{wildcards.ts}/{before}/rca_results/{wildcards.ts}/kpi_gaps.parquet"


def previous_assembly(wildcards):
    """`assembly.json` of the previous iteration; iteration 1 starts from the base table."""
    before = layout.previous_phase(wildcards.lap)
    if before == layout.BASELINE:
        return []
    return f"results/run_{wildcards.ts}/{before}/dataset/assembly.json"


def no_trigger(value):
    """A parameter whose change makes nothing run again: where a job computes, what a line shows.

    Snakemake leaves parameters out of its comparison that are made of a job's outputs.
    """
    return lambda wildcards, output: value


KEPT_DIGESTS = KeptDigests(WORKSPACE / ".snakemake/deft_digests.json")


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


def void_gates():
    """Gates that jobs of this command rely on and whose approval no longer fits, by run folder.

    A gate that is made once and checked here, not a job with changing parameters: Snakemake looks
    at no job behind a job that must run, and would overlook what else has changed.
    """
    found = {}
    for name in sorted({f for job in workflow.dag.needrun_jobs() for f in job.input}):
        path = WORKSPACE / name
        if name.endswith("preflight/gate.json") and path.is_file():
            run_dir = path.parent.parent
            changes = approval_digest.changes_since_gate(WORKSPACE, run_dir, config)
            if changes:
                found[run_dir] = changes
    return found


def pass_gate_again():
    """Before the first job: an approval of these inputs and parameters, or the gate's own stop."""
    for run_dir, changes in void_gates().items():
        print(
            f"{run_dir.name}: changed since the approval: {'; '.join(changes)}",
            file=sys.stderr,
        )
        log = f"results/{run_dir.name}/logs/gate.log"
        try:
            shell(
                'python "$DEFT_HOME/scripts/gate.py" --workspace . '
                "--run-dir results/{run_dir.name} --log {log:q}"
            )
        except Exception:
            shell(close_command())
            sys.exit(1)


def encoder_inputs(wildcards):
    """Metrics of the baseline when its own weights are the encoder, else nothing."""
    if config["encoder"] == "changenet":
        return f"results/run_{wildcards.ts}/baseline/metrics.json"
    return []


def encoder_options():
    """Options on a command line that make another encoder; its folder may hold any character."""
    given = {
        "encoder": config["encoder"],
        "encoder-weights": shlex.quote(config["encoder_weights"] or ""),
        "precision": config["embed_precision"],
        "compile": config["embed_compile"],
        "runtime": config["embed_runtime"],
    }
    if deft_tao.embeds_in_container(config):  # another image, other vectors
        given["image"] = deft_tao.settings(config).image("embed")
    return " ".join(f"--{name}={value}" for name, value in given.items())


def train_inputs(wildcards):
    """Tables and first weights of a training; the baseline needs the gate alone."""
    if wildcards.phase == layout.BASELINE:
        return {}
    root = f"results/run_{wildcards.ts}"
    before = layout.previous_phase(wildcards.phase)
    return {
        "validated": f"{root}/{wildcards.phase}/dataset/validation.json",
        "previous": f"{root}/{before}/metrics.json",
    }


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
    return " ".join(f"--{name} {value}" for name, value in given.items())


def all_cores(wildcards):
    """Cores of this command; through a cluster's profile, which gives none, the head node's share."""
    settings = workflow.resource_settings
    return settings.cores or settings.local_cores or 1


@functools.cache
def training_processes():
    """Processes of a training: as many as the spec's train.num_gpus, on the CPU too."""
    try:
        spec = yaml.safe_load((WORKSPACE / layout.SPEC).read_text(encoding="utf-8"))
        return max(1, int(spec["train"]["num_gpus"]))
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
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


def base_tables(wildcards):
    """Digest of the base tables: training and validation, or validation alone after the baseline."""
    if wildcards.phase == layout.BASELINE:
        return content_digest(layout.SPEC, layout.BASE_TABLE, layout.VALIDATION_TABLE)
    return content_digest(layout.SPEC, layout.VALIDATION_TABLE)


def decision_inputs(wildcards):
    """Metrics of all phases so far, or what mining found beside the last word on the KPI."""
    root = f"results/run_{wildcards.ts}"
    if wildcards.question == "kpi":
        return [
            f"{root}/{phase}/metrics.json" for phase in phases_upto(wildcards.phase)
        ]
    before = layout.previous_phase(wildcards.phase)
    return [
        f"{root}/{wildcards.phase}/mining_filter/mining.json",
        f"{root}/{before}/decide/kpi.json",
    ]


def read_decision(wildcards_ts, phase, question):
    """Decision of the only checkpoint, read once it is made."""
    done = checkpoints.decide.get(ts=wildcards_ts, phase=phase, question=question)
    with done.output.decision.open() as handle:
        return json.load(handle)


def finished_phases(wildcards):
    """Walk the decisions lap by lap; returns the phases of the finished loop and the last word."""
    phases = []
    for number in range(config["max_iterations"] + 1):
        phase = layout.phase_name(number)
        phases.append(phase)
        decision = read_decision(wildcards.ts, phase, "kpi")
        if decision["stop"]:
            break
        lap = layout.phase_name(number + 1)
        pool = read_decision(wildcards.ts, lap, "pool")
        if pool["stop"]:
            decision = pool
            break
    return phases, decision


def finish_inputs(wildcards):
    """All that the hand-off reads: every phase's report, the decisions, the best phase's RCA."""
    phases, decision = finished_phases(wildcards)
    root = f"results/run_{wildcards.ts}"
    best = decision["best_phase"]
    question = "pool" if decision["reason"] == "pool_exhausted" else "kpi"
    return {
        "reports": [f"{root}/{phase}/report.html" for phase in phases],
        "metrics": [f"{root}/{phase}/metrics.json" for phase in phases],
        "decision": f"{root}/{decision['phase']}/decide/{question}.json",
        "rca": f"{root}/{best}/rca_results/{wildcards.ts}/metrics.json",
    }


def export_inputs(wildcards):
    """What the best model is chosen by: every phase's metrics and the last decision."""
    found = finish_inputs(wildcards)
    return {name: found[name] for name in ("metrics", "decision")}


def last_decision(wildcards, input):
    """The decision that ended the loop; not known while a lap may still follow."""
    return input.get("decision", "unknown")


def outside_the_loop():
    """Whether this command asks only for rules that are no part of a run."""
    return {job.rule.name for job in workflow.dag.jobs} <= OUTSIDE


def claim_run(logs):
    """Say which run this is and note this command, before the first job; the doctor looks at none."""
    from deft.jobs import note_command

    if DOCTOR or {job.rule.name for job in workflow.dag.jobs} == {"explore"}:
        return
    print(f"workspace {WORKSPACE} · run {RUN}", file=sys.stderr)
    name = next(filter(None, map(slurm.name_in_log, map(Path, logs))), None)
    note_command(WORKSPACE, RUN, name)
    if not workflow.local_exec and config["device"] == "auto" and not GPU_REQUEST:
        print(
            "device: auto, and the profile has no gpu_request, so no job asks for a GPU "
            "(--default-resources on the command line replaces the profile's)",
            file=sys.stderr,
        )


def print_result():
    """The path of the report, if this command made one."""
    page = WORKSPACE / run_file("DEFT_Loop_Report.html")
    if page.is_file() and not DOCTOR:
        print(f"report: {page}", file=sys.stderr)


def close_run():
    """Log the end of a failed command in its run; the doctor's is no run's, it repeats its finding."""
    if not DOCTOR:
        shell(close_command())
        return
    from deft.stage import take_last_stop

    print(f"\n{take_last_stop()}", file=sys.stderr)


def close_command():
    """Shell command that logs the end of a failed run and renders the report from what is there.

    A helper that failed by itself is no end of a run: then only its stop is said again.
    """
    aside = " --aside" if outside_the_loop() else ""
    return f'python "$DEFT_HOME/scripts/close_run.py" --workspace . --run {RUN}{aside}'


def announce_plan():
    """A dry run sees no further than the next decision; say so, and what voided the approval."""
    # A dry run marks its jobs as finished; what was planned counts all the same.
    if not workflow.dryrun or not any(
        workflow.dag.needrun_jobs(exclude_finished=False)
    ):
        return
    last = layout.phase_name(max(1, config["max_iterations"]))
    print(
        "\nThis is the plan up to the next stop decision; more laps may follow (at most "
        f"{config['max_iterations']}).\nThe whole chain to a lap: "
        f"snakemake -n {run_file(f'{last}/train/weights.json')}",
        file=sys.stderr,
    )
    run_dir = WORKSPACE / "results" / RUN
    passed = (run_dir / "preflight/gate.json").is_file()
    changes = passed and approval_digest.changes_since_gate(WORKSPACE, run_dir, config)
    if changes:
        print(
            f"changed since the approval of {RUN}: {'; '.join(changes)}",
            file=sys.stderr,
        )


if is_main_process():
    atexit.register(announce_plan)
