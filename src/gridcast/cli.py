"""The command line: one verb for each thing a user wants."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import psutil
import typer
from rich.console import Console
from rich.table import Table

from gridcast import __version__, alerts, config, terminal
from gridcast.errors import ConfigError, DataError, GridcastError, Interrupted, PromotionRefused, TrackingError, suggest

# What a verb needs is imported when it is called: MLflow and pandas take seconds to load.
if TYPE_CHECKING:
    import pandas as pd

    from gridcast.plan import Plan
    from gridcast.registry import Found, Loaded
    from gridcast.sweep import Result
    from gridcast.tracking import Store

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
simulate = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make up data to try gridcast on.")
app.add_typer(simulate, name="simulate")
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_GO_ON = "then the same command goes on where it stopped"
BLOCKED = {
    errno.ENOSPC: f"free some space, {_GO_ON}",
    errno.EDQUOT: f"free some space, {_GO_ON}",
    errno.EROFS: f"make it writable, {_GO_ON}",
    errno.EACCES: f"make it writable, {_GO_ON}",
    errno.EPERM: f"make it writable, {_GO_ON}",
}
CACHE, REPORTS = Path(".gridcast"), Path("reports")
File = Annotated[Path, typer.Argument(help="the experiment, a YAML file")]
Backend = Annotated[str, typer.Option(help="Keras backend: jax or tensorflow")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="worker processes (default: one per GPU, else per core; 1: in this process)")
]


def main() -> NoReturn:
    """Entry point of the `gridcast` command; ends with 0, 1, 2 or 130 (see the README)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    logging.getLogger("gridcast").addHandler(_Warnings())
    try:
        if app(standalone_mode=False) == 130:  # what typer makes of KeyboardInterrupt
            raise Interrupted("interrupted")
    except (KeyboardInterrupt, Interrupted, typer.Abort) as error:
        err.print(str(error) or "interrupted", markup=False)
        _leave()
    except GridcastError as error:
        err.print(f"error: {error}", markup=False)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in BLOCKED:
            raise
        err.print(f"error: {error.filename or 'writing'}: {error.strerror}; {BLOCKED[error.errno]}", markup=False)
        sys.exit(1)
    except Exception as error:
        if type(error).__module__.startswith(("click", "typer")) and hasattr(error, "format_message"):
            err.print(f"error: {error.format_message()}", markup=False)
            sys.exit(2)
        raise
    sys.exit(0)


def _interrupt(*_: object) -> NoReturn:
    """The first Ctrl-C lets the sweep stop in order, the second one ends the process and so its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    raise KeyboardInterrupt


def _leave(*_: object) -> NoReturn:
    """End this process and its workers at once, with nothing closed: all that counts is on disk already."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    sys.stdout.flush()
    os._exit(130)


