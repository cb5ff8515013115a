"""A test for every rule on keys and limits, over HTTP."""

import json
import logging
import sqlite3
import threading
import time

import pytest
import requests

from gridcast.runtime.errors import ConfigError
from gridcast.serving import settings
from gridcast.serving.rate_limits import RequestLimits
from gridcast.serving.settings import admin_token, parse_shadows
from small_service import POINT, TOKEN, question, running
from tracking_servers import wait

pytestmark = pytest.mark.xdist_group("serving")

GUARDED = [
    ("POST", "/predict"),
    ("POST", "/predict_csv"),
    ("POST", "/anomalies"),
    ("POST", "/anomalies_csv"),
    ("GET", "/models"),
    ("GET", f"/models/{POINT}/example"),
    ("GET", "/metrics"),
    ("GET", "/api_keys"),
    ("DELETE", "/api_keys/x"),
    ("GET", "/anything"),
]


@pytest.fixture(scope="module")
def guarded(shop, tmp_path_factory):
    with running(shop, tmp_path_factory.mktemp("guarded")) as found:
        yield found


def error(answer):
    body = answer.json()
    assert set(body) == {"error"}
    return answer.status_code, body["error"]["code"]


# Keys


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_nothing_opens_without_a_key(guarded, method, path, prefix):
    bare = requests.request(method, guarded.url + prefix + path, timeout=30)
    assert error(bare) == (401, "key_missing")
    assert bare.headers["WWW-Authenticate"] == "ApiKey"
    assert error(guarded.ask(method, prefix + path, key="0123456789abcdef.guessed")) == (401, "key_unknown")


def test_every_path_that_is_declared_is_guarded_or_known_to_be_open(guarded):
    paths = guarded.get("/openapi.json").json()["paths"]
    declared = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    known = {(method, path.replace("/x", "/{id}").replace(POINT, "{name}")) for method, path in GUARDED[:-1]}
    assert declared == known | {
        ("POST", "/generate_api_key"),
        *(("GET", path) for path in ("/", "/healthz", "/readyz")),
    }


def test_a_key_is_asked_for_before_the_body_is_looked_at(guarded):
    answer = requests.post(f"{guarded.url}/predict", data=b"{", timeout=30)
    assert error(answer) == (401, "key_missing")


def test_each_scope_opens_its_own_paths(guarded):
    reader, admin = guarded.create_key("predict"), guarded.create_key("admin")
    assert guarded.post("/predict", json=question(), key=reader).status_code == 200
    assert error(guarded.get("/api_keys", key=reader)) == (403, "scope_missing")
    assert error(guarded.ask("DELETE", "/api_keys/x", key=reader)) == (403, "scope_missing")
    assert error(guarded.post("/predict", json=question(), key=admin)) == (403, "scope_missing")
    assert guarded.get("/api_keys", key=admin).status_code == 200
    for key in (reader, admin):
        assert guarded.get("/models", key=key).status_code == 200
        assert guarded.get("/metrics", key=key).status_code == 200


def test_a_key_is_made_by_the_admin_alone(guarded):
    ask = {"name": "test"}
    assert error(guarded.post("/generate_api_key", json=ask)) == (401, "token_missing")
    for wrong in (TOKEN[:-1], TOKEN + "x", "", guarded.key):
        answer = guarded.post("/generate_api_key", json=ask, headers={"X-Admin-Token": wrong})
        assert error(answer) == (401, "token_wrong")
    made = guarded.post("/generate_api_key", json=ask, headers={"X-Admin-Token": TOKEN}).json()
    assert made["api_key"].startswith(f"{made['id']}.")
    assert guarded.get("/models", key=made["api_key"]).status_code == 200


@pytest.mark.parametrize(
    "ask",
    [
        {},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "x", "expires_in_days": 0},
        {"name": "x", "expires_in_days": 3651},
        {"name": "x", "expires_in_days": "90"},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["all"]},
        {"name": "x", "more": 1},
    ],
)
def test_a_key_that_cannot_be_is_refused(guarded, ask):
    answer = guarded.post("/generate_api_key", json=ask, headers={"X-Admin-Token": TOKEN})
    assert answer.status_code == 422


