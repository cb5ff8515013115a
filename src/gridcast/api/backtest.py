"""Measure a forecaster on rolling origins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from gridcast.api import model_argument
from gridcast.api.experiments import RecordedExperiment, plan_of_model
from gridcast.api.keras_session import keras_session
from gridcast.api.models import model_title
from gridcast.data.prediction_files import TableOrPath
from gridcast.runtime.errors import ConfigError

if TYPE_CHECKING:
    from gridcast.tracking.model_loading import ModelReference


@dataclass(frozen=True)
class Backtest:
    """A forecaster on rolling origins, beside the naive baselines.

    `table` has a row per fold, model and step ahead (0: all steps): fold, from, to, seen, model, step, windows, mae,
    rmse, mase. `title` names the forecaster; `remark` says how often the test span of its sweep was looked at, where
    the folds touch it.
    """

    table: pd.DataFrame
    title: str
    remark: str = ""

    def errors(self) -> pd.DataFrame:
        """Return the MAE by step ahead (0: all) and model, averaged over the folds that the model never saw."""
        from gridcast.evaluation.backtest import mean_errors

        return mean_errors(self.table)


def backtest(
    model: str | Path,
    *,
    folds: int = 4,
    steps: int | None = None,
    description: str | Path | None = None,
    data: TableOrPath | None = None,
) -> Backtest:
    """Measure a forecaster on rolling origins; nothing is trained.

    The `folds` are the last ones of the data, of `steps` each (default: the steps that the model has not seen, divided
    by their number). `data` is a frame or a file to use instead of the data of the experiment; the experiment file
    `description` says how to read it. Where the folds touch the test span of the model's sweep, that is recorded as a
    look at it. Raises ConfigError, DataError, TrackingError.

    >>> gridcast.backtest("retail-daily", data=frame, folds=2).table["model"].unique().tolist()
    ['forecaster', 'last value', ...]
    """
    from gridcast.evaluation.backtest import backtest_folds, run_backtest, touches_test_span
    from gridcast.tracking import model_loading

    if folds < 1:
        raise ConfigError(f"--folds: must be at least 1 (got {folds})")
    reference = model_argument.find_model(model)
    planned = plan_of_model(reference, description, data)
    plan, spans = planned.plan, planned.recorded.about["spans"]
    window = plan.experiment.window
    chosen = backtest_folds(plan.panel.times, spans, horizon=window.horizon, count=folds, steps=steps)
    with keras_session():
        forecaster = model_loading.load_model(reference.uri).model
        table = run_backtest(forecaster, plan.dataset, plan.panel, lookback=window.lookback, folds=chosen)
    remark = ""
    if "test" in spans and touches_test_span(plan.panel.times, chosen, spans["test"]):
        dates = f"{plan.panel.times[chosen[0].start]} to {plan.panel.times[chosen[-1].end - 1]}"
        remark = _record_backtest(planned.recorded, reference, f"{folds} folds from {dates}")
    return Backtest(table, model_title(reference), remark)


def _record_backtest(recorded: RecordedExperiment, reference: ModelReference, folds: str) -> str:
    """Count the backtest as a look at the test span of the model's sweep; return how often that was looked at."""
    from gridcast.tracking import looks

    fingerprint, test_span = recorded.about["fingerprint"], recorded.about["spans"]["test"]
    looks.record_look(
        recorded.store,
        recorded.sweep_id,
        name=f"backtest of {model_title(reference)}",
        purpose=looks.BACKTEST,
        key=looks.span_key(fingerprint, test_span),
        what=folds,
        run_id=reference.run_id or "",
    )
    seen = looks.find_looks(recorded.store, fingerprint, test_span)
    return (
        f"The folds touch the test span of the model's sweep, which has now been looked at {len(seen)} times "
        f"({looks.describe_purposes(seen)})."
    )
