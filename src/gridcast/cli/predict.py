"""A model asked by hand: predict, backtest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gridcast.cli import terminal
from gridcast.cli.app import CACHE, app, out
from gridcast.cli.experiments import plan_of_model
from gridcast.cli.options import check_output_path, parse_levels, write_table
from gridcast.runtime.errors import ConfigError, DataError


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="a registered model (its champion), or a runs:/ or models:/ URI")],
    history: Annotated[Path, typer.Argument(help="CSV or Parquet file with the columns of the experiment")],
    horizon: Annotated[int | None, typer.Option(help="steps ahead (default: as trained)")] = None,
    quantiles: Annotated[
        str | None,
        typer.Option(metavar="LEVELS", help="of a probabilistic model, such as 0.05,0.5,0.95 (default: as trained)"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="CSV or Parquet file (default: CSV to standard output)")
    ] = None,
) -> None:
    """Forecast from a table of history; steps beyond the trained horizon are rolled forward and marked."""
    if horizon is not None and horizon < 1:
        raise ConfigError(f"--horizon: must be at least 1 (got {horizon})")
    levels = parse_levels(quantiles)
    check_output_path(output)
    from gridcast.data import prediction_files
    from gridcast.tracking import model_loading
    from gridcast.training import keras_backend

    found = model_loading.find_model(model)
    keras_backend.start("jax", CACHE)
    loaded = model_loading.load_model(found.uri)
    if hasattr(loaded.forecaster, "threshold"):
        raise ConfigError(f"{model}: tells anomalies and forecasts nothing; ask it with: gridcast detect")
    table = prediction_files.read(history, loaded.forecaster.preprocessing)
    try:
        forecasts = loaded.predict(table, horizon, levels)
    except DataError as error:
        raise DataError(f"{history}: {error}") from None
    if output is None:
        typer.echo(forecasts.to_csv(index=False), nl=False)
        return
    write_table(forecasts, output)
    rolled = int(forecasts["rolled_forward"].sum())
    told = f", {rolled} of them rolled forward beyond the trained horizon" if rolled else ""
    named = f"{found.name} version {found.version}" if found.name else found.uri
    out.print(f"{output}: {len(forecasts)} forecasts by {named}{told}", markup=False)


@app.command()
def backtest(
    model: Annotated[str, typer.Argument(help="a registered model (its champion), or a runs:/ or models:/ URI")],
    folds: Annotated[int, typer.Option(min=1, help="rolling origins, the last ones of the data")] = 4,
    steps: Annotated[
        int | None, typer.Option(min=1, help="steps of each fold (default: they share out what the model has not seen)")
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(help="a YAML file that says how to read the data (default: that of the model's sweep)"),
    ] = None,
    data: Annotated[str | None, typer.Option(help="data in place of the experiment's, such as newer files")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="CSV or Parquet file for every number")] = None,
) -> None:
    """Measure a model on rolling origins beside the naive baselines, by fold and by step ahead; train nothing."""
    check_output_path(output)
    from gridcast.evaluation.backtest import backtest_folds, run_backtest
    from gridcast.tracking import model_loading
    from gridcast.training import keras_backend

    found = model_loading.find_model(model)
    _, _, about, planned = plan_of_model(found, experiment, data)
    chosen = backtest_folds(planned.panel.times, about["spans"], planned.experiment.window.horizon, folds, steps)
    keras_backend.start("jax", CACHE)
    table = run_backtest(
        model_loading.load_model(found.uri).forecaster,
        planned.dataset,
        planned.panel,
        planned.experiment.window.lookback,
        chosen,
    )
    terminal.print_backtest(out, table, f"{found.name} version {found.version}" if found.name else found.uri)
    if output:
        write_table(table, output)
        out.print(f"{output}: every number, by fold, model and step ahead (0: all steps)", markup=False)
