"""The page of the documentation that lists every key of an experiment file, from its JSON schema."""

from __future__ import annotations

import json
import re
from typing import Any

from gridcast.config.commented_yaml import flow
from gridcast.config.json_schema import experiment_schema

INTRODUCTION = """# Settings of an experiment file

`gridcast new TABLE` writes a first experiment file for a table. Editors with support for YAML explain and check each
key if `# yaml-language-server: $schema=gridcast.schema.json` stands at the top of the file, as it does in those of
`gridcast new`; `gridcast schema > gridcast.schema.json` makes the schema. `make settings` makes this page from it.
"""
ORDER = (
    *("data", "data.select", "data.wide", "data.pivot", "window", "split", "transform", "training", "probabilistic"),
    *("anomaly", "search", "search.budget", "search.confirm", "selection", "selection.ensemble"),
)
"""The sections, by the path of their key."""


def settings_page() -> str:
    """Return the page in Markdown: a table for the whole file, for each section, and for the axes of the grid."""
    schema = experiment_schema()
    parts = [INTRODUCTION, _table(schema, "")]
    for path in ORDER:
        section = _section(schema, path)
        summary = section.get("description", "").partition("\n\n")[0].replace("\n", " ")
        parts.append(f"## {path}\n\n{summary}\n\n{_table(section, f'{path}.')}")
    settings = schema["properties"]["baseline"]
    parts.append(
        "## baseline, and the axes of grid\n\nIn `baseline` each key has one value, in `grid` a list of them.\n\n"
        + _table(settings, "")
    )
    return "\n".join(parts)


def _section(schema: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of the section at `path`."""
    section = schema
    for key in path.split("."):
        section = _followed(schema, section["properties"][key])
    return section


def _followed(schema: dict[str, Any], field: dict[str, Any]) -> dict[str, Any]:
    """The section that a key holds."""
    for choice in (field, *field.get("anyOf", ())):
        if "$ref" in choice:
            return dict(schema["$defs"][choice["$ref"].rpartition("/")[2]])
    raise KeyError(f"no section in {field}")


def _table(section: dict[str, Any], prefix: str) -> str:
    lines = ["| key | values | default | example | meaning |", "| --- | --- | --- | --- | --- |"]
    required = section.get("required", ())
    for key, field in section["properties"].items():
        default = "required" if key in required else _shown(field)
        meaning = field["description"].replace("|", "\\|")
        example = flow(field["examples"][0])
        lines.append(f"| `{prefix}{key}` | {_values(field)} | {default} | `{example}` | {meaning} |")
    return "\n".join(lines) + "\n"


def _shown(field: dict[str, Any]) -> str:
    """The default as it would be written; empty for a section, which has defaults of its own."""
    default = field.get("default")
    if default is None or default in ({}, []) or isinstance(default, dict):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _values(field: dict[str, Any]) -> str:
    """The allowed values in words."""
    choices = [choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null"]
    return " or ".join(dict.fromkeys(filter(None, map(_kind, choices))))


def _kind(choice: dict[str, Any]) -> str:
    if "enum" in choice or "const" in choice:
        values = choice.get("enum") or [choice["const"]]
        return (
            ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values)
            .replace("`|`", "`\\|`")
            .replace("`\t`", "tab")
            .replace("``", '`""`')
        )
    if "$ref" in choice:
        return "section"
    kind = choice.get("type")
    if isinstance(kind, list):
        return " or ".join(_kind({"type": one}) for one in kind)
    if kind == "array":
        kinds = [_plural(kind) for kind in _values(choice.get("items", {})).split(" or ")]
        return f"list of {' and '.join(dict.fromkeys(kinds))}"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    return names.get(str(kind), "settings") + _bounds(choice)


def _plural(kind: str) -> str:
    return re.sub(r"\b(text|number)\b", r"\1s", kind)


def _bounds(choice: dict[str, Any]) -> str:
    words = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}
    bounds = [words[key].format(f"{choice[key]:,}") for key in words if key in choice]
    return f" {', '.join(bounds)}" if bounds else ""
