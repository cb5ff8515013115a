"""Stamps with offsets and time zones: local days, hours counted in UTC, and clock changes by name."""

from __future__ import annotations

import datetime as dt
import re

import numpy as np
import pandas as pd
import pytest

from gridcast.data import build_panel, prediction_files, sources
from gridcast.runtime import date_text, local_time
from gridcast.runtime.errors import ConfigError, DataError
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.table_columns import parse_stamps
from small_experiments import experiment, planned

BERLIN = "Europe/Berlin"
AUTUMN = pd.date_range("2022-10-20", "2022-11-10", freq="h", tz=BERLIN, inclusive="left")
SPRING = pd.date_range("2022-03-20", "2022-04-10", freq="h", tz=BERLIN, inclusive="left")
DAYS = pd.date_range("2022-10-01", periods=60, freq="D", tz=BERLIN)
ONE_SERIES = {"series": [], "target": "quantity"}
WINDOW = {"lookback": 3, "horizon": 2}


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def frame(stamps):
    return pd.DataFrame({"date": stamps, "quantity": np.arange(len(stamps)) % 11 + 1.0})


def panel_of(stamps, path="sales.csv", **data):
    table = frame(stamps)
    table.to_csv(path, index=False) if path.endswith(".csv") else table.to_parquet(path)
    found = experiment(path, data=ONE_SERIES | data, window=WINDOW)
    return build_panel.build_panel(sources.load_table(found.data), found)


class Last:
    """A network that answers with the last value."""

    def predict_on_batch(self, inputs):
        return np.repeat(inputs["history"][:, -1:, 0], 2, axis=1)


def forecaster(stamps, tmp_path, **data):
    plan = planned(tmp_path, frame(stamps), data=ONE_SERIES | data, window=WINDOW)
    return Forecaster(Preprocessing.from_json(plan.dataset.preprocessing.to_json()), Last())


OFFSET_FORMATS = [
    *("%Y-%m-%d %H:%M:%S%z", "%Y-%m-%dT%H:%M%z", "%d/%m/%Y %H:%M%z", "%d.%m.%Y %H.%M%z", "%Y/%m/%d %H:%M %z"),
    *("%d %B %Y %H:%M%z", "%d-%b-%Y %H:%M:%S %z", "%B %d, %Y, %I:%M %p%z", "%d/%m/%Y %I:%M p. m.%z"),
]
DAY_FORMATS = ["%Y-%m-%d%z", "%d/%m/%Y %z", "%d %B %Y%z", "%B %d, %Y %z"]


@pytest.mark.parametrize("offset_format", [*OFFSET_FORMATS, *DAY_FORMATS])
@pytest.mark.parametrize("frequency", [None, "D"])
def test_days_with_offsets_are_local_days_over_a_clock_change(offset_format, frequency):
    expected = DAYS.tz_localize(None)
    found = panel_of(DAYS.strftime(offset_format), frequency=frequency)
    assert found.times.normalize().tolist() == expected.tolist()
    assert panel_of(DAYS, "sales.parquet", frequency=frequency).times.tolist() == expected.tolist()


@pytest.mark.parametrize("offset_format", OFFSET_FORMATS[:-1])
def test_the_offset_of_a_time_is_read_in_every_way_of_writing_it(offset_format):
    texts = pd.Series(AUTUMN.strftime(offset_format))
    order = "day-first" if re.match(r"\d\d[./]", texts[0]) else "iso"
    local, offsets = date_text.split_dates(texts, order)
    assert local.tolist() == AUTUMN.tz_localize(None).tolist()
    assert set(offsets) == {3600.0, 7200.0}


def test_dates_with_fractions_of_seconds_may_stand_beside_others():
    texts = pd.Series(["12 March 2024 10:00:00.5", "2024-03-13 10:00:00"], dtype="str")
    local, _ = date_text.split_dates(texts, "iso")
    assert local.tolist() == [dt.datetime(2024, 3, 12, 10, 0, 0, 500_000), dt.datetime(2024, 3, 13, 10)]


@pytest.mark.parametrize("frequency", [None, "D"])
def test_days_written_as_instants_are_those_of_the_time_zone(frequency):
    instants = DAYS.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
    assert panel_of(instants, frequency=frequency, time_zone=BERLIN).times.tolist() == DAYS.tz_localize(None).tolist()
    with pytest.raises(DataError, match=r"are an hour off, as after a clock change; .* data.time_zone of their days"):
        panel_of(instants, frequency="D")


