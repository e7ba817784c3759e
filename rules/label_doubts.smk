"""Which labels a person should look at; what comes of it stands in `corrections.csv`.

Needs: the metrics of a phase, all tables. Makes: `<phase>/label_doubts/`, for the page, for Label
Studio and for FiftyOne. No part of the loop: nothing waits for it.
"""


rule rank_labels:
    input:
        gate=ancient(GATE),
        metrics="results/run_{ts}/{phase}/metrics.json",
        baseline=ancient(encoder_inputs),
    output:
        table="results/run_{ts}/{phase}/label_doubts/label_doubts.csv",
        facts="results/run_{ts}/{phase}/label_doubts/label_doubts.json",
        label_studio="results/run_{ts}/{phase}/label_doubts/label_studio.json",
        interface="results/run_{ts}/{phase}/label_doubts/label_studio.xml",
        labels="results/run_{ts}/{phase}/label_doubts/fiftyone/labels.json",
        data="results/run_{ts}/{phase}/label_doubts/fiftyone/data.json",
    log:
        "results/run_{ts}/logs/{phase}_label_doubts.log",
    conda:
        conda_env("embed")
    threads: 8
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        encoder=verbatim(encoder_options()),
        engine=no_trigger(engine_options()),
        batch_size=no_trigger(config["embed_batch_size"]),
        device=no_trigger(config["device"]),
        memory_mb=no_trigger(config["search_memory_mb"]),
        tables=doubted_tables,
    message:
        "{wildcards.phase}: rank the labels by doubt"
    shell:
        'python "$DEFT_HOME/scripts/label_doubts.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} {params.engine} {params.encoder} --baseline={input.baseline:q}"
        " --metrics {input.metrics:q} --table {output.table:q} --facts {output.facts:q}"
        " --batch-size {params.batch_size} --device {params.device} --threads {threads}"
        ' --cache "$DEFT_EMBEDDING_CACHE" --memory-mb {params.memory_mb} --log {log:q}'


rule label_doubts:
    input:
        run_file(f"{newest_phase()}/label_doubts/label_doubts.csv"),
    localrule: True
    message:
        "labels that a person should look at"
