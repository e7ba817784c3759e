"""What the jobs of the loop read: input functions that walk from phase to phase."""


def phases_upto(phase):
    """`baseline` … `phase`."""
    return [layout.phase_name(n) for n in range(layout.phase_number(phase) + 1)]


# What is read of another phase, by its place; `phase` is filled in by the functions below.
COMBINED = "results/run_{ts}/{phase}/dataset/train_combined_{phase}.csv"
INFERENCE = "results/run_{ts}/{phase}/inference/inference.json"
SCORES = "results/run_{ts}/{phase}/inference/{kind}/inference.csv"
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


def scores_of_phase_before(wildcards):
    """Both inference tables of the phase before; the baseline has none."""
    found = [
        of_phase_before(SCORES.replace("{kind}", kind))(wildcards)
        for kind in ("best_val", "latest")
    ]
    return [path for path in found if path]


def history_before(wildcards):
    """The history up to the lap before, where mining looks at it."""
    if not HISTORY:
        return []
    return of_lap_before(HISTORY["history"].replace("{lap}", "{phase}"))(wildcards)


def history_file(wildcards, output):
    """The mining history that a lap writes, the rest of its files beside it; none by default."""
    return output["history"] if HISTORY else ""


def gate_of_staging(wildcards):
    """The gate; its passing puts a pool aside that other tools staged, so ours is then made."""
    gate = GATE.format(ts=wildcards.ts)
    elsewhere = deft_handover.staged_elsewhere(
        WORKSPACE / gate.partition("/preflight/")[0]
    )
    return gate if elsewhere else ancient(gate)


def encoder_inputs(wildcards):
    """Metrics of the baseline when its own weights are the encoder, else nothing."""
    if config["encoder"] != "changenet":
        return []
    return f"results/run_{wildcards.ts}/baseline/metrics.json"


def encoder_scores(wildcards):
    """The baseline's scores, new when its weights are; its metrics are also new for corrected labels."""
    if config["encoder"] == "changenet":
        return f"results/run_{wildcards.ts}/baseline/inference/inference.json"
    return []


def embed_pool_logic():
    """Version of the embedding's logic; with it the recall that chose the baseline's weights."""
    chosen_at = config["encoder"] == "changenet" and MIN_RECALL != 1
    return (
        f"{logic('embed_pool')}-recall{MIN_RECALL}"
        if chosen_at
        else logic("embed_pool")
    )


def base_tables(wildcards):
    """Digest of the base tables: training and validation, or validation alone after the baseline."""
    if wildcards.phase == layout.BASELINE:
        names = (layout.SPEC, layout.BASE_TABLE, layout.VALIDATION_TABLE)
        found = with_corrections(content_digest(*names), "training")
    else:
        found = content_digest(layout.SPEC, layout.VALIDATION_TABLE)
    return with_replaced(wildcards, found, "base", "validation")


def scored_tables(wildcards):
    """Digest of the spec and the KPI table, and of its replaced pictures."""
    return with_replaced(
        wildcards, content_digest(layout.SPEC, layout.KPI_TABLE), "kpi"
    )


def measured_tables(wildcards):
    """Digest of the spec and the tables whose parts are measured, and of replaced pictures."""
    names = (layout.SPEC, layout.KPI_TABLE, layout.BASE_TABLE)
    return with_replaced(wildcards, content_digest(*names), "kpi", "base")


def facts_of_parts(pattern):
    """What `rca` reads of the facts: `ancient`, unless they are to be measured of newer tables.

    Below a job that must run, Snakemake looks for no other reason, and from that job it does not
    go on over ancient files: the analysis of the new scores, and all behind it, would be overlooked
    until the next command. Facts that are newer than the analysis (a run of a version that had
    none), or of another logic, are no reason to make it again.
    """

    def path(wildcards):
        facts = pattern.format(ts=wildcards.ts)
        made = (
            f"results/run_{wildcards.ts}/{wildcards.phase}/rca_results/{wildcards.ts}"
        )
        measured, analysed = changed_at(facts), changed_at(f"{made}/threshold.txt")
        tables = [layout.SPEC, layout.KPI_TABLE, layout.BASE_TABLE]
        run = f"results/run_{wildcards.ts}"
        if digest_of_tables(WORKSPACE / run, "kpi", "base"):
            tables.append(f"{run}/{REPLACED_FILE}")
        newest = max(map(changed_at, tables))
        return (
            facts if 0 < measured <= analysed and measured < newest else ancient(facts)
        )

    return path


def changed_at(name):
    """When a file below the workspace was written; 0 where there is none."""
    path = WORKSPACE / name
    return path.stat().st_mtime if path.is_file() else 0


def with_replaced(wildcards, value, *tables):
    """A parameter with the digest of tables' replaced pictures; itself where there are none."""
    found = digest_of_tables(WORKSPACE / f"results/run_{wildcards.ts}", *tables)
    return f"{value}-pictures-{found}" if found else value


def metric_asked():
    """What a measurement depends on; targets and operators only judge it."""
    return json.dumps(METRIC.asked(), sort_keys=True) if METRIC else ""


def with_corrections(value, table):
    """A parameter with the digest of a table's corrections; itself where there are none."""
    found = corrections.digest(corrections.of_table(CORRECTIONS, table))
    return f"{value}-{found}" if found else value


