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

FREQUENCIES = {"M": "MS", "W": "W-SUN", "h": "h"}


def main(folder: Path) -> None:
    given = panel.read(folder)
    known = [(given.times[begin:], row[begin:]) for begin, row in zip(given.begins(), given.values, strict=True)]
    work = [(number, *pair, given) for number, pair in enumerate(known)]
    with Pool() as pool:
        panel.write(folder, pool.starmap(quantiles, work, chunksize=1))


def quantiles(number: int, times: np.ndarray, values: np.ndarray, given: panel.Panel) -> np.ndarray:
    """The quantiles (horizon, levels) of one series."""
    logging.getLogger("cmdstanpy").disabled = True
    np.random.seed(given.seed + number)  # noqa: NPY002 - Prophet draws from the global generator
    model = Prophet()
    model.fit(pd.DataFrame({"ds": times, "y": values}))
    ahead = model.make_future_dataframe(given.horizon, freq=FREQUENCIES[given.frequency], include_history=False)
    return np.quantile(model.predictive_samples(ahead)["yhat"], panel.LEVELS, axis=1).T


if __name__ == "__main__":
    main(Path(sys.argv[1]))
