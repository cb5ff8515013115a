"""The service as its clients meet it: a real server, a real store, real small networks."""

import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from gridcast.tracking import model_loading
from small_service import DAYS, ENSEMBLE, FRAME, KINDS, POINT, QUANTILES, ROUTED, SAMPLED, TOKEN, WATCHED, question

pytestmark = pytest.mark.xdist_group("serving")


def values(answer, level=None):
    """The forecasts (series, steps) of an answer, or its quantiles."""
    points = [one["points"] for one in answer["forecasts"]]
    return [[p["quantiles"][level] if level else p["value"] for p in series] for series in points]


def direct(shop, name, table, **asked):
    found = model_loading.load_model(f"models:/{name}@champion", shop.uri).predict(table, **asked)
    return found.assign(date=found["date"].dt.strftime("%Y-%m-%d"))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_model_says_over_http_what_it_says_in_python(server, shop, name):
    levels = [0.1, 0.9] if name in (QUANTILES, SAMPLED) else None
    horizon = 2 if name == QUANTILES else 3
    asked = question(name, DAYS, ("apple", "pear"), horizon=horizon, **({"quantiles": levels} if levels else {}))
    answer = server.post("/predict", json=asked)
    assert answer.status_code == 200
    own = direct(shop, name, FRAME, horizon=horizon, quantiles=levels)
    body = answer.json()
    np.testing.assert_allclose(np.ravel(values(body)), own["forecast"], rtol=1e-5)
    for level in levels or ():
        np.testing.assert_allclose(np.ravel(values(body, f"{level:g}")), own[f"q{level:g}"], rtol=1e-5)
    points = [point for series in body["forecasts"] for point in series["points"]]
    assert [point["time"] for point in points] == own["date"].tolist()
    assert [point["rolled_forward"] for point in points] == own["rolled_forward"].tolist()
    assert [series["id"] for series in body["forecasts"]] == ["apple", "pear"]
    answered = [series.get("answered_by") for series in body["forecasts"]]
    assert answered == (["GRU for apples", "seasonal naive"] if name == ROUTED else [None, None])


def test_an_answer_says_who_gave_it_and_whether_a_baseline_beats_it(server, shop):
    body = server.post("/predict", json=question(ROUTED)).json()
    assert {name: body[name] for name in ("model", "version", "run_id", "beaten_by_baseline", "beaten_by")} == {
        "model": ROUTED,
        "version": "1",
        "run_id": shop.run_ids[ROUTED],
        "beaten_by_baseline": True,
        "beaten_by": "last value",
    }
    assert body["elapsed_ms"] > 0
    assert not server.post("/predict", json=question()).json()["beaten_by_baseline"]


def test_a_probabilistic_model_returns_its_own_quantiles_by_default(server):
    (series,) = server.post("/predict", json=question(QUANTILES)).json()["forecasts"]
    for point in series["points"]:
        assert list(point["quantiles"]) == ["0.1", "0.5", "0.9"]
        assert sorted(point["quantiles"].values()) == list(point["quantiles"].values())
        assert point["quantiles"]["0.5"] == point["value"]


def test_every_path_answers_under_v1_too(server):
    old, new = (server.post(path, json=question()).json() for path in ("/predict", "/v1/predict"))
    assert values(old) == values(new)
    assert server.get("/v1/models").json() == server.get("/models").json()
    assert server.get("/v1/").json()["status"] == "ok"


def test_requests_at_once_of_different_dates_and_lengths_get_each_their_own_answer(server):
    asked = []
    for number in range(24):
        one = question(POINT, 30, ("apple", "pear")[: 1 + number % 2], horizon=1 + number % 3)
        for series in one["series"]:
            series["history"] = series["history"][number % 5 : 20 + number % 10]
        asked.append(one)
    alone = [values(server.post("/predict", json=one).json()) for one in asked]
    with ThreadPoolExecutor(24) as clients:
        together = list(clients.map(lambda one: values(server.post("/predict", json=one).json()), asked))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize(("product", "horizon"), [("apple", 1), ("apple", 2), ("pear", 1), ("pear", 3)])
def test_other_values_on_days_that_were_seen_before_get_their_own_forecast(server, shop, product, horizon):
    """Time axes and calendar channels are cached, values are not."""
    draw = np.random.default_rng(horizon)
    for _ in range(2):
        table = FRAME[FRAME["product"] == product].tail(30)
        table = table.assign(quantity=draw.uniform(0, 300, 30), price=draw.uniform(0, 300, 30))
        history = [
            {"time": date, "value": value, "price": price}
            for date, value, price in table[["date", "quantity", "price"]].itertuples(index=False)
        ]
        body = {"model": POINT, "horizon": horizon, "series": [{"id": product, "history": history}]}
        (forecast,) = values(server.post("/predict", json=body).json())
        np.testing.assert_allclose(forecast, direct(shop, POINT, table, horizon=horizon)["forecast"], rtol=1e-5)