@pytest.mark.parametrize("stamps", [AUTUMN, SPRING])
@pytest.mark.parametrize("zone", [None, BERLIN])
def test_hours_with_offsets_are_counted_in_utc(stamps, zone):
    expected = stamps.tz_convert("UTC").tz_localize(None)
    for text in (
        stamps.astype(str),
        stamps.strftime("%d.%m.%Y %H:%M%z"),
        stamps.tz_convert("UTC").strftime("%F %T UTC"),
    ):
        assert panel_of(text, time_zone=zone).times.tolist() == expected.tolist()
    assert panel_of(stamps, "sales.parquet", time_zone=zone).times.tolist() == expected.tolist()


@pytest.mark.parametrize("stamps", [AUTUMN, SPRING, AUTUMN[::-1]])
def test_local_hours_without_an_offset_have_23_and_25_hours_in_their_time_zone(stamps):
    found = panel_of(stamps.tz_localize(None), time_zone=BERLIN)
    assert found.times.tolist() == sorted(stamps.tz_convert("UTC").tz_localize(None))
    # Each value stands at its hour, those of the repeated hour too.
    order = np.argsort(stamps.tz_convert("UTC").to_numpy())
    np.testing.assert_array_equal(found.target[0], frame(stamps)["quantity"].to_numpy()[order])


def test_each_series_has_its_own_repeated_hour():
    hours = AUTUMN.tz_localize(None)
    rows = pd.DataFrame({"date": np.repeat(hours, 2), "product": ["a", "b"] * len(hours), "quantity": 1.0})
    rows.to_csv("sales.csv", index=False)
    found = experiment("sales.csv", data={"time_zone": BERLIN}, window=WINDOW)
    panel = build_panel.build_panel(sources.load_table(found.data), found)
    assert panel.target.shape == (2, len(hours))
    assert np.isfinite(panel.target).all()


