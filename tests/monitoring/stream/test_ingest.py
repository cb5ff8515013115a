"""A stream is taken whole and once: scores, events and alerts over many stretches are those of the whole table."""

import logging
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gridcast.monitoring.stream import follow, followed_model, health, ingest
from gridcast.monitoring.stream.feed_rows import RowFormat
from gridcast.monitoring.stream.feeds import FolderFeed
from gridcast.monitoring.stream.ledger import BATCH_COUNTS, Ledger
from gridcast.runtime import events, running_threshold, scaling
from gridcast.runtime.errors import ConfigError, DataError, GridcastError
from stream_process import SENSORS, START, ZScore, put, readings, rows


class Watched:
    """A followed folder, its record, the lines about it; `sent` are the alerts of a channel that may fail."""

    def __init__(self, base, detector, wait):
        self.folder, self.path = base / "feed", base / "record.sqlite"
        self.folder.mkdir()
        self.detector, self.version, self.wait = detector, "1", wait
        self.said, self.sent, self.up = [], [], True
        self.ledger = Ledger(self.path, "plant", detector.frequency)

    def channels(self):
        def other(alert):
            if self.up:
                self.sent.append(alert)
            return self.up

        return follow.alert_channels(self.said.append, None, ()) | {"other": other}

    def look(self, *tables):
        """Put each table into the folder as a file, look once after each."""
        pending = 0
        for table in tables or [None]:
            if table is not None:
                put(self.folder, f"{len(list(self.folder.iterdir())):04}.csv", table)
            model = followed_model.FollowedModel("plant", self.version, self.detector, self.wait)
            poll = follow.poll_once(
                FolderFeed(self.folder, RowFormat("time")),
                self.ledger,
                model,
                channels=self.channels(),
                tell=self.said.append,
            )
            pending = poll.pending
        return pending

    def steps(self):
        """Score by time, NaN where there is none."""
        return pd.Series(
            {
                pd.Timestamp(time): score
                for time, score in rows(self.path, "SELECT time, score FROM steps ORDER BY time")
            }
        )

    def counts(self):
        """What was counted, over all stretches."""
        (found,) = rows(self.path, f"SELECT {', '.join(f'sum({name})' for name in BATCH_COUNTS)} FROM stretches")
        return dict(zip(BATCH_COUNTS, found, strict=True))

    def events(self):
        """First and last step of each event, counted from the start."""
        found = rows(self.path, "SELECT first, last FROM events ORDER BY first")
        return [tuple((pd.Timestamp(time) - START) // pd.Timedelta(minutes=1) for time in event) for event in found]


@pytest.fixture
def watch(tmp_path):
    """Makes a `Watched` of a detector with these settings."""
    made = []

    def make(wait=0, **settings):
        made.append(Watched(tmp_path, ZScore(**settings), wait))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


def cut(table, *ends):
    """The table in parts that end at these rows."""
    return [table.iloc[a:b] for a, b in zip([0, *ends], [*ends, len(table)], strict=True)]


def offline(detector, table):
    said = detector.predict(table)
    return said.set_index("time")["score"]


@pytest.mark.parametrize("ahead", [False, True])
def test_scores_of_many_stretches_are_those_of_the_whole_table(watch, ahead):
    watched, table = watch(ahead=ahead), readings(60)
    watched.look(*cut(table, 1, 3, 20, 21, 22, 40))
    scores = watched.steps()
    expected = offline(watched.detector, table)
    assert len(scores) == 60
    assert scores.dropna().index.equals(expected.index)
    np.testing.assert_allclose(scores.dropna(), expected, rtol=1e-8)
    counts = watched.counts()
    assert counts["rows"] == counts["scored"] + counts["unscored"] == 60
    assert scores.notna().sum() == counts["scored"] + counts["afterwards"] == 57


def test_a_running_threshold_continues_over_batches_and_restarts_with_a_new_version(watch):
    before = running_threshold.score_history(offline(ZScore(), readings(500, seed=1)).to_numpy())
    watched, table = watch(seen=before, level=1.0), readings(60, spikes={30: 2})
    watched.look(*cut(table, 1, 3, 20, 21, 22, 40))
    scores = offline(watched.detector, table)
    limits, _ = running_threshold.thresholds_and_history(scores.to_numpy(), 1.0, before)
    question = "SELECT threshold, anomaly FROM steps WHERE score IS NOT NULL ORDER BY time"
    kept = rows(watched.path, question)
    np.testing.assert_allclose([limit for limit, _ in kept], limits, rtol=1e-8)
    assert [verdict for _, verdict in kept] == (scores.to_numpy() > limits).astype(int).tolist()
    watched.version = "2"
    watched.look(readings(70).tail(10))
    assert rows(watched.path, question)[57][0] == pytest.approx(before.threshold(1.0))


def test_a_running_threshold_counts_each_score_once_where_steps_are_judged_late(watch):
    before = running_threshold.score_history(offline(ZScore(), readings(500, seed=1)).to_numpy())
    watched, table = watch(wait=5, seen=before, ahead=True), readings(60)
    watched.look(*cut(table.drop(index=[20, 21]), 10, 30), table.iloc[20:22])
    watched.look()
    scored = rows(watched.path, "SELECT score FROM steps WHERE score IS NOT NULL")
    assert watched.ledger.score_history("1").count == before.count + len(scored)


def test_contributions_and_readings_are_kept_by_sensor(watch):
    watched = watch(lookback=1)
    watched.look(pd.DataFrame({"time": [START], "flow": [-1.5], "power": [3.0], "heat": [0.25]}))
    kept = rows(watched.path, "SELECT score, threshold, anomaly, contributions, readings FROM steps")
    shares, given = '{"flow":1.5,"power":3.0,"heat":0.25}', '{"flow":-1.5,"power":3.0,"heat":0.25}'
    assert kept == [(pytest.approx(4.75 / 3), 3.0, 0, shares, given)]


def test_an_event_over_several_stretches_is_one_event_and_one_alert(watch):
    watched, table = watch(lookback=1), readings(60, spikes={18: 25, 50: 2})
    watched.look(*cut(table, 15, 20, 30, 40, 45))
    assert watched.events() == [(18, 42), (50, 51)]
    assert [alert.event["first"] for alert in watched.sent] == ["2024-01-01T00:18:00", "2024-01-01T00:50:00"]
    assert [alert.id for alert in watched.sent] == ["plant/2024-01-01T00:18:00", "plant/2024-01-01T00:50:00"]
    told = [line for line in watched.said if line.startswith("ALERT")]
    assert len(told) == 2
    assert re.search(
        r"plant: anomaly since 2024-01-01T00:18:00\. Score 3\d\.\d+, 11\.\d times .*power \(9\d%\)", told[0]
    )
    steps, blame = rows(watched.path, "SELECT steps, blame FROM events ORDER BY first")[0]
    assert steps == 25
    assert blame.startswith('[["power", 0.9')


def test_events_of_a_stream_are_those_of_the_whole_table_wherever_it_is_cut(watch):
    random = np.random.default_rng(3)
    spikes = {int(start): int(random.integers(1, 5)) for start in np.cumsum(random.integers(3, 9, 30))}
    table = readings(220, spikes=spikes)
    detector = ZScore(lookback=1, least=3, gap=2)
    said = detector.predict(table)
    found = events.find_events(
        said["score"].to_numpy(), 3.0, said[list(SENSORS)].to_numpy(), SENSORS, min_steps=3, merge_gap=2
    )
    assert 3 < len(found) < len(spikes)
    watched = watch(lookback=1, least=3, gap=2)
    watched.look(*cut(table, *sorted(random.choice(np.arange(1, 220), 25, replace=False).tolist())))
    assert watched.events() == [(event.start, event.end - 1) for event in found]
    kept = rows(watched.path, "SELECT peak, severity FROM events ORDER BY first")
    np.testing.assert_allclose(kept, [(event.peak, event.severity) for event in found], rtol=1e-8)
    assert len({alert.id for alert in watched.sent}) == len(watched.sent) == len(found)


def test_an_alert_is_raised_when_the_event_begins_to_count(watch):
    watched = watch(lookback=1, least=4)
    first, second, third = cut(readings(30, spikes={8: 9}), 10, 12)
    watched.look(first)
    assert (watched.events(), watched.sent) == ([], [])
    watched.look(second)
    assert watched.events() == [(8, 11)]
    assert len(watched.sent) == 1
    watched.look(third)
    assert watched.events() == [(8, 16)]
    assert len(watched.sent) == 1


def test_missing_steps_are_counted_and_later_steps_wait_for_a_whole_window(watch):
    watched, table = watch(ahead=True), readings(40)
    holed = table.drop(index=[20, 21])
    watched.look(*cut(holed, 19, 22))
    assert watched.counts()["missing"] == 2
    assert any("2 steps are missing, the first 2024-01-01T00:20:00" in line for line in watched.said)
    scores = watched.steps()
    # Every step of which some window holds all is scored in the end, as without the hole.
    expected = offline(watched.detector, holed.set_index("time").asfreq("min").reset_index())
    assert scores.dropna().index.equals(expected.index)
    np.testing.assert_allclose(scores.dropna(), expected, rtol=1e-8)
    assert watched.counts()["afterwards"] > 0


def test_after_a_long_silence_a_stream_restarts_without_made_up_steps(watch):
    watched, table = watch(), readings(40)
    later = table.assign(time=table["time"] + pd.Timedelta(days=300))
    watched.look(table, later)
    assert watched.counts()["missing"] == 300 * 1440 - 40
    scores = watched.steps()
    assert len(scores) == 80
    np.testing.assert_allclose(scores[later["time"]], scores[table["time"]])


def test_a_verdict_waits_for_what_comes_after_and_no_longer_than_something_comes(watch):
    watched, table = watch(lookback=1, wait=6), readings(60, spikes={17: 2, 27: 1})
    first, second = cut(table, 20)
    watched.look(first)
    assert watched.steps().notna().tolist() == [True] * 14 + [False] * 6
    assert watched.said[0].startswith("0000.csv: 20 rows up to 2024-01-01T00:19:00, 14 steps scored, the highest 0.")
    assert "have no score yet" not in watched.said[0]
    assert (watched.events(), watched.sent) == ([], [])
    watched.look()
    assert watched.steps().notna().all()
    assert watched.events() == [(17, 18)]
    assert watched.said[1].startswith("nothing new: 6 steps scored, the highest 11")
    watched.look()
    watched.look(second)
    assert watched.steps().notna().tolist() == [True] * 54 + [False] * 6
    assert watched.events() == [(17, 18), (27, 27)]
    assert len(watched.sent) == 2
    counts = watched.counts()
    assert (counts["scored"], counts["afterwards"], counts["unscored"]) == (48, 6, 12)
    np.testing.assert_allclose(watched.steps().dropna(), offline(watched.detector, table)[:54], rtol=1e-8)


def test_what_waits_when_a_silence_begins_is_judged_when_it_ends(watch):
    watched, table = watch(lookback=4, wait=6), readings(40, spikes={37: 2})
    later = table.assign(time=table["time"] + pd.Timedelta(hours=5), power=0.0)
    watched.look(table, later)
    assert watched.steps().isna().sum() == 3 + 3 + 6  # the first windows of both, and what waits now
    assert watched.events() == [(37, 39)]
    np.testing.assert_allclose(watched.steps()[table["time"]].dropna(), offline(watched.detector, table), rtol=1e-8)


@pytest.mark.parametrize("ahead", [False, True])
def test_late_rows_are_scored_with_all_that_waited_for_them_however_late_they_come(watch, ahead):
    watched, table = watch(ahead=ahead), readings(60)
    late, older = table.iloc[[38]], table.iloc[[5]]
    watched.look(table.iloc[:40].drop(index=[5, 38]), late, older, table.iloc[40:50])
    assert watched.counts() | {"late": 2, "missing": 2, "repeated": 0} == watched.counts()
    assert any("1 rows came late (2024-01-01T00:38:00 to 2024-01-01T00:38:00)" in line for line in watched.said)
    scores, expected = watched.steps(), offline(watched.detector, table[:50])
    assert len(scores) == 50
    assert scores.dropna().index.equals(expected.index)
    np.testing.assert_allclose(scores.dropna(), expected, rtol=1e-8)


def test_rows_that_repeat_stored_steps_are_ignored(watch):
    watched, table = watch(lookback=1), readings(20)
    watched.look(table, table, table.assign(power=100.0), table.iloc[:3])
    assert watched.counts() | {"rows": 63, "scored": 20, "repeated": 43} == watched.counts()
    assert watched.events() == []
    np.testing.assert_allclose(watched.steps(), offline(watched.detector, table), rtol=1e-8)


def test_rows_between_two_steps_belong_to_the_nearest_one(watch):
    watched, table = watch(lookback=1), readings(4)
    times = table["time"] + pd.to_timedelta([0, 7, 0, 0], unit="s")
    times[3] = times[2] + pd.Timedelta(seconds=30)
    watched.look(table.assign(time=times))
    assert watched.counts() | {"scored": 3, "repeated": 1, "missing": 0} == watched.counts()
    assert any("2 rows lie between two steps and count as the nearest one" in line for line in watched.said)


def test_a_missing_sensor_and_a_new_one_are_noted_and_nothing_is_made_up(watch):
    watched, table = watch(lookback=1), readings(30)
    first, second, third = cut(table, 10, 20)
    watched.look(first, second.drop(columns="heat").assign(wind=1.0), third)
    scores = watched.steps()
    assert scores.isna().sum() == watched.counts()["unscored"] == 10
    assert scores.iloc[20:].notna().all()
    line = next(line for line in watched.said if "wind" in line)
    assert "no column for the model's sensors 'heat'" in line
    assert "columns that the model does not know are ignored: 'wind'" in line
    assert "10 steps have no score yet" in line


def test_rows_without_any_sensor_of_the_model_are_no_steps(watch):
    watched, table = watch(lookback=1), readings(10)
    watched.look(table.rename(columns=dict.fromkeys(SENSORS, "x")).iloc[:, :2], table)
    assert watched.counts() | {"rows": 20, "unreadable": 10, "scored": 10} == watched.counts()
    assert "none of the model's sensors 'flow', 'power', 'heat'" in watched.said[0]


def test_readings_that_are_not_numbers_and_times_ahead_of_the_clock_are_noted(watch):
    watched, table = watch(lookback=1), readings(10).astype({"flow": object})
    table.loc[[3, 4], "flow"] = ["error", "inf"]
    table.loc[5, "flow"] = "NA"
    table.loc[9, "time"] = pd.Timestamp("2124-01-01")
    watched.look(table)
    assert watched.counts() | {"rows": 10, "scored": 6, "unscored": 3, "unreadable": 1} == watched.counts()
    assert "2 readings of 'flow' are not numbers, the first 'error'" in watched.said[0]
    assert "1 rows are in the future, the first 2124-01-01T00:00:00" in watched.said[0]
    assert watched.ledger.high_water_mark == START + pd.Timedelta(minutes=8)


@pytest.mark.parametrize("seed", range(3))
def test_every_row_is_counted_as_something(watch, seed):
    """Rows shuffled, doubled, late, torn and in the future: the counts add up, and each step is there once."""
    random = np.random.default_rng(seed)
    watched, table = watch(), readings(200, seed)
    given = 0
    for number in range(12):
        part = table.iloc[np.sort(random.integers(max(0, 15 * number - 20), 15 * number + 20, 25))].astype(object)
        part = part.sample(frac=1, random_state=seed)
        part.iloc[random.integers(25, size=3), 0] = ["never", "2124-01-01", ""]
        part.iloc[random.integers(25, size=2), 1] = ["", "x"]
        given += len(part)
        watched.look(part)
    counts = watched.counts()
    assert counts["rows"] == given
    assert sum(counts[name] for name in ("scored", "unscored", "late", "repeated", "unreadable")) == given
    assert min(counts.values()) > 0
    assert len(watched.steps()) == counts["scored"] + counts["unscored"] + counts["late"]


class Refusing(ZScore):
    """Has the error class of another copy of gridcast, as the code that a model carries."""

    def predict(self, table, params=None):
        if len(table) > 12:
            raise type("DataError", (Exception,), {"exit_code": DataError.exit_code})("these are too many")
        return super().predict(table, params)


def test_a_batch_that_the_detector_refuses_is_stored_with_a_note(watch):
    watched, table = watch(), readings(40)
    watched.detector = Refusing()
    watched.look(*cut(table, 4, 30))
    assert "these are too many" in watched.said[1]
    assert watched.counts() | {"rows": 40, "scored": 1, "unscored": 39} == watched.counts()
    assert watched.ledger.high_water_mark == START + pd.Timedelta(minutes=39)


class Broken(ZScore):
    """Fails as only an error in a program does."""

    def predict(self, table, params=None):
        raise RuntimeError("a bug")


def test_a_stretch_that_breaks_the_detector_is_not_taken(watch):
    watched, table = watch(lookback=1), readings(20)
    watched.detector = Broken()
    with pytest.raises(RuntimeError, match="a bug"):
        watched.look(table)
    assert (watched.ledger.high_water_mark, watched.ledger.file_marks()) == (None, {})
    watched.detector = ZScore(lookback=1)
    watched.look()
    assert watched.counts() | {"rows": 20, "scored": 20} == watched.counts()


def test_an_alert_waits_for_its_channel_and_is_sent_once(watch):
    watched, table = watch(lookback=1), readings(30, spikes={5: 1, 7: 1, 25: 1})
    watched.up = False
    first, second = cut(table, 20)
    assert watched.look(first) == 2
    assert len([line for line in watched.said if line.startswith("ALERT")]) == 2
    watched.up = True
    assert watched.look(second) == 0
    assert [alert.event["first"][-8:-3] for alert in watched.sent] == ["00:05", "00:07", "00:25"]
    assert watched.look() == 0
    assert len(watched.sent) == 3
    assert len([line for line in watched.said if line.startswith("ALERT")]) == 3


def test_looking_once_ends_in_an_error_where_alerts_could_not_be_delivered(watch):
    watched = watch(lookback=1)
    watched.up = False
    put(watched.folder, "a.csv", readings(30, spikes={5: 1}))
    model = followed_model.FollowedModel("plant", "1", watched.detector)
    feed = FolderFeed(watched.folder, RowFormat("time"))
    options = {"channels": watched.channels(), "tell": watched.said.append, "interval": 1.0}
    with pytest.raises(GridcastError, match="1 alerts could not be delivered; they are kept in .*record.sqlite"):
        follow.follow_feed(feed, watched.ledger, current_model=lambda: model, **options, once=True)
    watched.up = True
    follow.follow_feed(feed, watched.ledger, current_model=lambda: model, **options, once=True)
    assert len(watched.sent) == 1


def test_alerts_for_a_channel_that_is_not_given_now_are_reported(watch):
    watched = watch(lookback=1)
    watched.up = False
    watched.look(readings(30, spikes={5: 1}))
    model, said = followed_model.FollowedModel("plant", "1", watched.detector), []
    console = follow.alert_channels(said.append, None, ())
    follow.follow_feed(
        FolderFeed(watched.folder, RowFormat("time")),
        watched.ledger,
        current_model=lambda: model,
        channels=console,
        tell=said.append,
        interval=1.0,
        once=True,
    )
    assert said == ["alerts of an earlier start are waiting for the channel 'other', which is not given now"]


def test_a_new_version_judges_what_comes_after_it(watch):
    watched, table = watch(lookback=1), readings(30, spikes={8: 12})
    first, second = cut(table, 10)
    watched.look(first)
    watched.detector, watched.version = ZScore(lookback=1, threshold=50.0), "2"
    watched.look(second)
    assert watched.events() == [(8, 9)]
    found = rows(
        watched.path, "SELECT version, threshold, count(*) FROM steps JOIN stretches ON stretch = id GROUP BY 1"
    )
    assert found == [("1", 3.0, 10), ("2", 50.0, 20)]


def test_two_that_follow_the_same_stream_share_its_stretches(watch):
    watched, table = watch(lookback=1), readings(20)
    put(watched.folder, "a.csv", table)
    (found,) = FolderFeed(watched.folder, RowFormat("time")).new_batches({}, None)
    model, now = followed_model.FollowedModel("plant", "1", watched.detector), pd.Timestamp("2024-06-01")
    assert ingest.ingest_batch(found, watched.ledger, model, channels=(), now=now) is not None
    assert ingest.ingest_batch(found, watched.ledger, model, channels=(), now=now) is None
    assert watched.counts() | {"rows": 20, "repeated": 0} == watched.counts()


def test_a_record_of_another_stream_is_refused(watch, tmp_path):
    watched = watch()
    for other in (("mill", "min"), ("plant", "h")):
        with pytest.raises(ConfigError, match="belongs to a stream of .*; name another file"):
            Ledger(watched.path, *other)
    (tmp_path / "text.sqlite").write_text("no database, but a text that is long enough to be taken for one" * 20)
    with pytest.raises(ConfigError, match="cannot be used as a stream record"):
        Ledger(tmp_path / "text.sqlite", "plant", "min")


def test_a_feed_that_is_away_is_reported_and_polled_again(watch, caplog):
    watched = watch(lookback=1)
    model = followed_model.FollowedModel("plant", "1", watched.detector)
    gone = FolderFeed(watched.folder / "later", RowFormat("time"))
    options = {"channels": watched.channels(), "tell": watched.said.append, "interval": 0.01}
    with pytest.raises(GridcastError, match="no such folder"):
        follow.follow_feed(gone, watched.ledger, current_model=lambda: model, **options, once=True)

    class Enough(BaseException):
        pass

    def current():
        if "later" not in [path.name for path in watched.folder.iterdir()] and caplog.records:
            gone.path.mkdir()
            put(gone.path, "a.csv", readings(5))
        elif watched.ledger.high_water_mark is not None:
            raise Enough
        return model

    with caplog.at_level(logging.WARNING, "gridcast"), pytest.raises(Enough):
        follow.follow_feed(gone, watched.ledger, current_model=current, **options)
    assert "no such folder; tried again in 0 s" in caplog.text
    assert watched.counts()["rows"] == 5


@pytest.mark.parametrize("frequency", ["M", "B", "nonsense"])
def test_steps_of_no_fixed_length_are_refused(frequency):
    with pytest.raises(ConfigError, match=f"frequency '{frequency}' cannot be followed"):
        followed_model.step_length(frequency)


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400)])
def test_spans_of_time_are_read(text, expected):
    assert follow.parse_interval(text) == expected


