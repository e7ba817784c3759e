"""Every check, one summary, one approval.

Needs: the workspace. Makes: `preflight/` of the run. `gate` lets the loop pass only with a valid
approval of exactly these inputs and parameters; a later command that finds others passes it again
before its first job (`pass_gate_again`).
"""

# Of a run that goes on from a promoted model.
STARTED_FROM = (
    {
        name: update(f"results/run_{{ts}}/start/{file}")
        for name, file in (
            ("start", "start.json"),
            ("carried", "carried.csv"),
            ("carried_provenance", "carried_provenance.csv"),
        )
    }
    if config["start"] == "best"
    else {}
)


rule preflight:
    log:
        run_file("logs/preflight.log"),
    localrule: True
    conda:
        conda_env("torch")
    params:
        run=RUN,
    message:
        "check everything and print the Pre-Flight Summary"
    shell:
        'python "$DEFT_HOME/scripts/preflight.py" --workspace . --run-dir results/{params.run:q}'
        " --log {log:q}"


rule approve:
    log:
        run_file("logs/approve.log"),
    localrule: True
    conda:
        conda_env("torch")
    params:
        run=RUN,
    message:
        "record the approval of the summary"
    shell:
        'python "$DEFT_HOME/scripts/approve.py" --workspace . --run-dir results/{params.run:q}'
        " --log {log:q}"


rule gate:
    output:
        **STARTED_FROM,
        gate=GATE,
    log:
        "results/run_{ts}/logs/gate.log",
    retries: 0
    localrule: True
    conda:
        conda_env("torch")
    message:
        "gate: pre-flight and approval"
    shell:
        'python "$DEFT_HOME/scripts/gate.py" --workspace . --run-dir results/run_{wildcards.ts}'
        " --log {log:q}"
