"""Send alerts: mail, chat and other services that apprise supports, and web hooks."""

from __future__ import annotations

import http.client
import json
import logging
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from gridcast.runtime.errors import ConfigError

WEBHOOK_TIMEOUT = 10.0
"""Seconds that a web hook may take to respond."""
LOG = logging.getLogger(__name__)


def open_notifier(urls: Sequence[str]) -> Any:
    """Return the apprise object that sends to all of `urls`, such as `mailto://…` or `slack://…`. Raises ConfigError.

    An address may contain a password, so messages show only its scheme.
    """
    try:
        import apprise
    except ImportError:
        raise ConfigError("--alert: apprise is not installed; run: pip install 'gridcast[alerts]'") from None
    notifier = apprise.Apprise()
    for number, url in enumerate(urls, start=1):
        if not notifier.add(url):
            scheme = url.partition("://")[0] if "://" in url else "none"
            raise ConfigError(
                f"--alert: address {number} (scheme: {scheme}) is not supported by apprise; use a form from its list "
                "of services, such as mailto://user:password@host or json://host/path"
            )
    return notifier


def send_notice(notifier: Any, title: str, text: str, *, consequence: str = "the verdict is only on the page") -> bool:
    """Send to every address; return whether all were reached. If not, a warning names the `consequence`."""
    reached = bool(notifier.notify(title=title, body=text))
    if not reached:
        LOG.warning("--alert: at least one address could not be reached; %s", consequence)
    return reached


def check_webhook(url: str) -> None:
    """Raise ConfigError where `post_webhook` cannot use `url`; the message omits the address, which may be secret."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--webhook: the address (scheme: {parts.scheme or 'none'}) must be like https://host/path")


def post_webhook(url: str, content: Mapping[str, Any], key: str) -> bool:
    """POST `content` as JSON to a web hook; return whether it was accepted. If not, log a warning.

    The header `Idempotency-Key` lets the receiver drop a message that it has already received.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": urllib.parse.quote(key, safe="/:")}
    request = urllib.request.Request(url, json.dumps(content).encode(), headers)  # noqa: S310 - see `check_webhook`
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT):  # noqa: S310
            return True
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # an HTTPError is an open response too
        LOG.warning("--webhook: %s; the alert is sent again at the next poll", error)
        return False
