"""The log of served predictions, and challengers in shadow mode."""

import pandas as pd
import pytest

from gridcast.monitoring.prediction_log import SHADOW, read_predictions
from gridcast.tracking import model_loading, store
from small_service import FRAME, NEXT, POINT, QUANTILES, SAMPLED, question, running

pytestmark = pytest.mark.xdist_group("serving")


def test_json_and_csv_are_logged_as_the_same_tables(shop, tmp_path):
    frame = FRAME[FRAME["product"] == "apple"]  # all of it: the model has lags of a year
    with running(shop, tmp_path, (POINT, QUANTILES), log_predictions=True) as found:
        one = found.post("/predict", json=question(QUANTILES)).headers["X-Request-ID"]
        other = found.post(f"/predict_csv?model={QUANTILES}", files={"file": ("a.csv", frame.to_csv(index=False))})
    forecasts, inputs = read_predictions(tmp_path / "kept.db", QUANTILES)
    marks = ["__request__", "__served__"]
    groups = forecasts.groupby("__request__", sort=False)
    first, again = (group.drop(columns=marks).reset_index(drop=True) for _, group in groups)
    assert forecasts["__request__"].unique().tolist() == [one, other.headers["X-Request-ID"]]
    pd.testing.assert_frame_equal(first, again, rtol=1e-5, check_dtype=False)
    assert {"product", "date", "forecast", "q0.1", "rolled_forward"} <= set(forecasts)
    assert inputs["quantity"].tolist() == frame["quantity"].tolist() * 2
    assert inputs["price"].tolist() == frame["price"].tolist() * 2


def test_nothing_is_logged_by_default(shop, tmp_path):
    with running(shop, tmp_path) as found:
        found.post("/predict", json=question())
    assert [file.name for file in tmp_path.iterdir()] == ["keys.db"]


def test_the_forecasts_of_a_challenger_are_logged_and_not_returned(shop, tmp_path):
    name = "shadowed"
    client = store.connect(shop.uri)[0]
    if name not in [model.name for model in client.search_registered_models()]:
        shop.champion(name, NEXT)
        client.set_registered_model_alias(name, "challenger", "1")
        shop.champion(name, POINT)
    with running(shop, tmp_path, (name, SAMPLED), shadows={name: f"{name}@challenger"}) as found:
        answer = found.post("/predict", json=question(name, horizon=3)).json()
        found.post("/predict", json=question(SAMPLED))
    returned, _ = read_predictions(tmp_path / "kept.db", name)
    shadowed, _ = read_predictions(tmp_path / "kept.db", name, SHADOW)
    assert returned["forecast"].tolist() == [point["value"] for point in answer["forecasts"][0]["points"]]
    own = model_loading.load_model(f"models:/{name}@challenger", shop.uri).predict(
        FRAME[FRAME["product"] == "apple"].tail(14), 3
    )
    assert shadowed["forecast"].tolist() == pytest.approx(own["forecast"].tolist(), rel=1e-5)
    assert (shadowed["__version__"].unique().tolist(), answer["version"]) == (["1"], "2")
    assert shadowed["__request__"].tolist() == returned["__request__"].tolist()
    assert len(read_predictions(tmp_path / "kept.db", SAMPLED, SHADOW)[0]) == 0