@pytest.mark.parametrize("text", ["soon", "", "-1m", "0s", "NaT"])
def test_what_is_no_span_of_time_is_refused(text):
    with pytest.raises(ConfigError, match="--every: "):
        follow.parse_interval(text)


def test_a_file_for_each_sensor_is_joined_and_scored_when_the_last_one_is_there(watch):
    watched, table = watch(ahead=True), readings(60)
    for sensor in SENSORS:
        watched.look(table[["time", sensor]])
    scores = watched.steps()
    expected = offline(watched.detector, table)
    assert scores.dropna().index.equals(expected.index)
    np.testing.assert_allclose(scores.dropna(), expected, rtol=1e-8)
    assert "60 steps that are stored already gain a sensor that they lacked" in watched.said[-1]
    assert len(watched.said) == len(SENSORS)


def test_a_reading_that_is_stored_is_not_replaced_and_one_that_is_missing_is_taken(watch):
    watched, table = watch(lookback=1), readings(10)
    watched.look(table.assign(heat=np.nan), table.assign(flow=99.0))
    assert [row[0] for row in rows(watched.path, "SELECT json_extract(readings, '$.flow') FROM steps")] == table[
        "flow"
    ].tolist()
    np.testing.assert_allclose(watched.steps(), offline(watched.detector, table), rtol=1e-8)


