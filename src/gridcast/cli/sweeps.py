"""From an experiment to a champion: validate, plan, run, report, promote, rollback."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer
from rich.table import Table

from gridcast import config
from gridcast.cli import terminal
from gridcast.cli.app import REPORTS, Backend, ExperimentFile, Workers, app, out
from gridcast.cli.experiments import choose_place, plan_experiment
from gridcast.cli.run_sweep import champion_evaluator, run_sweep, write_report
from gridcast.runtime.errors import GridcastError


@app.command()
def validate(experiment: ExperimentFile, backend: Backend = "jax") -> None:
    """Check the experiment and its data, simulate the splits, and train nothing."""
    planned = plan_experiment(experiment, backend)
    out.print(f"{experiment} is valid: {len(planned.runs)} runs on {len(planned.panel.series)} series.")


@app.command()
def plan(experiment: ExperimentFile, backend: Backend = "jax", workers: Workers = None) -> None:
    """Show every run with its estimated time, from timing one epoch of a few shapes."""
    from gridcast.cli.progress import format_duration
    from gridcast.sweep import time_estimate

    planned = plan_experiment(experiment, backend)
    place = choose_place(backend, workers)
    with out.status("timing one epoch of a few shapes") if out.is_terminal else contextlib.nullcontext():
        seconds = time_estimate.estimate_run_seconds(planned, place)
    table = Table("#", "run", "seconds at most", box=None, header_style="bold")
    for number, (key, run) in enumerate(planned.runs.items(), start=1):
        table.add_row(str(number), planned.name(run), f"{seconds[key]:.0f}")
    out.print(table)
    total = sum(seconds.values()) / min(place.workers, len(seconds))
    out.print(
        f"{len(seconds)} runs, at most {format_duration(total)} on {place.workers} workers if every run takes all "
        f"{planned.experiment.training.epochs} epochs; early stopping usually halves that."
    )


@app.command()
def run(
    experiment: ExperimentFile,
    backend: Backend = "jax",
    workers: Workers = None,
    memory_limit: Annotated[
        float | None, typer.Option(metavar="GIB", min=0.5, help="memory of each worker (default: its share of all)")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            envvar="DASK_SCHEDULER_ADDRESS", help="Dask scheduler, such as tcp://host:8786, instead of workers here"
        ),
    ] = None,
) -> None:
    """Train every run of the experiment that is not finished yet, and record it in MLflow."""
    planned = plan_experiment(experiment, backend)
    run_sweep(planned, choose_place(backend, workers, memory_limit, scheduler))


@app.command()
def report(
    experiment: Annotated[str, typer.Argument(help="the experiment: its name in MLflow, or its YAML file")],
) -> None:
    """Build the report again from MLflow alone, for a finished or half-finished sweep."""
    from gridcast.tracking.store import open_store

    name = config.read(experiment).name if experiment.endswith((".yaml", ".yml")) else experiment
    verdict = write_report(name, open_store(name, create=False))
    out.print(f"Report: {REPORTS / name / 'report.html'}", markup=False)
    out.print(verdict, markup=False)


@app.command()
def promote(
    experiment: ExperimentFile,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="promote whatever the gates say; the reason is kept")
    ] = None,
    backend: Backend = "jax",
) -> None:
    """Make the best run champion of the registered model `selection.promote_to`, if every gate lets it pass."""
    from gridcast.sweep.winner import find_winner
    from gridcast.tracking import mlflow_runs, promotion
    from gridcast.tracking.store import open_store

    planned = plan_experiment(experiment, backend)
    store = open_store(planned.experiment.name, create=False)
    done = mlflow_runs.finished_runs(store, planned.runs)
    if not done:
        raise GridcastError(f"no run of {experiment} on these data is finished yet; train them: gridcast run")
    winner = find_winner(planned, store, list(done.values()))
    out.print(
        f"Best of {len(done)} finished runs ({len(planned.runs)} planned): {mlflow_runs.run_name(winner)}", markup=False
    )
    tested = promotion.recorded_test_measures(store, winner, planned.baseline_keys)
    terminal.print_promotion(
        out, promotion.promote(planned.experiment, store, winner, tested, champion_evaluator(planned), force)
    )


@app.command()
def rollback(name: Annotated[str, typer.Argument(help="the registered model")]) -> None:
    """Let the champion and the previous champion change places."""
    from gridcast.tracking import registry
    from gridcast.tracking.store import connect

    terminal.print_promotion(out, registry.rollback(connect()[0], name))
