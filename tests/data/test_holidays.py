"""Holidays and events, looked up for a panel."""

import pandas as pd
import pytest

from gridcast.data import holidays
from gridcast.runtime import calendar_features
from gridcast.runtime.errors import ConfigError, DataError

DAYS = pd.date_range("2011-12-20", "2011-12-31")


@pytest.fixture
def events(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(text, times=DAYS):
        (tmp_path / "events.csv").write_text(text)
        return holidays.find_marked_days(("events:events.csv",), times)

    return of


def test_the_holidays_of_a_country_are_known_for_ten_years_beyond_the_data():
    (found,) = holidays.find_marked_days(("month", "holidays:GB"), DAYS)
    assert (found.name, found.labels, found.known_span) == (
        "holidays:GB",
        ("holidays:GB",),
        ("2011-01-01", "2021-12-31"),
    )
    marked = calendar_features.calendar_channels(DAYS, ["holidays:GB"], "D", [found])[:, 0]
    # Christmas was a Sunday: its holiday moved to Tuesday, behind Boxing Day.
    assert DAYS[marked == 1].day.tolist() == [25, 26, 27]
    later = pd.DatetimeIndex(["2021-12-24", "2021-12-25"])
    assert calendar_features.calendar_channels(later, ["holidays:GB"], "D", [found])[:, 0].tolist() == [0, 1]


def test_part_of_a_country_may_have_holidays_of_its_own():
    easter_monday = pd.DatetimeIndex(["2011-04-25"])
    marked = {}
    for name in ("holidays:GB", "holidays:GB-ENG", "holidays:GB-SCT"):
        marked[name] = calendar_features.calendar_channels(
            easter_monday, [name], "D", holidays.find_marked_days((name,), easter_monday)
        ).item()
    assert marked == {"holidays:GB": 0, "holidays:GB-ENG": 1, "holidays:GB-SCT": 0}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("holidays:gb", "unknown country 'gb'; did you mean 'GB'? (ISO 3166 codes, such as GB, DE, US, or GB-ENG"),
        ("holidays:Atlantis", "unknown country 'Atlantis' (ISO 3166 codes, such as"),
        ("holidays:", "unknown country '' (ISO 3166 codes, such as"),
        ("holidays:GB-EN", "unknown part 'EN' of GB; did you mean 'ENG'? (known: ENG, NIR, SCT, WLS)"),
    ],
)
def test_an_unknown_country_is_refused_with_a_suggestion(name, message):
    with pytest.raises(ConfigError) as caught:
        holidays.find_marked_days((name,), DAYS)
    assert str(caught.value).startswith(f"data.future: '{name}': {message}")


def test_every_name_of_an_event_is_a_channel_and_an_event_lasts_to_its_end(events):
    (found,) = events("date;end;name\n2011-12-22;2011-12-23;sale\n\n2011-12-30;;flood\n2011-12-26;;sale\n")
    assert found.labels == ("events:events.csv:flood", "events:events.csv:sale")
    assert found.known_span is None
    marked = calendar_features.calendar_channels(DAYS, ["events:events.csv"], "D", [found])
    assert [DAYS[channel == 1].day.tolist() for channel in marked.T] == [[30], [22, 23, 26]]


def test_events_without_names_are_one_channel(events):
    (found,) = events("date\n2011-12-22\n2011-12-24\n")
    assert found.labels == ("events:events.csv",)
    assert found.channels == ((("2011-12-22", "2011-12-22"), ("2011-12-24", "2011-12-24")),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "events.csv, line 1: no column 'date' (the file has: nothing)"),
        ("dates,name\n", "events.csv, line 1: no column 'date'; did you mean 'dates'? (the file has: dates, name)"),
        ("date\n", "events.csv: no events; add lines such as 2011-12-31, or leave 'events:events.csv' out"),
        (
            "date,end\n2011-12-22,\n24/12/2011,\n,2011-12-28\n",
            "events.csv, line 3, column 'date': '24/12/2011' is not a date; write it as 2011-12-31\n"
            "events.csv, line 4, column 'date': empty is not a date; write it as 2011-12-31",
        ),
        (
            "date,end\n2011-12-22,soon\n",
            "events.csv, line 2, column 'end': 'soon' is not a date; write it as 2011-12-31",
        ),
        (
            "date,end\n2011-12-22,2011-12-21\n",
            "events.csv, line 2, column 'end': '2011-12-21' is before '2011-12-22'; let an event end on its date or "
            "later",
        ),
        (
            "date,name\n2011-12-22,\n",
            "events.csv, line 2, column 'name': empty is not a name; fill it in, or leave the column out",
        ),
        ("date,name\n2011-12-22,a,b\n", "events.csv, line 2: more fields than the header has; quote fields that"),
        ('date,name\n2011-12-22,"a\n', "events.csv, line 2: unexpected end of data; look for a quote that is not"),
    ],
)
def test_an_event_file_with_faults_is_refused_with_every_place_and_remedy(events, text, message):
    with pytest.raises(DataError) as caught:
        events(text)
    assert str(caught.value).startswith(message)


def test_an_event_file_that_is_not_there_is_refused_with_one_that_is(events):
    events("date\n2011-12-22\n")
    with pytest.raises(DataError, match=r"^data.future: 'events:event.csv': no such file; did you mean 'events.csv'\?"):
        holidays.find_marked_days(("events:event.csv",), DAYS)
