"""Word to people: mail, chat, web hooks and whatever else apprise knows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from gridcast.errors import ConfigError

LOG = logging.getLogger(__name__)


def opened(urls: Sequence[str]) -> Any:
    """What sends to all of `urls`, such as `mailto://…` or `slack://…`. Raises ConfigError.

    An address may hold a password, so that no message shows more of it than its scheme.
    """
    try:
        import apprise
    except ImportError:
        raise ConfigError("--alert: apprise is not installed; pip install 'gridcast[alerts]'") from None
    notices = apprise.Apprise()
    for number, url in enumerate(urls, start=1):
        if not notices.add(url):
            scheme = url.partition("://")[0] if "://" in url else "none"
            raise ConfigError(
                f"--alert: address {number} (scheme: {scheme}) is none that apprise knows; "
                "write it as in its list of services, such as mailto://user:password@host or json://host/path"
            )
    return notices


def send(notices: Any, title: str, text: str) -> None:
    """Send to every address; one that cannot be reached is a warning, since the verdict stands in the page too."""
    if not notices.notify(title=title, body=text):
        LOG.warning("--alert: at least one address could not be reached; the verdict stands on this page alone")
