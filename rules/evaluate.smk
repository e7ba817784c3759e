"""From scores to the KPI and the stop decision.

Needs: both inference tables of a phase, its weights. Makes: `metrics.json` and the files beside each
table; `decide/*.json`, the only checkpoint, which the loop's length hangs on.
"""

KIND_FILES = [
    "threshold_metrics.csv",
    "summary.txt",
    "score_distribution.png",
    "confusion_recall_point.png",
    "confusion_best_f1.png",
    "best_f1_missed_no_pass_samples.csv",
]


rule evaluate:
    input:
        gate=ancient(GATE),
        facts="results/run_{ts}/{phase}/inference/inference.json",
        weights="results/run_{ts}/{phase}/train/weights.json",
        best_val=ancient("results/run_{ts}/{phase}/inference/best_val/inference.csv"),
        latest=ancient("results/run_{ts}/{phase}/inference/latest/inference.csv"),
        previous=ancient(of_phase_before("results/run_{ts}/{phase}/metrics.json")),
    output:
        *[
            in_report(
                f"results/run_{{ts}}/{{phase}}/inference/{kind}/{name}",
                "KPI",
                weights=kind,
                file=name,
            )
            for kind in ("best_val", "latest")
            for name in KIND_FILES
        ],
        metrics="results/run_{ts}/{phase}/metrics.json",
    log:
        "results/run_{ts}/logs/{phase}_evaluate.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        min_recall=MIN_RECALL,
        laps=no_trigger(config["max_iterations"]),
        logic=logic("evaluate"),
    message:
        "{wildcards.phase}: KPI"
    shell:
        'python "$DEFT_HOME/scripts/evaluate.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --min-recall {params.min_recall} --gate {input.gate:q}"
        " --inference {input.facts:q} --weights {input.weights:q} --metrics {output.metrics:q}"
        " --previous={input.previous:q}"
        " --max-iterations {params.laps} --log {log:q}"


checkpoint decide:
    input:
        unpack(decision_inputs),
        gate=ancient(GATE),
    output:
        decision="results/run_{ts}/{phase}/decide/{question}.json",
    log:
        "results/run_{ts}/logs/{phase}_decide_{question}.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        kpi=config["kpi"],
        laps=config["max_iterations"],
        logic=logic("decide"),
    message:
        "{wildcards.phase}: stop? ({wildcards.question})"
    shell:
        'python "$DEFT_HOME/scripts/decide.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --question {wildcards.question} --kpi={params.kpi:q}"
        " --metrics {input.metrics:q} --mining={input.mining:q} --previous={input.previous:q}"
        " --decision {output.decision:q}"
        " --max-iterations {params.laps} --log {log:q}"
