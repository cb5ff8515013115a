"""From an experiment to a champion: validate, plan, run, report, promote, rollback."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gridcast.cli import model_argument, terminal
from gridcast.cli.app import (
    CACHE,
    REPORTS,
    Backend,
    ExperimentFile,
    ForceReason,
    PluginFiles,
    RegisteredModel,
    Workers,
    app,
    cache_if_present,
    out,
)
from gridcast.cli.experiments import (
    choose_workers,
    find_experiment_store,
    plan_experiment,
    plan_recorded,
    recorded_experiment,
)
from gridcast.cli.run_sweep import champion_evaluator, run_sweep, write_report
from gridcast.runtime.errors import ConfigError, GridcastError

if TYPE_CHECKING:
    from gridcast.sweep.plan import Plan


@app.command("validate")
def validate_verb(experiment: ExperimentFile, backend: Backend = "jax", plugin: PluginFiles = None) -> None:
    """Check an experiment and its data without training.

    The splits are simulated.
    """
    plan = plan_experiment(experiment, backend, plugin)
    out.print(f"{experiment} is valid: {plan.size_text} on {len(plan.panel.series):,} series.")


@app.command("plan")
def plan_verb(
    experiment: ExperimentFile, backend: Backend = "jax", workers: Workers = None, plugin: PluginFiles = None
) -> None:
    """List every run with an estimate of its time.

    A few runs are timed for one epoch.
    """
    from gridcast.sweep import time_estimate
    from gridcast.sweep.confirmation import plan_confirmation

    planned = plan_experiment(experiment, backend, plugin)
    plan = planned.sample()
    settings = choose_workers(backend, workers, cache=cache_if_present(CACHE))
    with out.status("timing one epoch of a few runs") if out.is_terminal else contextlib.nullcontext():
        seconds = time_estimate.estimate_run_seconds(plan, settings)
    table = Table("#", "run", "seconds at most", box=None, header_style="bold")
    for number, (key, run) in enumerate(plan.runs.items(), start=1):
        table.add_row(str(number), plan.run_name(run), f"{seconds[key]:.0f}")
    out.print(table)
    if planned.is_proposed:
        strategy = plan.experiment.search.strategy
        out.print(f"These are {len(seconds)} random runs of the space: {strategy} proposes the runs as it learns.")
    out.print(terminal.plan_sentence(planned, seconds, settings.workers))
    confirmation = plan_confirmation(plan.experiment, planned.run_count)
    longest = time_estimate.longest_seconds(plan, seconds, confirmation)
    terminal.print_confirmation(out, confirmation, seconds=longest, workers=settings.workers)


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
    plan = plan_experiment(experiment, backend, plugin)
    run_sweep(plan, choose_workers(backend, workers, memory_gib=memory_limit, scheduler=scheduler))


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
    name, store = find_experiment_store(experiment)
    verdict = write_report(name, store)
    out.print(f"Report: {REPORTS / name / 'report.html'}", markup=False)
    out.print(verdict, markup=False)
    if study is not None:
        from gridcast.reporting import optuna_study, record

        count = optuna_study.write_study(record.read_sweep(store, name), store, study)
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
    from gridcast.sweep.confirmation import with_confirmation
    from gridcast.sweep.winner import find_winner
    from gridcast.tracking import mlflow_runs, promotion
    from gridcast.tracking.store import open_store, require_store

    require_store()
    planned = _plan_to_promote(experiment, backend, plugin)
    store = open_store(planned.experiment.name, create=False)
    plan, finished = with_confirmation(planned, store)
    if not finished:
        raise GridcastError(f"no run of {experiment} on these data is finished yet; train them with `gridcast run`")
    winner = find_winner(plan, store, list(finished.values()))
    out.print(
        f"Best of {len(finished)} finished runs ({len(plan.all_runs)} planned): {mlflow_runs.run_name(winner)}",
        markup=False,
    )
    promoted = promotion.promote(
        plan.experiment,
        store,
        winner,
        test_measures=promotion.recorded_test_measures(store, winner, plan.baseline_keys),
        evaluate_champion=champion_evaluator(plan),
        force=force,
        if_not_worse=if_not_worse,
        metrics=plan.metrics,
    )
    terminal.print_promotion(out, promoted)


def _plan_to_promote(argument: str, backend: str, plugin_files: Sequence[Path] | None) -> Plan:
    """Return the plan of an experiment file, or of the experiment behind a registered model."""
    if model_argument.is_experiment_file(argument):
        return plan_experiment(Path(argument), backend, plugin_files)
    if argument.startswith("runs:/"):
        raise ConfigError(
            f"'{argument}' is one run, and `gridcast promote` promotes the best run of an experiment: give the "
            "experiment file, or the name of its registered model"
        )
    return plan_recorded(recorded_experiment(model_argument.find_model(argument)), backend, plugin_files)


@app.command("rollback")
def rollback_verb(name: RegisteredModel) -> None:
    """Roll back to the previous champion.

    Calling it twice restores the original state.
    """
    model = model_argument.registered_name(name, "rollback")
    from gridcast.tracking import registry
    from gridcast.tracking.store import connect, require_store

    require_store()
    client, _ = connect()
    with model_argument.explain_unknown_model(name):
        rolled_back = registry.rollback(client, model)
    terminal.print_promotion(out, rolled_back)
