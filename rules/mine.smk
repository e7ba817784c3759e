"""From weak samples to pool rows.

Needs: the routed gaps, the embedded pool, the training table so far. Makes: `mining_filter/`.
"""

# Of history-aware mining, as NVIDIA's tools name them.
HISTORY = {
    name: f"results/run_{{ts}}/{{lap}}/mining_filter/{file}"
    for name, file in (
        ("candidates", "mined_candidates.parquet"),
        ("history", "mining_history.json"),
        ("history_summary", "mining_history_summary.json"),
    )
    if config["mining_history"]
}


rule mine:
    input:
        gate=ancient(GATE),
        gaps="results/run_{ts}/{lap}/routing_results/{ts}/mining_gaps.parquet",
        ingest="results/run_{ts}/{lap}/anomalygen/ingest_summary.json",
        manifest="results/run_{ts}/synth_pool/manifest.json",
        pool=ancient("results/run_{ts}/synth_pool/source_pool.parquet"),
        pictures=ancient("results/run_{ts}/synth_pool/images"),
        # Joined again from other shards they are the same; what changes them is a parameter here.
        embedded=ancient("results/run_{ts}/synth_pool/source_embeddings.json"),
        embeddings=ancient("results/run_{ts}/synth_pool/source_embeddings.parquet"),
        previous=of_lap_before("results/run_{ts}/{phase}/dataset/assembly.json"),
        previous_combined=ancient(of_lap_before(COMBINED)),
        previous_provenance=ancient(of_lap_before(PROVENANCE)),
        start=ancient(start_of_first_lap),
        previous_mining=ancient(
            of_lap_before("results/run_{ts}/{phase}/mining_filter/mining.json")
        ),
        previous_history=ancient(history_before),
        baseline=ancient(encoder_inputs),
        scored=encoder_scores,
    output:
        **HISTORY,
        facts="results/run_{ts}/{lap}/mining_filter/mining.json",
        targets="results/run_{ts}/{lap}/mining_filter/target_embeddings.parquet",
        mined="results/run_{ts}/{lap}/mining_filter/mined.parquet",
        table="results/run_{ts}/{lap}/mining_filter/mining_pool.csv",
        knn=report(
            "results/run_{ts}/{lap}/mining_filter/knn_summary.csv",
            category="Mining",
            labels={"phase": "{lap}", "file": "knn_summary.csv"},
        ),
        pairs="results/run_{ts}/{lap}/mining_filter/knn_pairs.parquet",
        summary="results/run_{ts}/{lap}/mining_filter/mining_summary.txt",
    log:
        "results/run_{ts}/logs/{lap}_mine.log",
    benchmark:
        "results/run_{ts}/benchmarks/{lap}_mine.tsv"
    conda:
        conda_env("embed")
    threads: 8
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        strategy=config["mining"],
        top_k=config["top_k_per_target"],
        min_similarity=config["min_similarity"],
        encoder=verbatim(encoder_options()),
        engine=no_trigger(engine_options()),
        batch_size=no_trigger(config["embed_batch_size"]),
        device=no_trigger(config["device"]),
        search=config["search"],
        memory_mb=no_trigger(config["search_memory_mb"]),
        leakage=config["content_leakage"],
        seed=config["seed"],
        rules=verbatim(json.dumps(deft_config.mining_rules(config), sort_keys=True)),
        history=history_file,
        laps=no_trigger(config["max_iterations"]),
        tables=mined_tables,
        logic=f"{logic('mine')}-{embed_pool_logic()}",
    message:
        "{wildcards.lap}: mine the pool ({params.strategy})"
    shell:
        'python "$DEFT_HOME/scripts/mine.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} --strategy {params.strategy} --top-k {params.top_k}"
        " --min-similarity {params.min_similarity:q} {params.engine} {params.encoder}"
        " --baseline={input.baseline:q} --gaps {input.gaps:q} --manifest {input.manifest:q}"
        " --pool {input.pool:q} --embedded {input.embedded:q} --embeddings {input.embeddings:q}"
        " --facts {output.facts:q}"
        " --previous={input.previous:q} --previous-combined={input.previous_combined:q}"
        " --previous-provenance={input.previous_provenance:q} --start={input.start:q}"
        " --previous-mining={input.previous_mining:q}"
        " --batch-size {params.batch_size} --device {params.device} --threads {threads}"
        ' --cache "$DEFT_EMBEDDING_CACHE"'
        " --search {params.search} --memory-mb {params.memory_mb}"
        " --content-leakage {params.leakage} --seed {params.seed} --rules {params.rules:q}"
        " --history={params.history:q} --previous-history={input.previous_history:q}"
        " --max-iterations {params.laps} --attempt {resources.try_number} --log {log:q}"
