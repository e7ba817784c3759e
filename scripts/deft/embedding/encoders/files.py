"""The files of an encoder: from a folder, the hub's cache or the hub; none of them is guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deft.core.airgap import offline
from deft.core.errors import HardStop
from deft.core.files import sha256_file
from deft.core.reading import parse_json, read_text, shortened
from deft.embedding.encoders.table import FAMILIES, PUBLISHED, Published

REFERENCE_NAME = "selftest.json"


@dataclass(frozen=True)
class EncoderFiles:
    """What defines an encoder. ``reference``: embeddings shipped with the weights, if any."""

    published: Published
    configs: dict[str, Path]
    weights: Path
    reference: Path | None = None

    def config(self, name: str) -> dict[str, Any]:
        """Return one configuration file; raises HardStop ``config_invalid``."""
        path = self.configs[name]
        try:
            data = parse_json(read_text(path, code="config_invalid"))
        except ValueError as error:
            told = shortened(error)
            raise HardStop(
                "config_invalid", f"{name} is no JSON ({told})", file=path, fix="fetch it again"
            ) from None
        if not isinstance(data, dict):
            raise HardStop("config_invalid", f"{name} holds no settings", file=path)
        return data

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each file by its role."""
        found = {name: sha256_file(path) for name, path in self.configs.items()}
        return {**found, "weights": sha256_file(self.weights)}


def missing_from(name: str, folder: Path) -> list[str]:
    """Return what a folder lacks for an encoder, one text a file."""
    family = FAMILIES[PUBLISHED[name].family]
    lacking = [config for config in family.configs if not (folder / config).is_file()]
    if not any((folder / n).is_file() for n in family.weights):
        first, *others = family.weights
        lacking.append(f"{first} (or {', '.join(others)})")
    return lacking


def files_of(
    name: str, weights: str | Path | None, *, token: Callable[[], str | None] | None = None
) -> EncoderFiles:
    """Return the files of a published encoder.

    Parameters
    ----------
    weights: folder of the files; None takes the hub's cache, or else the hub unless offline.
    token: gives the hub's credential when one is needed; it is never shown.

    Raises
    ------
    HardStop ``missing_input`` naming every missing file and the command that fetches them.
    """
    published = PUBLISHED[name]
    if weights:
        return _from_folder(published, Path(weights).expanduser())
    return _from_hub(published, token)


def _from_folder(published: Published, folder: Path) -> EncoderFiles:
    family, needed = FAMILIES[published.family], ", ".join(published.files)
    if folder.is_file():
        configs = ", ".join(family.configs)
        raise HardStop(
            "missing_input",
            f"encoder_weights names the file {folder.name}; encoder {published.name} needs a "
            f"folder with {needed}: without {configs} its preprocessing would be a guess",
            file=folder,
            fix=published.advice(),
        )
    if not folder.is_dir():
        raise HardStop(
            "missing_input",
            f"encoder_weights is no folder; encoder {published.name} needs {needed}",
            file=folder,
            fix=published.advice(),
        )
    lacking = missing_from(published.name, folder)
    if lacking:
        raise HardStop(
            "missing_input",
            f"the folder of encoder {published.name} lacks {' and '.join(lacking)}",
            file=folder / lacking[0].split(" ")[0],
            fix=published.advice(),
        )
    reference = folder / REFERENCE_NAME
    return EncoderFiles(
        published,
        {config: folder / config for config in family.configs},
        next(folder / n for n in family.weights if (folder / n).is_file()),
        reference if reference.is_file() else None,
    )


def hub_files_missing(name: str) -> list[str]:
    """Return the files that the hub's cache lacks for an encoder, without any connection."""
    from huggingface_hub import try_to_load_from_cache

    published = PUBLISHED[name]
    return [
        file
        for file in published.files
        if not isinstance(try_to_load_from_cache(published.repository, file), str)
    ]


def _from_hub(published: Published, token: Callable[[], str | None] | None) -> EncoderFiles:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError

    # A later version on the hub must not change an encoder between two stages of a run.
    lacking = hub_files_missing(published.name)
    if lacking and offline():
        raise HardStop(
            "missing_input",
            f"{', '.join(lacking)} of {published.repository} not in the local cache, and downloads "
            "are off",
            file=lacking[0],
            fix=published.advice(),
        )
    found = {}
    for wanted in published.files:
        try:
            found[wanted] = Path(
                hf_hub_download(
                    published.repository,
                    wanted,
                    local_files_only=not lacking,
                    token=token() if token and lacking else None,
                )
            )
        except GatedRepoError:
            raise HardStop(
                "missing_input",
                f"{published.repository} is gated: the hub refuses {wanted}",
                file=wanted,
                fix="accept its licence at "
                f"https://huggingface.co/{published.repository} and set HF_TOKEN; or "
                + published.advice(),
            ) from None
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            raise HardStop(
                "missing_input",
                f"{wanted} of {published.repository} is not in the local cache and the hub did not "
                f"answer ({type(error).__name__})",
                file=wanted,
                fix=published.advice(),
            ) from None
    *configs, weights = published.files
    return EncoderFiles(published, {name: found[name] for name in configs}, found[weights])
