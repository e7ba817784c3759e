"""Making a workspace: the drawn demo, the importers; its tables and its settings.

Needs: nothing, or a local copy of a data set. Makes: the folders that the loop reads.
"""


rule demo_workspace:
    log:
        "logs/demo_workspace.log",
    localrule: True
    conda:
        conda_env("torch")
    params:
        seed=config["seed"],
        options=verbatim(json.dumps(config["demo"])),
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
        options=verbatim(json.dumps(config["deeppcb"])),
        typed_in=TYPED_IN,
    message:
        "make a workspace from DeepPCB"
    shell:
        'python "$DEFT_HOME/scripts/import_deeppcb.py" --typed-in {params.typed_in:q} --out . --seed {params.seed}'
        " --config-json {params.options:q} --log {log:q}"


rule import_table:
    log:
        "logs/import_table.log",
    localrule: True
    conda:
        conda_env("loop")
    params:
        options=verbatim(json.dumps(config["import_table"])),
    message:
        "make the strict tables from files as they are"
    shell:
        'python "$DEFT_HOME/scripts/import_table.py" --workspace .'
        " --config-json {params.options:q} --log {log:q}"


rule import_folder_plan:
    log:
        "logs/import_folder_plan.log",
    localrule: True
    conda:
        conda_env("torch")
    params:
        seed=config["seed"],
        kpi=verbatim(config["kpi"]),
        options=verbatim(json.dumps(config["import_folder"])),
        typed_in=TYPED_IN,
        levels=config["picture_levels"] or 0,
    message:
        "tell what importing the data set would make"
    shell:
        'python "$DEFT_HOME/scripts/import_folder.py" --plan --out . --seed {params.seed}'
        " --typed-in {params.typed_in:q} --picture-levels {params.levels}"
        " --kpi {params.kpi:q} --config-json {params.options:q} --log {log:q}"


rule import_folder:
    log:
        "logs/import_folder.log",
    localrule: True
    conda:
        conda_env("torch")
    params:
        seed=config["seed"],
        kpi=verbatim(config["kpi"]),
        options=verbatim(json.dumps(config["import_folder"])),
        typed_in=TYPED_IN,
        levels=config["picture_levels"] or 0,
    message:
        "make a workspace from the data set"
    shell:
        'python "$DEFT_HOME/scripts/import_folder.py" --out . --seed {params.seed}'
        " --typed-in {params.typed_in:q} --picture-levels {params.levels}"
        " --kpi {params.kpi:q} --config-json {params.options:q} --log {log:q}"


rule register_pictures:
    log:
        "logs/register_pictures.log",
    localrule: True
    conda:
        conda_env("torch")
    params:
        root=verbatim(config["register_from"] or ""),
        typed_in=TYPED_IN,
        kind=config["register"] or "off",
        levels=config["picture_levels"] or 0,
    message:
        "lay test pictures on their goldens"
    shell:
        'python "$DEFT_HOME/scripts/register_pictures.py" --out . --root={params.root:q}'
        " --typed-in {params.typed_in:q} --kind {params.kind:q}"
        " --picture-levels {params.levels} --log {log:q}"


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
