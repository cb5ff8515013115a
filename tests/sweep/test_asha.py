"""Asynchronous successive halving, and proposals from ranges: simulated searches, and one that is trained."""

import contextlib
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from gridcast.api.sweeps import TimedPlan
from gridcast.cli import terminal
from gridcast.runtime.errors import Interrupted
from gridcast.sweep import events, proposals, runner, search, search_loop, worker_job
from gridcast.sweep.confirmation import ConfirmationPlan
from gridcast.sweep.search_space import Attempt, SearchSpace
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import open_store
from gridcast.training.result import PausedRun, TrainingResult
from small_experiments import experiment, planned, sales

SPACE = {
    "learning_rate": {"low": 1e-5, "high": 1.0, "log": True},
    "units": {"low": 8, "high": 128, "log": True},
    "layer": ["GRU", "LSTM"],
}


def key_of(run):
    settings = run.configuration
    return f"{settings.layer} {settings.units} {settings.learning_rate} {run.seed}"


def quality(run):
    settings = run.configuration
    return (
        abs(math.log(settings.learning_rate / 0.003)) + abs(math.log(settings.units / 32)) + (settings.layer == "GRU")
    )


def simulate(strategy, *, seed=0, budget=40, cost=lambda run, until: quality(run) + 3 / until, grid=SPACE, runs=None):
    """Return the rounds of a search whose runs cost `cost(run, epoch)`, and its runs by key."""
    own = experiment(
        grid=grid,
        search={"strategy": strategy, "budget": {"runs": budget}, "seed": seed},
        training={"epochs": 48},
    )
    runs = {} if runs is None else runs
    rounds = search.search_rounds(own.search, runs, 48, SearchSpace(own, runs, key_of))
    made, costs = [], None
    while True:
        try:
            current = next(rounds) if costs is None else rounds.send(costs)
        except StopIteration:
            return made, runs
        made.append(current)
        costs = {key: cost(runs[key], current.until_of(key)) for key in current.keys}


def test_asha_sends_on_the_best_and_one_comes_to_its_end():
    rounds, runs = simulate("asha")
    jobs = [(key, one.until_of(key)) for one in rounds for key in one.keys]
    assert len(jobs) == len(set(jobs))
    count = Counter(until for _, until in jobs)
    assert count[3] == len(runs) == 40
    assert 10 <= count[12] <= 13  # a quarter, and those that were among the best for a while
    assert 3 <= count[48] <= 5
    for until, higher in ((3, 12), (12, 48)):
        reached = {key for key, epoch in jobs if epoch == until}
        went_on = {key for key, epoch in jobs if epoch == higher}
        best = sorted(reached, key=lambda key: quality(runs[key]))[: math.ceil(len(reached) / 4)]
        assert set(best) <= went_on < reached
    # New runs begin beside those that go on.
    assert any(len(set(one.until.values())) > 1 for one in rounds)


def test_asha_never_sends_on_what_failed_and_ends_where_all_do():
    rounds, runs = simulate("asha", cost=lambda run, _: math.inf if run.configuration.layer == "GRU" else quality(run))
    later = {key for one in rounds for key in one.keys if one.until_of(key) > 3}
    assert later
    assert {runs[key].configuration.layer for key in later} == {"LSTM"}
    rounds, runs = simulate("asha", budget=10, cost=lambda *_: math.inf)
    assert {one.until_of(key) for one in rounds for key in one.keys} == {3}
    assert len(runs) == 10


def test_a_single_run_comes_to_its_end():
    rounds, _ = simulate("asha", budget=1)
    assert [one.until_of(key) for one in rounds for key in one.keys] == [3, 12, 48]


