"""The spec's keys as a table for people, read off the dataclasses."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deft.changenet.spec.schema import Rule, SpecFields

HEAD = """# The experiment spec, key by key

Task `classify` of TAO Visual ChangeNet. Defaults and ranges are those of the source in the last
column; a key that is not here is refused by name. What would change a result and the native engine
cannot do is refused with advice. The loop sets every `csv_path` and `images_dir` itself, to the
workspace's places. Everything that is wrong is told at once.

Keys that no result of the native engine depends on are taken, so that NVIDIA's own example specs
work as they stand; the pre-flight says once per key what counts instead, where it asks for
something: `encryption_key`, `wandb.enable`, `train.seed`, `evaluate` and `inference` with
`trt_engine`, `num_gpus`, `gpu_ids` and `num_nodes`, `export.format` and `serialize_nvdsinfer`, the
export's size, `gen_trt_engine`, `quantize`. Taken without a word are
`model.decode_head.in_channels` (what the backbone gives counts), `vis_after_n_batches`,
`export.gpu_id`, `export.on_cpu` and `export.onnx_file` (the hand-off is always
`best_model/model.onnx`).

`model.classify.diff_module` is TAO Deploy's older name of `difference_module`;
`dataset.classify.batch_size: -1` beside `gen_trt_engine` is the engine's, not a training's. With
the learnable module, `train.classify.loss` and a TAO backbone's `feature_strides` are filled in
where they are not given, since the schema's defaults could not be trained. YAML anchors and merge
keys (`<<: *name`) work. Made from `scripts/deft/changenet/spec/schema.py` by `pytest
tests/changenet/test_spec_doc.py --update-docs`.

| key | type | default | allowed | unit | source |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    """One key of the spec: dotted name, type as text, default and rule."""

    name: str
    kind: str
    default: Any
    rule: Rule


def spec_keys(kind: type = SpecFields, where: str = "") -> Iterator[Row]:
    """Yield every key in schema order."""
    hints = typing.get_type_hints(kind)
    for entry in dataclasses.fields(kind):
        name, hint = where + entry.name, hints[entry.name]
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            yield from spec_keys(hint, name + ".")
            continue
        factory = entry.default_factory
        default = entry.default if factory is dataclasses.MISSING else factory()
        kind_name = getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint)
        yield Row(name, kind_name, default, entry.metadata.get("rule", Rule()))


def spec_page() -> str:
    """Return ``docs/spec.md``."""
    return HEAD + "".join(_line(row) for row in spec_keys())


def _line(row: Row) -> str:
    cells = [f"`{row.name}`", row.kind, f"`{row.default!r}`", _allowed(row.rule)]
    return "| " + " | ".join([*cells, row.rule.unit, row.rule.source]) + " |\n"


def _allowed(rule: Rule) -> str:
    if rule.choices:
        return ", ".join(rule.choices)
    bounds = [f"≥ {rule.low:g}"] if rule.low is not None else []
    bounds += [f"≤ {rule.high:g}"] if rule.high is not None else []
    length = [f"{rule.length} entries"] if rule.length is not None else []
    return ", ".join([" and ".join(bounds)] * bool(bounds) + length)
