"""A dry run changes nothing and says what it knows; lint and graphs work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow_tools import (
    NOTHING,
    REPOSITORY,
    RUN,
    changes,
    clean_environment,
    copy_of_repository,
    planned_rules,
    run_to_end,
    snakemake,
    snakemake_command,
    succeed,
    tree,
    working_folder,
)

from deft.core import layout

pytestmark = pytest.mark.workflow

HEAVY = {"train", "infer", "mine"}  # cluster jobs of a lap; embed_shard runs once per run
RESTORED = "baseline/train/model_best_003.pth"  # a name that train.checkpointer.filename gives
MODEL_FILES = [f"results/{RUN}/{name}" for name in ("iter1/train/weights.json", RESTORED)]
PARSE_LIMIT_S = 20  # a broken parse reads gigabytes or imports torch; this is no benchmark


def test_fresh_dry_run_changes_nothing(fresh: Path, tmp_path: Path) -> None:
    repository = copy_of_repository(tmp_path / "repository")
    before, code = tree(fresh), tree(repository, without=[".snakemake", "__pycache__"])
    output = succeed(snakemake(fresh, args=["-n"], repository=repository))
    assert changes(before, tree(fresh)) == {}
    assert changes(code, tree(repository, without=[".snakemake", "__pycache__"])) == {}
    assert "more laps may follow (at most 2)" in output
    assert planned_rules(output)["train"] == 1
    assert "gate" in planned_rules(output)


def test_dry_run_in_the_checkout_changes_nothing_there(fresh: Path) -> None:
    left_out = [".snakemake", "__pycache__", ".git", ".venv", ".pytest_cache", ".ruff_cache"]
    before = tree(REPOSITORY / "rules") | tree(REPOSITORY / "config")
    names = {p.name for p in REPOSITORY.iterdir()} - set(left_out)
    succeed(snakemake(fresh, args=["-n"]))
    assert tree(REPOSITORY / "rules") | tree(REPOSITORY / "config") == before
    assert {p.name for p in REPOSITORY.iterdir()} - set(left_out) == names


def test_the_whole_chain_to_a_lap(fresh: Path) -> None:
    target = f"results/{RUN}/iter2/train/weights.json"
    jobs = planned_rules(succeed(snakemake(fresh, target, args=["-n"])))
    assert jobs == {
        "gate": 1,
        "measure_parts": 1,
        "train": 3,
        "infer": 2,
        "evaluate": 2,
        "rca": 2,
        "stage_pool": 1,
        "embed_shard": 1,
        "embed_pool": 1,
        "route": 2,
        "ingest": 2,
        "mine": 2,
        "assemble": 2,
        "validate": 2,
    }


def test_at_most_three_heavy_jobs_a_lap(fresh: Path) -> None:
    def heavy(lap: int) -> Counter:
        target = f"results/{RUN}/iter{lap}/metrics.json"
        output = succeed(snakemake(fresh, target, args=["-n", "--printshellcmds"]))
        # Rules that stay on the submitting machine are printed as local ones or have no resources.
        return Counter({rule: n for rule, n in planned_rules(output).items() if rule in HEAVY})

    assert sum((heavy(2) - heavy(1)).values()) == len(HEAVY)
    local = set(re.findall(r"^    localrule: True", _rules_text(), re.MULTILINE))
    assert local, "the light rules say that they are local"
    once_a_run = {"measure_parts", "embed_shard", "restore_weights", "export_best", "accept"}
    when_asked = {"encoder_selftest", "rank_labels", "score", "noise_floor"}
    assert _rules_without_localrule() <= {*HEAVY, *once_a_run, *when_asked}


def _rules_text() -> str:
    found = sorted((REPOSITORY / "rules").glob("*.smk"))
    return "\n".join(p.read_text() for p in found if p.name != "engine_tao.smk")


def _rules_without_localrule() -> set[str]:
    """Return the rules that a cluster profile would submit."""
    found = set()
    for block in re.split(r"^(?=(?:rule|checkpoint) )", _rules_text(), flags=re.MULTILINE)[1:]:
        name = re.match(r"(?:rule|checkpoint) (\w+)", block)
        if name and "localrule: True" not in block:
            found.add(name.group(1))
    return found


def test_finished_dry_run_has_nothing_to_do(workspace: Path) -> None:
    before = tree(workspace)
    output = succeed(snakemake(workspace, args=["-n"]))
    assert NOTHING in output
    assert changes(before, tree(workspace)) == {}


def test_finished_run_does_nothing_again(workspace: Path) -> None:
    before = tree(workspace)
    assert NOTHING in succeed(snakemake(workspace))
    assert changes(before, tree(workspace)) == {}


def test_parsing_is_quick(finished: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    succeed(snakemake(finished, args=["--list-rules"], own_start=True))
    assert time.monotonic() - started < PARSE_LIMIT_S


HEAVY_MODULES = {
    *("torch", "torchvision", "timm", "faiss", "open_clip", "onnx", "onnxruntime", "numpy"),
    *("pandas", "pyarrow", "scipy", "PIL", "cv2", "matplotlib", "sklearn", "skimage", "pydantic"),
}


def test_parsing_imports_nothing_heavy() -> None:
    """Of what the Snakefile imports; Snakemake itself imports what it likes."""
    texts = [(REPOSITORY / "Snakefile").read_text(), _rules_text()]
    lines = sorted({line for text in texts for line in re.findall(IMPORT, text, re.MULTILINE)})
    assert "from deft.core import layout, places, registered" in lines
    told = f"import sys; sys.path.insert(0, {str(REPOSITORY / 'scripts')!r})\n"
    told += "\n".join(lines) + "\nprint(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert "deft" in done.stdout.split()
    assert not set(done.stdout.split()) & HEAVY_MODULES


IMPORT = r"^(?:from deft[\w.]* import .*|import (?!snakemake).*)$"
# Notes which files below a folder are opened; Python imports a module of this name at its start.
NOTING = """
import os, sys
def note(event, args):
    if event == "open" and str(args[0]).startswith({below!r}):
        os.write({handle}, (str(args[0]) + "\\n").encode())