def test_the_list_shows_keys_without_secrets(guarded):
    made = guarded.create_key("predict")
    own, _, secret = made.partition(".")
    listed = guarded.get("/api_keys")
    assert own in {key["id"] for key in listed.json()["keys"]}
    assert secret not in listed.text
    fields = {"id", "name", "scopes", "created_at", "expires_at", "revoked_at"}
    assert all(set(key) == fields for key in listed.json()["keys"])


def test_a_revoked_key_opens_nothing_from_then_on(guarded):
    made = guarded.create_key("predict")
    own = made.partition(".")[0]
    assert guarded.post("/predict", json=question(), key=made).status_code == 200
    assert guarded.ask("DELETE", f"/api_keys/{own}").json()["revoked_at"]
    assert error(guarded.post("/predict", json=question(), key=made)) == (401, "key_revoked")
    assert error(guarded.ask("DELETE", f"/api_keys/{own}")) == (404, "no_key")
    assert error(guarded.ask("DELETE", "/api_keys/nothing")) == (404, "no_key")


def test_an_expired_key_opens_nothing_within_a_second(guarded):
    _, text = guarded.state.keys.create("short", 0.5, ["predict"])
    assert guarded.get("/models", key=text).status_code == 200
    time.sleep(0.5)
    assert error(guarded.get("/models", key=text)) == (401, "key_expired")


def test_a_key_works_after_a_restart_of_the_service(shop, tmp_path):
    with running(shop, tmp_path) as first:
        key = first.create_key("predict")
    with running(shop, tmp_path) as second:
        assert second.post("/predict", json=question(), key=key).status_code == 200


def test_secrets_are_in_no_log_no_file_and_no_error(shop, tmp_path):
    with running(shop, tmp_path) as found:
        key = found.create_key("predict", "admin")
        answers = [
            found.post("/predict", json=question(), key=key),
            found.post("/predict", data=key, key=key),
            found.post("/predict", json={key: TOKEN}, key=key),
            found.post("/predict", json=question(key), key=key),
            found.get(f"/{key}", key=key),
            found.get(f"/models/{key}/example", key=key),
            found.ask("DELETE", f"/api_keys/{key}", key=key),
            found.get("/api_keys", key=key),
            found.get("/metrics", key=key),
            found.post("/generate_api_key", json={"name": key[:100]}, headers={"X-Admin-Token": "wrong"}),
        ]
        held = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        log = found.logged()
        assert repr(found.state.settings).count(TOKEN) == 0
    for secret in (key.partition(".")[2], TOKEN):
        assert secret not in log
        assert secret.encode() not in held
        assert not any(secret in answer.text for answer in answers)


# An open service


def test_a_service_is_open_on_this_machine_alone_and_only_where_that_is_asked_for():
    assert admin_token({settings.TOKEN_VARIABLE: TOKEN}, "0.0.0.0", insecure_local=False) == TOKEN
    assert admin_token({settings.TOKEN_VARIABLE: TOKEN}, "127.0.0.1", insecure_local=True) == TOKEN
    for host in ("127.0.0.1", "::1", "localhost", "127.8.9.1"):
        assert admin_token({}, host, insecure_local=True) is None
        with pytest.raises(ConfigError, match=r"GRIDCAST_ADMIN_TOKEN: is not set.*--insecure-local"):
            admin_token({settings.TOKEN_VARIABLE: ""}, host, insecure_local=False)
    for host in ("0.0.0.0", "::", "192.168.0.1", "example.org"):
        with pytest.raises(ConfigError, match=f"--insecure-local: '{host}' is not a loopback address"):
            admin_token({}, host, insecure_local=True)


def test_a_short_admin_token_is_refused_and_not_shown():
    with pytest.raises(ConfigError, match="at least 16 characters") as caught:
        admin_token({settings.TOKEN_VARIABLE: "hunter2"}, "127.0.0.1", insecure_local=True)
    assert "hunter2" not in str(caught.value)


