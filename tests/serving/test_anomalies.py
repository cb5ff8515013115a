"""Detectors as their clients meet them: a real server, a real store, a real small network."""

import dataclasses
import io
import json
import pickle

import numpy as np
import pandas as pd
import pytest

from gridcast.runtime.detector import scaled_values
from gridcast.runtime.errors import ConfigError, TrackingError
from gridcast.serving.models import detector_adapter
from gridcast.serving.payloads import schemas
from gridcast.serving.rate_limits import RequestLimits
from gridcast.tracking import model_loading
from small_service import POINT, READINGS, RUNS, WATCHED, question, running

pytestmark = pytest.mark.xdist_group("serving")

FRAME = READINGS.tail(120).drop(columns="anomaly")  # the heat is on from row 40 to row 59


def asked(frame=FRAME, model=WATCHED, **more):
    rows = frame.astype(object).where(frame.notna(), None)
    return {"model": model, "rows": rows.to_dict("records"), **more}


@pytest.fixture(scope="module")
def server(shop, tmp_path_factory):
    """A detector beside a forecaster."""
    with running(shop, tmp_path_factory.mktemp("service"), (POINT, WATCHED, RUNS)) as found:
        yield found


@pytest.fixture(scope="module")
def loaded(shop):
    return model_loading.load_model(f"models:/{WATCHED}@champion", shop.uri)


def scores(body):
    """The scores of a response that are not null, by time."""
    known = {step["time"]: step["score"] for step in body["scores"] if step["score"] is not None}
    return pd.Series(known.values(), pd.to_datetime(list(known)))


def test_a_detector_says_over_http_what_it_says_in_python(server, shop, loaded):
    answer = server.post("/anomalies", json=asked())
    assert answer.status_code == 200
    body, own = answer.json(), loaded.predict(FRAME)
    np.testing.assert_allclose(scores(body), own["score"], rtol=1e-4)
    assert schemas.AnomalyResponse.model_validate(body).model_dump(exclude_unset=True) == body  # as it is described
    assert scores(body).index.tolist() == own["time"].tolist()
    assert body["threshold"] == loaded.model.threshold
    flags = [step["anomaly"] for step in body["scores"]]
    assert flags == (own.set_index("time")["anomaly"].reindex(pd.to_datetime(FRAME["time"])).eq(True)).tolist()
    assert (body["model"], body["version"], body["run_id"]) == (WATCHED, "1", shop.run_ids[WATCHED])
    assert body["elapsed_ms"] > 0
    assert not body["beaten_by_baseline"]
    assert server.post("/v1/anomalies", json=asked()).json()["scores"] == body["scores"]


def test_events_have_start_end_severity_and_sensors(server):
    body = server.post("/anomalies", json=asked()).json()
    worst = max(body["events"], key=lambda event: event["severity"])
    above = [step["time"] for step in body["scores"] if step["anomaly"]]
    assert sum(event["steps"] for event in body["events"]) == len(above)
    assert worst["start"] <= "2024-01-01T06:50:00" <= worst["end"]
    assert {worst["start"], worst["end"]} <= set(above)
    assert worst["peak"] == max(step["score"] for step in body["scores"] if step["score"] is not None)
    assert worst["severity"] == pytest.approx(worst["peak"] / body["threshold"])
    assert worst["blame"][0]["sensor"] == "heat"
    assert sum(one["share"] for one in worst["blame"]) == pytest.approx(1)


def test_a_running_threshold_is_given_with_each_step(server, shop):
    body, loaded = (
        server.post("/anomalies", json=asked(model=RUNS)).json(),
        model_loading.load_model(f"models:/{RUNS}@champion", shop.uri),
    )
    own = loaded.predict(FRAME).set_index("time").reindex(pd.to_datetime(FRAME["time"]))
    assert schemas.AnomalyResponse.model_validate(body).model_dump(exclude_unset=True) == body
    limits = pd.Series([step["threshold"] for step in body["scores"]], own.index)
    np.testing.assert_allclose(limits[own["threshold"].notna()], own["threshold"].dropna(), rtol=1e-4)
    assert limits.iloc[0] == pytest.approx(body["threshold"]) == pytest.approx(loaded.model.threshold)
    assert limits.iloc[-1] > 2 * limits.iloc[0]  # the heat was on
    assert [step["anomaly"] for step in body["scores"]] == own["anomaly"].eq(True).tolist()
    assert body["events"]
    adopted = dataclasses.replace(detector_adapter.adapt(loaded.model), network=None)
    assert b"gridcast_model" not in pickle.dumps(adopted)  # which the process that answers does not know
    answer = server.post(f"/anomalies_csv?model={RUNS}", files={"file": ("a.csv", FRAME.to_csv(index=False))})
    table = pd.read_csv(io.StringIO(answer.text))
    np.testing.assert_allclose(table["threshold"], limits, rtol=1e-6)


