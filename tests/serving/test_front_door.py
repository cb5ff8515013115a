"""Limits before a request is complete, over real connections: of headers, bodies, connections and time."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
import requests

from gridcast.serving.api_keys import ApiKeys
from gridcast.serving.rate_limits import RequestLimits
from gridcast.serving.settings import TOKEN_VARIABLE, DoorLimits
from http_fuzzer import fuzz, head
from small_service import POINT, TOKEN, WATCHED, question, running
from tracking_servers import free_port, wait

pytestmark = pytest.mark.xdist_group("serving")

DOOR = DoorLimits(
    header_seconds=0.6,
    body_seconds=0.6,
    address_connections=8,
    small_body=50_000,
    client_bodies=200_000,
    all_bodies=300_000,
)
LARGE = 8 * 2**20


@pytest.fixture(scope="module")
def door(shop, tmp_path_factory):
    """A service with small limits of connections, seconds and bodies in progress."""
    with running(shop, tmp_path_factory.mktemp("door"), door=DOOR) as found:
        yield found


@contextlib.contextmanager
def connected(server):
    """A connection to the service."""
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def read(connection):
    """All that the service sends until it closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def sent(server, *parts):
    """The status and the code of the error with which the service answers some bytes, before it closes."""
    with connected(server) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                connection.sendall(part)
        answer = read(connection)
    header, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in header
    return int(header[9:12]), json.loads(body)["error"]["code"]


# Who asks comes first

DECLARED = f"Content-Length: {LARGE}"


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        ("/generate_api_key", "", 401, "token_missing"),
        ("/v1/generate_api_key", "", 401, "token_missing"),
        ("/predict", "", 401, "key_missing"),
        ("/predict", "0123456789abcdef.guessed", 401, "key_unknown"),
        ("/anomalies_csv", "x", 401, "key_unknown"),
        ("/nowhere", "x", 401, "key_unknown"),
    ],
)
def test_who_asks_is_checked_before_a_byte_of_the_body(door, path, key, status, code):
    with connected(door) as connection:
        connection.sendall(head(key, path, DECLARED))  # and no body
        answer = connection.recv(4096)
    assert (int(answer[9:12]), code in answer.decode()) == (status, True)
    assert b"connection: close" in answer


def test_a_key_without_the_scope_is_refused_before_the_body(door):
    _, reader = door.state.keys.create("reader", 60, ["predict"])
    assert sent(door, head(reader, "/api_keys", DECLARED, method="DELETE")) == (403, "scope_missing")


