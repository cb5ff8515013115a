"""Feeds: each byte of a file is read once, whatever the dialect, and bad rows are reported."""

import contextlib
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pandas as pd
import pytest

from gridcast.monitoring.stream.feed_rows import RowFormat
from gridcast.monitoring.stream.feeds import UNFINISHED_LINE_SECONDS, FolderFeed, WebFeed, open_feed
from gridcast.runtime.errors import ConfigError, GridcastError
from tracking_servers import free_port


def brought(stretch):
    """Its rows as plain tuples, times as text."""
    return [(str(row[0]), *row[1:]) for row in stretch.rows.itertuples(index=False)]


def taken(stretches):
    return {stretch.source: stretch.end for stretch in stretches}


def test_a_file_is_brought_once_and_then_what_it_gains(tmp_path):
    folder, path = FolderFeed(tmp_path, RowFormat("time")), tmp_path / "a.csv"
    path.write_text("time,flow\n2024-01-01 00:00,1\n")
    first = folder.new_batches({}, None)
    assert [brought(one) for one in first] == [[("2024-01-01 00:00:00", "1")]]
    assert folder.new_batches(taken(first), None) == []
    with path.open("a") as file:
        file.write("2024-01-01 00:01,2\n2024-01-01 00:02,3\n")
    (second,) = folder.new_batches(taken(first), None)
    assert brought(second) == [("2024-01-01 00:01:00", "2"), ("2024-01-01 00:02:00", "3")]
    assert (second.begin, second.end) == (first[0].end, path.stat().st_size)


def test_a_line_that_is_being_written_waits_for_its_end(tmp_path):
    folder, path = FolderFeed(tmp_path, RowFormat("time")), tmp_path / "a.csv"
    path.write_text("time,flow\n2024-01-01 00:00,1\n2024-01-01 00:01,2")
    first = folder.new_batches({}, None)
    assert len(first[0].rows) == 1
    assert folder.new_batches(taken(first), None) == []
    old = time.time() - 2 * UNFINISHED_LINE_SECONDS
    os.utime(path, (old, old))  # nobody is writing any more
    (second,) = folder.new_batches(taken(first), None)
    assert brought(second) == [("2024-01-01 00:01:00", "2")]


def test_a_header_alone_brings_nothing_and_its_rows_come_later(tmp_path):
    folder, path = FolderFeed(tmp_path, RowFormat("time")), tmp_path / "a.csv"
    path.write_text("time,flow\n")
    first = folder.new_batches({}, None)
    assert [len(one.rows) for one in first] == [0]
    path.write_text("time,flow\n2024-01-01 00:00,1\n")
    assert [brought(one) for one in folder.new_batches(taken(first), None)] == [[("2024-01-01 00:00:00", "1")]]


def test_a_file_that_has_become_shorter_is_read_again_with_a_note(tmp_path):
    folder, path = FolderFeed(tmp_path, RowFormat("time")), tmp_path / "a.csv"
    path.write_text("time,flow\n2024-01-01 00:00,1\n2024-01-01 00:01,2\n")
    first = folder.new_batches({}, None)
    path.write_text("time,flow\n2024-01-01 00:02,3\n")
    (second,) = folder.new_batches(taken(first), None)
    assert brought(second) == [("2024-01-01 00:02:00", "3")]
    assert second.notes == ("the file has become shorter, so it is read again from its start",)
    assert second.begin == first[0].end


