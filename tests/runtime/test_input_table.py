"""What a model reads in use is what it read in training: other frequencies, rows by period, and dated covariates."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from gridcast.data import prediction_files
from gridcast.runtime.errors import DataError
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing
from small_experiments import planned, sales


class Sum:
    """A network that answers with a sum in which each number that it reads has another weight."""

    def __init__(self, horizon):
        self.horizon = horizon

    def predict_on_batch(self, read):
        parts = [np.asarray(read[name], float) for name in ("history", "ahead") if name in read]
        flat = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
        return np.stack([flat @ np.cos(np.arange(flat.shape[1]) + k) for k in range(self.horizon)], axis=1)


def forecaster(found):
    """As it comes back from its JSON file."""
    own = Preprocessing.from_json(json.loads(json.dumps(found.dataset.preprocessing.to_json())))
    return Forecaster(own, Sum(own.horizon))


def agrees(found, table, origin, horizon=None):
    """Whether the table leads to the forecasts that the panel does at step `origin`; returns them."""
    model, series = forecaster(found), np.arange(len(found.panel.series))
    index = np.stack([series, np.full(len(series), origin)], axis=1)
    expected = model.forecast(found.dataset.channels, index, series)
    given = model.predict(table, {"horizon": horizon} if horizon else {})
    np.testing.assert_allclose(given["forecast"].to_numpy().reshape(len(series), -1), expected, rtol=1e-4)
    times = found.panel.times[origin : origin + expected.shape[1]]
    if len(times) == expected.shape[1]:
        assert given["date"].tolist() == [*times] * len(series)
    return given


def by(frequency, steps, start="2015-01-01"):
    """A row per step of products apple and pear: a cycle of a year with noise."""
    dates = pd.date_range(start, periods=steps, freq=frequency)
    frame = sales(steps)
    wave = np.sin(2 * np.pi * dates.day_of_year / 365.25)
    quantity = 20 + 10 * np.tile(wave, 2) + 0.2 * frame["price"]
    return frame.assign(date=[*dates.strftime("%Y-%m-%d")] * 2, quantity=quantity)


YEARLY = ["fourier:365.25:2", "month", "holidays:GB", "trend"]


@pytest.mark.parametrize(
    ("frequency", "pandas", "steps", "start", "period"),
    [
        ("W", "W-WED", 250, "2015-01-07", 52),
        ("M", "MS", 120, "2015-01-01", 12),
        ("M", "ME", 120, "2015-01-31", 12),
        ("Q", "QS", 80, "2000-01-01", 4),
    ],
)
@pytest.mark.parametrize("calendar", ["regular", "observed"])
def test_weeks_months_and_quarters_are_forecast_as_on_the_panel(
    tmp_path, frequency, pandas, steps, start, period, calendar
):
    frame = by(pandas, steps, start)
    data = {"frequency": frequency, "calendar": calendar, "past": ["price"], "future": YEARLY}
    found = planned(tmp_path, frame, data=data, window={"lookback": 6, "horizon": 3})
    assert found.dataset.period == period
    assert found.panel.times.tolist() == pd.date_range(start, periods=steps, freq=pandas).tolist()
    assert (
        found.dataset.preprocessing.channel_names
        == (["quantity", "price", *["fourier:365.25:2"] * 4, "month", "month", "holidays:GB", "trend"])
        or found.dataset.preprocessing.channel_names[2:6] == ("fourier:365.25:2",) * 4
    )
    for origin in (30, steps - 3):
        dates = found.panel.times[:origin].strftime("%Y-%m-%d")
        agrees(found, frame[frame["date"].isin(dates)], origin)
    last = forecaster(found).predict(frame, {"horizon": 5})
    ahead = pd.date_range(start, periods=steps + 5, freq=pandas)[-5:]
    assert last["date"].tolist() == [*ahead] * 2
    assert np.isfinite(last["forecast"]).all()


def daily(start="2019-11-20", end="2022-06-10"):
    """Orders by day, several on some days, none on Sundays; the first and the last month are not whole."""
    dates = pd.date_range(start, end)
    frame = by("D", len(dates), start)
    frame["promotion"] = (np.arange(len(frame)) % 7 == 0).astype(float)
    frame = pd.concat([frame, frame.iloc[::5]], ignore_index=True)
    return frame[pd.to_datetime(frame["date"]).dt.day_of_week != 6]


MONTHLY = {"frequency": "M", "calendar": "regular", "gaps": "zero", "past": ["price"], "future": ["month", "promotion"]}


@pytest.mark.parametrize("rule", ["sum", "mean", "last"])
def test_rows_by_day_are_combined_by_month_in_use_as_in_training(tmp_path, rule):
    frame = daily()
    found = planned(
        tmp_path, frame, data=MONTHLY | {"aggregate": rule}, window={"lookback": 6, "horizon": 2}, split=THIRDS
    )
    panel = found.panel
    assert panel.times.tolist() == pd.date_range("2019-12-01", "2022-05-01", freq="MS").tolist()
    assert [note for note in panel.notes if " combined to " in note or "left out" in note] == [
        f"{len(frame[frame['date'].between('2019-12-01', '2022-05-31')]):,} rows combined to 60 by M ({rule})",
        "warning: the data begin on 2019-11-20 00:00:00 and end on 2022-06-10 00:00:00: the periods of "
        "2019-11-01 and 2022-06-01 are incomplete and left out",
    ]
    pears = frame[frame["product"] == "pear"].set_index("date").sort_index(kind="stable").loc["2020-02-01":"2020-02-29"]
    expected = {"sum": pears["quantity"].sum(), "mean": pears["quantity"].mean(), "last": pears["quantity"].iloc[-1]}
    assert panel.target[1, 2] == pytest.approx(expected[rule])
    assert panel.past[1, 2, 0] == pytest.approx(pears["price"].mean())
    # History by day to the middle of March, and the promotions of the two months ahead.
    table = frame[(frame["date"] >= "2020-07-20") & (frame["date"] < "2021-05-01")].copy()
    table.loc[table["date"] > "2021-03-14", ["quantity", "price"]] = np.nan
    agrees(found, table, panel.times.get_loc(pd.Timestamp("2021-03-01")))
    # A table by month already is read as it is.
    table = table.sort_values("date", kind="stable")
    months = table.assign(date=pd.to_datetime(table["date"]).dt.to_period("M").dt.start_time)
    months = months[months["date"] >= "2020-08-01"].groupby(["product", "date"], as_index=False)
    target = months["quantity"].sum(min_count=1) if rule == "sum" else months["quantity"].agg(rule)
    given = target.assign(**{name: months[name].mean()[name] for name in ("price", "promotion")})
    given.loc[given["date"] >= "2021-03-01", "quantity"] = np.nan
    agrees(found, given, panel.times.get_loc(pd.Timestamp("2021-03-01")))


THIRDS = {"train": 0.6, "validation": 0.2, "test": 0.2}


def test_rows_by_day_are_combined_by_week(tmp_path):
    data = {"frequency": "W", "calendar": "regular", "aggregate": "sum", "future": ["week_of_year"]}
    found = planned(tmp_path, daily("2021-01-06"), data=data, window={"lookback": 4})
    assert found.panel.times.day_of_week.unique().tolist() == [0]
    assert found.panel.times[0] == pd.Timestamp("2021-01-11")
    assert found.panel.times[-1] == pd.Timestamp("2022-05-30")
    table = daily("2021-01-06")
    agrees(found, table[table["date"] < "2022-04-14"], found.panel.times.get_loc(pd.Timestamp("2022-04-11")))


def test_holidays_are_known_ten_years_beyond_the_data_and_no_further(tmp_path):
    frame = by("MS", 60)
    data = {"frequency": "M", "calendar": "regular", "future": ["holidays:GB"]}
    found = planned(tmp_path, frame, data=data, window={"lookback": 6})
    assert "holidays:GB: known up to 2029-12-31; forecasts beyond need a new training" in found.panel.notes
    model = forecaster(found)
    assert len(model.predict(frame, {"horizon": 120})) == 240
    told = (
        "2030-01-01 00:00:00: 'holidays:GB' is known from 2015-01-01 to 2029-12-31 only, as of training; "
        "train again on newer data, or ask for fewer steps"
    )
    with pytest.raises(DataError) as caught:
        model.predict(frame, {"horizon": 121})
    assert str(caught.value) == told


def test_a_model_in_use_needs_neither_the_event_file_nor_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    events = tmp_path / "events.csv"
    events.write_text("date,end,name\n2023-02-01,2023-02-03,sale\n2023-03-20,,sale\n2023-02-20,,flood\n")
    frame = sales(80)
    found = planned(tmp_path, frame, data={"future": ["events:events.csv"]}, window={"lookback": 5, "horizon": 2})
    assert found.dataset.preprocessing.channel_names == (
        "quantity",
        "events:events.csv:flood",
        "events:events.csv:sale",
    )
    fingerprint = found.fingerprint
    events.write_text("date,name\n2023-02-01,sale\n2023-02-20,flood\n2025-02-20,fair\n")
    again = planned(tmp_path, frame, data={"future": ["events:events.csv"]})
    assert again.fingerprint != fingerprint
    assert again.panel.notes[-1] == (
        "warning: events:events.csv:fair: marks no step of the training span, so that nothing is learned about it"
    )
    events.unlink()
    agrees(found, frame[frame["date"] < "2023-03-20"], 77)


STILL = {"past": ["price"], "gaps": "zero", "zero_runs": "feature"}


def still(days=120):
    """Pears are not there for 20 days of the training span and 12 of the test span."""
    frame = sales(days)
    off = (frame["product"] == "pear") & (
        frame["date"].between("2023-02-01", "2023-02-20") | frame["date"].between("2023-04-20", "2023-05-01")
    )
    return frame.assign(quantity=frame["quantity"].where(~off, 0.0))


def test_unusual_runs_of_zeros_are_marked_in_use_as_in_training(tmp_path):
    frame = still()
    found = planned(tmp_path, frame, data=STILL, window={"lookback": 6, "horizon": 2})
    own = found.dataset.preprocessing
    assert own.channel_names == ("quantity", "price", "exhibition")
    assert (own.first_known_ahead, own.zero_run_limits[1]) == (3, 4)
    flags = found.panel.past[1, :, 1]
    assert found.panel.times[flags == 1].strftime("%m-%d").tolist() == [
        *pd.date_range("2023-02-05", "2023-02-20").strftime("%m-%d"),
        *pd.date_range("2023-04-24", "2023-05-01").strftime("%m-%d"),
    ]
    for end in ("2023-02-10", "2023-02-24", "2023-04-23", "2023-04-28"):
        table = frame[(frame["date"] > "2023-01-20") & (frame["date"] <= end)]
        agrees(found, table, found.panel.times.get_loc(pd.Timestamp(end)) + 1)


def test_a_history_that_begins_among_zeros_is_refused_where_it_cannot_tell(tmp_path):
    found = planned(tmp_path, still(), data=STILL, window={"lookback": 6})
    table = still()[lambda t: (t["date"] >= "2023-02-12") & (t["date"] <= "2023-02-18")]
    with pytest.raises(DataError) as caught:
        forecaster(found).predict(table)
    assert str(caught.value) == (
        "series 'pear': its history begins with zeros, too few to know whether their run is longer than the "
        "usual 4 steps; give at least 10 steps of history"
    )


SHELVES = {"past": ["price"], "future": ["promotion"], "static": ["shelf"]}


def on_shelves(**shelves):
    frame = sales(60, ("1", "2"))
    return frame.assign(promotion=1.0, shelf=frame["product"].map({"1": "low", "2": "high"} | shelves))


@pytest.fixture
def placed(tmp_path):
    return planned(tmp_path, on_shelves(), data=SHELVES, window={"lookback": 5, "horizon": 2})


@pytest.mark.parametrize(
    ("shelf", "told"),
    [
        (
            "attic",
            "series '2' is 'attic', unseen in training, and was trained as 'high', which is used",
        ),
        ("low", "series '2' is 'low', and was trained as 'high', which is used"),
    ],
)
def test_a_series_keeps_the_category_of_its_training_with_a_warning(placed, tmp_path, caplog, shelf, told):
    table = on_shelves(**{"2": shelf})
    late = table["date"] >= "2023-03-01"
    table.loc[late, ["quantity", "price"]] = np.nan
    with caplog.at_level(logging.WARNING, "gridcast"):
        expected = forecaster(placed).predict(table.drop(columns="shelf"))
        forecaster(placed).predict(table.assign(shelf=on_shelves()["shelf"].mask(late)))
        assert caplog.messages == []
        found = forecaster(placed).predict(table)
        assert caplog.messages == [f"column 'shelf': {told} (1 such series); train again to learn of the change"]
        path = tmp_path / "history.csv"
        table.assign(shelf=table["shelf"].mask(late)).to_csv(path, index=False)
        from_file = forecaster(placed).predict(prediction_files.read_series_table(path, placed.dataset.preprocessing))
        assert len(caplog.messages) == 2
    pd.testing.assert_frame_equal(found, expected)
    pd.testing.assert_frame_equal(from_file, expected)


def test_a_history_file_without_the_future_of_a_future_column_is_refused(placed, tmp_path):
    """As `gridcast predict` reads it: the rows that end with the history, and those that go on too briefly."""
    path = tmp_path / "history.csv"
    for ahead, missing in ((0, "2023-03-03"), (1, "2023-03-04")):
        table = on_shelves()
        more = table[table["date"] == "2023-03-02"].assign(date="2023-03-03", quantity=np.nan)
        pd.concat([table, more] if ahead else [table]).to_csv(path, index=False)
        with pytest.raises(DataError) as caught:
            forecaster(placed).predict(prediction_files.read_series_table(path, placed.dataset.preprocessing))
        assert str(caught.value) == (
            f"column 'promotion': series '1' has no value at {missing} 00:00:00; a future column must be known for "
            "each of the 2 steps ahead: add rows with it and an empty 'quantity'"
        )
