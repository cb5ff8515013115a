"""Each baseline as a champion: asked over HTTP in JSON and CSV, measured by backtest."""

import io
from dataclasses import replace
from importlib.util import find_spec

import pandas as pd
import pytest

import gridcast
from gridcast.runtime import loading
from gridcast.runtime.baselines import BASELINES
from gridcast.tracking.store import open_store
from gridcast.training import contenders
from small_experiments import SMALL, planned, write_experiment
from small_service import DAYS, FRAME, Shop, question, record, running

pytestmark = pytest.mark.filterwarnings("ignore:.*:statsmodels.tools.sm_exceptions.ConvergenceWarning")

QUICK = ("seasonal naive", "ETS", "relative trees")
OTHERS = [name for name in BASELINES if name not in QUICK and (name != "Prophet" or find_spec("prophet"))]


def shop_of(folder, names):
    """A store with a champion for each baseline of `names`, and their files."""
    text = write_experiment(folder / "sales.yaml", **SMALL).read_text()
    plan = replace(planned(folder, FRAME, **SMALL), yaml_text=text)
    files = {name: contenders.contender_files(name, plan.dataset) for name in names}
    store = open_store("shop", f"sqlite:///{folder}/mlflow.db")
    models = {name.replace(" ", "-"): content for name, content in files.items()}
    shop = Shop(store.uri, {name: record(store, plan, name, content) for name, content in models.items()})
    for name in models:
        shop.champion(name)
    return shop, models


@pytest.mark.usefixtures("jax_backend")
@pytest.mark.parametrize("names", [QUICK, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["quick", "others"])
def test_baselines_are_served_and_measured_like_networks(names, tmp_path, monkeypatch):
    """Both doors answer what the files forecast; a backtest measures the champion."""
    monkeypatch.chdir(tmp_path)
    shop, models = shop_of(tmp_path, names)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", shop.uri)
    with running(shop, tmp_path / "service", tuple(models)) as server:
        for name, content in models.items():
            expected = loading.load_from_bytes(content).predict(FRAME)["forecast"].tolist()
            asked = question(name, steps=DAYS, products=("apple", "pear"))
            answer = server.post("/predict", json=asked).json()
            assert "forecasts" in answer, answer
            steps = [step["value"] for series in answer["forecasts"] for step in series["points"]]
            assert steps == pytest.approx(expected, rel=1e-6), name
            sent = {"file": ("sales.csv", FRAME.to_csv(index=False).encode())}
            table = pd.read_csv(io.StringIO(server.post(f"/predict_csv?model={name}", files=sent).text))
            assert table["forecast"].tolist() == pytest.approx(expected, rel=1e-6), name
    for name in models:
        measured = gridcast.backtest(name, folds=1).table
        assert set(measured["model"]) >= {"forecaster", "last value"}
        assert measured["mae"].notna().all()
