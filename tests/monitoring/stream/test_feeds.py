"""Feeds: each byte of a file is read once, whatever the dialect, and bad rows are reported."""

import contextlib
import gzip
import os
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pandas as pd
import pytest

from gridcast.monitoring.stream.feed_rows import RowFormat
from gridcast.monitoring.stream.feeds import UNFINISHED_SECONDS, FolderFeed, WebFeed, open_feed
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.monitoring.stream.ledger_rows import FileMark
from gridcast.runtime.errors import ConfigError, GridcastError
from small_experiments import readings, watched
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
    assert (second.begin, second.end.size) == (first[0].end, path.stat().st_size)


def test_a_line_that_is_being_written_waits_for_its_end(tmp_path):
    folder, path = FolderFeed(tmp_path, RowFormat("time")), tmp_path / "a.csv"
    path.write_text("time,flow\n2024-01-01 00:00,1\n2024-01-01 00:01,2")
    first = folder.new_batches({}, None)
    assert len(first[0].rows) == 1
    assert folder.new_batches(taken(first), None) == []
    old = time.time() - 2 * UNFINISHED_SECONDS
    os.utime(path, (old, old))  # however long the writer holds the rest back
    assert folder.new_batches(taken(first), None) == []
    with path.open("a") as file:
        file.write("5\n")
    (second,) = folder.new_batches(taken(first), None)
    assert brought(second) == [("2024-01-01 00:01:00", "25")]


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
        "2 lines have more or fewer fields than the header, the first 1 where it has 2",
        "2 rows have no time that can be read, the first 'yesterday' is not a date; this file's are read as iso, such "
        "as 2011-12-31: correct it",
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


def test_a_last_line_that_ends_with_its_connection_waits_as_it_may_be_torn():
    with answering([(200, CSV + "2024-01-01 00:01,2")]) as (url, _):
        (found,) = WebFeed(url, RowFormat("time")).new_batches({}, None)
    assert brought(found) == [("2024-01-01 00:00:00", "1.5")]


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


def changed(path, text):
    """Write another text of the same length, as a logger that keeps one file of the last hour."""
    assert len(text) == path.stat().st_size
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_file_that_was_written_again_in_the_same_length_is_read_again(tmp_path):
    folder, path = FolderFeed(tmp_path, RowFormat("time")), tmp_path / "a.csv"
    path.write_text("time,flow\n2024-01-01 00:00,1\n2024-01-01 00:01,2\n")
    first = folder.new_batches({}, None)
    assert folder.new_batches(taken(first), None) == []
    changed(path, "time,flow\n2024-01-01 01:00,3\n2024-01-01 01:01,4\n")
    (second,) = folder.new_batches(taken(first), None)
    assert brought(second) == [("2024-01-01 01:00:00", "3"), ("2024-01-01 01:01:00", "4")]
    assert second.notes == ("the file was written again, so it is read again from its start",)
    # And one that has grown beyond what was read, in a new process.
    path.write_text("time,flow\n2024-01-01 02:00,5\n2024-01-01 02:01,6\n2024-01-01 02:02,7\n")
    (third,) = FolderFeed(tmp_path, RowFormat("time")).new_batches(taken([second]), None)
    assert [flow for _, flow in brought(third)] == ["5", "6", "7"]


