"""The importer's settings: which group plays which role, and how many windows are cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deft.core.errors import HardStop
from deft.importers.deeppcb_source import DEFECTS, BoardPicture


@dataclass(frozen=True)
class Settings:
    """The ``deeppcb:`` group. ``None`` = the importer's choice; see :meth:`resolve`.

    ``window`` side in pixels; ``base_rows`` rows of the training table, half of them PASS;
    the ``pool_…`` make the pool that of a line (:mod:`.deeppcb_pool`);
    ``backbone`` a file with pretrained weights of EfficientNet-Lite0 (:mod:`.lite0`).
    """

    root: str | None = None
    base_groups: list[str] | None = None
    pool_groups: list[str] | None = None
    kpi_groups: list[str] | None = None
    window: int = 96
    pass_per_image: int | None = None
    images_per_group: int | None = None
    base_rows: int | None = None
    base_defects: list[str] | None = None
    seed: int | None = None
    backbone: str | None = None
    pool_defect_share: float | None = None
    pool_rows: int | None = None
    pool_near_copies: float | None = None
    pool_wrong_labels: float | None = None

    def resolve(self, groups: Iterable[str]) -> Resolved:
        """Return the settings with the importer's choices, checked against the copy.

        By default the first sixth of the groups is base, the last third KPI, the rest pool; the
        base set knows open, short and mousebite only.

        Raises
        ------
        HardStop ``config_invalid`` for an unknown group or defect, or a group with two roles.
        """
        known = sorted(groups)
        base = max(1, len(known) // 6)
        kpi = max(1, len(known) // 3)
        full = Resolved(
            root=self.root,
            window=self.window,
            images_per_group=self.images_per_group,
            base_groups=_names(self.base_groups, known[:base]),
            pool_groups=_names(self.pool_groups, known[base : len(known) - kpi]),
            kpi_groups=_names(self.kpi_groups, known[len(known) - kpi :]),
            pass_per_image=self.pass_per_image or 12,
            base_rows=self.base_rows or 200,
            base_defects=list(self.base_defects or DEFECTS[:3]),
            seed=self.seed or 0,
            backbone=self.backbone,
            pool_defect_share=self.pool_defect_share,
            pool_rows=self.pool_rows,
            pool_near_copies=self.pool_near_copies,
            pool_wrong_labels=self.pool_wrong_labels,
        )
        full.check(known)
        return full


@dataclass(frozen=True, kw_only=True)
class Resolved(Settings):
    """Settings without ``None``, but for ``images_per_group`` (all), ``backbone`` and the
    ``pool_…`` (the pool as it is).
    """

    base_groups: list[str]
    pool_groups: list[str]
    kpi_groups: list[str]
    pass_per_image: int
    base_rows: int
    base_defects: list[str]
    seed: int

    def check(self, known: list[str]) -> None:
        """Raise HardStop ``config_invalid`` for what the copy or the importer cannot do."""
        roles = {k: getattr(self, k) for k in ("base_groups", "pool_groups", "kpi_groups")}
        for key, names in roles.items():
            unknown = sorted(set(names) - set(known))
            if unknown:
                raise HardStop(
                    "config_invalid",
                    f"deeppcb.{key} names {unknown}, which the copy does not have",
                    fix=f"groups found: {', '.join(known)}",
                )
            if not names:
                raise HardStop(
                    "config_invalid",
                    f"no group is left for deeppcb.{key}; the copy has {len(known)}",
                    fix="three groups are the least: one per role",
                )
        every = [name for names in roles.values() for name in names]
        twice = sorted({name for name in every if every.count(name) > 1})
        if twice:
            raise HardStop("config_invalid", f"DeepPCB group(s) {twice} have two roles")
        wrong = sorted(set(self.base_defects) - set(DEFECTS))
        if wrong:
            raise HardStop(
                "config_invalid",
                f"deeppcb.base_defects names {wrong}",
                fix=f"known: {', '.join(DEFECTS)}",
            )
        if self.window < 16 or self.base_rows < 4:
            raise HardStop(
                "config_invalid", "deeppcb.window is at least 16 and deeppcb.base_rows at least 4"
            )


def _names(given: list[str] | None, default: list[str]) -> list[str]:
    if given is None:
        return list(default)
    return [name if name.startswith("group") else f"group{name}" for name in map(str, given)]


def stream(settings: Resolved, *parts: object) -> np.random.Generator:
    """Return a generator of its own for each purpose: one more group moves no other window."""
    words = hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8]
    return np.random.default_rng([settings.seed, int.from_bytes(words, "little")])


def choose(pictures: list[BoardPicture], settings: Resolved) -> list[BoardPicture]:
    if settings.images_per_group is None or settings.images_per_group >= len(pictures):
        return pictures
    rng = stream(settings, "choose", pictures[0].group)
    taken = rng.choice(len(pictures), settings.images_per_group, replace=False)
    return [pictures[i] for i in sorted(taken.tolist())]
