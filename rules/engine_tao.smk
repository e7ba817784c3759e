"""The model stages in NVIDIA's containers: train, infer, embed the pool, analyse the gaps.

Needs and makes what `engine_native.smk` does, under the same names; which image runs which stage
stands in `config/images.yaml`. A deleted weight file is not restored here: a training in a container
is not repeated to the same bytes.
"""

TAO = deft_tao.settings(config)


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
        epochs=tao_training_options(),
        engine=no_trigger(engine_options()),
        image=verbatim(TAO.image("train")),
        laps=no_trigger(config["max_iterations"]),
        logic=logic("tao_train"),
    message:
        "{wildcards.phase}: train in TAO's container"
    shell:
        'python "$DEFT_HOME/scripts/tao_train.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} {params.engine} --epochs {params.epochs}"
        " --weights {output.weights:q}"
        " --validated={input.validated:q} --combined={input.combined:q}"
        " --assembled={input.assembled:q} --previous={input.previous:q}"
        " --max-iterations {params.laps} --attempt {resources.try_number} --log {log:q}"


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
        engine=no_trigger(engine_options()),
        image=verbatim(TAO.image("inference")),
        laps=no_trigger(config["max_iterations"]),
        logic=logic("tao_infer"),
    message:
        "{wildcards.phase}: inference of both weight files in TAO's container"
    shell:
        'python "$DEFT_HOME/scripts/tao_infer.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} {params.engine} --weights {input.weights:q}"
        " --facts {output.facts:q} --best-val {output.best_val:q} --latest {output.latest:q}"
        " --max-iterations {params.laps}"
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
        experiment=ancient("results/run_{ts}/{phase}/train/experiment.yaml"),
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
    conda:
        conda_env("loop")
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        min_recall=MIN_RECALL,
        top_k=config["top_k_per_label"],
        engine=no_trigger(engine_options()),
        image=verbatim(TAO.image("rca")),
        laps=no_trigger(config["max_iterations"]),
        logic=logic("tao_rca"),
    message:
        "{wildcards.phase}: gap analysis in TAO's container"
    shell:
        'python "$DEFT_HOME/scripts/tao_rca.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} {params.engine} --min-recall {params.min_recall}"
        " --top-k {params.top_k} --metrics {input.metrics:q} --inference {input.inference:q}"
        " --experiment {input.experiment:q} --gaps {output.gaps:q}"
        " --parts {input.parts:q} --parts-record {input.parts_record:q}"
        " --assembled={input.assembled:q} --combined={input.combined:q}"
        " --provenance={input.provenance:q} --causes {output.causes:q}"
        " --max-iterations {params.laps} --attempt {resources.try_number} --log {log:q}"
