"""Follow a feed: look, score, deliver alerts, wait."""

from __future__ import annotations

import re
import time as clock
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gridcast.monitoring import alerts
from gridcast.monitoring.stream.feeds import FolderFeed, WebFeed
from gridcast.monitoring.stream.followed_model import FollowedModel, iso_stamp, utc_now
from gridcast.monitoring.stream.ingest import LOG, ingest_batch, score_waiting_steps
from gridcast.monitoring.stream.ledger import Alert, Ledger
from gridcast.runtime.errors import ConfigError, GridcastError

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}


Channel = Callable[[Alert], bool]
"""Delivers an alert; tells whether it arrived."""


def parse_interval(every: str, option: str = "--every") -> float:
    """Of a span such as 90s, 15m, 2h, which the `option` gives. Raises ConfigError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", every.strip())
    if not found or not float(found[1]):
        raise ConfigError(f"{option}: '{every}' is no span of time such as 90s, 15m, 2h or 7d")
    return float(found[1]) * SECONDS_PER_UNIT[found[2]]


def alert_channels(tell: Callable[[str], None], webhook: str | None, urls: Sequence[str]) -> dict[str, Channel]:
    """By name whoever is told of an alert: the console, a web hook, each of the apprise `urls`. Raises ConfigError."""

    def console(alert: Alert) -> bool:
        tell(f"ALERT {alert.title}. {alert.text}")
        return True

    def posted(alert: Alert) -> bool:
        about = {"id": alert.id, "title": alert.title, "text": alert.text, "event": dict(alert.event)}
        return alerts.post_webhook(str(webhook), about, alert.id)

    def sent(notices: Any) -> Channel:
        return lambda alert: alerts.send_notice(notices, alert.title, alert.text, "the alert waits for the next look")

    found: dict[str, Channel] = {"console": console}
    if webhook is not None:
        alerts.check_webhook(webhook)
        found["webhook"] = posted
    if urls:
        alerts.open_notifier(urls)  # which tells the number of one that is wrong
    return found | {f"alert {number}": sent(alerts.open_notifier([url])) for number, url in enumerate(urls, start=1)}


def follow_feed(
    feed: FolderFeed | WebFeed,
    ledger: Ledger,
    *,
    current_model: Callable[[], FollowedModel],
    channels: Mapping[str, Channel],
    tell: Callable[[str], None],
    interval: float,
    once: bool = False,
) -> None:
    """Look at `feed` every so many seconds, or once, and take what is new, by the model that is `current` then.

    What fails at one look is told, and tried again at the next. Raises GridcastError where it is the only one:
    the feed gives no answer, or alerts could not be delivered.
    """
    for channel in sorted({channel for channel, _ in ledger.unsent()} - set(channels)):
        tell(f"alerts of an earlier start wait for the channel '{channel}', which is not given now")
    due, silent = clock.monotonic(), False
    while True:
        before = ledger.mark
        try:
            waiting = poll_once(feed, ledger, current_model(), channels, tell)
            if once and waiting:
                raise GridcastError(f"{waiting} alerts could not be delivered; they wait in {ledger.path}")
        except GridcastError as error:
            if once:
                raise
            LOG.warning("%s; tried again in %.0f s", error, interval)
        if once:
            return
        now_silent = ledger.mark == before
        if now_silent and not silent:
            tell(f"nothing new{'' if before is None else f', the newest step is {before}'}")
        silent = now_silent
        due = max(due + interval, clock.monotonic())
        clock.sleep(max(0.0, due - clock.monotonic()))


def poll_once(
    feed: FolderFeed | WebFeed,
    ledger: Ledger,
    model: FollowedModel,
    channels: Mapping[str, Channel],
    tell: Callable[[str], None],
) -> int:
    """Take all that is new, stretch by stretch, and deliver what waits; returns how many alerts wait still.

    A feed is asked again as long as it brings newer steps, as some give no more than so many rows at once.
    """
    waiting, came = deliver_alerts(ledger, channels), False
    while True:
        before = ledger.mark
        for stretch in feed.new(ledger.taken(), before):
            came = True
            if told := ingest_batch(stretch, ledger, model, tuple(channels), utc_now()):
                tell(told)
                waiting = deliver_alerts(ledger, channels)
        if ledger.mark == before:
            break
    if not came and (told := score_waiting_steps(ledger, model, tuple(channels), utc_now())):
        tell(told)
        waiting = deliver_alerts(ledger, channels)
    return waiting


def deliver_alerts(ledger: Ledger, channels: Mapping[str, Channel]) -> int:
    """Send what waits in the outbox; returns how much waits still, as its channel failed or is not there today."""
    failed = set()
    left = 0
    for channel, alert in ledger.unsent():
        if channel in failed or channel not in channels or not channels[channel](alert):
            failed.add(channel)
            left += channel in channels
            continue
        ledger.mark_sent(alert, channel, iso_stamp(utc_now()))
    return left