def test_asha_of_lists_of_values_stays_within_the_declared_grids():
    from gridcast.config.grid import expand

    grids = [{"units": [8, 16]}, {"layer": ["LSTM"], "learning_rate": [0.1, 0.01, 0.001]}]
    declared = expand(experiment(grid=grids))
    runs = {key_of(run): run for run in declared}
    rounds, after = simulate("asha", grid=grids, budget=99, runs=runs)
    assert {key for one in rounds for key in one.keys} == {key_of(run) for run in declared}
    assert set(after.values()) == set(declared)


@pytest.mark.parametrize("strategy", ["tpe", "asha"])
def test_the_same_costs_give_the_same_proposals(strategy):
    assert simulate(strategy) == simulate(strategy)
    assert simulate(strategy)[1] != simulate(strategy, seed=1)[1]


def test_a_proposal_follows_from_what_is_recorded_alone():
    own = experiment(grid=SPACE, search={"strategy": "tpe", "budget": {"runs": 40}})
    record, others = [], {}
    for _ in range(15):
        attempt = SearchSpace(own, {}, key_of).propose(record)  # each by a space of its own, as after a kill
        record.append(Attempt(attempt.key, attempt.run, {48: quality(attempt.run)}, is_complete=True))
    whole = SearchSpace(own, others, key_of)
    again = []
    for _ in range(15):
        attempt = whole.propose(again)
        again.append(Attempt(attempt.key, attempt.run, {48: quality(attempt.run)}, is_complete=True))
    assert [one.key for one in again] == [one.key for one in record]
    assert list(others) == [one.key for one in again]


def test_tpe_learns_in_ranges():
    means = {}
    for strategy in ("tpe", "random"):
        found = []
        for seed in range(4):
            if strategy == "tpe":
                runs = list(simulate("tpe", seed=seed)[1].values())
            else:
                from gridcast.config.grid import expand

                own = {"strategy": "random", "budget": {"runs": 40}, "seed": seed}
                runs = list(expand(experiment(grid=SPACE, search=own)))
            found += [quality(run) for run in runs[16:]]
        means[strategy] = sum(found) / len(found)
    assert means["tpe"] < 0.8 * means["random"]


def test_a_small_space_is_proposed_whole_and_once():
    grid = {"units": {"low": 8, "high": 10}, "layer": ["GRU", "LSTM"]}
    rounds, runs = simulate("tpe", grid=grid, budget=99)
    keys = [key for one in rounds for key in one.keys]
    assert len(keys) == len(set(keys)) == len(runs) == 6


def test_effort_of_asha_is_that_of_the_runs_it_starts():
    own = experiment(grid=SPACE, search={"strategy": "asha", "budget": {"runs": 40}}, training={"epochs": 48})
    effort = search.search_effort(own.search, 40, 48)
    assert effort.runs == 3 / 40
    assert effort.epochs == (40 * 3 + 10 * 9 + 3 * 36) / (40 * 48)


@pytest.mark.parametrize(
    ("search", "size", "sentence"),
    [
        (
            {"strategy": "asha", "budget": {"runs": 40}},
            "up to 40 runs",
            "asha starts 40 runs, 3 of them to the end: at most",
        ),
        ({"strategy": "tpe", "budget": {"runs": 1}}, "up to 1 run", "search.strategy: tpe starts 1 run: at most about"),
        (
            {"strategy": "tpe", "budget": {"minutes": 5}},
            "as many runs as 5 minutes allow",
            "The search ends after 5 minutes, with the runs that are under way by then.",
        ),
        ({"strategy": "random", "budget": {"runs": 9}}, "9 runs", "search.strategy: random starts 9 runs: at most"),
    ],
)
def test_a_plan_says_how_many_runs_a_search_of_ranges_has(tmp_path, search, size, sentence):
    plan = planned(tmp_path, sales(130), grid=SPACE, search=search, training={"epochs": 48})
    assert plan.size_text == size
    sample = plan.sample()
    assert len(sample.runs) == {"up to 40 runs": 32, "up to 1 run": 1, "9 runs": 9}.get(size, 32)
    assert sample.sweep_key == plan.sweep_key
    timed = TimedPlan(plan, sample, dict.fromkeys(sample.runs, 60.0), 2, ConfirmationPlan(0), 0.0)
    assert sentence in terminal.plan_sentence(timed)


