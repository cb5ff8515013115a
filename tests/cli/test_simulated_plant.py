"""The simulated plant delivers over HTTP what is due, and a stream that follows it takes each minute once."""

import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from gridcast.cli import simulated_plant
from gridcast.data import simulation
from gridcast.monitoring.stream import follow, followed_model
from gridcast.monitoring.stream.feed_rows import RowFormat
from gridcast.monitoring.stream.feeds import WebFeed
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.runtime.errors import ConfigError
from stream_process import ZScore, readings, rows


@contextmanager
def running(table, labels=None, speed=0.0, begun=None):
    """The address of a plant that delivers `table`."""
    labels = pd.DataFrame({"start": []}) if labels is None else labels
    server = simulated_plant.make_server(
        table, labels, "127.0.0.1", 0, speed=speed, ready=len(table) if begun is None else begun
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def test_a_plant_gives_what_comes_after_a_stamp_as_csv_or_json():
    table = readings(10)
    with running(table, begun=6) as url:
        kind, text = get(f"{url}/readings?after=2024-01-01T00:03:00")
        assert kind.startswith("text/csv")
        assert text == table.iloc[4:6].to_csv(index=False)
        kind, text = get(f"{url}/readings?after=2024-01-01T00:03:00&format=json")
        assert kind.startswith("application/json")
        assert [(row["time"][:16], row["flow"]) for row in json.loads(text)] == [
            (f"2024-01-01T00:0{k}", table["flow"][k]) for k in (4, 5)
        ]
        assert len(get(f"{url}/readings")[1].splitlines()) == 7


def test_a_client_that_hangs_up_is_no_error(capfd):
    with running(readings(10)) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, at once
            client.sendall(b"GET /readings")
        assert len(get(f"{url}/readings")[1].splitlines()) == 11
    assert capfd.readouterr().err == ""


def test_minutes_come_due_as_the_clock_says():
    with running(readings(500), speed=60 * 1000.0, begun=1) as url:
        seen = [len(get(f"{url}/readings")[1].splitlines()) - 1 for _ in range(5)]
        assert 1 <= seen[0] <= seen[-1] <= 500
        assert seen == sorted(seen)
        while seen[-1] < 500:
            seen.append(len(get(f"{url}/readings")[1].splitlines()) - 1)


def test_a_plant_tells_what_is_wrong_with_a_question():
    with running(readings(5)) as url:
        for path, status in (("/", 404), ("/readings?after=noon", 400)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}{path}", timeout=10)
            assert refused.value.code == status
            refused.value.close()
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"--port: cannot listen on 127.0.0.1:{port}: "):
            simulated_plant.make_server(readings(5), pd.DataFrame(), "127.0.0.1", port, speed=1.0, ready=1)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_a_stream_takes_every_minute_of_a_plant_once(tmp_path, form):
    table, labels = simulation.simulate_plant("multivariate", simulation.MIN_STEPS, seed=1)
    names = list(table.columns[1:])
    # In units of its own spread, so that the small detector has something to say.
    table[names] = ((table[names] - table[names].mean()) / table[names].std()).round(6)
    detector, record = ZScore(sensors=tuple(names)), tmp_path / "record.sqlite"
    ledger, lines = Ledger(record, "plant", "min"), []
    with running(table, labels, speed=60 * 2000.0, begun=2000) as url:
        feed = WebFeed(f"{url}/readings?format={form}", RowFormat("time"))
        while ledger.high_water_mark is None or ledger.high_water_mark < table["time"].iloc[-1]:
            model = followed_model.FollowedModel("plant", "1", detector)
            follow.poll_once(feed, ledger, model, channels={}, tell=lines.append)
        served_labels = pd.read_csv(f"{url}/labels", parse_dates=["start", "end"])
    ledger.close()
    scores = dict(rows(record, "SELECT time, score FROM steps"))
    expected = detector.predict(table)
    assert len(scores) == len(table)
    found_scores = [scores[time.isoformat()] for time in expected["time"]]
    np.testing.assert_allclose(found_scores, expected["score"], rtol=1e-7)
    assert rows(record, "SELECT sum(repeated), sum(late), sum(missing), sum(unreadable) FROM stretches") == [
        (0, 0, 0, 0)
    ]
    assert len(rows(record, "SELECT id FROM stretches")) > 1
    assert served_labels["kind"].tolist() == labels["kind"].tolist()
