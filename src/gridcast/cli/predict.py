"""A forecaster used by hand: predict, backtest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gridcast.api import models
from gridcast.api.backtest import backtest
from gridcast.cli import terminal
from gridcast.cli.app import DataDescription, Model, TableSource, app, err, out
from gridcast.cli.options import check_output_path, parse_levels, print_csv, write_table
from gridcast.runtime.errors import ConfigError, GridcastError

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
    if horizon is not None and not 1 <= horizon <= models.MAX_HORIZON:
        raise ConfigError(f"--horizon: must be from 1 to {models.MAX_HORIZON:,} (got {horizon})")
    levels = parse_levels(quantiles)
    check_output_path(output)
    forecaster = models.load_forecaster(model)
    forecasts, problems = forecaster.predict_each_series(history, horizon, levels, ended=ended)
    if output is None:
        print_csv(forecasts)
    else:
        write_table(forecasts, output)
        made = forecasts[forecasts["forecast"].notna()]
        rolled_forward = int(made["rolled_forward"].sum())
        remark = f", {rolled_forward} of them rolled forward beyond the trained horizon" if rolled_forward else ""
        out.print(
            f"{output}: {len(made)} forecasts by {models.model_title(forecaster.reference)}{remark}", markup=False
        )
    _report_problems(problems, forecaster.preprocessing, models.shown_table(history))


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
    measured = backtest(model, folds=folds, steps=steps, description=experiment, data=data)
    terminal.print_backtest(out, measured)
    if output:
        write_table(measured.table, output)
        out.print(f"{output}: all results, by fold, model and step ahead (0: all steps)", markup=False)
    if measured.remark:
        out.print(measured.remark)
