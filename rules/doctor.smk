"""Is this machine fit for the loop?

Needs: nothing, not even a workspace or a valid configuration. Makes: a table on the terminal, and
`logs/doctor.json` in the workspace, if there is one.
"""


rule doctor:
    log:
        "logs/doctor.log",
    retries: 0
    localrule: True
    conda:
        conda_env("torch")
    params:
        workspace=verbatim(str(WORKSPACE_ASKED)),
        device=config["device"],
        problem=verbatim(CONFIG_PROBLEM),
        cluster=cluster_option,
    message:
        "look at this machine"
    shell:
        'python "$DEFT_HOME/scripts/doctor.py" --workspace {params.workspace:q}'
        " --device {params.device} --problem={params.problem:q} {params.cluster} --json logs/doctor.json"
        " --log {log:q}"