def test_stamps_of_days_with_an_offset_are_local_days_and_answers_have_none(server):
    asked = question()
    plain = server.post("/predict", json=asked).json()
    for step in asked["series"][0]["history"]:
        step["time"] += "T00:00:00+02:00"
    zoned = server.post("/predict", json=asked).json()
    assert zoned["forecasts"] == plain["forecasts"]


def test_an_example_is_a_request_that_is_answered(server):
    known = {one["model"]: one for one in server.get("/models").json()["models"]}
    assert known[POINT]["examples"] == ["apple", "pear"]
    asked = server.get(f"/models/{POINT}/example?series=pear").json()
    assert [series["id"] for series in asked["series"]] == ["pear"]
    assert asked["series"][0]["history"][-1]["time"] == FRAME["date"].iloc[-1]
    assert server.post("/predict", json=asked).status_code == 200
    assert server.get(f"/models/{POINT}/example?series=plum").status_code == 404


def test_models_describe_their_inputs(server, shop):
    known = {one["model"]: one for one in server.get("/models").json()["models"]}
    assert set(known) == {*KINDS, WATCHED}
    own = known[SAMPLED]
    assert own["run_id"] == shop.run_ids[SAMPLED]
    fields = ("task", "frequency", "lookback", "horizon", "time", "target", "keys", "past", "future")
    assert {name: own[name] for name in fields} == {
        "task": "probabilistic",
        "frequency": "D",
        "lookback": 7,
        "horizon": 2,
        "time": "date",
        "target": "quantity",
        "keys": ["product"],
        "past": ["price"],
        "future": [],
    }
    assert (own["quantiles"], known[POINT]["quantiles"]) == ([0.1, 0.5, 0.9], None)


# Files


def csv(frame=FRAME, **how):
    return {"file": ("sales.csv", frame.to_csv(index=False, **how).encode())}


DIALECTS = {
    "semicolons and decimal commas": {"sep": ";", "decimal": ","},
    "tabs": {"sep": "\t"},
}


@pytest.mark.parametrize("how", DIALECTS.values(), ids=DIALECTS)
def test_a_csv_of_any_dialect_comes_back_as_csv(server, shop, how):
    answer = server.post(f"/predict_csv?model={POINT}&horizon=3", files=csv(**how))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    found = pd.read_csv(io.StringIO(answer.text))
    expected = direct(shop, POINT, FRAME, horizon=3)
    assert list(found) == ["product", "date", "forecast", "rolled_forward"]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)
    shown = {name: answer.headers[f"X-{name}"] for name in ("Model", "Version", "Run-Id", "Beaten-By-Baseline")}
    assert shown == {"Model": POINT, "Version": "1", "Run-Id": shop.run_ids[POINT], "Beaten-By-Baseline": "false"}


@pytest.mark.parametrize("name", KINDS)
def test_a_csv_gets_the_answer_of_the_json_door_as_json(server, name):
    own = server.post(f"/predict_csv?model={name}", files=csv(), headers={"Accept": "application/json"}).json()
    other = server.post("/predict", json=question(name, DAYS, ("apple", "pear"))).json()
    for one, same in zip(own["forecasts"], other["forecasts"], strict=True):
        assert one["id"] == same["id"]
        assert one.get("answered_by") == same.get("answered_by")
        for point, equal in zip(one["points"], same["points"], strict=True):
            assert point["time"] == equal["time"]
            assert point["value"] == pytest.approx(equal["value"], rel=1e-5)
            assert point.get("quantiles", {}) == pytest.approx(equal.get("quantiles", {}), rel=1e-5)


def test_the_history_of_a_csv_comes_back_where_it_is_asked_for(server):
    path = f"/predict_csv?model={POINT}&history=4&quantiles="
    answer = server.post(path.removesuffix("&quantiles="), files=csv(), headers={"Accept": "application/json"})
    (apple, pear) = answer.json()["forecasts"]
    own = FRAME[FRAME["product"] == "pear"].tail(4)
    assert [step["time"] for step in pear["history"]] == own["date"].tolist()
    assert [step["value"] for step in pear["history"]] == own["quantity"].tolist()
    assert len(apple["history"]) == 4


# Input that is wrong: 422, with the place


def changed(**series):
    asked = question(steps=10)
    asked["series"][0] |= series
    return asked


def step(at, **fields):
    asked = question(steps=10)
    history = asked["series"][0]["history"]
    history[at] = {name: value for name, value in (history[at] | fields).items() if value is not ...}
    return asked


def future(*rows):
    return changed(future=list(rows))