def test_a_client_that_sends_all_before_it_reads_gets_its_answer(door):
    assert sent(door, head("", "/generate_api_key", DECLARED), b"1," * (LARGE // 2)) == (401, "token_missing")
    parting = requests.post(f"{door.url}/predict", data=b"1" * LARGE, headers={"Connection": "close"}, timeout=30)
    assert parting.status_code == 401


# Bodies


@pytest.mark.parametrize("path", ["/generate_api_key", "/models", "/metrics", "/nothing"])
def test_a_body_for_a_path_that_takes_none_or_little_is_small(door, path):
    admin = f"X-Admin-Token: {TOKEN}"
    assert sent(door, head(door.key, path, admin, "Content-Length: 4097")) == (413, "limit_body")
    if path == "/generate_api_key":
        chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
        assert sent(door, head(door.key, path, admin, "Transfer-Encoding: chunked"), chunk * 5) == (413, "limit_body")


def test_a_body_of_a_million_values_costs_neither_time_nor_memory(guarded_memory, shop, tmp_path):
    begin = {
        "/predict": ('{"model":"sales","series":[', "series"),
        "/anomalies": ('{"model":"watched","rows":[', "rows"),
    }
    with running(shop, tmp_path) as found:
        for path, (text, where) in begin.items():
            body = text + "1," * 2**20 + "1]}"
            started = time.perf_counter()
            answer = found.post(path, data=body, headers={"Content-Type": "application/json"})
            assert time.perf_counter() - started < 2  # eight and more seconds with an error for each
            assert answer.status_code == 422
            assert answer.json()["error"]["where"].partition("[")[0] == where
        unknown = "".join(f',"{number}":1' for number in range(5000))
        body = f'{{"model":"sales","series":[]{unknown}}}'
        answer = found.post("/predict", data=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, len(answer.content) < 200) == (422, True)


@pytest.fixture
def guarded_memory():
    """Fails if a test takes 200 MiB."""
    process = psutil.Process()
    before = process.memory_info().rss
    yield
    assert process.memory_info().rss - before < 200 * 2**20


@pytest.mark.parametrize("depth", [150, 60_000])
def test_deep_values_and_endless_numbers_are_no_valid_body(door, depth):
    for value in ("[" * depth, "[" * depth + "]" * depth, "1" * 5000):
        body = json.dumps(question()).replace('"apple"', value)
        answer = door.post("/predict", data=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422


def test_a_body_that_does_not_arrive_is_given_up(door):
    started = time.perf_counter()
    assert sent(door, head(door.key, "/predict", DECLARED), b"{") == (408, "body_timeout")
    form = head(door.key, "/predict_csv?model=sales", DECLARED)
    form = form.replace(b"application/json", b"multipart/form-data; boundary=x")
    assert sent(door, form, b"--x\r\n") == (408, "body_timeout")
    assert time.perf_counter() - started < 5


def test_bodies_of_one_key_have_a_limit_together_and_leave_room_for_others(door):
    _, other = door.state.keys.create("other", 60, ["predict"])
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            held = stack.enter_context(connected(door))
            held.sendall(head(door.key, "/predict", DECLARED) + b" " * 90_000)
        time.sleep(0.1)
        length = "Content-Length: 90001"
        assert sent(door, head(door.key, "/predict", length), b" " * 90_000) == (503, "busy")
        for key in (door.key, other):
            assert door.post("/predict", json=question(), key=key).status_code == 200
        assert sent(door, head(other, "/predict", length, "Connection: close"), b" " * 90_001) == (422, "invalid_body")
    time.sleep(0.1)  # they are gone
    assert sent(door, head(door.key, "/predict", length, "Connection: close"), b" " * 90_001) == (422, "invalid_body")


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        (b"1\r\nx\r\n" * 20_000, 413, "limit_chunks"),
        (b"5;" + b"a" * 100_000, 400, "invalid_request"),
        (b"0\r\nA: " + b"b" * 100_000, 400, "invalid_request"),
        (b"1\r\nxx\r\n", 400, "invalid_request"),
        (b"zz\r\n", 400, "invalid_request"),
    ],
)
def test_chunks_have_limits_too(door, parts, status, code):
    assert sent(door, head(door.key, "/predict", "Transfer-Encoding: chunked"), parts) == (status, code)


# Headers and connections


@pytest.mark.parametrize(
    "lines",
    [b"A: " + b"b" * 17_000, b"a:b\r\n" * 101, b"a:b\r\n" * 2**20, b"\r\n" * 10_000, b"GET /" + b"a" * 20_000],
)
def test_a_header_has_at_most_16_kilobytes_and_100_lines(door, lines):
    begin = b"" if lines[:1] in b"\rG" else b"GET / HTTP/1.1\r\nHost: x\r\n"
    assert sent(door, begin + lines) == (431, "limit_header")
    whole = head(door.key, "/models", "A: " + "b" * 15_000, "Connection: close", method="GET")
    with connected(door) as connection:
        connection.sendall(whole)
        assert read(connection).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
@pytest.mark.parametrize("drops", [b"\r\n", b"a", b""])
def test_a_header_that_drips_is_given_up(door, first, drops):
    with connected(door) as connection:
        connection.sendall(first)
        started = time.perf_counter()
        with contextlib.suppress(ConnectionError):
            while time.perf_counter() - started < 3:
                connection.sendall(drops)
                connection.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(4096):
                        break
        assert time.perf_counter() - started < 2


def test_half_sent_headers_shut_out_nobody_even_from_the_same_address(door):
    with contextlib.ExitStack() as stack:
        halves = [stack.enter_context(connected(door)) for _ in range(3 * DOOR.address_connections)]
        for half in halves:
            half.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert requests.get(f"{door.url}/", timeout=5).status_code == 200
        halves[0].settimeout(0.2)
        assert read(halves[0]) == b""  # the one that waited longest was closed
        halves[-1].sendall(b"x\r\nConnection: close\r\n\r\n")
        assert read(halves[-1]).startswith(b"HTTP/1.1 200")


def test_requests_that_are_sent_together_are_answered_in_turn_and_only_a_few(door):
    one = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with connected(door) as connection:
        connection.sendall(one * 9 + last)
        assert read(connection).count(b"HTTP/1.1 401") == 10
    with connected(door) as connection:
        connection.sendall(one * 300)
        assert 10 < read(connection).count(b"HTTP/1.1 401") < 20


def test_an_answer_that_is_not_read_does_not_stay_in_memory(door):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(door.url.rpartition(":")[2])))
        for _ in range(16):
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        _wait_until_alone(door)


