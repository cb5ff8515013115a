"""Differences between settings of a grid, with seeds as replicates: pure functions on frames of runs.

Runs that differ in one setting alone are matched. Pairs of one seed are no independent observations of a setting: they
share the seed and the validation span. So the differences are averaged within each seed, and the seeds are tested.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gridcast.config import AXES
from gridcast.evaluation import significance
from gridcast.evaluation.significance import ROUNDING_TOLERANCE, Estimate
from gridcast.reporting.leaderboard import REPLICATED, finite_runs, own_axes
from gridcast.reporting.setting_effects import setting_text

CONTRAST_COLUMNS = (
    "axis", "lower", "higher", "difference", "half_width", "percent", "percent_half_width", "p_value", "seeds", "pairs",
    "finding",
)  # fmt: skip
EFFECT, NO_EFFECT, UNCLEAR, UNTESTED = "effect", "no effect", "unclear", "untested"


@dataclass(frozen=True)
class Pair:
    """Two values of a setting: how far the loss of `lower` is below that of `higher`, over matched runs.

    `base` is the mean loss of `higher`, NaN where one of the means is not above 0, so that a share has no meaning.
    """

    axis: str
    lower: str
    higher: str
    estimate: Estimate
    base: float
    seeds: int
    count: int

    def share(self, value: float) -> float:
        """Return `value`, in units of the loss, as what `selection.relevant` is compared with.

        A share of `base`; without one the value itself, which of a log-likelihood is a share of the likelihood.
        """
        return value / self.base if math.isfinite(self.base) else value

    def is_below(self, relevant: float, alpha: float) -> bool:
        """Whether the difference is shown to be below `relevant`."""
        return self.estimate.p_within(relevant / self.share(1.0)) <= alpha


def setting_contrasts(
    runs: pd.DataFrame, axes: Sequence[str], metric: str, relevant: float, alpha: float = 0.05
) -> pd.DataFrame:
    """Return a row for each pair of values of each of `axes` that some runs differ in alone, by axis.

    Columns: axis; lower and higher, the two values as text, by their mean `metric` in the matched runs; difference of
    these means, averaged over seeds, and half_width of its interval; percent and percent_half_width, these over the
    mean of `higher` (NaN where a mean is not above 0); p_value; seeds and pairs; finding.

    With at least three seeds a difference is tested by `significance.crossed_mean`. The family is all rows: p values
    are corrected by Holm's method, and each interval has the confidence of its step in it. finding is `effect` where
    the corrected p value is at most `alpha` and the difference is at least the share `relevant`, `no effect` where all
    pairs of the axis are shown to differ by less than that (two one-sided tests; Bonferroni over axes), else `unclear`;
    `untested` with fewer seeds.
    """
    pairs = [pair for axis in axes for pair in _pairs(runs, axis, metric)]
    p_values = np.array([pair.estimate.p_value for pair in pairs], float)
    corrected, ranks = significance.holm(p_values), pd.Series(p_values).rank(method="first").to_numpy()
    without_effect = _axes_without_effect(pairs, relevant, alpha)
    rows = []
    for pair, p_value, rank in zip(pairs, corrected, ranks, strict=True):
        finding = UNCLEAR if pair.estimate.degrees else UNTESTED
        if p_value <= alpha and pair.share(pair.estimate.mean) >= relevant:
            finding = EFFECT
        elif pair.axis in without_effect:
            finding = NO_EFFECT
        # NaN as the rank is where nothing was tested.
        half_width = pair.estimate.half_width(1 - alpha / (np.isfinite(p_values).sum() - rank + 1))
        values = (
            pair.estimate.mean,
            half_width,
            *(100 * value / pair.base for value in (pair.estimate.mean, half_width)),
        )
        rows.append((pair.axis, pair.lower, pair.higher, *values, p_value, pair.seeds, pair.count, finding))
    return pd.DataFrame(rows, columns=list(CONTRAST_COLUMNS))


def seed_spread(runs: pd.DataFrame, metric: str) -> tuple[float, int]:
    """Return the standard deviation between seeds of one configuration, as a share, and from how many configurations.

    Pooled over all configurations with several seeds on the same fold and series, each relative to its mean. NaN and 0
    where there are none, and where a mean is not above 0.
    """
    finite = finite_runs(runs, metric)
    groups = [column for column in REPLICATED if column != "seed" and column in finite]
    stats = finite.groupby(["configuration", *groups])[metric].agg(["mean", "var", "count"])
    stats = stats[(stats["count"] > 1) & (stats["mean"] > 0)]
    if not len(stats):
        return math.nan, 0
    degrees = stats["count"] - 1
    share = math.sqrt(float((degrees * stats["var"] / stats["mean"] ** 2).sum() / degrees.sum()))
    return share, int(stats.index.get_level_values("configuration").nunique())


def _pairs(runs: pd.DataFrame, axis: str, metric: str) -> list[Pair]:
    """Return each two values of `axis` that are matched: in runs alike in all other settings, series, fold and seed."""
    finite = finite_runs(runs, metric)
    if not len(finite):
        return []
    finite = finite.assign(fold=finite.get("fold", 0))
    # Networks of different layers have different settings of their own: layers are compared by the means over these.
    own = () if axis == "layer" else own_axes(finite)
    others = [setting for setting in (*AXES, *own, *REPLICATED) if setting != axis and setting in finite]
    match = [setting for setting in others if finite[setting].notna().all()]
    matched = finite.pivot_table(index=match, columns=axis, values=metric)
    pairs = []
    texts = [setting_text(value) for value in matched.columns]
    matched.columns = pd.Index(texts, name=axis)
    for a, b in itertools.combinations(texts, 2):
        both = matched[[a, b]].dropna()
        if not len(both):
            continue
        means = both.groupby(level=["seed", "fold"]).mean()
        # The same number computed in another order is no difference.
        gaps = (means[b] - means[a]).mask(np.isclose(means[a], means[b], rtol=ROUNDING_TOLERANCE, atol=0), 0.0)
        estimate = significance.crossed_mean(gaps)
        lower, higher = (a, b) if estimate.mean >= 0 else (b, a)
        base = float(means[higher].mean()) if means.mean().min() > 0 else math.nan
        pairs.append(
            Pair(
                axis,
                lower,
                higher,
                replace(estimate, mean=abs(estimate.mean)),
                base,
                seeds=means.index.get_level_values("seed").nunique(),
                count=len(both),
            )
        )
    return pairs


def _axes_without_effect(pairs: Sequence[Pair], relevant: float, alpha: float) -> set[str]:
    """Return the axes of which every pair of values is tested and shown to differ by less than `relevant`."""
    by_axis = {axis: list(group) for axis, group in itertools.groupby(pairs, key=lambda pair: pair.axis)}
    tested = {axis: group for axis, group in by_axis.items() if all(pair.estimate.degrees for pair in group)}
    return {
        axis for axis, group in tested.items() if all(pair.is_below(relevant, alpha / len(tested)) for pair in group)
    }
