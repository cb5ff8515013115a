"""A forecaster on rolling origins, beside the naive baselines: its error on each fold and at each step ahead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.data.splits import Spans
from gridcast.evaluation import artifact_files, forecast_results, forecast_table
from gridcast.models import baselines
from gridcast.models.baselines.applicable import applicable_baselines
from gridcast.models.baselines.task import baseline_task
from gridcast.runtime.errors import ConfigError
from gridcast.runtime.forecaster import Forecaster

FORECASTER_NAME = "forecaster"
"""What a forecaster is called beside the baselines."""


@dataclass(frozen=True)
class Fold:
    """Steps [start, end) to be forecast; `seen_in` says in which span the forecaster has met some of them, if it has."""

    start: int
    end: int
    seen_in: str


def backtest_folds(
    times: pd.DatetimeIndex, spans: Mapping[str, Any], horizon: int, count: int, steps: int | None
) -> list[Fold]:
    """The last `count` folds of `times`, each of so many `steps`, in the order of time.

    `spans` are first and last stamps of the forecaster's `train` and `validation`. Left open, `steps`
    share out what came after these, whole horizons each. Raises ConfigError when that cannot be.
    """
    learnt, chosen = (pd.Timestamp(spans[span][1]) for span in ("train", "validation"))
    if steps is None:
        steps = max(1, int((times > chosen).sum()) // count // horizon) * horizon
    if steps < horizon or count * steps >= len(times):
        raise ConfigError(
            f"--folds, --steps: {count} folds of {steps} steps do not fit; give at least the model's horizon "
            f"({horizon}) and less than the data's {len(times)} steps in all"
        )
    starts = [len(times) - steps * (count - fold) for fold in range(count)]
    return [
        Fold(s, s + steps, "training" if times[s] <= learnt else "validation" if times[s] <= chosen else "")
        for s in starts
    ]


def run_backtest(
    forecaster: Forecaster, dataset: Dataset, panel: Panel, lookback: int, chosen: list[Fold]
) -> pd.DataFrame:
    """One row per fold, model, and step ahead (0: all together), with windows, MAE, RMSE (data units) and MASE.

    Columns: fold, from, to, seen, model, step, windows, mae, rmse, mase. The baselines know all that lies
    before their fold, the forecaster what it was trained on. Raises GridcastError when the
    forecaster is one of something else.
    """
    rows = []
    for number, fold in enumerate(chosen):
        data = replace(dataset, spans=Spans(fold.start, fold.start, fold.end))
        own = forecast_results.forecast_test_span(forecaster, data, panel)
        task = replace(baseline_task(data, lookback), index=own.index)
        found = {FORECASTER_NAME: own}
        for name in applicable_baselines(len(panel.series), data.period):
            if name in baselines.NAIVE_BASELINES:
                found[name] = forecast_results.forecast_baseline(name, task)
        about: dict[str, Any] = {
            "fold": number,
            "from": panel.times[fold.start],
            "to": panel.times[fold.end - 1],
        }
        about |= {"seen": fold.seen_in}
        for name, forecasts in found.items():
            table = forecast_table.tabulate_forecasts(forecasts, data, panel)
            for step in range(forecasts.forecast.shape[1] + 1 if len(table) else 0):
                part = table[table["step"] == step] if step else table
                measures = forecast_table.measure_forecasts(part)
                errors = {m: measures.get(f"{artifact_files.TEST_PREFIX}{m}", np.nan) for m in ("mae", "rmse", "mase")}
                rows.append({**about, "model": name, "step": step, "windows": len(own.index), **errors})
    columns = ["fold", "from", "to", "seen", "model", "step", "windows", "mae", "rmse", "mase"]
    return pd.DataFrame(rows, columns=columns)


def mean_errors(table: pd.DataFrame) -> pd.DataFrame:
    """MAE by step ahead (rows; 0: all) and model (columns), the mean over the folds never seen; empty without any."""
    unseen = table[table["seen"] == ""]
    order = list(dict.fromkeys(table["model"]))
    return unseen.pivot_table(index="step", columns="model", values="mae").reindex(columns=order if len(unseen) else [])
