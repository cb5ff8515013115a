"""A forecaster used by hand: predict, backtest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gridcast.cli import model_argument, terminal
from gridcast.cli.app import CACHE, DataDescription, Model, app, cache_if_present, out
from gridcast.cli.experiments import plan_of_model
from gridcast.cli.options import check_output_path, parse_levels, write_table
from gridcast.runtime.errors import ConfigError, DataError


@app.command("predict")
def predict_verb(
    model: Model,
    history: Annotated[Path, typer.Argument(help="CSV or Parquet file with the columns of the experiment")],
    horizon: Annotated[int | None, typer.Option(help="steps ahead (default: as trained)")] = None,
    quantiles: Annotated[
        str | None,
        typer.Option(metavar="LEVELS", help="of a probabilistic model, e.g. 0.05,0.5,0.95 (default: as trained)"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV or Parquet file (default: CSV on standard output)")
    ] = None,
) -> None:
    """Forecast from a table of history.

    Steps beyond the trained horizon are forecast from earlier forecasts and marked `rolled_forward`.
    """
    if horizon is not None and horizon < 1:
        raise ConfigError(f"--horizon: must be at least 1 (got {horizon})")
    levels = parse_levels(quantiles)
    check_output_path(output)
    from gridcast.data import prediction_files
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
        forecasts = loaded.predict(table, horizon, levels)
    except DataError as error:
        raise DataError(f"{history}: {error}") from None
    if output is None:
        typer.echo(forecasts.to_csv(index=False), nl=False)
        return
    write_table(forecasts, output)
    rolled_forward = int(forecasts["rolled_forward"].sum())
    remark = f", {rolled_forward} of them rolled forward beyond the trained horizon" if rolled_forward else ""
    out.print(f"{output}: {len(forecasts)} forecasts by {terminal.model_title(reference)}{remark}", markup=False)


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
    from gridcast.evaluation.backtest import backtest_folds, run_backtest
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
