"""Every setting of the loop: name, type, range, default, unit, meaning, who reads it.

The order and the sections are those of ``config/config.yaml``. After a change:
``pytest tests/settings/test_model.py --update-docs`` writes what is made from this. It costs a
tenth of a second (pydantic), so only who checks a configuration imports it; the others read
:mod:`deft.settings.known`.
"""

from __future__ import annotations

from deft.settings.model.computing import Computing, Pruning
from deft.settings.model.declaration import Group, setting
from deft.settings.model.general import Goal, Where
from deft.settings.model.groups import DeepPcb, Demo, Explore, ImportFolder
from deft.settings.model.lap import Lap


class Groups(Group):
    """groups that few touch; they come by --configfile"""

    demo: Demo = setting({}, "the drawn workspace", read_by="demo_workspace", approval="no")
    deeppcb: DeepPcb = setting(
        {}, "importing DeepPCB: docs/deeppcb.md", read_by="import_deeppcb", approval="no"
    )
    import_folder: ImportFolder = setting(
        {},
        "importing pictures in folders and annotated boards: docs/import.md",
        read_by="import_folder_plan import_folder",
        approval="no",
    )
    explore: Explore = setting(
        {}, "exploring a model file: docs/explore.md", read_by="explore", approval="no"
    )


SECTIONS = (Where, Goal, Lap, Computing, Pruning, Groups)


class Settings(Groups, Pruning, Computing, Lap, Goal, Where):
    """The whole configuration; a class's fields come before those of the classes left of it."""
