"""DEFT AOI improvement loop: a table of contents.

Configuration and paths first, then one file per part of the loop, then what a person can ask for.
`config/config.yaml` explains every setting, `README.md` every command.
"""

from snakemake.utils import min_version

min_version("9.27")


include: "rules/terminal.smk"


configfile: f"{HOME}/config/config.yaml"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/command.smk"


workdir: WORKSPACE


if config["container"]:

    container: config["container"]


wildcard_constraints:
    ts=r"[A-Za-z0-9_.-]+",
    phase=r"baseline|iter[1-9][0-9]*",
    lap=r"iter[1-9][0-9]*",
    question="kpi|pool",
    weights=r"[^/]+",  # any name that train.checkpointer.filename gives


include: "rules/doctor.smk"
include: "rules/workspace.smk"
include: "rules/preflight.smk"
include: "rules/stage_pool.smk"
include: "rules/causes.smk"
include: f"rules/engine_{config['engine']}.smk"
include: "rules/evaluate.smk"
include: "rules/route.smk"
include: "rules/mine.smk"
include: "rules/encoders.smk"
include: "rules/assemble.smk"
include: "rules/finish.smk"
include: "rules/score.smk"
include: "rules/mlflow.smk"
include: "rules/label_doubts.smk"
include: "rules/explore.smk"


rule all:
    default_target: True
    input:
        run_file("best_model.json"),
        run_file("best_model_inference_spec.yaml"),
        run_file("preflight/gate.json"),
        f"artifacts/runs/{RUN}/analysis.json",
        *map(page_of_lap, range(config["max_iterations"] + 1)),
        *mlflow_wanted(),
    localrule: True


onstart:
    claim_run(log)
    pass_gate_again()
    start_live_report()


onsuccess:
    end_live_report()
    print_result()


onerror:
    end_live_report()
    close_run()
