"""The test span, touched once: forecasts beside actual values, and every measure made from them."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data import series_statistics
from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.evaluation import metrics
from gridcast.models import baselines
from gridcast.runtime.errors import GridcastError
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.preprocessing import Preprocessing

FORECASTS = "test_forecasts.parquet"
RECENT = "recent.parquet"
EXPLAINED = "importance.json"
EXAMPLES = "examples.json"
POINTS = ["series", "time", "step", "actual", "scale"]
"""Columns of the forecasts' table that are the same for every forecaster."""
PREFIX = "test_"
RECENT_STEPS = 30
SHOWN = 12
"""Series of which an example is kept."""


@dataclass(frozen=True)
class Forecasts:
    """Forecasts (n, horizon) in data units of the windows `index` (n, 2).

    `quantiles` is (n, horizon, levels), in data units too, where there are `levels`, and `crps` (n, horizon) the
    score of each step where paths were sampled; `notes` tell what a
    reader of the forecasts must know, such as a series that could not be fitted. `explained` is what the
    forecaster leans on, as `training.explanation` tells it; None where nobody asked.
    """

    index: np.ndarray
    forecast: np.ndarray
    levels: tuple[float, ...] = ()
    quantiles: np.ndarray | None = None
    crps: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    explained: dict[str, Any] | None = None


def answers(
    forecaster: Forecaster, channels: np.ndarray, index: np.ndarray, series: np.ndarray, actual: np.ndarray
) -> Forecasts:
    """What `forecaster` says of the windows `index` (n, 2) on `channels`, of which each row is one of `series`.

    `actual` (n, horizon) is what came, by which sample paths are scored.
    """
    if forecaster.quantiles is None:
        return Forecasts(index, forecaster.forecast(channels, index, series))
    levels, crps = forecaster.quantiles.levels, None
    if forecaster.quantiles.sampled and not forecaster.members:
        drawn = forecaster.samples_of(channels, index, series)
        _, scale = forecaster.units_of(channels, index, series)
        found = forecaster.quantiles.of_samples(drawn, scale, (*levels, 0.5))
        crps = metrics.crps(actual, np.moveaxis(drawn, 1, 2))
    else:
        found = forecaster.quantiles_of(channels, index, series, (*levels, 0.5))
    return Forecasts(index, found[..., -1], levels, found[..., :-1], crps)


def baseline(name: str, task: baselines.Task) -> Forecasts:
    """What the baseline `name` says of the windows of `task`."""
    found = baselines.BASELINES[name](task)
    return Forecasts(task.index, found.point, task.levels, found.quantiles, notes=found.notes)


def forecasts(forecaster: Forecaster, dataset: Dataset, panel: Panel) -> Forecasts:
    """Forecasts of the test span of `dataset` by a forecaster that was trained on whatever data.

    It reads the panel through its own preprocessing. Raises GridcastError when it
    forecasts something else: other series, another target, horizon, frequency or covariates.
    """
    own, here = forecaster.preprocessing, dataset.preprocessing
    for field in ("target", "frequency", "horizon", "past", "future", "columns"):
        if getattr(own, field) != getattr(here, field):
            raise GridcastError(f"its {field} is {getattr(own, field)!r}, here it is {getattr(here, field)!r}")
    unknown = [series for series in panel.series if series not in own.series]
    if unknown:
        others = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise GridcastError(f"it does not know the series '{unknown[0]}'{others}")
    codes = np.array([own.series.index(series) for series in panel.series])
    channels = own.channels(panel.target, panel.columns, panel.times, codes)
    # A rule that reads little is to be tested on the windows that the baselines have.
    least = here.lookback if forecaster.routes else 1
    index = dataset.each("test", np.maximum(forecaster.lookbacks[codes], least))
    return answers(forecaster, channels, index, codes, dataset.actual(index))


