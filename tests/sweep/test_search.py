"""Searches that train a part of the declared grid."""

import dataclasses
import math

import pytest

from gridcast.config import Search
from gridcast.runtime.errors import ConfigError, Interrupted
from gridcast.sweep import events, runner, search, worker_job
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import open_store
from small_experiments import experiment, planned, sales

KEYS = [f"run{number}" for number in range(9)]


def all_rounds(rounds, loss):
    """Return the rounds of a search in which each run has the loss `loss(key, epochs)`."""
    rounds_so_far = []
    try:
        current = next(rounds)
        while True:
            rounds_so_far.append(current)
            current = rounds.send({key: loss(key, current[1]) for key in current[0]})
    except StopIteration:
        return rounds_so_far


def runs(grid):
    from gridcast.config.grid import expand

    return {f"{number:02d}": run for number, run in enumerate(expand(experiment(grid=grid)))}


def test_the_grid_is_one_round_of_everything():
    assert all_rounds(search.search_rounds(Search(), dict.fromkeys(KEYS), 50), lambda *_: 1.0) == [(KEYS, 50)]


@pytest.mark.parametrize(
    ("epochs", "reduction", "count", "expected"),
    [(50, 3, 3, (5, 16, 50)), (50, 2, 2, (25, 50)), (50, 3, 10, (1, 5, 16, 50)), (2, 3, 3, (1, 2)), (1, 3, 3, (1,))],
)
def test_rungs_lead_to_all_epochs(epochs, reduction, count, expected):
    assert search.halving_rungs(epochs, reduction, count) == expected


def test_halving_goes_on_with_the_best_at_each_rung():
    order = {key: number for number, key in enumerate(reversed(KEYS))}
    rounds = all_rounds(search.successive_halving(KEYS, (5, 16, 50), 3), lambda key, _: order[key])
    assert rounds == [(KEYS, 5), (KEYS[-3:], 16), (KEYS[-1:], 50)]


def test_halving_judges_again_at_each_rung_and_drops_what_failed():
    late = {"run0": 0.0, "run1": 1.0, "run2": math.inf}
    rounds = all_rounds(
        search.successive_halving(KEYS, (5, 16, 50), 3),
        lambda key, rung: late.get(key, 9.0) - (rung > 5) * (key == "run1") * 5,
    )
    assert [keys for keys, _ in rounds[1:]] == [["run0", "run1", "run3"], ["run1"]]
    assert all_rounds(search.successive_halving(KEYS, (5, 50), 3), lambda *_: math.inf) == [(KEYS, 5)]


def test_effort_is_that_of_the_rounds():
    rounds = all_rounds(search.successive_halving(KEYS, (5, 16, 50), 3), lambda *_: 1.0)
    spent, before = 0, 0
    for keys, until in rounds:
        spent, before = spent + len(keys) * (until - before), until
    assert search.search_effort(Search(strategy="halving", reduction=3), 9, 50) == (1 / 9, spent / 450)
    assert search.search_effort(Search(), 9, 50) == (1, 1)
    half = Search(strategy="random", budget={"runs": 3})
    assert search.search_effort(half, 9, 50) == (3 / 9, 3 / 9)


def test_chance_draws_each_run_at_most_once_and_the_same_ones_again():
    def drawn(seed, limit):
        rounds = all_rounds(search.random_search(KEYS * 1, 50, limit=limit, seed=seed), lambda *_: 1.0)
        return [key for keys, _ in rounds for key in keys]

    assert drawn(0, 5) == drawn(0, 9)[:5]
    assert sorted(drawn(0, 99)) == KEYS
    assert drawn(0, 9) != drawn(1, 9)


AXES = {"units": [4, 8, 16, 32], "learning_rate": [0.1, 0.03, 0.01, 0.003, 0.001], "layer": ["GRU", "LSTM"]}


def quality(run):
    settings = run.configuration
    return abs(math.log(settings.learning_rate / 0.01)) + abs(math.log(settings.units / 16)) + (settings.layer == "GRU")


def test_tpe_finds_what_is_good_sooner_than_chance():
    grid = runs(AXES)
    means = {}
    for strategy in ("tpe", "random"):
        found = []
        for seed in range(5):
            chosen = Search(strategy=strategy, budget={"runs": 24}, seed=seed)
            rounds = all_rounds(search.search_rounds(chosen, grid, 50), lambda key, _: quality(grid[key]))
            keys = [key for keys, _ in rounds for key in keys]
            assert len(keys) == len(set(keys)) == 24
            found += [quality(grid[key]) for key in keys[8:]]
        means[strategy] = sum(found) / len(found)
    assert means["tpe"] < 0.9 * means["random"]


