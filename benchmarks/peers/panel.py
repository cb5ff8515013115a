"""Input and output files of the forecasting peers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Levels of the quantiles to forecast."""
FORECAST = "forecast.npz"
ARRAYS = ("series", "times", "values", "known", "past")


@dataclass(frozen=True)
class Panel:
    """Everything before the test, what is known ahead of it, and the forecast that is requested.

    `series` (n,) are names, `times` (steps + horizon,) stamps in local time, `values` (n, steps) data units, NaN before
    a series begins. `known` (n, steps + horizon, k) are the covariates `known_names`, which are known ahead; `past`
    (n, steps, p) those that are not. `frequency` is M, W, B, D or h, `period` the steps of a season (1: none),
    `horizon` the steps ahead. `network` holds lookback, layers, units, dropout, learning_rate, batch_size, epochs,
    steps (batches per epoch) and paths, `options` further settings of the contender; a contender may ignore them.
    """

    series: np.ndarray
    times: np.ndarray
    values: np.ndarray
    known: np.ndarray
    past: np.ndarray
    known_names: list[str]
    frequency: str
    period: int
    horizon: int
    seed: int
    network: dict[str, Any]
    options: dict[str, Any]

    @property
    def steps(self) -> int:
        """The number of steps before the test."""
        return int(self.values.shape[1])

    def begins(self) -> np.ndarray:
        """Return the first step (n,) of each series."""
        return np.argmax(np.isfinite(self.values), axis=1)


def write_panel(folder: Path, panel: Panel) -> None:
    """Write `panel` to `folder` for `read`."""
    np.savez(folder / "panel.npz", **{name: getattr(panel, name) for name in ARRAYS})
    about = {name: value for name, value in vars(panel).items() if name not in ARRAYS}
    (folder / "panel.json").write_text(json.dumps(about))


def read(folder: Path) -> Panel:
    """Return the panel that `write_panel` wrote to `folder`."""
    with np.load(folder / "panel.npz") as arrays:
        return Panel(**arrays, **json.loads((folder / "panel.json").read_text()))


def write(folder: Path, quantiles: np.ndarray, note: str = "") -> None:
    """Write the forecast `quantiles` (n, horizon, levels), in data units, and a `note` on how they were made."""
    np.savez(folder / FORECAST, quantiles=np.asarray(quantiles, float), note=np.array(note))


def quantile_loss(actual: np.ndarray, forecast: np.ndarray) -> float:
    """Return the mean pinball loss of the quantiles `forecast` (n, horizon, levels)."""
    error, levels = actual[:, :, None] - forecast, np.array(LEVELS)
    return float(np.maximum(levels * error, (levels - 1) * error).mean())
