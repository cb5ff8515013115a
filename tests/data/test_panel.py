"""The validated data: placed on an axis, filled, selected, checked; and what is fitted on its training span."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast.data import panel, scaling, sources
from gridcast.data.preprocessing import Preprocessing
from gridcast.errors import ConfigError, DataError
from gridcast.training.material import prepare
from samples import experiment, sales

DAYS = 50  # of which 40 train
N = np.nan


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The panel of a frame that is written to sales.csv and read from there."""
    monkeypatch.chdir(tmp_path)

    def of(frame, **sections):
        frame.to_csv("sales.csv", index=False)
        found = experiment(**sections)
        return panel.build(sources.load(found.data), found)

    return of


@pytest.fixture
def refusal(build):
    def of(frame, kind=DataError, **sections):
        with pytest.raises(kind) as caught:
            build(frame, **sections)
        return str(caught.value)

    return of


def without(frame, product, *days):
    """The frame less some days (0 is the first) of one product."""
    dates = sorted(frame["date"].unique())
    return frame[~((frame["product"] == product) & frame["date"].isin([dates[day] for day in days]))]


def changed(frame, product, first, value, column="quantity"):
    """The frame with another value from day `first` on."""
    dates = sorted(frame["date"].unique())
    frame = frame.copy()
    frame.loc[(frame["product"] == product) & (frame["date"] >= dates[first]), column] = value
    return frame


def test_values_stand_at_their_series_and_time_whatever_the_order_of_the_rows(build):
    frame = sales(DAYS)
    found = build(frame.sample(frac=1, random_state=0), data={"past": ["price"]})
    assert found.series == ("apple", "pear")
    assert found.times.tolist() == pd.date_range("2023-01-02", periods=DAYS).tolist()
    np.testing.assert_array_equal(found.target, frame["quantity"].to_numpy().reshape(2, DAYS))
    np.testing.assert_array_equal(found.past[:, :, 0], frame["price"].to_numpy().reshape(2, DAYS))
    assert found.spans["test"] == (45, 50)


def test_the_fingerprint_follows_names_stamps_and_values_but_not_the_order_of_rows(build):
    frame = sales(DAYS)
    same = build(frame).fingerprint
    assert build(frame.sample(frac=1, random_state=0)).fingerprint == same
    others = [
        build(changed(frame, "pear", DAYS - 1, 3.25)).fingerprint,
        build(frame.replace("pear", "plum")).fingerprint,
        build(frame.assign(date=frame["date"].str.replace("2023", "2022"))).fingerprint,
        build(frame, data={"past": ["price"]}).fingerprint,
        build(frame, data={"future": ["price"]}).fingerprint,
        build(frame[frame["product"] == "pear"]).fingerprint,
    ]
    assert len({same, *others}) == 7


def test_a_second_row_for_a_series_and_time_is_refused_with_both_lines(refusal):
    frame = sales(DAYS)
    twice = pd.concat([frame, frame.iloc[[3, 60]]])
    assert refusal(twice) == (
        "sales.csv, line 102: series 'apple' at 2023-01-05 00:00:00 stands already in sales.csv, line 5 "
        "(2 such rows in all); keep one row per series and time, "
        "or name every column that tells series apart in data.series"
    )
    assert refusal(twice[twice["product"] == "apple"], data={"series": []}).startswith(
        "sales.csv, line 52: 2023-01-05 00:00:00 stands already in sales.csv, line 5"
    )


def test_stamps_off_a_regular_axis_are_refused(refusal, build):
    frame = sales(DAYS)
    frame.loc[10, "date"] += " 12:00"
    told = refusal(frame, data={"calendar": "regular"})
    assert told == (
        "sales.csv, line 12: 2023-01-12 12:00:00 is off the regular axis of frequency D that starts at "
        "2023-01-02 00:00:00; correct data.frequency, or write data.calendar: observed"
    )
    assert len(build(frame, data={"gaps": "zero"}).times) == DAYS + 1


def test_missing_steps_are_refused_unless_the_experiment_says_how_to_fill_them(refusal, build):
    frame = without(sales(DAYS), "pear", 20, 21, 30)
    assert refusal(frame) == (
        "sales.csv, line 71: after this line series 'pear' misses 2023-01-22 00:00:00 (3 steps missing in all); "
        "add them, or say with data.gaps how to fill them (zero, ffill, interpolate)"
    )
    whole = sales(DAYS)["quantity"].to_numpy()[DAYS:]
    expected = {"zero": [0, 0], "ffill": [whole[19]] * 2}
    expected["interpolate"] = [whole[19] + k * (whole[22] - whole[19]) / 3 for k in (1, 2)]
    for policy, filled in expected.items():
        found = build(frame, data={"gaps": policy})
        np.testing.assert_allclose(found.target[1, 20:22], filled)
        assert found.notes[-1] == f"3 missing steps of 100 filled (gaps: {policy})"