def assembled_tables(wildcards):
    """Digest of the base table as it is corrected."""
    return with_corrections(content_digest(layout.BASE_TABLE), "training")


def mined_tables(wildcards):
    """Digest of the tables that mining compares with, and of what counts in the lap's pool."""
    names = (layout.BASE_TABLE, layout.VALIDATION_TABLE, layout.KPI_TABLE)
    value = with_corrections(content_digest(*names), "training")
    run_dir = WORKSPACE / f"results/run_{wildcards.ts}"
    found = digest_upto(WORKSPACE, run_dir, wildcards.lap, CORRECTIONS)
    return f"{value}-{found}" if found else value


def doubted_tables(wildcards):
    """Digest of the tables whose labels are ranked, and of all corrections and confirmations."""
    names = (layout.SPEC, layout.BASE_TABLE, layout.KPI_TABLE, layout.CORRECTIONS)
    pool = deft_digest.pool_prefix(WORKSPACE / f"results/run_{wildcards.ts}")
    return f"{content_digest(*names)}-{pool}"


def newest_phase():
    """The last phase of the run that is evaluated; the baseline before any is."""
    found = (WORKSPACE / run_file("")).glob("iter*/metrics.json")
    laps = [layout.phase_number(path.parent.name) for path in found]
    return layout.phase_name(max(laps, default=0))


def evaluate_logic(wildcards):
    """Version of the evaluation's logic with the KPI labels that are corrected.

    What else reads a phase's metrics takes them as `ancient`, but for the decision: corrected KPI
    labels judge the laps anew, and train none again. A lap is made again by what its analysis
    reads: scores and the required recall.
    """
    return with_corrections(logic("evaluate"), "kpi")


def decision_inputs(wildcards):
    """Metrics of all phases so far, or what mining found beside the last word on the KPI."""
    root = f"results/run_{wildcards.ts}"
    if wildcards.question == "kpi":
        phases = phases_upto(wildcards.phase)
        metrics = [f"{root}/{phase}/metrics.json" for phase in phases]
        # Asked for so that a phase that an earlier version evaluated is evaluated once more: its
        # outputs are not all there, and until they are Snakemake compares no parameters.
        picture = f"{root}/{wildcards.phase}/inference/best_val/confusion_matrix_recall_100.png"
        results = [f"{root}/{phase}/metric_result.json" for phase in phases if METRIC]
        scored = phases if PROVEN else []  # only what is proven is asked of the scores
        kinds = ("best_val", "latest")
        tables = [
            f"{root}/{phase}/inference/{kind}/inference.csv"
            for phase in scored
            for kind in kinds
        ]
        return {
            "metrics": metrics,
            "inference": [
                ancient(f"{root}/{phase}/inference/inference.json") for phase in scored
            ],
            "scores": [ancient(table) for table in tables],
            "evaluated": ancient(picture),
            "results": results,
            "mining": [],
            "previous": [],
        }
    before = layout.previous_phase(wildcards.phase)
    return {
        "metrics": [],
        "inference": [],
        "scores": [],
        "evaluated": [],
        "results": [],
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


def mlflow_of_lap(number):
    """What logs a lap, as soon as its page is made."""
    page = page_of_lap(number)
    return lambda wildcards: page(wildcards) and page(wildcards).replace(
        "report.html", "mlflow.json"
    )


def mlflow_wanted():
    """What `all` asks for beside the run itself, where it is logged."""
    if not config["mlflow_uri"]:
        return []
    laps = map(mlflow_of_lap, range(config["max_iterations"] + 1))
    return [run_file("mlflow.json"), *laps]


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
        "results": [f"{root}/{phase}/metric_result.json" for phase in phases if METRIC],
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


def noise_tables(wildcards):
    """Digest of what the noise floor trains and scores: base, validation and KPI tables."""
    names = (
        layout.SPEC,
        layout.BASE_TABLE,
        layout.VALIDATION_TABLE,
        layout.KPI_TABLE,
    )
    value = with_corrections(content_digest(*names), "training")
    return with_replaced(wildcards, value, "base", "validation", "kpi")


def noise(wildcards):
    """How much trainings of one table differ, where that is asked for."""
    if config["noise_trainings"] is None:
        return []
    return f"results/run_{wildcards.ts}/{layout.NOISE_FILE}"


def accepted(wildcards):
    """What the sealed acceptance set said of the hand-off; nothing where there is no set."""
    if not (WORKSPACE / layout.ACCEPTANCE_TABLE).is_file():
        return []
    return f"results/run_{wildcards.ts}/{layout.ACCEPTANCE_FILE}"


def trained_table_of_best(wildcards):
    """The combined table of the best phase; of the baseline what the run began with, if anything."""
    decision = finished_phases(wildcards)[2]
    phase = decision["best_phase"]
    if phase == layout.BASELINE:
        started = config["start"] == "best"
        return f"results/run_{wildcards.ts}/start/carried.csv" if started else []
    return COMBINED.format(ts=wildcards.ts, phase=phase)


def start_of_first_lap(wildcards):
    """What a run has of the promoted model that it goes on from; the first lap adds to its rows."""
    first = layout.phase_number(wildcards.lap) == 1
    if config["start"] != "best" or not first:
        return []
    return f"results/run_{wildcards.ts}/{layout.START_FILE}"


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