class _Warnings(logging.Handler):
    """Shows what gridcast warns of above the progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(f"  {record.levelname.lower()}: {record.getMessage()}", markup=False, style="yellow")


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
    from gridcast.progress import duration

    planned = _plan(experiment, backend)
    place = _place(backend, workers)
    with out.status("timing one epoch of a few shapes") if out.is_terminal else contextlib.nullcontext():
        seconds = estimate.seconds(planned, place)
    table = Table("#", "run", "seconds at most", box=None, header_style="bold")
    for number, (key, run) in enumerate(planned.runs.items(), start=1):
        table.add_row(str(number), planned.name(run), f"{seconds[key]:.0f}")
    out.print(table)
    total = sum(seconds.values()) / min(place.workers, len(seconds))
    out.print(
        f"{len(seconds)} runs, at most {duration(total)} on {place.workers} workers if every run takes all "
        f"{planned.experiment.training.epochs} epochs; early stopping usually halves that."
    )


@app.command()
def run(
    experiment: File,
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
    planned = _plan(experiment, backend)
    _train(planned, _place(backend, workers, memory_limit, scheduler))


@app.command()
def report(
    experiment: Annotated[str, typer.Argument(help="the experiment: its name in MLflow, or its YAML file")],
) -> None:
    """Build the report again from MLflow alone, for a finished or half-finished sweep."""
    from gridcast import tracking

    name = config.read(experiment).name if experiment.endswith((".yaml", ".yml")) else experiment
    verdict = _report(name, tracking.open_store(name, create=False))
    out.print(f"Report: {REPORTS / name / 'report.html'}", markup=False)
    out.print(verdict, markup=False)


@app.command()
def promote(
    experiment: File,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="promote whatever the gates say; the reason is kept")
    ] = None,
    backend: Backend = "jax",
) -> None:
    """Make the best run champion of the registered model `selection.promote_to`, if every gate lets it pass."""
    from gridcast import promotion, tracking
    from gridcast import winner as winners

    planned = _plan(experiment, backend)
    store = tracking.open_store(planned.experiment.name, create=False)
    done = tracking.finished(store, planned.runs)
    if not done:
        raise GridcastError(f"no run of {experiment} on these data is finished yet; train them: gridcast run")
    winner = winners.find(planned, store, list(done.values()))
    out.print(f"Best of {len(done)} finished runs ({len(planned.runs)} planned): {tracking.name(winner)}", markup=False)
    tested = promotion.test_record(store, winner, planned.baseline_keys)
    terminal.promotion(out, promotion.promote(planned.experiment, store, winner, tested, _champion_on(planned), force))


@app.command()
def rollback(name: Annotated[str, typer.Argument(help="the registered model")]) -> None:
    """Let the champion and the previous champion change places."""
    from gridcast import registry, tracking

    terminal.promotion(out, registry.rollback(tracking.connect()[0], name))


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
    levels = _levels(quantiles)
    _writable(output)
    from gridcast import registry
    from gridcast.data import history as histories
    from gridcast.training import backend

    found = registry.find(model)
    backend.start("jax", CACHE)
    loaded = registry.load(found.uri)
    if hasattr(loaded.forecaster, "threshold"):
        raise ConfigError(f"{model}: tells anomalies and forecasts nothing; ask it with: gridcast detect")
    table = histories.read(history, loaded.forecaster.preprocessing)
    try:
        forecasts = loaded.predict(table, horizon, levels)
    except DataError as error:
        raise DataError(f"{history}: {error}") from None
    if output is None:
        typer.echo(forecasts.to_csv(index=False), nl=False)
        return
    _write(forecasts, output)
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
    _writable(output)
    from gridcast import backtest as rolling
    from gridcast import registry
    from gridcast.training import backend

    found = registry.find(model)
    _, _, about, planned = _on_its_data(found, experiment, data)
    chosen = rolling.folds(planned.panel.times, about["spans"], planned.experiment.window.horizon, folds, steps)
    backend.start("jax", CACHE)
    table = rolling.run(registry.load(found.uri).forecaster, planned, chosen)
    terminal.backtest(out, table, f"{found.name} version {found.version}" if found.name else found.uri)
    if output:
        _write(table, output)
        out.print(f"{output}: every number, by fold, model and step ahead (0: all steps)", markup=False)


@app.command()
def monitor(
    model: Annotated[str, typer.Argument(help="a registered model (its champion), or a runs:/ or models:/ URI")],
    actuals: Annotated[Path, typer.Argument(help="CSV or Parquet file of what came, with the experiment's columns")],
    served: Annotated[
        Path | None, typer.Option(help="kept forecasts (of gridcast serve --keep) to judge instead of fresh ones")
    ] = None,
    max_error: Annotated[
        float, typer.Option(min=0, help="live MASE, in units of that at promotion, past which it is an alarm")
    ] = 1.25,
    max_psi: Annotated[float, typer.Option(min=0, help="population stability index of a feature")] = 0.1,
    coverage_gap: Annotated[
        float, typer.Option(min=0, max=1, help="how far the share within intervals may lie below the promised one")
    ] = 0.1,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="p value above which all of that may be chance")] = 0.01,
    alert: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="whom to tell of an alarm, as apprise writes it; repeatable")
    ] = None,
    retrain: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="after an alarm, train the experiment again on these data, old and new; gates decide"
        ),
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(help="a YAML file that says how to read the data (default: that of the model's sweep)"),
    ] = None,
    data: Annotated[str | None, typer.Option(help="where the experiment's data lie now, if they were moved")] = None,
    workers: Workers = None,
) -> None:
    """Compare a model in use with what came: live error, drift, coverage. Ends with 1 where an alarm was raised."""
    limits = {"error": max_error, "psi": max_psi, "coverage": coverage_gap, "alpha": alpha}
    notices = alerts.opened(alert) if alert else None
    from gridcast import monitoring, registry
    from gridcast.analysis import pages, watch
    from gridcast.data import history as histories
    from gridcast.training import backend

    found = registry.find(model)
    store, parent, about, planned = _on_its_data(found, experiment, data)
    again = _elsewhere(planned, retrain) if retrain else None
    backend.start("jax", CACHE)
    watched = monitoring.model_of(registry.load(found.uri), store, parent, about, planned)
    table = histories.read(actuals, watched.preprocessing)
    try:
        findings = monitoring.find(watched, table, monitoring.Limits(**limits), served)
    except DataError as error:
        raise DataError(f"{actuals}: {error}") from None
    page = watch.page(findings)
    path = watch.write(page, watched.name, REPORTS)
    monitoring.record(findings, {pages.MONITOR: page.encode()})
    terminal.monitor(out, findings)
    out.print(f"Report: {path}", markup=False)
    if not findings.alarms:
        return
    if notices is not None:
        alerts.send(notices, findings.headline, "\n".join([*findings.alarms, *findings.told]))
    if again is not None:
        out.print("Training again on the new data; the gates decide what becomes champion.")
        _train(again, _place("jax", workers))
    raise GridcastError(findings.headline)


@app.command()
def serve(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="registered models, or YAML files")],
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="without GRIDCAST_ADMIN_TOKEN: no keys, this machine alone")
    ] = False,
    rate: Annotated[
        float, typer.Option(min=0, help="requests per second of a key, and of an address (0: no limit)")
    ] = 100.0,
    keep: Annotated[bool, typer.Option("--keep", help="keep questions and answers, for `gridcast monitor`")] = False,
    shadow: Annotated[
        list[str] | None, typer.Option(metavar="NAME@ALIAS", help="a challenger that answers too, kept but unheard")
    ] = None,
    folder: Annotated[Path, typer.Option(help="where keys lie, and what is kept")] = CACHE / "serving",
) -> None:
    """Answer requests for forecasts over HTTP by the champions of registered models."""
    from gridcast.serving import limits, settings

    named = tuple(dict.fromkeys(map(_registered, names)))
    token = settings.admin_token(os.environ, host, insecure_local=insecure_local)
    asked = settings.Settings(
        named,
        folder=folder,
        token=token,
        limits=limits.Limits(rate=rate, burst=max(1, round(2 * rate))),
        keep=keep,
        shadows=settings.shadows(tuple(shadow or ()), named),
    )
    from gridcast.serving import server

    with contextlib.suppress(KeyboardInterrupt):  # stopped in order: nothing is wrong
        server.serve(asked, host, port, CACHE)


@app.command()
def detect(
    name: Annotated[str, typer.Argument(help="a registered model (its champion), or its experiment, a YAML file")],
    follow: Annotated[
        str, typer.Option(metavar="FOLDER|URL", help="where CSV files appear, or what answers GET URL?after=STAMP")
    ],
    every: Annotated[str, typer.Option(help="how often to look for what is new, such as 90s, 15m, 2h")] = "15m",
    once: Annotated[bool, typer.Option("--once", help="look once, and end")] = False,
    wait: Annotated[
        int | None,
        typer.Option(
            min=0, help="steps that a verdict waits for, to rest on more windows (default: half a window; 0: at once)"
        ),
    ] = None,
    webhook: Annotated[str | None, typer.Option(metavar="URL", help="POST each alert there, as JSON")] = None,
    alert: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="whom to tell of each alert, as apprise writes it; repeatable"),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="SQLite file for scores, events, alerts (default: .gridcast/streams/NAME.sqlite)"),
    ] = None,
) -> None:
    """Follow a stream of sensor data: score each new stretch once, whatever is killed, and raise an alert per event."""
    from gridcast.anomaly import feeds, ledger, stream

    def tell(line: str) -> None:
        out.print(line, markup=False)
        sys.stdout.flush()

    registered, seconds = _registered(name), stream.seconds(every)
    channels = stream.channels(tell, webhook, alert or ())
    current = _champion(registered, wait)
    detector = current().detector
    stream.step(detector.frequency)
    kept = ledger.Ledger(
        record or CACHE / "streams" / re.sub(r"[^\w.-]+", "-", f"{registered}.sqlite"), registered, detector.frequency
    )
    feed = feeds.feed(follow, detector.time)
    tell(f"{registered} version {current().version} follows {feed.name}; the record is {kept.path}")
    with contextlib.closing(kept), contextlib.suppress(KeyboardInterrupt):  # stopped in order: nothing is wrong
        stream.follow(feed, kept, current, channels, tell, seconds, once=once)


@app.command()
def recalibrate(
    name: Annotated[str, typer.Argument(help="a registered model (its champion), or its experiment, a YAML file")],
    normal: Annotated[
        Path, typer.Argument(help="CSV or Parquet file of normal operation; rows labelled anomalous are left out")
    ],
    labels: Annotated[str, typer.Option(metavar="COLUMN", help="column of 0 and 1, if the file has it")] = "anomaly",
    max_false_alarms: Annotated[
        float, typer.Option(min=0, max=1, help="share of the last third that may lie above the new threshold")
    ] = 0.01,
    force: Annotated[
        str | None, typer.Option(metavar="REASON", help="take the threshold whatever the gates say; the reason is kept")
    ] = None,
) -> None:
    """Take a champion's threshold anew from normal data, and make the result champion if every gate lets it pass."""
    from gridcast import registry
    from gridcast.anomaly import recalibration
    from gridcast.training import backend

    found = registry.find(_registered(name))
    backend.start("jax", CACHE)
    loaded = _detector(found)
    table, known = recalibration.read(normal, loaded.forecaster, labels)
    try:
        figures = recalibration.figures(loaded.forecaster, table, known)
    except Exception as error:
        if getattr(error, "exit_code", None) != DataError.exit_code:  # the carried code has classes of its own
            raise
        raise DataError(f"{normal}: {error}") from None
    out.print(f"{found.name} version {found.version}: {figures.told}", markup=False)
    terminal.promotion(out, recalibration.recalibrate(loaded, figures, normal, max_false_alarms, force))


