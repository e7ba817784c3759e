"""Settings of where and how a run is computed, and of its goal."""

from __future__ import annotations

from typing import Any, Literal

from deft.settings.model.declaration import CONTAINERS, EMBEDDING, TRAINING, Group, setting

ON_A_DEVICE = (
    f"{TRAINING} infer embed_shard mine rank_labels encoder_selftest export_best accept score "
    "explore doctor"
)


class Where(Group):
    """where"""

    workspace: str = setting(
        "~/workspace",
        "the folder that holds specs/, train/, kpi/, augmentation/; its path without {…}",
        read_by="snakemake",
        approval="no",
        min_length=1,
    )
    run: str | None = setting(
        None,
        "null = the current run (results/current_run); new = start another; or the name of a run: "
        "run_ and letters, digits, _ . -",
        read_by="snakemake",
        approval="no",
    )
    engine: Literal["native", "tao"] = setting(
        "native",
        "native = PyTorch here | tao = NVIDIA's containers",
        read_by="snakemake stage_pool measure_parts train restore_weights infer rca embed_shard "
        "mine validate rank_labels export_best accept noise_floor encoder_selftest",
    )
    container_runtime: Literal["docker", "podman"] = setting(
        "docker",
        "engine tao: docker | podman, looked up on PATH",
        read_by=CONTAINERS,
        approval="no",
        engine="tao",
    )
    container_user: Literal["caller", "root"] = setting(
        "caller",
        "engine tao: caller = your user and group | root = as NVIDIA runs them; the files are "
        "given to you afterwards",
        read_by=CONTAINERS,
        approval="no",
        engine="tao",
    )
    container_shm: str = setting(
        "8g",
        "engine tao: size of a container's /dev/shm; with less the loader's workers die of a bus "
        "error",
        unit="bytes, or b, k, m, g",
        read_by=CONTAINERS,
        approval="no",
        engine="tao",
        pattern="^[1-9][0-9]*[bkmg]?$",
    )
    tao_release: Literal["7.1.0", "7.2.0"] | None = setting(
        None,
        "engine tao: 7.1.0 | 7.2.0, the images of config/images.yaml; null = 7.1.0",
        read_by=f"train infer rca {EMBEDDING}",
        approval="when set",
        engine="tao",
    )
    tao_pyt_image: str | None = setting(
        None,
        "engine tao: another image than config/images.yaml's pyt",
        read_by="train infer",
        engine="tao",
        pattern="^[a-z0-9][A-Za-z0-9._/:@-]+$",
    )
    tao_data_services_image: str | None = setting(
        None,
        "engine tao: another than its data_services",
        read_by=f"rca {EMBEDDING}",
        engine="tao",
        pattern="^[a-z0-9][A-Za-z0-9._/:@-]+$",
    )
    device: Literal["auto", "cpu", "cuda"] = setting(
        "auto", "auto | cpu | cuda", read_by=ON_A_DEVICE
    )
    container: str | None = setting(
        None,
        "image of every job with --sdm apptainer: a .sif file or docker://…, made from the "
        "Dockerfile (docs/environments.md)",
        read_by="snakemake",
        approval="no",
        pattern=r"^[\w.~/][\w./:@%+=,~-]*$",
    )
    runtime: Literal["torch", "onnx"] = setting(
        "torch",
        "inference by torch | onnx (ONNX Runtime); training is torch's",
        read_by="infer",
        engine="native",
    )
    int8: bool = setting(
        False, "hand off an int8 form too, if it turns no KPI decision", read_by="export_best"
    )
    seed: int = setting(
        0,
        "of sampling, augmentation and initial weights",
        read_by=f"{TRAINING} mine finish demo_workspace import_deeppcb import_folder_plan "
        "import_folder explore",
        ge=0,
        le=2**31 - 1,
    )
    start: Literal["base", "best"] | None = setting(
        None,
        "where a new run begins: base (null) = its baseline is trained | best = the baseline is "
        "the model promoted last, or the champion that is named, and its mined rows stay "
        "(docs/weekly.md)",
        read_by="gate mine assemble",
        approval="when set",
        engine="native",
    )
    live_report: bool = setting(
        True,
        "render the report after each stage and within long ones, by a process of low priority",
        read_by="snakemake",
        approval="no",
    )
    mlflow_uri: str | None = setting(
        None,
        "log the run to MLflow: http(s)://…, sqlite:///PATH, postgresql://… or a folder; null = no "
        "(docs/mlflow.md)",
        read_by="snakemake mlflow_phase mlflow_run",
        approval="no",
        min_length=1,
    )
    mlflow_experiment: str = setting(
        "deft-aoi",
        "MLflow's experiment that the run is put into",
        read_by="mlflow_phase mlflow_run",
        approval="no",
        min_length=1,
        max_length=256,
    )


class Goal(Group):
    """the goal"""

    kpi: str = setting(
        "FAR < 0.1% at recall=100%",
        "a sentence; FAR = good parts rejected / all good parts",
        read_by=f"decide evaluate rca accept {TRAINING} import_folder_plan import_folder",
        min_length=1,
    )
    metric_contract: dict[str, Any] | None = setting(
        None,
        "null = FAR as kpi says | another metric, as NVIDIA's metric_contract has it (by "
        "--configfile): docs/metric.md",
        read_by="measure decide",
        approval="when set",
    )
    metric_timeout_s: int = setting(
        1800,
        "a metric_contract's command is ended after so long",
        unit="s",
        read_by="measure",
        approval="no",
        ge=1,
        le=604_800,
    )
    best_phase: Literal["lowest_far", "proven"] | None = setting(
        None,
        "what is handed off: lowest_far (null) = the contract's | proven = a later phase only "
        "where it is better than the best before by McNemar's test (docs/noise.md)",
        read_by="decide",
        approval="when set",
    )
    noise_trainings: int | None = setting(
        None,
        "further trainings of the base table with other seeds, for the noise floor "
        "(docs/noise.md); null = none",
        unit="trainings",
        read_by="noise_floor",
        approval="when set",
        engine="native",
        ge=2,
        le=100,
    )
    champion: str | None = setting(
        None,
        "the model in production, which the acceptance set compares the new one with: a "
        "best_model/ folder or a .pth file; null = the one promoted last here "
        "(docs/acceptance.md)",
        read_by="accept gate",
        approval="when set",
        min_length=1,
    )
    champion_spec: str | None = setting(
        None,
        "the inference spec of a champion that is a .pth file; its eval_margin is the threshold",
        read_by="accept",
        approval="when set",
        min_length=1,
    )
    promotion_margin_pct: float | None = setting(
        None,
        "at most so many defects in a hundred may newly be missed by a model that is promoted; "
        "null = 5",
        unit="%",
        read_by="accept",
        approval="when set",
        gt=0,
        le=50,
    )
    max_iterations: int = setting(
        3, "laps after the baseline", unit="laps", read_by="snakemake decide", ge=0, le=50
    )
    approve: bool = setting(
        False, "true = approve the pre-flight summary unattended", read_by="gate", approval="no"
    )
    state_version: Literal[2, 4] | None = setting(
        None,
        "form of deft_state.json: 2 | 4 (the newer form of NVIDIA's tools); null = that of a run "
        "of theirs that goes on here, else 2",
        read_by="gate",
        approval="when set",
    )
