"""GluonTS's DeepAR on PyTorch (Salinas et al. 2020), as its documentation trains it.

VENV/bin/python benchmarks/peers/deepar.py FOLDER

Covariates known ahead are its dynamic features, scaled by their mean and standard deviation before the test.
`validated` keeps the last horizon before the test out of the training and takes the epoch with the
least loss on it, as gridcast does; without it DeepAR trains on everything before the test.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import cpu_limit
import lightning
import numpy as np
import pandas as pd
import panel
import torch
from gluonts.dataset.common import ListDataset
from gluonts.torch import DeepAREstimator
from gluonts.torch.distributions import NegativeBinomialOutput, StudentTOutput

LIKELIHOODS = {"student-t": StudentTOutput, "negative-binomial": NegativeBinomialOutput}


def main(folder: Path) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    data = panel.read(folder)
    network = data.network
    lightning.seed_everything(data.seed)
    limit = cpu_limit.stop_after(lightning.Callback, data.options["cpu_seconds"])
    estimator = DeepAREstimator(
        freq=data.frequency,
        prediction_length=data.horizon,
        context_length=network["lookback"],
        num_layers=network["layers"],
        hidden_size=network["units"],
        dropout_rate=network["dropout"],
        lr=data.options.get("learning_rate", network["learning_rate"]),
        batch_size=network["batch_size"],
        num_batches_per_epoch=network["steps"],
        num_parallel_samples=network["paths"],
        num_feat_dynamic_real=len(data.known_names),
        distr_output=LIKELIHOODS[data.options["likelihood"]](),
        trainer_kwargs={
            "max_epochs": network["epochs"],
            "accelerator": "cpu",
            "default_root_dir": folder,
            "logger": False,
            "enable_progress_bar": False,
            "callbacks": [limit],
        },
    )
    whole = dataset(data, data.steps)
    if data.options["validated"]:
        training = dataset(data, data.steps - data.horizon)
        predictor = estimator.train(training, validation_data=whole)
    else:
        predictor = estimator.train(whole)
    forecasts = predictor.predict(dataset(data, data.steps, is_forecast=True))
    quantiles = [np.quantile(forecast.samples, panel.LEVELS, axis=0).T for forecast in forecasts]
    panel.write(folder, quantiles, f"{limit.steps} steps of at most {network['epochs'] * network['steps']}")


def dataset(data: panel.Panel, end: int, *, is_forecast: bool = False) -> ListDataset:
    """Return every series up to the step `end`, with the covariates up to it, or up to the end of the forecast.

    Stamps are counted back from the last one, so that holidays that are no steps move those of long ago only.
    """
    last = pd.Period(data.times[end - 1], data.frequency)
    mean, spread = (statistic(data.known[:, : data.steps], axis=(0, 1)) for statistic in (np.nanmean, np.nanstd))
    known = (data.known - mean) / np.where(spread > 0, spread, 1)
    until = end + data.horizon if is_forecast else end
    rows = []
    for begin, values, covariates in zip(data.begins(), data.values, known, strict=True):
        row = {"start": last - int(end - 1 - begin), "target": values[begin:end]}
        if data.known_names:
            row["feat_dynamic_real"] = covariates[begin:until].T
        rows.append(row)
    return ListDataset(rows, data.frequency)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
