"""What an experiment is made from: the model brought in, parameters, provenance, needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deft
from deft.core.files import sha256_file
from dl_lab.record import git_state
from model_explorer import dependencies, environment, formats
from model_explorer.array_files import arrays_of, dtype_of, read_arrays
from model_explorer.beside import beside
from model_explorer.kit.folder import Folder
from model_explorer.request import Request, located, shown_url
from model_explorer.sidecars import Identity

QUESTION = (
    "Does this model run in this environment, what goes in and what comes out, how fast is it, and "
    "what speaks against using it?"
)
HOME = Path(__file__).resolve().parents[2]  # the project: ChangeNet's source
MIB = 1 << 20


@dataclass
class Plan:
    """What was found out before anything is kept: the file, its identity, its needs."""

    file: formats.ModelFile
    identity: Identity
    environment: environment.Environment
    needs: list[dependencies.Need]
    refs: list[dict[str, Any]]
    sources: list[str]


def record(request: Request, plan: Plan, staging: Path, roots: list[Path]) -> None:
    """Bring the model in and write what the scripts read: parameters, provenance, dependencies."""
    folder = Folder(staging)
    is_file = plan.file.format != "served"
    mib, root = request.copy_model_mb, plan.file.path.parent
    files = [plan.file.path, *plan.file.data_files] if is_file else []
    kept = [bring_in(p, root, staging, mib) for p in files]
    # Configurations are looked for beside the model, wherever they lay (specs/ of a workspace).
    kept += [bring_in(p, p.parent, staging, mib) for p in plan.identity.files if is_file]
    folder.write(
        "provenance",
        {
            "files": kept,
            "origin": str(plan.file.path) if is_file else plan.identity.model["served"]["address"],
            "sha256": kept[0]["sha256"] if is_file else None,
            "bytes": sum(k["bytes"] for k in kept[: 1 + len(plan.file.data_files)]) or None,
            "url": shown_url(request.origin_url or request.repository or "") or None,
            "version": request.origin_version,
            "file_facts": {k: v for k, v in plan.file.facts.items() if v is not None},
            "refs": plan.refs,
            "made_by": {"project": "deft-aoi-loop", "version": deft.__version__, **git_state(HOME)},
        },
    )
    folder.write(
        "parameters", parameters(request, plan, kept[0]["path"] if is_file else None, roots)
    )
    write_needs(folder, plan)


def bring_in(path: Path, root: Path, staging: Path, copy_mb: int) -> dict[str, Any]:
    """Copy a file to ``refs/model``, or link it when it is large; return its record."""
    inner = path.relative_to(root) if root in path.parents else Path(path.name)
    target = staging / "refs" / "model" / inner
    target.parent.mkdir(parents=True, exist_ok=True)
    size = path.stat().st_size
    linked = size > copy_mb * MIB
    if linked:
        target.symlink_to(path)
    else:
        shutil.copyfile(path, target)
    return {
        "path": target.relative_to(staging).as_posix(), "origin": str(path), "bytes": size,
        "sha256": sha256_file(path), "kind": "link" if linked else "copy",
    }  # fmt: skip


def parameters(request: Request, plan: Plan, file: str | None, roots: list[Path]) -> dict[str, Any]:
    """Return ``outputs/parameters.json``; every path in it is relative to the folder."""
    model = dict(plan.identity.model)
    if "spec" in model:
        model["spec"] = f"refs/model/{model['spec']}"
    contract = dict(request.contract)
    if isinstance(contract.get("labels"), str):
        listed = located(contract["labels"], roots, "explore.contract.labels")
        lines = listed.read_text(encoding="utf-8").splitlines()
        contract["labels"] = [line.strip() for line in lines if line.strip()]
    return {
        "schema_version": 1,
        "title": request.title,
        "question": QUESTION,
        "model": {
            **model,
            "beside": beside(plan.file.path) if plan.file.format != "served" else {},
            "file": file,
            "format": plan.file.format,
            "graph": plan.file.graph,
            "name": request.name,
            "family": plan.identity.family,
            "architecture": plan.identity.architecture,
            "class_path": request.class_path,
            "class_arguments": request.class_arguments,
            "weights_key": request.weights_key,
            "sources": plan.sources,
            "allow_code": request.allow_code,
        },
        "runtime": {
            "device": request.device, "providers": request.providers, "threads": request.threads,
        },
        "contract": contract,
        "given_arrays": given_shapes(request, roots),
        "samples": request.samples,
        "given": {"inputs": bool(request.inputs), "labels": bool(request.labels)},
        "benchmark": {"warm_runs": request.warm_runs, "batch_sizes": request.batch_sizes},
        "train": {
            "steps": request.train_steps, "batch_size": request.train_batch_size,
            "learning_rate": request.learning_rate,
        },
        "targets": request.targets,
        "seed": request.seed,
    }  # fmt: skip


def given_shapes(request: Request, roots: list[Path]) -> dict[str, Any]:
    """Return name -> ``{"shape", "dtype", "name"}`` of the first array that the user gives.

    A lone ``.npy`` has no name and stands under ``""``.
    """
    if not request.inputs:
        return {}
    first = next(iter(arrays_of(located(request.inputs, roots, "explore.inputs"))), None)
    if first is None:
        return {}
    return {
        name: {"shape": list(array.shape), "dtype": dtype_of(array), "name": first.name}
        for name, array in read_arrays(first).items()
    }


def write_needs(folder: Folder, plan: Plan, installed: dict[str, Any] | None = None) -> None:
    """Write ``outputs/dependencies.json`` and the environment's part of ``environment.json``."""
    folder.write(
        "dependencies",
        {"list": [n.as_dict() for n in plan.needs], "installed": installed},
    )
    before = folder.read("environment", {})
    folder.write("environment", {**before, **plan.environment.as_dict()})
