"""The saved view of an experiment on MLflow's pages."""

import json

from gridcast.tracking import mlflow_runs, saved_view
from gridcast.tracking.store import open_store


def test_the_view_orders_runs_by_their_error_and_one_that_a_user_changed_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("small", f"sqlite:///{tmp_path}/mlflow.db")

    def view():
        return json.loads(mlflow_runs.experiment_tags(store)[saved_view.VIEW_TAG])

    saved_view.save_view(store, metric="best_val_loss", axes=["units"], other_metrics=["test_mase"])
    state = json.loads(view()["state"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_val_loss`", True)
    assert state["selectedColumns"][1:] == ["params.`units`", "metrics.`best_val_loss`", "metrics.`test_mase`"]
    assert [chart["type"] for chart in state["compareRunCharts"]] == ["LINE", "BAR", "PARALLEL"]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {
        section["uuid"] for section in state["compareRunSections"]
    }
    link = saved_view.view_link(store, "")[1:]
    assert f"]({link})" in mlflow_runs.experiment_tags(store)[mlflow_runs.DESCRIPTION_TAG]
    mlflow_runs.set_experiment_tag(store, mlflow_runs.DESCRIPTION_TAG, "of a user")
    saved_view.save_view(store, metric="best_val_loss", axes=["units", "layer"])
    assert "params.`layer`" in json.loads(view()["state"])["selectedColumns"]
    changed = view() | {"updatedAt": view()["createdAt"] + 1}
    mlflow_runs.set_experiment_tag(store, saved_view.VIEW_TAG, json.dumps(changed))
    saved_view.save_view(store, metric="best_val_mae", axes=[])
    assert view() == changed
    assert mlflow_runs.experiment_tags(store)[mlflow_runs.DESCRIPTION_TAG] == "of a user"
    assert saved_view.view_link(store, "http://host").startswith(f"http://host/#/experiments/{store.experiment}/runs?")
