"""The service on a port, until it is stopped."""

from __future__ import annotations

import functools
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from gridcast.serving import json_logging
from gridcast.serving.models import loading
from gridcast.serving.models.loading import ModelLoader
from gridcast.serving.settings import Settings

if TYPE_CHECKING:
    import uvicorn


SWITCH_INTERVAL = 0.001
"""Seconds that a thread may hold Python while others wait; the default of 0.005 would be noticeable in latencies."""


def serve(settings: Settings, host: str, port: int, *, cache: Path) -> None:
    """Serve until SIGINT or SIGTERM; requests in progress are finished.

    Compiled programs are kept in `cache`. Raises GridcastError if the port is not free, TrackingError if a model cannot
    be loaded.
    """
    from gridcast.serving import listening
    from gridcast.training import keras_backend

    sockets = listening.bind(host, port)  # before the models, which take seconds
    json_logging.configure()
    keras_backend.start_inference(cache)
    sys.setswitchinterval(SWITCH_INTERVAL)
    server = create_server(settings, host, port, load=functools.partial(loading.load_in_subprocess, cache))
    gc.collect()
    # What is loaded now stays. Frozen, it is skipped by later collections, which would take tens of milliseconds.
    gc.freeze()
    with listening.explained(host, port):
        server.run(sockets=sockets)


def create_server(settings: Settings, host: str, port: int, *, load: ModelLoader = loading.load) -> uvicorn.Server:
    """Return a server of the service, not running yet, with models loaded by `load`. Raises TrackingError."""
    import uvicorn

    from gridcast.serving.app import create_application
    from gridcast.serving.connections import Connections
    from gridcast.serving.limited_protocol import LimitedProtocol
    from gridcast.serving.listening import BoundServer

    connections = Connections(settings.door, settings.trusted_proxies)
    return BoundServer(
        uvicorn.Config(
            create_application(settings, load),
            host=host,
            port=port,
            http=functools.partial(LimitedProtocol, connections, settings.door),  # type: ignore[arg-type]
            ws="none",  # it would leave the limits behind
            log_config=None,
            access_log=False,
            # Rate limits would be useless if clients could name their own address in a header.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
    )
