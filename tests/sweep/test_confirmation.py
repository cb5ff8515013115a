"""The leading configurations of a search are confirmed with further seeds."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest

from gridcast.config import Search
from gridcast.runtime.errors import ConfigError, Interrupted
from gridcast.sweep import confirmation, events, runner, worker_job
from gridcast.sweep.confirmation import plan_confirmation
from gridcast.tracking import mlflow_runs
from gridcast.tracking.mlflow_runs import CONFIGURATION_TAG, CONFIRMATION_TAG, KEY_TAG, SEED_TAG
from gridcast.tracking.store import open_store
from small_experiments import experiment, planned, sales

GRID = {"learning_rate": [0.03, 0.01, 0.003, 0.00001]}


def confirmed(runs, **sections):
    wanted = plan_confirmation(experiment(**sections), runs)
    return wanted.top, wanted.seeds, wanted.runs


@pytest.mark.parametrize(
    ("runs", "seeds", "expected"),
    [
        (216, (0,), (5, 4, 15)),
        (150, (0,), (5, 4, 15)),
        (149, (0,), (4, 4, 12)),
        (60, (0,), (2, 4, 6)),
        (59, (0,), (0, 0, 0)),
        (60, (0, 1, 2), (5, 4, 5)),
        (500, (0, 1, 2, 3), (0, 0, 0)),
    ],
)
def test_left_out_it_costs_at_most_a_tenth_of_the_grid(runs, seeds, expected):
    assert confirmed(runs, training={"seeds": list(seeds)}) == expected
    assert expected[2] <= runs / 10


def test_left_out_it_costs_at_most_a_tenth_of_what_halving_trains():
    own = {"search": {"strategy": "halving"}, "training": {"epochs": 48}}
    assert confirmed(216, **own)[0] == 0
    top, _, further = confirmed(600, **own)
    effort = confirmation.search_effort(Search(strategy="halving"), 600, 48).epochs * 600
    assert top >= 2
    assert effort / 20 < further <= effort / 10


def test_what_the_file_asks_for_is_done_whatever_it_costs():
    assert confirmed(6, search={"confirm": {"top": 2, "seeds": 3}}) == (2, 3, 4)
    assert confirmed(6, search={"confirm": True}) == (5, 4, 15)
    assert confirmed(3, search={"confirm": {"top": 5}}) == (3, 4, 9)
    asked = {"strategy": "random", "budget": {"runs": 9}, "confirm": {"top": 2}}
    assert confirmed(9, search=asked) == (2, 4, 6)
    assert confirmed(9, search=asked, training={"seeds": [0, 1, 2]})[2] == 6
    assert confirmed(300, split={"folds": 3}) == (3, 4, 27)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"search": {"confirm": "none"}}, ""),
        ({"search": {"confirm": False}}, ""),
        ({"mode": "local"}, "with mode: local each series has leading configurations of its own"),
        ({"search": {"strategy": "random", "budget": {"runs": 9}}}, "search.strategy: random confirms only if asked"),
        ({"training": {"seeds": [0, 1, 2, 3]}}, "every configuration has 4 seeds"),
        ({"split": {"folds": 40}}, "the 240 runs that 2 configurations need are more than a tenth of the sweep"),
    ],
)
def test_where_nothing_is_confirmed_it_says_why(sections, reason):
    wanted = plan_confirmation(experiment(**sections), 1000)
    assert (wanted.top, wanted.runs, wanted.reason) == (0, 0, reason)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"search": {"confirm": 5}}, "search.confirm: expected {top: 5, seeds: 4} or none, got 5"),
        ({"search": {"confirm": {"tops": 5}}}, "search.confirm.tops: unknown key; did you mean 'top'? (allowed: top, "),
        ({"search": {"confirm": {"seeds": 1}}}, "search.confirm.seeds: must be greater than or equal to 2 (got 1)"),
        ({"search": {"confirm": {"top": 2}}, "mode": "local"}, "give more training.seeds, and remove it"),
    ],
)
def test_what_makes_no_sense_is_refused(sections, message):
    with pytest.raises(ConfigError) as error:
        experiment(**sections)
    assert message in str(error.value)


def as_finished(plan, losses):
    """MLflow runs of a plan as `finished_runs` returns them; `losses` by (learning rate, seed, fold)."""
    finished = {}
    for key, run in plan.runs.items():
        loss = losses.get((run.configuration.learning_rate, run.seed, run.fold))
        if loss is not None:
            finished[key] = SimpleNamespace(data=SimpleNamespace(metrics={"best_val_loss": loss}))
    return finished


def further(plan, losses):
    runs = confirmation.confirmation_runs(plan, as_finished(plan, losses))
    return [(run.configuration.learning_rate, run.seed, run.fold) for run in runs.values()]


def test_leaders_have_the_best_means_and_get_the_seeds_that_they_lack(tmp_path):
    own = planned(tmp_path, sales(), grid=GRID, training={"seeds": [3, 0]}, search={"confirm": {"top": 2, "seeds": 4}})
    losses = {(0.03, 3, 0): 1.0, (0.03, 0, 0): 9.0, (0.01, 3, 0): 3.0, (0.01, 0, 0): 3.0}
    losses |= {(0.003, 3, 0): 4.0, (0.003, 0, 0): float("inf"), (1e-05, 3, 0): 8.0, (1e-05, 0, 0): 8.0}
    # The mean of 0.003 is over the one seed that did not fail; it gets three more.
    assert further(own, losses) == [(0.01, 1, 0), (0.01, 2, 0), (0.003, 1, 0), (0.003, 2, 0), (0.003, 4, 0)]


def test_further_seeds_are_trained_on_every_fold_and_a_seed_counts_only_with_all_folds(tmp_path):
    own = planned(tmp_path, sales(), grid=GRID, split={"folds": 2}, search={"confirm": {"top": 1, "seeds": 2}})
    losses = {(0.03, 0, 0): 1.0, (0.01, 0, 0): 2.0, (0.01, 0, 1): 2.0}
    assert further(own, losses) == [(0.01, 1, 0), (0.01, 1, 1)]


def test_a_further_seed_has_the_run_key_that_it_would_have_in_the_grid(tmp_path):
    asked = planned(tmp_path, sales(), grid=GRID, search={"confirm": {"top": 4, "seeds": 3}})
    more = planned(tmp_path, sales(), grid=GRID, training={"seeds": [0, 1, 2]})
    losses = {(rate, 0, 0): rate for rate in GRID["learning_rate"]}
    runs = confirmation.confirmation_runs(asked, as_finished(asked, losses))
    assert {**asked.runs, **runs} == more.runs


def test_the_sweep_and_its_runs_stay_the_same_with_and_without_it(tmp_path):
    for search in ({}, {"strategy": "halving"}):
        plans = [planned(tmp_path, sales(), grid=GRID, search=search | own) for own in ({}, {"confirm": "none"})]
        plans.append(planned(tmp_path, sales(), grid=GRID, search=search | {"confirm": {"top": 3}}))
        assert len({plan.sweep_key for plan in plans}) == 1
        assert plans[0].runs == plans[1].runs == plans[2].runs


class Stops(events.SweepEvents):
    """Ends the sweep after the first run that confirms."""

    confirms = False

    def confirming(self, configurations, todo, cost):
        assert (configurations, todo) == (2, 4)
        self.confirms = True

    def finished(self, name, cost, metrics):
        if self.confirms and metrics is not None:
            raise KeyboardInterrupt


@pytest.fixture
def asked(tmp_path, monkeypatch, programs):
    monkeypatch.chdir(tmp_path)
    own = planned(tmp_path, sales(130), grid=GRID, search={"confirm": {"top": 2, "seeds": 3}}, baselines=["last value"])
    return own, open_store("small", f"sqlite:///{tmp_path}/mlflow.db"), worker_job.WorkerSettings(1, "jax", programs)


def recorded(store):
    runs = mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = 'run'")
    assert len({run.data.tags[KEY_TAG] for run in runs}) == len(runs)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}
    return [run for run in runs if run.info.status == "FINISHED"]


def test_an_interrupted_confirmation_continues_and_the_best_mean_wins(asked):
    own, store, place = asked
    with pytest.raises(Interrupted, match="interrupted with 5 of 8 runs finished"):
        runner.run_sweep(own, store, place, Stops())
    result = runner.run_sweep(own, store, place, events.SweepEvents())
    assert (result.planned, result.trained, result.confirmed, result.skipped, result.failed) == (8, 3, 3, 5, 0)
    runs = recorded(store)
    assert len(runs) == 8
    further = [run for run in runs if CONFIRMATION_TAG in run.data.tags]
    assert sorted(run.data.tags[SEED_TAG] for run in further) == ["1", "1", "2", "2"]
    leaders = {run.data.tags[CONFIGURATION_TAG] for run in further}
    assert len(leaders) == 2
    losses = {
        leader: [run.data.metrics["best_val_loss"] for run in runs if run.data.tags[CONFIGURATION_TAG] == leader]
        for leader in leaders
    }
    best = min(leaders, key=lambda leader: sum(losses[leader]))
    assert result.winner.data.tags[CONFIGURATION_TAG] == best
    assert result.winner.data.metrics["best_val_loss"] == min(losses[best])
    about = json.loads(mlflow_runs.read_artifact(store, result.sweep_id, "sweep.json"))
    assert set(about["confirmation_keys"]) == {run.data.tags[KEY_TAG] for run in further}
    # All is done: nothing is trained once more, and a promotion finds the same winner.
    again = runner.run_sweep(own, store, place, events.SweepEvents())
    assert (again.trained, again.skipped, again.winner.info.run_id) == (0, 8, result.winner.info.run_id)
    assert confirmation.with_confirmation(own, store)[1].keys() == {run.data.tags[KEY_TAG] for run in runs}


@pytest.mark.slow
def test_a_finished_grid_can_be_confirmed_later(asked):
    own, store, place = asked
    off = dataclasses.replace(own, experiment=own.experiment.model_copy(update={"search": Search(confirm=None)}))
    assert runner.run_sweep(off, store, place, events.SweepEvents()).trained == 4
    result = runner.run_sweep(own, store, place, events.SweepEvents())
    assert (result.trained, result.confirmed, result.skipped) == (4, 4, 4)
    assert len(mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = 'sweep'")) == 1
