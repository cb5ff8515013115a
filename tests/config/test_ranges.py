"""Axes of the grid that are ranges."""

import random
from itertools import pairwise

import pytest
import yaml

from gridcast import config
from gridcast.config import Range, grid, large_grid
from gridcast.runtime.errors import ConfigError
from small_experiments import experiment, settings

RATES = {"low": 1e-4, "high": 1e-2, "log": True}
DRAWN = {"strategy": "random", "budget": {"runs": 40}}


def test_draws_lie_within_the_range_and_reach_its_ends():
    generator = random.Random(0)
    rates = [Range(1e-4, 1e-2, log=True).draw(generator) for _ in range(400)]
    assert 1e-4 <= min(rates) < 1.2e-4
    assert 8e-3 < max(rates) <= 1e-2
    assert 0.4 < sum(rate < 1e-3 for rate in rates) / 400 < 0.6  # half of them on each side of the geometric mean
    assert all(float(f"{rate:.4g}") == rate for rate in rates)
    stepped = Range(10, 45, step=10, is_integer=True)
    assert {stepped.draw(generator) for _ in range(200)} == {10, 20, 30, 40}
    assert stepped.ends == (10, 40)
    assert {Range(1, 3, is_integer=True).draw(generator) for _ in range(100)} == {1, 2, 3}
    thirds = {Range(0.1, 0.4, step=0.1).draw(generator) for _ in range(100)}
    assert thirds == {0.1, 0.2, 0.3, 0.4}


def test_random_draws_distinct_runs_and_a_larger_budget_begins_with_the_same():
    own = {"learning_rate": RATES, "units": {"low": 8, "high": 32, "step": 8}, "layer": ["GRU", "LSTM"]}
    runs = grid.expand(experiment(grid=own, search=DRAWN))
    assert len(set(runs)) == len(runs) == 40
    assert {run.configuration.units for run in runs} == {8, 16, 24, 32}
    fewer = grid.expand(experiment(grid=own, search=DRAWN | {"budget": {"runs": 7}}))
    assert fewer == runs[:7]
    assert grid.axes(experiment(grid=own, search=DRAWN)) == ("layer", "units", "learning_rate")


def test_a_space_of_few_values_is_drawn_whole():
    few = experiment(grid={"units": {"low": 8, "high": 11}}, training={"seeds": [0, 1]}, search=DRAWN)
    assert {(run.configuration.units, run.seed) for run in grid.expand(few)} == {
        (units, seed) for units in (8, 9, 10, 11) for seed in (0, 1)
    }


def test_without_a_number_of_runs_some_thousands_are_drawn(monkeypatch):
    monkeypatch.setattr(large_grid, "MAX_DRAWN", 9)
    for budget, count in (({"minutes": 1}, 9), ({"runs": 3}, 3)):
        runs = grid.expand(experiment(grid={"learning_rate": RATES}, search=DRAWN | {"budget": budget}))
        assert len(runs) == count


def test_ranges_of_an_axis_are_joined_over_the_grids():
    stepped = {"low": 8, "high": 33, "step": 8}
    alone = grid.joined_ranges(experiment(grid={"units": stepped, "dropout": [0.1, 0.2]}, search=DRAWN))
    assert alone == {"units": Range(8, 32, step=8, is_integer=True)}
    two = [{"units": stepped, "learning_rate": RATES}, {"units": [4, 64], "learning_rate": {"low": 0.1, "high": 0.2}}]
    joined = grid.joined_ranges(experiment(grid=two, search=DRAWN))
    assert joined == {"units": Range(4, 64, is_integer=True), "learning_rate": Range(1e-4, 0.2)}


