"""A metric of one's own in a sweep that is finished: measured and recorded, and nothing is trained again."""

import json
from types import SimpleNamespace

import pytest

from gridcast import config
from gridcast.config import Metric, plugins
from gridcast.evaluation import own_metrics
from gridcast.reporting import record, report_findings
from gridcast.sweep import events, missing_measures, plan, runner, worker_job
from gridcast.tracking import mlflow_runs
from gridcast.tracking.store import open_store
from small_experiments import SMALL, sales, write_experiment

GRID = {"learning_rate": [0.01, 0.0001]}


OWN = plugins.from_text(
    "own.py",
    """
import numpy as np

def close(actual, forecast):
    return 100 * float(np.mean(np.abs(forecast - actual) <= 1))

close.direction = "higher"

def far(actual, forecast, *, scale):
    return float(np.mean(np.maximum(forecast - actual, 0) / scale[:, None]))

METRICS = {"close": close, "far": far}
""",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory, programs):
    """A function that starts the sweep of two runs by a metric, with metrics of one's own."""
    folder = tmp_path_factory.mktemp("shop")
    sales(130).to_csv(folder / "sales.csv", index=False)
    store = open_store("shop", f"sqlite:///{folder}/mlflow.db")

    def start(metric, own):
        path = folder / "shop.yaml"
        write_experiment(
            path,
            str(folder / "sales.csv"),
            name="shop",
            grid=GRID,
            selection={"metric": metric},
            baselines=["last value"],
            **SMALL,
        )
        experiment = config.read(path, own)
        planned = plan.make_plan(experiment, path.read_text(), "jax")
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            place = worker_job.WorkerSettings(1, "jax", programs)
            return runner.run_sweep(planned, store, place, events.SweepEvents())

    return store, start


def metrics_of(store, kind="run"):
    runs = mlflow_runs.search_runs(store, f"tags.`{mlflow_runs.KIND_TAG}` = '{kind}'")
    return {run.info.run_id: run.data.metrics for run in runs}


def test_a_new_metric_is_measured_decides_and_is_reported(shop):
    store, start = shop
    assert start("best_val_loss", plugins.NO_PLUGINS).trained == 2
    before = metrics_of(store)
    assert all(values["val_mase"] > 0 and "val_close" not in values for values in before.values())
    result = start("close", OWN)
    assert (result.trained, result.skipped) == (0, 2)
    after = metrics_of(store)
    assert after.keys() == before.keys()
    best = max(after, key=lambda run_id: after[run_id]["val_close"])
    assert result.winner.info.run_id == best
    assert all({"close", "far"} <= measures.keys() for measures in result.test_measures.values())
    assert {"last value", "own settings"} < result.test_measures.keys()
    found = report_findings.compute_findings(record.read_sweep(store, "shop"))
    assert found.measures["close"].notna().all()
    assert "The best by minus validation close is" in " ".join(found.sentences)


def test_other_code_is_another_metric():
    def lacks(metric, recorded, own):
        tags = {mlflow_runs.MEASURED_TAG: json.dumps({"close": own_metrics.digest_of(recorded)})} if recorded else {}
        run = SimpleNamespace(data=SimpleNamespace(metrics={"val_close": 1.0, "val_mase": 1.0}, tags=tags))
        return missing_measures._lacks(SimpleNamespace(metrics=own), run, metric)

    close, far = (OWN.metric_functions[name].function for name in ("close", "far"))
    assert not lacks("val_close", Metric(close), {"close": Metric(close)})
    assert lacks("val_close", Metric(far), {"close": Metric(close)})
    assert lacks("val_close", Metric(close, "higher"), {"close": Metric(close)})
    assert lacks("val_close", None, {"close": Metric(close)})
    assert not lacks("val_mase", None, {})
    assert lacks("val_wape", None, {})
    assert not lacks("val_wape", Metric(close), {})  # measured, and not finite
