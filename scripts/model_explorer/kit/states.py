"""What is fed back from step to step, and values that only a name or a trial suggested."""

from __future__ import annotations

from typing import Any

from . import roles
from .arrays import flatten, shape_of
from .folder import whole
from .outcomes import OpenInput, key
from .settle import feed_of

STEPS = 8  # of a model that is fed its own state
STEPS_TRIED = 3


def settle_state(
    model: Any,
    inputs: list[dict[str, Any]],
    shapes: dict[str, list[int]],
    unknowns: list[dict[str, Any]],
) -> dict[str, str]:
    """Return input -> output of what is fed back, after some steps showed that it can be.

    What the name suggests but running refutes becomes an unknown and is fed its first value.
    """
    fed = {i["name"]: str(i["state_from"]) for i in inputs if i.get("state_from")}
    if not fed:
        return {}
    try:
        feed = feed_of(inputs, shapes)
        for _ in range(STEPS_TRIED):
            answer = flatten(model.run(feed))
            for name, output in fed.items():
                if (
                    answer[output].dtype != feed[name].dtype
                    or answer[output].ndim != feed[name].ndim
                ):
                    raise ValueError(
                        f"{output} is {shape_of(answer[output])} {answer[output].dtype}"
                    )
                feed = {**feed, name: answer[output]}
    except Exception as error:  # of any runtime
        for entry in inputs:
            if entry.pop("state_from", None):
                entry["role"] = roles.DATA
        unknowns.append({
            "what": f"what {', '.join(fed)} is fed from step to step: "
            f"{', '.join(fed.values())} was refused ({whole(error)})",
            "settle": "explore.contract.inputs: {NAME: {state_from: OUTPUT}}",
        })  # fmt: skip
        return {}
    return fed


def guessed_values(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return an unknown, with its line, for every value that only a name or a trial suggested."""
    out = []
    for entry in inputs:
        fill = entry["fill"]
        whole_numbers = entry["dtype"] != "bool" and roles.code_of(entry["dtype"]) in "iu"
        if fill["kind"] == "random" and whole_numbers and not entry.get("range"):
            name = key("contract", "inputs", entry["name"], "range")
            need = OpenInput(f"the values that input {entry['name']} may have", name, [0, 1])
            out.append({
                "what": f"{need.what} (0 and 1 were taken)", "settle": need.line,
                "need": need.as_dict(),
            })  # fmt: skip
        if not fill.get("guessed"):
            continue
        if fill["kind"] in ("positions", "length"):
            told = "positions 0, 1, 2 …" if fill["kind"] == "positions" else "the data's length"
            out.append({
                "what": f"the values of input {entry['name']} ({told}, by its name)",
                "settle": "the author's example call, or a .npz in explore.inputs",
            })  # fmt: skip
            continue
        what = "the state that input {} begins with" if entry["role"] == roles.STATE else (
            "the value of input {}"
        )  # fmt: skip
        need = OpenInput(
            what.format(entry["name"]), key("contract", "inputs", entry["name"], "values"),
            fill["value"], why=f"it was run with {fill['value']!r}",
        )  # fmt: skip
        out.append({
            "what": f"{need.what} ({fill['value']!r} was taken)",
            "settle": need.line,
            "need": need.as_dict(),
        })  # fmt: skip
    return out
