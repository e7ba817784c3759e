"""What can be measured on pictures without a model, once for all phases; `rca` looks at it.

Needs: the KPI and the base training table. Makes: `kpi_facts/`, from which every phase's root-cause
analysis names its causes (`<phase>/causes.json`).
"""

PART_FACTS = "results/run_{ts}/kpi_facts/parts.parquet"
PART_FACTS_RECORD = "results/run_{ts}/kpi_facts/parts.json"


def facts_of_parts(pattern):
    """What `rca` reads of the facts: `ancient`, unless they are to be measured of newer tables.

    Below a job that must run, Snakemake looks for no other reason, and from that job it does not
    go on over ancient files: the analysis of the new scores, and all behind it, would be overlooked
    until the next command. Facts that are newer than the analysis (a run of a version that had
    none), or of another logic, are no reason to make it again.
    """

    def path(wildcards):
        facts = pattern.format(ts=wildcards.ts)
        made = (
            f"results/run_{wildcards.ts}/{wildcards.phase}/rca_results/{wildcards.ts}"
        )
        measured, analysed = changed_at(facts), changed_at(f"{made}/threshold.txt")
        tables = [layout.SPEC, layout.KPI_TABLE, layout.BASE_TABLE]
        run = f"results/run_{wildcards.ts}"
        if digest_of_tables(WORKSPACE / run, "kpi", "base"):
            tables.append(f"{run}/{REPLACED_FILE}")
        newest = max(map(changed_at, tables))
        return (
            facts if 0 < measured <= analysed and measured < newest else ancient(facts)
        )

    return path


def changed_at(name):
    """When a file below the workspace was written; 0 where there is none."""
    path = WORKSPACE / name
    return path.stat().st_mtime if path.is_file() else 0


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
