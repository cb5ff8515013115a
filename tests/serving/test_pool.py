"""Versions are exchanged while requests go on, and a bad one never takes the place of a good one."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests

from gridcast.runtime.errors import TrackingError
from gridcast.runtime.input_rows import InputRows
from gridcast.serving.models import forecaster_adapter
from gridcast.tracking import addresses, mlflow_runs, model_loading, registry, run_recording
from gridcast.tracking.registry import BEATEN_BY_TAG, CHAMPION
from gridcast.tracking.store import connect
from small_service import FRAME, KINDS, NEXT, POINT, QUANTILES, question, running
from tracking_servers import wait

pytestmark = pytest.mark.xdist_group("serving")


def name_of(request):
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)


@pytest.fixture
def own(request, shop):
    """A registered model of each test's own, whose first champion is POINT."""
    name = name_of(request)
    shop.champion(name, POINT)
    return name


def version(found, name):
    return found.get("/").json()["models"][name]["version"]


def test_a_moved_alias_is_followed_and_no_request_fails_meanwhile(shop, tmp_path, own):
    with running(shop, tmp_path, (own,), poll_seconds=0.05) as found:
        expected = {}
        for number, kind in (("1", POINT), ("2", NEXT)):
            table = FRAME[FRAME["product"] == "apple"].tail(14)
            expected[number] = (
                model_loading.load_model(f"models:/{POINT}@champion", shop.uri) if kind == POINT else None
            )
            loaded = expected[number] or model_loading.load_model(f"runs:/{shop.run_ids[NEXT]}/model", shop.uri)
            expected[number] = loaded.predict(table)["forecast"].tolist()
        ended, answers = threading.Event(), []

        def client():
            session = requests.Session()
            while not ended.is_set():
                url, headers = f"{found.url}/predict", {"X-API-Key": found.key}
                answers.append(session.post(url, json=question(own), headers=headers, timeout=30))
            session.close()

        with ThreadPoolExecutor(4) as clients:
            for _ in range(4):
                clients.submit(client)
            try:
                for number, kind in (("2", NEXT), ("3", POINT), ("4", NEXT)):
                    assert shop.champion(own, kind) == number
                    wait(lambda wanted=number: version(found, own) == wanted, 30, "the version was not exchanged")
            finally:
                ended.set()
        assert {answer.status_code for answer in answers} == {200}
        seen = set()
        for answer in answers:
            body = answer.json()
            seen.add(body["version"])
            values = [point["value"] for point in body["forecasts"][0]["points"]]
            np.testing.assert_allclose(values, expected["1" if body["version"] in "13" else "2"], rtol=1e-4)
        assert len(seen) >= 2
        assert found.state.models.swaps == 3
        assert [line["version"] for line in found.lines() if line["event"] == "swapped"] == ["2", "3", "4"]


def broken(shop, name, where):
    """A new champion whose files are damaged."""
    client, _ = connect(shop.uri)
    run = client.get_run(shop.run_ids[NEXT])
    files = model_loading.download_files(f"models:/{registry.logged_model_id(client, run)}")
    from gridcast.tracking.run_recording import RunEntry
    from gridcast.tracking.store import Store

    parent = mlflow_runs.sweep_id(run)
    store = Store(client, shop.uri, run.info.experiment_id)
    run_id = run_recording.record_run(store, parent, RunEntry(name, "run", name, files=files, backend="jax"))
    logged = client.get_logged_model(registry.logged_model_id(client, client.get_run(run_id)))
    path = Path(logged.artifact_location) / "data" / "model.keras"
    path.write_bytes(b"nothing")
    return shop.__class__(shop.uri, {**shop.run_ids, "broken": run_id}).champion(name, "broken")


def test_a_version_that_cannot_be_loaded_leaves_the_old_one_and_is_reported(shop, tmp_path, own):
    with running(shop, tmp_path, (own,)) as found:
        assert broken(shop, own, tmp_path) == "2"
        found.state.models.refresh()
        body = found.get("/").json()
        assert (body["status"], body["degraded"], body["models"][own]["version"]) == ("degraded", [own], "1")
        assert found.post("/predict", json=question(own)).json()["version"] == "1"
        (described,) = found.get("/models").json()["models"]
        assert "cannot be loaded" in described["problem"]
        assert f'gridcast_degraded{{model="{own}"}} 1.0' in found.get("/metrics").text
        assert [line["model"] for line in found.lines() if line["event"] == "degraded"] == [own]
        assert shop.champion(own, NEXT) == "3"
        found.state.models.refresh()
        body = found.get("/").json()
        assert (body["status"], body["models"][own]["version"]) == ("ok", "3")


