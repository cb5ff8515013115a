"""Unusual runs of zeros, such as those of a product that is out of stock or off the shelf.

Pure functions on arrays (series, steps).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

MAX_EXPECTED_RUNS = 0.01
"""A run is unusual if a series would show fewer than this many of its length in a training span by chance."""
MIN_RUN_STEPS = 5
"""A shorter run is never unusual: it cannot be distinguished from chance."""
RUNS_DESCRIBED = 3
"""Runs that `describe` names, the longest first."""


def habitual_lengths(training: np.ndarray) -> np.ndarray:
    """Return the length (series,), in steps, of the longest run of zeros that is still usual for each series.

    `training` (series, steps) is the target over the training span, NaN where not observed. If its n steps were 0
    independently of each other with probability p, (1 - p) p^k n runs of k zeros or more would be expected (lengths of
    runs are geometrically distributed); usual lengths end where that falls below MAX_EXPECTED_RUNS. p is
    (zeros + 1) / (n + 2), Laplace's rule of succession.

    It is estimated a second time without the runs found unusual by the first: otherwise a long closure would raise p
    until it looks usual itself.
    """
    observed = np.isfinite(training)
    limits = _limits(training, observed)
    return _limits(training, observed & ~unusual_runs(training, limits))


def _limits(training: np.ndarray, counted: np.ndarray) -> np.ndarray:
    count = counted.sum(axis=1)
    zero_share = (((training == 0) & counted).sum(axis=1) + 1) / (count + 2)
    expected_runs = np.maximum((1 - zero_share) * count, 1.0)
    longest = np.floor(np.log(MAX_EXPECTED_RUNS / expected_runs) / np.log(zero_share)).astype(int)
    return np.maximum(longest, MIN_RUN_STEPS - 1)


def detected_so_far(target: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return True (series, steps) from the step on at which a run of zeros exceeds `limits` (series,).

    No later step is read, so that it can be an input of a forecast.
    """
    return _run_lengths(target == 0) > limits[:, None]


def unusual_runs(target: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return True (series, steps) throughout each run of zeros longer than `limits` (series,), in hindsight."""
    is_zero = target == 0
    return is_zero & (_run_lengths(is_zero) + _run_lengths(is_zero[:, ::-1])[:, ::-1] - 1 > limits[:, None])


def describe(unusual: np.ndarray, series: Sequence[str], times: pd.DatetimeIndex) -> str:
    """Return how many runs there are in `unusual` (series, steps), and where and when the longest ones are."""
    edges = np.diff(unusual.astype(int), axis=1, prepend=0, append=0)
    (rows, starts), ends = np.nonzero(edges == 1), np.nonzero(edges == -1)[1]
    if not len(rows):
        return "no unusual run of zeros"
    longest = ", ".join(
        f"{series[rows[k]]} {times[starts[k]]:%Y-%m-%d} to {times[ends[k] - 1]:%Y-%m-%d} ({ends[k] - starts[k]} steps)"
        for k in np.argsort(starts - ends, kind="stable")[:RUNS_DESCRIBED]
    )
    return (
        f"{len(rows):,} unusual runs of zeros in {len(np.unique(rows)):,} series, {int(unusual.sum()):,} of "
        f"{unusual.size:,} steps, the longest: {longest}"
    )


def _run_lengths(is_zero: np.ndarray) -> np.ndarray:
    """Length of the run that ends at each step, 0 where there is none."""
    steps = np.arange(1, is_zero.shape[1] + 1)
    return steps - np.maximum.accumulate(np.where(is_zero, 0, steps), axis=1)