sys.addaudithook(note)
"""


def test_parsing_reads_no_table(fresh: Path, tmp_path: Path) -> None:
    """They may be large, and every cluster job parses again.

    The pool's lines alone are counted, by the main process until the gate fixes the shards.
    """
    (tmp_path / "site").mkdir()
    log = os.open(tmp_path / "opened.txt", os.O_WRONLY | os.O_CREAT)
    hook = NOTING.format(below=f"{fresh}/", handle=log)
    (tmp_path / "site/sitecustomize.py").write_text(hook)
    environment = clean_environment() | {"PYTHONPATH": str(tmp_path / "site")}

    def opened(*args: str) -> set[str]:
        before = (tmp_path / "opened.txt").stat().st_size
        command = snakemake_command(fresh, args=args)
        folder = working_folder(fresh)
        subprocess.run(
            command, cwd=folder, env=environment, check=True, pass_fds=[log], capture_output=True
        )
        lines = (tmp_path / "opened.txt").read_text()[before:].splitlines()
        return {Path(line).relative_to(fresh).as_posix() for line in lines}

    tables = {layout.BASE_TABLE, layout.VALIDATION_TABLE, layout.KPI_TABLE, layout.POOL_TABLE}
    assert opened("--list-rules") & tables <= {layout.POOL_TABLE}
    assert opened("-n") & tables, "a plan needs their digests, and the hook works"
    os.close(log)


def test_lint_is_silent(fresh: Path) -> None:
    done = snakemake(fresh, args=["--lint"])
    assert done.returncode == 0, done.stdout


def test_rule_graph_can_be_drawn(fresh: Path) -> None:
    target = f"results/{RUN}/iter1/metrics.json"
    output = succeed(snakemake(fresh, target, args=["--rulegraph", "dot"]))
    graph = output[output.index("digraph") :]
    for rule in ("gate", "stage_pool", "train", "infer", "evaluate", "rca", "route", "mine"):
        assert f'"{rule}"' in graph
    assert graph.count("{") == graph.count("}")


@pytest.mark.parametrize("profile", ["default", "gpu", "slurm"])
def test_every_profile_plans_the_loop(fresh: Path, profile: str) -> None:
    if profile == "slurm":
        pytest.importorskip("snakemake_executor_plugin_slurm")
    args = ["-n", "--workflow-profile", str(REPOSITORY / "profiles" / profile)]
    # The gpu profile sets `device`; a value on the command line would replace the profile's.
    config = {"device": None} if profile == "gpu" else {}
    target = f"results/{RUN}/iter1/train/weights.json"
    jobs = planned_rules(succeed(snakemake(fresh, target, args=args, config=config)))
    assert jobs["train"] == 2 and jobs["mine"] == 1


def test_the_slurm_profile_needs_no_number_of_cores(fresh: Path) -> None:
    # A dry run gives itself a number; unlocking parses as a run through the executor does.
    pytest.importorskip("snakemake_executor_plugin_slurm")
    profile = str(REPOSITORY / "profiles" / "slurm")
    command = snakemake_command(fresh, args=["--workflow-profile", profile, "--unlock"])
    where = command.index("--cores")
    succeed(run_to_end(command[:where] + command[where + 2 :], working_folder(fresh)))


@pytest.mark.parametrize(
    ("profile", "device"), [("slurm", "auto"), ("slurm", "cuda"), ("gpu", None)]
)
def test_a_training_asks_for_all_its_gpus(
    fresh: Path, tmp_path: Path, profile: str, device: str | None
) -> None:
    if profile == "slurm":
        pytest.importorskip("snakemake_executor_plugin_slurm")
    _two_processes(fresh)
    args = ["--resources", "gpu=2"] if profile == "gpu" else []  # else cut to one job at a time
    args += ["-n", "--workflow-profile", str(REPOSITORY / "profiles" / profile)]
    planned = _planned_resources(
        fresh, tmp_path / "repository", *MODEL_FILES, args=args, config={"device": device}
    )
    for rule in ("train", "restore_weights"):
        assert planned[rule]["gpu"] == 2 and planned[rule]["mem_mb"] == 16000
    assert planned["infer"]["gpu"] == planned["mine"]["gpu"] == 1
    assert {resources.get("gres", "") for resources in planned.values()} == {""}


@pytest.mark.parametrize(
    ("request_", "asked"),
    [("gres", ("gpu:2", "gpu:1")), ("gres:a100", ("gpu:a100:2", "gpu:a100:1"))],
)
def test_one_value_of_the_profile_turns_gpu_into_gres(
    fresh: Path, tmp_path: Path, request_: str, asked: tuple[str, str]
) -> None:
    _two_processes(fresh)
    planned = _planned_resources(
        fresh,
        tmp_path / "repository",
        *MODEL_FILES,
        args=["-n", "--workflow-profile", str(_profile_with(tmp_path, request_))],
        config={"device": "auto"},
    )
    assert planned["train"]["gres"] == planned["restore_weights"]["gres"] == asked[0]
    assert planned["infer"]["gres"] == planned["mine"]["gres"] == asked[1]
    assert {resources.get("gpu", 0) for resources in planned.values()} == {0}


def test_a_cpu_run_asks_for_no_gpu_under_any_profile(fresh: Path, tmp_path: Path) -> None:
    for profile in ("gpu", "slurm"):
        planned = _planned_resources(
            fresh,
            tmp_path / profile,
            *MODEL_FILES,
            args=["-n", "--workflow-profile", str(REPOSITORY / "profiles" / profile)],
            config={"device": "cpu"},
        )
        asked = {(r.get("gpu", 0), r.get("gres", "")) for r in planned.values()}
        assert "train" in planned and asked == {(0, "")}


def test_an_unknown_gpu_request_is_one_line(fresh: Path, tmp_path: Path) -> None:
    args = ["-n", "--workflow-profile", str(_profile_with(tmp_path, "two cards"))]
    done = snakemake(fresh, args=args)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "HARD STOP config_invalid" in done.stdout and "gpu_request" in done.stdout


def test_every_job_asks_for_more_at_its_second_attempt(fresh: Path, tmp_path: Path) -> None:
    args = ["-n", "--workflow-profile", str(REPOSITORY / "profiles" / "slurm")]
    config = {"device": "auto"}
    first, second = (
        _planned_resources(
            fresh, tmp_path / n, *MODEL_FILES, args=[*args, "--attempt", n], config=config
        )
        for n in ("1", "2")
    )
    heavy = set(first) & _rules_without_localrule()
    assert {"train", "restore_weights", "infer", "mine"} <= heavy
    for rule in heavy:
        for name in ("mem_mb", "runtime"):
            assert second[rule][name] == 2 * first[rule][name], (rule, name)


def test_two_processes_on_a_cpu_take_the_memory_of_two_and_no_gpu(
    fresh: Path, tmp_path: Path
) -> None:
    _two_processes(fresh)
    target = f"results/{RUN}/{RESTORED}"
    planned = _planned_resources(fresh, tmp_path / "repository", target, args=["-n"])
    for rule in ("train", "restore_weights"):
        assert planned[rule]["gpu"] == 0 and planned[rule]["mem_mb"] == 16000


def test_every_model_stage_asks_for_a_gpu_in_both_forms_and_is_tried_again() -> None:
    blocks = re.split(r"^(?=(?:rule|checkpoint) )", _rules_text(), flags=re.MULTILINE)[1:]
    named = {re.match(r"\w+ (\w+)", block).group(1): block for block in blocks}
    asking = {rule for rule, block in named.items() if re.search(r"^        gpu=", block, re.M)}
    assert {"train", "restore_weights", "infer", "mine", "export_best"} <= asking
    for rule in asking:
        assert re.search(r"^        gres=", named[rule], re.M), f"{rule} asks for no gres"
    for profile in ("gpu", "slurm"):
        assert _profile(profile)["default-resources"]["gpu_request"] == "gpu"
        assert "set-resources" not in _profile(profile), "a command line would replace it"
    # Somebody waits for a self-test's answer; it is no part of the loop.
    loop = _rules_without_localrule() & set(named) - {"encoder_selftest"}
    heavy = [named[rule] for rule in loop]
    assert [b for b in heavy if "retries: 0" in b] == [], "a lost node would end the run"


def test_every_key_of_a_profile_has_its_reason() -> None:
    for name in ("default", "gpu", "slurm"):
        lines = (REPOSITORY / "profiles" / name / "profile.yaml").read_text().splitlines()
        bare = [
            line
            for line in lines
            if line.strip() and not line.startswith("#") and "#" not in line and line[-1] != ":"
        ]
        assert bare == [], name


def test_the_profiles_that_retry_and_the_workstation_s_name() -> None:
    assert (REPOSITORY / "profiles/workstation").resolve() == REPOSITORY / "profiles/default"
    retries = {name: _profile(name)["retries"] for name in ("workstation", "gpu", "slurm")}
    assert retries == {"workstation": 0, "gpu": 1, "slurm": 1}
    for name in retries:
        assert _profile(name)["rerun-incomplete"] is True


def _profile(name: str) -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "profiles" / name / "profile.yaml").read_text())


def _profile_with(folder: Path, gpu_request: str) -> Path:
    """Write the slurm profile with another gpu_request; Snakemake's local executor plans it too."""
    profile = _profile("slurm")
    profile["default-resources"]["gpu_request"] = gpu_request
    kept = {k: v for k, v in profile.items() if k != "executor" and not k.startswith("slurm-")}
    (folder / "profile").mkdir()
    (folder / "profile/profile.yaml").write_text(yaml.safe_dump(kept))
    return folder / "profile"


def _two_processes(workspace: Path) -> None:
    path = workspace / layout.SPEC
    spec = yaml.safe_load(path.read_text())
    spec["train"]["num_gpus"] = 2
    path.write_text(yaml.safe_dump(spec))


def _planned_resources(
    workspace: Path, repository: Path, *targets: str, **options: Any
) -> dict[str, dict[str, Any]]:
    """Return rule -> resources of its planned jobs; a dry run prints none beside a message."""
    copy_of_repository(repository)
    with (repository / "Snakefile").open("a") as snakefile:
        snakefile.write(
            "\n\n@atexit.register\ndef tell():\n"
            "    for job in workflow.dag.needrun_jobs(exclude_finished=False):\n"
            "        print('planned', job.rule.name, json.dumps(dict(job.resources.items())))\n"
        )
    output = succeed(snakemake(workspace, *targets, repository=repository, **options))
    return {
        rule: json.loads(found) for rule, found in re.findall(r"^planned (\w+) (.*)", output, re.M)
    }
