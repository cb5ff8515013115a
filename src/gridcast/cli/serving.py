"""A model in use: serve it, and monitor it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gridcast.cli import model_argument, terminal
from gridcast.cli.app import (
    CACHE,
    REPORTS,
    AlertAddresses,
    DataDescription,
    Model,
    TableSource,
    Workers,
    app,
    cache_if_present,
    out,
)
from gridcast.cli.experiments import choose_workers, plan_of_model, plan_on_source
from gridcast.cli.run_sweep import run_sweep
from gridcast.monitoring import alerts
from gridcast.runtime.errors import DataError, GridcastError

if TYPE_CHECKING:
    from gridcast.monitoring.findings import AlarmLimits, MonitorFindings, WatchedModel


SERVICE = CACHE / "serving"


@app.command("monitor")
def monitor_verb(
    model: Model,
    actuals: TableSource,
    served: Annotated[
        Path | None,
        typer.Option(help="log of served forecasts (of `gridcast serve --keep`) to judge instead of new forecasts"),
    ] = None,
    max_error: Annotated[
        float, typer.Option(min=0, help="largest live MASE without an alarm, as a multiple of that at promotion")
    ] = 1.25,
    max_psi: Annotated[
        float, typer.Option(min=0, help="largest population stability index of a feature without an alarm")
    ] = 0.1,
    coverage_gap: Annotated[
        float, typer.Option(min=0, max=1, help="how far the coverage of intervals may lie below the promised one")
    ] = 0.1,
    alpha: Annotated[
        float, typer.Option(min=0, max=1, help="largest p value at which a difference raises an alarm")
    ] = 0.01,
    alert: AlertAddresses = None,
    retrain: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="after an alarm, train the experiment on these data, old and new; the promotion gates decide",
        ),
    ] = None,
    experiment: DataDescription = None,
    data: Annotated[str | None, typer.Option(help="where the experiment's data are now, if they were moved")] = None,
    workers: Workers = None,
) -> None:
    """Compare forecasts with what actually happened.

    Reports live error, drift of the inputs and coverage of the intervals; exits with 1 after an alarm.
    """
    notifier = alerts.open_notifier(alert) if alert else None
    from gridcast.monitoring import champion
    from gridcast.monitoring.findings import AlarmLimits
    from gridcast.tracking import model_loading
    from gridcast.training import keras_backend

    reference = model_argument.find_model(model)
    planned = plan_of_model(reference, experiment, data)
    plan_of_retraining = plan_on_source(planned, retrain) if retrain else None
    keras_backend.start("jax", cache_if_present(CACHE))
    loaded, recorded = model_loading.load_model(reference.uri), planned.recorded
    plan = planned.plan
    watched = champion.watched_model(loaded, recorded.store, parent=recorded.sweep_id, about=recorded.about, plan=plan)
    limits = AlarmLimits(error=max_error, psi=max_psi, coverage=coverage_gap, alpha=alpha)
    findings = _compare(watched, actuals, limits, served)
    if not findings.alarms:
        return
    if notifier is not None:
        alerts.send_notice(notifier, findings.headline, "\n".join([*findings.alarms, *findings.remarks]))
    if plan_of_retraining is not None:
        out.print("Training again on the new data; the gates decide what becomes champion.")
        run_sweep(plan_of_retraining, choose_workers("jax", workers))
    raise GridcastError(findings.headline)


def _compare(watched: WatchedModel, actuals: str, limits: AlarmLimits, served: Path | None) -> MonitorFindings:
    """Compare a model with a table of actual values; write the page, record the findings in MLflow, and print them."""
    from gridcast.data import prediction_files
    from gridcast.data.file_bytes import shown
    from gridcast.monitoring import champion
    from gridcast.reporting import html, monitor_page

    table = prediction_files.read_series_table(actuals, watched.preprocessing)
    try:
        findings = champion.monitor(watched, table, limits, served=served)
    except DataError as error:
        raise DataError(f"{shown(actuals)}: {error}") from None
    page = monitor_page.render_page(findings)
    path = monitor_page.write_page(page, watched.name, REPORTS)
    champion.log_findings(findings, {html.MONITOR_FILE: page.encode()})
    terminal.print_monitor(out, findings)
    out.print(f"Report: {path}", markup=False)
    return findings


@app.command("serve")
def serve_verb(
    names: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="registered models, models:/ URIs of champions, or experiment files"),
    ],
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="port to listen on")] = 8000,
    insecure_local: Annotated[
        bool, typer.Option("--insecure-local", help="no API keys, for this machine only; needs no GRIDCAST_ADMIN_TOKEN")
    ] = False,
    rate: Annotated[
        float, typer.Option(min=0, help="requests per second allowed per API key and per client address (0: no limit)")
    ] = 100.0,
    keep: Annotated[
        bool, typer.Option("--keep", help="log requests and forecasts, for `gridcast monitor --served`")
    ] = False,
    shadow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME@ALIAS",
            help="also run this challenger on each request; its forecasts are logged, not returned; repeatable",
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="folder of the API keys and of the log of served forecasts")] = SERVICE,
) -> None:
    """Serve the champions of registered models over HTTP."""
    from gridcast.serving import rate_limits, settings

    models = tuple(dict.fromkeys(model_argument.registered_name(name, "serve") for name in names))
    service = settings.Settings(
        models,
        folder=folder,
        token=settings.admin_token(os.environ, host, insecure_local=insecure_local),
        limits=rate_limits.RequestLimits(rate=rate, burst=max(1, round(2 * rate))),
        log_predictions=keep,
        shadows=settings.parse_shadows(tuple(shadow or ()), models),
    )
    from gridcast.serving import server
    from gridcast.tracking.store import require_store

    require_store()
    with contextlib.suppress(KeyboardInterrupt):  # stopped in order, not an error
        server.serve(service, host, port, cache=CACHE)
