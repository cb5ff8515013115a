"""What quantiles hold, against counts by hand and SciPy's binomial distribution."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from gridcast.evaluation import significance
from gridcast.reporting import interval_calibration


def table(actual: list[float], step: list[int] | None = None, **columns: list[float]) -> pd.DataFrame:
    count = len(actual)
    own = {name.replace("_", "."): values for name, values in columns.items()}
    steps = step or [1] * count
    starts = np.cumsum(np.array(steps) == 1) - 1
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(starts + np.array(steps) - 1, unit="D")
    values = {"time": times, "step": steps, "actual": actual, "forecast": 0.0, "scale": 1.0}
    return pd.DataFrame({"series": "a", **values, **own})


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
    # One cosine of four origins: its interval is as wide as all shares.
    assert (found["low"], found["high"]) == (0.0, 1.0)


@pytest.mark.parametrize(("count", "level"), [(15, 0.9), (15, 0.025), (400, 0.8)])
def test_the_band_is_at_least_that_of_the_binomial_distribution(count: int, level: float) -> None:
    # Every forecast misses, so nothing shows how the share changes from origin to origin.
    many = table([0.0] * count, **{f"q{level:g}".replace(".", "_"): [-1.0] * count})
    found = interval_calibration.quantile_calibration({"own": many}, overlap=1).iloc[0]
    assert [found["low"], found["high"]] == pytest.approx(binom.ppf([0.025, 0.975], count, level) / count)


def test_one_origin_judges_nothing() -> None:
    found = interval_calibration.quantile_calibration({"own": table([0.0], q0_5=[1.0])}, overlap=1).iloc[0]
    assert (found["low"], found["high"]) == (0.0, 1.0)


def test_the_band_is_that_of_the_share_from_origin_to_origin() -> None:
    # Two series at each time, of which one or both are covered.
    hits = np.random.default_rng(0).integers(0, 2, 60)
    one, both = (table([1.0] * 60, q0_1=[0.0] * 60, q0_9=list(2.0 * hit)) for hit in (np.ones(60), hits))
    frame = pd.concat([one, both.assign(series="b")], ignore_index=True)
    found = interval_calibration.interval_coverage({"own": frame}, overlap=1).iloc[0]
    half_width = significance.long_run_mean((1 + hits) / 2).half_width()
    assert found["low"] == pytest.approx(min(0.8 - half_width, binom.ppf(0.025, 120, 0.8) / 120))
    assert found["high"] == pytest.approx(max(0.8 + half_width, binom.ppf(0.975, 120, 0.8) / 120))


def test_correct_intervals_of_series_that_move_together_are_rarely_called_wrong() -> None:
    # 20 series, correlation 0.7: counted as independent, 45 % of correct intervals are called wrong.
    random, bound, wrong = np.random.default_rng(1), 1.2815515655446004, 0
    for _ in range(200):
        shocks = 0.7**0.5 * random.normal(size=(40, 1)) + 0.3**0.5 * random.normal(size=(40, 20))
        times = pd.date_range("2024-01-01", periods=40)
        frame = pd.DataFrame({"time": np.repeat(times, 20), "step": 1, "actual": shocks.ravel()})
        frame = frame.assign(**{"q0.1": -bound, "q0.9": bound})
        row = interval_calibration.interval_coverage({"own": frame}, overlap=1).iloc[0]
        wrong += not row["low"] <= row["coverage"] <= row["high"]
    assert wrong <= 12


def test_intervals_that_are_too_narrow_are_still_found() -> None:
    random = np.random.default_rng(2)
    narrow = table(list(random.normal(size=120)), q0_1=[-0.6] * 120, q0_9=[0.6] * 120)
    row = interval_calibration.interval_coverage({"own": narrow}, overlap=1).iloc[0]
    assert row["coverage"] < row["low"]


def test_windows_that_share_steps_count_as_one() -> None:
    # Six windows of two steps, neighbours one step apart: three of them share none.
    pairs = table([1.0] * 12, [1, 2] * 6, q0_1=[0.0] * 12, q0_9=[2.0] * 12)
    assert interval_calibration.window_numbers(pairs).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert interval_calibration.independent_origins(pairs, overlap=2) == 3
    both = pd.concat([pairs, pairs.assign(series="b")])
    assert interval_calibration.independent_origins(both, overlap=2) == 3
    assert interval_calibration.interval_coverage({"own": pairs}, overlap=2)["count"].tolist() == [3]


def test_a_right_forecaster_of_counts_with_many_zeros_lies_on_the_diagonal() -> None:
    # P(0) = 0.7, P(1) = 0.3: every quantile up to 0.7 is 0.
    actual = [0.0] * 7 + [1.0] * 3
    counts = table(actual, q0_1=[0.0] * 10, q0_5=[0.0] * 10, q0_9=[1.0] * 10)
    found = interval_calibration.quantile_calibration({"own": counts}, overlap=1)
    assert found["share"].tolist() == found["level"].tolist() == [0.1, 0.5, 0.9]
