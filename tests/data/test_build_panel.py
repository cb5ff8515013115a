"""The validated data: placed on an axis, filled, selected, checked; and what is fitted on its training span."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridcast.data import build_panel, fill_gaps, fit_preprocessing, sources
from gridcast.data.dataset import build_dataset
from gridcast.runtime import scaling, windows
from gridcast.runtime.errors import ConfigError, DataError
from gridcast.runtime.preprocessing import Preprocessing
from small_experiments import experiment, sales

DAYS = 50  # of which 40 train
DATES = sorted(sales(DAYS)["date"].unique())
N = np.nan


@pytest.fixture
def build(tmp_path, monkeypatch):
    """The panel of a frame that is written to sales.csv and read from there."""
    monkeypatch.chdir(tmp_path)

    def of(frame, **sections):
        frame.to_csv("sales.csv", index=False)
        found = experiment(**sections)
        return build_panel.build_panel(sources.load_table(found.data), found)

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
        "sales.csv, line 102: series 'apple' at 2023-01-05 00:00:00 is already in sales.csv, line 5 "
        "(2 such rows in all); keep one row per series and time, "
        "say which one counts in data.repeated (first or last), or name every column that distinguishes series in "
        "data.series"
    )
    assert refusal(twice[twice["product"] == "apple"], data={"series": []}).startswith(
        "sales.csv, line 52: 2023-01-05 00:00:00 is already in sales.csv, line 5"
    )


def test_stamps_off_a_regular_axis_are_refused(refusal, build):
    frame = sales(DAYS)
    frame.loc[10, "date"] += " 12:00"
    message = refusal(frame, data={"calendar": "regular"})
    assert message == (
        "sales.csv, line 12: 2023-01-12 12:00:00 is off the regular axis of frequency D that starts at "
        "2023-01-02 00:00:00 (1 such stamps); correct it, or write data.calendar: observed, which takes every stamp "
        "for a step"
    )
    assert refusal(frame, data={"gaps": "zero"}) == message
    assert len(build(frame, data={"gaps": "zero", "calendar": "observed"}).times) == DAYS + 1


def test_missing_steps_are_refused_unless_the_experiment_says_how_to_fill_them(refusal, build):
    frame = without(sales(DAYS), "pear", 20, 21, 30)
    assert refusal(frame) == (
        "sales.csv, line 71: after this line the row of series 'pear' for 2023-01-22 00:00:00 is missing (3 steps "
        "missing in all); add them, or say with data.gaps how to fill them (zero, ffill, interpolate)"
    )
    whole = sales(DAYS)["quantity"].to_numpy()[DAYS:]
    expected = {"zero": [0, 0], "ffill": [whole[19]] * 2}
    expected["interpolate"] = [whole[19] + k * (whole[22] - whole[19]) / 3 for k in (1, 2)]
    for policy, filled in expected.items():
        found = build(frame, data={"gaps": policy})
        np.testing.assert_allclose(found.target[1, 20:22], filled)
        scored = "" if policy == "zero" else ", never forecast or scored"
        assert found.notes[-1] == f"3 missing steps of 100 filled (gaps: {policy}){scored}"


def test_a_step_that_no_series_has_is_a_gap_unless_the_calendar_is_observed(build, refusal):
    frame = without(without(sales(DAYS), "pear", 20), "apple", 20)
    assert len(build(frame, data={"calendar": "observed"}).times) == DAYS - 1
    for data in ({"calendar": "regular"}, {}):
        message = refusal(frame, data=data)
        assert "the row of series 'apple' for 2023-01-22 00:00:00 is missing (2 steps" in message
        assert message.endswith("(zero, ffill, interpolate), or write data.calendar: observed if there is no step then")


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
    assert refusal(sales(DAYS), data={"select": {"top": 3}}) == ("data.select.top: 3 series requested, sales.csv has 2")


def test_covariates_go_on_with_their_last_value_and_begin_with_the_training_median(build):
    frame = sales(DAYS)
    prices = frame["price"].to_numpy().reshape(2, DAYS).copy()
    prices[0, :5] = prices[0, 10:12] = prices[1, :] = N
    found = build(frame.assign(price=prices.ravel()), data={"past": ["price"], "blanks": "ffill"}).past[:, :, 0]
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
    ("level", "transform", "remedy"),
    [
        (1e12, {}, "subtract a constant from the target"),
        (1e12, {"scale": "none"}, "subtract a constant from the target"),
        (1e8, {"scale": "mean-abs"}, "write transform.scale: minmax"),
        (1e8, {"scale": "minmax"}, None),
        (1e12, {"scale": "minmax", "log1p": True}, "subtract a constant from the target"),
        (0, {"scale": "none"}, None),
    ],
)
def test_a_swing_that_is_lost_beside_its_level_is_warned_of(build, level, transform, remedy):
    frame = sales(DAYS)
    frame["quantity"] += level * (frame["product"] == "pear")
    notes = [note for note in build(frame, transform=transform).notes if "of their level" in note]
    assert len(notes) == (remedy is not None)
    for note in notes:
        assert note.startswith("warning: the values of 1 series (pear) differ by less than")
        assert note.endswith(str(remedy))


@pytest.mark.parametrize(
    ("days", "window", "message"),
    [
        (8, {"lookback": 7}, "6 observed steps in the train span of 6, 8 needed (lookback 7 + horizon 1)"),
        (50, {"lookback": 5, "horizon": 6}, "5 observed steps in the validation span of 5, 6 needed (lookback 5"),
    ],
)
def test_a_series_too_short_for_its_windows_is_refused(refusal, days, window, message):
    said = refusal(sales(days), window=window)
    assert said.startswith(f"sales.csv: series 'apple' and 1 other series are too short: {message}")
    assert said.endswith("give a longer series, a shorter window or another split")


def test_the_longest_lookback_of_the_grid_counts(refusal):
    assert "40 observed steps in the train span of 40, 46 needed (lookback 45" in refusal(
        sales(DAYS), grid={"lookback": [7, 45]}
    )


def test_a_series_that_ends_before_the_test_span_is_refused_by_name(refusal):
    said = refusal(without(sales(DAYS), "pear", *range(44, 50)))
    assert said.startswith("sales.csv: series 'pear' is too short: 0 observed steps in the test span of 5, 1 needed")
    assert said.endswith(
        "another split, leave it out with data.select.only, or write data.short: drop to leave out all such series"
    )


def test_log1p_of_values_at_or_below_minus_one_is_refused(refusal, build):
    frame = changed(sales(DAYS), "pear", DAYS - 1, -1.0)
    assert refusal(frame, transform={"log1p": True}) == (
        "transform.log1p: series 'pear' is -1 at 2023-02-20 00:00, and log1p needs values above -1; write log1p: false"
    )
    assert build(frame).target.min() == -1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"frequency": "fortnight"}, "data.frequency: 'fortnight' is unknown (such as min, 15min, h, D, B, W, M, Q)"),
        ({"future": ["between:x"]}, "data.future: 'between:x': expected between:2023-09-10:2023-11-02"),
    ],
)
def test_settings_that_only_the_data_can_judge_are_config_errors(refusal, data, message):
    assert refusal(sales(DAYS), ConfigError, data=data) == message


OPTIONS = {
    "data": {"past": ["price"], "future": ["day_of_week"]},
    "transform": {"log1p": True, "scale": "standard"},
}


def test_scalers_and_fallbacks_are_fitted_on_the_training_span_alone(build):
    frame = sales(DAYS)
    found = fit_preprocessing.fit_preprocessing(build(frame, **OPTIONS), experiment(**OPTIONS), 7)
    later = changed(changed(frame, "pear", 40, 1e6), "apple", 40, 99.0, "price")
    after = fit_preprocessing.fit_preprocessing(build(later, **OPTIONS), experiment(**OPTIONS), 7)
    assert after.to_json() == found.to_json()
    earlier = fit_preprocessing.fit_preprocessing(
        build(changed(frame, "pear", 39, 1e6), **OPTIONS), experiment(**OPTIONS), 7
    )
    assert earlier.to_json() != found.to_json()


def test_what_a_network_trains_and_validates_on_is_independent_of_the_test_span(build):
    frame = sales(DAYS)
    before = build_dataset(build(frame, **OPTIONS), experiment(**OPTIONS))
    later = changed(changed(frame, "pear", 45, 1e6), "apple", 45, 99.0, "price")
    after = build_dataset(build(later, **OPTIONS), experiment(**OPTIONS))
    np.testing.assert_array_equal(after.channels[:, :45], before.channels[:, :45])
    assert not np.array_equal(after.channels[:, 45:], before.channels[:, 45:])
    assert after.period == before.period == 7


def test_channels_are_the_scaled_target_then_past_then_columns_then_calendar(build):
    sections = {"data": {"past": ["price"], "future": ["day_of_week", "volume"]}, "transform": {"scale": "standard"}}
    frame = sales(DAYS).assign(volume=np.arange(2.0 * DAYS))
    found = build(frame, **sections)
    own = fit_preprocessing.fit_preprocessing(found, experiment(**sections), 7)
    channels = own.channels(found.target, found.covariates, found.times)
    assert channels.shape == (2, DAYS, 5)
    assert channels.dtype == np.float32
    for k, values in enumerate((found.target, found.past[:, :, 0], found.future[:, :, 0])):
        expected = scaling.fit(values[:, :40], "standard").transform(values)
        np.testing.assert_allclose(channels[:, :, k], expected, atol=1e-6)
    assert channels[0, 0, 3:].tolist() == [0.0, 1.0]  # a Monday
    assert own.first_known_ahead == 2
    assert own.future_columns == ("volume",)


def test_the_preprocessing_survives_the_way_through_json(build):
    sections = {"data": {"past": ["price"], "future": ["day_of_week"], "static": ["kind"]}}
    found = build(sales(DAYS).assign(kind="fruit"), **sections)
    own = fit_preprocessing.fit_preprocessing(found, experiment(**sections), 7)
    again = Preprocessing.from_json(own.to_json())
    plain = {"target_scaler": None, "scalers": ()}
    assert replace(again, **plain) == replace(own, **plain)
    np.testing.assert_array_equal(
        again.channels(found.target, found.covariates, found.times),
        own.channels(found.target, found.covariates, found.times),
    )


def windows_of(build, frame, span="train", **sections):
    """Origins of the second series, pear."""
    dataset = build_dataset(build(frame, **sections), experiment(**sections))
    index = dataset.origins(span, 3)
    return index[index[:, 0] == 1, 1].tolist()


GAP = {"window": {"lookback": 3, "horizon": 2}}


@pytest.mark.parametrize(
    ("policy", "blocked"),
    [
        ("zero", []),
        ("ffill", [19, 20, 21]),  # 20 or 21 among the two targets
        ("interpolate", [19, 20, 21, 22]),  # and 22, whose last input was made from the value at 22
    ],
)
def test_filled_steps_are_no_targets_and_inputs_do_not_end_on_a_value_that_depends_on_the_next(build, policy, blocked):
    sections = GAP | {"data": {"gaps": policy}}
    expected = [origin for origin in range(3, 39) if origin not in blocked]
    assert windows_of(build, without(sales(DAYS), "pear", 20, 21), **sections) == expected
    assert windows_of(build, sales(DAYS), **sections) == list(range(3, 39))


def test_a_gap_over_the_end_of_a_span_is_in_the_targets_of_neither(build):
    frame = without(sales(DAYS), "pear", 39, 40)
    for policy, first in (("ffill", 41), ("interpolate", 42)):
        sections = {"window": {"lookback": 3}, "data": {"gaps": policy}}
        assert windows_of(build, frame, **sections)[-1] == 38
        assert windows_of(build, frame, "validation", **sections) == list(range(first, 45))


def test_training_is_independent_of_the_value_after_the_gap_at_its_end(build):
    frame = without(sales(DAYS), "pear", 37, 38, 39, 40)
    sections = OPTIONS | {"data": OPTIONS["data"] | {"gaps": "interpolate"}}
    before, after = (build(given, **sections) for given in (frame, changed(frame, "pear", 41, 1e6)))
    assert not np.array_equal(after.target[:, :40], before.target[:, :40])
    np.testing.assert_array_equal(after.training_target, before.training_target)
    first, second = (fit_preprocessing.fit_preprocessing(found, experiment(**sections), 7) for found in (before, after))
    assert first.to_json() == second.to_json()
    first, second = (build_dataset(found, experiment(**sections)) for found in (before, after))
    index = first.origins("train", 7)
    assert second.origins("train", 7).tolist() == index.tolist()
    for steps in (windows.past(first.channels, index, 7), first.scaled_targets(index)):
        assert np.isfinite(steps).all()
    np.testing.assert_array_equal(windows.past(second.channels, index, 7), windows.past(first.channels, index, 7))
    np.testing.assert_array_equal(second.scaled_targets(index), first.scaled_targets(index))


@pytest.mark.parametrize("policy", ["zero", "ffill", "interpolate"])
@pytest.mark.parametrize("seed", range(4))
def test_no_input_depends_on_what_comes_after_its_origin(build, policy, seed):
    """Whatever is missing: change all later values, and the inputs of a window stay as they were."""
    random = np.random.default_rng(seed)
    frame = sales(DAYS)
    frame = frame[random.random(len(frame)) > 0.3]
    frame = frame.assign(price=frame["price"].where(random.random(len(frame)) > 0.3))
    sections = {
        "data": {"gaps": policy, "calendar": "regular", "past": ["price"], "blanks": "ffill"},
        "window": {"lookback": 3},
    }
    start = max(frame.groupby("product")["date"].min())  # before its first price a series has the training median
    start = max([start, *frame.dropna().groupby("product")["date"].min()])
    before = build(frame, **sections)
    dataset = build_dataset(before, experiment(**sections))
    index = np.concatenate([dataset.origins(span, 3) for span in ("train", "validation", "test")])
    assert len(index) > 20
    for origin in np.unique(index[:, 1]):
        later = frame["date"] >= f"{before.times[origin]:%Y-%m-%d}"
        after = build(frame.assign(quantity=frame["quantity"] + 50 * later, price=frame["price"] - later), **sections)
        here = index[(index[:, 1] == origin) & (before.times[origin - 3] >= pd.Timestamp(start))]
        for values in ("target", "past"):
            past = [windows.past(getattr(found, values), here, 3) for found in (before, after)]
            np.testing.assert_array_equal(past[1], past[0])


@pytest.mark.parametrize("policy", ["ffill", "interpolate"])
@pytest.mark.parametrize("seed", range(3))
def test_every_target_was_in_the_table(build, policy, seed):
    frame = sales(120)
    frame = frame[np.random.default_rng(seed).random(len(frame)) > 0.3]
    sections = {"data": {"gaps": policy, "calendar": "regular"}, "window": {"lookback": 3, "horizon": 2}}
    found = build(frame, **sections)
    dataset = build_dataset(found, experiment(**sections))
    given = {(row.product, row.date): row.quantity for row in frame.itertuples()}
    for span in ("train", "validation", "test"):
        index = dataset.origins(span, 3)
        for (series, origin), actual in zip(index, dataset.targets(index), strict=True):
            days = found.times[origin : origin + 2].strftime("%Y-%m-%d")
            assert [given[found.series[series], day] for day in days] == actual.tolist()


def test_the_fingerprint_tells_a_given_value_from_a_filled_one(build):
    frame = sales(DAYS)
    flat = frame.assign(quantity=np.where(frame["date"].isin(DATES[19:23]), 3.0, frame["quantity"]))
    broken = without(flat, "pear", 20, 21)
    whole, filled = build(flat, data={"gaps": "ffill"}), build(broken, data={"gaps": "ffill"})
    np.testing.assert_array_equal(whole.target, filled.target)
    assert whole.fingerprint != filled.fingerprint


def test_a_series_whose_gaps_leave_no_window_is_refused(refusal, build):
    frame = without(sales(DAYS), "pear", *range(1, DAYS - 1, 2))
    sections = {"window": {"lookback": 3}}
    assert refusal(frame, data={"gaps": "interpolate"}, **sections) == (
        "sales.csv: series 'pear' with too many gaps: 24 of its 50 steps are filled (gaps: interpolate), which leaves "
        "no window in the train span whose targets (horizon 1) were all observed and whose inputs end on an observed "
        "step; give the missing steps, a coarser data.frequency or a shorter horizon, write gaps: zero if nothing "
        "happened then, or leave it out with data.select.only"
    )
    assert build(frame, data={"gaps": "ffill"}, **sections).series == ("apple", "pear")
    message = refusal(frame, data={"gaps": "ffill"}, window={"lookback": 3, "horizon": 2})
    assert "no window in the train span whose targets (horizon 2) were all observed; give the missing" in message


def test_a_series_that_gaps_leave_out_of_a_later_span_is_noted_unless_it_is_the_last_one(refusal, build):
    frame = without(sales(DAYS), "pear", 45, 46, 47, 48)
    sections = {"data": {"gaps": "interpolate", "calendar": "regular"}}
    message = "warning: 1 series without a window in the test span because of filled gaps (pear)"
    assert build(frame, **sections).notes[-1] == message
    assert windows_of(build, frame, "test", **sections) == []
    both = refusal(without(frame, "apple", 45, 46, 47, 48), **sections)
    assert both.startswith(
        "sales.csv: series 'apple' and 1 other series with too many gaps: 4 of its 50 steps are filled"
    )


def test_covariates_are_completed_in_parts_as_they_would_be_at_once(monkeypatch):
    cube = np.random.default_rng(0).random((7, 20, 2))
    cube[[0, 2, 3, 5, 6], :4] = cube[2, 9:12, 1] = cube[3, :, 0] = N
    given = cube.copy()
    at_once = fill_gaps.fill_columns(cube, 15)
    monkeypatch.setattr(fill_gaps, "SERIES_PER_BLOCK", 2)
    np.testing.assert_array_equal(fill_gaps.fill_columns(cube, 15), at_once)
    np.testing.assert_array_equal(cube, given)
    assert at_once[3, :, 0].tolist() == [0.0] * 20
    assert np.isfinite(at_once).all()


def still(*, later=0.0):
    """Pears are missed on days 10 to 29 (40 train), 38 to 42, and 43 to 44 with `later` sold from day 43 on."""
    frame = changed(changed(sales(DAYS), "pear", 10, 0.0), "pear", 30, 7.0)
    frame.loc[(frame["product"] == "pear") & (frame["date"] == DATES[31]), "quantity"] = 8.0
    return changed(changed(frame, "pear", 38, 0.0), "pear", 43, later)


MASK = {"window": {"lookback": 3}, "data": {"zero_runs": "mask"}}


def test_unusual_runs_of_zeros_are_no_targets_of_training_and_validation(build):
    found = build(still(), **MASK)
    # The run from day 38 is short within the training span, and long within the validation span.
    assert np.flatnonzero(~found.observed[1]).tolist() == [*range(10, 30), *range(40, 45)]
    assert found.observed[0].all()
    assert windows_of(build, still(), **MASK) == [*range(3, 10), *range(30, 40)]
    assert windows_of(build, still(), "validation", **MASK) == []
    assert windows_of(build, still(), "test", **MASK) == list(range(45, 50))
    assert next(note for note in found.notes if "zero_runs" in note) == (
        "in the training and validation spans 2 unusual runs of zeros in 1 series, 25 of 90 steps, the longest: "
        "pear 2023-01-12 to 2023-01-31 (20 steps), pear 2023-02-11 to 2023-02-15 (5 steps); left out of training and "
        "validation (zero_runs: mask)"
    )
    assert (
        found.notes[-1]
        == "warning: 1 series without a window in the validation span because of filled or masked steps (pear)"
    )


def test_the_mask_of_a_span_is_independent_of_later_spans(build):
    before, after = (build(still(later=value), **MASK) for value in (0.0, 5.0))
    np.testing.assert_array_equal(after.observed[:, :40], before.observed[:, :40])
    tested = (build(changed(still(), "pear", 45, value), **MASK) for value in (0.0, 5.0))
    before, after = tested
    np.testing.assert_array_equal(after.observed, before.observed)
    own = [fit_preprocessing.fit_preprocessing(found, experiment(**MASK), 3).to_json() for found in (before, after)]
    assert own[0] == own[1]


def test_masked_steps_count_for_no_scaler_and_nothing_is_masked_by_default(build):
    scaled = {"transform": {"scale": "standard"}}
    masked = fit_preprocessing.fit_preprocessing(build(still(), **MASK, **scaled), experiment(**MASK, **scaled), 3)
    seen = np.delete(build(still()).target[1, :40], range(10, 30))
    assert masked.target_scaler.offset[1] == pytest.approx(seen.mean())
    assert build(still()).observed.all()
    assert build(still(), data={"zero_runs": "feature"}).observed.all()


def test_without_an_unusual_run_the_panel_is_the_same_and_says_so(build):
    found = build(sales(DAYS), **MASK)
    assert found.fingerprint == build(sales(DAYS)).fingerprint
    assert "in the training and validation spans no unusual run of zeros; left out" in found.notes[-1]


def test_rows_coarser_than_the_frequency_cannot_be_combined(refusal):
    frame = sales(DAYS).assign(date=[*pd.date_range("2019-01-01", periods=DAYS, freq="MS").strftime("%Y-%m-%d")] * 2)
    assert refusal(frame, data={"aggregate": "sum", "frequency": "W"}) == (
        "data.aggregate: no two rows of sales.csv lie in periods of frequency W that follow each other, such as "
        "2018-12-31 00:00:00 and 2019-01-28 00:00:00: they are coarser, with nothing to combine; write a coarser "
        "data.frequency, or aggregate: none"
    )
    assert refusal(frame, ConfigError, data={"aggregate": "sum", "frequency": "2W"}) == (
        "data.aggregate: rows cannot be combined by the frequency '2W' (such as 15min, h, D, W, M, Q, Y)"
    )


def test_statics_of_combined_rows_must_agree(refusal):
    frame = sales(DAYS).assign(colour=["red", "blue"] * DAYS)
    message = refusal(frame, data={"aggregate": "sum", "frequency": "W", "static": ["colour"]})
    assert message.startswith("data.static: column 'colour' changes within series 'apple' (red, blue);")


def test_a_series_that_the_mask_leaves_without_a_window_is_refused_with_a_remedy(refusal, build):
    frame = changed(changed(sales(200), "pear", 8, 0.0), "pear", 160, 5.0)
    sections = {"window": {"lookback": 8, "horizon": 1}, "data": {"zero_runs": "mask", "gaps": "zero"}}
    assert build(frame, **sections | {"window": {"lookback": 7}}).series == ("apple", "pear")
    assert refusal(frame, **sections) == (
        "sales.csv: series 'pear' with too many gaps: 152 of its 200 steps are filled (gaps: zero) or masked "
        "(zero_runs: mask), which leaves no window in the train span whose targets (horizon 1) were all observed; "
        "give the missing steps, a coarser data.frequency or a shorter horizon, write zero_runs: feature, write "
        "gaps: zero if nothing happened then, or leave it out with data.select.only"
    )


def test_short_and_ended_series_are_left_out_where_the_experiment_says_so(build, refusal):
    frame = pd.concat(
        [
            without(sales(DAYS, ("apple", "pear", "plum")), "pear", *range(44, 50)),
            sales(3, ("new",)).assign(date=sales(DAYS)["date"].iloc[-3:].to_numpy()),
        ]
    )
    assert "or write data.short: drop to leave out all such series" in refusal(frame)
    panel = build(frame, data={"short": "drop"})
    assert panel.series == ("apple", "plum")
    assert panel.too_short == ("new", "pear")
    assert "2 series too short for their windows, or ended early (new, pear): left out (short: drop)" in panel.notes
    plain = build(sales(DAYS, ("apple", "pear", "plum"))[lambda table: table["product"] != "pear"])
    assert panel.fingerprint == plain.fingerprint
    assert refusal(sales(3, ("new",)), data={"short": "drop"}).startswith("data.short: every series is too short")
