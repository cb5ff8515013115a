"""A small detector, data for it, and a process that follows a stream: `stream_process.py FEED RECORD OPTIONS`."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sqlite3
import sys
import time as clock
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SENSORS = ("flow", "power", "heat")
START = pd.Timestamp("2024-01-01")


@dataclass(frozen=True)
class ZScore:
    """Scores a step by how far the sensors lie from 0, in the mean over `lookback` steps up to it, or from it on."""

    sensors: tuple[str, ...] = SENSORS
    time: str = "time"
    frequency: str = "min"
    lookback: int = 4
    threshold: float = 3.0
    least: int = 1
    gap: int = 0
    ahead: bool = False
    slow: float = 0.0
    rule: str = "mean-std"
    level: float = 3.0
    seen: Any = None

    def predict(self, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Score as `runtime.detector.Detector` does; a step whose window has a hole is not scored."""
        clock.sleep(self.slow)
        values = table.set_index(self.time)[list(self.sensors)].abs()
        # Not `rolling`, whose running sums depend, in the last bit, on where the table begins.
        sign = -1 if self.ahead else 1
        shares = sum(values.shift(sign * step) for step in range(self.lookback)) / self.lookback
        shares = shares[shares.notna().all(axis=1)]
        score = shares.mean(axis=1)
        scores = pd.DataFrame({"score": score, "threshold": self.threshold, "anomaly": score > self.threshold})
        return scores.join(shares).reset_index()


def readings(steps: int, seed: int = 0, spikes: Mapping[int, int] | None = None) -> pd.DataFrame:
    """Noise about 0 each minute; with `spikes` {step: count}, `power` is 100 for `count` steps from `step` on."""
    table = pd.DataFrame(np.random.default_rng(seed).normal(size=(steps, len(SENSORS))).round(3), columns=SENSORS)
    table.insert(0, "time", pd.date_range(START, periods=steps, freq="min"))
    for begin, length in (spikes or {}).items():
        table.loc[begin : begin + length - 1, "power"] = 100.0
    return table


def put(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write the table as a CSV file of the folder, where it appears complete or not at all."""
    temporary = folder / f".{name}"
    table.to_csv(temporary, index=False)
    temporary.rename(folder / name)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query of the record."""
    database = sqlite3.connect(path)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def follow(
    source: Path | str,
    record: Path,
    webhook: str | None = None,
    slow: float = 0.0,
    every: float = 0.05,
    *,
    once: bool = False,
    die: bool = False,
    running: bool = False,
    full: str = "",
    answer_seconds: float = 60.0,
) -> None:
    """Follow a folder or an address; with `die`, the process is killed between the delivery of an alert and its mark.

    The threshold may be a `running` one. An address is given `answer_seconds` for a whole answer. While there is a file
    of the name `full`, no step can be stored, as on a full disk.
    """
    from gridcast.monitoring.stream import feed_rows, feeds, followed_model, web_answer
    from gridcast.monitoring.stream.follow import alert_channels, follow_feed
    from gridcast.monitoring.stream.ledger import Ledger
    from gridcast.runtime.running_threshold import ScoreHistory

    def tell(line: str) -> None:
        print(line, flush=True)  # noqa: T201

    if full:
        add_steps = Ledger.add_steps

        def add_or_fail(*values: Any, **options: Any) -> None:
            if Path(full).exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            add_steps(*values, **options)

        Ledger.add_steps = add_or_fail  # type: ignore[method-assign]
    web_answer.ANSWER_SECONDS = answer_seconds
    channels = alert_channels(tell, webhook, ())
    if die:
        post = channels["webhook"]
        channels["webhook"] = lambda alert: post(alert) and os.kill(os.getpid(), signal.SIGKILL) is None
    model = followed_model.FollowedModel(
        "plant", "1", ZScore(slow=slow, seen=ScoreHistory(500, -0.25, 0.06) if running else None)
    )
    feed = feeds.open_feed(str(source), feed_rows.RowFormat(model.detector.time))
    with contextlib.closing(Ledger(record, model.name, model.detector.frequency)) as ledger:
        tell("follows")
        follow_feed(feed, ledger, current_model=lambda: model, channels=channels, tell=tell, interval=every, once=once)


if __name__ == "__main__":
    follow(sys.argv[1], Path(sys.argv[2]), **json.loads(sys.argv[3]))