def test_a_row_whose_time_leaps_ahead_waits_for_others_and_is_dropped_where_its_step_comes_again(watch):
    watched, table = watch(lookback=1), readings(100)
    leap = readings(1, seed=9).assign(time=table["time"].iloc[50])
    watched.look(table.iloc[:20], leap, table.iloc[20:30])  # between two files
    watched.look(pd.concat([table.iloc[30:33], leap.assign(time=START + pd.Timedelta(days=2)), table.iloc[33:40]]))
    assert len(watched.steps()) == 40
    assert sum("1 rows lie far ahead of all others: set aside" in line for line in watched.said) == 2
    watched.look(table.iloc[40:60])
    assert "1 rows whose time leaps ahead are dropped" in watched.said[-1]
    np.testing.assert_allclose(watched.steps(), offline(watched.detector, table.iloc[:60]), rtol=1e-8)
    watched.look(table.iloc[[80]])  # the first row after a standstill
    assert len(watched.steps()) == 60
    assert health.follower_state(watched.ledger, START).set_aside == 2
    watched.look(table.iloc[81:82])
    np.testing.assert_allclose(watched.steps()[60:], offline(watched.detector, table.iloc[80:82]), rtol=1e-8)
    watched.look(readings(1).assign(time=pd.Timestamp("1970-01-01")), table.iloc[82:])
    assert watched.ledger.first_step == pd.Timestamp("1970-01-01")  # a late row, as far as anyone knows
    early = pd.concat([table.iloc[95:97], leap.assign(time=pd.Timestamp("1960-01-01")), table.iloc[97:]])
    watched.look(early)
    assert "lie far before the rows around them and before all others: left out" in watched.said[-1]
    assert watched.ledger.first_step == pd.Timestamp("1970-01-01")


