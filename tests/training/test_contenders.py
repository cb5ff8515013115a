"""Baselines as models: made from their fit, loaded from files alone, asked like a network."""

import io
import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from gridcast.evaluation import forecast_results
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.runtime import loading
from gridcast.runtime.baselines import BASELINES, arima
from gridcast.runtime.baselines.tree_arrays import TreeArrays
from gridcast.runtime.baselines.tree_features import step_rows
from gridcast.runtime.baselines.trees import grow_trees
from gridcast.runtime.errors import DataError
from gridcast.runtime.model_files import BASELINE_FILE
from gridcast.serving.models.compiled_network import compile_forecaster
from gridcast.serving.models.forecaster_adapter import adapt, batch_forecasts
from gridcast.serving.payloads.request_types import ForecastRequest
from gridcast.sweep import ensemble
from gridcast.training import contenders
from small_experiments import planned, sales

HORIZON, LEVELS = 3, [0.1, 0.5, 0.9]
FITTED = ("ridge", "trees", "relative trees")
IN_USE = [name for name in BASELINES if name not in FITTED and (name != "Prophet" or find_spec("prophet"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("contenders")


@pytest.fixture(scope="module")
def frame():
    table = sales(140)
    return table.assign(quantity=np.where(np.arange(len(table)) % 5 < 2, 0.0, table["quantity"]))


@pytest.fixture(scope="module")
def point(folder, frame):
    return planned(folder, frame, window={"lookback": 7, "horizon": HORIZON}, transform={"floor": "none"}).dataset


@pytest.fixture(scope="module")
def probabilistic(folder, frame):
    sections = {"task": "probabilistic", "probabilistic": {"quantiles": LEVELS}, "transform": {"floor": "none"}}
    return planned(folder, frame, window={"lookback": 7, "horizon": HORIZON}, **sections).dataset


def model(name, dataset):
    return loading.load_from_bytes(contenders.contender_files(name, dataset))


def history_before(frame, dataset, origin):
    """The table up to the step before `origin`, with what is known ahead after it."""
    stamps = pd.to_datetime(frame["date"])
    table = frame[stamps < dataset.times[min(origin + HORIZON, len(dataset.times) - 1)]].copy()
    ahead = pd.to_datetime(table["date"]) >= dataset.times[origin]
    return table.assign(quantity=table["quantity"].mask(ahead))


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("task", ["point", "probabilistic"])
def test_a_fitted_baseline_answers_like_its_record(name, task, frame, request):
    dataset = request.getfixturevalue(task)
    recorded = contenders.forecast_contender(name, [dataset])
    forecaster = model(name, dataset)
    own = forecast_results.forecast_span(forecaster, dataset, "test")
    np.testing.assert_array_equal(own.index, recorded.index)
    np.testing.assert_allclose(own.forecast, recorded.forecast, rtol=1e-9)
    origin = int(recorded.index[0, 1])
    answer = forecaster.predict(history_before(frame, dataset, origin))
    first = recorded.index[:, 1] == origin
    np.testing.assert_allclose(answer["forecast"].to_numpy().reshape(-1, HORIZON), recorded.forecast[first], rtol=1e-6)
    if task == "probabilistic":
        np.testing.assert_allclose(own.quantiles, recorded.quantiles, rtol=1e-9)
        assert list(answer.columns[-4:-1]) == ["q0.1", "q0.5", "q0.9"]
        with pytest.raises(DataError, match=r"quantiles: 0.95 is outside the levels .* \(0.1 to 0.9\)"):
            forecaster.predict(history_before(frame, dataset, origin), {"quantiles": [0.95]})


@pytest.mark.parametrize("name", IN_USE)
def test_other_baselines_are_fitted_to_the_history_in_use(name, frame, point, probabilistic, monkeypatch):
    """The forecasts of a table are those of the baseline whose training ends with the table."""
    monkeypatch.setattr(arima, "MAX_FITS", 4)  # the orders are not the question
    forecaster, origin = model(name, probabilistic), int(baseline_task(probabilistic, 7).index[0, 1])
    task = replace(
        baseline_task(probabilistic, 7),
        train=origin,
        index=np.array([[0, origin], [1, origin]]),
        training_index=np.concatenate([probabilistic.origins(span, 7) for span in ("train", "validation")]),
    )
    within = task.training_index[:, 1] <= origin - HORIZON
    expected = BASELINES[name](replace(task, training_index=np.unique(task.training_index[within], axis=0)))
    answer = forecaster.predict(history_before(frame, probabilistic, origin))
    np.testing.assert_array_equal(answer["forecast"], answer["q0.5"])
    points = model(name, point).predict(history_before(frame, point, origin))["forecast"].to_numpy()
    np.testing.assert_allclose(points.reshape(2, HORIZON), expected.point, rtol=1e-4, atol=1e-4)
    quantiles = answer[["q0.1", "q0.5", "q0.9"]].to_numpy().reshape(2, HORIZON, 3)
    scale = np.ptp(expected.quantiles)
    assert np.abs(quantiles - expected.quantiles).max() < 0.15 * scale  # windows across the border of the spans
    assert (np.diff(quantiles, axis=2) >= 0).all()


def test_series_that_end_at_different_steps_are_fitted_to_their_own(frame, point):
    forecaster = model("last value", point)
    stamps = pd.to_datetime(frame["date"])
    early = frame[(frame["product"] == "apple") & (stamps < point.times[60])]
    late = frame[(frame["product"] == "pear") & (stamps < point.times[61])]
    answer = forecaster.predict(pd.concat([early, late]))
    ends = [early["quantity"].iloc[-1], late["quantity"].iloc[-1]]
    assert answer["forecast"].tolist() == pytest.approx([ends[0]] * HORIZON + [ends[1]] * HORIZON)


@pytest.mark.parametrize("name", ["seasonal naive", "ETS"])
def test_beyond_the_horizon_it_goes_on_by_itself(name, frame, point):
    forecaster = model(name, point)
    table = frame[pd.to_datetime(frame["date"]) < point.times[100]]
    assert point.period == 5
    longer = forecaster.predict(table, {"horizon": 10})
    assert longer["rolled_forward"].tolist() == 2 * ([False] * HORIZON + [True] * (10 - HORIZON))
    seasons = longer["forecast"].to_numpy().reshape(2, 2, 5)
    np.testing.assert_allclose(seasons[:, 0], seasons[:, 1], rtol=0.2, atol=0.01)


def test_quantiles_need_a_history_with_errors(probabilistic, frame):
    forecaster = model("last value", probabilistic)
    assert forecaster.preprocessing.lookback == 7 + HORIZON + 20
    short = frame[pd.to_datetime(frame["date"]) < probabilistic.times[20]]
    with pytest.raises(DataError, match="30"):
        forecaster.predict(short)


def test_trees_as_arrays_are_those_of_scikit_learn(point):
    task = baseline_task(point, 7)
    columns, regressor = grow_trees(task).grown[0]
    rows = step_rows(task, task.index, is_relative=False).rows[:, columns]
    rows[::3, 2] = np.nan
    arrays = TreeArrays.of(regressor)
    np.testing.assert_allclose(arrays.predict(rows), regressor.predict(rows), rtol=1e-12)
    assert TreeArrays.from_dict(arrays.to_dict()).predict(rows[:0]).shape == (0,)


def test_a_service_answers_several_requests_of_different_lengths(frame, probabilistic):
    for name in ("ETS", "trees"):
        forecaster = compile_forecaster(adapt(model(name, probabilistic)))
        stamps = pd.to_datetime(frame["date"])
        tables = [frame[stamps < probabilistic.times[end]] for end in (80, 95)]
        inputs = [forecaster.read_table(table, HORIZON) for table in tables]
        requests = [ForecastRequest(one, HORIZON, (0.1, 0.9), rows=len(one.times)) for one in inputs]
        together = batch_forecasts(forecaster, requests)
        for table, answer in zip(tables, together, strict=True):
            alone = forecaster.predict(table, {"quantiles": [0.1, 0.9]})[["forecast", "q0.1", "q0.9"]]
            np.testing.assert_allclose(answer.reshape(-1, 3), alone.to_numpy(), rtol=1e-9)


def test_an_ensemble_has_baselines_as_members(frame, point):
    files = [contenders.contender_files(name, point) for name in ("last value", "ridge")]
    forecaster = loading.load_from_bytes(ensemble.pack_members(files, (0.25, 0.75)))
    table = frame[pd.to_datetime(frame["date"]) < point.times[100]]
    last, ridge = (loading.load_from_bytes(one).predict(table)["forecast"] for one in files)
    np.testing.assert_allclose(forecaster.predict(table)["forecast"], 0.25 * last + 0.75 * ridge, rtol=1e-9)


def test_its_file_holds_arrays_and_nothing_that_is_run(point):
    files = contenders.contender_files("trees", point)
    with np.load(io.BytesIO(files[BASELINE_FILE]), allow_pickle=False) as arrays:
        assert json.loads(str(arrays["settings"])) == {"name": "trees", "lookback": 7, "period": point.period}
        assert {array.dtype.kind for array in arrays.values()} <= set("biufU")
    assert set(files) == {BASELINE_FILE, "forecaster.json"}


def test_measures_of_validation_are_those_that_runs_have(point, probabilistic):
    measures = contenders.forecast_contender("training mean", [point]).validation
    index = point.origins("validation", 7)
    mean = np.nanmean(np.where(point.observed, point.target, np.nan)[:, : point.spans.train], axis=1)
    errors = mean[index[:, 0], None] - point.targets(index)
    assert measures["best_val_mae"] == pytest.approx(np.abs(errors).mean())
    scaled = errors / point.preprocessing.target_scaler.scale[index[:, 0], None]
    assert measures["best_val_loss"] == pytest.approx((scaled**2).mean(), rel=1e-5)
    assert {"val_mase", "val_rmse"} <= measures.keys()
    of_quantiles = contenders.forecast_contender("last value", [probabilistic]).validation
    assert "best_val_wql" in of_quantiles
    assert "best_val_loss" not in of_quantiles


def test_its_forecasts_have_the_floor_of_the_data(folder, frame, probabilistic):
    sections = {"task": "probabilistic", "probabilistic": {"quantiles": LEVELS}}
    floored = planned(folder, frame, window={"lookback": 7, "horizon": HORIZON}, **sections).dataset
    recorded, plain = (contenders.forecast_contender("last value", [one]) for one in (floored, probabilistic))
    assert plain.quantiles.min() < 0
    np.testing.assert_array_equal(recorded.quantiles, np.maximum(plain.quantiles, 0))
    answer = model("last value", floored).predict(frame)
    assert answer["q0.1"].min() == 0