def test_an_open_service_asks_for_no_key_makes_none_and_is_asked_as_this_machine(shop, tmp_path):
    with running(shop, tmp_path, token=None) as found:
        assert found.post("/predict", json=question()).status_code == 200
        assert found.get("/api_keys").json() == {"keys": []}
        made = found.post("/generate_api_key", json={"name": "x"}, headers={"X-Admin-Token": ""})
        assert error(made) == (403, "open")
        assert error(found.get("/models", headers={"Host": "elsewhere.example"})) == (403, "not_local")
        for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert error(found.post("/predict", json=question(), headers=foreign)) == (403, "cross_site")
        assert found.post("/predict", json=question(), headers={"Origin": found.url}).status_code == 200


def test_a_shadow_is_an_alias_of_a_model_that_is_served():
    assert parse_shadows(("retail@challenger",), ("retail",)) == {"retail": "models:/retail@challenger"}
    for wrong in ("retail", "other@challenger", "@x"):
        with pytest.raises(ConfigError, match="--shadow"):
            parse_shadows((wrong,), ("retail",))


# Limits


def limited(shop, folder, **limits):
    return running(shop, folder, limits=RequestLimits(**{"rate": 0} | limits))


def test_too_many_requests_of_a_key_or_an_address_wait(shop, tmp_path):
    with limited(shop, tmp_path, rate=0.001, burst=6) as found:
        own, other = found.key, found.state.keys.create("other", 60, ["predict"])[1]
        answers = [found.get("/models") for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert error(answers[-1]) == (429, "rate_address")
        assert int(answers[-1].headers["Retry-After"]) >= 1
        found.state.address_buckets.rate = 0
        assert [found.get("/models", key=own).status_code for _ in range(2)] == [200, 429]
        assert error(found.get("/models", key=own)) == (429, "rate_key")
        assert found.get("/models", key=other).status_code == 200


def test_wrong_keys_are_limited_by_address(shop, tmp_path):
    with limited(shop, tmp_path, rate=0.001, burst=4) as found:
        statuses = [found.get("/models", key=f"x.{number}").status_code for number in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


@pytest.fixture(scope="module")
def small(shop, tmp_path_factory):
    with limited(shop, tmp_path_factory.mktemp("small"), body=20_000, rows=30, series=1, horizon=5) as found:
        yield found


def test_a_body_that_is_too_large_is_refused(small):
    assert error(small.post("/predict", data=b" " * 20_001)) == (413, "limit_body")
    pieces = small.post("/predict", data=(b" " * 1000 for _ in range(30)), headers={"Content-Type": "application/json"})
    assert error(pieces) == (413, "limit_body")
    assert error(small.post(f"/predict_csv?model={POINT}", files={"file": b"x" * 20_001})) == (413, "limit_body")
    admin = {"X-Admin-Token": TOKEN}
    assert error(small.post("/generate_api_key", data=b"x" * 4097, headers=admin)) == (413, "limit_body")
    whole = json.dumps(question()).ljust(20_000)
    assert small.post("/predict", data=whole, headers={"Content-Type": "application/json"}).status_code == 200


def test_too_many_rows_series_or_steps_are_refused(small):
    assert error(small.post("/predict", json=question(steps=31))) == (422, "limit_rows")
    assert error(small.post("/predict", json=question(products=("apple", "pear")))) == (422, "limit_series")
    assert error(small.post("/predict", json=question(horizon=6))) == (422, "limit_horizon")
    assert small.post("/predict", json=question(steps=30, horizon=5)).status_code == 200
    sparse = question(steps=8)
    sparse["series"][0]["history"][0]["time"] = "2023-01-01"  # days without a row are steps too
    assert error(small.post("/predict", json=sparse)) == (422, "limit_rows")


def test_too_many_rows_or_series_of_a_file_are_refused(small):
    def send(*lines):
        content = "\n".join(["date,product,quantity,price", *lines])
        return small.post(f"/predict_csv?model={POINT}&horizon=5", files={"file": ("a.csv", content)})

    days = [f"2023-01-{day:02}" for day in range(1, 32)]
    assert error(send(*(f"{day},apple,1,1" for day in days))) == (422, "limit_rows")
    both = [f"{day},{product},1,1" for day in days[:10] for product in ("apple", "pear")]
    assert error(send(*both)) == (422, "limit_series")
    assert send(*(f"{day},apple,1,1" for day in days[:30])).status_code == 200


class Slow:
    """A forecaster that takes its time, until it is let go."""

    def __init__(self, batcher):
        self.batcher, self.run, self.free, self.calls = batcher, batcher._run, threading.Event(), 0

    def __call__(self, requests):
        self.calls += 1
        self.free.wait(20)
        return self.run(requests)


@pytest.fixture
def slow():
    """Makes the model of a service slow."""
    held = []

    def of(found):
        (served,) = found.state.models.all()
        made = Slow(served.batcher)
        served.batcher._run = made
        served.batcher._is_light = lambda _: False  # what takes its time goes to a thread
        held.append(made)
        return made

    yield of
    for one in held:
        one.free.set()


def test_more_work_at_once_than_is_allowed_is_refused_and_health_still_answers(shop, tmp_path, slow):
    with limited(shop, tmp_path, concurrent=2) as found:
        made = slow(found)
        answers = []
        clients = [
            threading.Thread(
                target=lambda: answers.append(
                    requests.post(f"{found.url}/predict", json=question(), headers={"X-API-Key": found.key}, timeout=30)
                )
            )
            for _ in range(2)
        ]
        clients[0].start()
        wait(lambda: made.calls == 1, 20, "the first request did not come in")
        clients[1].start()
        wait(lambda: len(made.batcher._waiting) == 1, 20, "the second request did not come in")
        third = found.post("/predict", json=question())
        assert error(third) == (503, "busy")
        assert third.headers["Retry-After"] == "1"
        assert found.get("/").status_code == 200
        made.free.set()
        for client in clients:
            client.join()
        assert [answer.status_code for answer in answers] == [200, 200]
        assert found.post("/predict", json=question()).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(shop, tmp_path, slow):
    with limited(shop, tmp_path, seconds=1.5) as found:
        made = slow(found)
        assert error(found.post("/predict", json=question())) == (503, "timeout")
        made.free.set()
        assert found.post("/predict", json=question()).status_code == 200


def test_a_fault_of_the_service_is_answered_in_the_same_form_without_what_was_sent(shop, tmp_path):
    with running(shop, tmp_path) as found:
        (served,) = found.state.models.all()

        def broken(asked):
            raise RuntimeError("apple 2023-05-11 secret")

        served.batcher._run = broken
        answer = found.post("/predict", json=question())
        assert error(answer) == (500, "internal")
        line = next(line for line in found.lines() if line["event"] == "failed")
        assert (line["request"], line["error"]) == (answer.headers["X-Request-ID"], "RuntimeError")
        assert "secret" not in found.logged() + answer.text


def test_a_store_of_keys_that_fails_lets_nobody_in(shop, tmp_path):
    with running(shop, tmp_path) as found:
        found.state.keys.close()
        assert error(found.get("/models")) == (503, "keys_unavailable")


def test_a_locked_store_of_keys_is_said_and_does_not_hold_up_others(shop, tmp_path):
    with running(shop, tmp_path) as found:
        admin, answers = {"X-Admin-Token": TOKEN}, []
        other = sqlite3.connect(tmp_path / "keys.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")

        def make():
            answers.append(
                requests.post(f"{found.url}/generate_api_key", json={"name": "x"}, headers=admin, timeout=30)
            )

        maker = threading.Thread(target=make)
        maker.start()
        assert error(found.get("/models")) == (503, "keys_unavailable")
        started = time.perf_counter()
        assert found.get("/").status_code == 200
        assert time.perf_counter() - started < 0.5
        maker.join()
        assert error(answers[0]) == (503, "keys_unavailable")
        other.close()
        assert found.get("/models").status_code == 200


def test_a_fault_behind_any_path_is_answered_in_the_same_form(shop, tmp_path, monkeypatch):
    with running(shop, tmp_path) as found:

        def broken():
            raise RuntimeError("secret")

        monkeypatch.setattr(found.state.models, "all", broken)
        for path in ("/", "/models"):
            assert error(found.get(path)) == (500, "internal")
        assert [line["event"] for line in found.lines() if line["level"] == "error"] == ["failed", "failed"]


def test_warnings_of_a_table_are_not_logged(guarded):
    logging.getLogger("gridcast").warning("column 'x': series 'secret'")
    assert "secret" not in guarded.logged()
