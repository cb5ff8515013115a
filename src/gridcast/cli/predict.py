"""A forecaster used by hand: predict, backtest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridcast.cli import model_argument, terminal
from gridcast.cli.app import CACHE, DataDescription, Model, TableSource, app, cache_if_present, err, out
from gridcast.cli.experiments import RecordedExperiment, plan_of_model
from gridcast.cli.options import check_output_path, parse_levels, print_csv, write_table
from gridcast.runtime.errors import ConfigError, DataError, GridcastError

if TYPE_CHECKING:
    from gridcast.tracking.model_loading import ModelReference

MAX_PROBLEMS_SHOWN = 10
"""Series whose problems are printed; the table of forecasts has all."""


@app.command("predict")
def predict_verb(
    model: Model,
    history: TableSource,
    horizon: Annotated[int | None, typer.Option(help="steps ahead (default: as trained)")] = None,
    quantiles: Annotated[
        str | None,
        typer.Option(metavar="LEVELS", help="of a probabilistic model, e.g. 0.05,0.5,0.95 (default: as trained)"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV or Parquet file (default: CSV on standard output)")
    ] = None,
    ended: Annotated[
        bool, typer.Option("--ended", help="also forecast series that have ended, each from its own last step")
    ] = False,
) -> None:
    """Forecast from a table of history.

    Steps beyond the trained horizon are forecast from earlier forecasts and marked `rolled_forward`. A series that
    cannot be forecast leaves the others answered: its rows have the reason in a column `problem`, and the exit code is
    1.
    """
    if horizon is not None and horizon < 1:
        raise ConfigError(f"--horizon: must be at least 1 (got {horizon})")
    levels = parse_levels(quantiles)
    check_output_path(output)
    from gridcast.data import prediction_files
    from gridcast.data.file_bytes import shown
    from gridcast.runtime.loading import kind_of
    from gridcast.tracking import model_loading
    from gridcast.training import keras_backend

    reference = model_argument.find_model(model)
    keras_backend.start("jax", cache_if_present(CACHE))
    loaded = model_loading.load_model(reference.uri)
    if kind_of(loaded.model) == "detector":
        raise ConfigError(f"{model}: is an anomaly detector and makes no forecasts; use `gridcast detect`")
    table = prediction_files.read_series_table(history, loaded.model.preprocessing)
    try:
        forecasts, problems = loaded.predict_each_series(table, horizon, levels, ended=ended)
    except DataError as error:
        raise DataError(f"{shown(history)}: {error}") from None
    if output is None:
        print_csv(forecasts)
    else:
        write_table(forecasts, output)
        made = forecasts[forecasts["forecast"].notna()]
        rolled_forward = int(made["rolled_forward"].sum())
        remark = f", {rolled_forward} of them rolled forward beyond the trained horizon" if rolled_forward else ""
        out.print(f"{output}: {len(made)} forecasts by {terminal.model_title(reference)}{remark}", markup=False)
    _report_problems(problems, loaded.model.preprocessing, shown(history))


def _report_problems(problems: Mapping[str, str], preprocessing: Any, history: str) -> None:
    """Print what is wrong with each series. Raises GridcastError unless all of them were left out of training."""
    for sentence in list(problems.values())[:MAX_PROBLEMS_SHOWN]:
        err.print(f"  {sentence}", markup=False)
    if len(problems) > MAX_PROBLEMS_SHOWN:
        err.print(f"  and {len(problems) - MAX_PROBLEMS_SHOWN:,} more, see the column 'problem'", markup=False)
    failed = problems.keys() - set(getattr(preprocessing, "too_short", ()))
    if failed:
        raise GridcastError(f"{history}: {len(failed):,} series could not be forecast, see above")


@app.command("backtest")
def backtest_verb(
    model: Model,
    folds: Annotated[int, typer.Option(min=1, help="number of folds, the last ones of the data")] = 4,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="steps per fold (default: the steps that the model has not seen, divided by --folds)"),
    ] = None,
    experiment: DataDescription = None,
    data: Annotated[
        str | None, typer.Option(help="data to use instead of those of the experiment, e.g. newer files")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV or Parquet file for all results")] = None,
) -> None:
    """Measure a forecaster on rolling origins.

    The naive baselines are measured too, by fold and by step ahead; nothing is trained.
    """
    check_output_path(output)
    from gridcast.evaluation.backtest import backtest_folds, run_backtest, touches_test_span
    from gridcast.tracking import model_loading
    from gridcast.training import keras_backend

    reference = model_argument.find_model(model)
    planned = plan_of_model(reference, experiment, data)
    plan, spans = planned.plan, planned.recorded.about["spans"]
    window = plan.experiment.window
    chosen = backtest_folds(plan.panel.times, spans, horizon=window.horizon, count=folds, steps=steps)
    keras_backend.start("jax", cache_if_present(CACHE))
    forecaster = model_loading.load_model(reference.uri).model
    table = run_backtest(forecaster, plan.dataset, plan.panel, lookback=window.lookback, folds=chosen)
    terminal.print_backtest(out, table, terminal.model_title(reference))
    if output:
        write_table(table, output)
        out.print(f"{output}: all results, by fold, model and step ahead (0: all steps)", markup=False)
    if "test" in spans and touches_test_span(plan.panel.times, chosen, spans["test"]):
        dates = f"{plan.panel.times[chosen[0].start]} to {plan.panel.times[chosen[-1].end - 1]}"
        _record_backtest(planned.recorded, reference, f"{folds} folds from {dates}")


def _record_backtest(recorded: RecordedExperiment, reference: ModelReference, folds: str) -> None:
    """Count the backtest as a look at the test span of the model's sweep, and say how often that was looked at."""
    from gridcast.tracking import looks

    fingerprint, test_span = recorded.about["fingerprint"], recorded.about["spans"]["test"]
    looks.record_look(
        recorded.store,
        recorded.sweep_id,
        name=f"backtest of {terminal.model_title(reference)}",
        purpose=looks.BACKTEST,
        key=looks.span_key(fingerprint, test_span),
        what=folds,
        run_id=reference.run_id or "",
    )
    seen = looks.find_looks(recorded.store, fingerprint, test_span)
    out.print(
        f"The folds touch the test span of the model's sweep, which has now been looked at {len(seen)} times "
        f"({looks.describe_purposes(seen)})."
    )
