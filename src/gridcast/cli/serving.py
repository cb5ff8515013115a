"""A model in use: serve it, and monitor it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from gridcast.api import model_argument, monitor
from gridcast.api.folders import CACHE
from gridcast.cli.app import AlertAddresses, DataDescription, Model, TableSource, Workers, app
from gridcast.cli.printer import Printer, interruption_explained
from gridcast.runtime.errors import GridcastError

SERVICE = CACHE / "serving"
KeyRate = Annotated[
    float,
    typer.Option(min=0, help="small requests per second of an API key; larger ones count more (0: no limit)"),
]
AddressRate = Annotated[
    float | None, typer.Option(min=0, help="requests per second of a client address (default: as --rate; 0: no limit)")
]
Concurrent = Annotated[int, typer.Option(min=1, help="requests that are worked on at a time; others are refused")]
TrustedProxies = Annotated[
    list[str] | None,
    typer.Option(
        "--trusted-proxy",
        metavar="ADDRESS|NETWORK",
        help="proxy whose X-Forwarded-For names the client address, such as 172.18.0.0/16; repeatable",
    ),
]
RootPath = Annotated[
    str, typer.Option(metavar="PATH", help="path under which a proxy publishes the service, such as /forecasts")
]
Origins = Annotated[
    list[str] | None,
    typer.Option(
        "--cors-origin", metavar="URL", help="origin of web pages that may call the service from a browser; repeatable"
    ),
]


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
    with interruption_explained():
        findings = monitor.monitor(
            model,
            actuals,
            served=served,
            max_error=max_error,
            max_psi=max_psi,
            coverage_gap=coverage_gap,
            alpha=alpha,
            alert=alert or (),
            retrain=retrain,
            description=experiment,
            data=data,
            workers=workers,
            progress=Printer(),
        )
    if findings.alarms:
        raise GridcastError(findings.headline)


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
    rate: KeyRate = 100.0,
    address_rate: AddressRate = None,
    concurrent: Concurrent = 256,
    seconds: Annotated[float, typer.Option(min=0.1, help="time limit of a request")] = 30.0,
    trusted_proxy: TrustedProxies = None,
    root_path: RootPath = "",
    cors_origin: Origins = None,
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
    from gridcast.serving import client_addresses, rate_limits, settings, web_origins

    models = tuple(dict.fromkeys(model_argument.registered_name(name, "serve") for name in names))
    service = settings.Settings(
        models,
        folder=folder,
        token=settings.admin_token(os.environ, host, insecure_local=insecure_local),
        limits=rate_limits.limits_of_rates(rate, address_rate, concurrent=concurrent, seconds=seconds),
        log_predictions=keep,
        shadows=settings.parse_shadows(tuple(shadow or ()), models),
        trusted_proxies=client_addresses.parse_networks(trusted_proxy or ()),
        root_path=settings.parse_root_path(root_path),
        cors_origins=web_origins.parse_origins(cors_origin or ()),
    )
    # Models carry code, in this process and in those that it starts.
    os.environ.pop(settings.TOKEN_VARIABLE, None)
    from gridcast.serving import server
    from gridcast.tracking.store import require_store

    require_store()
    with contextlib.suppress(KeyboardInterrupt):  # stopped in order, not an error
        server.serve(service, host, port, cache=CACHE)