def test_rows_that_lie_apart_as_usual_do_not_wait_for_each_other(watch):
    watched, table = watch(lookback=1), readings(360).iloc[::30].round(dict.fromkeys(SENSORS, 1))
    watched.look(*cut(table, *range(4, 12)))
    np.testing.assert_allclose(watched.steps(), offline(watched.detector, table), rtol=1e-8)


@pytest.mark.parametrize("wait", [0, 3])
def test_steps_after_one_with_a_wrong_time_ahead_are_judged_like_any_others(watch, wait):
    watched, table = watch(lookback=1, wait=wait), readings(60, spikes={40: 5})
    table.loc[20, "time"] = START + pd.Timedelta(hours=20)
    watched.look(*cut(table, 21, 22, 23, 30, 42, 43, 50))
    watched.look()
    assert watched.events() == [(40, 44)]
    assert len(watched.sent) == 1
    assert watched.steps().notna().all()
    known = table.drop(index=20).set_index("time").asfreq("min").reset_index()
    expected = offline(watched.detector, known)
    np.testing.assert_allclose(watched.steps()[expected.index], expected, rtol=1e-8)


def test_late_steps_wait_for_what_comes_after_them_and_are_judged_when_nothing_comes(watch):
    watched, table = watch(lookback=4, wait=6), readings(60)
    watched.look(table.tail(10).assign(time=table["time"].tail(10) + pd.Timedelta(hours=5)), table.head(20))
    assert watched.steps().notna().tolist()[:20] == [False] * 3 + [True] * 11 + [False] * 6
    watched.look(table.iloc[20:25])
    assert watched.steps().notna().tolist()[:25] == [False] * 3 + [True] * 16 + [False] * 6
    watched.look()
    np.testing.assert_allclose(watched.steps().iloc[:25].dropna(), offline(watched.detector, table.head(25)), rtol=1e-8)
    assert watched.ledger.waiting_stretches() == []