def test_a_step_that_no_series_has_is_a_gap_on_a_regular_axis_only(build, refusal):
    frame = without(without(sales(DAYS), "pear", 20), "apple", 20)
    assert len(build(frame).times) == DAYS - 1
    assert "series 'apple' misses 2023-01-22 00:00:00 (2 steps" in refusal(frame, data={"calendar": "regular"})


def test_a_series_may_begin_late_and_end_early_without_a_gap(build):
    found = build(without(sales(DAYS), "pear", 0, 1, DAYS - 1))
    np.testing.assert_array_equal(np.isnan(found.target[1]), [True, True, *[False] * 47, True])


def test_top_ranks_by_the_total_over_the_training_span_alone(build):
    frame = sales(DAYS, ("apple", "fig", "pear"))  # each sells more than the one before
    assert build(frame, data={"select": {"top": 2}}).series == ("pear", "fig")
    later = changed(frame, "apple", 40, 1e6)
    assert build(later, data={"select": {"top": 2}}).series == ("pear", "fig")
    assert build(changed(frame, "apple", 39, 1e6), data={"select": {"top": 2}}).series == ("apple", "pear")


def test_more_series_than_there_are_cannot_be_selected(refusal):
    assert refusal(sales(DAYS), data={"select": {"top": 3}}) == ("data.select.top: 3 series wanted, sales.csv has 2")


def test_covariates_go_on_with_their_last_value_and_begin_with_the_training_median(build):
    frame = sales(DAYS)
    prices = frame["price"].to_numpy().reshape(2, DAYS).copy()
    prices[0, :5] = prices[0, 10:12] = prices[1, :] = N
    found = build(frame.assign(price=prices.ravel()), data={"past": ["price"]}).past[:, :, 0]
    assert found[0, :5].tolist() == [np.nanmedian(prices[0, :40])] * 5
    assert found[0, 10:12].tolist() == [prices[0, 9]] * 2
    assert found[1].tolist() == [0.0] * DAYS  # never known


def test_static_categories_become_codes_above_the_one_for_the_unknown(build, refusal):
    frame = sales(DAYS, ("apple", "fig", "pear"))
    colours = frame["product"].map({"apple": "red", "fig": "violet", "pear": "green"})
    found = build(frame.assign(colour=colours, kind="fruit"), data={"static": ["colour", "kind"]})
    assert found.vocabularies == (("green", "red", "violet"), ("fruit",))
    assert found.static.tolist() == [[2, 1], [3, 1], [1, 1]]
    assert refusal(frame.assign(colour=frame["date"]), data={"static": ["colour"]}).startswith(
        "data.static: column 'colour' changes within series 'apple' (2023-01-02, 2023-01-03, 2023-01-04);"
    )


def test_a_series_constant_over_the_training_span_is_kept_with_a_warning_or_dropped(build, refusal):
    frame = changed(changed(sales(DAYS), "pear", 0, 3.0), "pear", 40, 8.0)
    kept = build(frame)
    assert kept.series == ("apple", "pear")
    assert kept.notes[-1] == (
        "warning: 1 series constant over the training span (pear): kept; data.constant: drop leaves them out"
    )
    dropped = build(frame, data={"constant": "drop"})
    assert dropped.series == ("apple",)
    assert dropped.notes[-1] == "1 series constant over the training span (pear): dropped"
    assert refusal(frame[frame["product"] == "pear"], data={"constant": "drop"}) == (
        "data.constant: every series is constant over the training span (pear); nothing is left"
    )


@pytest.mark.parametrize(
    ("days", "window", "told"),
    [
        (8, {"lookback": 7}, "6 observed steps in the train span of 6, 8 needed (lookback 7 + horizon 1)"),
        (50, {"lookback": 5, "horizon": 6}, "5 observed steps in the validation span of 5, 6 needed (lookback 5"),
    ],
)
def test_a_series_too_short_for_its_windows_is_refused(refusal, days, window, told):
    said = refusal(sales(days), window=window)
    assert said.startswith(f"sales.csv: series 'apple' and 1 other series too short: {told}")
    assert said.endswith("give a longer series, a shorter window, another split, or leave it out with data.select.only")


