"""Backtest of a forecaster on rolling origins, beside the naive baselines: errors by fold and by step ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from gridcast.data.dataset import Dataset
from gridcast.data.panel import Panel
from gridcast.data.splits import Spans
from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.evaluation.forecast_results import forecast_baseline, forecast_test_span
from gridcast.evaluation.forecast_table import measure_forecasts, tabulate_forecasts
from gridcast.models import baselines
from gridcast.models.baselines.applicable import applicable_baselines
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.runtime.errors import ConfigError
from gridcast.runtime.forecaster import Forecaster

FORECASTER_NAME = "forecaster"
"""Name of the forecaster among the baselines."""
ERRORS = ("mae", "rmse", "mase")
COLUMNS = ["fold", "from", "to", "seen", "model", "step", "windows", *ERRORS]


@dataclass(frozen=True)
class Fold:
    """Steps [start, end) to be forecast.

    `seen_in` names the span, `training` or `validation`, in which the forecaster has already seen some of them; it is
    empty where it has seen none.
    """

    start: int
    end: int
    seen_in: str


def backtest_folds(
    times: pd.DatetimeIndex, spans: Mapping[str, Any], *, horizon: int, count: int, steps: int | None
) -> list[Fold]:
    """Return the last `count` folds of `times`, of `steps` each, in the order of time.

    `spans` maps `train` and `validation` to the first and the last stamp of the forecaster's own spans. If `steps` is
    None, the folds divide the steps after these spans among them, in whole horizons. Raises ConfigError when
    that is impossible.
    """
    trained_until, validated_until = (pd.Timestamp(spans[span][1]) for span in ("train", "validation"))
    if steps is None:
        steps = max(1, int((times > validated_until).sum()) // count // horizon) * horizon
    if steps < horizon or count * steps >= len(times):
        raise ConfigError(
            f"--folds, --steps: {count} folds of {steps} steps do not fit; give at least the model's horizon "
            f"({horizon}) and less than the data's {len(times)} steps in all"
        )
    folds = []
    for start in range(len(times) - steps * count, len(times), steps):
        seen_in = ""
        if times[start] <= trained_until:
            seen_in = "training"
        elif times[start] <= validated_until:
            seen_in = "validation"
        folds.append(Fold(start, start + steps, seen_in))
    return folds


def touches_test_span(times: pd.DatetimeIndex, folds: Sequence[Fold], test_span: Sequence[str]) -> bool:
    """Whether some fold has a step of the test span, which is given by its first and last stamp."""
    first, last = (pd.Timestamp(stamp) for stamp in test_span)
    return any(times[fold.start] <= last and times[fold.end - 1] >= first for fold in folds)


def run_backtest(
    forecaster: Forecaster, dataset: Dataset, panel: Panel, *, lookback: int, folds: Sequence[Fold]
) -> pd.DataFrame:
    """Return a row per fold, model and step ahead (0: all steps together) with windows, MAE, RMSE and MASE.

    Columns: fold, from, to, seen, model, step, windows, mae, rmse (both in data units), mase. The baselines know all
    that lies before their fold, the forecaster only what it was trained on. Raises GridcastError when the
    forecaster was made for other data.
    """
    rows = []
    for number, fold in enumerate(folds):
        data = replace(dataset, spans=Spans(fold.start, fold.start, fold.end))
        of_forecaster = forecast_test_span(forecaster, data, panel)
        task = replace(baseline_task(data, lookback), index=of_forecaster.index)
        by_model = {FORECASTER_NAME: of_forecaster}
        for name in applicable_baselines(len(panel.series), data.period):
            if name in baselines.NAIVE_BASELINES:
                by_model[name] = forecast_baseline(name, task)
        of_fold = {
            "fold": number,
            "from": panel.times[fold.start],
            "to": panel.times[fold.end - 1],
            "seen": fold.seen_in,
            "windows": len(of_forecaster.index),
        }
        for model, forecasts in by_model.items():
            table = tabulate_forecasts(forecasts, data, panel)
            for step in range(forecasts.forecast.shape[1] + 1 if len(table) else 0):
                metrics = measure_forecasts(table[table["step"] == step] if step else table)
                errors = {name: metrics.get(TEST_PREFIX + name, np.nan) for name in ERRORS}
                rows.append({**of_fold, "model": model, "step": step, **errors})
    return pd.DataFrame(rows, columns=COLUMNS)


def mean_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Return the MAE by step ahead (rows; 0: all) and model (columns), averaged over the folds not seen before.

    Empty where the forecaster has seen all folds.
    """
    unseen = table[table["seen"] == ""]
    models = list(dict.fromkeys(table["model"])) if len(unseen) else []
    return unseen.pivot_table(index="step", columns="model", values="mae").reindex(columns=models)
