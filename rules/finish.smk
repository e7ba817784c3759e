"""Reports after each phase, and the end of the loop: hand-off, lab record, last report.

Needs: metrics and decisions. A phase's page is made as soon as it is decided (`all` asks for it), its
summary at the end, from the whole run. Makes: `<phase>/report.html`, `<phase>_summary.md`, `best_model/`,
`best_model.json`, `best_model_inference_spec{,_host}.yaml`, `artifacts/runs/<run>/`.
`DEFT_Loop_Report.html` is rendered by all but the export and by `report`, and is nobody's declared
output. Outputs of the hand-off are marked `update`: Snakemake then keeps them when a job fails.
"""


rule phase_report:
    input:
        gate=ancient(GATE),
        metrics="results/run_{ts}/{phase}/metrics.json",
        decision="results/run_{ts}/{phase}/decide/kpi.json",
        rca=ancient(rca_of_page),
    output:
        page=in_report(
            "results/run_{ts}/{phase}/report.html", "Phases", file="report.html"
        ),
    log:
        "results/run_{ts}/logs/{phase}_report.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    message:
        "{wildcards.phase}: report"
    shell:
        'python "$DEFT_HOME/scripts/report.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --log {log:q}"


rule phase_summary:
    input:
        gate=ancient(GATE),
        metrics="results/run_{ts}/{phase}/metrics.json",
        decision="results/run_{ts}/{phase}/decide/kpi.json",
    output:
        summary=in_report(
            "results/run_{ts}/{phase}_summary.md", "Phases", file="summary"
        ),
    log:
        "results/run_{ts}/logs/{phase}_summary.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    message:
        "{wildcards.phase}: summary"
    shell:
        'python "$DEFT_HOME/scripts/phase_summary.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --log {log:q}"


rule export_best:
    input:
        unpack(export_inputs),
        gate=ancient(GATE),
    output:
        onnx=update("results/run_{ts}/best_model/model.onnx"),
        checksum=update("results/run_{ts}/best_model/model.onnx.sha256"),
        preprocessing=update("results/run_{ts}/best_model/preprocessing.json"),
        example=update("results/run_{ts}/best_model/score_pair.py"),
        reader=update("results/run_{ts}/best_model/read_picture.py"),
        scoring=update(
            expand("results/run_{{ts}}/best_model/{name}", name=layout.SCORING_FILES)
        ),
        readme=update("results/run_{ts}/best_model/README.md"),
        facts=update("results/run_{ts}/best_model/export.json"),
    log:
        "results/run_{ts}/logs/export_best.log",
    conda:
        conda_env("torch")
    threads: 8
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        tables=scored_tables,
        decision=once_known("decision"),
        best=once_known("best"),
        scores=once_known("inference"),
        engine=no_trigger(engine_options()),
        device=no_trigger(config["device"]),
        int8=config["int8"],
        views=no_trigger(config["score_views"]),
        two_stage=no_trigger(config["score_two_stage"]),
        logic=export_best_logic(),
    message:
        "best model: ONNX, checked on the KPI set"
    shell:
        'python "$DEFT_HOME/scripts/export_best.py" --workspace . --run run_{wildcards.ts}'
        " {params.engine} --decision {params.decision:q} --metrics {params.best:q}"
        " --inference {params.scores:q} --facts {output.facts:q} --device {params.device}"
        " --threads {threads} --int8 {params.int8} --score-views {params.views}"
        " --score-two-stage {params.two_stage}"
        " --attempt {resources.try_number} --log {log:q}"


rule accept:
    input:
        gate=ancient(GATE),
        export="results/run_{ts}/best_model/export.json",
        combined=ancient(trained_table_of_best),
    output:
        record=update("results/run_{ts}/acceptance/acceptance.json"),
    log:
        "results/run_{ts}/logs/accept.log",
    conda:
        conda_env("torch")
    threads: 8
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
        try_number=lambda wildcards, attempt: attempt,
    params:
        tables=digest(layout.ACCEPTANCE_TABLE),
        kpi=verbatim(config["kpi"]),
        champion=verbatim(config["champion"] or ""),
        spec=verbatim(config["champion_spec"] or ""),
        margin=config["promotion_margin_pct"] or "null",
        engine=no_trigger(engine_options()),
        device=no_trigger(config["device"]),
        logic=reading_logic("accept"),
    message:
        "the sealed acceptance set: promote?"
    shell:
        'python "$DEFT_HOME/scripts/accept.py" --workspace . --run run_{wildcards.ts}'
        " {params.engine} --export {input.export:q} --combined {input.combined:q}"
        " --record {output.record:q} --kpi={params.kpi:q} --champion={params.champion:q}"
        " --champion-spec={params.spec:q} --promotion-margin-pct={params.margin:q}"
        " --device {params.device} --threads {threads} --attempt {resources.try_number}"
        " --log {log:q}"


rule best_model:
    input:
        run_file("best_model/export.json"),
    localrule: True
    message:
        "best model: ONNX, checked on the KPI set"


rule finish:
    input:
        unpack(finish_inputs),
        gate=ancient(GATE),
        onnx="results/run_{ts}/best_model/export.json",
        accepted=accepted,
        noise=noise,
    output:
        best=update("results/run_{ts}/best_model.json"),
        spec=update("results/run_{ts}/best_model_inference_spec.yaml"),
        host_spec=update("results/run_{ts}/best_model_inference_spec_host.yaml"),
        card=update("results/run_{ts}/model_card.md"),
        manifest=update("artifacts/runs/run_{ts}/manifest.json"),
        summary=update("artifacts/runs/run_{ts}/summary.json"),
        analysis=update("artifacts/runs/run_{ts}/analysis.json"),
    log:
        "results/run_{ts}/logs/finish.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        decision=once_known("decision"),
        seed=config["seed"],
        logic=finish_logic,
    message:
        "hand-off, lab record and final report"
    shell:
        'python "$DEFT_HOME/scripts/finish.py" --workspace . --run run_{wildcards.ts}'
        " --decision {params.decision:q} --seed {params.seed} --log {log:q}"


rule report:
    log:
        run_file("logs/report.log"),
    localrule: True
    conda:
        conda_env("loop")
    params:
        run=RUN,
    message:
        "render DEFT_Loop_Report.html again"
    shell:
        'python "$DEFT_HOME/scripts/report.py" --workspace . --run {params.run:q}'
        " --log {log:q}"


rule check_quotes:
    log:
        run_file("logs/check_quotes.log"),
    localrule: True
    conda:
        conda_env("loop")
    params:
        run=RUN,
        files=verbatim(config["quote_files"] or ""),
    message:
        "compare quoted numbers with analysis.json"
    shell:
        'python "$DEFT_HOME/scripts/check_quotes.py" --workspace . --run {params.run:q}'
        " --files={params.files:q} --log {log:q}"