def test_a_feed_is_asked_for_rows_after_the_newest_one_whose_time_can_be_right(watch):
    watched, now = watch(lookback=1), START + pd.Timedelta(minutes=30)
    assert watched.ledger.resume_time(now) is None
    table = readings(60)
    watched.look(table)  # a clock that is ahead, or in another time zone
    assert watched.ledger.resume_time(now) == table["time"].iloc[-1]
    watched.look(readings(2).assign(time=START + pd.to_timedelta([1200, 1201], unit="min")))
    assert watched.ledger.resume_time(now) == table["time"].iloc[-1]
    assert watched.ledger.resume_time(START + pd.Timedelta(days=1)) == START + pd.Timedelta(minutes=1201)


def once(watched, form=None):
    """What one look with `--once` raises."""
    model = followed_model.FollowedModel("plant", "1", watched.detector, watched.wait)
    with pytest.raises(DataError) as ended:
        follow.follow_feed(
            FolderFeed(watched.folder, form or RowFormat("time")),
            watched.ledger,
            current_model=lambda: model,
            channels=watched.channels(),
            tell=watched.said.append,
            interval=1,
            once=True,
        )
    return str(ended.value)


def test_looking_once_ends_in_an_error_where_a_file_cannot_be_read_or_nothing_can_be_scored(watch):
    watched, table = watch(lookback=3), readings(20)
    put(watched.folder, "a.csv", table.rename(columns={"time": "when"}))
    put(watched.folder, "b.csv", table)
    told = once(watched)
    assert "feed: half of the rows or more could not be read: a.csv: 20 rows, no step scored; no column 'time'" in told
    assert len(watched.steps()) == 20  # the other file counts all the same
    lines = (watched.folder / "b.csv").read_text().replace("2024-01-01 00", "2024-01-02 00").splitlines()
    (watched.folder / "b.csv").write_text("\n".join([*lines[:11], *(f"{line},1" for line in lines[11:]), ""]))
    assert "b.csv: 20 rows up to 2024-01-02T00:09:00" in once(watched)
    table["time"] += pd.Timedelta(days=2)
    put(watched.folder, "c.csv", table.assign(heat=table["heat"].where(table.index % 3 == 0)))
    told = once(watched)
    assert "none of 20 steps could be scored: a score needs every sensor at each of 3 steps in a row" in told
    assert "'heat' has a reading at 7 of 20" in told
    table["time"] += pd.Timedelta(hours=1)
    put(watched.folder, "d.csv", table.rename(columns={"heat": "Heat"}))
    assert "'heat' has a reading at 0 of 20" in once(watched)
    assert "no column for the model's sensors 'heat'; did you mean 'Heat'?" in watched.said[-2]
    assert "dead sensor heat" in watched.said[-1]
    table["time"] += pd.Timedelta(hours=1)
    put(watched.folder, "e.csv", table.melt("time", var_name="tag"))
    assert "'tag' names sensors, so this is a row for each reading, and a column for each sensor is need" in once(
        watched
    )


