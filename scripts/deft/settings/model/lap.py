"""Settings of a lap: training, routing, mining."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deft.settings.model.declaration import EMBEDDING, TRAINING, Group, setting

Share = Annotated[float, Field(ge=0, le=1)]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Auto = Annotated[str, Field(pattern="^auto$")]


class Lap(Group):
    """the lap"""

    training_epochs: int | None = setting(
        None,
        "null = train.num_epochs of the spec, else 20 (not TAO's 10)",
        unit="epochs",
        read_by=TRAINING,
        ge=1,
        le=100_000,
    )
    top_k_per_label: int = setting(
        50, "weakest KPI samples kept per label", unit="samples", read_by="rca", ge=1, le=10**6
    )
    routing: Literal["pregen", "by_label"] = setting(
        "pregen", "pregen = every gap goes to mining | by_label", read_by="route"
    )
    anomalygen_labels: list[str] = setting(
        ["PASS", "EXCESS_SOLDER", "MISSING", "BRIDGE"],
        "by_label: what AnomalyGen can draw",
        read_by="route",
    )
    allow_unrouted: list[str] = setting([], "by_label: labels that may go nowhere", read_by="route")
    mining: Literal["nearest", "places", "balanced", "random", "none"] = setting(
        "nearest",
        "nearest = the contract's | places = for a network from scratch and many defects | "
        "balanced | random, none (control arms): docs/strategies.md",
        read_by="mine",
    )
    mining_budget: int | None = setting(
        None,
        "new parts a lap; null = as many as the neighbours would add",
        unit="parts",
        read_by="mine",
        ge=1,
        le=10**8,
    )
    mining_good_share: float = setting(
        0.5, "balanced, places: share of PASS among the chosen", read_by="mine", ge=0, le=1
    )
    mining_min_distance: float = setting(
        0, "1 - cosine that two chosen parts keep at least; 0 = off", read_by="mine", ge=0, le=2
    )
    mining_label_quota: dict[str, Share] = setting(
        {}, "highest share of the chosen by label, e.g. {bridge: 0.2}", read_by="mine"
    )
    mining_history: bool = setting(
        False,
        "true = NVIDIA's history-aware mining: pictures that an earlier lap mined drop out of the "
        "candidates; with its files",
        read_by="mine",
    )
    mining_skip_known: bool = setting(
        False,
        "true = parts of the training table are nobody's neighbours: the search goes past them",
        read_by="mine",
    )
    mining_copies_bits: int | None = setting(
        None,
        "0-3 = leave out near-copies in the pool (bits of 64 that differ)",
        unit="bits",
        read_by="mine",
        ge=0,
        le=3,
    )
    top_k_per_target: int = setting(
        5, "nearest pool pictures per weak sample", unit="pictures", read_by="mine", ge=1, le=10_000
    )
    min_similarity: Cosine | Auto = setting(
        0.9,
        "cosine below this is dropped; auto = where same-type and other-type pairs of the training "
        "rows part: docs/strategies.md",
        read_by="mine",
    )
    mining_causes: Literal["use"] | None = setting(
        None,
        "use = no neighbours are sought for weak samples whose named root cause further rows "
        "cannot mend (wrong label, wrong golden, shifted): docs/root_causes.md; null = for all",
        read_by="mine",
        approval="when set",
    )
    encoder: Literal["siglip", "siglip2", "clip", "dinov2", "dinov3", "c_radio", "changenet"] = (
        setting(
            "siglip",
            "siglip | siglip2 | clip | dinov2 | dinov3 | c_radio | changenet (the baseline's own "
            "features): docs/encoders.md",
            read_by=f"stage_pool {EMBEDDING}",
        )
    )
    encoder_weights: str | None = setting(
        None,
        "folder with weights and preprocessing file; null = hub cache / hub",
        read_by=EMBEDDING,
    )
    automl_policy: Literal["off"] = setting(
        "off", "the loop owns retraining; anything but off is refused"
    )
