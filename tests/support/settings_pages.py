"""What is made from the settings' declarations: the schema, ``config.yaml``, tables for people."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml

from deft.settings.checking import KINDS
from deft.settings.known import GROUPS, kinds_of, only_word
from deft.settings.model import SECTIONS, Settings
from deft.settings.model.declaration import Group

COLUMN, WIDTH = 32, 70  # where comments begin, and how wide they may be
Rule = dict[str, Any]


def names(section: type[Group]) -> list[str]:
    """Return a section's keys as a configuration has them."""
    return [field.alias or name for name, field in section.model_fields.items()]


def schema() -> Rule:
    """Return the JSON schema of the configuration, with ``x-…`` keys for what it has no word for.

    Pydantic's, in one piece and with a list of types where it makes alternatives, as editors and
    readers of messages like it better.
    """
    made = Settings.model_json_schema()
    parts = made.pop("$defs")

    def plain(rule: Rule) -> Rule:
        if "$ref" in rule:
            rule = parts[rule.pop("$ref").rpartition("/")[2]] | rule
        rule = {key: rule[key] for key in rule if key != "title"}
        for branch in map(plain, rule.pop("anyOf", [])):
            types = kinds_of(rule) + kinds_of(branch)
            if branch == {"type": "null"} and "enum" in rule:
                rule["enum"].append(None)
            else:
                rule |= branch | ({"type": types} if len(types) > 1 else {})
        if "const" in rule:
            rule["enum"] = [rule.pop("const")]
        if "enum" in rule:
            rule.pop("type", None)
        if rule.get("additionalProperties") is True:
            del rule["additionalProperties"]
        for key in ("items", "additionalProperties"):
            if isinstance(rule.get(key), dict):
                rule[key] = plain(rule[key])
        if "properties" in rule:
            rule["properties"] = {name: plain(r) for name, r in rule["properties"].items()}
        first = ("type", "enum")
        return {k: rule[k] for k in (*first, *(k for k in rule if k not in first)) if k in rule}

    made = plain(made) | {"description": "Made by tests/settings/test_model.py --update-docs."}
    for name in names(SECTIONS[-1]):
        del made["properties"][name]["default"]  # its keys have theirs
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, "title": "Configuration of the DEFT AOI loop", **made}


def schema_text() -> str:
    """Return ``config/config.schema.json``: a line for each setting."""
    return f"{_json(schema())}\n"


def _json(rule: Rule, pad: str = "") -> str:
    if "properties" not in rule:
        return json.dumps(rule, ensure_ascii=False)
    lines = [f'{pad} "{k}": {json.dumps(v)}' for k, v in rule.items() if k != "properties"]
    keys = [f'{pad}  "{k}": {_json(r, f"{pad}  ")}' for k, r in rule["properties"].items()]
    lines.append(f'{pad} "properties": {{\n' + ",\n".join(keys) + f"\n{pad} }}")
    return "{\n" + ",\n".join(lines) + f"\n{pad}}}"


HEAD = """\
# yaml-language-server: $schema=config.schema.json
# Every setting of the DEFT AOI loop, with its default. Flat keys can be set on the command line:
#   snakemake --config workspace=/data/line7 'kpi=FAR < 0.5% at recall=100%' max_iterations=5
# An unknown key, a wrong type or a value out of range stops before any job. Ranges, units and who
# reads what: docs/settings.md. Made from scripts/deft/settings/model: change it there.
"""


def config_yaml() -> str:
    """Return ``config/config.yaml``: every key with its default and a comment."""
    rules, lines = schema()["properties"], [HEAD.rstrip("\n")]
    for section in SECTIONS:
        lines += ["", f"# --- {section.__doc__} ".ljust(98, "-")]
        for name in names(section):
            if "properties" in rules[name]:
                lines += _entry(f"{name}:", rules[name])
                for key, rule in rules[name]["properties"].items():
                    lines += _entry(f"  {key}: {_yaml(rule['default'])}", rule)
            else:
                lines += _entry(f"{name}: {_yaml(rules[name]['default'])}", rules[name])
    return "\n".join(lines) + "\n"


def _entry(entry: str, rule: Rule) -> Iterator[str]:
    unit = rule.get("x-unit", "")
    text = rule["description"] + (f" ({unit})" if unit not in rule["description"] else "")
    first, *rest = textwrap.wrap(text, WIDTH, break_on_hyphens=False, break_long_words=False)
    yield f"{entry.ljust(COLUMN - 3)}   # {first}"
    yield from (f"{'#'.rjust(COLUMN + 1)} {line}" for line in rest)


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, str) and re.fullmatch(r"[\w~/.-]+", value):
        return value if yaml.safe_load(value) == value else json.dumps(value)
    return json.dumps(value, ensure_ascii=False)


def tables() -> str:
    """Return the tables of ``docs/settings.md``: one for each section, one for each group."""
    rules, parts = schema()["properties"], []
    for section in SECTIONS[:-1]:
        title = section.__doc__ or ""
        parts.append(f"\n## {title[0].upper()}{title[1:]}\n\n")
        parts += _table({name: rules[name] for name in names(section)}, whole=True)
    for name in GROUPS:
        about = _linked(rules[name]["description"])
        parts.append(f"\n## The group `{name}:`\n\n{about[0].upper()}{about[1:]}. Read by ")
        parts.append(f"{_readers(rules[name])}; the approval does not cover it.\n\n")
        parts += _table(rules[name]["properties"], whole=False)
    return "".join(parts)


def _table(rules: dict[str, Rule], *, whole: bool) -> Iterator[str]:
    head = ["key", "values", "default", "unit", "meaning"]
    head += ["read by", "approval", "engine"] if whole else []
    yield f"| {' | '.join(head)} |\n|{'---|' * len(head)}\n"
    for name, rule in rules.items():
        cells = [f"`{name}`", _values(rule), f"`{_yaml(rule['default'])}`"]
        cells += [rule.get("x-unit", ""), _linked(rule["description"])]
        if whole:
            cells += [_readers(rule), rule.get("x-approval", "yes"), rule.get("x-engine", "")]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _linked(text: str) -> str:
    return re.sub(r"docs/(\w+)\.md", r"[\1](\1.md)", text)


def _readers(rule: Rule) -> str:
    return ", ".join(f"`{name}`" for name in rule.get("x-read-by", []))


def _values(rule: Rule) -> str:
    if "enum" in rule:
        return ", ".join(f"`{_yaml(value)}`" for value in rule["enum"])
    only = only_word(rule)
    kinds = [k for k in kinds_of(rule) if k != "null" and not (only and k == "string")]
    words = [KINDS[kind] for kind in kinds]
    low, high = rule.get("minimum"), rule.get("maximum")
    if "exclusiveMinimum" in rule:
        words.append(f"above {rule['exclusiveMinimum']}" + (f", at most {high}" if high else ""))
    elif low is not None:
        words.append(f"{low:,} or more" if high is None else f"{low:,} to {high:,}")
    words += [f"or `{only}`"] if only else []
    return ", ".join([*words, *(["or null"] if "null" in kinds_of(rule) else [])])