def test_looking_once_is_no_error_while_steps_only_wait_for_later_ones_and_where_nothing_is_new(watch):
    watched, table = watch(lookback=1, wait=6), readings(4)
    put(watched.folder, "a.csv", table)
    (watched.folder / "a.txt").write_text("no table")
    model = followed_model.FollowedModel("plant", "1", watched.detector, watched.wait)
    for _ in range(3):
        follow.follow_feed(
            FolderFeed(watched.folder, RowFormat("time")),
            watched.ledger,
            current_model=lambda: model,
            channels=watched.channels(),
            tell=watched.said.append,
            interval=1,
            once=True,
        )
    assert watched.steps().notna().all()
    assert "passed over, as they hold no table with the column of time: 'a.txt'" in watched.said


class Scaled(ZScore):
    """Knows how its sensors were scaled in training, as a detector does."""

    preprocessing = SimpleNamespace(target_scaler=scaling.Scaler(np.zeros(3), np.ones(3)))


def test_numbers_that_mean_no_reading_are_none_where_they_are_far_from_training(watch):
    watched, table = watch(lookback=1), readings(20)
    watched.detector = Scaled(lookback=1)
    table.loc[5:7, "flow"] = -9999
    watched.look(table)
    assert watched.events() == []
    assert watched.steps().isna().sum() == 3
    assert "3 readings of 'flow' are -9999, far from training: taken for no reading" in watched.said[0]
    table["time"] += pd.Timedelta(hours=1)
    watched.look(table.replace(-9999, -9998))
    assert watched.events() == [(65, 67)]


