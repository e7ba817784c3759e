"""Beside the loop: compare the encoder with its record, prune the cache of embedded pictures.

Needs: the encoder's files, for `encoder: changenet` a run's baseline. Makes: nothing but the record
of a first use, where the cache of embedded pictures lies (docs/encoders.md).
"""


rule encoder_selftest:
    log:
        "logs/encoder_selftest.log",
    retries: 0
    conda:
        conda_env("embed")
    threads: 8
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=8000,
        runtime=60,
    params:
        run=RUN,
        encoder=verbatim(encoder_options()),
        engine=verbatim(engine_options()),
        batch_size=config["embed_batch_size"],
        device=config["device"],
    message:
        "self-test of the encoder"
    shell:
        'python "$DEFT_HOME/scripts/encoder_selftest.py" --workspace . --run {params.run:q}'
        " {params.engine} {params.encoder} --batch-size {params.batch_size} --device {params.device}"
        ' --threads {threads} --cache "$DEFT_EMBEDDING_CACHE" --log {log:q}'


rule prune_embeddings:
    log:
        "logs/prune_embeddings.log",
    localrule: True
    conda:
        conda_env("embed")
    params:
        days=config["prune_days"],
        gb=config["prune_gb"],
        encoder=verbatim(config["prune_encoder"] or ""),
    message:
        "prune the cache of embedded pictures"
    shell:
        'python "$DEFT_HOME/scripts/prune_embeddings.py" --workspace .'
        ' --cache "$DEFT_EMBEDDING_CACHE" --days {params.days} --gb {params.gb}'
        " --encoder={params.encoder:q} --log {log:q}"
