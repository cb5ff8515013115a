"""Follow a feed: poll it, score what is new, deliver alerts, wait."""

from __future__ import annotations

import re
import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gridcast.monitoring import alerts
from gridcast.monitoring.stream import health
from gridcast.monitoring.stream.failure_note import FailureNote, UnrecordedFailure
from gridcast.monitoring.stream.feeds import FolderFeed, WebFeed
from gridcast.monitoring.stream.followed_model import FollowedModel, iso_stamp, utc_now
from gridcast.monitoring.stream.health import FollowerState
from gridcast.monitoring.stream.ingest import (
    LOG,
    BatchOutcome,
    ingest_batch,
    score_waiting_steps,
    score_without_lagging_sensors,
)
from gridcast.monitoring.stream.ledger import Ledger
from gridcast.monitoring.stream.ledger_rows import Alert
from gridcast.monitoring.stream.web_answer import FeedUnreachable
from gridcast.monitoring.stream.wording import quoted_names
from gridcast.runtime.errors import ConfigError, DataError, GridcastError

SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_DELAY = 300.0
"""Longest delay of a look after failed ones, unless the interval is longer."""
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
    after_look: Callable[[FollowerState], None] | None = None,
) -> None:
    """Poll `feed` every `interval` seconds, or once, and score what is new by the model that is current then.

    A look that fails, whatever the reason, is reported, and repeated after a longer interval each time. Problems of the
    feed are alerts. With `once` there is no other look: GridcastError is raised where the feed gives no answer, alerts
    could not be delivered, or problems of the feed are open; DataError where most rows of a file were unreadable or no
    step could be scored. `after_look` gets the state of the follower after each look.
    """
    for channel in sorted({channel for channel, _ in ledger.pending_alerts()} - set(channels)):
        tell(f"alerts of an earlier start are waiting for the channel '{channel}', which is not given now")
    look = _Look(feed, ledger, current_model, channels, tell, after_look, FailureNote(ledger.path))
    passed_over: frozenset[str] = frozenset()
    due, was_silent, last_problem, failures = clock.monotonic(), False, "", 0
    while True:
        is_silent, problem = False, None
        try:
            poll = look.run()
            passed_over = _tell_passed_over(feed, passed_over, tell)
            is_silent = not poll.outcomes
        except Exception as error:
            # One net around the whole look: a follower that has ended tells nobody about anything.
            problem = error if isinstance(error, GridcastError) else _explained(error)
            look.record_failure(problem)
            if once:
                raise problem from error
        if once:
            poll.check(feed.name, ledger)
            if is_silent and ledger.high_water_mark is None:
                tell("nothing to read")
            return
        failures = 0 if problem is None else failures + 1
        delay = delay_after(interval, failures)
        if problem is not None and str(problem) != last_problem:  # the same problem is logged once
            LOG.warning("%s; tried again in %.0f s, and less often while it fails", problem, delay)
        last_problem = "" if problem is None else str(problem)
        if is_silent and not was_silent:  # one line for many polls without data
            mark = ledger.high_water_mark
            tell(f"nothing new{'' if mark is None else f', the newest step is {mark}'}")
        was_silent = is_silent
        due = max(due + delay, clock.monotonic())
        clock.sleep(max(0.0, due - clock.monotonic()))


def _tell_passed_over(
    feed: FolderFeed | WebFeed, already: frozenset[str], tell: Callable[[str], None]
) -> frozenset[str]:
    """Name the files that are passed over, except those that were named `already`; return all of them."""
    others = [name for name in feed.other_files() if name not in already]
    if others:
        pattern = "; for those in folders give a pattern such as 'plant/*/*.csv'" if others[-1].endswith("/*") else ""
        tell(f"passed over, as they hold no table with the column of time: {quoted_names(others)}{pattern}")
    return already.union(others)


def delay_after(interval: float, failures: int) -> float:
    """Return the seconds until the next look, after this number of `failures` in a row."""
    return max(interval, min(interval * 2.0 ** min(failures - 1, 30), MAX_DELAY)) if failures else interval


def _explained(error: Exception) -> GridcastError:
    """The `error` of a look as one line."""
    first_line = (str(error).splitlines() or [""])[0]
    return GridcastError(f"the look failed: {type(error).__name__}: {first_line}".rstrip(": "))


