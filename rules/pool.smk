"""Once per run: real pool rows and pre-generated pairs become one source pool.

Needs: the gate, the pool's rows at the run's start, the pre-generated folders.
Makes: `synth_pool/`. A grown pool table does not run this again; the next run takes the new rows.
"""


rule stage_pool:
    input:
        gate=ancient(GATE),
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
        logic=reading_logic("stage_pool"),
    message:
        "stage the source pool"
    shell:
        'python "$DEFT_HOME/scripts/stage_pool.py" --workspace . --run run_{wildcards.ts}'
        " --encoder {params.encoder} --log {log:q}"


rule prune_embeddings:
    log:
        "logs/prune_embeddings.log",
    localrule: True
    conda:
        conda_env("embed")
    params:
        days=config["prune_days"],
        gb=config["prune_gb"],
        encoder=config["prune_encoder"] or "",
    message:
        "prune the cache of embedded pictures"
    shell:
        'python "$DEFT_HOME/scripts/prune_embeddings.py" --workspace .'
        ' --cache "$DEFT_EMBEDDING_CACHE" --days {params.days} --gb {params.gb}'
        " --encoder={params.encoder:q} --log {log:q}"
