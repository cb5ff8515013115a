"""Grids of a million runs: counted, drawn from and thinned out without their product."""

import itertools
import time

import pytest

from gridcast.config import large_grid
from gridcast.config.grid import axes, configurations, expand
from gridcast.runtime.errors import ConfigError
from small_experiments import experiment, planned, sales

MILLION = {
    "units": list(range(1, 101)),
    "learning_rate": [k / 10000 for k in range(1, 101)],
    "dropout": [k / 100 for k in range(50)],
    "layer": ["GRU", "LSTM"],
}


def test_a_million_runs_are_refused_at_once_with_a_remedy_that_works():
    started = time.monotonic()
    with pytest.raises(ConfigError) as refused:
        expand(experiment(grid=MILLION))
    assert str(refused.value) == (
        "grid: 1,000,000 runs are more than one sweep can have (at most 100,000); give fewer values, or search a part "
        "of it: search: {strategy: random, budget: {runs: 200}}"
    )
    assert len(expand(experiment(grid=MILLION, search={"strategy": "random", "budget": {"runs": 200}}))) == 200
    assert time.monotonic() - started < 2


def test_a_grid_of_thousands_of_runs_is_warned_of(tmp_path):
    axes_of = {"learning_rate": [k / 10000 for k in range(1, 102)], "dropout": [k / 100 for k in range(50)]}
    search = {"strategy": "random", "budget": {"runs": 200}}
    sections = {"data": {"series": []}, "grid": axes_of}
    whole, few, searched = (
        planned(tmp_path, sales(60, ("pear",)), **sections | changes)
        for changes in ({}, {"grid": {"units": [1, 2]}}, {"search": search})
    )
    assert whole.panel.notes[-1] == (
        "warning: the grid has 5,050 runs; `gridcast plan` estimates how long they take, and search: {strategy: "
        "random, budget: {runs: 200}} trains a part of them"
    )
    assert not any("runs" in note for plan in (few, searched) for note in plan.panel.notes)


def test_random_draws_distinct_runs_of_all_grids_and_more_of_them_with_a_larger_budget():
    other = {"units": list(range(200, 300)), "batch_size": list(range(1, 301))}

    def drawn(runs, seed=0):
        search = {"strategy": "random", "budget": {"runs": runs}, "seed": seed}
        return expand(experiment(grid=[MILLION, other], search=search, training={"seeds": [0, 1]}))

    few, many = drawn(40), drawn(400)
    assert few == many[:40]
    assert len(set(many)) == 400
    assert {run.seed for run in many} == {0, 1}
    assert 0 < sum(run.configuration.units >= 200 for run in many) < 50
    assert drawn(40, seed=1) != few


def test_settings_stand_at_the_positions_of_the_product():
    grids = [{"units": (1, 2, 3), "layer": ("GRU", "LSTM")}, {}, {"units": (4, 5)}]
    expected = [dict(zip(grid, values, strict=True)) for grid in grids for values in itertools.product(*grid.values())]
    assert large_grid.count_configurations(grids) == len(expected)
    assert [large_grid._settings_at(grids, k) for k in range(len(expected))] == expected


def test_tpe_searches_a_product_of_evenly_spread_values():
    runs = expand(experiment(grid=MILLION, search={"strategy": "tpe", "budget": {"runs": 5}}))
    values = {axis: sorted({getattr(run.configuration, axis) for run in runs}) for axis in MILLION}
    assert len(runs) == len(values["units"]) * len(values["learning_rate"]) * len(values["dropout"]) * 2
    assert large_grid.MAX_EXPANDED / 8 < len(runs) <= large_grid.MAX_EXPANDED
    for axis in ("units", "learning_rate", "dropout"):
        assert (values[axis][0], values[axis][-1]) == (MILLION[axis][0], MILLION[axis][-1])


def test_a_grid_that_fits_is_searched_as_it_was():
    small = {"units": [1, 2], "dropout": [0.0, 0.5]}
    for search in ({}, {"strategy": "random", "budget": {"runs": 2}}):
        own = experiment(grid=small, search=search)
        assert [run.configuration for run in expand(own)] == list(configurations(own))
        assert axes(own) == ("units", "dropout")