def test_without_its_registry_a_service_goes_on_and_says_so(shop, tmp_path, own):
    with running(shop, tmp_path, (own,)) as found:
        client, _ = connect(shop.uri)
        client.delete_registered_model_alias(own, CHAMPION)
        found.state.models.refresh()
        assert found.get("/").json()["status"] == "degraded"
        assert found.post("/predict", json=question(own)).status_code == 200


def test_tags_that_change_are_read_again_without_a_new_model(shop, tmp_path, own):
    with running(shop, tmp_path, (own,)) as found:
        before = found.state.models.get(own).forecaster
        client, _ = connect(shop.uri)
        client.set_model_version_tag(own, "1", BEATEN_BY_TAG, "last value")
        found.state.models.refresh()
        assert found.post("/predict", json=question(own)).json()["beaten_by"] == "last value"
        assert found.state.models.get(own).forecaster is before
        assert found.state.models.swaps == 0


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_kept_example_a_usual_history_is_the_sample(shop, kind):
    loaded = model_loading.load_model(f"models:/{kind}@champion", shop.uri)
    own = forecaster_adapter.adapt(loaded.model)
    forecaster_adapter.check(own, loaded, ())
    table = forecaster_adapter.sample_history(own.preprocessing)
    assert table["product"].unique().tolist() == ["apple"]
    assert table["quantity"].notna().sum() >= 7


def test_a_model_that_makes_no_numbers_is_not_served(shop):
    loaded = model_loading.load_model(f"models:/{POINT}@champion", shop.uri)
    network = loaded.model.network
    network.set_weights([weight * np.nan for weight in network.get_weights()])
    with pytest.raises(TrackingError, match="cannot forecast its sample: .*not a finite number"):
        forecaster_adapter.check(forecaster_adapter.adapt(loaded.model), loaded, ())


def test_a_model_whose_own_code_says_something_else_is_not_served(shop):
    loaded = model_loading.load_model(f"models:/{POINT}@champion", shop.uri)
    other = model_loading.load_model(f"runs:/{shop.run_ids[NEXT]}/model", shop.uri).model
    with pytest.raises(TrackingError, match="was made by a version of gridcast that forecasts differently"):
        forecaster_adapter.check(forecaster_adapter.adapt(other), loaded, ())


def test_a_model_that_is_not_there_stops_the_start_with_a_near_miss(shop, tmp_path):
    with (
        pytest.raises(TrackingError, match="no registered model 'quantile'; did you mean 'quantiles'"),
        running(shop, tmp_path, ("quantile",)),
    ):
        pass


def test_a_question_that_fails_in_the_network_fails_alone(shop):
    """Only the network's own code knows up to which day its holidays are known."""
    forecaster = forecaster_adapter.adapt(model_loading.load_model(f"models:/{QUANTILES}@champion", shop.uri).model)

    class Request:
        horizon, levels = 2, (0.1,)

        def __init__(self, forecast_input):
            self.forecast_input = forecast_input

    rows = FRAME[FRAME["product"] == "apple"]
    values = rows[["quantity", "price"]].to_numpy().T
    stamps = np.array(rows["date"].tolist(), "datetime64[us]")
    good = Request(forecaster.input_from_rows(InputRows(["apple"], np.zeros(len(rows), int), stamps, values), 2))
    bad = Request(None)
    first, second, third = forecaster_adapter.batch_forecasts(forecaster, [good, bad, good])
    np.testing.assert_array_equal(first, third)
    assert isinstance(second, AttributeError)


def test_an_error_of_a_store_shows_no_password():
    text = "postgresql://me:p@ss@host:5432/db: no answer, see https://host/x@y"
    assert addresses.without_credentials(text) == "postgresql://host:5432/db: no answer, see https://host/x@y"
