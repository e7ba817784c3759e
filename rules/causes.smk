"""What can be measured on pictures without a model, once for all phases; `rca` looks at it.

Needs: the KPI and the base training table. Makes: `kpi_facts/`, from which every phase's root-cause
analysis names its causes (`<phase>/causes.json`).
"""

PART_FACTS = "results/run_{ts}/kpi_facts/parts.parquet"
PART_FACTS_RECORD = "results/run_{ts}/kpi_facts/parts.json"


rule measure_parts:
    input:
        gate=ancient(GATE),
    output:
        facts=PART_FACTS,
        record=PART_FACTS_RECORD,
    log:
        "results/run_{ts}/logs/measure_parts.log",
    conda:
        conda_env("loop")
    threads: 8
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        tables=measured_tables,
        engine=no_trigger(engine_options()),
        logic=reading_logic("measure_parts"),
    message:
        "measure the KPI parts, without a model"
    shell:
        'python "$DEFT_HOME/scripts/measure_parts.py" --workspace . --run run_{wildcards.ts}'
        " {params.engine} --facts {output.facts:q} --record {output.record:q}"
        " --attempt {resources.try_number} --log {log:q}"
