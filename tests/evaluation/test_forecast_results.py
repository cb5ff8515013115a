"""Measures of forecasts of the test span."""

import numpy as np
import pandas as pd

from gridcast.evaluation import forecast_results, forecast_table
from small_experiments import planned, sales

TABLE = pd.DataFrame(
    {
        "series": ["a", "a", "b", "b"],
        "step": [1, 2, 1, 2],
        "actual": [10.0, 20.0, 30.0, 40.0],
        "forecast": [11.0, 18.0, 33.0, 36.0],
        "scale": [1.0, 1.0, 2.0, 2.0],
    }
)
QUANTILES = TABLE.assign(**{"q0.1": TABLE["forecast"] - 2, "q0.5": TABLE["forecast"], "q0.9": TABLE["forecast"] + 2})


def test_a_table_has_a_column_for_each_quantile_and_knows_its_levels(tmp_path):
    plan = planned(tmp_path, sales(100), window={"horizon": 2})
    index = plan.dataset.origins("test", 7)
    point = np.arange(2.0 * len(index)).reshape(-1, 2)
    forecasts = forecast_results.Forecasts(index, point, (0.05, 0.5), np.stack([point - 1, point], axis=-1))
    found = forecast_table.tabulate_forecasts(forecasts, plan.dataset, plan.panel)
    assert forecast_table.quantile_levels(found) == (0.05, 0.5)
    np.testing.assert_array_equal(found["q0.05"], point.ravel() - 1)
    np.testing.assert_array_equal(found["q0.5"], found["forecast"])
    plain = forecast_table.tabulate_forecasts(forecast_results.Forecasts(index, point), plan.dataset, plan.panel)
    assert list(found.columns) == [*plain.columns, "q0.05", "q0.5"]
    assert forecast_table.quantile_levels(plain) == ()


def test_measures_say_which_interval_they_speak_of():
    found, plain = forecast_table.measure_forecasts(QUANTILES), forecast_table.measure_forecasts(TABLE)
    assert set(found) - set(plain) == {"test_wql", "test_coverage_80", "test_width_80"}
    assert (found["test_coverage_80"], found["test_width_80"]) == (0.5, 4.0)
    assert found["test_wape"] == plain["test_wape"] == 10.0
    narrow = QUANTILES.rename(columns={"q0.1": "q0.25", "q0.9": "q0.75"})
    assert forecast_table.measure_forecasts(narrow)["test_coverage_50"] == 0.5
