"""Siblings trained abreast learn what each of them learns alone."""

import json
import logging
import math
from dataclasses import replace

import numpy as np
import pytest

from gridcast.config.grid import Run
from gridcast.runtime import loading
from gridcast.runtime.errors import Diverged, GridcastError
from gridcast.training import atomic_bundle
from small_experiments import SMALL, planned, sales, same, with_training

pytestmark = pytest.mark.usefixtures("jax_backend")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("fused"), sales(130), **SMALL)


@pytest.fixture(scope="module")
def dataset(plan):
    return with_training(plan.dataset, epochs=16, patience=3, checkpoint_seconds=0.0)


def siblings(plan, rates=(0.01, 0.003), dropouts=(0.0, 0.3), seeds=(0, 1), **settings):
    own = plan.reference_run.configuration.model_copy(update=settings)
    return [
        Run(own.model_copy(update={"learning_rate": rate, "dropout": dropout}), seed)
        for rate in rates
        for dropout in dropouts
        for seed in seeds
    ]


def train(dataset, runs, paths=None, kin=None):
    from gridcast.training import fused_fit

    return fused_fit.train(dataset, runs, state_paths=paths or [None] * len(runs), siblings=kin or len(runs))


@pytest.fixture(scope="module")
def together(plan, dataset):
    """Five siblings with their outcomes: more than there are lanes."""
    runs = siblings(plan)[:5]
    return runs, train(dataset, runs)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.slow),  # the falling rate below is shown on it every day
        {"layer": "LSTM", "bidirectional": True, "attention": True},
        pytest.param(
            {"layer": "GRU", "layers": 2, "attention": True, "optimizer": "rmsprop", "loss": "huber"},
            marks=pytest.mark.slow,
        ),
        pytest.param({"layer": "LSTM", "loss": "mae", "batch_size": 50}, marks=pytest.mark.slow),
        {"layer": "linear"},
        pytest.param({"layer": "nhits"}, marks=pytest.mark.slow),
    ],
    ids=["GRU", "BiLSTM attention", "GRU x 2 rmsprop huber", "LSTM mae", "linear", "nhits"],
)
def test_each_run_equals_itself_trained_alone_on_stock_keras(plan, dataset, settings):
    from gridcast.training import keras_fit

    runs = siblings(plan, dropouts=(0.3,), seeds=(0,), **settings)
    # Stock Keras compiles for each run anew: one of the two, but where they are cheap.
    for run, fused in list(zip(runs, train(dataset, runs), strict=True))[: None if not settings else 1]:
        alone = keras_fit.train(dataset, run)
        assert fused.metrics["epochs_trained"] == alone.metrics["epochs_trained"]
        assert fused.metrics["best_epoch"] == alone.metrics["best_epoch"]
        for name, curve in alone.curves.items():
            np.testing.assert_allclose(fused.curves[name], curve, rtol=1e-5)
        assert fused.metrics["best_val_mae"] == pytest.approx(alone.metrics["best_val_mae"], rel=1e-5)
        assert dict(fused.origin_losses) == pytest.approx(dict(alone.origin_losses), rel=1e-4)


def test_a_rate_that_falls_does_so_for_each_lane_as_on_stock_keras(plan, dataset):
    from gridcast.training import keras_fit

    falling = with_training(dataset, decay="cosine", epochs=4)
    runs = siblings(plan, dropouts=(0.3,), seeds=(0,))
    outcomes = train(falling, runs)
    alone = keras_fit.train(falling, runs[0])
    assert outcomes[0].metrics["best_epoch"] == alone.metrics["best_epoch"]
    for name, curve in alone.curves.items():
        np.testing.assert_allclose(outcomes[0].curves[name], curve, rtol=1e-5)
    assert outcomes[0].metrics["best_val_mae"] == pytest.approx(alone.metrics["best_val_mae"], rel=1e-5)
    steady = train(with_training(dataset, epochs=4), runs)
    for one, other in zip(outcomes, steady, strict=True):
        assert one.curves["loss"][0] == other.curves["loss"][0]  # the first epoch has the whole rate
        assert one.curves["loss"][2] != other.curves["loss"][2]


