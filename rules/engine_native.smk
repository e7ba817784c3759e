"""The model stages on PyTorch: train, infer, embed the pool, analyse the gaps.

Needs: tables, the spec, weights of the phase before. Makes: `train/`, `inference/`,
`synth_pool/source_embeddings.parquet`, `rca_results/`. An engine is a set of rules with these names
and files.
"""


include: "embed.smk"


rule train:
    input:
        gate=ancient(GATE),
        validated=of_lap("results/run_{ts}/{phase}/dataset/validation.json"),
        combined=ancient(of_lap(COMBINED)),
        assembled=ancient(of_lap("results/run_{ts}/{phase}/dataset/assembly.json")),
        previous=ancient(of_phase_before("results/run_{ts}/{phase}/metrics.json")),
        pictures=ancient(of_lap("results/run_{ts}/synth_pool/images")),
    output:
        weights="results/run_{ts}/{phase}/train/weights.json",
        status="results/run_{ts}/{phase}/train/status.json",
        experiment="results/run_{ts}/{phase}/train/experiment.yaml",
        train_curve="results/run_{ts}/{phase}/train/train_curve.csv",
        validation_curve="results/run_{ts}/{phase}/train/validation_curve.csv",
    log:
        "results/run_{ts}/{phase}/train/train.log",
    benchmark:
        "results/run_{ts}/benchmarks/{phase}_train.tsv"
    conda:
        conda_env("torch")
    threads: 8
    resources:
        gpu=training_gpu,
        gres=training_gres,
        mem_mb=training_mem_mb,
        runtime=lambda wildcards, attempt: 720 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        tables=base_tables,
        options=training_options(),
        engine=no_trigger(engine_options()),
        device=no_trigger(config["device"]),
        laps=no_trigger(config["max_iterations"]),
        logic=logic("train"),
    message:
        "{wildcards.phase}: train"
    shell:
        'python "$DEFT_HOME/scripts/train.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} {params.engine} {params.options}"
        " --device {params.device} --threads {threads} --weights {output.weights:q}"
        " --validated={input.validated:q} --combined={input.combined:q}"
        " --assembled={input.assembled:q} --previous={input.previous:q}"
        " --max-iterations {params.laps} --attempt {resources.try_number} --log {log:q}"


rule restore_weights:
    input:
        gate=ancient(GATE),
        weights=ancient("results/run_{ts}/{phase}/train/weights.json"),
        validated=ancient(of_lap("results/run_{ts}/{phase}/dataset/validation.json")),
        combined=ancient(of_lap(COMBINED)),
        assembled=ancient(of_lap("results/run_{ts}/{phase}/dataset/assembly.json")),
        previous=ancient(of_phase_before("results/run_{ts}/{phase}/metrics.json")),
        pictures=ancient(of_lap("results/run_{ts}/synth_pool/images")),
    output:
        weights="results/run_{ts}/{phase}/train/{weights}.pth",
    log:
        "results/run_{ts}/logs/{phase}_restore_weights_{weights}.log",
    conda:
        conda_env("torch")
    threads: 8
    resources:
        gpu=training_gpu,
        gres=training_gres,
        mem_mb=training_mem_mb,
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        options=training_options(),
        engine=no_trigger(engine_options()),
        device=no_trigger(config["device"]),
    message:
        "{wildcards.phase}: train again to restore a deleted weight file"
    shell:
        'python "$DEFT_HOME/scripts/restore_weights.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} {params.engine} {params.options}"
        " --device {params.device} --threads {threads} --weights {input.weights:q}"
        " --validated={input.validated:q} --combined={input.combined:q}"
        " --assembled={input.assembled:q} --previous={input.previous:q}"
        " --restore {output.weights:q} --log {log:q}"


rule noise_floor:
    input:
        gate=ancient(GATE),
        metrics=ancient("results/run_{ts}/baseline/metrics.json"),
        weights="results/run_{ts}/baseline/train/weights.json",
    output:
        record=update("results/run_{ts}/noise/noise.json"),
    log:
        "results/run_{ts}/logs/noise_floor.log",
    conda:
        conda_env("torch")
    threads: 8
    resources:
        gpu=training_gpu,
        gres=training_gres,
        mem_mb=training_mem_mb,
        runtime=lambda wildcards, attempt: 720 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        trainings=config["noise_trainings"],
        tables=noise_tables,
        options=training_options(),
        min_recall=MIN_RECALL,
        engine=no_trigger(engine_options()),
        device=no_trigger(config["device"]),
        logic=scoring_logic("noise_floor"),
    message:
        "noise floor: the base table with other seeds"
    shell:
        'python "$DEFT_HOME/scripts/noise_floor.py" --workspace . --run run_{wildcards.ts}'
        " {params.engine} {params.options} --device {params.device} --threads {threads}"
        " --metrics {input.metrics:q} --weights {input.weights:q} --record {output.record:q}"
        " --noise-trainings {params.trainings} --kpi-recall {params.min_recall}"
        " --attempt {resources.try_number} --log {log:q}"


