"""Make a workspace from pictures in folders or annotated boards, or tell what it would be."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

from deft.core.commands import again
from deft.core.places import found
from deft.core.workspace_source import read_group, told
from deft.importers import plan as planning
from deft.importers.build import build
from deft.importers.folder_settings import GROUP, FolderSettings
from deft.importers.sources import find_goldens, read_source
from deft.run.cli import open_log
from deft.run.stage import main
from deft.settings.kpi_target import parse_kpi


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder of the data set (else import_folder.root)")
    parser.add_argument(
        "--typed-in", type=Path, default=Path(), help="where a relative root begins"
    )
    parser.add_argument("--out", type=Path, required=True, help="the workspace to make")
    parser.add_argument("--plan", action="store_true", help="tell what it would be; write nothing")
    parser.add_argument("--kpi", required=True, help="the KPI that the KPI set shall prove")
    parser.add_argument("--config-json", help=f"the {GROUP} group: JSON text or a JSON file")
    parser.add_argument("--seed", type=int, help="used where the group's own seed is null")
    parser.add_argument(
        "--picture-levels", type=int, help="full scale of pictures deeper than 8 bits; 0 = refuse"
    )
    parser.add_argument("--log", type=Path, help="also write everything printed to this file")
    return parser.parse_args(argv)


def body(args: argparse.Namespace) -> None:
    """Tell what was found and what becomes of it; write it unless it is a plan."""
    known = [
        field.name
        for field in fields(FolderSettings)
        if field.init and field.name != "picture_levels"
    ]
    given = read_group(args.config_json, GROUP, known)
    settings = FolderSettings(**given, picture_levels=args.picture_levels or None)
    if settings.seed is None:
        settings = replace(settings, seed=args.seed)
    root = args.root or settings.root
    if root:
        settings = replace(settings, root=str(found(root, args.typed_in, args.out)))
    source = read_source(settings)
    plan = planning.plan(source, settings, parse_kpi(args.kpi), find_goldens)
    print(planning.told(plan))
    if args.plan:
        print(f"nothing was written; to make it: {again('import_folder')}")
    else:
        print(told(args.out, build(plan, settings, args.out)))


if __name__ == "__main__":
    args = parse()
    open_log(args.log)
    main(lambda: body(args))