EARLIER = FRAME["date"].iloc[0]
WRONG = {
    "no number": (step(3, value="many"), "series[0].history[3].value"),
    "null": (step(3, value=None), "series[0].history[3].value"),
    "true": (step(3, value=True), "series[0].history[3].value"),
    "NaN": (step(3, value=float("nan")), "series[0].history[3].value"),
    "infinite": (step(3, value=float("-inf")), "series[0].history[3].value"),
    "too large for any number": (step(3, value=10**400), "series[0].history[3].value"),
    "covariate NaN": (step(3, price=float("nan")), "series[0].history[3].price"),
    "covariate infinite": (step(3, price=float("inf")), "series[0].history[3].price"),
    "covariate text": (step(3, price="dear"), "series[0].history[3].price"),
    "ragged": (step(3, price=...), "series[0].history[3].price"),
    "one column too many": (step(3, colour=1), "series[0].history[3]"),
    "no value": (step(3, value=...), "series[0].history[3].value"),
    "no time": (step(3, time=...), "series[0].history[3].time"),
    "no date": (step(3, time="soon"), "series[0].history[3].time"),
    "day first": (step(3, time="31/12/2022"), "series[0].history[3].time"),
    "wrong order": (step(3, time=EARLIER), "series[0].history[3].time"),
    "duplicate": (step(3, time=FRAME["date"].iloc[-8]), "series[0].history[3].time"),
    "future": (step(9, time="2999-01-01"), "series[0].history[9].time"),
    "before all": (step(0, time="0001-01-01"), "series[0].history[0].time"),
    "off by centuries": (step(0, time="1723-01-01"), "series"),
    "empty history": (changed(history=[]), "series[0].history"),
    "short history": (question(steps=6), "series[0]"),
    "no series": (question(products=()), "series"),
    "unknown series": (changed(id="secret"), "series[0].id"),
    "no id": (changed(id=None), "series[0].id"),
    "series twice": (question(products=("apple", "apple")), "series[1].id"),
    "a future without columns": (future({"time": "2023-05-12"}), "series[0].future"),
    "horizon 0": (question(horizon=0), "horizon"),
    "horizon text": (question(horizon="7"), "horizon"),
    "horizon too far": (question(horizon=1001), "horizon"),
    "quantiles of a model without": (question(quantiles=[0.5]), "quantiles"),
    "a level of 1": (question(QUANTILES, quantiles=[1.0]), "quantiles[0]"),
    "a level that was not trained": (question(QUANTILES, quantiles=[0.01]), "quantiles"),
    "too many levels": (question(SAMPLED, quantiles=[k / 1000 for k in range(1, 200)]), "quantiles"),
    "unknown field": (question(horizons=3), "body"),
    "too large for a network": (step(9, value=1e31), "series[0].history[9].value"),
    "covariate too large": (step(9, price=-1e31), "series[0].history[9].price"),
    "a list": ([], "body"),
    "nothing": (None, "body"),
}


