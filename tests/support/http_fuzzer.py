"""Requests that no honest client sends, and a client that asks small questions meanwhile."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

LETTERS = bytes(range(256))
Sender = Callable[[random.Random, socket.socket, str], None]


@dataclass
class Findings:
    """The waits of the honest client in seconds, what it was refused, and the statuses that the fuzzer saw."""

    waits: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """Return the wait that a `share` of all questions did not exceed."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(share * len(self.waits)))]


def head(key: str, path: str = "/predict", *lines: str, method: str = "POST") -> bytes:
    """Return a header."""
    usual = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-API-Key: {key}", "Content-Type: application/json")
    return "\r\n".join((*usual, *lines, "", "")).encode("latin-1")


def garbage(rng: random.Random, size: int) -> bytes:
    """Return random bytes, sometimes only those that HTTP and JSON consist of."""
    letters = rng.choice((LETTERS, b"\r\n: \t", b'{}[]",:1e-', b"GETPOST /HTP1.\r\n:"))
    return bytes(rng.choices(letters, k=rng.randrange(size)))


def broken_header(rng: random.Random, connection: socket.socket, key: str) -> None:
    """Send a header with some bytes replaced, inserted or removed."""
    content = bytearray(head(key, rng.choice(("/", "/predict", "/models", "/generate_api_key", "*", "//", "/%00"))))
    for _ in range(rng.randrange(1, 8)):
        at = rng.randrange(len(content))
        content[at : at + rng.randrange(4)] = garbage(rng, 8)
    connection.sendall(bytes(content) + garbage(rng, 200))


def half_header(rng: random.Random, connection: socket.socket, key: str) -> None:
    """Send part of a header."""
    content = head(key)
    connection.sendall(content[: rng.randrange(len(content))])
    time.sleep(rng.random() * 0.3)


def long_header(rng: random.Random, connection: socket.socket, key: str) -> None:
    """Send a header that does not end: one line, many lines, or nothing but line ends."""
    part = rng.choice((b"a" * 4096, b"a:b\r\n" * 800, b"\r\n" * 2000, b"a:\t \r\n b\r\n" * 300))
    connection.sendall(head(key)[:-2] if rng.random() < 0.5 else b"")
    for _ in range(rng.randrange(200)):
        connection.sendall(part)


def slow_body(rng: random.Random, connection: socket.socket, key: str) -> None:
    """Send a body bit by bit, and leave."""
    connection.sendall(head(key, "/predict", f"Content-Length: {rng.randrange(8 * 2**20)}"))
    for _ in range(rng.randrange(10)):
        connection.sendall(b"[" * rng.randrange(100))
        time.sleep(0.02)


def broken_chunks(rng: random.Random, connection: socket.socket, key: str) -> None:
    """Send chunks of wrong sizes, of a byte each, with extensions and trailers."""
    connection.sendall(
        head(key, rng.choice(("/predict", "/models", "/generate_api_key")), "Transfer-Encoding: chunked")
    )
    tiny = b"1\r\nx\r\n" * 5000
    for _ in range(rng.randrange(60)):
        connection.sendall(rng.choice((tiny, b"5;" + b"a" * 3000, b"0\r\n" + b"b:" * 2000, garbage(rng, 100))))


def pipeline(rng: random.Random, connection: socket.socket, key: str) -> None:
    """Send many requests before the first is answered."""
    method, path = rng.choice((("GET", "/"), ("GET", "/models"), ("POST", "/predict")))
    connection.sendall(head(key, path, method=method) * rng.randrange(2, 400) + garbage(rng, 50))


def large_body(rng: random.Random, connection: socket.socket, key: str) -> None:
    """Send a body as large as is allowed, with a part that is repeated as often as it fits."""
    part = rng.choice(
        (b"1,", b"[", b'{"a":', b'"\\u0000",', b"1", b"1e9,", b'{"time":"2020","value":1},', b" ", b'"a":1,')
    )
    size = rng.choice((60_000, 500_000, 8 * 2**20 - 100))
    begin = rng.choice((b'{"model":"sales","series":[', b'{"model":"sales","series":[{"history":[', b'{"x":', b""))
    content = begin + part * ((size - len(begin)) // len(part))
    path = rng.choice(("/predict", "/anomalies"))
    connection.sendall(head(key, path, f"Content-Length: {len(content)}") + content)


def upload(rng: random.Random, connection: socket.socket, key: str) -> None:
    """Send a form that is broken or has too many parts."""
    part = rng.choice((b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n', b"\r\n--", b"\r", b"a:b\r\n"))
    content = b"--x\r\n" * rng.randrange(2) + part * (rng.choice((10**4, 10**6, 8 * 10**6)) // len(part))
    form = "Content-Type: multipart/form-data; boundary=x"
    lines = ("POST /predict_csv?model=sales HTTP/1.1", "Host: 127.0.0.1", f"X-API-Key: {key}", form)
    connection.sendall("\r\n".join((*lines, f"Content-Length: {len(content)}", "", "")).encode() + content)


SENDERS: dict[str, Sender] = {
    function.__name__: function
    for function in (
        broken_header,
        half_header,
        long_header,
        slow_body,
        broken_chunks,
        pipeline,
        large_body,
        upload,
    )
}


def fuzz(port: int, keys: tuple[str, str], question: dict[str, Any], *, seconds: float, clients: int) -> Findings:
    """Let some clients fuzz the service with the first key, and an honest one ask questions with the second."""
    findings, end = Findings(), time.monotonic() + seconds

    def send(seed: int) -> None:
        rng = random.Random(seed)
        while time.monotonic() < end:
            name = rng.choice(list(SENDERS))
            key = keys[0] if rng.random() < 0.7 else rng.choice(("", "x", "é.ü", "a" * 3000))
            findings.statuses[f"{name} {_status(rng, name, port, key)}"] += 1

    threads = [threading.Thread(target=send, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    body = json.dumps(question)
    while time.monotonic() < end:
        started = time.perf_counter()
        answer = _ask(port, keys[1], body)
        findings.waits.append(time.perf_counter() - started)
        if answer != "200":
            findings.refused.append(answer)
        time.sleep(0.01)
    for thread in threads:
        thread.join()
    return findings


def _status(rng: random.Random, name: str, port: int, key: str) -> str:
    """The status with which the service answers, `closed` or `silent`."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            SENDERS[name](rng, connection, key)
            connection.settimeout(rng.choice((0.05, 1.0)))
            line = connection.recv(12).decode("latin-1")
            return line[9:] or "closed"
    except TimeoutError:
        return "silent"
    except OSError:
        return "closed"


def _ask(port: int, key: str, body: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/predict", body, {"X-API-Key": key, "Content-Type": "application/json"})
        with connection.getresponse() as response:
            response.read()
            return str(response.status)
    except OSError as error:
        return repr(error)
    finally:
        connection.close()
