"""Exploring a model file: any DNN, not only the loop's own.

Needs: the `explore:` group (by --configfile), a model file. Makes: an experiment folder below tmp/ with
scripts, figures as JSON and two reports. One job: its steps are scripts inside that folder, and any of
them (or all: run_all.py) runs again there, so nothing is resumed from here. The script reads the
group from the environment: Snakemake prints commands, and `repository` may hold a password.
"""


rule explore:
    log:
        "logs/explore.log",
    localrule: True
    conda:
        conda_env("explore")
    threads: all_cores
    params:
        seed=config["seed"],
        device=config["device"],
        typed_in=TYPED_IN,
    message:
        "explore a model file"
    shell:
        'python "$DEFT_HOME/scripts/explore.py" --workspace . --typed-in {params.typed_in:q}'
        " --device {params.device} --seed {params.seed} --threads {threads} --log {log:q}"