def test_the_rate_falls_along_a_cosine_and_not_unasked(plan, dataset):
    settings = plan.reference_run.configuration
    falling = with_training(dataset, decay="cosine", epochs=4)
    rates = [falling.learning_rate(settings, epoch) / settings.learning_rate for epoch in range(4)]
    np.testing.assert_allclose(rates, [1, 0.5 + np.sqrt(0.125), 0.5, 0.5 - np.sqrt(0.125)])
    assert {dataset.learning_rate(settings, epoch) for epoch in range(16)} == {settings.learning_rate}


def test_siblings_stop_at_epochs_of_their_own(together):
    _, outcomes = together
    stopped = {outcome.metrics["epochs_trained"] for outcome in outcomes}
    assert len(stopped) > 1
    assert min(stopped) < 16


def test_company_changes_no_bit(dataset, together):
    runs, outcomes = together
    for some in ([3], [4, 0]):
        found = train(dataset, [runs[k] for k in some], kin=len(runs))
        assert all(same(outcome, outcomes[k]) for k, outcome in zip(some, found, strict=True))


def test_a_forecaster_is_that_of_the_best_epoch(plan, dataset, together):
    from gridcast.evaluation import metrics

    for run, outcome in zip(*together, strict=True):
        forecaster = loading.load_from_bytes(outcome.files)
        index = dataset.origins("validation", run.configuration.lookback)
        scaled = forecaster.predict_scaled(dataset.channels, index, dataset.series_codes)
        losses = metrics.point_losses("mse", dataset.scaled_targets(index), scaled)
        assert losses.mean() == pytest.approx(min(outcome.curves["val_loss"]), rel=1e-5)


class Killed(Exception):
    """Something outside ended the process."""


def broken(*_):
    raise Killed


@pytest.mark.parametrize("epochs", [1, 6])
def test_an_interrupted_group_goes_on_to_the_same_bits(dataset, together, tmp_path, monkeypatch, epochs):
    from gridcast.training import fused_fit

    runs, outcomes = together
    paths = [tmp_path / str(number) for number in range(len(runs))]
    left, real = [epochs], fused_fit.train_epoch

    def epoch(program, active):
        real(program, active)
        left[0] -= 1
        if not left[0]:
            raise Killed

    monkeypatch.setattr(fused_fit, "train_epoch", epoch)
    with pytest.raises(Killed):
        train(dataset, runs, paths)
    assert len(list(tmp_path.iterdir())) >= 3
    trained = sum(
        len(json.loads(atomic_bundle.read(path)["state.json"])["curves"]["loss"]) for path in tmp_path.iterdir()
    )
    assert trained >= epochs
    monkeypatch.undo()
    order = [4, 0, 2, 1, 3]
    found = train(dataset, [runs[k] for k in order], [paths[k] for k in order])
    assert all(same(outcome, outcomes[k]) for k, outcome in zip(order, found, strict=True))
    assert not any(tmp_path.iterdir())


def test_what_is_over_is_not_trained_again(dataset, together, tmp_path, monkeypatch):
    from gridcast.training import fused_fit

    runs, outcomes = together
    paths = [tmp_path / str(number) for number in range(len(runs))]
    with monkeypatch.context() as patch:
        patch.setattr(fused_fit.Lane, "result", broken)
        with pytest.raises(Killed):
            train(dataset, runs, paths)
    monkeypatch.setattr(fused_fit, "train_epoch", None)
    assert all(map(same, train(dataset, runs, paths), outcomes))
    assert not any(tmp_path.iterdir())


