"""The next training table: assembled, then checked before it costs a training.

Needs: the mined rows and the training table so far. Makes: `dataset/`.
"""


rule assemble:
    input:
        gate=ancient(GATE),
        mined="results/run_{ts}/{lap}/mining_filter/mining.json",
        table=ancient("results/run_{ts}/{lap}/mining_filter/mining_pool.csv"),
        previous=of_lap_before("results/run_{ts}/{phase}/dataset/assembly.json"),
        previous_combined=ancient(of_lap_before(COMBINED)),
        previous_provenance=ancient(of_lap_before(PROVENANCE)),
        start=ancient(start_of_first_lap),
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
        tables=assembled_tables,
        logic=logic("assemble"),
    message:
        "{wildcards.lap}: assemble the training table"
    shell:
        'python "$DEFT_HOME/scripts/assemble.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} --mined {input.mined:q} --table {input.table:q}"
        " --facts {output.facts:q} --combined {output.combined:q}"
        " --provenance {output.provenance:q}"
        " --previous={input.previous:q} --previous-combined={input.previous_combined:q}"
        " --previous-provenance={input.previous_provenance:q} --start={input.start:q}"
        " --log {log:q}"


rule validate:
    input:
        gate=ancient(GATE),
        assembled="results/run_{ts}/{lap}/dataset/assembly.json",
        combined=ancient("results/run_{ts}/{lap}/dataset/train_combined_{lap}.csv"),
        provenance=ancient(
            "results/run_{ts}/{lap}/dataset/train_combined_{lap}_provenance.csv"
        ),
        pictures=ancient("results/run_{ts}/synth_pool/images"),
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
        engine=no_trigger(engine_options()),
        tables=digest(layout.VALIDATION_TABLE, layout.KPI_TABLE),
        laps=no_trigger(config["max_iterations"]),
        logic=reading_logic("validate"),
    message:
        "{wildcards.lap}: validate the training table"
    shell:
        'python "$DEFT_HOME/scripts/validate.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} {params.engine} --content-leakage {params.leakage}"
        " --assembled {input.assembled:q} --combined {input.combined:q}"
        " --provenance {input.provenance:q} --validation {output.validation:q}"
        " --max-iterations {params.laps} --log {log:q}"
