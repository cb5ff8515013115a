"""A service behind a proxy, with clients of all kinds: each gets its share, and is known by its own address."""

import json
import threading

import pytest
import requests

from gridcast.serving.client_addresses import parse_networks
from gridcast.serving.payloads import row_pieces
from gridcast.serving.rate_limits import RequestLimits
from small_service import POINT, READINGS, SAMPLED, WATCHED, question, running
from tracking_servers import wait

pytestmark = pytest.mark.xdist_group("serving")
SITE = "https://shop.example"
LARGE = question(SAMPLED, horizon=1000, quantiles=[level / 100 for level in range(1, 100)])


@pytest.fixture(scope="module")
def proxied(shop, tmp_path_factory):
    """Each address may send five requests, each key ten small ones."""
    limits = RequestLimits(rate=0.001, burst=10, address_burst=5)
    with running(
        shop,
        tmp_path_factory.mktemp("proxied"),
        (POINT, SAMPLED, WATCHED),
        limits=limits,
        trusted_proxies=parse_networks(["127.0.0.0/8"]),
        root_path="/forecasts",
        cors_origins=(SITE,),
    ) as found:
        yield found


def new_key(service):
    return service.state.keys.create("test", 600, ["predict"])[1]


def ask(service, method, path, address, **headers):
    return requests.request(method, service.url + path, headers={"X-Forwarded-For": address, **headers}, timeout=60)


def test_clients_behind_a_proxy_have_each_their_own_rate(proxied):
    for client in range(8):
        address, key = f"203.0.113.{client}", new_key(proxied)
        statuses = [ask(proxied, "GET", "/models", address, **{"X-API-Key": key}).status_code for _ in range(6)]
        assert statuses == [200] * 5 + [429]
    liar = [ask(proxied, "GET", "/", f"192.0.2.{number}, 203.0.113.99").status_code for number in range(6)]
    assert liar == [200] * 5 + [429]


def test_the_log_names_the_client_and_warns_of_wrong_admin_tokens(proxied):
    for number in range(5):
        wrong = {"X-Admin-Token": f"guess {number}", "Content-Type": "application/json"}
        answer = requests.post(
            f"{proxied.url}/generate_api_key",
            data='{"name": "x"}',
            headers={"X-Forwarded-For": "198.51.100.1", **wrong},
            timeout=30,
        )
        assert answer.status_code == 401
    lines = proxied.lines()
    assert {line["address"] for line in lines if line.get("route") == "/generate_api_key"} >= {"198.51.100.1"}
    (warning,) = [line for line in lines if line["event"] == "wrong admin tokens"]
    assert (warning["level"], warning["count"], warning["address"]) == ("warning", 5, "198.51.100.1")


def test_a_key_may_come_as_a_bearer_token(proxied):
    key = new_key(proxied)
    assert ask(proxied, "GET", "/models", "203.0.113.50", Authorization=f"Bearer {key}").status_code == 200
    assert ask(proxied, "GET", "/models", "203.0.113.50", Authorization=f"Basic {key}").status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_are_answered_without_a_key_as_often_as_they_ask(proxied, path):
    for method in ["GET"] * 6 + ["HEAD"]:
        answer = ask(proxied, method, path, "203.0.113.60")
        assert answer.status_code == 200
        assert answer.headers["Content-Length"] == str(len(b'{"status":"ok"}'))
    assert ask(proxied, "HEAD", "/", "203.0.113.61").status_code == 200