class Simulation:
    """Sweeps in memory: their MLflow runs, and the states on disk that outlive a kill, as epochs trained by key."""

    def __init__(self, plan):
        self.plan, self.runs, self.disk, self.trained = plan, {}, {}, Counter()
        self.store = self.sweep_id = self.live_runs = self.recorder = self
        self.finished_keys = set()

    def start(self, kill_after=None):
        self.left = kill_after
        with contextlib.suppress(KeyboardInterrupt):
            finished = self.finished_runs(self, self.plan.runs)
            return search_loop.SearchLoop(self, events.SweepEvents(), finished).train([])

    def set_plan(self, plan):
        self.plan = plan

    def reopen(self):
        pass

    def execute(self, tasks, keep_going=None):
        for task in tasks:
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
            start, total = self.disk.get(task.key, 0), self.plan.experiment.training.epochs
            epochs = max(start, min(task.until, total))
            self.trained[task.key] += epochs - start
            self.disk[task.key] = epochs
            run = task.run.configuration
            losses = tuple(quality(task.run) + 3 / epoch for epoch in range(1, epochs + 1))
            curves = {"loss": losses, "val_loss": losses, "mae": losses, "val_mae": losses}
            # The share is best where the loss is worst: who decides by the loss decides wrongly.
            curves["val_share_within_10_by_epoch"] = tuple(100 * (1 - run.dropout) - 3 / (k + 1) for k in range(epochs))
            if epochs < total:
                yield task, PausedRun(curves, 1.0, ())
            else:
                values = {"val_share_within_10": curves["val_share_within_10_by_epoch"][-1]}
                values |= {"best_val_loss": losses[-1], "epochs_trained": epochs}
                yield task, TrainingResult(curves, values, (), {})

    def add(self, entry):
        assert entry.key not in self.runs
        self.runs[entry.key] = entry

    def finished_runs(self, _, keys, kind="run"):
        return {
            key: SimpleNamespace(data=SimpleNamespace(metrics=self.runs[key].metrics), info=SimpleNamespace(run_id=key))
            for key in keys
            if key in self.runs and self.runs[key].kind == kind
        }

    def metric_history(self, _, key, name):
        return dict(self.runs[key].curves[name])


@pytest.fixture
def simulation(tmp_path, monkeypatch):
    """A function that returns a simulated search of 30 runs by ASHA, chosen by a share of hits."""
    plan = planned(
        tmp_path,
        sales(130),
        grid={"learning_rate": SPACE["learning_rate"], "dropout": {"low": 0.0, "high": 0.5}},
        training={"epochs": 48, "patience": 48},
        search={"strategy": "asha", "budget": {"runs": 30}},
        selection={"metric": "share_within_10"},
    )

    def make():
        one = Simulation(plan)
        for name in ("finished_runs", "metric_history"):
            monkeypatch.setattr(mlflow_runs, name, getattr(one, name))
        monkeypatch.setattr(search_loop, "run_entry", lambda plan, task, result: entry_of(task.key, "run", result))
        monkeypatch.setattr(search_loop, "stopped_entry", lambda plan, key, paused: entry_of(key, "stopped", paused))
        return one

    return make


def entry_of(key, kind, result):
    curves = {name: list(enumerate(values, start=1)) for name, values in result.curves.items()}
    metrics = getattr(result, "metrics", {"epochs_trained": len(result.curves["loss"])})
    return SimpleNamespace(key=key, kind=kind, metrics=metrics, curves=curves)