def test_what_a_search_proposes_is_not_known_before():
    for strategy in ("tpe", "asha"):
        assert grid.expand(experiment(grid={"learning_rate": RATES}, search=DRAWN | {"strategy": strategy})) == ()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"grid": {"units": {"low": 8, "high": 4}}}, "grid.units: low must be below high (got 8 and 4); for one value"),
        ({"grid": {"units": {"low": 8, "high": 40.5}}}, "grid.units.high: must be an integer, as units is (got 40.5)"),
        ({"grid": {"units": {"low": 0, "high": 40}}}, "grid.units.low: must be greater than or equal to 1 (got 0)"),
        ({"grid": {"layer": {"low": 1, "high": 2}}}, "grid.layer: a range needs numbers, which layer has none of"),
        ({"grid": {"units": {"low": 8}}}, "grid.units.high: is missing; a range has both ends"),
        ({"grid": {"units": {"low": 8, "high": 9, "stp": 1}}}, "grid.units.stp: unknown key (allowed: low, high, log"),
        ({"grid": {"dropout": {"low": 0, "high": 0.5, "log": True}}}, "grid.dropout.low: must be above 0 where log is"),
        ({"grid": {"units": {"low": 1, "high": 9, "log": True, "step": 2}}}, "grid.units: takes log or step, not both"),
        ({"grid": {"units": {"low": 1, "high": 9, "step": 9}}}, "grid.units.step: must be above 0 and at most high -"),
        ({"grid": {"units": {"low": True, "high": 9}}}, "grid.units.low: must be a number (got True)"),
    ],
)
def test_what_is_no_range_is_refused(sections, message):
    with pytest.raises(ConfigError) as error:
        experiment(**sections, search=DRAWN)
    assert f"experiment: {message}" in str(error.value)


@pytest.mark.parametrize("strategy", ["grid", "halving"])
def test_the_remedies_for_a_strategy_without_ranges_work(strategy):
    own = settings(grid={"learning_rate": RATES}, search={"strategy": strategy})
    with pytest.raises(
        ConfigError, match=f"grid.learning_rate: search.strategy: {strategy} trains every value"
    ) as error:
        config.parse(yaml.safe_dump(own))
    text = str(error.value)
    values = yaml.safe_load(text[text.rindex("[") :])
    assert values == [1e-4, 1e-3, 1e-2]
    assert experiment(grid={"learning_rate": values}, search={"strategy": strategy}).trained_values("learning_rate")
    search = yaml.safe_load(text[text.index("{strategy") : text.index("}}") + 2])
    assert experiment(grid={"learning_rate": RATES}, search=search).has_ranges


def test_ranges_in_several_grids_are_for_random_alone():
    grids = [{"units": {"low": 8, "high": 16}}, {"units": {"low": 100, "high": 120}, "layer": ["GRU"]}]
    units = {run.configuration.units for run in grid.expand(experiment(grid=grids, search=DRAWN))}
    assert units <= {*range(8, 17), *range(100, 121)}
    assert min(units) < 17 < max(units)
    for strategy in ("tpe", "asha"):
        with pytest.raises(
            ConfigError, match=f"strategy: {strategy} takes a range in one grid, not in a list of grids"
        ):
            experiment(grid=grids, search=DRAWN | {"strategy": strategy})


def test_epochs_are_an_axis_that_changes_no_other_key():
    def keys(**sections):
        own = experiment(**sections)
        return [grid.run_key(own, run, fingerprint="f", backend="jax") for run in grid.expand(own)]

    plain = keys(training={"epochs": 5})
    varied = keys(training={"epochs": 5}, grid={"epochs": [3, 5]})
    assert len({*plain, *varied}) == 3
    # The section's own number decides nothing any more.
    assert keys(training={"epochs": 9}, grid={"epochs": [3, 5]}) == varied
    several = experiment(training={"epochs": 7}, grid=[{"epochs": [3]}, {"units": [8]}])
    assert [run.configuration.epochs for run in grid.expand(several)] == [3, 7]
    alike = {grid.shared_program(run) for run in grid.expand(experiment(grid={"epochs": [3, 5]}))}
    assert len(alike) == 1


@pytest.mark.parametrize("search", [{"strategy": "halving"}, {"strategy": "asha", "budget": {"runs": 5}}])
def test_who_stops_runs_early_takes_no_epochs_as_an_axis(search):
    with pytest.raises(ConfigError, match="grid.epochs: search.strategy: .* decides itself how many epochs a run gets"):
        experiment(grid={"epochs": [3, 5]}, search=search)


def test_the_examples_of_a_range_ascend():
    for one in (Range(1e-5, 0.3, log=True), Range(0, 0.5), Range(8, 64, is_integer=True)):
        assert all(a < b for a, b in pairwise(one.examples()))
