"""The run in MLflow, where `mlflow_uri` is set: after each lap, and whole at the end.

Needs: a phase's decision and page; at the end the record of the run and its best model. Makes:
`<phase>/mlflow.json`, `mlflow.json`: which run it is there. One run there for one here, however often
it is logged. A lap goes on where the server is away; the end does not.
"""


rule mlflow_phase:
    input:
        page="results/run_{ts}/{phase}/report.html",
    output:
        record="results/run_{ts}/{phase}/mlflow.json",
    log:
        "results/run_{ts}/logs/{phase}_mlflow.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        uri=verbatim(config["mlflow_uri"] or ""),
        experiment=verbatim(config["mlflow_experiment"]),
    message:
        "{wildcards.phase}: MLflow"
    shell:
        'python "$DEFT_HOME/scripts/track.py" --workspace . --run run_{wildcards.ts}'
        " --phase {wildcards.phase} --mlflow-uri={params.uri:q}"
        " --mlflow-experiment={params.experiment:q} --record {output.record:q} --log {log:q}"


rule mlflow_run:
    input:
        analysis="artifacts/runs/run_{ts}/analysis.json",
        model="results/run_{ts}/best_model/export.json",
    output:
        record="results/run_{ts}/mlflow.json",
    log:
        "results/run_{ts}/logs/mlflow.log",
    retries: 0
    localrule: True
    conda:
        conda_env("loop")
    params:
        uri=verbatim(config["mlflow_uri"] or ""),
        experiment=verbatim(config["mlflow_experiment"]),
    message:
        "the run in MLflow"
    shell:
        'python "$DEFT_HOME/scripts/track.py" --workspace . --run run_{wildcards.ts}'
        " --mlflow-uri={params.uri:q} --mlflow-experiment={params.experiment:q}"
        " --record {output.record:q} --log {log:q}"


rule mlflow:
    input:
        run_file("mlflow.json"),
    localrule: True
    message:
        "the run in MLflow"
