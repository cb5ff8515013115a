"""The share of the variance that each setting of a grid explains: pure functions on frames of runs.

`leaderboard` describes the frames; `setting_contrasts` tests differences.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from gridcast.reporting.leaderboard import finite_runs, own_axes

MIN_FOREST_POINTS = 4
"""Combinations below which a forest cannot distinguish axes: the smallest grid of two axes has four."""
MANY_FOREST_POINTS = 500
"""Combinations above which a quarter of optuna's trees is as exact, and takes seconds instead of a minute."""


def setting_text(value: object) -> str:
    """Return a setting as the experiment file writes it: `true`, `64`, `0.001`, `GRU`."""
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    if isinstance(value, (float, np.floating)):
        short = f"{value:g}"
        return short if float(short) == value else repr(float(value))
    return str(value)


def main_effects(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """Return mean, standard deviation (n - 1), median and count of `metric` for each value of each axis.

    Columns: axis, value (as text, in natural order), mean, std, median, count.
    """
    finite = finite_runs(runs, metric)
    rows = [
        {"axis": axis, "value": setting_text(value), **row.to_dict()}
        for axis in axes
        for value, row in finite.groupby(axis)[metric].agg(["mean", "std", "median", "count"]).iterrows()
    ]
    return pd.DataFrame(rows, columns=["axis", "value", "mean", "std", "median", "count"]).astype({"count": int})


def interaction_table(runs: pd.DataFrame, row_axis: str, column_axis: str, *, metric: str) -> pd.DataFrame:
    """Return the mean of `metric` for each value of `row_axis` and of `column_axis`, NaN where no run has both."""
    return finite_runs(runs, metric).pivot_table(index=row_axis, columns=column_axis, values=metric)


def interaction_strength(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> dict[tuple[str, str], float]:
    """Return the share, 0 to 1, of the variance of `metric` that each pair of axes explains beyond their main effects.

    This is the drop of the residual sum of squares from the additive model of two axes to the means of their cells,
    over the total sum of squares: in a balanced grid the interaction of a two-way analysis of variance (Fisher 1925),
    in any other fitted by least squares. Where each cell holds one run, an apparent interaction may be chance. NaN
    where an axis takes one value or the metric does not vary.
    """
    finite = finite_runs(runs, metric)
    losses = finite[metric].to_numpy(float)
    codes = {axis: pd.factorize(finite[axis], sort=True)[0] for axis in axes}
    strengths = {}
    for a, b in itertools.combinations(axes, 2):
        if _is_constant(codes[a]) or _is_constant(codes[b]) or _is_constant(losses):
            strengths[a, b] = float("nan")
            continue
        cells = codes[a] * (codes[b].max() + 1) + codes[b]
        additive = losses - _additive_fit(losses, codes[a], codes[b])
        within = losses - _group_means(losses, cells)
        total = losses - losses.mean()
        strengths[a, b] = float(max(additive @ additive - within @ within, 0.0) / (total @ total))
    return strengths


def setting_importance(runs: pd.DataFrame, axes: Sequence[str], metric: str, seed: int = 0) -> pd.DataFrame:
    """Return how much of the variance of `metric` each axis accounts for on its own, most important first.

    Columns: axis; fanova, share 0 to 1 of the variance of a random forest fitted to the grid that is the main effect
    of the axis (Hutter, Hoos, Leyton-Brown 2014; optuna, its forest seeded with `seed`); variance_share, sum of
    squares between the values of the axis over the total (eta squared). Neither is scaled to sum up to 1: the rest is
    interaction and, for variance_share, chance.

    The forest sees one point per combination of the axes, the mean over its runs, each axis by the rank of its values:
    one-hot columns, which optuna makes of categories, give weight to impossible combinations and halve the share of
    axes with few values. fanova is NaN with fewer than four combinations or when their means do not differ, which is
    too little to distinguish axes; both are NaN for an axis that takes one value, and when the metric does not vary.
    """
    finite = finite_runs(runs, metric)
    losses = finite[metric].to_numpy(float)
    ranks = pd.DataFrame({axis: pd.factorize(finite[axis], sort=True)[0] for axis in axes})
    varied = [axis for axis in axes if not _is_constant(ranks[axis].to_numpy())]
    shares: dict[str, float] = {}
    forest: dict[str, float] = {}
    if varied and not _is_constant(losses):
        shares = {axis: float(np.var(_group_means(losses, ranks[axis].to_numpy())) / np.var(losses)) for axis in varied}
        points = pd.Series(losses).groupby([ranks[axis] for axis in varied]).mean()
        if len(points) >= MIN_FOREST_POINTS and not _is_constant(points.to_numpy()):
            forest = _fanova(points.index.to_frame().astype(float), points.to_numpy(), seed)
    rows = [(axis, forest.get(axis, np.nan), shares.get(axis, np.nan)) for axis in axes]
    table = pd.DataFrame(rows, columns=["axis", "fanova", "variance_share"])
    return table.sort_values(["fanova", "variance_share"], ascending=False, kind="stable", ignore_index=True)


def _fanova(ranks: pd.DataFrame, losses: np.ndarray, seed: int) -> dict[str, float]:
    """Return optuna's fANOVA over an in-memory study of `ranks` (points, axes); empty when its forest stays flat."""
    import optuna
    from optuna.distributions import FloatDistribution

    # Each rank takes an equal share of its axis, so each value has the same weight.
    space = {axis: FloatDistribution(-0.5, float(ranks[axis].max()) + 0.5) for axis in ranks}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        study.add_trials(
            [
                optuna.create_trial(params=point, distributions=space, value=float(loss))
                for point, loss in zip(ranks.to_dict("records"), losses, strict=True)
            ]
        )
        trees = 64 if len(losses) <= MANY_FOREST_POINTS else 16
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=seed)
        return {axis: float(share) for axis, share in evaluator.evaluate(study).items()}
    except RuntimeError:  # every bootstrap sample happened to be constant
        return {}
    finally:
        optuna.logging.set_verbosity(verbosity)


def _is_constant(values: np.ndarray) -> bool:
    return len(values) == 0 or bool(np.ptp(values) == 0)


def _group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the mean (n,) of the group of each of `values` (n,)."""
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    return (sums / np.maximum(counts, 1))[groups]


def _additive_fit(values: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the least-squares fit (n,) of `values` by one number per code of `a` plus one per code of `b`."""
    dummies = np.hstack([np.eye(a.max() + 1)[a], np.eye(b.max() + 1)[b]])
    return dummies @ np.linalg.lstsq(dummies, values, rcond=None)[0]


def with_whole_axes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with `none` for settings that a network does not have; other values there become text."""
    for axis in own_axes(runs):
        if runs[axis].isna().any():
            runs[axis] = [setting_text(value) if value == value else "none" for value in runs[axis]]  # noqa: PLR0124
    return runs
