"""Runs and configurations by their metric."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from gridcast.evaluation.significance import mean_interval

REPLICATED = ("series", "fold", "seed")
"""What runs of one configuration differ in."""


def ranked_runs(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """Runs by `metric`, best first: rank, name, the axes, seed, metrics, seconds, parameters, run_id.

    Where there are several series or folds, among which losses do not compare: their columns too,
    the latest fold first, and ranks within each.
    """
    apart = _incomparable_groups(runs)
    ranked = finite_runs(runs, metric).sort_values(
        [*apart, metric, "key"], ascending=[*(column != "fold" for column in apart), True, True], ignore_index=True
    )
    ranked["rank"] = ranked.groupby(apart).cumcount() + 1 if apart else np.arange(1, len(ranked) + 1)
    measured = ["best_val_loss", "best_val_mae", "best_epoch", "epochs_trained", "fit_seconds", "parameters"]
    for name in ("best_val_wql", "val_false_alarms_per_day", "val_faults_missed"):
        if name in ranked and ranked[name].notna().any():
            measured.insert(2, name)
    return ranked[["rank", "name", *apart, *axes, "seed", *measured, "run_id"]]


def comparable_runs(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`runs` with a finite `metric`, moved so that its mean is the same in every series and fold.

    How hard a series is says nothing about settings: what is left is how they differ within it.
    """
    known, apart = finite_runs(runs, metric), _incomparable_groups(runs)
    if not apart:
        return known
    means = known.groupby(apart)[metric].transform("mean")
    return known.assign(**{metric: known[metric] - means + known[metric].mean()})


def _incomparable_groups(runs: pd.DataFrame) -> list[str]:
    return [column for column in ("series", "fold") if column in runs and len(runs[column].unique()) > 1]


def by_configuration(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """One row per configuration, the best mean over seeds first.

    Columns: configuration, name (without the seed), the axes, mean of `metric` with its 95 % interval low to high
    (NaN with one seed), count of seeds, parameters, mean seconds of training. A configuration with fewer seeds
    than others comes after those, whatever its mean: a mean over few seeds is luck.
    """
    rows = []
    for configuration, own in finite_runs(runs, metric).groupby("configuration"):
        first, interval = own.iloc[0], mean_interval(own[metric])
        rows.append(
            {
                "configuration": configuration,
                "name": configuration_name(first),
                **{axis: first[axis] for axis in axes},
                "mean": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "count": interval.count,
                "parameters": first["parameters"],
                "seconds": own["fit_seconds"].mean(),
            }
        )
    columns = ["configuration", "name", *axes, "mean", "low", "high", "count", "parameters", "seconds"]
    return pd.DataFrame(rows, columns=columns).sort_values(
        ["count", "mean"], ascending=[False, True], kind="stable", ignore_index=True
    )


def configuration_name(run: pd.Series) -> str:
    """The name of a run without series, fold and seed."""
    name = str(run["name"]).removeprefix(f"{run.get('series')}: ").removesuffix(f" fold{run.get('fold')}")
    return name.removesuffix(f" seed{run['seed']}")


def pareto_front(frame: pd.DataFrame, cost: str, metric: str) -> np.ndarray:
    """Mask (rows,) of the Pareto set: no other row is at most as costly and at most as bad, and better in one.

    Rows where either number is not finite are outside it.
    """
    costs, losses = frame[cost].to_numpy(float), frame[metric].to_numpy(float)
    known = np.isfinite(costs) & np.isfinite(losses)
    no_worse = (costs <= costs[:, None]) & (losses <= losses[:, None])
    better = (costs < costs[:, None]) | (losses < losses[:, None])
    return known & ~(no_worse & better & known).any(axis=1)


def simplest_configuration(configurations: pd.DataFrame, tied: Collection[str]) -> str:
    """The configuration among `tied` with the fewest parameters, then the shortest training, then the best mean.

    `configurations` is as `by_configuration` gives it. Raises ValueError when it holds none of `tied`.
    """
    rows = configurations[configurations["configuration"].isin(list(tied))]
    if not len(rows):
        raise ValueError("tied: none of these configurations stands in the table")
    return str(rows.sort_values(["parameters", "seconds", "mean"])["configuration"].iloc[0])


def finite_runs(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    return runs[np.isfinite(runs[metric].to_numpy(float))]