@simulate.command("sensors")
def simulate_sensors(
    kind: Annotated[str, typer.Option(help="univariate or multivariate")] = "multivariate",
    days: Annotated[
        int, typer.Option(min=2, max=366, help="a reading each minute, anomalies in the last quarter")
    ] = 14,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same data")] = 0,
    folder: Annotated[Path, typer.Option(help="where the files go, in place of those of an earlier call")] = Path(
        "data/sensors"
    ),
) -> None:
    """Write readings of a made-up plant, sensors.csv with a column `anomaly`, and what is wrong where, labels.csv."""
    from gridcast.anomaly import simulation

    _one_of("--kind", kind, simulation.KINDS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"--folder: '{folder}' is a file, or lies below one; name a folder") from None
    readings, labels = simulation.simulate(kind, days * simulation.DAY, seed)
    readings["anomaly"] = simulation.flags(readings, labels).astype(int)
    _write(labels, folder / "labels.csv")
    _write(readings, folder / "sensors.csv")
    clean = int(readings["anomaly"].argmax())
    out.print(
        f"{folder / 'sensors.csv'}: {len(readings):,} readings, {len(labels)} anomalies from "
        f"{readings['time'][clean]} on ({folder / 'labels.csv'})",
        markup=False,
    )


@simulate.command("plant")
def simulate_plant(
    kind: Annotated[str, typer.Option(help="univariate or multivariate")] = "multivariate",
    days: Annotated[int, typer.Option(min=2, max=366, help="how many days it has, anomalies in the last quarter")] = 14,
    seed: Annotated[int, typer.Option(min=0, help="the same seed gives the same data")] = 0,
    speed: Annotated[float, typer.Option(min=0, help="how many times as fast as the clock the minutes come")] = 60.0,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8010,
) -> None:
    """Deliver a made-up plant over HTTP: the clean three quarters at once, then the rest minute by minute."""
    from gridcast.anomaly import plant, simulation

    _one_of("--kind", kind, simulation.KINDS)
    readings, labels = simulation.simulate(kind, days * simulation.DAY, seed)
    clean = int(simulation.CLEAN * len(readings))
    server = plant.serve(readings, labels, host, port, speed, clean)
    out.print(
        f"http://{host}:{port}/readings: {clean:,} minutes are there, then one every {60 / speed:.3g} s until "
        f"{readings['time'].iloc[-1]}; /labels tells of the {len(labels)} anomalies"
        if speed
        else f"http://{host}:{port}/readings: {clean:,} minutes, and no more",
        markup=False,
    )
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()