def table(forecasts: Forecasts, dataset: Dataset, panel: Panel) -> pd.DataFrame:
    """One row per window and step: series, time, step (1 = next), actual, forecast, scale (of MASE).

    Where quantiles were forecast, a column each, such as `q0.1`; where paths were sampled, crps.
    """
    index, horizon = forecasts.index, forecasts.forecast.shape[1]
    scales = series_statistics.naive_scale(panel.training_target)
    steps = index[:, 1, None] + np.arange(horizon)
    own = forecasts.quantiles
    columns = {} if own is None else {f"q{level:g}": own[..., k].ravel() for k, level in enumerate(forecasts.levels)}
    columns |= {} if forecasts.crps is None else {"crps": forecasts.crps.ravel()}
    return pd.DataFrame(
        {
            "series": np.repeat(np.array(panel.series)[index[:, 0]], horizon),
            "time": panel.times[steps.ravel()],
            "step": np.tile(np.arange(1, horizon + 1), len(index)),
            "actual": dataset.actual(index).ravel(),
            "forecast": forecasts.forecast.ravel(),
            "scale": np.repeat(scales[index[:, 0]], horizon),
            **columns,
        }
    )


def levels(table: pd.DataFrame) -> tuple[float, ...]:
    """The levels whose quantiles stand in `table`, in its order."""
    return tuple(float(column[1:]) for column in table.columns if re.fullmatch(r"q0\.\d+", column))


def recent(panel: Panel, horizon: int) -> pd.DataFrame:
    """What was observed right before the test span, for pictures: series, time, actual, of a few horizons' steps."""
    end = panel.spans["test"][0]
    start = max(0, end - max(RECENT_STEPS, 3 * horizon))
    series, steps = np.nonzero(panel.observed[:, start:end])
    return pd.DataFrame(
        {
            "series": np.array(panel.series)[series],
            "time": panel.times[start + steps],
            "actual": panel.target[series, start + steps],
        }
    )


def examples(panel: Panel, own: Preprocessing, lookback: int) -> list[dict[str, Any]]:
    """The last history of some series as the service is asked with it, for models that read `lookback` steps.

    Where the future columns of later steps are not known, it ends a horizon before the data do.
    """
    ahead = own.horizon if own.future_columns else 0
    reads = max(RECENT_STEPS, lookback + max(own.lags, default=0) + max(own.usual, default=0))
    end = len(panel.times) - ahead
    begin = max(0, end - reads)
    given = [f"{time:%Y-%m-%d}" if time == time.normalize() else time.isoformat() for time in panel.times[begin:]]
    past, target = panel.past[..., : len(own.past)], panel.target
    kept = []
    for row in np.flatnonzero(np.isfinite(target[:, end - lookback :]).all(axis=1))[:SHOWN]:
        covariates = np.concatenate([past[row], panel.future[row]], axis=1)
        names = (*own.past, *own.future_columns)
        history = [
            {"time": given[step - begin], "value": target[row, step]}
            | dict(zip(names, map(float, covariates[step]), strict=True))
            for step in range(begin, end)
            if np.isfinite(target[row, step])
        ]
        future = [
            {"time": given[step - begin]}
            | dict(zip(own.future_columns, map(float, panel.future[row, step]), strict=True))
            for step in range(end, end + ahead)
        ]
        kept.append({"id": panel.series[row], "history": history} | ({"future": future} if future else {}))
    return kept


def measures(table: pd.DataFrame) -> dict[str, float]:
    """Every finite measure over the whole test span, under the names it has in MLflow.

    Coverage and width carry the share that their interval promises, such as `test_coverage_80`.
    """
    found = _measured(table)
    if pair := metrics.outermost(levels(table)):
        share = f"{100 * (pair[1] - pair[0]):.6g}"
        found |= {f"{name}_{share}": found.pop(name) for name in ("coverage", "width")}
    shares = metrics.closeness(table["actual"].to_numpy(), table["forecast"].to_numpy())
    found |= {f"share_{name.lower().replace(' ', '_')}": share for name, share in shares.items()}
    return {PREFIX + name: value for name, value in found.items() if np.isfinite(value)}


@np.errstate(invalid="ignore")  # an infinite forecast makes some measures NaN
def _measured(table: pd.DataFrame) -> dict[str, float]:
    actual, forecast = table["actual"].to_numpy(float), table["forecast"].to_numpy(float)
    found = metrics.overall(actual, forecast, table["series"].to_numpy(), table["scale"].to_numpy(float))
    if known := levels(table):
        quantiles = table[[f"q{level:g}" for level in known]].to_numpy(float)
        found |= metrics.probabilistic(actual, quantiles, known)
    if "crps" in table:
        found["crps"] = float(table["crps"].mean())
    return found


def to_bytes(table: pd.DataFrame) -> bytes:
    """The table as a Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def from_bytes(content: bytes) -> pd.DataFrame:
    """The reverse of `to_bytes`."""
    return pd.read_parquet(io.BytesIO(content))
