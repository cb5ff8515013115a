"""What a forecaster leans on: how far its error rises when a part of what it reads is taken from other windows.

Pure but for the forecaster itself, which is any callable `forecast(channels, index, codes)` that gives
forecasts (n, horizon) in data units of the windows `index` (n, 2) of `channels` (rows, steps, channels), where
`codes` (rows,) tells the series of each row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

ForecastFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
MAX_SINGLE_LAG = 24
"""Lags up to here are told one by one, those before in blocks of doubling length."""


@dataclass(frozen=True)
class InputPart:
    """A part of what each window reads: `channels` on the steps from `first` to before `end`, counted from the origin.

    `kind` is `target` for its whole past, `lag` for one step of it (or a block of steps), `covariate` for all
    channels of a column or calendar term, so that sine and cosine go together.
    """

    name: str
    kind: str
    channels: tuple[int, ...]
    first: int
    end: int


def input_parts(channels: Sequence[str], ahead: int, lookback: int, horizon: int) -> list[InputPart]:
    """What a window reads, part by part: the target whole and lag by lag, and each covariate.

    `channels` names every channel, the target first; those of one name are one part. From channel `ahead` on they
    are known over the horizon too. `lookback` is how far back a window reads at most.
    """
    found = [InputPart(channels[0], "target", (0,), -lookback, 0)]
    for name in dict.fromkeys(channels[1:]):
        own = tuple(k for k, channel in enumerate(channels) if k and channel == name)
        found.append(InputPart(name, "covariate", own, -lookback, horizon if own[0] >= ahead else 0))
    return found + [InputPart(_lags(near, far), "lag", (0,), -far, 1 - near) for near, far in _blocks(lookback)]


def _blocks(lookback: int) -> list[tuple[int, int]]:
    """Nearest and furthest lag of each block up to `lookback`."""
    blocks = [(lag, lag) for lag in range(1, min(lookback, MAX_SINGLE_LAG) + 1)]
    near = MAX_SINGLE_LAG + 1
    while near <= lookback:
        far = min(2 * (near - 1), lookback)
        blocks.append((near, far))
        near = far + 1
    return blocks


def _lags(near: int, far: int) -> str:
    return f"lag {near}" if near == far else f"lags {near}-{far}"


def part_importance(
    forecast: ForecastFunction,
    channels: np.ndarray,
    index: np.ndarray,
    codes: np.ndarray,
    actual: np.ndarray,
    scale: np.ndarray,
    parts: Sequence[InputPart],
    generator: np.random.Generator,
    repeats: int = 5,
) -> tuple[float, pd.DataFrame]:
    """The error on the windows `index` (n, 2), and how far it rises when each part is shuffled among them.

    The error is the mean absolute one against `actual` (n, horizon) in units of `scale` (series,), as `naive_scale`
    gives it; windows of a series whose scale is 0 do not count in it. Each window stands in a row of its own then, as
    far back as `parts` reach, NaN before the first step. The frame has the columns name, kind, rise
    (percent of that error, mean over `repeats` shuffles; NaN where the error is 0, and for what all windows read
    alike) and spread (their standard deviation). Parts that tell the same stand in for each other: each may
    be unimportant while one of them is needed. Source: Breiman (2001), "Random Forests", section 10; Fisher,
    Rudin, Dominici (2019).
    """
    before, after = -min(part.first for part in parts), actual.shape[1]
    steps = index[:, 1, None] + np.arange(-before, after)
    rows = np.where(steps[:, :, None] >= 0, channels[index[:, 0, None], np.maximum(steps, 0)], np.float32(np.nan))
    own, at = codes[index[:, 0]], np.stack([np.arange(len(index)), np.full(len(index), before)], axis=1)
    unit = scale[index[:, 0]]
    counts = unit > 0

    def error() -> float:
        return float(np.mean(np.abs(forecast(rows, at, own) - actual)[counts] / unit[counts, None]))

    plain, found = error(), []
    for part in parts:
        block = rows[:, before + part.first : before + part.end, list(part.channels)]
        if np.array_equal(block, np.broadcast_to(block[:1], block.shape), equal_nan=True):
            found.append((part.name, part.kind, np.nan, np.nan))
            continue
        errors = []
        for _ in range(repeats):
            rows[:, before + part.first : before + part.end, list(part.channels)] = generator.permutation(block)
            errors.append(error())
        rows[:, before + part.first : before + part.end, list(part.channels)] = block
        rises = 100 * (np.array(errors) / plain - 1) if plain > 0 else np.full(repeats, np.nan)
        found.append((part.name, part.kind, float(rises.mean()), float(rises.std(ddof=1))))
    return plain, pd.DataFrame(found, columns=["name", "kind", "rise", "spread"])


def attention_by_lag(weights: np.ndarray) -> pd.DataFrame:
    """Mean attention by lag, from `weights` (n, lookback) whose rows add up to 1: lag, share and spread in percent.

    Lag 1 is the step before the origin, the last of each row; spread is the standard deviation over windows.
    """
    lags = np.arange(weights.shape[1], 0, -1)
    frame = pd.DataFrame({"lag": lags, "share": 100 * weights.mean(axis=0), "spread": 100 * weights.std(axis=0)})
    return frame.sort_values("lag", ignore_index=True)