def test_what_was_not_seen_has_no_score_and_is_no_event(server):
    frame = FRAME.copy()
    frame.loc[frame.index[50], "heat"] = np.nan
    frame = frame.drop(frame.index[80])
    body = server.post("/anomalies", json=asked(frame, values=True)).json()
    steps = body["scores"]
    assert [step["time"] for step in steps] == pd.to_datetime(FRAME["time"]).dt.strftime("%Y-%m-%dT%H:%M:%S").tolist()
    for hole in (50, 80):
        assert (steps[hole]["score"], steps[hole]["anomaly"]) == (None, False)
    assert steps[50]["values"] == {"flow": FRAME["flow"].iloc[50], "heat": None}
    assert steps[80]["values"] == {"flow": None, "heat": None}
    assert not any(event["start"] <= steps[50]["time"] <= event["end"] for event in body["events"])


def test_requests_that_go_through_the_network_together_are_answered_as_alone(loaded):
    own = detector_adapter.adapt(loaded.model)
    tables = [FRAME, FRAME.tail(9), FRAME.head(40)]
    parts = [scaled_values(own.preprocessing, own.read_table(table)[1]) for table in tables]
    for part, together in zip(parts, detector_adapter.batch_contributions(own, parts), strict=True):
        (alone,) = detector_adapter.batch_contributions(own, [part])
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(together, own.contributions(part), rtol=1e-4, atol=1e-6)


def test_its_example_is_answered_and_shows_an_anomaly(server):
    (own,) = [one for one in server.get("/models").json()["models"] if one["model"] == WATCHED]
    known = {name: own[name] for name in ("task", "time", "series", "examples", "horizon", "target", "keys")}
    assert known == {
        "task": "anomaly",
        "time": "time",
        "series": ["flow", "heat"],
        "examples": ["flow", "heat"],
        "horizon": None,
        "target": None,
        "keys": [],
    }
    given = server.get(f"/models/{WATCHED}/example").json()
    assert set(given["rows"][0]) == {"time", "flow", "heat"}
    body = server.post("/anomalies", json=given).json()
    assert body["events"]
    assert body["threshold"] == own["threshold"]
    assert server.get(f"/models/{WATCHED}/example?series=secret").status_code == 404


def test_each_kind_of_model_has_its_own_door(server):
    file = {"file": ("sensors.csv", FRAME.to_csv(index=False).encode())}
    for answer, code, remedy in (
        (server.post("/anomalies", json=asked(model=POINT)), "no_detector", "POST /predict"),
        (server.post(f"/anomalies_csv?model={POINT}", files=file), "no_detector", "POST /predict"),
        (server.post("/predict", json=question() | {"model": WATCHED}), "no_forecaster", "POST /anomalies"),
        (server.post(f"/predict_csv?model={WATCHED}", files=file), "no_forecaster", "POST /anomalies"),
    ):
        assert answer.status_code == 422
        assert (answer.json()["error"]["code"], answer.json()["error"]["where"]) == (code, "model")
        assert remedy in answer.json()["error"]["message"]
    assert server.post("/anomalies", json=asked(model="none")).status_code == 404


# Files


@pytest.mark.parametrize("how", [{}, {"sep": ";", "decimal": ","}], ids=["commas", "semicolons"])
def test_a_csv_comes_back_as_csv(server, loaded, how):
    file = {"file": ("sensors.csv", READINGS.tail(120).to_csv(index=False, **how).encode())}
    answer = server.post(f"/anomalies_csv?model={WATCHED}", files=file)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert answer.headers["X-Version"] == "1"
    found = pd.read_csv(io.StringIO(answer.text), parse_dates=["time"])
    pd.testing.assert_frame_equal(found, loaded.predict(FRAME), rtol=1e-4, check_dtype=False)


def test_a_csv_comes_back_as_json_with_its_values_where_asked_for(server):
    file = {"file": ("sensors.csv", FRAME.to_csv(index=False).encode())}
    path = f"/anomalies_csv?model={WATCHED}&values=true"
    body = server.post(path, files=file, headers={"Accept": "application/json"}).json()
    plain = server.post("/anomalies", json=asked(values=True)).json()
    for name in ("scores", "events", "threshold"):
        assert body[name] == plain[name]


# Input that is wrong: 422, with the place


def step(at, **fields):
    given = asked(FRAME.head(10))
    given["rows"][at] = {name: value for name, value in (given["rows"][at] | fields).items() if value is not ...}
    return given