@app.command()
def doctor(fix: Annotated[bool, typer.Option("--fix", help="mend what is safe to mend")] = False) -> None:
    """Check installation, disk, store and cache; say what is wrong and how to mend it."""
    from gridcast.doctor import examine, mend

    wrong = mendable = 0
    for finding in examine(folder=CACHE, reports=REPORTS):
        out.print(f"{'ok   ' if finding.ok else 'wrong'}  {finding.about}: {finding.text}", markup=False)
        if finding.ok:
            continue
        if fix and finding.mend:
            try:
                out.print(f"       mended: {mend(finding)}", markup=False)
                continue
            except GridcastError as error:
                out.print(f"       not mended: {error}", markup=False)
        else:
            out.print(f"       remedy: {finding.remedy}", markup=False)
        wrong += 1
        mendable += not fix and finding.mend is not None
    if wrong:
        told = f"; `gridcast doctor --fix` mends {mendable} of them" if mendable else ""
        raise GridcastError(f"wrong: {wrong}{told}")
    out.print("All is well.")


def _train(planned: Plan, place: Any) -> None:
    """Sweep, promote through the gates, report; what `gridcast run` does."""
    # MLflow takes seconds to load: beside what the workers import.
    from gridcast import sweep, tracking
    from gridcast.progress import Progress, duration

    store = tracking.open_store(planned.experiment.name)
    started, before_sweep = time.perf_counter(), time.time() - psutil.Process().create_time()
    with Progress(out) as progress:
        result = sweep.run(planned, store, place, progress)
    swept = time.perf_counter()
    counts = f"{result.trained} runs trained, {result.skipped} finished before, {result.failed} failed"
    counts += f", {result.stopped} stopped early" if result.stopped else ""
    out.print(f"{counts}, in {duration(time.perf_counter() - started)}.")
    terminal.tests(out, result)
    name, before = planned.experiment.name, tracking.tags(store, result.parent)
    told = before.get(tracking.PROMOTION)
    # A start that brings nothing new leaves the registry alone: somebody may have rolled back since.
    if planned.experiment.selection.promote_to and (result.trained or result.new or not told):
        told = _promote(planned, store, result)
    page, verdict = REPORTS / name / "report.html", before.get(tracking.VERDICT)
    if result.trained or result.new or told != before.get(tracking.PROMOTION) or not verdict or not page.exists():
        verdict = _report(name, store)
    if result.trained:
        spent = {**result.seconds, "report and promotion": time.perf_counter() - swept}
        spent = {"start": before_sweep + swept - started - sum(result.seconds.values()), **spent}
        out.print(f"Time: {', '.join(f'{name} {duration(seconds)}' for name, seconds in spent.items())}.")
    out.print(f"Report: {page}", markup=False)
    out.print(f'Load it: mlflow.pyfunc.load_model("runs:/{result.winner.info.run_id}/model")', markup=False)
    out.print(verdict, markup=False)
    if result.failed:
        raise GridcastError(
            f"{result.failed} of {len(planned.runs)} runs failed; their reasons stand above and in MLflow"
        )


