"""MLflow's system metrics, if its own switch asks for them."""

import time

import pytest

from gridcast.tracking.store import open_store
from gridcast.tracking.system_metrics import log_system_metrics

CPU = "system/cpu_utilization_percentage"


@pytest.mark.parametrize("switch", ["true", "false"])
def test_the_load_of_the_machine_is_logged_where_it_is_asked_for(tmp_path, monkeypatch, switch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", switch)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    store = open_store("small", f"sqlite:///{tmp_path}/mlflow.db")
    run_id = store.client.create_run(store.experiment).info.run_id
    deadline = time.monotonic() + (20 if switch == "true" else 0.3)
    with log_system_metrics(store, run_id):
        while CPU not in store.client.get_run(run_id).data.metrics and time.monotonic() < deadline:
            time.sleep(0.05)
    assert (CPU in store.client.get_run(run_id).data.metrics) == (switch == "true")
