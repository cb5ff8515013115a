"""Prophet with its defaults on each series, one process per core; quantiles of its sampled paths.

VENV/bin/python benchmarks/peers/prophet_each.py FOLDER
"""

from __future__ import annotations

import logging
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import pandas as pd
import panel
from prophet import Prophet

FREQUENCIES = {"M": "MS", "W": "W-SUN", "B": "B", "D": "D", "h": "h"}


def main(folder: Path) -> None:
    data = panel.read(folder)
    histories = [
        (data.times[begin : data.steps], row[begin:]) for begin, row in zip(data.begins(), data.values, strict=True)
    ]
    work = [(number, *pair, data) for number, pair in enumerate(histories)]
    with Pool() as pool:
        panel.write(folder, pool.starmap(quantiles, work, chunksize=1))


def quantiles(number: int, times: np.ndarray, values: np.ndarray, data: panel.Panel) -> np.ndarray:
    """Return the quantiles (horizon, levels) of one series."""
    logging.getLogger("cmdstanpy").disabled = True
    np.random.seed(data.seed + number)  # noqa: NPY002 - Prophet draws from the global generator
    model = Prophet()
    model.fit(pd.DataFrame({"ds": times, "y": values}))
    ahead = model.make_future_dataframe(data.horizon, freq=FREQUENCIES[data.frequency], include_history=False)
    return np.quantile(model.predictive_samples(ahead)["yhat"], panel.LEVELS, axis=1).T


if __name__ == "__main__":
    main(Path(sys.argv[1]))
