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
"""Seconds that one thread may hold Python while others wait; its own 0.005 would be felt in an answer's time."""


def serve(settings: Settings, host: str, port: int, cache: Path) -> None:
    """Serve until SIGINT or SIGTERM; requests that have begun are answered. Raises TrackingError."""
    from gridcast.training import keras_backend

    json_logging.configure()
    keras_backend.answer(cache)
    sys.setswitchinterval(SWITCH_INTERVAL)
    own = create_server(settings, host, port, functools.partial(loading.load_in_subprocess, cache))
    gc.collect()
    gc.freeze()  # what is loaded stays: no later collection need look at it, which takes tens of milliseconds
    own.run()


def create_server(settings: Settings, host: str, port: int, load: ModelLoader = loading.load) -> uvicorn.Server:
    """The service that `settings` describe, its models loaded by `load`, not running yet. Raises TrackingError."""
    import uvicorn

    from gridcast.serving.app import create_application

    return uvicorn.Server(
        uvicorn.Config(
            create_application(settings, load),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            # An address that a client wrote itself would be no limit to it.
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
    )
