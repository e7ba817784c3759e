"""The model in production, which a hand-off is judged against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deft.core.commands import again
from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.record.openings import best_model_of, last_promoted
from deft.score_kit.errors import Stop
from deft.score_kit.prepare import FACTS, read_facts


@dataclass(frozen=True)
class Production:
    """The model that production runs. ``spec``: of a ``.pth`` file, whose threshold it has.

    ``digests``: SHA-256 of what decides: ``preprocessing.json`` of a folder (which names its model
    file's and has the threshold), or model file and spec.
    """

    name: str
    path: Path
    spec: Path | None = None
    digests: tuple[str, ...] = ()


def production(
    workspace: Path, run: str, champion: str | None, spec: str | None
) -> Production | None:
    """Return the model in production of ``run``: the one that is named, else the one promoted last.

    ``champion``, ``spec``: the settings. None: none was promoted by another run.

    Raises HardStop ``missing_input`` for what is not there, ``config_invalid`` for a model file
    without spec, and what an unreadable hand-off raises.
    """
    if champion is None:
        last = last_promoted(workspace, other_than=run)
        if last is None:
            return None
        return _folder(f"{last['run']}, {last['phase']}", best_model_of(workspace, last))
    path = workspace / Path(champion).expanduser()
    if (path / FACTS).is_file():
        return _folder(champion, path)
    if not path.is_file():
        raise HardStop(
            "missing_input",
            "the champion is neither a best_model/ folder nor a model file",
            file=path,
            fix="correct champion: the folder best_model/ of a hand-off, or a .pth file with "
            "champion_spec",
        )
    if spec is None:
        raise HardStop(
            "config_invalid",
            f"the champion {champion} is a model file, and champion_spec is not set",
            file=path,
            fix="name the inference spec that it is used with; its model.classify.eval_margin is "
            "the threshold: " + again(champion=champion, champion_spec="FILE"),
        )
    place = workspace / Path(spec).expanduser()
    if not place.is_file():
        raise HardStop(
            "missing_input",
            "the champion's spec is not there",
            file=place,
            fix="correct champion_spec",
        )
    return Production(champion, path, place, (sha256_file(path), sha256_file(place)))


def _folder(name: str, path: Path) -> Production:
    try:
        read_facts(path)
    except Stop as stop:
        told = f"{stop.message} (of the model in production)"
        raise HardStop(stop.code, told, file=stop.file, fix=stop.fix) from None
    return Production(name, path, digests=(sha256_file(path / FACTS),))
