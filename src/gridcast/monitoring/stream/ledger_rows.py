"""The content of the record of a stream: alerts, problems, batches, scored steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class FileMark:
    """How far a file was read: its first `size` bytes, and their digest; that is empty where it is not known.

    `header` are the lines that name the columns of what comes next in it, as far as they are known.
    """

    size: int = 0
    digest: str = ""
    header: str = ""


@dataclass(frozen=True)
class Alert:
    """Notice of an event, as the event was when it began to count; the receiver can drop repetitions by the `id`."""

    id: str
    title: str
    text: str
    event: Mapping[str, Any]


@dataclass(frozen=True)
class FeedProblem:
    """A problem of the feed, `since` a time, such as a dead sensor, which is its `subject`."""

    kind: str
    subject: str
    since: str
    text: str


@dataclass(frozen=True)
class ReadBatch:
    """The counts and notes of a batch that had rows."""

    number: int
    source: str
    rows: int
    unreadable: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ScoredStep:
    """A step with its score; `contributions` are by sensor."""

    time: pd.Timestamp
    score: float
    threshold: float
    is_anomaly: bool
    contributions: Mapping[str, float]
