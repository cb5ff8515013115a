"""The command line: one verb for each thing a user wants."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from gridcast import __version__, config
from gridcast.errors import ConfigError, GridcastError, Interrupted

# What a verb needs is imported when it is called: MLflow and pandas take seconds to load.
if TYPE_CHECKING:
    from gridcast.plan import Plan
    from gridcast.sweep import Result

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

CACHE = Path(".gridcast")
File = Annotated[Path, typer.Argument(help="the experiment, a YAML file")]
Backend = Annotated[str, typer.Option(help="Keras backend: jax or tensorflow")]
Workers = Annotated[int | None, typer.Option(help="worker processes (default: one per core; 1: in this process)")]


def main() -> NoReturn:
    """Entry point of the `gridcast` command; ends with 0, 1, 2 or 130 (see the README)."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(standalone_mode=False)
    except GridcastError as error:
        err.print(f"error: {error}", markup=False)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        err.print("interrupted")
        sys.exit(130)
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
            err.print(f"error: {error.format_message()}", markup=False)
            sys.exit(2)
        raise
    sys.exit(0)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"gridcast {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    """From one YAML grid and a table of time series to tracked, compared recurrent networks."""


@app.command()
def validate(experiment: File, backend: Backend = "jax") -> None:
    """Check the experiment and its data, simulate the splits, and train nothing."""
    planned = _plan(experiment, backend)
    out.print(f"{experiment} is valid: {len(planned.runs)} runs on {len(planned.panel.series)} series.")


@app.command()
def plan(experiment: File, backend: Backend = "jax", workers: Workers = None) -> None:
    """Show every run with its estimated time, from timing one epoch of a few shapes."""
    from gridcast import estimate
    from gridcast.plan import describe
    from gridcast.progress import duration

    planned = _plan(experiment, backend)
    place = _place(backend, workers)
    with out.status("timing one epoch of a few shapes") if out.is_terminal else contextlib.nullcontext():
        seconds = estimate.seconds(planned, place)
    table = Table("#", "run", "seconds at most", box=None, header_style="bold")
    for number, (key, run) in enumerate(planned.runs.items(), start=1):
        table.add_row(str(number), describe(run.configuration, run.seed), f"{seconds[key]:.0f}")
    out.print(table)
    total = sum(seconds.values()) / min(place.workers, len(seconds))
    out.print(
        f"{len(seconds)} runs, at most {duration(total)} on {place.workers} workers if every run takes all "
        f"{planned.experiment.training.epochs} epochs; early stopping usually halves that."
    )


@app.command()
def run(experiment: File, backend: Backend = "jax", workers: Workers = None) -> None:
    """Train every run of the experiment that is not finished yet, and record it in MLflow."""
    from gridcast import sweep, tracking
    from gridcast.progress import Progress

    planned = _plan(experiment, backend)
    store = tracking.open_store(planned.experiment.name)
    started = time.perf_counter()
    try:
        with Progress(out) as progress:
            result = sweep.run(planned, store, _place(backend, workers), progress)
    except KeyboardInterrupt:
        done = len(tracking.finished(store, planned.runs))
        raise Interrupted(
            f"interrupted with {done} of {len(planned.runs)} runs finished; the same command goes on with the rest"
        ) from None
    _tell(planned, result, time.perf_counter() - started)
    if result.failed:
        raise GridcastError(
            f"{result.failed} of {len(planned.runs)} runs failed; their reasons stand above and in MLflow"
        )


def _plan(path: Path, backend: str) -> Plan:
    if backend not in ("jax", "tensorflow"):
        raise ConfigError(f"--backend: '{backend}' is not allowed (allowed: jax, tensorflow)")
    experiment = config.read(path)
    from gridcast.plan import SPANS, make

    planned = make(experiment, path.read_text(encoding="utf-8"), backend)
    out.print(f"{experiment.name}: {experiment.data.source}", style="bold")
    for note in planned.panel.notes:
        out.print(f"  {note}", markup=False)
    panel = planned.panel
    out.print(f"  {len(panel.series)} series, {len(panel.times):,} steps")
    windows = planned.windows(experiment.window.lookback)
    for span in SPANS:
        first, end = panel.spans[span]
        out.print(
            f"  {span}: {panel.times[first]:%Y-%m-%d} to {panel.times[end - 1]:%Y-%m-%d}, {windows[span]:,} windows"
        )
    return planned


def _place(backend: str, workers: int | None) -> Any:
    from gridcast import execution

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers: must be at least 1 (got {workers})")
    return execution.Place(workers or execution.cores(), backend, CACHE)


def _tell(planned: Plan, result: Result, seconds: float) -> None:
    from gridcast.progress import duration

    counts = f"{result.trained} runs trained, {result.skipped} finished before, {result.failed} failed"
    out.print(f"{counts}, in {duration(seconds)}.")
    winner, metric = result.winner, planned.experiment.selection.metric
    winner_name = winner.data.tags["mlflow.runName"]
    out.print(f"Best run: {winner_name}, {metric} {winner.data.metrics[metric]:.5f}")
    table = Table("on the test span", "MASE", "MAE", "RMSE", box=None, header_style="bold")
    for tested, measures in result.tested.items():
        table.add_row(tested, *(f"{measures[m]:.4g}" if m in measures else "-" for m in ("mase", "mae", "rmse")))
    out.print(table)
    out.print(_verdict(winner_name, result.tested), markup=False)
    out.print(f'Load it: mlflow.pyfunc.load_model("runs:/{winner.info.run_id}/model")', markup=False)
    out.print("Browse the runs: make ui")


def _verdict(winner: str, tested: Mapping[str, Mapping[str, float]]) -> str:
    own = tested[winner]["mase"]
    others = {name: measures["mase"] for name, measures in tested.items() if name != winner and "mase" in measures}
    last, nearest = others["last value"], min(others, key=lambda name: others[name])
    against = f"It {'beats' if own < last else 'does not beat'} the last value ({own:.3f} against {last:.3f})."
    if others[nearest] <= own:
        told = f"the winner is beaten by {nearest} (MASE {own:.3f} against {others[nearest]:.3f})"
    else:
        told = f"the winner beats every baseline (MASE {own:.3f})"
    return f"On unseen data {told}. {against}"


if __name__ == "__main__":
    main()