def test_it_is_not_ready_while_its_keys_cannot_be_read(proxied):
    path = proxied.state.settings.folder / "keys.db"
    aside = path.rename(path.with_suffix(".aside"))
    try:
        assert ask(proxied, "GET", "/readyz", "203.0.113.62").status_code == 503
        assert ask(proxied, "GET", "/healthz", "203.0.113.62").status_code == 200
        refused = ask(proxied, "GET", "/models", "203.0.113.62", **{"X-API-Key": "0123456789abcdef.guessed"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "keys_unavailable")
    finally:
        aside.rename(path)
    assert ask(proxied, "GET", "/readyz", "203.0.113.62").status_code == 200


def test_it_answers_under_the_path_of_its_proxy_and_without(proxied):
    key = {"X-API-Key": new_key(proxied)}
    for path in ("/models", "/forecasts/models", "/forecasts/v1/models"):
        assert ask(proxied, "GET", path, "203.0.113.70", **key).status_code == 200
    assert ask(proxied, "GET", "/forecasts", "203.0.113.71").json()["status"] == "ok"
    page = ask(proxied, "GET", "/forecasts/", "203.0.113.71", Accept="text/html").text
    assert 'data-root-path="/forecasts"' in page
    assert ask(proxied, "GET", "/openapi.json", "203.0.113.71").json()["servers"] == [{"url": "/forecasts"}]
    assert ask(proxied, "GET", "/forecastsmodels", "203.0.113.71", **key).status_code == 404


def test_pages_of_allowed_sites_may_read_answers_and_others_may_not(proxied):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key,content-type"}
    allowed = ask(proxied, "OPTIONS", "/predict", "203.0.113.80", Origin=SITE, **asked)
    assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (200, SITE)
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    refused = ask(proxied, "OPTIONS", "/predict", "203.0.113.80", Origin="https://evil.example", **asked)
    assert "Access-Control-Allow-Origin" not in refused.headers
    without_key = ask(proxied, "GET", "/models", "203.0.113.80", Origin=SITE)
    assert (without_key.status_code, without_key.headers["Access-Control-Allow-Origin"]) == (401, SITE)


def test_the_page_about_the_api_loads_nothing(proxied):
    answer = ask(proxied, "GET", "/docs", "203.0.113.90")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not any(sign in answer.text for sign in ("<script", '<link rel="stylesheet', "://"))
    described = ask(proxied, "GET", "/openapi.json", "203.0.113.90").json()
    for path in described["paths"]:
        assert f"<code>{path}</code>" in answer.text
    for name in described["components"]["schemas"]:
        assert f'id="{name}"' in answer.text


def test_a_large_request_counts_as_many(proxied):
    key, other = new_key(proxied), new_key(proxied)

    def status(key, body, client):
        headers = {"X-API-Key": key, "X-Forwarded-For": f"203.0.113.{client}"}
        return requests.post(f"{proxied.url}/predict", json=body, headers=headers, timeout=60).status_code

    assert [status(key, LARGE, 100), status(key, question(), 101), status(other, question(), 102)] == [200, 429, 200]
    unreadable = question() | {"other": "x" * 2_000_000}  # to read it is work as well
    assert [status(other, unreadable, 103), status(other, question(), 104)] == [422, 429]


@pytest.fixture(scope="module")
def unlimited(shop, tmp_path_factory):
    with running(shop, tmp_path_factory.mktemp("unlimited"), (POINT, SAMPLED, WATCHED)) as found:
        yield found


def test_a_small_request_does_not_wait_for_the_large_ones_of_another(unlimited):
    statuses = []

    def ask_much():
        answer = requests.post(f"{unlimited.url}/predict", json=LARGE, headers={"X-API-Key": unlimited.key}, timeout=60)
        statuses.append(answer.status_code)

    clients = [threading.Thread(target=ask_much) for _ in range(6)]
    other = new_key(unlimited)
    for client in clients:
        client.start()
    wait(lambda: len(unlimited.state.large_work._waiting) >= 3, 30, "the large requests did not come in")
    small = unlimited.post("/predict", json=question(SAMPLED), key=other)
    still_waiting = len(unlimited.state.large_work._waiting)
    large = unlimited.post("/predict", json=LARGE, key=other)
    after_the_turn_of_the_other = len(statuses)
    for client in clients:
        client.join()
    assert (small.status_code, large.status_code, statuses) == (200, 200, [200] * 6)
    assert still_waiting >= 1
    assert after_the_turn_of_the_other < 6


def test_a_request_whose_time_is_up_gives_its_worker_to_others(shop, tmp_path):
    with running(shop, tmp_path, (SAMPLED,), limits=RequestLimits(rate=0, seconds=0.25)) as service:
        both = LARGE | {"series": question(SAMPLED, products=("apple", "pear"))["series"]}
        assert service.post("/predict", json=both).json()["error"]["code"] == "timeout"
        wait(lambda: not service.state.large_work._running, 5, "the worker went on")
        assert service.post("/predict", json=question(SAMPLED)).status_code == 200


def test_large_bodies_get_the_answers_of_small_ones(unlimited, monkeypatch):
    rows = [{"time": str(one.time), "flow": one.flow, "heat": one.heat} for one in READINGS.tail(60).itertuples()]
    asked = [
        ("/predict", question(POINT, 100, ("apple", "pear"))),
        ("/predict", question(POINT, 100) | {"other": 1}),
        ("/predict", json.loads(json.dumps(question(POINT, 100)).replace('"price"', '"dear"', 50))),
        ("/anomalies", {"model": WATCHED, "values": True, "rows": rows}),
    ]

    def answers():
        found = [unlimited.post(path, json=body) for path, body in asked]
        return [(one.status_code, {k: v for k, v in one.json().items() if k != "elapsed_ms"}) for one in found]

    whole = answers()
    monkeypatch.setattr(row_pieces, "PIECE", 1000)
    assert answers() == whole
    assert [status for status, _ in whole] == [200, 422, 422, 200]