def test_runs_may_be_trained_in_parts(dataset, together, tmp_path):
    from gridcast.training import fused_fit
    from gridcast.training.result import PausedRun

    runs, outcomes = together
    paths = [tmp_path / str(number) for number in range(len(runs))]
    rarely = with_training(dataset, checkpoint_seconds=3600.0)
    for until in (2, 3, 3):
        for paused, outcome in zip(
            fused_fit.train(rarely, runs, state_paths=paths, siblings=len(runs), until=until), outcomes, strict=True
        ):
            assert isinstance(paused, PausedRun)
            assert paused.curves == {name: curve[:until] for name, curve in outcome.curves.items()}
    assert all(map(same, train(dataset, runs, paths), outcomes))


def test_a_damaged_state_is_told_and_that_run_alone_starts_over(dataset, together, tmp_path, caplog):
    runs, outcomes = together
    (tmp_path / "0").write_bytes(b"nothing that gridcast wrote, and long enough to hold a checksum")
    found = train(dataset, runs[:2], [tmp_path / "0", None], kin=len(runs))
    assert all(map(same, found, outcomes))
    (warning,) = caplog.records
    assert (warning.name, warning.levelno) == ("gridcast", logging.WARNING)
    assert warning.message == f"{tmp_path / '0'}: damaged, its checksum does not fit; the run starts over"


def test_a_run_whose_loss_is_no_longer_finite_fails_alone(plan, dataset, together, tmp_path):
    runs, outcomes = together
    broken = Run(runs[0].configuration.model_copy(update={"learning_rate": 1e38}), 0)
    paths = [tmp_path / name for name in ("broken", "a", "b")]
    error, *found = train(dataset, [broken, *runs[:2]], paths, kin=len(runs))
    assert isinstance(error, Diverged)
    assert "the loss is no longer finite in epoch 1; a lower learning rate may help" in str(error)
    assert all(map(same, found, outcomes))
    assert not paths[0].exists()


def test_a_run_over_its_time_is_ended(dataset, together):
    limited = with_training(dataset, max_minutes=1e-7)
    (error,) = train(limited, together[0][:1], kin=5)
    assert isinstance(error, GridcastError)
    assert str(error).startswith("exceeded training.max_minutes (1e-07) in epoch 1; raise it")


def test_the_time_of_siblings_adds_up_to_that_of_all(dataset, together):
    import time

    started = time.perf_counter()
    found = train(with_training(dataset, epochs=3), together[0])
    whole = time.perf_counter() - started
    shares = sum(outcome.metrics["fit_seconds"] for outcome in found)
    assert 0 < shares < whole
    assert all(math.isfinite(outcome.metrics["fit_seconds"]) for outcome in found)


def test_rates_and_seeds_are_values_of_one_program(plan, dataset):
    from gridcast.training.fused_program import FusedProgram

    def text(run):
        program = FusedProgram(dataset, run, 1)
        program.put(0, program.initial_state(run))
        positions = np.zeros((1, program.steps, program.size), np.int32)
        return program._advance.lower(
            program.state, np.zeros((1, 2), np.float32), positions, 0, 1, program.windows(None).arrays, program.panel
        ).as_text()

    first, *others = siblings(plan, rates=(0.01, 0.1), dropouts=(0.1, 0.2), seeds=(0, 5))
    assert {text(run) for run in others} == {text(first)}


@pytest.fixture(scope="module")
def ragged(tmp_path_factory):
    """Three series of different lengths, the last with less than a batch of windows."""
    frame = sales(130, ("apple", "pear", "plum"))
    first = {"apple": "2023-01-02", "pear": "2023-02-20", "plum": "2023-03-22"}
    frame = frame[frame["date"] >= frame["product"].map(first)]
    return planned(tmp_path_factory.mktemp("ragged"), frame, **SMALL | {"mode": "local"})


