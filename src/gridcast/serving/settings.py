"""What a service is started with."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gridcast.runtime.errors import ConfigError
from gridcast.serving.rate_limits import RequestLimits

TOKEN_VARIABLE = "GRIDCAST_ADMIN_TOKEN"  # noqa: S105 - the name of the variable that holds it
MIN_TOKEN_LENGTH = 16


@dataclass(frozen=True)
class Settings:
    """The registered models `names` of the MLflow store `uri` (None: as ever), and who may ask them what.

    `token` is the admin's; without one the service is `open`, asks for no keys and makes none. Keys
    lie in `folder`, and where `keep` is set what was served, `kept` rows of it at most. `shadows` gives
    a challenger, such as `models:/retail@challenger`, to each model that has one. Every `poll` seconds the
    aliases are looked at; questions that arrive within `gather` seconds go through a network together.
    """

    names: tuple[str, ...]
    folder: Path = Path(".gridcast/serving")
    token: str | None = field(default=None, repr=False)
    uri: str | None = None
    limits: RequestLimits = field(default_factory=RequestLimits)
    keep: bool = False
    kept: int = 1_000_000
    shadows: Mapping[str, str] = field(default_factory=dict)
    poll: float = 5.0
    gather: float = 0.002

    @property
    def open(self) -> bool:
        """Whether it asks for no keys."""
        return self.token is None


def admin_token(environment: Mapping[str, str], host: str, *, insecure_local: bool) -> str | None:
    """The admin token of the environment, None for an open service. Raises ConfigError where that is not allowed."""
    token = environment.get(TOKEN_VARIABLE)
    if token:
        if len(token) < MIN_TOKEN_LENGTH:
            raise ConfigError(
                f"{TOKEN_VARIABLE}: must have at least {MIN_TOKEN_LENGTH} characters; make one: openssl rand -hex 32"
            )
        return token
    if not insecure_local:
        raise ConfigError(
            f"{TOKEN_VARIABLE}: is not set; set it (export {TOKEN_VARIABLE}=$(openssl rand -hex 32)), "
            "or give --insecure-local for one without keys on this machine alone"
        )
    if not is_loopback(host):
        raise ConfigError(f"--insecure-local: '{host}' is no loopback address; use 127.0.0.1, or set {TOKEN_VARIABLE}")
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_shadows(given: tuple[str, ...], names: tuple[str, ...]) -> dict[str, str]:
    """`NAME@alias` -> the URI of the challenger beside each of `names` that has one. Raises ConfigError."""
    found = {}
    for one in given:
        name, _, alias = one.partition("@")
        if name not in names or not alias:
            text = f"--shadow: '{one}' must be an alias of a model that is served, such as {names[0]}@challenger"
            raise ConfigError(text)
        found[name] = f"models:/{one}"
    return found