@dataclass
class _Look:
    """One look at a feed, repeated; the `note` is about a failure that the record could not take."""

    feed: FolderFeed | WebFeed
    ledger: Ledger
    current_model: Callable[[], FollowedModel]
    channels: Mapping[str, Channel]
    tell: Callable[[str], None]
    after_look: Callable[[FollowerState], None] | None
    note: FailureNote
    name: str = ""

    def run(self) -> Poll:
        """Poll, judge what was found, deliver the alerts."""
        model = self.current_model()
        self.name = model.name
        if (failure := self.note.failure) is not None:
            health.record_failure(
                failure.kind,
                failure.text,
                self.ledger,
                self.name,
                channels=tuple(self.channels),
                now=pd.Timestamp(failure.at),
                sent=failure.sent,
            )
            self.note.write(None)
        poll = poll_once(self.feed, self.ledger, model, channels=self.channels, tell=self.tell)
        unknown = {column for outcome in poll.outcomes for column in outcome.unknown}
        failures = self.feed.failures()
        health.judge_look(
            self.ledger, model, failures=failures, unknown=unknown, channels=tuple(self.channels), now=utc_now()
        )
        pending = deliver_alerts(self.ledger, self.channels)
        self.report_state()
        return replace(poll, pending=pending)

    def record_failure(self, problem: GridcastError) -> None:
        """Store and send the alert of a failed look; where the record takes nothing, say so and keep it for later."""
        kind = health.UNREACHABLE if isinstance(problem, FeedUnreachable) else health.FAILED
        name, now = self.name or self.ledger.stream_name, utc_now()
        try:
            health.record_failure(kind, str(problem), self.ledger, name, channels=tuple(self.channels), now=now)
            deliver_alerts(self.ledger, self.channels)
            self.report_state()
        except Exception:  # noqa: BLE001 - the record is what failed: the alert cannot wait for it
            if self.note.failure is None:
                failure = UnrecordedFailure(kind, str(problem), iso_stamp(now))
                self.note.write(failure)  # first, so that after a kill the alert has the same id
                alert = health.failure_alert(kind, failure.text, name, pd.Timestamp(failure.at))
                sent = tuple(channel for channel, send in self.channels.items() if send(alert))
                self.note.write(replace(failure, sent=sent))

    def report_state(self) -> None:
        """Give the state of the follower to `after_look`, whose failure is no failure of the look."""
        if self.after_look is None:
            return
        try:
            self.after_look(health.follower_state(self.ledger, utc_now()))
        except Exception as error:  # noqa: BLE001 - a page that cannot be written must not stop alerts
            LOG.warning("what follows the look failed: %s", _explained(error))


class OpenProblem(GridcastError):
    """A problem of the feed, which is recorded, has not ended."""


@dataclass(frozen=True)
class Poll:
    """A poll: the outcomes of its batches, and the number of alerts that are still `pending`."""

    outcomes: tuple[BatchOutcome, ...]
    pending: int

    def check(self, feed: str, ledger: Ledger) -> None:
        """Raise GridcastError for pending alerts and open problems, DataError where rows or steps were refused."""
        if self.pending:
            raise GridcastError(f"{self.pending} alerts could not be delivered; they are kept in {ledger.path}")
        refused = [outcome for outcome in self.outcomes if outcome.is_refused]
        if refused:
            others = f", and so in {len(refused) - 1} more files or answers" if len(refused) > 1 else ""
            raise DataError(f"{feed}: half of the rows or more could not be read{others}: {refused[0].text}")
        steps = sum(outcome.steps for outcome in self.outcomes)
        if steps and not any(outcome.scored or outcome.waiting for outcome in self.outcomes):
            raise DataError(f"{feed}: none of {steps} steps could be scored: {self.outcomes[-1].problem}")
        if problems := ledger.open_problems():
            others = f"; and {len(problems) - 1} more problems" if len(problems) > 1 else ""
            raise OpenProblem(f"{feed}: {problems[0].kind} since {problems[0].since}: {problems[0].text}{others}")


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
    pending, outcomes = deliver_alerts(ledger, channels), []
    while True:
        mark = ledger.resume_time(utc_now())
        for batch in feed.new_batches(ledger.file_marks(), mark):
            if outcome := ingest_batch(batch, ledger, model, channels=tuple(channels), now=utc_now()):
                outcomes.append(outcome)
                tell(outcome.text)
                pending = deliver_alerts(ledger, channels)
        if ledger.resume_time(utc_now()) == mark:
            break
    score_rest = score_without_lagging_sensors if outcomes else score_waiting_steps
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
