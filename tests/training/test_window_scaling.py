"""Point forecasters that read each window in units of itself: a trend goes on, and everything else stays as it is."""

import numpy as np
import pytest

from gridcast.config import Configuration
from gridcast.config.grid import Run
from gridcast.runtime import loading
from gridcast.runtime.forecaster import Forecaster
from small_experiments import experiment, planned, sales, with_training
from untrained_models import untrained_files

pytestmark = pytest.mark.usefixtures("jax_backend")

FRAME = sales(130)
SECTIONS = {
    "data": {"past": ["price"], "future": ["day_of_week"]},
    "window": {"horizon": 2},
    "transform": {"scale": "mean-abs", "floor": "none"},
}
MOVED = [("last", "standard", "mean"), (lambda y: y + 500, lambda y: y + 500, lambda y: y * 3)]
KINDS = pytest.mark.parametrize(("scaling", "move"), list(zip(*MOVED, strict=True)), ids=MOVED[0])


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("scaled"), FRAME, **SECTIONS)


def run_of(plan, scaling, **settings):
    """The run of the plan with this scaling, or of one series."""
    configuration = plan.reference_run.configuration.model_copy(update={"scaling": scaling})
    return Run(configuration, 0, 0, **settings)


def untrained(plan, scaling, **settings):
    """A saved and loaded forecaster with this scaling, as training leaves it, with its first weights."""
    return loading.load_from_bytes(untrained_files(plan.dataset, run_of(plan, scaling, **settings)))


@KINDS
def test_a_forecast_moves_with_its_window_one_series_or_all_beyond_the_horizon_too(plan, scaling, move):
    moved = FRAME.assign(quantity=move(FRAME["quantity"]))
    for frame, model in (
        (slice(None), untrained(plan, scaling)),
        (slice(0, 130), untrained(plan, scaling, series="apple")),
    ):
        before = model.predict(FRAME[frame], {"horizon": 6})["forecast"]
        after = model.predict(moved[frame], {"horizon": 6})["forecast"]
        np.testing.assert_allclose(after, move(before), rtol=2e-4)
        assert before.std() > 0
    plain = untrained(plan, "none")
    assert not np.allclose(plain.predict(moved)["forecast"], move(plain.predict(FRAME)["forecast"]), rtol=0.05)


@pytest.mark.parametrize("layer", ["linear", "nhits"])
def test_networks_that_forecast_all_steps_at_once_read_windows_in_these_units_too(plan, layer):
    configuration = plan.reference_run.configuration.model_copy(update={"scaling": "mean", "layer": layer})
    model = loading.load_from_bytes(untrained_files(plan.dataset, Run(configuration, 0)))
    before = model.predict(FRAME)["forecast"]
    tripled = model.predict(FRAME.assign(quantity=FRAME["quantity"] * 3))["forecast"]
    np.testing.assert_allclose(tripled, 3 * before, rtol=2e-4)


@KINDS
def test_an_ensemble_of_different_scalings_combines_data_units(plan, scaling, move):
    members = (untrained(plan, scaling), untrained(plan, "none"))
    both = Forecaster(plan.dataset.preprocessing, None, members=members, weights=(0.25, 0.75))
    one, other = (member.predict(FRAME)["forecast"] for member in members)
    np.testing.assert_allclose(both.predict(FRAME)["forecast"], 0.25 * one + 0.75 * other, rtol=1e-6)


def test_a_window_without_change_or_of_zeros_is_forecast(plan):
    for scaling in ("last", "standard", "mean"):
        for value in (0.0, 7.0):
            forecast = untrained(plan, scaling).predict(FRAME.assign(quantity=value))["forecast"]
            assert np.isfinite(forecast).all()
            assert (np.abs(forecast - value) < 100).all()


def test_both_engines_train_alike_and_follow_a_trend_beyond_the_range_of_training(tmp_path):
    from gridcast.training import fused_fit, keras_fit

    day = FRAME.groupby("product").cumcount()
    plan = planned(tmp_path, FRAME.assign(quantity=FRAME["quantity"] + 2.0 * day), **SECTIONS)
    dataset, run = with_training(plan.dataset, epochs=3), run_of(plan, "last")
    [fused] = fused_fit.train(dataset, [run], state_paths=[None], siblings=1)
    alone = keras_fit.train(dataset, run)
    for name, curve in alone.curves.items():
        np.testing.assert_allclose(fused.curves[name], curve, rtol=1e-4)
    assert fused.metrics["val_mase"] == pytest.approx(alone.metrics["val_mase"], rel=1e-4)
    index = dataset.origins("validation", 7)
    highest = dataset.target[:, : dataset.spans.train].max(axis=1)[index[:, 0], None]
    assert fused.metrics["best_val_mae"] < 0.5 * np.abs(dataset.targets(index) - highest).mean()


def test_a_scaling_that_is_not_set_is_in_no_settings_and_one_that_is_an_axis_is():
    assert "scaling" not in experiment().configuration().settings()
    assert Configuration(lookback=3).window_scaling == "none"
    assert experiment(grid={"scaling": ["none", "last"]}).configuration().settings()["scaling"] == "none"
    assert experiment(baseline={"scaling": "last"}).configuration().window_scaling == "last"
    probabilistic = experiment(task="probabilistic", baseline={"scaling": "standard"})
    assert probabilistic.configuration().window_scaling == "none"
