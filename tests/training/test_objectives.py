"""Probabilistic runs, trained by both engines."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast.config.grid import Run
from gridcast.runtime.errors import DataError
from small_experiments import planned, sales, same, with_training

pytestmark = pytest.mark.usefixtures("jax_backend")

SECTIONS = {
    "task": "probabilistic",
    "data": {"past": ["price"], "future": ["day_of_week"]},
    "window": {"horizon": 3},
    "probabilistic": {"paths": 50},
    "training": {"epochs": 6, "patience": 2, "steps": 4},
}
FRAME = sales(130).assign(quantity=lambda table: table["quantity"].round().clip(lower=0))


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("objective"), FRAME, **SECTIONS)


def run(plan, seed=0, **settings):
    return Run(plan.reference_run.configuration.model_copy(update=settings), seed)


def fused(dataset, runs, paths=None, until=None):
    from gridcast.training import fused_fit

    return fused_fit.train(dataset, runs, state_paths=paths or [None] * len(runs), siblings=len(runs), until=until)


@pytest.mark.parametrize(
    "settings",
    [
        {"likelihood": "student-t"},
        pytest.param({"likelihood": "student-t", "layer": "LSTM"}, marks=pytest.mark.slow),
        pytest.param({"likelihood": "quantile"}, marks=pytest.mark.slow),
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_both_engines_train_alike(plan, settings):
    from gridcast.training import keras_fit

    dataset = with_training(plan.dataset, patience=1)
    own = run(plan, dropout=0.3, learning_rate=0.03, **settings)
    alone, (together,) = keras_fit.train(dataset, own), fused(dataset, [own])
    assert together.metrics["epochs_trained"] == alone.metrics["epochs_trained"]
    assert together.metrics["best_epoch"] == alone.metrics["best_epoch"]
    for name, curve in alone.curves.items():
        np.testing.assert_allclose(together.curves[name], curve, rtol=1e-5, atol=1e-5)
    assert dict(together.origin_losses) == pytest.approx(dict(alone.origin_losses), rel=1e-3, abs=1e-4)
    for name in ("best_val_wql", "best_val_mae"):
        assert together.metrics[name] == pytest.approx(alone.metrics[name], rel=0.02)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_bits_in_both_engines(plan, tmp_path):
    from gridcast.training import keras_fit
    from gridcast.training.result import PausedRun

    dataset, own = with_training(plan.dataset, checkpoint_seconds=0.0), run(plan)
    (whole,) = fused(dataset, [own])
    (paused,) = fused(dataset, [own], [tmp_path / "fused"], until=2)
    assert isinstance(paused, PausedRun)
    assert same(fused(dataset, [own], [tmp_path / "fused"])[0], whole)
    assert isinstance(keras_fit.train(dataset, own, state_path=tmp_path / "stock", until=2), PausedRun)
    assert same(keras_fit.train(dataset, own, state_path=tmp_path / "stock"), keras_fit.train(dataset, own))


def test_an_epoch_of_some_steps_is_a_fresh_part_of_the_windows(plan):
    from gridcast.training import keras_fit

    training, validation = keras_fit.make_batches(plan.dataset, run(plan))
    assert len(training) == 4
    assert len(training) * training.size < len(training.index)
    assert len(validation) * validation.size >= len(validation.index)
    first = {tuple(training.index[k]) for k in training.order[: 4 * training.size]}
    training.on_epoch_end()
    second = {tuple(training.index[k]) for k in training.order[: 4 * training.size]}
    assert len(first) == 4 * training.size
    assert first != second


def test_a_filled_step_counts_for_no_likelihood(plan):
    from gridcast.training import objectives

    observed = plan.dataset.observed.copy()
    observed[:, 50] = False
    dataset = replace(plan.dataset, observed=observed)
    own = objectives.objective_of(dataset, run(plan))
    read, target = own.read(objectives.panel_arrays(dataset), np.array([[0, 52], [1, 53]]))
    assert read["signal"].shape[1] == target.shape[1] == 7 + 3
    assert np.argwhere(target[..., 1] == 0).tolist() == [[0, 5], [1, 4]]
    output = np.zeros((2, 10, 3), np.float32)
    other = target.copy()
    other[other[..., 1] == 0, 0] = 1e6
    np.testing.assert_array_equal(own.loss(target, output), own.loss(other, output))


EXTREME = [0.01, 1e6, 0.0, 5.0]


def extreme():
    """Series of mean 0.01 and of a million, one of zeros alone, and one with a giant order."""
    tables = []
    for number, mean in enumerate(EXTREME):
        own = sales(130, (f"p{number}",), seed=number)
        own["quantity"] = own["quantity"] / own["quantity"].mean() * mean
        if number == 3:
            own.loc[70, "quantity"] = 1e6
        tables.append(own)
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("likelihood", ["student-t", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_a_panel_of_extreme_scales_is_learnt_at_sane_levels(tmp_path, likelihood):
    from gridcast.evaluation import span_evaluation

    sections = {"training": {"epochs": 3, "steps": None}, "baseline": {"likelihood": likelihood}}
    plan = planned(tmp_path, extreme(), **(SECTIONS | sections))
    (outcome,) = fused(plan.dataset, [plan.reference_run])
    assert all(np.isfinite(curve).all() for curve in outcome.curves.values())
    found = span_evaluation.predict_span(plan.dataset, outcome.files)
    assert np.isfinite(found.quantiles).all()
    assert (np.diff(found.quantiles, axis=-1) >= 0).all()
    for series, mean in enumerate(EXTREME[:2]):
        own = found.forecast[found.index[:, 0] == series]
        assert np.abs(own).max() < 30 * mean


@pytest.mark.parametrize(("change", "value"), [(-1.0, "-1"), (2.5, "2.5")])
def test_what_is_no_count_is_refused_by_the_negative_binomial(tmp_path, change, value):
    broken = FRAME.copy()
    broken.loc[5, "quantity"] = change
    sections = SECTIONS | {"grid": {"likelihood": ["student-t", "negative-binomial"]}}
    told = rf"^likelihood: series 'apple' is {value} at 2023-01-07 00:00, .* write likelihood: student-t$"
    with pytest.raises(DataError, match=told):
        planned(tmp_path, broken, **sections)
