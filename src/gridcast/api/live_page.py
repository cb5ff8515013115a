"""The page of a detector that follows a stream, written after each look."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from gridcast.api.detections import find_events, page_of, training_summary
from gridcast.data.written_folder import written_folder
from gridcast.monitoring.stream import followed_model

if TYPE_CHECKING:
    from gridcast.monitoring.stream.followed_model import FollowedModel
    from gridcast.monitoring.stream.health import FollowerState
    from gridcast.monitoring.stream.ledger import Ledger


SPAN = pd.Timedelta(days=1)
"""Length of the span that the page shows, the last of the stream."""


def page_writer(
    ledger: Ledger, current_model: Callable[[], FollowedModel], folder: Path
) -> Callable[[FollowerState], None]:
    """Return a function that writes the page of the stream under `folder`.

    A reader finds the page of the last look or that of this one, never a part. There is none before the first score.
    """
    training = lru_cache(maxsize=1)(training_summary)

    def write(state: FollowerState) -> None:
        model = current_model()
        scores = recent_scores(ledger, model, state.newest_step)
        if not len(scores):
            return
        from gridcast.reporting import detection_page, html

        first = pd.DatetimeIndex(scores[model.detector.time])[0]
        readings = ledger.readings(first, list(model.detector.sensors)).rename_axis(model.detector.time)
        page = page_of(
            model.detector,
            title=f"{model.name} version {model.version}",
            name=model.name,
            scores=scores,
            values=readings.reset_index(),
            alarms=find_events(_with_gaps(scores, model), model.detector),
            training=training(f"models:/{model.name}/{model.version}"),
            state=state_sentences(state, scores),
        )
        with written_folder(folder, "live") as temporary:
            (temporary / html.LIVE_FILE).write_text(detection_page.render_page(page), encoding="utf-8")

    return write


def recent_scores(ledger: Ledger, model: FollowedModel, newest: pd.Timestamp | None) -> pd.DataFrame:
    """Return the scored steps of the last day as a detector returns them: time, score, threshold, anomaly, sensors.

    They begin earlier where an event of that day does.
    """
    if newest is None:
        return pd.DataFrame()
    first = newest - SPAN
    first = min([first, *(start for start, end in ledger.event_spans().values() if start < first <= end)])
    rows = []
    for step in ledger.scored_steps():
        if step.time < first:
            break
        shares = {name: step.contributions.get(name) for name in model.detector.sensors}
        rows.append(
            {
                model.detector.time: step.time,
                "score": step.score,
                "threshold": step.threshold,
                "anomaly": step.is_anomaly,
            }
            | shares
        )
    return pd.DataFrame(rows[::-1])


def _with_gaps(scores: pd.DataFrame, model: FollowedModel) -> pd.DataFrame:
    """The scores with a row for each step between them, so that no event extends over steps without a score."""
    time, step = model.detector.time, followed_model.step_length(model.detector.frequency)
    by_time = scores.set_index(time)
    times = pd.DatetimeIndex(by_time.index)
    every = pd.date_range(times[0], times[-1], freq=step).union(times)
    return by_time.reindex(every).rename_axis(time).reset_index()


def state_sentences(state: FollowerState, scores: pd.DataFrame) -> list[str]:
    """Return sentences on the state of a follower, its open problems first."""
    is_above = bool(scores["anomaly"].iloc[-1])
    unreadable = f", {state.unreadable:,} of them unreadable" if state.unreadable else ""
    aside = (
        f"; {state.set_aside} are set aside until rows near them come, as their time lies far ahead"
        if state.set_aside
        else ""
    )
    looks = f"; no new data in the last {state.looks_without_data} looks" if state.looks_without_data else ""
    return [
        *(f"Since {problem.since}: {problem.text}" for problem in state.problems),
        f"Last look at {state.at:%Y-%m-%d %H:%M} UTC; the newest step is {state.newest_step}{looks}",
        f"{state.lines:,} rows were read{unreadable}{aside}",
        *(["The newest score is above its threshold"] if is_above else []),
        f"This page shows the last {SPAN.days * 24} hours, and events that began before; the record has all",
    ]
