"""What can be measured on pictures without a model, once for all phases; `rca` looks at it.

Needs: the KPI and the base training table. Makes: `kpi_facts/`, from which every phase's root-cause
analysis names its causes (`<phase>/causes.json`).
"""

PART_FACTS = "results/run_{ts}/kpi_facts/parts.parquet"
PART_FACTS_RECORD = "results/run_{ts}/kpi_facts/parts.json"


def facts_of_parts(pattern):
    """What `rca` reads of the facts: `ancient`, unless its analysis was made of these very ones.

    Below a job that must run, Snakemake looks for no other reason, and from that job it does not
    go on over ancient files: with new tables the facts are measured again, and the analysis of the
    new scores, and all behind it, would be overlooked until the next command. Facts newer than the
    analysis (a run of a version that had none) are no reason to make it again.
    """

    def path(wildcards):
        facts = pattern.format(ts=wildcards.ts)
        made = (
            f"results/run_{wildcards.ts}/{wildcards.phase}/rca_results/{wildcards.ts}"
        )
        known, analysed = WORKSPACE / facts, WORKSPACE / made / "threshold.txt"
        if known.is_file() and analysed.is_file():
            if known.stat().st_mtime <= analysed.stat().st_mtime:
                return facts
        return ancient(facts)

    return path


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