def test_files_come_in_the_order_of_their_times_not_of_their_names(tmp_path):
    for name, hour in (("9.csv", 9), ("10.csv", 10), ("8.csv", 8)):
        (tmp_path / name).write_text(f"time,flow\n2024-01-01 {hour:02}:00,1\n")
    (tmp_path / ".aside.csv").write_text("time,flow\n2024-01-01 07:00,1\n")
    (tmp_path / "readme.txt").write_text("no data")
    assert [one.source for one in FolderFeed(tmp_path, RowFormat("time")).new_batches({}, None)] == [
        "8.csv",
        "9.csv",
        "10.csv",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "time;flow;power\n2024-01-01T00:00:00Z;1,5;2\n",
        "time\tflow\tpower\r\n2024-01-01T01:00:00+01:00\t1.5\t2\r\n",
        "\ufefftime, flow ,power\n2024-01-01,1.5,2\n",
        '"time","flow","power"\n"2024-01-01 00:00:00.000","1.5","2"\n',
    ],
)
def test_dialects_are_read(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    (found,) = FolderFeed(tmp_path, RowFormat("time")).new_batches({}, None)
    assert list(found.rows.columns) == ["time", "flow", "power"]
    assert brought(found) == [("2024-01-01 00:00:00", "1.5", "2")]


def test_unreadable_lines_are_counted_with_a_note(tmp_path):
    lines = ["time,flow", "2024-01-01 00:00,1", "yesterday,2", "2024-01-01 00:02", "2024-01-01 00:03,3,4", "", ",5"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    (found,) = FolderFeed(tmp_path, RowFormat("time")).new_batches({}, None)
    assert (len(found.rows), found.unreadable) == (1, 4)
    assert found.notes == (
        "2 lines have more or fewer fields than the header",
        "2 rows have no time such as 2024-01-31T12:00:00, the first 'yesterday'",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Time,flow\n2024-01-01,1\n2024-01-02,1\n", "no column 'time'; did you mean 'Time'? (there are: Time, flow)"),
        ("time,flow,flow\n2024-01-01,1,2\n2024-01-02,1,2\n", "the column 'flow' occurs twice"),
    ],
)
def test_a_file_that_is_no_table_of_this_stream_is_counted_whole(tmp_path, text, told):
    (tmp_path / "a.csv").write_text(text)
    (found,) = FolderFeed(tmp_path, RowFormat("time")).new_batches({}, None)
    assert (len(found.rows), found.unreadable, found.notes) == (0, 2, (told,))
    assert FolderFeed(tmp_path, RowFormat("time")).new_batches(taken([found]), None) == []


@contextlib.contextmanager
def answering(answers):
    """A server that answers with these (status, text) in turn, the last for ever; yields its URL and the requests."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, text = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/rows", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


CSV = "time,flow\n2024-01-01 00:00,1.5\n"
JSON = '[{"time": "2024-01-01T00:00:00", "flow": 1.5}]'


@pytest.mark.parametrize("text", [CSV, JSON, f'{{"rows": {JSON}}}'])
def test_an_address_is_asked_for_what_comes_after_the_mark(text):
    with answering([(200, text)]) as (url, asked):
        (first,) = WebFeed(url, RowFormat("time")).new_batches({}, None)
        WebFeed(f"{url}?key=secret", RowFormat("time")).new_batches({}, pd.Timestamp("2024-01-01 00:00"))
    assert [(str(row.time), float(row.flow)) for row in first.rows.itertuples()] == [("2024-01-01 00:00:00", 1.5)]
    assert asked == ["/rows", "/rows?key=secret&after=2024-01-01T00%3A00%3A00"]


@pytest.mark.parametrize("text", ["", "time,flow\n", "[]", '{"rows": []}'])
def test_an_address_that_has_nothing_new_brings_nothing(text):
    with answering([(200, text)]) as (url, _):
        assert WebFeed(url, RowFormat("time")).new_batches({}, None) == []


@pytest.mark.parametrize("text", ['{"error": "later"}', "[1, 2]", '[{"time": ', "<html>\n<p>log in</p>\n</html>"])
def test_a_response_that_is_no_table_is_counted_with_a_note(text):
    with answering([(200, text)]) as (url, _):
        (found,) = WebFeed(url, RowFormat("time")).new_batches({}, None)
    assert len(found.rows) == 0
    assert found.unreadable > 0
    assert found.notes


def test_an_address_that_fails_is_reported_without_its_secrets():
    with answering([(500, "")]) as (url, _), pytest.raises(GridcastError, match=r"/rows: no response: .*500") as failed:
        WebFeed(f"{url}?key=secret", RowFormat("time")).new_batches({}, None)
    assert "secret" not in str(failed.value)
    with pytest.raises(GridcastError, match="no response"):
        WebFeed(f"http://127.0.0.1:{free_port()}/rows", RowFormat("time")).new_batches({}, None)


@pytest.mark.parametrize("source", ["nowhere", "ftp://host/rows", "https://", "http://me:secret@host/rows"])
def test_a_source_that_cannot_be_followed_is_refused(source):
    with pytest.raises(ConfigError, match="--follow") as refused:
        open_feed(source, RowFormat("time"))
    assert "secret" not in str(refused.value)
