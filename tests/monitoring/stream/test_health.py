"""The follower watches itself: each problem of a feed is one alert when it begins, and one when it ends."""

import contextlib
import socket
import sqlite3
import threading

import pandas as pd
import pytest

from gridcast.monitoring.stream import follow, followed_model, health, web_answer
from gridcast.monitoring.stream.feed_rows import RowFormat
from gridcast.monitoring.stream.feeds import FolderFeed
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.runtime.errors import GridcastError
from stream_process import START, ZScore, put, readings, rows


class Clocked:
    """A followed folder, its record, and a clock that goes on an hour at each look."""

    def __init__(self, base, monkeypatch):
        self.feed, self.ledger, self.got, self.state = (
            base / "feed",
            Ledger(base / "r.sqlite", "plant", "min"),
            [],
            None,
        )
        self.feed.mkdir()
        self.now = pd.Timestamp("2024-06-01")
        monkeypatch.setattr(follow, "utc_now", lambda: self.now)

    def look(self, name="", content=None, detector=ZScore(lookback=1)):  # noqa: B008 - it is frozen
        """Put a file, look once, return the error."""
        if isinstance(content, pd.DataFrame):
            put(self.feed, name, content)
        elif content is not None:
            (self.feed / name).write_text(content)
        self.now += pd.Timedelta(hours=1)
        try:
            follow.follow_feed(
                FolderFeed(self.feed, RowFormat("time")),
                self.ledger,
                current_model=lambda: followed_model.FollowedModel("plant", "1", detector),
                channels={"hook": lambda alert: self.got.append(alert) is None},
                tell=lambda _: None,
                interval=1,
                once=True,
                after_look=lambda state: setattr(self, "state", state),
            )
        except GridcastError as error:
            return str(error)
        return ""

    def kinds(self):
        """Kind, and whether it ended, of the alerts of the feed since the last call."""
        got, self.got = [alert for alert in self.got if "/feed/" in alert.id], []
        return [(alert.event["kind"], alert.event["last"] is not None) for alert in got]


@pytest.fixture
def clocked(tmp_path, monkeypatch):
    made = Clocked(tmp_path, monkeypatch)
    yield made
    made.ledger.close()


def later(hours, **changes):
    table = readings(20, seed=hours)
    return table.assign(time=table["time"] + pd.Timedelta(hours=hours), **changes)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("<!DOCTYPE html>\n<html><body>Log in</body></html>\n", health.WEB_PAGE),
        ("time,flow,power,heat\nyesterday,1,2,3\n", health.NO_ROW),
        (later(1).to_csv(index=False) + "x,1,2,3\n" * 5, health.UNREADABLE),
        (later(1).rename(columns={"heat": "Heat"}).to_csv(index=False), health.DEAD),
    ],
)
def test_each_problem_is_one_alert_and_one_when_it_ends(clocked, content, kind):
    assert clocked.look("a.csv", later(0)) == ""
    assert clocked.look("b.csv", content)
    assert clocked.look()
    assert clocked.kinds() == [(kind, False)]
    assert [problem.kind for problem in clocked.state.problems] == [kind]
    assert clocked.look("c.csv", later(2)) == ""
    assert clocked.look() == ""
    assert clocked.kinds() == [(kind, True)]
    assert clocked.state.problems == ()


def test_three_looks_without_data_are_a_problem(clocked):
    said = [clocked.look("a.csv", later(0)), *(clocked.look() for _ in range(4))]
    assert [bool(text) for text in said] == [False, False, False, True, True]
    assert clocked.kinds() == [(health.NO_DATA, False)]
    assert (clocked.state.looks_without_data, clocked.state.newest_step) == (4, START + pd.Timedelta(minutes=19))
    assert clocked.look("b.csv", later(2)) == ""
    assert clocked.kinds() == [(health.NO_DATA, True)]
    assert (clocked.state.lines, clocked.state.unreadable) == (40, 0)


@pytest.mark.parametrize("error", [RecursionError("too deep"), OSError(28, "No space left on device"), MemoryError()])
def test_a_look_that_fails_is_an_alert_and_stores_nothing(clocked, error):
    class Broken(ZScore):
        def predict(self, table, params=None):
            raise error

    assert type(error).__name__ in clocked.look("a.csv", later(0), Broken(lookback=1))
    assert type(error).__name__ in clocked.look("b.csv", later(1), Broken(lookback=1))
    assert rows(clocked.ledger.path, "SELECT count(*) FROM steps") == [(0,)]
    assert clocked.look() == ""
    assert clocked.kinds() == [(health.FAILED, False), (health.FAILED, True)]
    assert rows(clocked.ledger.path, "SELECT count(*), count(score) FROM steps") == [(40, 40)]


def test_a_failure_that_the_locked_record_cannot_take_is_one_alert_also_after_restarts(clocked):
    """Each look here is a start."""
    assert clocked.look("a.csv", later(0)) == ""
    clocked.ledger._database.execute("PRAGMA busy_timeout = 10")
    with contextlib.closing(sqlite3.connect(clocked.ledger.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "locked" in clocked.look("b.csv", later(1))
        assert "locked" in clocked.look()
        Ledger(clocked.ledger.path, "plant", "min").close()
    first, *others = clocked.got
    assert (first.event["kind"], others) == (health.FAILED, [])
    assert clocked.look() == ""
    assert clocked.look() == ""
    assert [alert.id for alert in clocked.got] == [first.id, f"{first.id}/recovered"]
    assert rows(clocked.ledger.path, "SELECT count(*), count(score) FROM steps") == [(40, 40)]


def test_looks_that_fail_come_less_often_up_to_a_bound():
    assert [follow.delay_after(1, failures) for failures in (0, 1, 2, 5, 50)] == [1, 1, 2, 16, 300]
    assert follow.delay_after(900, 50) == 900


@pytest.mark.parametrize("header", [b"", b"HTTP/1.0 200 OK\r\n\r\n"])
def test_an_answer_that_drips_or_does_not_end_is_cut_off(monkeypatch, header):
    monkeypatch.setattr(web_answer, "ANSWER_SECONDS", 0.3)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip():
            connection, _ = server.accept()
            with connection:
                connection.sendall(header)
                while not stop.wait(0.02):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(web_answer.FeedUnreachable, match="not complete after 0.3 s"):
                web_answer.read_answer(f"http://127.0.0.1:{server.getsockname()[1]}/", "feed")
        finally:
            stop.set()
            thread.join()
