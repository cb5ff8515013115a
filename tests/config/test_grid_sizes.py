"""Limits of the size of a grid, and the parts of a larger one, with small numbers."""

import itertools

import pytest

from gridcast.config import large_grid
from gridcast.config.grid import expand
from gridcast.runtime.errors import ConfigError
from small_experiments import experiment

EIGHT = {"units": [1, 2, 3, 4], "dropout": [0.0, 0.5]}
NINE = {"units": [1, 2, 3], "dropout": [0.0, 0.2, 0.4]}
SEARCH = {"strategy": "random", "budget": {"runs": 2}}


@pytest.fixture
def limits(monkeypatch):
    """Eight runs are as many as a sweep may have, and as a search takes as a whole."""
    monkeypatch.setattr(large_grid, "MAX_RUNS", 8)
    monkeypatch.setattr(large_grid, "MAX_EXPANDED", 8)


def test_the_limits_are_those_of_the_documentation():
    assert (large_grid.MAX_RUNS, large_grid.MANY_RUNS, large_grid.MAX_EXPANDED) == (100_000, 5_000, 20_000)


@pytest.mark.parametrize(
    ("sections", "runs"),
    [
        ({"grid": NINE}, 9),
        ({"grid": [{"units": [1, 2, 3, 4, 5]}, {"dropout": [0.0, 0.2, 0.4, 0.5]}]}, 9),
        ({"grid": {"units": [1, 2, 3]}, "training": {"seeds": [0, 1, 2, 2]}}, 9),
        ({"grid": {"units": [1, 2, 3]}, "split": {"folds": 3, "horizon": 2}}, 9),
        ({"grid": {"units": [1, 2, 3]}, "mode": "local"}, 9),
    ],
)
def test_runs_are_counted_over_grids_seeds_folds_and_series(limits, sections, runs):
    subjects = ("a", "b", "c") if sections.get("mode") else ()
    with pytest.raises(
        ConfigError, match=rf"^grid: {runs} runs are more than one sweep can have \(at most 8\); "
    ) as no:
        expand(experiment(**sections), subjects)
    # A part of the grid can be searched in global mode without folds.
    assert ("search: {strategy: random" in str(no.value)) == (not {"split", "mode"} & sections.keys())


def test_as_many_runs_as_the_limit_are_no_more(limits):
    large_grid.check_size(experiment(grid=EIGHT))
    assert len(expand(experiment(grid=EIGHT))) == 8
    large_grid.check_size(experiment(grid=NINE, search=SEARCH))


def test_a_grid_that_its_search_takes_as_a_whole(limits):
    assert not large_grid.is_too_large(experiment(grid=EIGHT, search=SEARCH))
    assert large_grid.is_too_large(experiment(grid=NINE, search=SEARCH))
    assert large_grid.is_too_large(experiment(grid=NINE, search={"strategy": "tpe", "budget": {"minutes": 5}}))
    assert not large_grid.is_too_large(experiment(grid=NINE))
    three = experiment(grid={"units": [1, 2, 3]}, search=SEARCH, training={"seeds": [0, 1, 2, 2]})
    assert large_grid.is_too_large(three)


def test_random_draws_as_many_runs_as_its_budget_and_the_limit_allow(limits):
    seeds = {"seeds": [4, 9]}
    for budget, count in (({"runs": 3}, 3), ({"runs": 50}, 8), ({"minutes": 5}, 8)):
        drawn = expand(experiment(grid=NINE, training=seeds, search={"strategy": "random", "budget": budget}))
        assert len(drawn) == len(set(drawn)) == count
        assert {run.seed for run in drawn} <= {4, 9}
    runs = large_grid.drawn_settings(experiment(grid={"units": [1, 2]}, training=seeds, search=SEARCH))
    assert len({(settings["units"], seed) for settings, seed in runs}) == 2


def test_settings_stand_at_the_positions_of_the_product():
    grids = [{"units": (1, 2), "layer": ("GRU", "LSTM")}, {}, {"units": (4, 5, 6)}]
    expected = [dict(zip(grid, values, strict=True)) for grid in grids for values in itertools.product(*grid.values())]
    assert large_grid.count_configurations(grids) == len(expected) == 8
    assert [large_grid._settings_at(grids, k) for k in range(8)] == expected
    assert [list(large_grid._settings_at(grids, k)) for k in (0, 4)] == [["units", "layer"], []]


@pytest.mark.parametrize(
    ("grids", "limit", "thinned"),
    [
        ([{"a": (1, 2, 3)}], 3, [(1, 2, 3)]),
        ([{"a": (1, 2, 3, 4, 5)}], 4, [(1, 3, 5)]),
        ([{"a": (1, 2, 3, 4, 5)}], 2, [(1, 5)]),
        ([{"a": (1, 2, 3, 4, 5)}], 1, [(1,)]),
        ([{"a": (1, 2)}], 0, [(1,)]),
        ([{"a": (1, 2, 3)}, {"a": (4, 5, 6, 7, 8, 9)}], 6, [(1, 2, 3), (4, 6, 9)]),
    ],
)
def test_a_grid_is_thinned_to_evenly_spread_values(grids, limit, thinned):
    assert [grid["a"] for grid in large_grid.thinned_grids(grids, limit)] == thinned


def test_the_longest_axis_is_thinned_first():
    grid = {"a": (1, 2, 3), "b": tuple(range(10)), "c": (1,)}
    assert large_grid.thinned_grids([grid], 15) == [{"a": (1, 2, 3), "b": (0, 2, 4, 7, 9), "c": (1,)}]
    assert large_grid.thinned_grids([grid], 9) == [{"a": (1, 2, 3), "b": (0, 4, 9), "c": (1,)}]
    assert large_grid.thinned_grids([grid], 8) == [{"a": (1, 3), "b": (0, 4, 9), "c": (1,)}]


def test_tpe_has_all_seeds_of_a_thinned_grid(limits):
    search = {"strategy": "tpe", "budget": {"runs": 5}}
    runs = expand(experiment(grid=NINE, training={"seeds": [0, 1, 1]}, search=search))
    assert [(run.configuration.units, run.configuration.dropout, run.seed) for run in runs] == [
        (units, dropout, seed) for units in (1, 3) for dropout in (0.0, 0.4) for seed in (0, 1)
    ]