@pytest.mark.parametrize(("asked", "where"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_refused_with_its_place_and_never_shown(server, asked, where):
    body = json.dumps(asked)
    answer = server.post("/predict", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["where"] == where
    assert set(error) == {"code", "message", "where"}
    for sent in ("secret", "many", "soon", "dear", "colour", "horizons", "2999", "31/12"):
        assert sent not in answer.text


def test_what_is_no_json_is_refused(server):
    for body in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"model": ' + b"1" * 5000 + b"}", b'"\\ud800"'):
        answer = server.post("/predict", data=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["where"]) == (422, "body")


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/vnd.sales+json", 200),
        ("text/plain", 422),
        ("application/jsonish", 422),
        ("", 422),
    ],
)
def test_only_what_is_called_json_is_read_as_such(server, media, status):
    answer = server.post("/predict", data=json.dumps(question()), headers={"Content-Type": media})
    assert answer.status_code == status
    if status == 422:
        assert (answer.json()["error"]["code"], answer.json()["error"]["where"]) == ("invalid_body", "body")


TEXT = csv()["file"][1]
BAD_FILES = {
    "empty": (b"", "line 1"),
    "no header": (b"\n\na,b\n", "line 1"),
    "no rows": (b"date,product,quantity,price\n", "file"),
    "binary": (b"PK\x03\x04\x00\x00", "file"),
    "another table": (b"secret,other\n1,2\n", "line 1"),
    "no number": (TEXT.replace(b"03-02,apple,", b"03-02,apple,secret"), "line 61, column 'quantity'"),
    "no date": (TEXT.replace(b"2023-03-02", b"secret", 1), "line 61, column 'date'"),
    "unknown series": (TEXT.replace(b"pear", b"secret"), "file"),
    "duplicate": (csv(pd.concat([FRAME, FRAME.iloc[-1:]]))["file"][1], "row 260"),
    "infinite": (csv(FRAME.assign(quantity=FRAME["quantity"].where(FRAME.index != 5, np.inf)))["file"][1], None),
    "future": (csv(FRAME.replace(FRAME["date"].iloc[-1], "2999-01-01"))["file"][1], None),
    "short": (csv(FRAME.tail(3))["file"][1], "file"),
    "a quote that is not closed": (b'date,product,quantity,price\n2023-01-01,"apple,1,2\n', None),
    "a huge field": (b"date,product,quantity,price\n" + b"a" * 200_000 + b",secret,1,2,3\n", None),
}


@pytest.mark.parametrize(("content", "where"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_wrong_file_is_refused_with_its_place_and_never_shown(server, content, where):
    answer = server.post(f"/predict_csv?model={POINT}", files={"file": ("secret.csv", content)})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert where in (None, error["where"])
    assert error["where"]
    assert "secret" not in answer.text
    assert "/tmp" not in answer.text


def test_what_is_no_upload_is_refused(server):
    path = f"/predict_csv?model={POINT}"
    assert server.post(path).json()["error"]["where"] == "file"
    assert server.post(path, data={"file": "text"}).status_code == 422
    broken = server.post(path, data=b"--x\r\nbroken", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert broken.status_code == 422
    assert server.post("/predict_csv", files=csv()).json()["error"]["where"] == "model"
    for given in ("horizon=0", "horizon=x", "quantiles=x", "quantiles=0.5", "quantiles=0.0", "history=-1"):
        answer = server.post(f"{path}&{given}", files=csv())
        assert (answer.status_code, answer.json()["error"]["where"]) == (422, given.partition("=")[0])


def test_a_model_that_is_not_served_is_not_found(server):
    for path, more in (
        ("/predict", {"json": question("secret")}),
        ("/predict_csv?model=secret", {"files": csv()}),
        ("/anomalies", {"json": {"model": "secret", "rows": [{"time": "2023-01-01", "sensor": 1.0}]}}),
    ):
        answer = server.post(path, **more)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_model")
        assert "secret" not in answer.text


def test_a_forecaster_is_no_detector(server):
    rows = [{"time": "2023-01-01", "sensor": 1.0}]
    answer = server.post("/anomalies", json={"model": POINT, "rows": rows})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "no_detector")


def test_unknown_paths_and_methods_are_refused_in_the_same_form(server):
    error = server.get("/secret").json()["error"]
    assert error == {"code": "no_path", "message": "there is no such path", "where": None}
    wrong = server.get("/predict")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"]["code"] == "no_method"


# The state of the service


def test_health_needs_no_key(server, shop):
    body = server.get("/", key="none").json()
    assert (body["status"], body["degraded"]) == ("ok", [])
    assert body["models"][POINT] == {"version": "1", "run_id": shop.run_ids[POINT], "beaten_by_baseline": False}
    assert body["uptime_seconds"] >= 0


def test_metrics_count_what_was_asked(server):
    def count(text, line):
        return next((float(row.split()[-1]) for row in text.splitlines() if row.startswith(line)), 0.0)

    line = 'gridcast_requests_total{route="/predict",status="200"}'
    before = server.get("/metrics").text
    server.post("/predict", json=question(ENSEMBLE, products=("apple", "pear")))
    after = server.get("/metrics").text
    assert count(after, line) == count(before, line) + 1
    series = f'gridcast_series_total{{model="{ENSEMBLE}"}}'
    assert count(after, series) == count(before, series) + 2
    assert count(after, f'gridcast_model_version{{model="{ENSEMBLE}"}}') == 1


def test_the_log_has_a_line_of_json_for_each_request_and_nothing_that_was_sent(server):
    answer = server.post("/predict", json=question(products=("pear",)))
    refused = server.post("/predict", json=question("no-such-model"))
    server.get("/secret-path")
    server.get("/api_keys/secret-id")
    lines = {line.get("request"): line for line in server.lines()}
    line = lines[answer.headers["X-Request-ID"]]
    key = server.key.partition(".")[0]
    shown = {name: line[name] for name in ("event", "method", "route", "status", "key", "model", "rows")}
    assert shown == {
        "event": "answered",
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "key": key,
        "model": POINT,
        "rows": 14,
    }
    assert line["ms"] > 0
    assert lines[refused.headers["X-Request-ID"]]["status"] == 404
    for sent in ("pear", "no-such-model", "secret", TOKEN, server.key.partition(".")[2], FRAME["date"].iloc[-1]):
        assert sent not in server.logged()


def test_the_documents_are_there_for_everybody(server):
    assert "<code>/predict_csv</code>" in server.get("/docs", key="none").text
    paths = server.get("/openapi.json", key="none").json()["paths"]
    assert {
        "/",
        "/predict",
        "/predict_csv",
        "/anomalies",
        "/anomalies_csv",
        "/models",
        "/metrics",
        "/generate_api_key",
    } <= set(paths)
