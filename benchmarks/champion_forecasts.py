"""Quantile forecasts of the test span by the model that a gridcast project's sweep promotes, from its record in MLflow.

    .venv/bin/python benchmarks/champion_forecasts.py FOLDER

That is the winner, trained once more if the experiment says so. Writes them to forecast.npz, with the winner's name as
the note. It must run as a separate process, for the reason in `recorded.py`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from peers import panel

import gridcast
from gridcast import config
from gridcast.evaluation import forecast_results
from gridcast.runtime import loading
from gridcast.sweep.plan import make_plan
from gridcast.tracking import mlflow_runs

EXPERIMENT = "experiment.yaml"


def main(folder: Path) -> None:
    os.chdir(folder)  # the store is there
    sweep = gridcast.report(EXPERIMENT)
    winner = mlflow_runs.find_run(sweep.store, sweep.best.run_id)
    key = mlflow_runs.refit_key(winner)
    promoted = mlflow_runs.finished_runs(sweep.store, [key], "refit").get(key, winner)
    forecaster = loading.load_from_bytes(mlflow_runs.read_model_files(sweep.store, promoted.info.run_id))
    plan = make_plan(config.read(EXPERIMENT), config.read_text(EXPERIMENT), "jax")
    forecasts = forecast_results.forecast_test_span(forecaster, plan.dataset, plan.panel)
    assert forecasts.quantiles is not None
    panel.write(folder, forecasts.quantiles, mlflow_runs.run_name(promoted))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
