"""From an experiment to a champion: validate, plan, run, report, promote, rollback."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from gridcast.api import running, sweeps
from gridcast.api.experiments import choose_workers
from gridcast.api.folders import CACHE, cache_if_present
from gridcast.cli import terminal
from gridcast.cli.app import Backend, ExperimentFile, ForceReason, PluginFiles, RegisteredModel, Workers, app, out
from gridcast.cli.printer import Printer, interruption_explained
from gridcast.runtime.errors import GridcastError


@app.command("validate")
def validate_verb(experiment: ExperimentFile, backend: Backend = "jax", plugin: PluginFiles = None) -> None:
    """Check an experiment and its data without training.

    The splits are simulated.
    """
    plan = sweeps.validate(experiment, backend=backend, plugins=plugin or (), progress=Printer())
    out.print(f"{experiment} is valid: {plan.size_text} on {len(plan.panel.series):,} series.")


@app.command("plan")
def plan_verb(
    experiment: ExperimentFile, backend: Backend = "jax", workers: Workers = None, plugin: PluginFiles = None
) -> None:
    """List every run with an estimate of its time.

    A few runs are timed for one epoch.
    """
    plan = sweeps.validate(experiment, backend=backend, plugins=plugin or (), progress=Printer())
    settings = choose_workers(backend, workers, cache=cache_if_present(CACHE))
    with out.status("timing one epoch of a few runs") if out.is_terminal else contextlib.nullcontext():
        timed = sweeps.time_plan(plan, settings)
    table = Table("#", "run", "seconds at most", box=None, header_style="bold")
    for number, (name, seconds) in enumerate(timed.runs()[["name", "seconds"]].itertuples(index=False), start=1):
        table.add_row(str(number), name, f"{seconds:.0f}")
    out.print(table)
    if plan.is_proposed:
        strategy = plan.experiment.search.strategy
        out.print(
            f"These are {len(timed.seconds)} random runs of the space: {strategy} proposes the runs as it learns."
        )
    out.print(terminal.plan_sentence(timed))
    terminal.print_confirmation(out, timed.confirmation, seconds=timed.confirmation_seconds, workers=timed.workers)


@app.command("run")
def run_verb(
    experiment: ExperimentFile,
    backend: Backend = "jax",
    workers: Workers = None,
    memory_limit: Annotated[
        float | None,
        typer.Option(
            metavar="GIB", min=0.5, help="memory limit of each worker (default: an equal share of all memory)"
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            envvar="DASK_SCHEDULER_ADDRESS",
            help="train on the workers of this Dask scheduler, e.g. tcp://host:8786, instead of local ones",
        ),
    ] = None,
    plugin: PluginFiles = None,
) -> None:
    """Train the runs of an experiment that are not finished.

    Everything is recorded in MLflow; then the winner is promoted through the gates and the report is written.
    """
    with interruption_explained():
        sweep = running.run(
            experiment,
            workers=workers,
            backend=backend,
            memory_limit=memory_limit,
            scheduler=scheduler,
            plugins=plugin or (),
            progress=Printer(),
        )
    if sweep.failure:
        raise GridcastError(sweep.failure)


@app.command("report")
def report_verb(
    experiment: Annotated[
        str,
        typer.Argument(
            help="an experiment file, the experiment's name in MLflow, or a registered model or an MLflow URI of it"
        ),
    ],
    study: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="also write the runs as a study of Optuna to this SQLite file, for optuna-dashboard"
        ),
    ] = None,
) -> None:
    """Rebuild the report of an experiment from MLflow.

    The sweep need not be finished.
    """
    sweep = sweeps.report(experiment)
    terminal.print_report(out, sweep.report)
    terminal.print_verdict(out, sweep)
    if study is not None:
        count = sweep.write_study(study)
        out.print(f"Study of {count} runs: open it with `optuna-dashboard sqlite:///{study}`", markup=False)


@app.command("promote")
def promote_verb(
    experiment: Annotated[
        str, typer.Argument(help="an experiment file, or a registered model or a models:/ URI of the experiment")
    ],
    force: ForceReason = None,
    if_not_worse: Annotated[
        bool, typer.Option("--if-not-worse", help="also replace a champion that cannot be told apart from the best run")
    ] = False,
    backend: Backend = "jax",
    plugin: PluginFiles = None,
) -> None:
    """Make the best run champion if it passes every gate.

    It is registered as `selection.promote_to` of the experiment.
    """
    sweeps.promote(
        experiment,
        force=force,
        if_not_worse=if_not_worse,
        plugins=plugin or (),
        backend=backend,
        progress=Printer(),
    )


@app.command("rollback")
def rollback_verb(name: RegisteredModel) -> None:
    """Roll back to the previous champion.

    Calling it twice restores the original state.
    """
    terminal.print_promotion(out, sweeps.rollback(name))
