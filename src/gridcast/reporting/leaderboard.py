"""Rank runs and configurations by the metric of a sweep: pure functions on frames.

`runs` has one row per finished run: run_id, key, name, seed, configuration (JSON text, equal for the seeds of one
configuration), one column per setting, and the final metrics. `axes` are the settings that vary, `metric` is the column
to minimise; rows where it is not finite are left out of every table.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from gridcast.config import AXES
from gridcast.config.selection_metrics import value_name
from gridcast.evaluation import significance

REPLICATED = ("series", "fold", "seed")
"""Columns in which runs of one configuration differ."""


def own_axes(runs: pd.DataFrame) -> tuple[str, ...]:
    """Return the settings in `runs` that only some network has, a plug-in: those in `configuration` beyond AXES."""
    texts = [text for text in runs.get("configuration", pd.Series(dtype=str)).unique() if text.startswith("{")]
    return tuple(dict.fromkeys(name for text in texts for name in json.loads(text) if name not in AXES))


def ranked_runs(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """Return runs by `metric`, best first: rank, name, the axes, seed, metrics, seconds, parameters, run_id.

    Losses of different series or folds cannot be compared: where there are several, their columns are added, and runs
    are ranked within each, the latest fold first. Where some configuration has several seeds, and losses can be
    compared, three more columns say what they are worth: the `mean` of the run's configuration over its seeds, their
    standard deviation as `spread` (NaN for one) and their number as `seeds`.
    """
    groups = _incomparable_groups(runs)
    ranked = finite_runs(runs, metric).sort_values(
        [*groups, metric, "key"], ascending=[*(column != "fold" for column in groups), True, True], ignore_index=True
    )
    ranked["rank"] = ranked.groupby(groups).cumcount() + 1 if groups else np.arange(1, len(ranked) + 1)
    measures = ["best_val_loss", "best_val_mae", "best_epoch", "epochs_trained", "fit_seconds", "parameters"]
    of_detectors = ("val_false_alarms_per_day", "val_faults_missed")
    online = tuple(name.replace("val_", "val_online_") for name in of_detectors)
    for name in ("best_val_wql", *of_detectors, *online, metric, value_name(metric)):
        if name in ranked and ranked[name].notna().any() and name not in measures:
            measures.insert(2, name)
    of_seeds = []
    if not groups and ranked["configuration"].duplicated().any():
        losses = ranked.groupby("configuration")[metric]
        summaries = {"mean": losses.transform("mean"), "spread": losses.transform("std")}
        ranked = ranked.assign(**summaries, seeds=losses.transform("count"))
        of_seeds = ["mean", "spread", "seeds"]
    return ranked[["rank", "name", *groups, *axes, "seed", *measures, *of_seeds, "run_id"]]


def comparable_runs(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return `runs` with a finite `metric`, shifted so that its mean is the same in every series and fold.

    How hard a series is to forecast says nothing about settings; how the runs differ within it does.
    """
    finite, groups = finite_runs(runs, metric), _incomparable_groups(runs)
    if not groups:
        return finite
    means = finite.groupby(groups)[metric].transform("mean")
    return finite.assign(**{metric: finite[metric] - means + finite[metric].mean()})


def finite_runs(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of `runs` whose `metric` is finite."""
    return runs[np.isfinite(runs[metric].to_numpy(float))]


def _incomparable_groups(runs: pd.DataFrame) -> list[str]:
    return [column for column in ("series", "fold") if column in runs and len(runs[column].unique()) > 1]


def by_configuration(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """Return one row per configuration, the best mean over seeds first.

    Columns: configuration, name (without the seed), the axes, mean of `metric` with its 95 % interval low to high
    (NaN with fewer than three seeds, which are the replicates), standard deviation `spread` (NaN with one run), count
    of runs, parameters, mean seconds of training. A configuration with fewer runs than others comes after those,
    whatever its mean: a mean over few runs may be luck.
    """
    rows = []
    for configuration, replicates in finite_runs(runs, metric).groupby("configuration"):
        first, mean = replicates.iloc[0], float(replicates[metric].mean())
        half_width = _half_width(replicates, metric)
        rows.append(
            {
                "configuration": configuration,
                "name": configuration_name(first),
                **{axis: first[axis] for axis in axes},
                "mean": mean,
                "low": mean - half_width,
                "high": mean + half_width,
                "spread": float(replicates[metric].std()),
                "count": len(replicates),
                "parameters": first["parameters"],
                "seconds": replicates["fit_seconds"].mean(),
            }
        )
    columns = ["configuration", "name", *axes, "mean", "low", "high", "spread", "count", "parameters", "seconds"]
    return pd.DataFrame(rows, columns=columns).sort_values(
        ["count", "mean"], ascending=[False, True], kind="stable", ignore_index=True
    )


def _half_width(replicates: pd.DataFrame, metric: str) -> float:
    """Return half the width of the 95 % interval of the mean of a configuration, over seeds and folds."""
    if replicates["seed"].nunique() < significance.MIN_SEEDS:
        return float("nan")
    cells = replicates.assign(fold=replicates.get("fold", 0)).set_index(["seed", "fold"])[metric]
    return significance.crossed_mean(cells).half_width()


def configuration_name(run: pd.Series) -> str:
    """Return the name of a run without series, fold and seed."""
    name = str(run["name"]).removeprefix(f"{run.get('series')}: ").removesuffix(f" fold{run.get('fold')}")
    return name.removesuffix(f" seed{run['seed']}")


def simplest_configuration(configurations: pd.DataFrame, tied: Collection[str]) -> str:
    """Return the configuration among `tied` with the fewest parameters, then the shortest training, then the best mean.

    `configurations` is the frame of `by_configuration`. Raises ValueError when it holds none of `tied`.
    """
    rows = configurations[configurations["configuration"].isin(list(tied))]
    if not len(rows):
        raise ValueError("tied: none of these configurations is in the table")
    return str(rows.sort_values(["parameters", "seconds", "mean"])["configuration"].iloc[0])


def pareto_front(runs: pd.DataFrame, cost: str, metric: str) -> np.ndarray:
    """Return the mask (rows,) of the Pareto set: no other row is at most as costly and as bad, and better in one.

    Rows where either number is not finite are outside it.
    """
    costs, losses = runs[cost].to_numpy(float), runs[metric].to_numpy(float)
    is_finite = np.isfinite(costs) & np.isfinite(losses)
    no_worse = (costs <= costs[:, None]) & (losses <= losses[:, None])
    better = (costs < costs[:, None]) | (losses < losses[:, None])
    return is_finite & ~(no_worse & better & is_finite).any(axis=1)