def test_tpe_proposes_the_same_again_and_can_go_through_the_whole_grid():
    grid = runs({"units": [4, 8], "learning_rate": [0.1, 0.01]} | {"dropout": [0.0, 0.2, 0.4]})
    chosen = Search(strategy="tpe", budget={"runs": 99})
    first, second = (
        all_rounds(
            search.search_rounds(chosen, grid, 5), lambda key, _: math.inf if key == "03" else quality(grid[key])
        )
        for _ in range(2)
    )
    assert first == second
    assert sorted(key for keys, _ in first for key in keys) == list(grid)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"strategy": "random"}, "search: random needs a budget, such as {runs: 50} or {minutes: 10}"),
        (
            {"strategy": "halving", "budget": {"runs": 5}},
            "search: halving takes no budget; remove it, or use random",
        ),
        ({"strategy": "tpe", "budget": {}}, "search.budget: write one of runs and minutes, such as {runs: 50}"),
        ({"strategy": "tpe", "budget": {"runs": 1, "minutes": 1}}, "search.budget: write one of runs and minutes"),
        ({"strategy": "halvin"}, "search.strategy: 'halvin' is not allowed"),
    ],
)
def test_what_makes_no_sense_is_refused(section, message):
    with pytest.raises(ConfigError) as error:
        experiment(search=section)
    assert message in str(error.value)


GRID = {"learning_rate": [0.01, 0.007, 0.005, 0.003, 0.001, 0.00001]}  # rates, as they share a program


@pytest.fixture
def halved(tmp_path, monkeypatch, programs):
    """A halving of six runs over six epochs, in this process."""
    monkeypatch.chdir(tmp_path)
    training = {"epochs": 6, "patience": 6}
    halving = {"strategy": "halving", "reduction": 3, "rungs": 2}
    own = {"grid": GRID, "training": training, "search": halving, "baselines": ["last value"]}
    return (
        planned(tmp_path, sales(130), **own),
        open_store("small", f"sqlite:///{tmp_path}/mlflow.db"),
        worker_job.WorkerSettings(1, "jax", programs),
    )


class Stops(events.SweepEvents):
    """Ends the sweep once it has reported the first stopped run."""

    def stopped(self, name, epochs):
        raise KeyboardInterrupt


def records(store, kind):
    return {
        run.data.tags[mlflow_runs.KEY_TAG]: run
        for run in mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = '{kind}'")
    }


def test_halving_records_what_it_finished_and_what_it_stopped(halved):
    own, store, place = halved
    with pytest.raises(Interrupted, match="interrupted with 0 of 6"):
        runner.run_sweep(own, store, place, Stops())
    result = runner.run_sweep(own, store, place, events.SweepEvents())
    assert (result.trained, result.failed) == (2, 0)
    finished, stopped = records(store, "run"), records(store, "stopped")
    assert len(finished) == 2
    assert finished.keys() | stopped.keys() == own.runs.keys()
    assert len(stopped) == 4
    for run in stopped.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["gridcast.stopped"] == "after 2 epochs, by halving"
        assert run.data.metrics["epochs_trained"] == 2
        assert sorted(mlflow_runs.metric_history(store, run.info.run_id, "val_loss")) == [1, 2]
    worst = max(finished, key=lambda key: mlflow_runs.metric_history(store, finished[key].info.run_id, "val_loss")[2])
    seen = min(mlflow_runs.metric_history(store, finished[worst].info.run_id, "val_loss")[epoch] for epoch in (1, 2))
    assert all(run.data.metrics["best_val_loss"] >= seen for run in stopped.values())
    assert not any(path.is_file() and path.name in finished for path in place.cache.rglob("checkpoints/*"))


@pytest.mark.slow
def test_a_grid_that_was_searched_may_be_trained_to_its_end(halved):
    own, store, place = halved
    runner.run_sweep(own, store, place, events.SweepEvents())
    whole = own.experiment.model_copy(update={"search": Search()})
    complete = dataclasses.replace(own, experiment=whole)
    result = runner.run_sweep(complete, store, place, events.SweepEvents())
    assert (result.trained, result.skipped, result.stopped) == (4, 2, 0)


@pytest.mark.slow
def test_a_budget_of_minutes_ends_the_search(tmp_path, monkeypatch, programs):
    monkeypatch.chdir(tmp_path)
    own = planned(
        tmp_path,
        sales(130),
        grid={"learning_rate": [0.001 * k for k in range(1, 40)]},
        search={"strategy": "random", "budget": {"minutes": 0.05}},
        training={"epochs": 25, "patience": 25},
        baselines=["last value"],
    )
    store = open_store("small", f"sqlite:///{tmp_path}/mlflow.db")
    result = runner.run_sweep(own, store, worker_job.WorkerSettings(1, "jax", programs), events.SweepEvents())
    assert 0 < result.trained < 39
    # Baselines are computed though the time was over before their turn.
    assert {"last value", "training mean"} <= result.test_measures.keys()


def test_a_searched_experiment_is_a_sweep_of_its_own(tmp_path):
    found = [planned(tmp_path, sales(130), grid=GRID, search=own) for own in ({}, {"strategy": "halving"})]
    assert found[0].runs == found[1].runs
    assert found[0].sweep_key != found[1].sweep_key