def test_early_decisions_follow_the_metric_of_the_selection(simulation):
    one = simulation()
    one.start()
    kinds = {key: entry.kind for key, entry in one.runs.items()}
    count = Counter(kinds.values())
    assert sum(count.values()) == 30
    assert 2 <= count["run"] <= 8
    dropout = {key: run.configuration.dropout for key, run in one.plan.runs.items()}
    finished = [dropout[key] for key, kind in kinds.items() if kind == "run"]
    assert min(finished) == min(dropout.values())  # the one with the highest share
    assert np.mean(finished) < np.median(list(dropout.values()))


@pytest.mark.parametrize("kills", [(3,), (11, 2), (20, 20, 1, 5), (38,)])
def test_a_killed_search_goes_on_to_the_same_runs_and_trains_no_epoch_twice(simulation, kills):
    whole = simulation()
    whole.start()
    killed = simulation()
    for count in kills:
        assert killed.start(count) is None
    assert killed.start() is not None
    assert killed.plan.runs == whole.plan.runs
    assert {key: entry.kind for key, entry in killed.runs.items()} == {k: entry.kind for k, entry in whole.runs.items()}
    assert killed.trained == whole.trained
    killed.disk.clear()  # a later start finds everything in the record
    assert killed.start() is not None
    assert killed.trained == whole.trained


class Interrupts(events.SweepEvents):
    """Ends the sweep once so many tasks have ended."""

    def __init__(self, count):
        self.count = count

    def finished(self, name, cost, metrics):
        self.count -= 1
        if not self.count:
            raise KeyboardInterrupt


@pytest.fixture
def shop(tmp_path, monkeypatch, programs):
    """A search of ranges by ASHA, whose runs share one program, in this process; chosen by a share of hits."""
    monkeypatch.chdir(tmp_path)

    def start(name, count=0):
        own = planned(
            tmp_path,
            sales(130),
            name=name,
            grid={"learning_rate": {"low": 1e-4, "high": 0.1, "log": True}, "dropout": {"low": 0.0, "high": 0.3}},
            training={"epochs": 4, "patience": 4},
            search={"strategy": "asha", "budget": {"runs": 6}, "reduction": 2, "rungs": 3},
            selection={"metric": "share_within_20"},
            baselines=["last value"],
        )
        store = open_store(name, f"sqlite:///{tmp_path}/mlflow.db")
        place = worker_job.WorkerSettings(1, "jax", programs / name)
        found = events.SweepEvents() if not count else Interrupts(count)
        return proposals.with_proposals(own, store), store, runner.run_sweep(own, store, place, found)

    return start


def records(store, kind):
    return mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = '{kind}'")


def recorded(store):
    """The kind and the length of each recorded run, by key."""
    runs = [run for kind in ("run", "stopped") for run in records(store, kind)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    keys = [run.data.tags[mlflow_runs.KEY_TAG] for run in runs]
    assert len(keys) == len(set(keys))
    return {
        run.data.tags[mlflow_runs.KEY_TAG]: (run.data.tags[mlflow_runs.KIND_TAG], run.data.metrics["epochs_trained"])
        for run in runs
    }


@pytest.mark.slow
def test_a_killed_search_that_is_trained_goes_on_to_what_it_would_have_found(shop):
    _, store, result = shop("whole")
    expected = recorded(store)
    assert len(expected) == 6
    assert Counter(kind for kind, _ in expected.values())["run"] == result.trained
    best = max(
        (run for run in mlflow_runs.finished_runs(store, expected).values()),
        key=lambda run: run.data.metrics["val_share_within_20"],
    )
    assert result.winner.info.run_id == best.info.run_id
    curve = mlflow_runs.metric_history(store, best.info.run_id, "val_share_within_20_by_epoch")
    assert curve[int(best.data.metrics["best_epoch"])] == best.data.metrics["val_share_within_20"]
    for count in (4, 5):
        with pytest.raises(Interrupted, match="of 6 runs finished"):
            shop("killed", count)
    plan, store, _ = shop("killed")
    assert recorded(store) == expected
    assert plan.runs.keys() == expected.keys()
