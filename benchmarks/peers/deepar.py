"""GluonTS's DeepAR on PyTorch (Salinas et al. 2020), as its documentation trains it.

VENV/bin/python benchmarks/peers/deepar.py FOLDER

`validated` keeps the last horizon before the test out of the training and takes the epoch with the
least loss on it, as gridcast does; without it DeepAR trains on everything before the test.
"""

from __future__ import annotations

import sys
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import panel
from gluonts.dataset.common import ListDataset
from gluonts.torch import DeepAREstimator
from gluonts.torch.distributions import NegativeBinomialOutput, StudentTOutput

LIKELIHOODS = {"student-t": StudentTOutput, "negative-binomial": NegativeBinomialOutput}


def main(folder: Path) -> None:
    data = panel.read(folder)
    network = data.network
    lightning.seed_everything(data.seed)
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
        distr_output=LIKELIHOODS[data.options["likelihood"]](),
        trainer_kwargs={
            "max_epochs": network["epochs"],
            "accelerator": "cpu",
            "default_root_dir": folder,
            "logger": False,
            "enable_progress_bar": False,
        },
    )
    whole = dataset(data, data.values.shape[1])
    if data.options["validated"]:
        training = dataset(data, data.values.shape[1] - data.horizon)
        predictor = estimator.train(training, validation_data=whole)
    else:
        predictor = estimator.train(whole)
    forecasts = predictor.predict(whole)
    panel.write(folder, [np.quantile(forecast.samples, panel.LEVELS, axis=0).T for forecast in forecasts])


def dataset(data: panel.Panel, end: int) -> ListDataset:
    """Return every series up to the step `end`."""
    starts = [pd.Period(data.times[begin], data.frequency) for begin in data.begins()]
    rows = [
        {"start": start, "target": values[begin:end]}
        for start, begin, values in zip(starts, data.begins(), data.values, strict=True)
    ]
    return ListDataset(rows, data.frequency)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
