"""Once per run: real pool rows and pre-generated pairs become one source pool.

Needs: the gate, the pool's rows at the run's start, the pre-generated folders.
Makes: `synth_pool/`. A grown pool table does not run this again; the next run takes the new rows.
"""


rule stage_pool:
    input:
        gate=gate_of_staging,
    output:
        manifest="results/run_{ts}/synth_pool/manifest.json",
        sdg="results/run_{ts}/synth_pool/sdg_rows.csv",
        table="results/run_{ts}/synth_pool/source_pool.csv",
        parquet="results/run_{ts}/synth_pool/source_pool.parquet",
        images=directory("results/run_{ts}/synth_pool/images"),
    log:
        "results/run_{ts}/logs/stage_pool.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        spec=digest(layout.SPEC),
        encoder=config["encoder"],
        engine=no_trigger(engine_options()),
        logic=reading_logic("stage_pool"),
    message:
        "stage the source pool"
    shell:
        'python "$DEFT_HOME/scripts/stage_pool.py" --workspace . --run run_{wildcards.ts}'
        " --encoder {params.encoder} {params.engine} --gate {input.gate:q}"
        " --manifest {output.manifest:q} --sdg {output.sdg:q} --table {output.table:q}"
        " --parquet {output.parquet:q} --images {output.images:q} --log {log:q}"