def test_a_missing_or_repeated_local_hour_names_the_clock_change_and_the_remedy_works():
    for stamps, message in (
        (SPRING, r"2022-03-27 02:00:00 is missing .*; clocks are put forward then in Europe/Berlin"),
        (AUTUMN, r"2022-10-30 02:00:00 is already in .* is there twice, as clocks are put back then in Europe/Berlin"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            panel_of(stamps.tz_localize(None))
        assert "write data.time_zone: Europe/Berlin" in str(caught.value)
        assert len(panel_of(stamps.tz_localize(None), time_zone=BERLIN).times) == len(stamps)


def test_a_local_time_that_clocks_skip_is_refused_and_the_remedy_works():
    hours = pd.date_range("2022-03-20", "2022-04-10", freq="h")
    with pytest.raises(DataError, match=r"line 172, column 'date': '2022-03-27 02:00:00' does not exist in Europe/Be"):
        panel_of(hours, time_zone=BERLIN)
    assert len(panel_of(hours, time_zone="UTC").times) == len(hours)


def test_stamps_of_which_some_have_an_offset_are_refused_and_the_remedy_works():
    mixed = [*AUTUMN[:50].astype(str), *AUTUMN[50:].tz_localize(None).astype(str)]
    with pytest.raises(DataError, match=r"line 52, column 'date': '2022-10-22 02:00:00' has no offset from UTC"):
        panel_of(mixed)
    assert len(panel_of(mixed, time_zone=BERLIN).times) == len(AUTUMN)


def test_an_unknown_time_zone_is_refused_with_a_near_one():
    with pytest.raises(
        ConfigError, match="data.time_zone: 'Europe/Berln' is no time zone; did you mean 'Europe/Berlin'"
    ):
        experiment(data={"time_zone": "Europe/Berln"})


def test_forecasts_over_a_clock_change_have_their_local_time_and_its_hour(tmp_path):
    ends = AUTUMN[AUTUMN <= "2022-10-30 01:00+02:00"]
    model = forecaster(ends.tz_localize(None), tmp_path, time_zone=BERLIN, future=["hour"])
    following = AUTUMN[len(ends) : len(ends) + 2]
    assert following.strftime("%H %z").tolist() == ["02 +0200", "02 +0100"]
    for stamps in (ends.tz_localize(None), ends.tz_localize(None).astype(str), ends, ends.tz_convert("UTC")):
        found = model.predict(frame(stamps))["date"]
        assert [str(stamp) for stamp in found] == [str(stamp) for stamp in following]
    frame(ends.tz_localize(None)).to_csv("history.csv", index=False)
    table = prediction_files.read_series_table(tmp_path / "history.csv", model.preprocessing)
    assert model.predict(table)["date"].tolist() == following.tolist()
    hours = model.preprocessing.channels(
        np.ones((1, 2)), np.ones((1, 2, 0)), following.tz_convert("UTC").tz_localize(None)
    )[0, :, 1:]
    np.testing.assert_allclose(hours, [[np.sin(np.pi / 6), np.cos(np.pi / 6)]] * 2, atol=1e-6)


def test_forecasts_of_local_days_are_stamped_with_days(tmp_path):
    model = forecaster(DAYS[:-2].astype(str), tmp_path)
    frame(DAYS[:-2]).to_csv("history.csv", index=False)
    table = prediction_files.read_series_table(tmp_path / "history.csv", model.preprocessing)
    for history in (frame(DAYS[:-2]), frame(DAYS[:-2].astype(str)), frame(DAYS[:-2].tz_localize(None)), table):
        assert model.predict(history)["date"].tolist() == DAYS[-2:].tz_localize(None).tolist()


def test_a_model_from_before_there_were_time_zones_counts_in_utc(tmp_path):
    own = forecaster(DAYS[:-2].tz_localize(None), tmp_path).preprocessing
    content = own.to_json()
    for key in ("time_zone", "anchor", "phase", "loose", "sessions"):
        del content[key]
    former = Preprocessing.from_json(content)
    assert parse_stamps(frame(DAYS), former).tolist() == DAYS.tz_convert("UTC").tz_localize(None).tolist()
    frame(DAYS).to_csv("history.csv", index=False)
    table = prediction_files.read_series_table(tmp_path / "history.csv", former)
    assert table["date"].tolist() == DAYS.tz_convert("UTC").tz_localize(None).tolist()


@pytest.mark.parametrize("zone", ["", "UTC", BERLIN])
@pytest.mark.parametrize("frequency", ["h", "D"])
def test_one_stamp_lies_where_a_column_of_them_does(zone, frequency):
    stamps = ["2022-10-30 02:30+02:00", "2022-10-30 02:30+01:00", "2022-07-01 23:30-04:00", "2022-01-01 12:00"]
    for text in stamps:
        stamp = dt.datetime.fromisoformat(text)
        offset = stamp.utcoffset()
        seconds = np.array([np.nan if offset is None else offset.total_seconds()])
        local = np.array([stamp.replace(tzinfo=None)], "datetime64[us]")
        column = local_time.axis_times(local, seconds, time_zone=zone, frequency=frequency)
        assert column[0].item() == local_time.axis_stamp(stamp, zone, frequency), text
    if zone == BERLIN and frequency == "h":
        with pytest.raises(ValueError, match="does not exist in Europe/Berlin"):
            local_time.axis_stamp(dt.datetime(2022, 3, 27, 2, 30), zone, frequency)


def bars(time_zone, start="2023-02-13", end="2023-04-28"):
    """Hourly bars of a stock exchange, from 09:30 to 15:30 on weekdays, with a clock change among them."""
    every = pd.date_range(f"{start} 09:30", end, freq="h", tz=time_zone)
    return every[(every.day_of_week < 5) & (every.hour >= 9) & (every.hour <= 15)]


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S%z", "utc", "local"])
@pytest.mark.parametrize("cut", [100, 101, 133, 140, 200])
def test_sessions_have_the_hours_of_their_time_zone_over_a_clock_change(tmp_path, form, cut):
    stamps = bars("America/New_York")
    texts = {
        "utc": stamps.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
        "local": stamps.strftime("%Y-%m-%d %H:%M"),
    }.get(form, stamps.strftime("%Y-%m-%d %H:%M:%S%z"))
    table = pd.DataFrame({"date": texts, "quantity": np.arange(len(texts)) % 11 + 1.0})
    data = ONE_SERIES | {"time_zone": "America/New_York"}
    plan = planned(tmp_path, table[:250], data=data, window=WINDOW)
    assert plan.panel.times.tolist() == stamps[:250].tz_convert("UTC").tz_localize(None).tolist()
    assert "from 09:30 to 15:30" in " ".join(plan.panel.notes)
    model = Forecaster(Preprocessing.from_json(plan.dataset.preprocessing.to_json()), Last())
    assert model.predict(table[:cut], {"horizon": 8})["date"].tolist() == stamps[cut : cut + 8].tolist()


def test_sessions_that_move_with_the_clocks_of_an_unknown_zone_are_warned_of():
    stamps = bars("America/New_York")
    [warning] = [note for note in panel_of(stamps.strftime("%Y-%m-%d %H:%M%z")).notes if note.startswith("warning")]
    assert warning.startswith("warning: days begin at 14:30 before 2023-03-13, and at 13:30 from then on")
    assert warning.endswith("write data.time_zone: America/New_York")
    assert not any("clock" in note for note in panel_of(bars("UTC").strftime("%Y-%m-%d %H:%M")).notes)
