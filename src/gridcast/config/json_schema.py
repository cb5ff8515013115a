"""The JSON schema of experiment files, with a description of each key, for editors and for the documentation."""

from __future__ import annotations

from typing import Any

from gridcast.config.configuration import Configuration
from gridcast.config.descriptions import DESCRIPTIONS
from gridcast.config.examples import EXAMPLES
from gridcast.config.experiment import Experiment
from gridcast.config.ranges import NUMERIC_AXES
from gridcast.config.table_settings import NAMES_OF_SIGNS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
ONE_NAME: dict[str, Any] = {"type": "string"}
ALSO_ACCEPTED: dict[tuple[str, str], dict[str, Any]] = {
    ("Experiment", "baselines"): ONE_NAME,
    ("Data", "series"): ONE_NAME,
    ("Data", "missing"): {"type": ["string", "number"]},
    ("Data", "decimal"): {"enum": [".", ","]},
    ("Data", "thousands"): {"enum": [".", ",", " ", "'", ""]},
    ("Data", "separator"): {"enum": [sign for sign in NAMES_OF_SIGNS if sign in (",", ";", "\t", "|")]},
    ("Wide", "columns"): ONE_NAME,
    ("Search", "confirm"): {"enum": ["none", True, False]},
}
"""Shorter forms of values, which the sections read as the longer ones."""
RANGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "low": {"type": "number"},
        "high": {"type": "number"},
        "log": {"type": "boolean"},
        "step": {"type": "number"},
    },
    "required": ["low", "high"],
    "additionalProperties": False,
}
"""Range of an axis of numbers, see `config.ranges`."""


def experiment_schema() -> dict[str, Any]:
    """Return the JSON schema of an experiment file: types, allowed values, defaults and descriptions of all keys."""
    schema = Experiment.model_json_schema()
    schema["$defs"].pop("Range")  # RANGE, as it is written
    sections = {"Experiment": schema, **schema["$defs"], "Configuration": Configuration.model_json_schema()}
    for name, section in sections.items():
        for key, field in section["properties"].items():
            field.pop("title", None)
            if (name, key) in ALSO_ACCEPTED:
                _accept_too(field, ALSO_ACCEPTED[name, key])
            field["description"] = DESCRIPTIONS.get(name, {}).get(key, "")
            field["examples"] = [EXAMPLES[name][key]]
    settings = sections["Configuration"]["properties"]
    lists: dict[str, Any] = {
        axis: {"type": "array", "items": _of_axis(field), "minItems": 1} for axis, field in settings.items()
    }
    lists |= {axis: {"anyOf": [lists[axis], RANGE]} for axis in NUMERIC_AXES}
    for axis, field in lists.items():
        field["description"] = settings[axis]["description"]
    one_grid = {"type": "object", "properties": lists, "additionalProperties": False}
    properties = schema["properties"]
    properties["baseline"] |= {"properties": settings, "additionalProperties": False}
    properties["grid"] = {
        **{name: properties["grid"][name] for name in ("description", "examples")},
        "anyOf": [one_grid, {"type": "array", "items": one_grid}],
    }
    schema["$defs"]["Data"]["required"] = ["source", "time"]  # of detectors the target is no column
    return {"$schema": DIALECT, "title": "Experiment of gridcast", **schema | {"title": "Experiment of gridcast"}}


def _accept_too(field: dict[str, Any], other: dict[str, Any]) -> None:
    """Let `field` have values of the `other` schema too."""
    own = {key: field.pop(key) for key in ("type", "items", "enum", "anyOf", "minItems", "$ref") if key in field}
    field["anyOf"] = [*(own["anyOf"] if list(own) == ["anyOf"] else [own]), other]


def _of_axis(field: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in field.items() if key not in ("default", "description", "examples")}
