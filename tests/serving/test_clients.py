"""Who asks, from where, and whose turn it is; without a server."""

import asyncio
import json
import os
import sqlite3
import stat
import threading

import pytest

from gridcast.monitoring.prediction_log import PredictionLog
from gridcast.runtime.errors import ConfigError
from gridcast.serving import cancellation, request_costs
from gridcast.serving.admin_token_alarm import AdminTokenAlarm
from gridcast.serving.client_addresses import client_address, parse_networks, rate_group
from gridcast.serving.fair_line import FairLine
from gridcast.serving.http_errors import HttpError
from gridcast.serving.models.loader_environment import loader_environment, only_needed_variables
from gridcast.serving.rate_limits import RequestLimits, TokenBuckets
from gridcast.serving.settings import TOKEN_VARIABLE, parse_root_path
from gridcast.serving.web_origins import parse_origins
from gridcast.serving.work_queue import WorkQueue

PROXIES = parse_networks(["10.0.0.7", "172.18.0.0/16", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),
        ("10.0.0.7", [], "10.0.0.7"),
        ("10.0.0.7", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.7", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.7", ["1.2.3.4", "198.51.100.1, 172.18.0.3"], "198.51.100.1"),
        ("10.0.0.7", ["198.51.100.1:4711"], "198.51.100.1"),
        ("::ffff:10.0.0.7", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("10.0.0.7", ["198.51.100.1, unknown"], "10.0.0.7"),
        ("10.0.0.7", ["\0<script>"], "10.0.0.7"),
        ("10.0.0.7", ["172.18.0.3"], "172.18.0.3"),
    ],
)
def test_only_trusted_proxies_name_the_address_and_only_what_they_added_counts(peer, forwarded, address):
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    assert client_address(peer, headers, PROXIES) == address
    assert client_address(peer, headers, ()) == peer


def test_a_client_with_a_network_of_addresses_has_one_bucket():
    assert rate_group("2001:db8::1") == rate_group("2001:db8::ffff:2") == "2001:db8::/64"
    assert rate_group("198.51.100.1") == "198.51.100.1"
    assert rate_group("unknown") == "unknown"


@pytest.mark.parametrize(
    ("parse", "wrong", "right"),
    [
        (lambda text: parse_networks([text]), ["proxy", "10.0.0.7/8", ""], ["10.0.0.0/8", "::1"]),
        (
            lambda text: parse_origins([text]),
            ["shop.example", "https://shop.example/", "*", "HTTPS://SHOP", "https://a@b", "https://x:y", "null"],
            ["https://shop.example", "http://localhost:3000"],
        ),
        (parse_root_path, ["forecasts", "/a b", "/a//b", "/<x>"], ["", "/", "/forecasts", "/a/b/"]),
    ],
)
def test_options_that_cannot_be_meant_are_refused_with_an_example(parse, wrong, right):
    for text in wrong:
        with pytest.raises(ConfigError, match=r"^--[a-z-]+: .*such as"):
            parse(text)
    for text in right:
        parse(text)


def test_wrong_admin_tokens_are_warned_of_when_they_are_many_and_again_when_they_are_twice_as_many(caplog):
    now = [0.0]
    alarm = AdminTokenAlarm(clock=lambda: now[0])

    def warned(count):
        caplog.clear()
        for _ in range(count):
            alarm.add("198.51.100.1")
        return [record.fields["count"] for record in caplog.records]

    assert [warned(4), warned(1), warned(4), warned(1)] == [[], [5], [], [10]]
    now[0] = 700.0
    assert [warned(4), warned(1)] == [[], [5]]
    assert caplog.records[0].fields["address"] == "198.51.100.1"


