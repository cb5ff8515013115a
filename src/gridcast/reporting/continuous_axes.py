"""Settings drawn from ranges: their values in bins, and their rank correlation with the metric of a sweep.

Pure functions on the frames that `leaderboard` describes. Both describe the runs of a search and test nothing: its runs
differ in several settings at once, and all but `random` prefer promising ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.reporting import words
from gridcast.reporting.leaderboard import finite_runs

BINS = 4
"""Bins of an axis, with about as many distinct values each; an axis with no more values keeps them."""
MIN_RUNS = 8
"""Runs of a seed below which a rank correlation says nothing worth reading."""


@dataclass(frozen=True, order=True)
class Bin:
    """The values of a setting from `low` to `high`."""

    low: float
    high: float

    def __str__(self) -> str:
        """Return the bin as a reader sees it, such as `0.0001 to 0.0004`."""
        return f"{self.low:g} to {self.high:g}" if self.low < self.high else f"{self.low:g}"


def in_bins(runs: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """Return `runs` with a `Bin` in place of each value of the continuous `axes`."""
    binned = {}
    for axis in axes:
        distinct = np.unique(runs[axis].to_numpy(float))
        if len(distinct) <= BINS:
            continue
        groups = np.array_split(distinct, BINS)
        bins = {value: Bin(float(group[0]), float(group[-1])) for group in groups for value in group.tolist()}
        binned[axis] = pd.Series([bins[float(value)] for value in runs[axis]], index=runs.index, dtype=object)
    return runs.assign(**binned)


def rank_correlations(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """Return Spearman's rank correlation of each of `axes` with `metric`, within each seed.

    Columns: axis, seed, runs (how many), correlation: NaN with fewer than MIN_RUNS, or where either does not vary.
    """
    rows = []
    for axis in axes:
        for seed, of_seed in finite_runs(runs, metric).groupby("seed"):
            values, losses = of_seed[axis].astype(float).rank(), of_seed[metric].rank()
            is_enough = len(of_seed) >= MIN_RUNS and values.std() > 0 and losses.std() > 0
            rows.append((axis, seed, len(of_seed), float(values.corr(losses)) if is_enough else np.nan))
    return pd.DataFrame(rows, columns=["axis", "seed", "runs", "correlation"])


def correlation_sentences(correlations: pd.DataFrame, metric: str) -> list[str]:
    """State the rank correlations as a description of the runs; that there are too few runs where none is known."""
    if not len(correlations):
        return []
    known = correlations.dropna()
    unknown = [axis for axis in correlations["axis"].unique() if axis not in set(known["axis"])]
    sentences = []
    if len(known):
        seeds = known["seed"].nunique()
        texts = [
            f"{words.axis_name(row['axis'])} {row['correlation']:+.2f} "
            f"({'' if seeds == 1 else 'seed ' + str(row['seed']) + ', '}{row['runs']} runs)"
            for row in known.to_dict("records")
        ]
        sentences.append(
            f"Rank correlation with {words.metric_name(metric)} among the runs of {'the' if seeds == 1 else 'each'} "
            f"seed (negative: the higher the setting, the better): {words.join(texts)}. It describes the runs that the "
            "search drew, which differ in other settings too, and is not tested."
        )
    if unknown:
        names = words.join([words.axis_name(axis) for axis in unknown])
        sentences.append(f"Too few runs were drawn to describe {names} (at least {MIN_RUNS} of a seed).")
    return sentences
