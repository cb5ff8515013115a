"""The table of forecasts and the history before them, by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast.data.splits import Spans
from gridcast.evaluation import forecast_table
from gridcast.evaluation.forecast_results import Forecasts

TIMES = pd.date_range("2024-01-01", periods=60)


def panel(start: int = 50) -> SimpleNamespace:
    """Two series, of which the second is three times the first, with a test span from `start` on."""
    target = np.stack([np.arange(60.0), 3 * np.arange(60.0)])
    return SimpleNamespace(
        series=("a", "b"),
        times=TIMES,
        target=target,
        observed=np.ones((2, 60), bool),
        training_target=target[:, :20],
        spans=Spans(20, start, 60),
    )


def dataset() -> SimpleNamespace:
    return SimpleNamespace(targets=lambda index: 100.0 * index[:, :1] + index[:, 1:] + np.arange(2))


def test_a_row_for_each_window_and_step():
    index = np.array([[1, 50], [0, 57]])
    forecast = np.array([[1.0, 2.0], [3.0, 4.0]])
    quantiles = np.stack([forecast - 1, forecast + 1], axis=-1)
    found = forecast_table.tabulate_forecasts(
        Forecasts(index, forecast, (0.1, 0.9), quantiles, crps=forecast / 10), dataset(), panel()
    )
    assert found.columns.tolist() == [
        *forecast_table.MODEL_INDEPENDENT_COLUMNS[:4],
        "forecast",
        "scale",
        "q0.1",
        "q0.9",
        "crps",
    ]
    assert found["series"].tolist() == ["b", "b", "a", "a"]
    assert found["time"].tolist() == list(TIMES[[50, 51, 57, 58]])
    assert found["step"].tolist() == [1, 2, 1, 2]
    assert found["actual"].tolist() == [150, 151, 57, 58]
    assert found["forecast"].tolist() == [1, 2, 3, 4]
    assert found["scale"].tolist() == [3, 3, 1, 1]
    assert found["q0.1"].tolist() == [0, 1, 2, 3]
    assert found["q0.9"].tolist() == [2, 3, 4, 5]
    assert found["crps"].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert forecast_table.quantile_levels(found) == (0.1, 0.9)
    plain = forecast_table.tabulate_forecasts(Forecasts(index, forecast), dataset(), panel())
    assert plain.columns.tolist() == found.columns.tolist()[:6]


@pytest.mark.parametrize(("start", "horizon", "first"), [(50, 2, 20), (50, 10, 20), (50, 11, 17), (25, 2, 0)])
def test_the_history_before_the_test_span(start, horizon, first):
    own = panel(start)
    own.observed[0, first + 1 : start - 1] = False
    found = forecast_table.recent_history(own, horizon)
    of_a, of_b = found[found["series"] == "a"], found[found["series"] == "b"]
    assert of_a["time"].tolist() == [TIMES[first], TIMES[start - 1]]
    assert of_a["actual"].tolist() == [first, start - 1]
    assert of_b["time"].tolist() == list(TIMES[first:start])
    assert of_b["actual"].tolist() == [3.0 * step for step in range(first, start)]


def test_metrics_have_the_names_of_mlflow_and_those_that_are_not_finite_are_left_out():
    table = pd.DataFrame({"series": ["a", "b"], "step": 1, "actual": [0.0, 10.0], "forecast": [1.0, 9.6], "scale": 0.0})
    found = forecast_table.measure_forecasts(table.assign(**{"q0.05": 0.0, "q0.95": 11.0}, crps=[1.0, 4.0]))
    assert found["test_mae"] == pytest.approx(0.7)
    assert (found["test_coverage_90"], found["test_width_90"], found["test_crps"]) == (1.0, 11.0, 2.5)
    assert (found["test_share_excellent"], found["test_share_needs_improvement"]) == (50.0, 50.0)
    assert not {"test_mase", "test_coverage", "test_width"} & found.keys()
    broken = forecast_table.measure_forecasts(table.assign(forecast=[math.inf, 9.6]))
    assert "test_mae" not in broken
    assert broken["test_share_excellent"] == 50