def _wait_until_alone(server):
    """Wait until no connection but those of the session is open."""
    port, end = int(server.url.rpartition(":")[2]), time.monotonic() + 8
    server.session.close()
    while [one for one in psutil.Process().net_connections() if one.laddr.port == port and one.status != "LISTEN"]:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_another_protocol_is_not_offered(door):
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    with connected(door) as connection:
        connection.sendall(head(door.key, "/models", *upgrade, method="GET"))
        assert read(connection).startswith(b"HTTP/1.1 200")


def test_a_fuzzer_finds_nothing_and_another_client_hardly_waits(shop, tmp_path, guarded_memory):
    with running(shop, tmp_path, limits=RequestLimits(rate=0, body=200_000)) as found:
        _, other = found.state.keys.create("other", 60, ["predict"])
        port = int(found.url.rpartition(":")[2])
        findings = fuzz(port, (found.key, other), question(POINT), seconds=2, clients=3)
        failed = [line for line in found.lines() if line["event"] in ("failed", "keys") or line["level"] == "error"]
    assert (findings.refused, failed) == ([], [])
    assert findings.percentile(0.99) < 0.25
    assert not {status for status in findings.statuses if " 500" in status}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_fuzzer_finds_nothing_in_a_service_of_its_own_in_a_long_run(shop, tmp_path):
    port, folder = free_port(), tmp_path / "service"
    keys = ApiKeys(folder / "keys.db")
    texts = tuple(keys.create(name, 3600, ["predict"])[1] for name in ("fuzzer", "other"))
    options = ["--port", str(port), "--rate", "0", "--folder", str(folder)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": shop.uri, TOKEN_VARIABLE: TOKEN}
    command = [sys.executable, "-m", "gridcast.cli", "serve", POINT, WATCHED, *options]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=log)
    try:
        wait(lambda: answers(port), 120, "no answer")
        fuzz(port, texts, question(), seconds=5, clients=4)  # what is loaded once
        memory = psutil.Process(process.pid).memory_info().rss
        findings = fuzz(port, texts, question(), seconds=120, clients=8)
        assert psutil.Process(process.pid).memory_info().rss - memory < 200 * 2**20
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert findings.refused == []
    assert findings.percentile(0.99) < 0.25
    assert '"failed"' not in (tmp_path / "log").read_text()


def answers(port):
    """Whether a service answers."""
    try:
        return requests.get(f"http://127.0.0.1:{port}/", timeout=5).ok
    except requests.ConnectionError:
        return False
