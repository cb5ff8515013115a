"""Window, split and effort of a first experiment: sensible for its steps, and trained within minutes on two cores."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gridcast.runtime.frequencies import months_per_step, parts, seconds_per_step

SHARES: tuple[float, ...] = (0.1, 0.15, 0.2)
"""Shares of validation and test, the smallest that has room for some windows."""
MAX_SHARE = 0.33
"""The largest share, for a horizon that a person states."""
ANOMALY_SPLIT = {"train": 0.6, "validation": 0.15, "test": 0.25}
MIN_WINDOWS = 50
"""Training windows below which no window reads as many steps as it forecasts, if that takes half of training."""
ROOM = 3
"""Horizons that a validation span should have room for."""
MAX_VALIDATION_WINDOWS = 5_000
"""Windows of a validation span, which every epoch evaluates."""
MAX_BATCHES = 100
"""Batches of an epoch."""
MANY_SERIES = 500
KEPT_SERIES = 200


@dataclass(frozen=True)
class Sizes:
    """The window, and the shares of the `split`, of an experiment."""

    lookback: int
    horizon: int
    split: dict[str, float]


def usual_window(frequency: str, weekdays: int) -> tuple[int, int, str]:
    """Return lookback and horizon that suit steps of `frequency`, and what they are in words.

    `weekdays` is the number of open days of a week.
    """
    months, (count, unit, _) = months_per_step(frequency), parts(frequency)
    if months:
        return {1: (24, 3, "two years in, a quarter out"), 3: (8, 2, "two years in, half a year out")}.get(
            months, (5, 2, "some years in, two out")
        )
    if unit == "W":
        return 13, 4, "a quarter in, four weeks out"
    if unit in ("D", "B") and count == 1:
        week = 5 if unit == "B" or weekdays == 5 else max(1, weekdays)
        return 3 * week, week, "three weeks in, one out"
    per_day = 86400 / seconds_per_step(frequency)
    if 4 <= per_day <= 24:
        return 2 * int(per_day), int(per_day), "two days in, one out"
    if 24 < per_day <= 96:
        return int(per_day), int(per_day) // 4, "a day in, a quarter of one out"
    return 48, 12, "four times as many steps in as out"


def sizes_to_try(steps: int, window: tuple[int, int], *, stated_for: int = 0) -> Iterator[Sizes]:
    """Yield sizes for an axis of `steps` steps: those of the `window` as far as they fit, then smaller ones.

    A horizon that a person has `stated_for` a number of series is in all of them.
    """
    lookback, horizon = window
    smallest, shares = 1, SHARES
    if stated_for:
        smallest, needed = horizon, math.ceil(100 * horizon / steps) / 100
        shares = (*SHARES, needed) if SHARES[-1] < needed <= MAX_SHARE else SHARES
    while True:
        for share in shares:
            held = int(steps * share + 1e-9)
            is_last = share >= SHARES[-1] and (held >= horizon or horizon == 1)
            if held >= ROOM * horizon or is_last:
                room = int(steps * (1 - 2 * share)) - horizon
                as_horizon = min(horizon, room + 1 - math.ceil(MIN_WINDOWS / stated_for)) if stated_for else 1
                fitting = min(lookback, max(1, room // 2, as_horizon))
                split = {"train": round(1 - 2 * share, 2), "validation": share, "test": share}
                yield Sizes(fitting, horizon, split)
                break
        if (lookback, horizon) == (1, smallest):
            return
        lookback, horizon = max(1, lookback // 2), max(smallest, horizon // 2)


def anomaly_sizes_to_try(steps: int) -> Iterator[Sizes]:
    """Yield sizes for detectors, the longest window first."""
    for lookback in (30, 10, 5, 2):
        if lookback * 10 <= steps or lookback == 2:
            yield Sizes(lookback, 1, ANOMALY_SPLIT)


def stride(series: int, steps: int, share: float) -> int:
    """Return how many steps apart origins are, so that an epoch does not evaluate too many windows."""
    return max(1, math.ceil(series * steps * share / MAX_VALIDATION_WINDOWS))


def training(windows: int, batch_size: int) -> dict[str, Any]:
    """Return the section `training` for this number of training windows."""
    epochs = {"epochs": 40, "patience": 8} if windows < 2000 else {"epochs": 20, "patience": 5}
    limit = {"steps": MAX_BATCHES} if windows > MAX_BATCHES * batch_size else {}
    return epochs | limit
