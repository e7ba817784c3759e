"""Which samples are weak, and where they go.

Needs: the metrics and inference table of a phase. Makes: `rca_results/` of that phase;
`routing_results/` and `anomalygen/ingest_summary.json` of the next.
"""


rule rca:
    input:
        gate=ancient(GATE),
        metrics="results/run_{ts}/{phase}/metrics.json",
    output:
        threshold="results/run_{ts}/{phase}/rca_results/{ts}/threshold.txt",
        metrics="results/run_{ts}/{phase}/rca_results/{ts}/metrics.json",
        breakdown="results/run_{ts}/{phase}/rca_results/{ts}/weak_samples_breakdown.txt",
        gaps="results/run_{ts}/{phase}/rca_results/{ts}/kpi_gaps.parquet",
        images=directory("results/run_{ts}/{phase}/rca_results/{ts}/rca_images"),
        report="results/run_{ts}/{phase}/rca_results/{ts}/RCA_Report.md",
    log:
        "results/run_{ts}/logs/{phase}_rca.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        min_recall=MIN_RECALL,
        top_k=config["top_k_per_label"],
        laps=config["max_iterations"],
        logic=logic("rca"),
    message:
        "{wildcards.phase}: root-cause analysis"
    shell:
        'python "$DEFT_HOME/scripts/rca.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --min-recall {params.min_recall} --top-k {params.top_k}"
        " --max-iterations {params.laps} --log {log:q}"


rule route:
    input:
        gate=ancient(GATE),
        gaps=previous_rca,
        manifest="results/run_{ts}/synth_pool/manifest.json",
    output:
        mining="results/run_{ts}/{lap}/routing_results/{ts}/mining_gaps.parquet",
        anomalygen="results/run_{ts}/{lap}/routing_results/{ts}/anomalygen_gaps.parquet",
        summary="results/run_{ts}/{lap}/routing_results/{ts}/routing_summary.txt",
    log:
        "results/run_{ts}/logs/{lap}_route.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        mode=config["routing"],
        drawn=json.dumps(config["anomalygen_labels"]),
        allowed=json.dumps(config["allow_unrouted"]),
        laps=config["max_iterations"],
        logic=logic("route"),
    message:
        "{wildcards.lap}: route the gaps"
    shell:
        'python "$DEFT_HOME/scripts/route.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} --mode {params.mode} --anomalygen-labels {params.drawn:q}"
        " --allow-unrouted {params.allowed:q} --max-iterations {params.laps} --log {log:q}"


rule ingest:
    input:
        gate=ancient(GATE),
        manifest="results/run_{ts}/synth_pool/manifest.json",
        routed="results/run_{ts}/{lap}/routing_results/{ts}/routing_summary.txt",
    output:
        summary="results/run_{ts}/{lap}/anomalygen/ingest_summary.json",
    log:
        "results/run_{ts}/logs/{lap}_ingest.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        laps=config["max_iterations"],
        logic=logic("ingest"),
    message:
        "{wildcards.lap}: check the pre-generated pairs"
    shell:
        'python "$DEFT_HOME/scripts/ingest.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} --max-iterations {params.laps} --log {log:q}"
