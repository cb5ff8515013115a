"""What quantiles hold, against counts by hand and SciPy's binomial distribution."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from gridcast.reporting import interval_calibration


def table(actual: list[float], step: list[int] | None = None, **columns: list[float]) -> pd.DataFrame:
    count = len(actual)
    own = {name.replace("_", "."): values for name, values in columns.items()}
    steps = step or [1] * count
    return pd.DataFrame({"series": "a", "step": steps, "actual": actual, "forecast": 0.0, "scale": 1.0, **own})


FOUR = table([1.0, 2.0, 3.0, 4.0], q0_1=[0.0, 2.0, 4.0, 3.0], q0_5=[1.0, 3.0, 5.0, 3.5], q0_9=[2.0, 4.0, 6.0, 3.9])


def test_levels_are_read_from_the_columns_in_order() -> None:
    columns = ["q0.9", "actual", "q0.05", "quantity", "q1.5", "q", "q0.5", "q0"]
    assert interval_calibration.quantile_levels(pd.DataFrame(columns=columns)) == (0.05, 0.5, 0.9)
    assert interval_calibration.quantile_column(0.05) == "q0.05"


def test_pairs_are_the_central_intervals_narrowest_first() -> None:
    assert interval_calibration.central_intervals((0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)) == {
        0.5: (0.25, 0.75),
        0.8: (0.1, 0.9),
    }
    assert interval_calibration.central_intervals((0.1, 0.5)) == {}


@pytest.mark.parametrize(
    ("given", "nominal"),
    [((0.05, 0.1, 0.9, 0.95), 0.8), ((0.05, 0.25, 0.75, 0.95), 0.9), ((0.01, 0.99), 0.98), ((0.5,), None), ((), None)],
)
def test_the_interval_spoken_of_is_the_one_nearest_to_80_percent(
    given: tuple[float, ...], nominal: float | None
) -> None:
    assert interval_calibration.headline_interval(given) == nominal


def test_measures_of_four_forecasts_by_hand() -> None:
    # 0.1: 0.1 x 1, 0, 0.9 x 1, 0.1 x 1; 0.5: 0, 0.5, 1, 0.25; 0.9: 0.1 x 1, 0.1 x 2, 0.1 x 3, 0.9 x 0.1.
    found = interval_calibration.quantile_measures(FOUR, (0.1, 0.5, 0.9))
    assert found["wql"] == pytest.approx(2 * (1.1 + 1.75 + 0.69) / 3 / 10)
    assert found["coverage"] == 0.5  # 3 lies below 4 to 6, 4 above 3 to 3.9
    assert found["width"] == pytest.approx((2 + 2 + 2 + 0.9) / 4)


def test_what_a_table_does_not_give_is_not_measured() -> None:
    assert np.isnan(list(interval_calibration.quantile_measures(FOUR, (0.2, 0.5)).values())).all()
    only = interval_calibration.quantile_measures(FOUR, (0.5,))
    assert only["wql"] == pytest.approx(2 * 1.75 / 10)
    assert np.isnan(only["coverage"])


def test_calibration_counts_shares_below_and_at_each_quantile() -> None:
    found = interval_calibration.quantile_calibration({"own": FOUR, "point": table([1.0])}, overlap=1).set_index(
        "level"
    )
    assert found["name"].tolist() == ["own"] * 3
    assert found.loc[0.1, ["below", "upto", "share"]].tolist() == [0.25, 0.5, 0.25]
    assert found.loc[0.5, ["below", "upto", "share"]].tolist() == [0.5, 0.75, 0.5]
    assert found.loc[0.9, ["below", "upto", "share"]].tolist() == [0.75, 0.75, 0.75]


def test_intervals_hold_what_lies_on_their_bounds() -> None:
    found = interval_calibration.interval_coverage({"own": FOUR}, overlap=1).iloc[0]
    assert (found["nominal"], found["coverage"], found["count"]) == (0.8, 0.5, 4)
    assert (found["low"], found["high"]) == tuple(binom.ppf([0.025, 0.975], 4, 0.8) / 4)


@pytest.mark.parametrize(("count", "level"), [(1, 0.5), (15, 0.9), (15, 0.025), (400, 0.8)])
def test_the_band_is_that_of_the_binomial_distribution(count: int, level: float) -> None:
    many = table([0.0] * count, **{f"q{level:g}".replace(".", "_"): [0.0] * count})
    found = interval_calibration.quantile_calibration({"own": many}, overlap=1).iloc[0]
    assert [found["low"], found["high"]] == pytest.approx(binom.ppf([0.025, 0.975], count, level) / count)


def test_windows_that_share_steps_count_as_one() -> None:
    # Six windows of two steps, neighbours one step apart: three of them share none.
    pairs = table([1.0] * 12, [1, 2] * 6, q0_1=[0.0] * 12, q0_9=[2.0] * 12)
    assert interval_calibration.window_numbers(pairs).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert interval_calibration.independent_windows(pairs, overlap=2) == 3
    assert interval_calibration.interval_coverage({"own": pairs}, overlap=2)["count"].tolist() == [3]


def test_a_right_forecaster_of_counts_with_many_zeros_lies_on_the_diagonal() -> None:
    # P(0) = 0.7, P(1) = 0.3: every quantile up to 0.7 is 0.
    actual = [0.0] * 7 + [1.0] * 3
    counts = table(actual, q0_1=[0.0] * 10, q0_5=[0.0] * 10, q0_9=[1.0] * 10)
    found = interval_calibration.quantile_calibration({"own": counts}, overlap=1)
    assert found["share"].tolist() == found["level"].tolist() == [0.1, 0.5, 0.9]
