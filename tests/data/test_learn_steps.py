"""The steps of a table: inferred from its stamps, held against the experiment file, and gone on with."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridcast.config import Data
from gridcast.data import build_panel, learn_steps, sources
from gridcast.runtime import time_axis
from gridcast.runtime.errors import ConfigError, DataError, InputError
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.step_rule import steps_after
from small_experiments import experiment as experiment_of
from small_experiments import planned

ONE_SERIES = {"series": [], "target": "quantity"}


def learned(times, **data):
    return learn_steps.learn_steps(pd.DatetimeIndex(times), Data(source="t.csv", time="t", target="y", **data))


def days(start, periods, freq):
    return pd.date_range(start, periods=periods, freq=freq)


def session(freq="h", first="09:30", last="15:30", start="2023-03-01", end="2023-04-26"):
    """Bars from Mondays to Fridays between two times of the day."""
    every = pd.date_range(f"{start} {first}", end, freq=freq)
    return every[(every.day_of_week < 5) & (every.strftime("%H:%M") >= first) & (every.strftime("%H:%M") <= last)]


def day_of_month(day):
    """Five years of months on that day, or on their last where they are shorter."""
    firsts = days("2014-01-01", 60, "MS")
    return pd.DatetimeIndex([min(d + pd.Timedelta(days=day - 1), d + pd.offsets.MonthEnd(0)) for d in firsts])


KINDS = {
    "month start": (days("2014-01-01", 60, "MS"), "M"),
    "month end": (days("2014-01-31", 60, "ME"), "M"),
    "last business day": (days("2014-01-31", 60, "BME"), "M"),
    "first business day": (days("2014-01-01", 60, "BMS"), "M"),
    "the 15th": (day_of_month(15), "M"),
    "the 30th": (day_of_month(30), "M"),
    "third Friday": (days("2014-01-01", 60, "WOM-3FRI"), "M"),
    "fiscal quarter end": (days("2000-01-31", 40, "QE-JAN"), "Q"),
    "quarter start": (days("2000-02-01", 40, "QS-FEB"), "Q"),
    "year in June": (days("1960-06-30", 40, "YE-JUN"), "Y"),
    "half years": (days("2000-01-01", 40, "6MS"), "6M"),
    "every second month": (days("2014-02-01", 40, "2MS"), "2M"),
    "weeks on Friday": (days("2020-01-03", 60, "W-FRI"), "W"),
    "weeks on Sunday": (days("2020-01-05", 60, "W-SUN"), "W"),
    "fortnights": (days("2020-01-01", 60, "14D"), "2W"),
    "days": (days("2021-01-01", 80, "D"), "D"),
    "days at noon": (days("2021-01-01 12:00", 80, "D"), "D"),
    "every tenth day": (days("2021-01-01", 80, "10D"), "10D"),
    "business days": (days("2021-01-01", 80, "B"), "D"),
    "hours": (days("2021-01-01", 300, "h"), "h"),
    "quarter hours": (days("2021-01-01 00:05", 300, "15min"), "15min"),
    "seconds": (days("2021-01-01", 300, "10s"), "10s"),
    "session of hours": (session(), "h"),
    "session of minutes": (session("15min", "08:00", "12:45"), "15min"),
    "four days of hours": (days("2021-01-04", 96, "h").delete([]), "h"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.7, 1.0])
def test_the_steps_after_a_part_of_the_stamps_are_the_other_part(kind, kept):
    times, frequency = KINDS[kind]
    end = int(len(times) * kept) if kept < 1 else len(times) - 3
    rule = learned(times[:end]).rule
    assert rule.frequency == frequency
    assert steps_after(times[end - 1], len(times) - end, rule).tolist() == times[end:].tolist()
    assert time_axis.history_steps(times[:end], rule).tolist() == times[:end].tolist()


@st.composite
def tables(draw):
    """Stamps of some kind, a part of them missing within."""
    times, _ = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    begin = draw(st.integers(0, len(times) // 3))
    times = times[begin : draw(st.integers(begin + 24, len(times)))]
    holes = draw(st.lists(st.integers(1, len(times) - 2), max_size=2, unique=True))
    return times.delete(holes)


@settings(max_examples=150, deadline=None)
@given(tables(), st.sampled_from([None, "regular", "trading", "observed"]))
def test_the_successor_of_each_step_is_the_next_one_of_the_axis(times, calendar):
    try:
        rule = learned(times, calendar=calendar).rule
    except InputError:
        return  # too few to know, or a calendar that cannot be: said, not guessed
    axis = time_axis.history_steps(times, rule)
    present = set(times)
    assert present <= set(axis)
    for step, following in itertools.pairwise(axis):
        after = steps_after(step, 200, rule)
        if after[-1] < following:  # a weekend of minutes, on an axis too short to know that it is closed
            after = steps_after(step, 2000, rule)
        closed = after[after < following]
        # Between two steps lie only days off, which no rule knows ahead: none of the table's stamps.
        assert following in after
        assert calendar in ("observed", "trading") or rule.calendar == "trading" or not len(closed)
        assert not present & set(closed)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(24, 40), st.integers(1, 12))
def test_history_and_forecast_lie_on_one_axis_wherever_the_history_ends(kind, length, horizon):
    """The axis of a shorter history, extended, is that of the longer one."""
    times, _ = KINDS[kind]
    rule = learned(times).rule
    axis, end = time_axis.build_axis(times[:length].to_numpy("datetime64[us]"), horizon, rule)
    longer, _ = time_axis.build_axis(times[: length + horizon].to_numpy("datetime64[us]"), 0, rule)
    assert end == length
    count = min(len(axis), len(times))
    assert axis[:count].tolist() == times[: length + horizon].to_numpy("datetime64[us]").tolist()[:count]
    assert longer[:count].tolist() == axis[:count].tolist()


def test_a_last_trading_day_before_a_holiday_is_the_step_of_its_month():
    months = days("2014-01-31", 90, "BME").tolist()
    months[88] = pd.Timestamp("2021-05-28")
    found = learned(months)
    assert found.rule.loose
    assert time_axis.history_steps(pd.DatetimeIndex(months), found.rule).tolist() == months
    assert "1 stamps not on the last business day of the month" in found.notes[1]
    later = pd.DatetimeIndex(["2023-12-29", "2024-01-31", "2024-02-29", "2024-03-28"])
    assert time_axis.history_steps(later, found.rule).tolist() == later.tolist()
    assert steps_after(later[-1], 2, found.rule).strftime("%Y-%m-%d").tolist() == ["2024-04-30", "2024-05-31"]


@pytest.mark.parametrize(
    ("stated", "times", "remedy"),
    [
        ("M", days("2021-01-01", 80, "D"), "frequency: D"),
        ("D", days("2021-01-01", 80, "h"), "frequency: h"),
        ("D", days("2014-01-01", 60, "MS"), "frequency: M"),
        ("h", days("2021-01-01", 80, "D"), "frequency: D"),
        ("W", days("2014-01-01", 60, "MS"), "frequency: M"),
        ("B", days("2021-01-01", 80, "D"), "frequency: D"),
        ("15min", session(), "frequency: h"),
        ("Q", days("2014-01-31", 60, "ME"), "frequency: M"),
    ],
)
@pytest.mark.parametrize("calendar", [None, "observed", "regular"])
def test_a_frequency_that_contradicts_the_stamps_is_refused_with_one_that_does_not(stated, times, remedy, calendar):
    with pytest.raises(ConfigError, match=re.escape(f"data.frequency: {stated}, but t.csv has one row")) as caught:
        learned(times, frequency=stated, calendar=calendar)
    assert f"write {remedy}" in str(caught.value)
    followed = learned(times, frequency=remedy.removeprefix("frequency: "))
    assert learned(times).rule == followed.rule


def test_sparse_days_that_are_to_be_filled_are_no_contradiction():
    mondays = days("2021-01-04", 60, "W-MON")
    assert learned(mondays, frequency="D", calendar="regular", gaps="zero").rule.frequency == "D"


def test_few_holes_are_gaps_and_a_weekly_pattern_is_a_trading_calendar():
    every = days("2021-01-01", 90, "D")
    assert learned(every.delete([30, 31])).rule.calendar == "regular"
    business = days("2021-01-01", 90, "B")
    found = learned(business.delete([30, 41]))
    assert (found.rule.calendar, found.rule.weekdays) == ("trading", (0, 1, 2, 3, 4))
    assert found.notes[1].startswith("2 days without a row taken as closed: 2021-02-12, 2021-03-01; if rows are")
    # A hole of two weeks is no holiday.
    assert len(time_axis.history_steps(business.delete(range(30, 40)), found.rule)) == 90
    assert learned(every[every.day_of_week.isin([0, 2, 4])]).rule.weekdays == (0, 2, 4)


def test_a_session_may_be_cut_short_but_has_no_hole():
    bars = session()
    rule = learned(bars).rule
    assert rule.sessions[0] == (9 * 3600 + 1800, 15 * 3600 + 1800)
    day = bars.normalize() == pd.Timestamp("2023-03-15")
    for left_out in (day, day & (bars.hour > 12), day & (bars.hour < 12)):
        some = bars[~left_out]
        assert time_axis.history_steps(some, rule).tolist() == some.tolist()
    within = bars[~(day & (bars.hour == 12))]
    assert time_axis.history_steps(within, rule).tolist() == bars.tolist()


def test_stamps_that_follow_no_steps_need_a_frequency():
    random = np.random.default_rng(0)
    times = pd.Timestamp("2021-01-01") + pd.to_timedelta(np.sort(random.integers(0, 10**7, 100)), unit="s")
    with pytest.raises(ConfigError, match="data.frequency: cannot be inferred, as the stamps of t.csv follow no steps"):
        learned(times)
    assert learned(times, frequency="D", aggregate="sum").rule.frequency == "D"


def test_runs_of_former_versions_count_where_the_steps_are_the_same():
    texts = {name: learned(times).fingerprint_text for name, (times, _) in KINDS.items()}
    assert not texts["days"]
    assert not texts["business days"]
    assert texts["hours"]
    assert not learned(KINDS["hours"][0], frequency="h").fingerprint_text
    assert not learned(KINDS["month end"][0], frequency="M").fingerprint_text
    assert learned(KINDS["last business day"][0], frequency="M").fingerprint_text
    assert learned(KINDS["session of hours"][0], frequency="h").fingerprint_text


class Last:
    """A network that answers with the last value."""

    def predict_on_batch(self, inputs):
        return np.repeat(inputs["history"][:, -1:, 0], 2, axis=1)


def forecast(plan, table):
    """The forecasts of a model that went through JSON, from a table."""
    own = Preprocessing.from_json(plan.dataset.preprocessing.to_json())
    return Forecaster(own, Last()).predict(table)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("calendar", [None, "observed"])
def test_the_file_that_trained_is_gone_on_with_by_its_next_stamps(tmp_path, kind, calendar):
    times, _ = KINDS[kind]
    frame = pd.DataFrame({"date": times[:-2].astype(str), "quantity": np.arange(len(times) - 2) % 11 + 1.0})
    data = ONE_SERIES | ({} if calendar is None else {"calendar": calendar})
    plan = planned(tmp_path, frame, data=data, window={"lookback": 3, "horizon": 2})
    assert forecast(plan, frame)["date"].tolist() == times[-2:].tolist()


@pytest.fixture
def build(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(stamps, **data):
        frame = pd.DataFrame({"date": stamps, "quantity": np.arange(len(stamps)) % 11 + 1.0})
        frame.to_csv("sales.csv", index=False)
        found = experiment_of(data=ONE_SERIES | data, window={"lookback": 3, "horizon": 2})
        return build_panel.build_panel(sources.load_table(found.data), found)

    return of


@pytest.mark.parametrize(
    ("stamps", "data", "remedies"),
    [
        (days("2021-01-01", 90, "D").delete([30, 31]), {}, [{"gaps": "zero"}, {"calendar": "observed"}]),
        (days("2021-01-01", 90, "B"), {"frequency": "D", "calendar": "regular"}, [{"frequency": "B"}]),
        (session(), {"frequency": "h", "calendar": "regular"}, [{"calendar": "trading"}]),
        (session().delete(17), {}, [{"gaps": "ffill"}, {"calendar": "observed"}]),
        (
            days("2021-01-01", 90, "h") + pd.to_timedelta(np.arange(90) % 7, unit="s"),
            {"frequency": "h"},
            [{"aggregate": "mean", "frequency": "h"}, {"calendar": "observed"}],
        ),
    ],
)
def test_the_remedies_of_what_is_refused_work(build, stamps, data, remedies):
    with pytest.raises(DataError) as caught:
        build(stamps.astype(str), **data)
    for remedy in remedies:
        key = "calendar" if "calendar" in remedy else next(iter(remedy))
        assert remedy[key] in str(caught.value), (str(caught.value), remedy)
        assert len(build(stamps.astype(str), **data | remedy).times) >= len(stamps)


EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_no_experiment_of_the_project_is_contradicted():
    """Each frequency with stamps of its kind: those of the built-in sets are not here."""
    for path in EXPERIMENTS.glob("*.yaml"):
        found = re.search(r"^  frequency: (\w+)", path.read_text(), re.MULTILINE)
        assert found
        calendar = re.search(r"^  calendar: (\w+)", path.read_text(), re.MULTILINE)
        freq = {"M": "MS", "W": "W-MON"}.get(found[1], found[1])
        times = days("2010-01-04" if freq != "MS" else "2010-01-01", 120, freq)
        rule = learned(times, frequency=found[1], calendar=calendar[1] if calendar else "regular")
        assert not rule.fingerprint_text
        assert steps_after(times[-1], 1, rule.rule)[0] == days(times[-1], 2, freq)[1]
