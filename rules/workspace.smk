"""Making a workspace: the drawn demo, the DeepPCB importer; its tables and its settings.

Needs: nothing, or a local copy of DeepPCB. Makes: the folders that the loop reads.
"""


rule demo_workspace:
    log:
        "logs/demo_workspace.log",
    localrule: True
    conda:
        conda_env("torch")
    params:
        seed=config["seed"],
        options=json.dumps(config["demo"]),
    message:
        "draw the synthetic PCB workspace"
    shell:
        'python "$DEFT_HOME/scripts/demo_workspace.py" --out . --seed {params.seed}'
        " --config-json {params.options:q} --log {log:q}"


rule import_deeppcb:
    log:
        "logs/import_deeppcb.log",
    localrule: True
    conda:
        conda_env("torch")
    params:
        seed=config["seed"],
        options=json.dumps(config["deeppcb"]),
    message:
        "make a workspace from DeepPCB"
    shell:
        'python "$DEFT_HOME/scripts/import_deeppcb.py" --out . --seed {params.seed}'
        " --config-json {params.options:q} --log {log:q}"


rule import_table:
    log:
        "logs/import_table.log",
    localrule: True
    conda:
        conda_env("loop")
    params:
        options=json.dumps(config["import_table"]),
    message:
        "make the strict tables from files as they are"
    shell:
        'python "$DEFT_HOME/scripts/import_table.py" --workspace .'
        " --config-json {params.options:q} --log {log:q}"


rule settings:
    log:
        "logs/settings.log",
    localrule: True
    conda:
        conda_env("loop")
    message:
        "write what differs from the defaults into deft.yaml"
    shell:
        'python "$DEFT_HOME/scripts/settings.py" --workspace . --log {log:q}'