def test_the_longest_lookback_of_the_grid_counts(refusal):
    assert "40 observed steps in the train span of 40, 46 needed (lookback 45" in refusal(
        sales(DAYS), grid={"lookback": [7, 45]}
    )


def test_a_series_that_ends_before_the_test_span_is_refused_by_name(refusal):
    assert refusal(without(sales(DAYS), "pear", *range(44, 50))).startswith(
        "sales.csv: series 'pear' too short: 0 observed steps in the test span of 5, 1 needed"
    )


def test_log1p_of_values_at_or_below_minus_one_is_refused(refusal, build):
    frame = changed(sales(DAYS), "pear", DAYS - 1, -1.0)
    assert refusal(frame, transform={"log1p": True}) == (
        "transform.log1p: series 'pear' is -1 at 2023-02-20 00:00, and log1p needs values above -1; write log1p: false"
    )
    assert build(frame).target.min() == -1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"frequency": "fortnight"}, "data.frequency: 'fortnight' is unknown (such as min, 15min, h, D, B, W, M, Q)"),
        ({"future": ["between:x"]}, "data.future: 'between:x': expected between:2023-09-10:2023-11-02"),
    ],
)
def test_settings_that_only_the_data_can_judge_are_config_errors(refusal, data, told):
    assert refusal(sales(DAYS), ConfigError, data=data) == told


OPTIONS = {
    "data": {"past": ["price"], "future": ["day_of_week"]},
    "transform": {"log1p": True, "scale": "standard"},
}


def test_scalers_and_fallbacks_are_fitted_on_the_training_span_alone(build):
    frame = sales(DAYS)
    found = panel.preprocessing(build(frame, **OPTIONS), experiment(**OPTIONS), 7)
    later = changed(changed(frame, "pear", 40, 1e6), "apple", 40, 99.0, "price")
    after = panel.preprocessing(build(later, **OPTIONS), experiment(**OPTIONS), 7)
    assert after.to_json() == found.to_json()
    earlier = panel.preprocessing(build(changed(frame, "pear", 39, 1e6), **OPTIONS), experiment(**OPTIONS), 7)
    assert earlier.to_json() != found.to_json()


def test_what_a_network_trains_and_validates_on_does_not_know_the_test_span(build):
    frame = sales(DAYS)
    before = prepare(build(frame, **OPTIONS), experiment(**OPTIONS))
    later = changed(changed(frame, "pear", 45, 1e6), "apple", 45, 99.0, "price")
    after = prepare(build(later, **OPTIONS), experiment(**OPTIONS))
    np.testing.assert_array_equal(after.channels[:, :45], before.channels[:, :45])
    assert not np.array_equal(after.channels[:, 45:], before.channels[:, 45:])
    assert after.period == before.period == 7


def test_channels_are_the_scaled_target_then_past_then_columns_then_calendar(build):
    sections = {"data": {"past": ["price"], "future": ["day_of_week", "volume"]}, "transform": {"scale": "standard"}}
    frame = sales(DAYS).assign(volume=np.arange(2.0 * DAYS))
    found = build(frame, **sections)
    own = panel.preprocessing(found, experiment(**sections), 7)
    channels = own.channels(found.target, found.columns, found.times)
    assert channels.shape == (2, DAYS, 5)
    assert channels.dtype == np.float32
    for k, values in enumerate((found.target, found.past[:, :, 0], found.future[:, :, 0])):
        expected = scaling.fit(values[:, :40], "standard").transform(values)
        np.testing.assert_allclose(channels[:, :, k], expected, atol=1e-6)
    assert channels[0, 0, 3:].tolist() == [0.0, 1.0]  # a Monday
    assert own.known_ahead == 2
    assert own.future_columns == ("volume",)


def test_the_preprocessing_survives_the_way_through_json(build):
    sections = {"data": {"past": ["price"], "future": ["day_of_week"], "static": ["kind"]}}
    found = build(sales(DAYS).assign(kind="fruit"), **sections)
    own = panel.preprocessing(found, experiment(**sections), 7)
    again = Preprocessing.from_json(own.to_json())
    plain = {"target_scaler": None, "scalers": ()}
    assert replace(again, **plain) == replace(own, **plain)
    np.testing.assert_array_equal(
        again.channels(found.target, found.columns, found.times), own.channels(found.target, found.columns, found.times)
    )