def _promote(planned: Plan, store: Store, result: Result) -> str:
    """Let the winner stand at the gates; what came of it is kept with the sweep, for the report."""
    from gridcast import promotion, tracking

    try:
        made = promotion.promote(planned.experiment, store, result.winner, result.tested, _champion_on(planned))
        terminal.promotion(out, made)
        told = f"It is the champion: {made.name} version {made.version}"
        told += f", marked as beaten by {made.beaten_by}." if made.beaten_by else "."
    except PromotionRefused as refusal:
        out.print(str(refusal), markup=False)
        told = f"It was not promoted: {refusal}"
    tracking.set_tag(store, result.parent, tracking.PROMOTION, told)
    return told


def _champion_on(planned: Plan) -> Callable[[dict[str, bytes]], dict[str, float]]:
    """What measures a champion, given its files, on the test span of `planned`."""

    def evaluate(files: dict[str, bytes]) -> dict[str, float]:
        from gridcast import promotion
        from gridcast.training import backend

        backend.start(planned.backend, CACHE)
        from gridcast.training import fit

        try:
            return promotion.on_test_span(fit.restore(files), planned)
        finally:
            backend.release()

    return evaluate


def _on_its_data(found: Found, experiment: Path | None, source: str | None) -> tuple[Store, str, dict[str, Any], Plan]:
    """The store, sweep and record of a model, and the plan of its experiment on its data or those of `source`."""
    from gridcast import plan as plans
    from gridcast import tracking

    store, parent = tracking.sweep_of(found.run_id)
    about = json.loads(tracking.artifact(store, parent, "sweep.json"))
    text = tracking.artifact(store, parent, "experiment.yaml").decode()
    read = config.read(experiment) if experiment else config.parse(text, f"the sweep of {found.name or found.uri}")
    text = experiment.read_text(encoding="utf-8") if experiment else text
    if read.task == "anomaly":
        raise ConfigError(f"{found.name or found.uri}: tells anomalies, and this is for forecasts")
    if source is not None:
        read = read.model_copy(update={"data": read.data.model_copy(update={"source": source})})
    return store, parent, about, plans.make(read, text, "jax")


