"""Quantile forecasts of every run in a gridcast project, by its logged models.

    .venv/bin/python benchmarks/logged_forecasts.py FOLDER

Gives each model everything before the test and writes its quantiles to forecast-SEED.npz. It must run as a separate
process, for the reason in `recorded.py`.
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
    data = panel.read(folder)
    os.chdir(folder)  # artifact paths in the store are relative to it
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    observed = np.isfinite(data.values)
    rows, steps = np.nonzero(observed)
    history = pd.DataFrame({"series": data.series[rows], "time": data.times[steps], "value": data.values[observed]})
    runs = mlflow.search_runs(search_all_experiments=True, filter_string="tags.`gridcast.kind` = 'run'")
    for run, seed in zip(runs["run_id"], runs["tags.gridcast.seed"], strict=True):
        forecasts = mlflow.pyfunc.load_model(f"runs:/{run}/model").predict(history)
        quantiles = forecasts.sort_values(["series", "time"])[[f"q{level:g}" for level in panel.LEVELS]]
        shape = len(data.series), data.horizon, len(panel.LEVELS)
        np.savez(f"forecast-{seed}.npz", quantiles=quantiles.to_numpy().reshape(shape))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
