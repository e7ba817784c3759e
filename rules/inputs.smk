"""What the jobs of the loop read: input functions that walk from phase to phase."""


def phases_upto(phase):
    """`baseline` … `phase`."""
    return [layout.phase_name(n) for n in range(layout.phase_number(phase) + 1)]


def previous_rca(wildcards):
    """Gaps of the phase before the wildcard `lap`."""
    before = layout.previous_phase(wildcards.lap)
    return f"results/run_{wildcards.ts}/{before}/rca_results/{wildcards.ts}/kpi_gaps.parquet"


def previous_assembly(wildcards):
    """`assembly.json` of the previous iteration; iteration 1 starts from the base table."""
    before = layout.previous_phase(wildcards.lap)
    if before == layout.BASELINE:
        return []
    return f"results/run_{wildcards.ts}/{before}/dataset/assembly.json"


def encoder_inputs(wildcards):
    """Metrics of the baseline when its own weights are the encoder, else nothing."""
    if config["encoder"] == "changenet":
        return f"results/run_{wildcards.ts}/baseline/metrics.json"
    return []


def train_inputs(wildcards):
    """Tables and first weights of a training; the baseline needs the gate alone."""
    if wildcards.phase == layout.BASELINE:
        return {}
    root = f"results/run_{wildcards.ts}"
    before = layout.previous_phase(wildcards.phase)
    return {
        "validated": f"{root}/{wildcards.phase}/dataset/validation.json",
        "previous": f"{root}/{before}/metrics.json",
    }


def base_tables(wildcards):
    """Digest of the base tables: training and validation, or validation alone after the baseline."""
    if wildcards.phase == layout.BASELINE:
        return content_digest(layout.SPEC, layout.BASE_TABLE, layout.VALIDATION_TABLE)
    return content_digest(layout.SPEC, layout.VALIDATION_TABLE)


def decision_inputs(wildcards):
    """Metrics of all phases so far, or what mining found beside the last word on the KPI."""
    root = f"results/run_{wildcards.ts}"
    if wildcards.question == "kpi":
        return [
            f"{root}/{phase}/metrics.json" for phase in phases_upto(wildcards.phase)
        ]
    before = layout.previous_phase(wildcards.phase)
    return [
        f"{root}/{wildcards.phase}/mining_filter/mining.json",
        f"{root}/{before}/decide/kpi.json",
    ]


def read_decision(wildcards_ts, phase, question):
    """Decision of the only checkpoint, read once it is made."""
    done = checkpoints.decide.get(ts=wildcards_ts, phase=phase, question=question)
    with done.output.decision.open() as handle:
        return json.load(handle)


def finished_phases(wildcards):
    """Walk the decisions lap by lap; returns the phases of the finished loop and the last word."""
    phases = []
    for number in range(config["max_iterations"] + 1):
        phase = layout.phase_name(number)
        phases.append(phase)
        decision = read_decision(wildcards.ts, phase, "kpi")
        if decision["stop"]:
            break
        lap = layout.phase_name(number + 1)
        pool = read_decision(wildcards.ts, lap, "pool")
        if pool["stop"]:
            decision = pool
            break
    return phases, decision


def finish_inputs(wildcards):
    """All that the hand-off reads: every phase's report, the decisions, the best phase's RCA."""
    phases, decision = finished_phases(wildcards)
    root = f"results/run_{wildcards.ts}"
    best = decision["best_phase"]
    question = "pool" if decision["reason"] == "pool_exhausted" else "kpi"
    return {
        "reports": [f"{root}/{phase}/report.html" for phase in phases],
        "metrics": [f"{root}/{phase}/metrics.json" for phase in phases],
        "decision": f"{root}/{decision['phase']}/decide/{question}.json",
        "rca": f"{root}/{best}/rca_results/{wildcards.ts}/metrics.json",
    }


def export_inputs(wildcards):
    """What the best model is chosen by: every phase's metrics and the last decision."""
    found = finish_inputs(wildcards)
    return {name: found[name] for name in ("metrics", "decision")}


def finish_logic(wildcards):
    """Version of the hand-off's logic and, in a workspace that was moved, its present place.

    `best_model.json` holds absolute paths, so it is written again there, by this cheap job alone.
    """
    born = deft_roots.birthplace(WORKSPACE / f"results/run_{wildcards.ts}")
    here = str(WORKSPACE.resolve())
    return logic("finish") if born in (None, here) else f"{logic('finish')} at {here}"


def last_decision(wildcards, input):
    """The decision that ended the loop; not known while a lap may still follow."""
    return input.get("decision", "unknown")
