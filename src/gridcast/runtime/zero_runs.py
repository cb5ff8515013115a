"""Stretches without exhibition: runs of zeros far longer than a series' habit. Pure functions on (series, steps)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

MAX_EXPECTED_RUNS = 0.01
"""Runs beyond habit that a series would show in a training span by chance."""
MIN_RUN_STEPS = 5
"""Steps: a shorter run is never told from chance."""


def habitual_lengths(training: np.ndarray) -> np.ndarray:
    """Length (series,), in steps, of the longest run of zeros that is still the habit of a series.

    `training` (series, steps) is the target over the training span, NaN where not observed. Were its
    n steps 0 independently of each other with probability p, (1 - p) pᵏ n runs of k zeros and more
    would be expected (the lengths of runs follow a geometric law); the habit ends where these are
    fewer than RARE. p is (zeros + 1) / (n + 2), Laplace's rule of succession, fitted a second time
    without the runs that the first found: a long closure would else pass for a habit.
    """
    seen = np.isfinite(training)
    limits = _limits(training, seen)
    return _limits(training, seen & ~unusual_runs(training, limits))


def _limits(training: np.ndarray, counted: np.ndarray) -> np.ndarray:
    count = counted.sum(axis=1)
    chance = (((training == 0) & counted).sum(axis=1) + 1) / (count + 2)
    runs = np.maximum((1 - chance) * count, 1.0)
    longest = np.floor(np.log(MAX_EXPECTED_RUNS / runs) / np.log(chance)).astype(int)
    return np.maximum(longest, MIN_RUN_STEPS - 1)


def detected_so_far(target: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """True from the step on at which a run of zeros has outlasted the habit: nothing later is read."""
    return _lengths(target == 0) > usual[:, None]


def unusual_runs(target: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """True throughout each run of zeros that outlasts the habit: its beginning is known by hindsight."""
    zero = target == 0
    return zero & (_lengths(zero) + _lengths(zero[:, ::-1])[:, ::-1] - 1 > usual[:, None])


def describe(closed: np.ndarray, series: Sequence[str], times: pd.DatetimeIndex) -> str:
    """How many stretches there are in `closed` (series, steps), and where and when the longest three."""
    edges = np.diff(closed.astype(int), axis=1, prepend=0, append=0)
    (where, begun), ended = np.nonzero(edges == 1), np.nonzero(edges == -1)[1]
    if not len(where):
        return "no stretch without exhibition"
    longest = ", ".join(
        f"{series[where[k]]} {times[begun[k]]:%Y-%m-%d} to {times[ended[k] - 1]:%Y-%m-%d} ({ended[k] - begun[k]} steps)"
        for k in np.argsort(begun - ended, kind="stable")[:3]
    )
    return (
        f"{len(where):,} stretches without exhibition of {len(np.unique(where)):,} series, {int(closed.sum()):,} of "
        f"{closed.size:,} steps, the longest: {longest}"
    )


def _lengths(zero: np.ndarray) -> np.ndarray:
    """Length of the run that ends at each step, 0 where there is none."""
    steps = np.arange(1, zero.shape[1] + 1)
    return steps - np.maximum.accumulate(np.where(zero, 0, steps), axis=1)
