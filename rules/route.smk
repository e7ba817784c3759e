"""Where the weak samples of a phase go; which they are is the engine's `rca`.

Needs: `rca_results/` of a phase. Makes: `routing_results/` and `anomalygen/ingest_summary.json` of
the next.
"""


rule route:
    input:
        gate=ancient(GATE),
        gaps=of_phase_before(
            "results/run_{ts}/{phase}/rca_results/{ts}/kpi_gaps.parquet"
        ),
        analysis=ancient(
            of_phase_before("results/run_{ts}/{phase}/rca_results/{ts}/metrics.json")
        ),
        manifest="results/run_{ts}/synth_pool/manifest.json",
    output:
        mining="results/run_{ts}/{lap}/routing_results/{ts}/mining_gaps.parquet",
        anomalygen="results/run_{ts}/{lap}/routing_results/{ts}/anomalygen_gaps.parquet",
        summary="results/run_{ts}/{lap}/routing_results/{ts}/routing_summary.txt",
        report="results/run_{ts}/{lap}/routing_results/{ts}/Routing_Report.md",
        record="results/run_{ts}/{lap}/routing_results/{ts}/routing.json",
    log:
        "results/run_{ts}/logs/{lap}_route.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        mode=config["routing"],
        drawn=verbatim(json.dumps(config["anomalygen_labels"])),
        allowed=verbatim(json.dumps(config["allow_unrouted"])),
        laps=no_trigger(config["max_iterations"]),
        logic=logic("route"),
    message:
        "{wildcards.lap}: route the gaps"
    shell:
        'python "$DEFT_HOME/scripts/route.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} --mode {params.mode} --anomalygen-labels {params.drawn:q}"
        " --allow-unrouted {params.allowed:q} --gaps {input.gaps:q} --analysis {input.analysis:q}"
        " --manifest {input.manifest:q} --mining {output.mining:q}"
        " --anomalygen {output.anomalygen:q} --summary {output.summary:q}"
        " --report {output.report:q}"
        " --max-iterations {params.laps} --log {log:q}"


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
        laps=no_trigger(config["max_iterations"]),
        logic=logic("ingest"),
    message:
        "{wildcards.lap}: check the pre-generated pairs"
    shell:
        'python "$DEFT_HOME/scripts/ingest.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.lap} --manifest {input.manifest:q} --summary {output.summary:q}"
        " --max-iterations {params.laps} --log {log:q}"
