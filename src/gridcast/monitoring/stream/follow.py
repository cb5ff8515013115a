"""Follow a feed: poll it, score what is new, deliver alerts, wait."""

from __future__ import annotations

import re
import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gridcast.monitoring import alerts
from gridcast.monitoring.stream.feeds import FolderFeed, WebFeed
from gridcast.monitoring.stream.followed_model import FollowedModel, iso_stamp, utc_now
from gridcast.monitoring.stream.ingest import (
    LOG,
    BatchOutcome,
    ingest_batch,
    score_waiting_steps,
    score_without_lagging_sensors,
)
from gridcast.monitoring.stream.ledger import Alert, Ledger
from gridcast.monitoring.stream.wording import quoted_names
from gridcast.runtime.errors import ConfigError, DataError, GridcastError

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Channel = Callable[[Alert], bool]
"""Delivers an alert; returns whether it arrived."""


def parse_interval(text: str, option: str = "--every") -> float:
    """Return the seconds of an interval such as 90s, 15m, 2h, which is given by `option`. Raises ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not match or not float(match[1]):
        raise ConfigError(f"{option}: '{text}' is no interval such as 90s, 15m, 2h or 7d")
    return float(match[1]) * SECONDS_PER_UNIT[match[2]]


def alert_channels(tell: Callable[[str], None], webhook: str | None, urls: Sequence[str]) -> dict[str, Channel]:
    """Return the channels by name: the console, a web hook, each of the apprise `urls`. Raises ConfigError."""

    def to_console(alert: Alert) -> bool:
        tell(f"ALERT {alert.title}. {alert.text}")
        return True

    def to_webhook(alert: Alert) -> bool:
        content = {"id": alert.id, "title": alert.title, "text": alert.text, "event": dict(alert.event)}
        return alerts.post_webhook(str(webhook), content, alert.id)

    def to_notifier(notifier: Any) -> Channel:
        consequence = "the alert is sent again at the next poll"
        return lambda alert: alerts.send_notice(notifier, alert.title, alert.text, consequence=consequence)

    channels: dict[str, Channel] = {"console": to_console}
    if webhook is not None:
        alerts.check_webhook(webhook)
        channels["webhook"] = to_webhook
    if urls:
        alerts.open_notifier(urls)  # all at once, for an error that has the number of the wrong address
    return channels | {
        f"alert {number}": to_notifier(alerts.open_notifier([url])) for number, url in enumerate(urls, start=1)
    }


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
    """Poll `feed` every `interval` seconds, or once, and score what is new by the model that is current then.

    A poll that fails is reported and repeated after the interval. With `once` there is no other: GridcastError is
    raised where the feed gives no answer or alerts could not be delivered, DataError where most rows of a file were
    unreadable or no step could be scored.
    """
    for channel in sorted({channel for channel, _ in ledger.pending_alerts()} - set(channels)):
        tell(f"alerts of an earlier start are waiting for the channel '{channel}', which is not given now")
    if others := feed.other_files():
        tell(f"files that are no CSV, Excel or Parquet by their names are passed over: {quoted_names(others)}")
    due, was_silent = clock.monotonic(), False
    while True:
        is_silent = False
        try:
            poll = poll_once(feed, ledger, current_model(), channels=channels, tell=tell)
            is_silent = not poll.outcomes
            if once:
                poll.check(feed.name, ledger)
        except GridcastError as error:
            if once:
                raise
            LOG.warning("%s; tried again in %.0f s", error, interval)
        if once:
            if is_silent and ledger.high_water_mark is None:
                tell("nothing to read")
            return
        mark = ledger.high_water_mark
        if is_silent and not was_silent:  # one line for many polls without data
            tell(f"nothing new{'' if mark is None else f', the newest step is {mark}'}")
        was_silent = is_silent
        due = max(due + interval, clock.monotonic())
        clock.sleep(max(0.0, due - clock.monotonic()))


@dataclass(frozen=True)
class Poll:
    """A poll: the outcomes of its batches, and the number of alerts that are still `pending`."""

    outcomes: tuple[BatchOutcome, ...]
    pending: int

    def check(self, feed: str, ledger: Ledger) -> None:
        """Raise GridcastError for pending alerts, and DataError where a batch was refused or no step was scored."""
        if self.pending:
            raise GridcastError(f"{self.pending} alerts could not be delivered; they are kept in {ledger.path}")
        refused = [outcome for outcome in self.outcomes if outcome.is_refused]
        if refused:
            others = f", and so in {len(refused) - 1} more files or answers" if len(refused) > 1 else ""
            raise DataError(f"{feed}: half of the rows or more could not be read{others}: {refused[0].text}")
        steps = sum(outcome.steps for outcome in self.outcomes)
        if steps and not any(outcome.scored or outcome.waiting for outcome in self.outcomes):
            raise DataError(f"{feed}: none of {steps} steps could be scored: {self.outcomes[-1].problem}")


def poll_once(
    feed: FolderFeed | WebFeed,
    ledger: Ledger,
    model: FollowedModel,
    *,
    channels: Mapping[str, Channel],
    tell: Callable[[str], None],
) -> Poll:
    """Ingest all that is new, batch by batch, and deliver pending alerts; return the outcome.

    The feed is asked again as long as it returns newer steps, since some return a limited number of rows at once.
    """
    pending, outcomes, has_batch = deliver_alerts(ledger, channels), [], False
    while True:
        mark = ledger.resume_time(utc_now())
        for batch in feed.new_batches(ledger.file_marks(), mark):
            has_batch = True
            if outcome := ingest_batch(batch, ledger, model, channels=tuple(channels), now=utc_now()):
                outcomes.append(outcome)
                tell(outcome.text)
                pending = deliver_alerts(ledger, channels)
        if ledger.resume_time(utc_now()) == mark:
            break
    score_rest = score_without_lagging_sensors if has_batch else score_waiting_steps
    if message := score_rest(ledger, model, channels=tuple(channels), now=utc_now()):
        tell(message)
        pending = deliver_alerts(ledger, channels)
    return Poll(tuple(outcomes), pending)


def deliver_alerts(ledger: Ledger, channels: Mapping[str, Channel]) -> int:
    """Send the pending alerts of `channels`; return how many are still pending because a channel failed.

    A channel that failed once gets no more alerts in this call, so that its alerts arrive in their order.
    """
    failed = set()
    pending = 0
    for channel, alert in ledger.pending_alerts():
        if channel in failed or channel not in channels or not channels[channel](alert):
            failed.add(channel)
            pending += channel in channels
            continue
        ledger.mark_sent(alert, channel, iso_stamp(utc_now()))
    return pending
