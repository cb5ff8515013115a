"""Settings of a service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gridcast.runtime.errors import ConfigError
from gridcast.serving.client_addresses import Network, is_loopback
from gridcast.serving.rate_limits import RequestLimits

TOKEN_VARIABLE = "GRIDCAST_ADMIN_TOKEN"  # noqa: S105 - the name of the variable that holds it
MIN_TOKEN_LENGTH = 16
ROOT_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)+/?")


@dataclass(frozen=True)
class DoorLimits:
    """Limits of connections, of headers, and of bodies while they are read.

    At most `connections` are open, fewer where the process may open too few files, and `address_connections` of them to
    one address. A header, of at most `header_bytes` and `header_lines`, must be complete within `header_seconds`, and
    so must the next one, or the connection is closed; a body within `body_seconds`. Bodies of more than `small_body`
    bytes that are read or worked on have at most `all_bodies` bytes together, and `client_bodies` those of one client.
    On paths that take no data a body has at most `other_body` bytes.
    """

    connections: int = 4096
    address_connections: int = 512
    header_bytes: int = 16 * 2**10
    header_lines: int = 100
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    small_body: int = 64 * 2**10
    client_bodies: int = 16 * 2**20
    all_bodies: int = 32 * 2**20
    other_body: int = 4 * 2**10


@dataclass(frozen=True)
class Settings:
    """The registered models `names` of the MLflow store at `uri` (None: the default store), and how they are served.

    `token` is the admin token; without one the service is open: it needs no keys and creates none. The key database
    lies in `folder`; if `log_predictions` is set, so does the prediction log, of at most `max_logged_rows` rows.
    `shadows` maps the name of a model to its challenger, such as `models:/retail@challenger`. The aliases are looked up
    every `poll_seconds`. A request waits up to `batch_seconds` for others to go through the network with it.

    Only the proxies in `trusted_proxies` may name the address of a client, and have no limit of connections of their
    own; `root_path` is the path under which one publishes the service, such as /forecasts. Web pages from
    `cors_origins` may call it.
    """

    names: tuple[str, ...]
    folder: Path = Path(".gridcast/serving")
    token: str | None = field(default=None, repr=False)
    uri: str | None = None
    limits: RequestLimits = field(default_factory=RequestLimits)
    log_predictions: bool = False
    max_logged_rows: int = 1_000_000
    shadows: Mapping[str, str] = field(default_factory=dict)
    poll_seconds: float = 5.0
    batch_seconds: float = 0.002
    door: DoorLimits = field(default_factory=DoorLimits)
    trusted_proxies: tuple[Network, ...] = ()
    root_path: str = ""
    cors_origins: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether requests need no key."""
        return self.token is None


def admin_token(environment: Mapping[str, str], host: str, *, insecure_local: bool) -> str | None:
    """Return the admin token of the environment, None for an open service.

    Raises ConfigError for a token that is too short, and for an open service without `insecure_local` or on a `host`
    that other machines can reach.
    """
    token = environment.get(TOKEN_VARIABLE)
    if token:
        if len(token) < MIN_TOKEN_LENGTH:
            raise ConfigError(
                f"{TOKEN_VARIABLE}: must have at least {MIN_TOKEN_LENGTH} characters; "
                "generate one: openssl rand -hex 32"
            )
        return token
    if not insecure_local:
        raise ConfigError(
            f"{TOKEN_VARIABLE}: is not set; set it (export {TOKEN_VARIABLE}=$(openssl rand -hex 32)), "
            "or give --insecure-local for a service without keys on this machine only"
        )
    if not is_loopback(host):
        raise ConfigError(
            f"--insecure-local: '{host}' is not a loopback address; use 127.0.0.1, or set {TOKEN_VARIABLE}"
        )
    return None


def parse_root_path(option: str) -> str:
    """Return the path under which the service is published, without a slash at its end. Raises ConfigError."""
    if option.strip("/") and not ROOT_PATH.fullmatch(option):
        raise ConfigError(
            f"--root-path: '{option}' is not a path such as /forecasts (letters, digits, and any of -._~ after each /)"
        )
    return option.rstrip("/")


def parse_shadows(options: tuple[str, ...], names: tuple[str, ...]) -> dict[str, str]:
    """Return the URI of the challenger by the name of its model, from `options` of the form `NAME@ALIAS`.

    Raises ConfigError for one that is not an alias of the served models `names`.
    """
    shadows = {}
    for option in options:
        name, _, alias = option.partition("@")
        if name not in names or not alias:
            raise ConfigError(f"--shadow: '{option}' must be an alias of a served model, such as {names[0]}@challenger")
        shadows[name] = f"models:/{option}"
    return shadows