WRONG = {
    "text": (step(3, heat="many"), "rows[3].heat"),
    "true": (step(3, heat=True), "rows[3].heat"),
    "NaN": (step(3, heat=float("nan")), "rows[3].heat"),
    "infinite": (step(3, heat=float("inf")), "rows[3].heat"),
    "too large for a network": (step(3, heat=1e31), "rows[3].heat"),
    "no sensor": (step(3, heat=...), "rows[3].heat"),
    "an unknown sensor": (step(3, secret=1.0), "rows[3]"),
    "no time": (step(3, time=...), "rows[3].time"),
    "no date": (step(3, time="soon"), "rows[3].time"),
    "wrong order": (step(3, time="2023-01-01"), "rows[3].time"),
    "duplicate": (step(3, time=FRAME["time"].iloc[2]), "rows[3].time"),
    "future": (step(9, time="2999-01-01"), "rows[9].time"),
    "off the axis": (step(9, time="2024-01-01T07:00:30"), "rows"),
    "off by centuries": (step(0, time="1723-01-01"), "rows"),
    "short": (asked(FRAME.head(6)), "rows"),
    "no rows": (asked(FRAME.head(0)), "rows"),
    "rows of something else": ({"model": WATCHED, "rows": 3}, "rows"),
    "unknown field": (asked(secret=1), "body"),
    "values of text": (asked(values="many"), "values"),
}


@pytest.mark.parametrize(("given", "where"), WRONG.values(), ids=WRONG)
def test_wrong_rows_are_refused_with_their_place_and_never_shown(server, given, where):
    answer = server.post("/anomalies", data=json.dumps(given), headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]["where"] == where
    for sent in ("secret", "many", "soon", "2999"):
        assert sent not in answer.text


TEXT = FRAME.to_csv(index=False)
BAD_FILES = {
    "no sensor": (FRAME.drop(columns="heat").to_csv(index=False), "line 1"),
    "no number": (TEXT + "2024-01-01 08:00,20,secret\n", "line 122, column 'heat'"),
    "too large for a network": (TEXT + "2024-01-01 08:00,20,1e31\n", "row 121, column 'heat'"),
    "future": (TEXT + "2999-01-01 08:00,20,300\n", "row 121 with a value, column 'time'"),
    "duplicate": (TEXT + "2024-01-01 07:00,20,300\n", "row 120"),
    "short": (FRAME.head(3).to_csv(index=False), "file"),
}


@pytest.mark.parametrize(("text", "where"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_wrong_file_is_refused_with_its_place_and_never_shown(server, text, where):
    answer = server.post(f"/anomalies_csv?model={WATCHED}", files={"file": ("secret.csv", text.encode())})
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, where)
    assert "secret" not in answer.text


# Limits, versions, counts


def test_its_limits_its_exchange_and_its_counts(shop, tmp_path):
    name = "exchanged"
    shop.champion(name, WATCHED)
    with running(shop, tmp_path, (name,), limits=RequestLimits(rate=0, rows=100)) as found:
        refused = found.post("/anomalies", json=asked(model=name)).json()["error"]
        assert (refused["code"], refused["where"]) == ("limit_rows", "rows")
        file = {"file": ("sensors.csv", TEXT.encode())}
        assert found.post(f"/anomalies_csv?model={name}", files=file).json()["error"]["code"] == "limit_rows"
        few = asked(FRAME.head(50), name)
        assert found.post("/anomalies", json=few).json()["version"] == "1"
        assert shop.champion(name, WATCHED) == "2"
        found.state.models.refresh()
        assert found.post("/anomalies", json=few).json()["version"] == "2"
        assert shop.champion(name, POINT) == "3"  # a forecaster of the same name
        found.state.models.refresh()
        assert found.post("/anomalies", json=few).json()["error"]["code"] == "no_detector"
        assert found.get("/").json()["status"] == "ok"
        assert f'gridcast_steps_total{{model="{name}"}} 100.0' in found.get("/metrics").text


def test_without_kept_values_a_usual_table_is_the_sample(loaded):
    own = detector_adapter.adapt(loaded.model)
    detector_adapter.check(own, loaded, ())
    assert len(detector_adapter.sample_table(own)) == own.min_table_steps + 1


def test_a_detector_that_makes_no_numbers_is_not_served(shop):
    loaded = model_loading.load_model(f"models:/{WATCHED}@champion", shop.uri)
    network = loaded.model.network
    network.set_weights([weight * np.nan for weight in network.get_weights()])
    with pytest.raises(TrackingError, match="none of its scores of a sample is a finite number"):
        detector_adapter.check(detector_adapter.adapt(loaded.model), loaded, ())


def test_no_challenger_is_asked_beside_a_detector(shop, tmp_path):
    with (
        pytest.raises(ConfigError, match="--shadow: 'watched' is an anomaly detector"),
        running(shop, tmp_path, (WATCHED,), shadows={WATCHED: f"models:/{WATCHED}@champion"}),
    ):
        pass
