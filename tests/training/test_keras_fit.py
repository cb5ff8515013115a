"""Training one run on stock Keras."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from gridcast.config.grid import Run
from gridcast.evaluation import metrics
from gridcast.runtime import loading
from gridcast.runtime.errors import GridcastError
from small_experiments import EXPERIMENTS, SMALL, planned, sales, with_training

pytestmark = pytest.mark.usefixtures("jax_backend")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("fit"), sales(130), **SMALL)


@pytest.fixture(scope="module")
def outcome(plan):
    from gridcast.training import keras_fit

    return keras_fit.train(plan.dataset, plan.reference_run)


def weights(outcome):

    return loading.load_from_bytes(outcome.files).network.get_weights()


def validation(dataset, run, forecaster):
    """Windows of the validation span with their scaled targets and forecasts."""
    index = dataset.origins("validation", run.configuration.lookback)
    steps = index[:, 1, None] + np.arange(forecaster.preprocessing.horizon)
    actual = dataset.channels[index[:, 0, None], steps, 0].astype(float)
    return index, actual, forecaster.predict_scaled(dataset.channels, index, dataset.series_codes)


def test_the_same_run_gives_the_same_bits(plan, outcome):
    from gridcast.training import keras_fit

    again = keras_fit.train(plan.dataset, plan.reference_run)
    timeless = [{k: v for k, v in found.metrics.items() if k != "fit_seconds"} for found in (outcome, again)]
    assert timeless[0] == timeless[1]
    assert again.curves == outcome.curves
    assert again.origin_losses == outcome.origin_losses
    for one, other in zip(weights(outcome), weights(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_another_network(plan, outcome):
    from gridcast.training import keras_fit

    other = keras_fit.train(with_training(plan.dataset, epochs=1), Run(plan.reference_run.configuration, seed=1))
    assert other.curves["loss"][0] != outcome.curves["loss"][0]


def test_curves_and_metrics_belong_together(plan, outcome):
    found = outcome.metrics
    assert set(outcome.curves) == {"loss", "val_loss", "mae", "val_mae"}
    assert {len(curve) for curve in outcome.curves.values()} == {found["epochs_trained"]}
    assert found["best_val_loss"] == min(outcome.curves["val_loss"])
    assert outcome.curves["val_loss"][found["best_epoch"] - 1] == found["best_val_loss"]
    assert found["epochs_trained"] == min(
        plan.dataset.training.epochs, found["best_epoch"] + plan.dataset.training.patience
    )
    assert found["best_val_loss"] < outcome.curves["val_loss"][0]


def test_training_stops_when_patience_is_at_its_end(plan):
    from gridcast.training import keras_fit

    settings = plan.reference_run.configuration.model_copy(update={"learning_rate": 1.0})
    found = keras_fit.train(with_training(plan.dataset, epochs=60, patience=1), Run(settings, 0)).metrics
    assert found["epochs_trained"] == found["best_epoch"] + 1 < 60


def test_the_files_hold_the_best_network_of_all_epochs(plan, outcome):

    dataset, run = plan.dataset, plan.reference_run
    forecaster = loading.load_from_bytes(outcome.files)
    index, actual, scaled = validation(dataset, run, forecaster)
    losses = metrics.point_losses("mse", actual, scaled)
    assert losses.mean() == pytest.approx(outcome.metrics["best_val_loss"], rel=1e-6)
    forecast = forecaster.forecast(dataset.channels, index, dataset.series_codes)
    assert metrics.mae(dataset.targets(index), forecast) == pytest.approx(outcome.metrics["best_val_mae"], rel=1e-6)
    by_origin = {int(step): losses[index[:, 1] == step].mean() for step in np.unique(index[:, 1])}
    assert dict(outcome.origin_losses) == pytest.approx(by_origin, rel=1e-6)


@pytest.mark.parametrize("loss", ["mse", pytest.param("mae", marks=pytest.mark.slow), "huber"])
def test_the_mean_over_padded_batches_is_the_mean_over_windows(plan, loss):
    from gridcast.runtime.forecaster import Forecaster
    from gridcast.training import keras_fit
    from gridcast.training.batches import WindowBatches

    dataset = plan.dataset
    run = Run(plan.reference_run.configuration.model_copy(update={"loss": loss}), 0)
    network = keras_fit.compiled_network(dataset, run)
    index, actual, scaled = validation(dataset, run, Forecaster(dataset.preprocessing, network))
    assert len(index) % 7  # the last of several batches is padded
    padded = WindowBatches(dataset, index, run, size=7, exact=True, shuffle=None)
    found = network.evaluate(padded, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(metrics.point_losses(loss, actual, scaled).mean(), rel=1e-6)
    assert found["mae"] == pytest.approx(metrics.mae(actual, scaled), rel=1e-6)


def test_batches_are_of_one_size_and_hold_each_window_once(plan):
    from gridcast.training.batches import WindowBatches

    dataset = plan.dataset
    index = dataset.origins("train", 7)
    for exact in (False, True):
        batches = WindowBatches(dataset, index, plan.reference_run, size=50, exact=exact, shuffle=0)
        given = [batches[number] for number in range(len(batches))]
        assert {len(weights) for _, _, weights in given} == {50}
        assert all(values.shape[0] == 50 for inputs, _, _ in given for values in inputs.values())
        seen = np.concatenate([targets[weights > 0] for _, targets, weights in given])
        expected = dataset.channels[index[:, :1], index[:, 1:] + np.arange(2), 0]
        np.testing.assert_array_equal(np.sort(seen, axis=0), np.sort(expected, axis=0))
        sums = [float(weights.sum()) for _, _, weights in given]
        assert sum(sums) == pytest.approx(50 * len(given))
        assert (max(sums) - min(sums) > 1) == exact  # training batches weigh the same, the short one too


def test_the_order_of_windows_changes_with_epoch_and_seed(plan):
    from gridcast.training.batches import WindowBatches

    def orders(seed):
        index = plan.dataset.origins("train", 7)
        batches = WindowBatches(plan.dataset, index, plan.reference_run, size=32, exact=False, shuffle=seed)
        first = batches.order.tolist()
        batches.on_epoch_end()
        return first, batches.order.tolist()

    assert orders(0) == orders(0)
    drawn = [*orders(0), *orders(1)]
    assert len({tuple(order) for order in drawn}) == 4
    assert all(sorted(order) == list(range(len(order))) for order in drawn)


def test_a_batch_larger_than_the_training_span_is_cut_to_it(plan):
    from gridcast.training import keras_fit

    run = Run(plan.reference_run.configuration.model_copy(update={"batch_size": 65536}), 0)
    training, _ = keras_fit.make_batches(plan.dataset, run)
    assert training.size == len(plan.dataset.origins("train", 7))


@pytest.mark.parametrize("rate", [1e38, pytest.param(float("nan"), marks=pytest.mark.slow)])
def test_a_learning_rate_that_breaks_the_network_is_a_plain_error(plan, rate, capfd):
    from gridcast.training import keras_fit

    run = Run(plan.reference_run.configuration.model_copy(update={"learning_rate": rate}), 0)
    with pytest.raises(GridcastError, match=r"^the loss is no longer finite in epoch \d; a lower learning rate may"):
        keras_fit.train(plan.dataset, run)
    assert capfd.readouterr() == ("", "")


def test_a_run_that_takes_too_long_is_ended_within_its_epoch(plan):
    from gridcast.training import keras_fit, limits

    limited = with_training(plan.dataset, max_minutes=1e-5)
    told = r"^exceeded training\.max_minutes \(1e-05\) in epoch 1; raise it, or make the network smaller$"
    with pytest.raises(GridcastError, match=told):
        keras_fit.train(limited, plan.reference_run)
    network = keras_fit.compiled_network(limited, plan.reference_run)
    _, validation = keras_fit.make_batches(limited, plan.reference_run)
    with pytest.raises(GridcastError, match=r"^exceeded training\.max_minutes"):
        network.evaluate(validation, callbacks=[limits.LimitsCallback(limits.TrainingClock(1e-5))], verbose=0)


def test_the_test_span_is_forecast_by_the_restored_network(plan, outcome):
    from gridcast.evaluation import span_evaluation

    found = span_evaluation.predict_span(plan.dataset, outcome.files)
    assert found.index.tolist() == plan.dataset.origins("test", 7).tolist()
    again = loading.load_from_bytes(outcome.files).forecast(
        plan.dataset.channels, found.index, plan.dataset.series_codes
    )
    np.testing.assert_array_equal(found.forecast, again)


ON_TENSORFLOW = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
from gridcast.training import keras_backend
keras_backend.start("tensorflow", pathlib.Path("cache"))
import keras
from small_experiments import planned, sales
from gridcast.training import keras_fit
plan = planned(pathlib.Path(), sales(500), backend="tensorflow", **json.loads(sys.argv[2]))
print(json.dumps([keras.backend.backend(), keras_fit.train(plan.dataset, plan.reference_run).metrics]))
"""


@pytest.mark.slow
def test_tensorflow_agrees_within_five_percent_after_the_same_number_of_epochs(tmp_path):
    from gridcast.training import keras_fit

    sections = SMALL | {"baseline": {"units": 8, "dropout": 0.0}, "training": {"epochs": 10, "patience": 10}}
    command = [sys.executable, "-c", ON_TENSORFLOW, str(EXPERIMENTS.parent / "tests" / "support"), json.dumps(sections)]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=True)
    backend, theirs = json.loads(done.stdout.splitlines()[-1])
    plan = planned(tmp_path, sales(500), **sections)
    ours = keras_fit.train(plan.dataset, plan.reference_run).metrics
    assert backend == "tensorflow"
    assert theirs["epochs_trained"] == ours["epochs_trained"] == 10
    assert theirs["best_val_loss"] == pytest.approx(ours["best_val_loss"], rel=0.05)
