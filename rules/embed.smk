"""Embed the source pool: in shards, side by side on a cluster, one after another on a workstation.

Needs: the staged pool, for `encoder: changenet` the baseline. Makes:
`synth_pool/source_embeddings.parquet`, equal bytes for any number of shards (docs/embedding.md).
"""

SHARD = "results/run_{ts}/synth_pool/shards/{scatteritem}.parquet"


# --set-scatter embed=N sets another number.
scattergather:
    embed=EMBED_SHARDS,


rule embed_shard:
    input:
        gate=ancient(GATE),
        manifest="results/run_{ts}/synth_pool/manifest.json",
        baseline=ancient(encoder_inputs),
        scored=encoder_scores,
        pool=ancient("results/run_{ts}/synth_pool/source_pool.parquet"),
        pictures=ancient("results/run_{ts}/synth_pool/images"),
    output:
        shard=temp(SHARD),
    log:
        "results/run_{ts}/logs/embed_shard_{scatteritem}.log",
    benchmark:
        "results/run_{ts}/benchmarks/embed_shard_{scatteritem}.tsv"
    conda:
        conda_env("embed")
    threads: 8
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        encoder=verbatim(encoder_options()),
        batch_size=no_trigger(config["embed_batch_size"]),
        device=no_trigger(config["device"]),
        engine=no_trigger(engine_options()),
        logic=embed_pool_logic(),
    message:
        "embed the source pool, shard {wildcards.scatteritem}"
    shell:
        'python "$DEFT_HOME/scripts/embed_shard.py" --workspace . --run run_{wildcards.ts}'
        " --item {wildcards.scatteritem} {params.engine} {params.encoder}"
        " --baseline={input.baseline:q} --manifest {input.manifest:q} --pool {input.pool:q}"
        " --shard {output.shard:q} --batch-size {params.batch_size} --device {params.device}"
        ' --threads {threads} --cache "$DEFT_EMBEDDING_CACHE"'
        " --attempt {resources.try_number} --log {log:q}"


rule embed_pool:
    input:
        gate=ancient(GATE),
        manifest="results/run_{ts}/synth_pool/manifest.json",
        baseline=ancient(encoder_inputs),
        scored=encoder_scores,
        shards=gather.embed(SHARD, allow_missing=True),
    output:
        embeddings="results/run_{ts}/synth_pool/source_embeddings.parquet",
        facts="results/run_{ts}/synth_pool/source_embeddings.json",
    log:
        "results/run_{ts}/synth_pool/source_embed.log",
    benchmark:
        "results/run_{ts}/benchmarks/embed_pool.tsv"
    localrule: True
    conda:
        conda_env("embed")
    params:
        encoder=verbatim(encoder_options()),
        logic=embed_pool_logic(),
    message:
        "join the embedded shards of the source pool"
    shell:
        'python "$DEFT_HOME/scripts/embed_pool.py" --workspace . --run run_{wildcards.ts}'
        " --manifest {input.manifest:q} --embeddings {output.embeddings:q}"
        " --facts {output.facts:q} --shards {input.shards:q} --log {log:q}"
