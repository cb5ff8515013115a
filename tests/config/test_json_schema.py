"""The JSON schema of experiment files: it accepts what the sections accept, and explains every key."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from gridcast import config
from gridcast.config.descriptions import DESCRIPTIONS
from gridcast.config.json_schema import ALSO_ACCEPTED, experiment_schema
from gridcast.config.settings_page import ORDER, settings_page
from gridcast.config.yaml_loader import ExperimentLoader
from gridcast.runtime.errors import ConfigError

PROJECT = Path(__file__).parents[2]
SCHEMA = experiment_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
MINIMAL = "{version: 1, name: x, data: {source: a.csv, time: t, target: y}, window: {lookback: 2}"


def faults(text):
    return list(VALIDATOR.iter_errors(yaml.load(text, Loader=ExperimentLoader)))


@pytest.mark.parametrize("path", sorted((PROJECT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_experiments_are_valid(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "rest",
    [
        "data: {source: a.csv, time: t, target: y, series: shop, missing: -9999, decimal: ',', separator: ;}",
        "data: {source: a.csv, time: t, target: y, wide: {columns: d_*}}",
        "search: {confirm: none}, baselines: ets",
        "grid: [{layer: [GRU]}, {units: [8, 16]}], baseline: {dropout: 0.1}",
        "selection: {ensemble: {top: 3}}",
        "grid: {units: {low: 8, high: 16, step: 4}}, search: {strategy: random, budget: {runs: 3}}",
    ],
)
def test_short_forms_are_valid(rest):
    text = f"{MINIMAL}, {rest}}}".replace("data: {source: a.csv, time: t, target: y}, ", "", int("data:" in rest))
    config.parse(text)
    assert faults(text) == []


@pytest.mark.parametrize(
    "rest",
    [
        "tasks: forecast",
        "task: forecasts",
        "grid: {unit: [8]}",
        "grid: {units: 8}",
        "grid: {units: {low: 8, hihg: 16}}, search: {strategy: random, budget: {runs: 3}}",
        "baseline: {units: 0}",
        "window: 3",
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(rest):
    text = f"{MINIMAL.partition(', window')[0]}, {rest}}}"
    with pytest.raises(ConfigError):
        config.parse(text)
    assert faults(text)


def test_each_key_is_described_once_and_nothing_else_is():
    sections = {"Experiment": SCHEMA, **SCHEMA["$defs"], "Configuration": SCHEMA["properties"]["baseline"]}
    keys = {name: set(section["properties"]) for name, section in sections.items()}
    assert {name: set(described) for name, described in DESCRIPTIONS.items()} == keys
    assert all(text for described in DESCRIPTIONS.values() for text in described.values())
    assert {(name, key) for name, key in ALSO_ACCEPTED if key not in keys[name]} == set()
    assert set(SCHEMA["properties"]["grid"]["anyOf"][0]["properties"]) == set(config.AXES)


def test_the_example_of_each_key_is_allowed():
    sections = {"Experiment": SCHEMA, **SCHEMA["$defs"], "Configuration": SCHEMA["properties"]["baseline"]}
    for name, section in sections.items():
        for key, field in section["properties"].items():
            allowed = jsonschema.Draft202012Validator({**field, "$defs": SCHEMA["$defs"]})
            assert [fault.message for fault in allowed.iter_errors(field["examples"][0])] == [], f"{name}.{key}"


def test_the_page_of_settings_is_up_to_date():
    page = settings_page()
    assert (PROJECT / "docs" / "reference" / "settings.md").read_text() == page, "run `make settings`"
    assert all(f"## {path}\n" in page for path in ORDER)
    assert len(ORDER) == len(SCHEMA["$defs"])
