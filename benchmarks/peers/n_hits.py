"""NeuralForecast's N-HiTS (Challu et al. 2022) with its defaults but for 500 steps, and early stopping.

VENV/bin/python benchmarks/peers/n_hits.py FOLDER

Its loss is that of the quantiles, covariates known ahead are its exogenous inputs, and windows are scaled robustly, as
in the examples of its documentation, which take 100 to 1,000 steps. The last horizon before the test is its validation
span, on which 150 steps without progress end the training.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import cpu_limit
import long_table
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
    known = long_table.known_ahead(data)
    model = NHITS(
        h=data.horizon,
        input_size=data.network["lookback"],
        loss=MQLoss(quantiles=list(panel.LEVELS)),
        futr_exog_list=list(known),
        scaler_type="robust",
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
        callbacks=[cpu_limit.stop_after(pytorch_lightning.Callback, data.options["cpu_seconds"])],
    )
    forecaster = NeuralForecast([model], freq=1)
    forecaster.fit(long_table.history(data, known, data.steps), val_size=data.horizon)
    fitted = forecaster.models[0]
    note = f"{fitted.trainer_kwargs['callbacks'][0].steps} steps of at most {fitted.max_steps}"
    forecasts = forecaster.predict(futr_df=long_table.ahead(data, known, data.steps))
    columns = [column for column in forecasts if column.startswith("model")]
    panel.write(folder, long_table.to_quantiles(forecasts, columns, data), note)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
