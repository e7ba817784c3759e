"""What surrounds the jobs of a command: its gate, its note in the run, its last words."""

from deft.pool import digest as approval_digest

LOGGING = {"mlflow", "mlflow_run", "mlflow_phase"}
SHOWN_ALREADY = {
    *("all", "report", "check_quotes", "preflight", "approve", "gate"),
    *LOGGING,
}
LIVE_REPORT = []  # the process that renders it
MLFLOW = ("mlflow_uri", "mlflow_experiment")
# Rules that are no part of a run: when one fails, the run is left as it is.
OUTSIDE = {
    *MAKING,
    *("encoder_selftest", "prune_embeddings", "explore", "rank_labels", "label_doubts"),
    *("score", "settings", "import_table"),
    *LOGGING,
}


def void_gates():
    """Gates that jobs of this command rely on and whose approval no longer fits, by run folder.

    A gate that is made once and checked here, not a job with changing parameters: Snakemake looks
    at no job behind a job that must run, and would overlook what else has changed.
    """
    found = {}
    for name in sorted({f for job in workflow.dag.needrun_jobs() for f in job.input}):
        path = WORKSPACE / name
        if name.endswith("preflight/gate.json") and path.is_file():
            run_dir = path.parent.parent
            changes = approval_digest.changes_since_gate(WORKSPACE, run_dir, config)
            if changes:
                found[run_dir] = changes
    return found


def pass_gate_again():
    """Before the first job: an approval of these inputs and parameters, or the gate's own stop."""
    for run_dir, changes in void_gates().items():
        print(
            f"{run_dir.name}: changed since the approval: {'; '.join(changes)}",
            file=sys.stderr,
        )
        log = f"results/{run_dir.name}/logs/gate.log"
        try:
            shell(
                'python "$DEFT_HOME/scripts/gate.py" --workspace . '
                "--run-dir results/{run_dir.name:q} --log {log:q}"
            )
        except Exception:
            shell(close_command())
            sys.exit(1)


def outside_the_loop():
    """Whether this command asks only for rules that are no part of a run."""
    return {job.rule.name for job in workflow.dag.jobs} <= OUTSIDE


def only_to_be_logged():
    """Whether all that this command has left to do is to log the run: the run itself has ended."""
    left = {job.rule.name for job in workflow.dag.needrun_jobs()}
    return left <= {"all", *LOGGING}


def claim_run(logs):
    """Say which run this is and note this command, before the first job; the doctor looks at none."""
    from deft.core.disk import DiskFull
    from deft.run.jobs import note_command

    if DOCTOR or {job.rule.name for job in workflow.dag.jobs} <= {
        "explore",
        "settings",
        "import_table",
    }:
        return
    print(f"workspace {WORKSPACE} · run {RUN}", file=sys.stderr)
    name = next(filter(None, map(slurm.name_in_log, map(Path, logs))), None)
    try:
        note_command(WORKSPACE, RUN, name)
    except (
        HardStop,
        DiskFull,
    ) as error:  # without the note `make resume` could not find its jobs
        print(f"\n{error}", file=sys.stderr)
        sys.exit(getattr(error, "status", 1))
    if not workflow.local_exec and config["device"] == "auto" and not GPU_REQUEST:
        print(
            "device: auto, and the profile has no gpu_request, so no job asks for a GPU "
            "(--default-resources on the command line replaces the profile's)",
            file=sys.stderr,
        )


def start_live_report():
    """Have the report rendered while this command works on the run."""
    if DOCTOR or not config["live_report"] or outside_the_loop():
        return
    if {job.rule.name for job in workflow.dag.needrun_jobs()} - SHOWN_ALREADY:
        script = f"{HOME}/scripts/live_report.py"
        command = [sys.executable, script, "--workspace", str(WORKSPACE), "--run", RUN]
        quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        LIVE_REPORT.append(subprocess.Popen(command, **quiet))


def end_live_report():
    """No page of a run that has ended says that it works."""
    for process in LIVE_REPORT:
        process.terminate()
        process.wait()
    LIVE_REPORT.clear()


def print_result():
    """The path of the run's report, if there is one and no job of this command has said it."""
    if DOCTOR or outside_the_loop():
        return
    page = WORKSPACE / run_file("DEFT_Loop_Report.html")
    ran = {job.rule.name for job in workflow.dag.needrun_jobs(exclude_finished=False)}
    if page.is_file() and not {"finish", "report"} & ran:
        print(f"report: {page}", file=sys.stderr)


def close_run():
    """Log the end of a failed command in its run; the doctor's is no run's, it repeats its finding."""
    if not DOCTOR:
        shell(close_command())
    else:
        from deft.run.stage import take_last_stop

        print(f"\n{take_last_stop()}", file=sys.stderr)
    if BRIEF_TERMINAL:
        BRIEF_TERMINAL.over = True  # the stop is the last thing on the terminal


def close_command():
    """Shell command that logs the end of a failed run and renders the report from what is there.

    A helper that failed by itself is no end of a run: then only its stop is said again.
    """
    aside = outside_the_loop() or only_to_be_logged()
    options = ["--run", RUN, *(["--aside"] if aside else [])]
    if config["mlflow_uri"]:
        options += [f"--{key.replace('_', '-')}={config[key]}" for key in MLFLOW]
    return (
        f'python "$DEFT_HOME/scripts/close_run.py" --workspace . {shlex.join(options)}'
    )


def announce_plan():
    """A dry run sees no further than the next decision; say so, and what voided the approval."""
    # A dry run marks its jobs as finished; what was planned counts all the same.
    planned = workflow.dryrun and any(workflow.dag.needrun_jobs(exclude_finished=False))
    if not planned or DOCTOR or outside_the_loop():
        return
    last = layout.phase_name(max(1, config["max_iterations"]))
    run_dir = WORKSPACE / "results" / RUN
    last_file = run_file(f"{last}/train/weights.json")
    begin = {} if run_dir.is_dir() else {"run": RUN}
    print(
        "\nThis is the plan up to the next stop decision; more laps may follow (at most "
        f"{config['max_iterations']}).\nThe whole chain to a lap: {again('-n', last_file, **begin)}",
        file=sys.stderr,
    )
    passed = (run_dir / "preflight/gate.json").is_file()
    changes = passed and approval_digest.changes_since_gate(WORKSPACE, run_dir, config)
    if changes:
        print(
            f"changed since the approval of {RUN}: {'; '.join(changes)}",
            file=sys.stderr,
        )


if is_main_process():
    atexit.register(announce_plan)
