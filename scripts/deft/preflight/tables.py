"""The four tables of the summary, and the parameters with their sources."""

from __future__ import annotations

import json
from typing import Any

from deft.core.layout import PREGEN_DIR, SPEC
from deft.embedding.encoders.table import PUBLISHED
from deft.preflight.check import Context
from deft.preflight.runtime import estimate
from deft.preflight.summary import labels_text
from deft.settings.known import approval_of, rule_of
from deft.settings.tao import embeds_in_container, needed_images

ALWAYS_SHOWN = ("workspace", "run", "approve")


def parameters(ctx: Context) -> list[dict[str, Any]]:
    """Return name, value, source (``user``, ``spec``, ``default``) and unit of every parameter."""
    rows = []
    for name, value in ctx.config.items():
        if value == {} or (approval_of(name) == "no" and name not in ALWAYS_SHOWN):
            continue
        source, unit = ctx.sources.get(name, "default"), rule_of(name).get("x-unit", "")
        if name == "training_epochs" and "num_epochs" in ctx.facts:
            value, where = ctx.facts["num_epochs"]
            source = where if source == "default" else source
        elif name == "run":
            value = ctx.run_dir.name
        elif name == "workspace":
            value = str(ctx.workspace)
        rows.append({"name": name, "value": value, "source": source, "unit": unit})
    if ctx.spec is not None:
        train, data = ctx.spec.train, ctx.spec.dataset.classify
        interval = f"{train.checkpoint_interval_unit}s"
        for name, value, unit in (
            ("backbone", ctx.spec.model.backbone.type, ""),
            ("difference_module", ctx.spec.model.classify.difference_module, ""),
            ("loss", train.classify.loss, ""),
            ("batch_size", data.batch_size, "pairs"),
            ("learning_rate", train.optim.lr, ""),
            ("checkpoint_interval", train.checkpoint_interval, interval),
            ("validation_interval", train.validation_interval, "epochs"),
        ):
            rows.append({"name": name, "value": value, "source": "spec", "unit": unit})
        found = ctx.facts.get("backbone_file")
        named = ctx.spec.model.backbone.pretrained_backbone_path
        source = "spec" if found == named or not found else "staged"
        value = found or named or "random numbers, or a whole network's weights"
        rows.append({"name": "backbone_weights", "value": value, "source": source, "unit": ""})
    return rows


def summary_tables(ctx: Context) -> dict[str, dict[str, Any]]:
    """Return the seed's four tables as ``{"head": […], "rows": [[text…]…]}``."""
    named = parameters(ctx)
    runtime = estimate(ctx.workspace, ctx.run_dir, named, ctx.facts.get("dataset", {}))
    return {
        "run_config": _table(
            ("parameter", "value", "source", "unit"),
            [
                *((p["name"], _text(p["value"]), p["source"], p["unit"]) for p in named),
                ("estimated runtime", runtime, "", ""),
                ("stop condition", stop_condition(ctx), "", ""),
            ],
        ),
        "dataset": _table(
            ("table", "file", "rows", "PASS", "NG", "defect types"),
            [
                (told, d["file"], d["rows"], d["pass"], d["ng"], labels_text(d["labels"]))
                for name, facts in ctx.facts.get("dataset", {}).items()
                for told, d in (
                    (name, facts),
                    ("  corrected", ctx.facts.get("corrected", {}).get(name)),
                )
                if d is not None
            ],
        ),
        "augmentation": _table(("what", "value", "detail"), _augmentation(ctx)),
        "images": _table(("what", "value"), _images(ctx)),
    }


def stop_condition(ctx: Context) -> str:
    """Return what ends the loop, whichever comes first."""
    laps = ctx.config.get("max_iterations")
    met = f"{ctx.kpi.canonical()}, or " if ctx.kpi else ""
    return (
        f"{met}{laps} lap{'' if laps == 1 else 's'} done, or a pool without new rows; "
        "reaching the target is not guaranteed"
    )


def _augmentation(ctx: Context) -> list[tuple[str, Any, str]]:
    config, pool = ctx.config, ctx.facts.get("dataset", {}).get("pool", {})
    pregen = ctx.facts.get("pregen", {})
    rows = [
        ("mining pool", f"{pool.get('rows', '?')} rows", labels_text(pool.get("labels", {}))),
        (
            "pre-generated",
            f"{pregen.get('pairs', '?')} pairs",
            labels_text(pregen.get("labels", {})) + f" ({PREGEN_DIR})",
        ),
        ("mining", config.get("mining"), f"top {config.get('top_k_per_target')} per target"),
        ("cutoff", _cutoff(config.get("min_similarity")), "real and synthetic rows alike"),
        ("encoder", config.get("encoder"), _encoder(ctx)),
        ("routing", config.get("routing"), "weak samples → where they go"),
    ]
    for label, count in ctx.facts.get("coverage", {}).items():
        detail = f"KPI {count['kpi']}, pool {count['pool']}, pre-generated {count['pregen']}"
        rows.append((f"  {label}", "covered" if count["pool"] else "not in the pool", detail))
    return rows


def _cutoff(given: Any) -> str:
    return "found from the training rows (auto)" if given == "auto" else f"cosine ≥ {given}"


def _encoder(ctx: Context) -> str:
    published = PUBLISHED.get(str(ctx.config.get("encoder")))
    if published is None:
        return "the baseline's weights"
    what = "TAO's container" if embeds_in_container(ctx.config) else published.model
    return f"{what}, {ctx.config.get('encoder_weights') or 'hub cache or hub'}"


def _images(ctx: Context) -> list[tuple[str, Any]]:
    root = ctx.facts.get("image_root", {})
    rows = [("KPI image root", root.get("path", "?"))]
    if root and not str(root["resolved"]).endswith(root["path"]):
        rows.append(("  resolves to", root["resolved"]))
    for name, roots in ctx.facts.get("table_roots", {}).items():
        several = len(roots) > 1
        under = [r["path"] + f" ({r['rows']} rows)" * several for r in roots]
        rows.append((f"  {name} pictures", ", ".join(under)))
    if ctx.spec is not None:
        height, width = ctx.spec.picture_size
        rows += [
            ("spec", SPEC),
            ("lights", ", ".join(light or "(none)" for light in ctx.spec.lights)),
            ("file type", ctx.spec.dataset.classify.image_ext),
            ("size", f"{width} × {height} px per light"),
        ]
    cards = ctx.facts.get("gpus") or []
    names = ", ".join(f"{g['name']} {g['memory_gib']:g} GiB" for g in cards)
    tao = ctx.config.get("engine") == "tao"
    rows += [
        ("GPUs", names or "none"),
        *(_containers(ctx) if tao else [("containers", "none (engine: native)")]),
    ]
    return rows


def _containers(ctx: Context) -> list[tuple[str, Any]]:
    return [
        (f"container of {', '.join(stages)}", image)
        for image, stages in needed_images(ctx.config).items()
    ]


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    return {"head": list(head), "rows": [[str(cell) for cell in row] for row in rows]}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