def _elsewhere(planned: Plan, source: str) -> Plan:
    """The plan of the same experiment on the data of `source`."""
    from gridcast import plan as plans

    text = config.with_source(planned.text, source)
    made = plans.make(config.parse(text, f"the experiment on {source}"), text, "jax")
    terminal.plan(out, made)
    return made


def _registered(name: str) -> str:
    """The registered model that is meant: that of the experiment, where a file is named."""
    if not name.endswith((".yaml", ".yml")):
        return name
    found = config.read(Path(name)).selection.promote_to
    if found is None:
        raise ConfigError(f"{name}: selection.promote_to: is missing; its sweep registers no model that can be served")
    return found


def _champion(name: str, wait: int | None) -> Callable[[], Any]:
    """What gives the detector that is champion of `name` whenever it is asked, loaded anew where it is another one."""
    from gridcast import registry
    from gridcast.anomaly import stream
    from gridcast.training import backend

    held: dict[str | None, stream.Model] = {}

    def current() -> stream.Model:
        try:
            found = registry.find(name)
        except TrackingError:
            if held:  # MLflow is away: the version that is here goes on
                return next(iter(held.values()))
            raise
        if found.version not in held:
            backend.start("jax", CACHE)
            detector = _detector(found).forecaster
            held.clear()
            half = 0 if detector.kind == "prediction" else detector.lookback // 2  # an error ahead does not change
            held[found.version] = stream.Model(
                name, found.version or found.uri, detector, half if wait is None else wait
            )
        return held[found.version]

    return current


def _detector(found: Found) -> Loaded:
    """The detector that was found. Raises ConfigError where it is a forecaster."""
    from gridcast import registry

    loaded = registry.load(found.uri)
    if not hasattr(loaded.forecaster, "threshold"):
        raise ConfigError(f"{found.name or found.uri} forecasts; name a model that was trained with task: anomaly")
    return loaded


def _one_of(option: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        known = f"{suggest(value, allowed)} (allowed: {', '.join(allowed)})"
        raise ConfigError(f"{option}: '{value}' is not allowed{known}")


def _levels(text: str | None) -> tuple[float, ...] | None:
    try:
        return None if text is None else tuple(map(float, text.split(",")))
    except ValueError:
        raise ConfigError(f"--quantiles: '{text}' must be levels such as 0.05,0.5,0.95") from None


def _writable(output: Path | None) -> None:
    if output and (output.suffix not in (".csv", ".parquet") or not output.absolute().parent.is_dir()):
        raise ConfigError(f"--output: '{output}' must be a .csv or .parquet file in a folder that exists")


def _write(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV or Parquet file whole or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".parquet":
            table.to_parquet(aside, index=False)
        else:
            table.to_csv(aside, index=False)
        aside.replace(path)
    except OSError as error:
        raise GridcastError(f"{path}: cannot be written: {error}") from None
    finally:
        aside.unlink(missing_ok=True)


def _report(name: str, store: Store) -> str:
    """Write the report and return its verdict, a sentence a line."""
    from gridcast.analysis import record
    from gridcast.analysis import report as reports

    _, findings = reports.write(record.read(store, name), store, REPORTS)
    return findings.verdict


def _plan(path: Path, backend: str) -> Plan:
    if backend not in ("jax", "tensorflow"):
        raise ConfigError(f"--backend: '{backend}' is not allowed (allowed: jax, tensorflow)")
    experiment = config.read(path)
    from gridcast.plan import make

    planned = make(experiment, path.read_text(encoding="utf-8"), backend)
    terminal.plan(out, planned)
    return planned


def _place(backend: str, workers: int | None, memory: float | None = None, scheduler: str | None = None) -> Any:
    """Where to execute; workers of this machine begin to import what they need, beside what comes next."""
    from gridcast import execution, worker

    if workers is not None and workers < 1:
        raise ConfigError(f"--workers: must be at least 1 (got {workers})")
    if scheduler is not None and not re.fullmatch(r"\w+://[^\s/]+:\d+/?", scheduler):
        raise ConfigError(f"--scheduler: '{scheduler}' is no address such as tcp://host:8786")
    limit = None if memory is None else int(memory * 2**30)
    place = execution.Place(workers or len(worker.gpus()) or worker.cores(), backend, CACHE, limit, scheduler)
    if place.workers > 1 and scheduler is None:
        worker.prepare(backend)
    return place


if __name__ == "__main__":
    main()