class Remembering(ZScore):
    """Knows the longest runs of one value in training, as a detector does."""

    preprocessing = SimpleNamespace(longest_runs=(1, 20, 4000))


def test_a_sensor_that_shows_one_value_for_too_long_raises_one_alert(watch):
    watched, table = watch(lookback=1), readings(120)
    watched.detector = Remembering(lookback=1)
    table.loc[30:39, "flow"] = 0.5  # not longer than the shortest limit
    table.loc[50:89, "power"] = 0.25  # twice the longest run in training
    table.loc[60:75, "flow"] = 0.125
    table["heat"] = 1.0
    watched.look(*cut(table, 65, 70, 73, 80))
    assert [(alert.id, alert.event["blame"]) for alert in watched.sent] == [
        ("plant/flow stuck/2024-01-01T01:00:00", [["flow", 1.0]])
    ]
    told = "plant: flow is stuck since 2024-01-01T01:00:00. It has been 0.125 for more than 10 steps"
    assert sum(told in line for line in watched.said) == 1
    assert watched.events() == []


def test_noise_is_never_called_stuck(watch):
    watched, table = watch(lookback=1), readings(3000, seed=5).round({"flow": 0, "power": 1})
    longest = [(table[name] != table[name].shift()).cumsum().value_counts().max() for name in SENSORS]
    watched.detector = Remembering(lookback=1)
    object.__setattr__(watched.detector, "preprocessing", SimpleNamespace(longest_runs=longest))
    watched.look(readings(3000, seed=6).round({"flow": 0, "power": 1}))
    assert [alert for alert in watched.sent if "stuck" in alert.id] == []