def test_a_mark_of_a_former_version_without_a_digest_is_believed(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,flow\n2024-01-01 00:00,1\n2024-01-01 00:01,2\n")
    with contextlib.closing(Ledger(tmp_path / "a.sqlite", "plant", "min")) as ledger:
        with ledger.transaction():
            ledger.mark_read("a.csv", FileMark(29, "of these bytes"))
        database = sqlite3.connect(tmp_path / "a.sqlite")
        database.execute("UPDATE files SET taken = 28")  # as an older version of gridcast does
        database.commit()
        database.close()
        assert ledger.file_marks() == {"a.csv": FileMark(28, "")}
        (batch,) = FolderFeed(tmp_path, RowFormat("time")).new_batches(ledger.file_marks(), None)
    assert brought(batch) == [("2024-01-01 00:01:00", "2")]


def test_rows_after_a_further_header_are_read_by_it_also_when_they_come_later(tmp_path):
    folder, path = FolderFeed(tmp_path, RowFormat("time")), tmp_path / "a.csv"
    path.write_text(
        "time,flow\n2024-01-01 00:00,1\ntime,flow\n2024-01-01 00:01,2\ntime,valve,flow\n2024-01-01 00:02,9,3\n"
    )
    (first,) = folder.new_batches({}, None)
    assert brought(first) == [
        ("2024-01-01 00:00:00", "1", ""),
        ("2024-01-01 00:01:00", "2", ""),
        ("2024-01-01 00:02:00", "3", "9"),
    ]
    assert first.unreadable == 0
    assert first.notes == (
        "1 lines that repeat the header are passed over",
        "the rows after a further header are read by it (time, valve, flow)",
    )
    with path.open("a") as file:
        file.write("2024-01-01 00:03,8,4\n")
    (second,) = folder.new_batches(taken([first]), None)
    assert second.rows[["flow", "valve"]].to_numpy().tolist() == [["4", "8"]]


def test_a_file_that_its_logger_empties_and_goes_on_with_is_read_by_its_header_also_after_a_restart(tmp_path):
    path = tmp_path / "a.csv"
    written = [
        "time,flow,heat\n2024-01-01 00:00,1,10\ntime,heat,flow\n2024-01-01 00:01,11,2\n",
        "2024-01-01 00:02,12,3\n",
        "2024-01-01 00:02,12,3\n2024-01-01 00:03,13,4\n",
        "\0" * 40 + "2024-01-01 00:04,14,5\n",  # its writer did not go back to the start of the file
        "2024-01-01 00:05,15\n",
    ]
    read = []
    with contextlib.closing(Ledger(tmp_path / "a.sqlite", "plant", "min")) as ledger:
        for text in written:
            path.write_text(text)
            (batch,) = FolderFeed(tmp_path, RowFormat("time"), "*.csv").new_batches(ledger.file_marks(), None)
            ledger.mark_read("a.csv", batch.end)
            read.append((batch.rows.to_dict("list"), batch.notes))
    assert [rows["flow"] for rows, _ in read[:4]] == [["1", "2"], ["3"], ["4"], ["5"]]
    assert read[1][1][0].endswith("so it is read again from its start by its former header, as it has none")
    assert read[4][0]["time"] == []
    assert "the first line must name the columns" in read[4][1][1]


@pytest.mark.parametrize(
    "text",
    [
        "time,flow\n2024-01-01 00:00,1\n\ufeff2024-01-01 00:01,2\n",
        "time,flow\n2024-01-01 00:00,1\r2024-01-01 00:01,2\r",
        "time,flow\n2024-01-01 00:00,1\n" + "\0" * 300 + "2024-01-01 00:01,2\n" + "\0" * 300,
        '{"time": "2024-01-01 00:00", "flow": "1"}\n{"time": "2024-01-01 00:01", "flow": "2"}\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-32"])
def test_joined_files_holes_line_ends_and_encodings_are_read(tmp_path, text, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    os.utime(path, (0, 0))
    (batch,) = FolderFeed(tmp_path, RowFormat("time")).new_batches({}, None)
    if "\0" in text and encoding != "utf-8":
        assert batch.unreadable
    else:
        assert brought(batch) == [("2024-01-01 00:00:00", "1"), ("2024-01-01 00:01:00", "2")]


def test_files_are_tables_by_their_names_or_by_their_first_lines_and_others_are_named(tmp_path):
    table = "time;flow\n2024-01-01 00:00;1\n"
    for name in ("a.log", "a.log.1", "b.txt", "20240101", "c.csv.bak", "d.dat"):
        (tmp_path / name).write_text("# logger 7\n" + table if name == "d.dat" else table)
    (tmp_path / "e.log.gz").write_bytes(gzip.compress(table.encode()))
    for name, text in (("app.log", "2024 time, INFO started\n" * 2), ("readme.txt", "no data"), ("f.csv.part", table)):
        (tmp_path / name).write_text(text)
    (tmp_path / "unit").mkdir()
    (tmp_path / "unit" / "g.csv").write_text(table)
    feed = FolderFeed(tmp_path, RowFormat("time"))
    batches = {batch.source: batch for batch in feed.new_batches({}, None)}
    assert sorted(batches) == ["20240101", "a.log", "a.log.1", "b.txt", "c.csv.bak", "d.dat", "e.log.gz"]
    assert [name for name, batch in batches.items() if not len(batch.rows)] == ["d.dat"]  # which is an alert
    assert feed.other_files() == ["app.log", "readme.txt", "unit/*"]
    assert open_feed(str(tmp_path / "app.log"), RowFormat("time")).new_batches({}, None)[0].unreadable


TABLE = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=3, freq="min"), "flow": [1.5, None, 3.0]})


def form_of(folder, **data):
    frame = readings(480).drop(columns="anomaly")
    if "pivot" in data:
        frame = frame.melt("time", var_name="tag")
    data = {"labels": None, **data}
    return RowFormat.of_model(watched(folder, frame, data=data).dataset.preprocessing)


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet", "a.csv.zip", "A.CSV", "a.TSV.gz"])
def test_files_of_every_kind_that_training_reads_are_read(tmp_path, name):
    form = form_of(tmp_path)
    folder = tmp_path / "feed"
    folder.mkdir()
    if name.endswith(".xlsx"):
        TABLE.to_excel(folder / name, index=False)
    elif name.endswith(".parquet"):
        TABLE.to_parquet(folder / name)
    else:
        sep = "\t" if "TSV" in name else ","
        TABLE.to_csv(folder / name, index=False, sep=sep, compression="infer")
    (batch,) = FolderFeed(folder, form).new_batches({}, None)
    assert batch.notes == ()
    assert batch.rows["time"].tolist() == TABLE["time"].tolist()
    assert pd.to_numeric(batch.rows["flow"]).tolist() == pytest.approx([1.5, float("nan"), 3.0], nan_ok=True)
    assert FolderFeed(folder, form).new_batches(taken([batch]), None) == []


def test_a_file_that_is_still_written_waits_and_a_damaged_one_is_reported(tmp_path):
    form = form_of(tmp_path)
    folder = tmp_path / "feed"
    folder.mkdir()
    for name, path in (("a.parquet", tmp_path / "whole.parquet"), ("b.csv.gz", tmp_path / "whole.csv.gz")):
        TABLE.to_parquet(path) if "parquet" in name else TABLE.to_csv(path, index=False)
        (folder / name).write_bytes(path.read_bytes()[:-9])
    feed = FolderFeed(folder, form)
    assert feed.new_batches({}, None) == []
    old = time.time() - 2 * UNFINISHED_SECONDS
    for path in folder.iterdir():
        os.utime(path, (old, old))
    damaged = feed.new_batches({}, None)
    assert [(one.source, one.unreadable) for one in damaged] == [("a.parquet", 1), ("b.csv.gz", 1)]
    assert "not a Parquet file" in damaged[0].notes[0]
    assert "cannot be unpacked" in damaged[1].notes[0]


def test_a_torn_line_of_a_growing_packed_file_waits_for_its_rest(tmp_path):
    """A logger may end a member within a number: the part of it was stored as a reading, and the whole one ignored."""
    form, folder = form_of(tmp_path), tmp_path / "feed"
    folder.mkdir()
    text = TABLE.assign(flow=[1.5, 2.5, 34.5]).to_csv(index=False).encode()
    cut, path = text.rindex(b"4.5"), folder / "log.csv.gz"
    path.write_bytes(gzip.compress(text[:cut]))
    feed = FolderFeed(folder, form)
    (first,) = feed.new_batches({}, None)
    assert first.rows["flow"].astype(float).tolist() == [1.5, 2.5]
    with path.open("ab") as file:
        file.write(gzip.compress(text[cut:]))
    (second,) = feed.new_batches({"log.csv.gz": first.end}, None)
    assert second.rows["flow"].astype(float).tolist() == [1.5, 2.5, 34.5]


def test_rows_for_each_reading_become_columns_where_the_model_was_trained_so(tmp_path):
    form = form_of(tmp_path, pivot={"names": "tag", "values": "value"})
    folder = tmp_path / "feed"
    folder.mkdir()
    (folder / "a.csv").write_text(
        "time,tag,value\n2024-01-01 00:00,flow,1.5\n2024-01-01 00:00,heat,20\n2024-01-01 00:01,heat,30\n"
        "2024-01-01 00:01,heat,99\n2024-01-01 00:01,wind,4\n"
    )
    (batch,) = FolderFeed(folder, form).new_batches({}, None)
    found = batch.rows.set_index("time")[["flow", "heat", "wind"]].apply(pd.to_numeric)
    assert found.to_numpy().tolist()[0][:2] == [1.5, 20]
    assert found.iloc[1].tolist() == pytest.approx([float("nan"), 30, 4], nan_ok=True)


@pytest.mark.parametrize(
    ("stamp", "remedy"),
    [
        ("1704103200", "it is a Unix time in s: write it as 2011-12-31 18:00"),
        ("45292.5", "it is a date as Excel counts days"),
        ("10:00:00", "is a time without a date; join the columns"),
        ("2024-01-01 24:00", "write midnight at the end of a day as 00:00 of the next day"),
    ],
)
def test_times_that_cannot_be_read_are_reported_with_a_remedy(tmp_path, stamp, remedy):
    (tmp_path / "a.csv").write_text(f"time,flow\n{stamp},1\n")
    (batch,) = FolderFeed(tmp_path, RowFormat("time")).new_batches({}, None)
    assert batch.unreadable == 1
    assert remedy in batch.notes[0]


def test_rows_that_do_not_show_how_they_are_written_are_read_as_those_before_them_in_the_file(tmp_path):
    folder, path = FolderFeed(tmp_path, RowFormat("time")), tmp_path / "a.csv"
    path.write_text("time;flow;heat\n31/01/2024 00:00;1,5;20,25\n")
    first = folder.new_batches({}, None)
    with path.open("a") as file:
        file.write("01/02/2024 00:00;1,375;2,125\n")
    (second,) = folder.new_batches(taken(first), None)
    assert brought(second) == [("2024-02-01 00:00:00", "1.375", "2.125")]
    (tmp_path / "b.csv").write_text("time;flow\n01/02/2024 00:00;1,375\n")  # another file shows nothing about itself
    refused = next(one for one in folder.new_batches(taken([second]), None) if one.source == "b.csv")
    assert (refused.unreadable, len(refused.rows)) == (1, 0)
    assert "'1,375' may be 1.375 (decimal comma) or 1375" in refused.notes[0]


def test_the_hour_that_clocks_repeat_is_read_by_the_rows_before_it_also_row_by_row(tmp_path):
    local = pd.date_range("2024-10-26 23:30", periods=9, freq="30min", tz="UTC").tz_convert("Europe/Berlin")
    path, form = tmp_path / "a.csv", RowFormat("time", time_zone="Europe/Berlin", frequency="30min")
    path.write_text("time,flow\n")
    folder, marks, times = FolderFeed(tmp_path, form), {}, []
    for number, stamp in enumerate(local):
        with path.open("a") as file:
            file.write(f"{stamp:%Y-%m-%d %H:%M},{number}\n")
        (batch,) = folder.new_batches(marks, None)
        marks, times = taken([batch]), [*times, *batch.rows["time"]]
    assert times == list(local.tz_convert("UTC").tz_localize(None))


def test_rows_of_which_only_some_have_an_offset_are_not_guessed(tmp_path):
    text = "time,flow\n2024-01-01 00:00+01:00,1\n2024-01-01 00:01,2\nsoon,3\n"
    (tmp_path / "a.csv").write_text(text)
    (batch,) = FolderFeed(tmp_path, RowFormat("time", time_zone="")).new_batches({}, None)
    assert brought(batch) == [("2023-12-31 23:00:00", "1")]
    assert batch.unreadable == 2
    assert batch.notes[1] == (
        "the time of 1 rows, the first '2024-01-01 00:01', has no offset from UTC, while other stamps have one; give "
        "it to all, or to none"
    )
