"""A model in use: serve, and monitor what came of it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from gridcast.cli import terminal
from gridcast.cli.app import CACHE, REPORTS, Workers, app, out
from gridcast.cli.experiments import choose_place, plan_of_model, plan_on_source, registered_name
from gridcast.cli.run_sweep import run_sweep
from gridcast.monitoring import alerts
from gridcast.runtime.errors import DataError, GridcastError


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
    notices = alerts.open_notifier(alert) if alert else None
    from gridcast.data import prediction_files
    from gridcast.monitoring import champion
    from gridcast.monitoring.findings import AlarmLimits
    from gridcast.reporting import html, monitor_page
    from gridcast.tracking import model_loading
    from gridcast.training import keras_backend

    found = model_loading.find_model(model)
    store, parent, about, planned = plan_of_model(found, experiment, data)
    again = plan_on_source(planned, retrain) if retrain else None
    keras_backend.start("jax", CACHE)
    watched = champion.watched_model(model_loading.load_model(found.uri), store, parent, about, planned)
    table = prediction_files.read(actuals, watched.preprocessing)
    try:
        findings = champion.monitor(watched, table, AlarmLimits(**limits), served=served)
    except DataError as error:
        raise DataError(f"{actuals}: {error}") from None
    page = monitor_page.render_page(findings)
    path = monitor_page.write_page(page, watched.name, REPORTS)
    champion.log_findings(findings, {html.MONITOR_FILE: page.encode()})
    terminal.print_monitor(out, findings)
    out.print(f"Report: {path}", markup=False)
    if not findings.alarms:
        return
    if notices is not None:
        alerts.send_notice(notices, findings.headline, "\n".join([*findings.alarms, *findings.remarks]))
    if again is not None:
        out.print("Training again on the new data; the gates decide what becomes champion.")
        run_sweep(again, choose_place("jax", workers))
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
    from gridcast.serving import rate_limits, settings

    named = tuple(dict.fromkeys(map(registered_name, names)))
    token = settings.admin_token(os.environ, host, insecure_local=insecure_local)
    asked = settings.Settings(
        named,
        folder=folder,
        token=token,
        limits=rate_limits.RequestLimits(rate=rate, burst=max(1, round(2 * rate))),
        keep=keep,
        shadows=settings.parse_shadows(tuple(shadow or ()), named),
    )
    from gridcast.serving import server

    with contextlib.suppress(KeyboardInterrupt):  # stopped in order: nothing is wrong
        server.serve(asked, host, port, CACHE)
