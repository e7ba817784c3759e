"""How a setting is declared: one place that holds all there is to know of it.

What is written from the declarations: ``config/config.yaml``, ``config/config.schema.json`` and
``docs/settings.md`` (``tests/support/settings_pages.py``).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

# Whether the user's approval covers it: yes, no, or only while it is not its default (settings that
# are younger than runs which are under way).
Approval = Literal["yes", "no", "when set"]
# Who can do what it asks for: both engines; the native one; TAO's containers; or whatever computes
# the encoder here, so not TAO's embedding container.
Engine = Literal["both", "native", "tao", "own encoder"]
# Rules that use the same settings, for `read_by`.
TRAINING = "train restore_weights noise_floor"
EMBEDDING = "embed_shard embed_pool mine rank_labels encoder_selftest"
CONTAINERS = "train infer rca embed_shard mine"


class Group(BaseModel):
    """Settings that stand together: no key is unknown, and no value is turned into another type."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


def setting(
    default: Any,
    text: str,
    *,
    unit: str = "",
    read_by: str = "",
    approval: Approval = "yes",
    engine: Engine = "both",
    **rules: Any,
) -> Any:
    """Declare a setting.

    Parameters
    ----------
    default: as it stands in ``config/config.yaml``; defaults are handed on as they are written.
    text: what it means, for the comment in ``config/config.yaml`` and for ``docs/settings.md``.
    unit: of its number, where it has one.
    read_by: the rules that work with it, separated by blanks, beside the pre-flight, which reads
        all; ``snakemake`` for the process that plans the jobs.
    approval, engine: see above.
    rules: bounds and forms as pydantic's ``Field`` takes them (``ge``, ``pattern``, …); ``alias``
        where the name is one of pydantic's or Python's own.
    """
    extra: dict[str, Any] = {"x-unit": unit, "x-read-by": read_by.split()}
    extra |= {"x-approval": approval, "x-engine": engine}
    usual = {"x-unit": "", "x-read-by": [], "x-approval": "yes", "x-engine": "both"}
    told = {name: value for name, value in extra.items() if value != usual[name]}
    return Field(default, description=text, json_schema_extra=told, **rules)


def part(text: str = "", **rules: Any) -> Any:
    """Declare a key that may be left out and has no default."""
    return Field(default_factory=lambda: None, description=text or None, **rules)