@pytest.fixture(scope="module")
def apart(ragged):
    """Runs of each series, of two learning rates, their dataset and outcomes: more than there are lanes."""
    dataset = with_training(ragged.dataset, epochs=16, patience=3, checkpoint_seconds=0.0)
    own = ragged.reference_run.configuration.model_copy(update={"dropout": 0.3})
    runs = [
        Run(own.model_copy(update={"learning_rate": rate}), 0, series=name)
        for rate in (0.03, 0.003)
        for name in ragged.panel.series
    ]
    return dataset, runs, train(dataset, runs)


def test_runs_of_single_series_equal_themselves_trained_alone_on_stock_keras(apart):
    from gridcast.training import keras_fit

    dataset, runs, outcomes = apart
    counts = [len(dataset.origins("train", 7, run.series)) for run in runs[:3]]
    assert counts[0] > counts[1] > 32 > counts[2]
    assert len({outcome.metrics["epochs_trained"] for outcome in outcomes}) > 1
    for number in (1, 2):
        alone = keras_fit.train(dataset, runs[number])
        assert outcomes[number].metrics["epochs_trained"] == alone.metrics["epochs_trained"]
        for name, curve in alone.curves.items():
            np.testing.assert_allclose(outcomes[number].curves[name], curve, rtol=1e-5)
        assert outcomes[number].metrics["best_val_mae"] == pytest.approx(alone.metrics["best_val_mae"], rel=1e-5)


def test_longer_and_shorter_series_beside_a_run_change_no_bit_of_it(apart):
    dataset, runs, outcomes = apart
    for some in ([2], [4, 2, 0]):
        found = train(dataset, [runs[k] for k in some], kin=len(runs))
        assert all(same(outcome, outcomes[k]) for k, outcome in zip(some, found, strict=True))


def test_a_network_of_one_series_reads_it_alone_and_embeds_nothing(apart):

    dataset, _, outcomes = apart
    forecaster = loading.load_from_bytes(outcomes[1].files)
    assert forecaster.preprocessing.series == ("pear",)
    assert {own.name for own in forecaster.network.inputs} == {"history", "ahead"}
    assert {step for step, _ in outcomes[1].origin_losses} == {
        int(step) for step in dataset.origins("validation", 7, "pear")[:, 1]
    }
    scaler = dataset.preprocessing.target_scaler
    assert forecaster.preprocessing.target_scaler.offset.tolist() == [scaler.offset[1]]


def test_series_are_values_of_one_program(apart):
    from gridcast.training.fused_program import FusedProgram
    from gridcast.training.lane import Lane

    dataset, runs, _ = apart

    def text(run):
        program = FusedProgram(dataset, run, 1)
        lane = Lane(program, run, None, 1)
        program.put(0, lane.begin())
        positions = np.zeros((1, program.steps, program.size), np.int32)
        windows = program.stacked_windows({0: lane.windows})
        return program._advance.lower(
            program.state, np.zeros((1, 2), np.float32), positions, 0, 1, windows, program.panel
        ).as_text()

    assert text(runs[0]) == text(runs[5])


def test_lanes_take_the_epochs_of_their_own_configuration_by_either_engine(plan, dataset):
    from gridcast.training import keras_fit

    base = with_training(dataset, patience=99)
    runs = [Run(siblings(plan)[0].configuration.model_copy(update={"epochs": epochs}), 0) for epochs in (2, 4)]
    short, long = train(base, runs)
    assert [one.metrics["epochs_trained"] for one in (short, long)] == [2, 4]
    assert long.curves["val_loss"][:2] == short.curves["val_loss"]
    followed = replace(base, followed_metric="val_share_within_20")
    fused, stock = train(followed, runs[:1])[0], keras_fit.train(followed, runs[0])
    for one in (fused, stock):
        curve = one.curves["val_share_within_20_by_epoch"]
        assert len(curve) == 2
        assert curve[int(one.metrics["best_epoch"]) - 1] == one.metrics["val_share_within_20"]
    assert stock.curves["val_share_within_20_by_epoch"] == pytest.approx(fused.curves["val_share_within_20_by_epoch"])
