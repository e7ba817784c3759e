"""Scoring new boards with the best model of a run, at its handed-off threshold.

Needs: `best_model/` of a finished run; a table (`--config table=FILE`) and its pictures
(`images=DIR`). Makes: `results/<run>/scored/<table>/`: the table with `score, verdict, margin`, a
summary, a page of false-call candidates; other scores that lie there are moved beside. Nobody's
declared output, so it scores each time that it is asked for; interrupted, it goes on where it was.
"""


rule score:
    log:
        run_file("logs/score.log"),
    conda:
        conda_env("torch")
    threads: all_cores
    resources:
        gpu=GPU,
        gres=GRES,
        mem_mb=8000,
        runtime=1440,
    params:
        run=RUN,
        table=verbatim(config["table"] or ""),
        images=verbatim(config["images"] or ""),
        device=config["device"],
        typed_in=TYPED_IN,
    message:
        "score new boards"
    shell:
        'python "$DEFT_HOME/scripts/score.py" --workspace . --run {params.run:q}'
        " --table={params.table:q} --images={params.images:q} --typed-in {params.typed_in:q}"
        " --device {params.device} --threads {threads} --log {log:q}"
