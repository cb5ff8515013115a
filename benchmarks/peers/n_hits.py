"""NeuralForecast's N-HiTS (Challu et al. 2022) with its defaults but for 500 steps, and early stopping.

VENV/bin/python benchmarks/peers/n_hits.py FOLDER

Its loss is that of the quantiles, and covariates known ahead are its exogenous inputs, as in the examples of its
documentation, which take 100 to 1,000 steps. The last horizon before the test is its validation span: 150 steps without
progress on it end the training, and it chooses the scaling of windows. Each scaling has its share of the CPU time.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import cpu_limit
import long_table
import numpy as np
import pandas as pd
import panel
import pytorch_lightning
import torch
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import NHITS


def main(folder: Path) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    data = panel.read(folder)
    known, scalings = long_table.known_ahead(data), data.options["scalings"]
    tables = {end: long_table.history(data, known, end) for end in (data.steps - data.horizon, data.steps)}
    results = []
    for number, scaling in enumerate(scalings, 1):
        limit = data.options["cpu_seconds"] * number / len(scalings)
        forecaster = NeuralForecast([network(data, scaling, list(known), limit, folder)], freq=1)
        forecaster.fit(tables[data.steps], val_size=data.horizon)
        callbacks = forecaster.models[0].trainer_kwargs["callbacks"]
        earlier, forecast = (
            quantiles(forecaster.predict(table, futr_df=long_table.ahead(data, known, end)), data)
            for end, table in tables.items()
        )
        loss = panel.quantile_loss(data.values[:, -data.horizon :], earlier)
        results.append((loss, f"{scaling} scaling, {callbacks[0].steps} steps", forecast))
    _, note, forecast = min(results, key=lambda result: result[0])
    panel.write(folder, forecast, note)


def network(data: panel.Panel, scaling: str, known: list[str], limit: float, folder: Path) -> NHITS:
    """Return a network whose training ends when the process has used `limit` seconds of CPU time."""
    return NHITS(
        h=data.horizon,
        input_size=data.network["lookback"],
        loss=MQLoss(quantiles=list(panel.LEVELS)),
        futr_exog_list=known,
        scaler_type=scaling,
        max_steps=500,
        val_check_steps=50,
        early_stop_patience_steps=3,
        random_seed=data.seed + 1,
        alias="model",
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=folder,
        callbacks=[cpu_limit.stop_after(pytorch_lightning.Callback, limit)],
    )


def quantiles(forecasts: pd.DataFrame, data: panel.Panel) -> np.ndarray:
    """Return the quantiles (n, horizon, levels) in the columns of the network's forecasts."""
    return long_table.to_quantiles(forecasts, [name for name in forecasts if name.startswith("model")], data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