def test_clients_take_turns():
    line = FairLine()
    for client, item in (("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("b", 6)):
        line.add(client, item)
    line.add("a", 0, is_next=True)
    assert [line.take() for _ in range(len(line))] == [0, 4, 5, 1, 6, 2, 3]


def test_work_that_nobody_waits_for_gives_its_worker_to_the_next():
    started, ran = threading.Event(), []

    def endless():
        started.set()
        while True:
            cancellation.check_cancelled()

    async def ask():
        queue = WorkQueue(1, "test")
        running = asyncio.create_task(queue.run("a", endless))
        dropped = asyncio.create_task(queue.run("a", lambda: ran.append("dropped")))
        await asyncio.to_thread(started.wait, 10)
        for task in (running, dropped):
            task.cancel()
        with pytest.raises(ValueError, match="no"):
            await asyncio.wait_for(queue.run("b", lambda: int("no")), 10)
        answer = await asyncio.wait_for(queue.run("b", lambda: 7), 10)
        queue.close()
        return answer

    assert asyncio.run(ask()) == 7
    assert ran == []


def test_a_large_request_is_paid_for_by_those_after_it():
    now = [0.0]
    buckets = TokenBuckets(rate=10.0, burst=20, clock=lambda: now[0])
    assert buckets.take("a", 70.0, least=0.0) == 0
    assert buckets.take("a") == pytest.approx(5.1)
    assert buckets.take("a", 70.0, least=0.0) == pytest.approx(5.0)
    assert buckets.take("b") == 0
    now[0] = 5.2
    assert buckets.take("a") == 0


def test_what_is_too_much_for_one_answer_is_refused():
    limits = RequestLimits(values=100, cost=5)
    request_costs.check_values(100, limits, "series")
    request_costs.check_cost(5 * request_costs.TOKEN, limits, "series")
    for check, size, code in (
        (request_costs.check_values, 101, "limit_values"),
        (request_costs.check_cost, 6 * request_costs.TOKEN, "limit_cost"),
    ):
        with pytest.raises(HttpError) as caught:
            check(size, limits, "series")
        assert (caught.value.status, caught.value.code) == (422, code)


def test_a_process_that_loads_models_has_no_secret_of_the_service(monkeypatch):
    secrets = {TOKEN_VARIABLE: "x", "SHOP_PASSWORD": "y", "GITHUB_TOKEN": "z"}
    needed = {"PATH": "/bin", "MLFLOW_TRACKING_URI": "http://x", "AWS_SECRET_ACCESS_KEY": "k", "https_proxy": "p"}
    assert loader_environment(secrets | needed) == needed
    monkeypatch.setenv("SHOP_PASSWORD", "y")
    with only_needed_variables():
        assert "SHOP_PASSWORD" not in os.environ
        assert "PATH" in os.environ
    assert os.environ["SHOP_PASSWORD"] == "y"


def test_nobody_else_may_read_what_customers_asked(tmp_path):
    path = tmp_path / "served" / "kept.db"
    path.parent.mkdir()
    path.touch(mode=0o644)
    log = PredictionLog(path, 10)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE other (x)")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    log.close()
    assert modes == {"kept.db": 0o600, "kept.db-wal": 0o600, "kept.db-shm": 0o600}


@pytest.mark.parametrize(
    "text",
    [
        '{"model": "m", "series": [{"id": "a", "history": [{"time": "2024-01-01", "value": 1}]}], "horizon": 3}',
        '{"series": [], "model": "m"}',
        '{"series": [{"history": []}], "model": "m"}',
        '{"series": [{"history": 7}, 8], "model": "m"}',
        '{"series": [{"history": [{"time": "2024-01-01", "value": NaN}]}], "model": "m"}',
        '{"series": [{"history": [{"time": "2024-01-01", "value": 1, "x": "\\ud800"}]}], "model": "m"}',
        '{"series": [{"history": [1, 2, 3]}], "model": "m"}',
        '{"series": [{"history": [{"time": "2024-01-01", "value": 1}], "history": 7}], "model": "m"}',
        '{"model": "m", "series": [{}], "other": 1}',
        '{"model": "m", "series": [{}',
        '{"model": "m", "series": []} x',
        '{"model": "m", "series": [,]}',
        '{"model": "m" "series": []}',
        '{"model": "m", 7: []}',
        '{"model": "m", "series": [{"history": [{"time": "2024-01-01", "value": 1},]}]}',
        "",
    ],
)
def test_a_body_read_in_pieces_says_what_a_body_read_at_once_says(text):
    from fastapi.exceptions import RequestValidationError
    from pydantic import ValidationError

    from gridcast.serving.payloads import row_pieces, schemas

    def errors(found):
        """Where the first error is; a body that is no JSON has none."""
        return "invalid JSON" if "invalid" in found[0]["type"] else found[0]["loc"]

    def outcome(read):
        try:
            return [
                (series.id, [step for piece in row_pieces.pieces_of(series.history) for step in piece])
                for series in read().series
            ]
        except ValidationError as error:
            return errors([one | {"loc": ("body", *one["loc"])} for one in error.errors()])
        except RequestValidationError as error:
            return errors(error.errors())
        except HttpError as error:
            return "invalid JSON" if error.code == "invalid_body" else error.code

    whole = outcome(lambda: schemas.PredictRequest.model_validate_json(text))
    assert outcome(lambda: row_pieces.read_prediction(text.encode(), RequestLimits())) == whole


def test_a_body_of_many_pieces_is_whole_and_bounded(monkeypatch):
    from fastapi.exceptions import RequestValidationError

    from gridcast.serving.payloads import row_pieces

    monkeypatch.setattr(row_pieces, "PIECE", 200)
    rows = [{"time": f"2024-01-{day:02}", "flow": day} for day in range(1, 31)]
    body = {"model": "m", "values": True, "rows": rows}

    def read(limits=None, **changed):
        return row_pieces.read_detection(json.dumps(body | changed).encode(), limits or RequestLimits())

    found = read()
    assert found.values
    assert len(found.rows) == 30
    pieces = list(found.rows.pieces())
    assert len(pieces) > 3
    assert [row.model_dump() for piece in pieces for row in piece] == rows
    with pytest.raises(RequestValidationError) as caught:
        list(read(rows=[*rows, {"flow": 1}]).rows.pieces())
    assert [one["loc"] for one in caught.value.errors()] == [("body", "rows", 30, "time")]
    for changed, code in (
        ({"rows": [rows[0] | {"x": "y" * 300}]}, "invalid_body"),
        ({"model": "x" * 300}, "invalid_body"),
    ):
        with pytest.raises(HttpError) as refused:
            read(**changed)
        assert refused.value.code == code
    with pytest.raises(HttpError) as refused:
        read(RequestLimits(rows=29))
    assert refused.value.code == "limit_rows"
