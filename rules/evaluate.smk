"""From scores to the KPI and the stop decision.

Needs: both inference tables of a phase, its weights. Makes: `metrics.json` and the files beside each
table; `metric_result.json` of a metric contract; `decide/*.json`, the only checkpoint, which the loop's length hangs on.
"""

KIND_FILES = [
    "metric_result.json",
    "threshold_metrics.csv",
    "summary.txt",
    "score_distribution_with_recall_100_threshold.png",
    "confusion_matrix_recall_100.png",
    "confusion_matrix_best_f1.png",
    "confusion_recall_point.png",
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
        previous_inference=ancient(of_phase_before(INFERENCE)),
        previous_scores=ancient(scores_of_phase_before),
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
        logic=evaluate_logic,
    message:
        "{wildcards.phase}: KPI"
    shell:
        'python "$DEFT_HOME/scripts/evaluate.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --min-recall {params.min_recall} --gate {input.gate:q}"
        " --inference {input.facts:q} --weights {input.weights:q} --metrics {output.metrics:q}"
        " --previous={input.previous:q} --previous-inference={input.previous_inference:q}"
        " --max-iterations {params.laps} --log {log:q}"


rule measure:
    input:
        gate=ancient(GATE),
        metrics="results/run_{ts}/{phase}/metrics.json",
        facts=ancient("results/run_{ts}/{phase}/inference/inference.json"),
        best_val=ancient("results/run_{ts}/{phase}/inference/best_val/inference.csv"),
        latest=ancient("results/run_{ts}/{phase}/inference/latest/inference.csv"),
    output:
        result="results/run_{ts}/{phase}/metric_result.json",
    log:
        "results/run_{ts}/logs/{phase}_measure.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        asked=verbatim(metric_asked()),
        programs=digest(*(METRIC.programs() if METRIC else [])),
        contract=no_trigger(json.dumps(config["metric_contract"], sort_keys=True)),
        timeout=no_trigger(config["metric_timeout_s"]),
        laps=no_trigger(config["max_iterations"]),
        logic=logic("measure"),
    message:
        "{wildcards.phase}: the metric of the contract"
    shell:
        'python "$DEFT_HOME/scripts/measure.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --contract {params.contract:q}"
        " --metric-timeout-s {params.timeout} --metrics {input.metrics:q}"
        " --inference {input.facts:q} --result {output.result:q}"
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
        kpi=verbatim(config["kpi"]),
        # Without a contract it is no parameter of a run that began before there was one.
        contract=verbatim(json.dumps(METRIC.as_dict())) if METRIC else no_trigger(""),
        best=config["best_phase"] if PROVEN else no_trigger("lowest_far"),
        laps=config["max_iterations"],
        logic=logic("decide"),
    message:
        "{wildcards.phase}: stop? ({wildcards.question})"
    shell:
        'python "$DEFT_HOME/scripts/decide.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --question {wildcards.question} --kpi={params.kpi:q}"
        " --contract={params.contract:q} --results {input.results:q}"
        " --best-phase {params.best:q} --inference {input.inference:q}"
        " --metrics {input.metrics:q} --mining={input.mining:q} --previous={input.previous:q}"
        " --decision {output.decision:q}"
        " --max-iterations {params.laps} --log {log:q}"
