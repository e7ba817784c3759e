"""The next training table: assembled, then checked before it costs a training.

Needs: the mined rows and the training table so far. Makes: `dataset/`.
"""


rule assemble:
    input:
        previous_assembly,
        gate=ancient(GATE),
        mined="results/run_{ts}/{lap}/mining_filter/mining.json",
        table=ancient("results/run_{ts}/{lap}/mining_filter/mining_pool.csv"),
    output:
        facts="results/run_{ts}/{lap}/dataset/assembly.json",
        combined="results/run_{ts}/{lap}/dataset/train_combined_{lap}.csv",
        provenance="results/run_{ts}/{lap}/dataset/train_combined_{lap}_provenance.csv",
    log:
        "results/run_{ts}/logs/{lap}_assemble.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        tables=digest(layout.BASE_TABLE),
        logic=logic("assemble"),
    message:
        "{wildcards.lap}: assemble the training table"
    shell:
        'python "$DEFT_HOME/scripts/assemble.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} --log {log:q}"


rule validate:
    input:
        gate=ancient(GATE),
        assembled="results/run_{ts}/{lap}/dataset/assembly.json",
        combined=ancient("results/run_{ts}/{lap}/dataset/train_combined_{lap}.csv"),
    output:
        validation="results/run_{ts}/{lap}/dataset/validation.json",
    log:
        "results/run_{ts}/logs/{lap}_validate.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        leakage=config["content_leakage"],
        tables=digest(layout.VALIDATION_TABLE, layout.KPI_TABLE),
        laps=no_trigger(config["max_iterations"]),
        logic=reading_logic("validate"),
    message:
        "{wildcards.lap}: validate the training table"
    shell:
        'python "$DEFT_HOME/scripts/validate.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} --content-leakage {params.leakage}"
        " --max-iterations {params.laps} --log {log:q}"
