"""What the jobs of the loop read: input functions that walk from phase to phase."""


def phases_upto(phase):
    """`baseline` … `phase`."""
    return [layout.phase_name(n) for n in range(layout.phase_number(phase) + 1)]


# What is read of another phase, by its place; `phase` is filled in by the functions below.
COMBINED = "results/run_{ts}/{phase}/dataset/train_combined_{phase}.csv"
PROVENANCE = "results/run_{ts}/{phase}/dataset/train_combined_{phase}_provenance.csv"


def phase_of(wildcards):
    """The phase that a job works for, whichever of the two wildcards names it."""
    return wildcards.get("phase") or wildcards.lap


def of_lap(pattern):
    """A file of the very lap; the baseline has none."""

    def found(wildcards):
        phase = phase_of(wildcards)
        if phase == layout.BASELINE:
            return []
        return pattern.format(ts=wildcards.ts, phase=phase)

    return found


def of_phase_before(pattern):
    """A file of the phase before; the baseline has none."""

    def found(wildcards):
        phase = phase_of(wildcards)
        if phase == layout.BASELINE:
            return []
        return pattern.format(ts=wildcards.ts, phase=layout.previous_phase(phase))

    return found


def of_lap_before(pattern):
    """A file of the lap before; the first lap follows on the baseline, which has none."""

    def found(wildcards):
        before = layout.previous_phase(wildcards.lap)
        if before == layout.BASELINE:
            return []
        return pattern.format(ts=wildcards.ts, phase=before)

    return found


def encoder_inputs(wildcards):
    """Metrics of the baseline when its own weights are the encoder, else nothing."""
    if config["encoder"] == "changenet":
        return f"results/run_{wildcards.ts}/baseline/metrics.json"
    return []


def base_tables(wildcards):
    """Digest of the base tables: training and validation, or validation alone after the baseline."""
    if wildcards.phase == layout.BASELINE:
        return content_digest(layout.SPEC, layout.BASE_TABLE, layout.VALIDATION_TABLE)
    return content_digest(layout.SPEC, layout.VALIDATION_TABLE)


def decision_inputs(wildcards):
    """Metrics of all phases so far, or what mining found beside the last word on the KPI."""
    root = f"results/run_{wildcards.ts}"
    if wildcards.question == "kpi":
        phases = phases_upto(wildcards.phase)
        metrics = [f"{root}/{phase}/metrics.json" for phase in phases]
        return {"metrics": metrics, "mining": [], "previous": []}
    before = layout.previous_phase(wildcards.phase)
    return {
        "metrics": [],
        "mining": f"{root}/{wildcards.phase}/mining_filter/mining.json",
        "previous": f"{root}/{before}/decide/kpi.json",
    }


def read_decision(wildcards_ts, phase, question):
    """File and content of a decision, the only checkpoint, read once it is made."""
    done = checkpoints.decide.get(ts=wildcards_ts, phase=phase, question=question)
    with done.output.decision.open() as handle:
        return str(done.output.decision), json.load(handle)


def finished_phases(wildcards):
    """Walk the decisions lap by lap: the phases of the finished loop, the files, the last word."""
    phases, files = [], []
    for number in range(config["max_iterations"] + 1):
        phases.append(layout.phase_name(number))
        asked = [(phases[-1], "kpi"), (layout.phase_name(number + 1), "pool")]
        for phase, question in asked:
            file, decision = read_decision(wildcards.ts, phase, question)
            files.append(file)
            if decision["stop"]:
                return phases, files, decision
    return phases, files, decision


def page_of_lap(number):
    """The page of a lap, known as soon as its decision is made; nothing once the loop has ended.

    One function a lap: Snakemake puts off each for itself until its decisions are there.
    """

    def found(wildcards):
        ts = RUN.removeprefix("run_")
        for each in range(number + 1):
            phase = layout.phase_name(each)
            asked = [(phase, "kpi")]
            if each < number:
                asked.append((layout.phase_name(each + 1), "pool"))
            for at, question in asked:
                stop = read_decision(ts, at, question)[1]["stop"]
                if stop and each < number:
                    return []
        return run_file(f"{phase}/report.html")

    return found


def rca_of_page(wildcards):
    """The analysis that a phase's page shows: made if a lap follows, and of the best phase."""
    decision = read_decision(wildcards.ts, wildcards.phase, "kpi")[1]
    if decision["stop"] and decision["best_phase"] != wildcards.phase:
        return []
    root = f"results/run_{wildcards.ts}/{wildcards.phase}"
    return f"{root}/rca_results/{wildcards.ts}/metrics.json"


def finish_inputs(wildcards):
    """All that the hand-off reads: every phase's report, the decisions, the best phase's RCA."""
    phases, files, decision = finished_phases(wildcards)
    root = f"results/run_{wildcards.ts}"
    best = decision["best_phase"]
    return {
        "reports": [f"{root}/{phase}/report.html" for phase in phases],
        "summaries": [f"{root}/{phase}_summary.md" for phase in phases],
        "metrics": [f"{root}/{phase}/metrics.json" for phase in phases],
        "decision": files[-1],
        # A loop that ended sooner, under another target, has ended by one of these.
        "on_the_way": files[:-1],
        "rca": f"{root}/{best}/rca_results/{wildcards.ts}/metrics.json",
    }


def export_inputs(wildcards):
    """What the best model is chosen by (metrics, the last decision), and the scores it must give."""
    found = finish_inputs(wildcards)
    best = Path(found["rca"]).parents[2]
    kinds = ("best_val", "latest")
    return {
        "metrics": found["metrics"],
        "decision": found["decision"],
        "on_the_way": found["on_the_way"],
        "best": f"{best}/metrics.json",
        "inference": ancient(f"{best}/inference/inference.json"),
        "scores": [ancient(f"{best}/inference/{kind}/inference.csv") for kind in kinds],
    }


def finish_logic(wildcards):
    """Version of the hand-off's logic and, in a workspace that was moved, its present place.

    `best_model.json` holds absolute paths, so it is written again there, by this cheap job alone.
    """
    born = deft_roots.birthplace(WORKSPACE / f"results/run_{wildcards.ts}")
    here = str(WORKSPACE.resolve())
    return logic("finish") if born in (None, here) else f"{logic('finish')} at {here}"


def once_known(name):
    """An input of a job behind the last decision; not known while a lap may still follow."""
    return lambda wildcards, input: input.get(name, "unknown")
