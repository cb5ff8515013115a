"""The quantile forecasts of every run in a gridcast project, by the models that it logged.

    .venv/bin/python benchmarks/logged_forecasts.py FOLDER

Gives each model everything before the test and writes what it says to forecast-SEED.npz. It wants a
process of its own, as `recorded.py` does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from peers import panel


def main(folder: Path) -> None:
    given = panel.read(folder)
    os.chdir(folder)  # the store names its artifacts from there
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    known = np.isfinite(given.values)
    rows, steps = np.nonzero(known)
    history = pd.DataFrame({"series": given.series[rows], "time": given.times[steps], "value": given.values[known]})
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.`gridcast.kind` = 'run'")
    for run, seed in zip(runs["run_id"], runs["tags.gridcast.seed"], strict=True):
        told = mlflow.pyfunc.load_model(f"runs:/{run}/model").predict(history)
        quantiles = told.sort_values(["series", "time"])[[f"q{level:g}" for level in panel.LEVELS]]
        shape = len(given.series), given.horizon, len(panel.LEVELS)
        np.savez(f"forecast-{seed}.npz", quantiles=quantiles.to_numpy().reshape(shape))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