rule infer:
    input:
        gate=ancient(GATE),
        weights="results/run_{ts}/{phase}/train/weights.json",
    output:
        facts="results/run_{ts}/{phase}/inference/inference.json",
        best_val="results/run_{ts}/{phase}/inference/best_val/inference.csv",
        latest="results/run_{ts}/{phase}/inference/latest/inference.csv",
    log:
        "results/run_{ts}/logs/{phase}_infer.log",
    benchmark:
        "results/run_{ts}/benchmarks/{phase}_infer.tsv"
    conda:
        conda_env("torch")
    threads: 8
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        tables=scored_tables,
        device=no_trigger(config["device"]),
        engine=no_trigger(engine_options()),
        runtime=config["runtime"],
        compile=config["compile"],
        views=no_trigger(config["score_views"]),
        share=no_trigger(config["score_views_share"]),
        laps=no_trigger(config["max_iterations"]),
        logic=scoring_logic("infer"),
    message:
        "{wildcards.phase}: inference of both weight files"
    shell:
        'python "$DEFT_HOME/scripts/infer.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} {params.engine} --device {params.device} --threads {threads}"
        " --weights {input.weights:q} --facts {output.facts:q} --best-val {output.best_val:q}"
        " --latest {output.latest:q}"
        " --runtime {params.runtime} --compile {params.compile} --score-views {params.views}"
        " --score-views-share {params.share} --max-iterations {params.laps}"
        " --attempt {resources.try_number} --log {log:q}"


rule rca:
    input:
        gate=ancient(GATE),
        metrics=ancient("results/run_{ts}/{phase}/metrics.json"),
        inference="results/run_{ts}/{phase}/inference/inference.json",
        best_val=ancient("results/run_{ts}/{phase}/inference/best_val/inference.csv"),
        latest=ancient("results/run_{ts}/{phase}/inference/latest/inference.csv"),
        parts=facts_of_parts(PART_FACTS),
        parts_record=facts_of_parts(PART_FACTS_RECORD),
        assembled=ancient(of_lap("results/run_{ts}/{phase}/dataset/assembly.json")),
        combined=ancient(of_lap(COMBINED)),
        provenance=ancient(of_lap(PROVENANCE)),
        pictures=ancient(of_lap("results/run_{ts}/synth_pool/images")),
    output:
        threshold="results/run_{ts}/{phase}/rca_results/{ts}/threshold.txt",
        metrics="results/run_{ts}/{phase}/rca_results/{ts}/metrics.json",
        breakdown="results/run_{ts}/{phase}/rca_results/{ts}/weak_samples_breakdown.txt",
        gaps="results/run_{ts}/{phase}/rca_results/{ts}/kpi_gaps.parquet",
        nvidia_gaps="results/run_{ts}/{phase}/rca_results/{ts}/gaps.parquet",
        images=directory("results/run_{ts}/{phase}/rca_results/{ts}/rca_images"),
        report="results/run_{ts}/{phase}/rca_results/{ts}/RCA_Report.md",
        causes="results/run_{ts}/{phase}/causes.json",
        causes_table="results/run_{ts}/{phase}/causes.csv",
    log:
        "results/run_{ts}/logs/{phase}_rca.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        min_recall=MIN_RECALL,
        top_k=config["top_k_per_label"],
        engine=no_trigger(engine_options()),
        laps=no_trigger(config["max_iterations"]),
        logic=reading_logic("rca"),
    message:
        "{wildcards.phase}: root-cause analysis"
    shell:
        'python "$DEFT_HOME/scripts/rca.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} {params.engine} --min-recall {params.min_recall}"
        " --top-k {params.top_k} --metrics {input.metrics:q} --inference {input.inference:q}"
        " --gaps {output.gaps:q}"
        " --parts {input.parts:q} --parts-record {input.parts_record:q}"
        " --assembled={input.assembled:q} --combined={input.combined:q}"
        " --provenance={input.provenance:q} --causes {output.causes:q}"
        " --max-iterations {params.laps} --log {log:q}"
