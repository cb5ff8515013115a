"""The tables of a report: pure functions on frames.

`runs` has one row per finished run: run_id, key, name, seed, configuration (JSON text, equal for the seeds of
one configuration), one column per setting, and the final metrics. `axes` are the settings that vary, `metric` is
the column to minimise; rows where it is not finite are left out of every table. A `test` table has one row per
window and step of the test span: series, time, step (1 = next), actual, forecast, scale (of MASE), and a column
`q0.1` for each level of which there is a quantile.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.config import AXES
from gridcast.evaluation import metrics
from gridcast.evaluation.significance import diebold_mariano, mean_interval, paired
from gridcast.reporting import interval_calibration

FEW = 4
"""With fewer different settings no forest can tell axes apart: the smallest grid of two axes has four."""
MANY = 500
"""Above so many different settings a quarter of optuna's trees is as exact and takes seconds, not a minute."""
REPLICATED = ("series", "fold", "seed")
"""What runs of one configuration differ in."""
QUANTILE_MEASURES = ("wql", "coverage", "width", "crps")


@dataclass(frozen=True)
class Contrast:
    """The best value of an axis against the worst, as text: lower by `percent` ± `half_width` percent of the worst.

    `half_width` is that of the 95 % interval and `p_value` that of the paired t test over `pairs` matched
    pairs, both NaN with one pair; `matters` tells whether the interval excludes 0.
    """

    axis: str
    best: str
    worst: str
    percent: float
    half_width: float
    p_value: float
    pairs: int
    matters: bool


def text(value: object) -> str:
    """A setting as the experiment file writes it: `true`, `64`, `0.001`, `GRU`."""
    if isinstance(value, (bool, np.bool_)):
        return str(value).lower()
    if isinstance(value, (float, np.floating)):
        short = f"{value:g}"
        return short if float(short) == value else repr(float(value))
    return str(value)


def leaderboard(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """Runs by `metric`, best first: rank, name, the axes, seed, metrics, seconds, parameters, run_id.

    Where there are several series or folds, among which losses do not compare: their columns too,
    the latest fold first, and ranks within each.
    """
    apart = _apart(runs)
    ranked = _finite(runs, metric).sort_values(
        [*apart, metric, "key"], ascending=[*(column != "fold" for column in apart), True, True], ignore_index=True
    )
    ranked["rank"] = ranked.groupby(apart).cumcount() + 1 if apart else np.arange(1, len(ranked) + 1)
    measured = ["best_val_loss", "best_val_mae", "best_epoch", "epochs_trained", "fit_seconds", "parameters"]
    for name in ("best_val_wql", "val_false_alarms_per_day", "val_faults_missed"):
        if name in ranked and ranked[name].notna().any():
            measured.insert(2, name)
    return ranked[["rank", "name", *apart, *axes, "seed", *measured, "run_id"]]


def comparable(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`runs` with a finite `metric`, moved so that its mean is the same in every series and fold.

    How hard a series is says nothing about settings: what is left is how they differ within it.
    """
    known, apart = _finite(runs, metric), _apart(runs)
    if not apart:
        return known
    means = known.groupby(apart)[metric].transform("mean")
    return known.assign(**{metric: known[metric] - means + known[metric].mean()})


def _apart(runs: pd.DataFrame) -> list[str]:
    return [column for column in ("series", "fold") if column in runs and len(runs[column].unique()) > 1]


def by_configuration(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """One row per configuration, the best mean over seeds first.

    Columns: configuration, name (without the seed), the axes, mean of `metric` with its 95 % interval low to high
    (NaN with one seed), count of seeds, parameters, mean seconds of training. A configuration with fewer seeds
    than others comes after those, whatever its mean: a mean over few seeds is luck.
    """
    rows = []
    for configuration, own in _finite(runs, metric).groupby("configuration"):
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


def main_effects(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> pd.DataFrame:
    """Mean, standard deviation (n - 1), median and count of `metric` for each value of each axis.

    Columns: axis, value (as text, in natural order), mean, std, median, count.
    """
    known = _finite(runs, metric)
    found = [
        {"axis": axis, "value": text(value), **row.to_dict()}
        for axis in axes
        for value, row in known.groupby(axis)[metric].agg(["mean", "std", "median", "count"]).iterrows()
    ]
    return pd.DataFrame(found, columns=["axis", "value", "mean", "std", "median", "count"]).astype({"count": int})


def contrast(runs: pd.DataFrame, axis: str, metric: str) -> Contrast | None:
    """The best value of `axis` against the worst, over runs alike in all other settings, series, fold and seed.

    Values are ranked by their mean distance from the mean of the runs they are matched with, which in a whole grid is
    their mean; of the values that share a pair, the two furthest apart are compared. Percent and half width
    are the paired mean difference and that of its interval over the mean of the worst value in those pairs (NaN where
    that is 0 and the difference is not). Each pair counts as one observation, so that the spread includes how the
    difference changes with the other settings. None when no two runs differ in `axis` alone.
    """
    known = _finite(runs, metric)
    others = [setting for setting in (*AXES, *REPLICATED) if setting != axis and setting in known]
    match = [setting for setting in others if known[setting].notna().all()]
    matched = known.pivot_table(index=match, columns=axis, values=metric) if len(known) else pd.DataFrame()
    matched = matched[matched.count(axis=1) > 1]
    if not len(matched):
        return None
    distance = matched.sub(matched.mean(axis=1), axis=0).mean().to_numpy()
    losses = matched.to_numpy()
    pairs = [
        (low, high)
        for low, high in itertools.permutations(range(len(distance)), 2)
        if np.isfinite(losses[:, [low, high]]).all(axis=1).any()
    ]
    best, worst = max(pairs, key=lambda pair: distance[pair[1]] - distance[pair[0]])
    both = losses[np.isfinite(losses[:, [best, worst]]).all(axis=1)]
    if both[:, best].mean() > both[:, worst].mean():
        best, worst = worst, best
    test = paired(both[:, worst], both[:, best])
    base = abs(both[:, worst].mean())
    unit = 100 / base if base else (0.0 if test.mean == 0 else float("nan"))
    return Contrast(
        axis=axis,
        best=text(matched.columns[best]),
        worst=text(matched.columns[worst]),
        percent=unit * test.mean,
        half_width=unit * (test.high - test.mean),
        p_value=test.p_value,
        pairs=test.count,
        matters=test.low > 0,
    )


def interaction(runs: pd.DataFrame, a: str, b: str, metric: str) -> pd.DataFrame:
    """Mean of `metric` for each value of `a` (rows) and of `b` (columns), NaN where no run has both."""
    return _finite(runs, metric).pivot_table(index=a, columns=b, values=metric)


def interaction_strength(runs: pd.DataFrame, axes: Sequence[str], metric: str) -> dict[tuple[str, str], float]:
    """Share, 0 to 1, of the variance of `metric` that each pair of axes explains beyond their main effects.

    The drop of the residual sum of squares from the additive model of two axes to the means of their cells, over the
    total sum of squares: in a balanced grid the interaction of a two-way analysis of variance (Fisher
    1925), in any other fitted by least squares. Where each cell holds one run, what looks like an interaction
    may be chance. NaN where an axis takes one value or the metric does not vary.
    """
    known = _finite(runs, metric)
    losses = known[metric].to_numpy(float)
    codes = {axis: pd.factorize(known[axis], sort=True)[0] for axis in axes}
    found = {}
    for a, b in itertools.combinations(axes, 2):
        if _constant(codes[a]) or _constant(codes[b]) or _constant(losses):
            found[a, b] = float("nan")
            continue
        cells = codes[a] * (codes[b].max() + 1) + codes[b]
        additive = losses - _additive(losses, codes[a], codes[b])
        within = losses - _group_means(losses, cells)
        total = losses - losses.mean()
        found[a, b] = float(max(additive @ additive - within @ within, 0.0) / (total @ total))
    return found


def importance(runs: pd.DataFrame, axes: Sequence[str], metric: str, seed: int = 0) -> pd.DataFrame:
    """How much of the variance of `metric` each axis accounts for on its own, most important first.

    Columns: axis; fanova, share 0 to 1 of the variance of a random forest fitted to the grid that is the main effect
    of the axis (Hutter, Hoos, Leyton-Brown 2014; optuna, its forest seeded with `seed`); variance_share, sum of
    squares between the values of the axis over the total (eta squared). Neither is scaled to sum up to 1: the rest is
    interaction and, for variance_share, chance.

    The forest sees one point per combination of the axes, the mean over its runs, each axis by the rank
    of its values: one-hot columns, which optuna makes of categories, give weight to combinations that
    cannot be, and halve the share of axes with few values. fanova is NaN with fewer than four combinations
    or when their means do not differ, which is too little to tell axes apart; both are NaN for an axis
    that takes one value, and when the metric does not vary.
    """
    known = _finite(runs, metric)
    losses = known[metric].to_numpy(float)
    ranks = pd.DataFrame({axis: pd.factorize(known[axis], sort=True)[0] for axis in axes})
    varied = [axis for axis in axes if not _constant(ranks[axis].to_numpy())]
    shares: dict[str, float] = {}
    forest: dict[str, float] = {}
    if varied and not _constant(losses):
        shares = {axis: float(np.var(_group_means(losses, ranks[axis].to_numpy())) / np.var(losses)) for axis in varied}
        points = pd.Series(losses).groupby([ranks[axis] for axis in varied]).mean()
        if len(points) >= FEW and not _constant(points.to_numpy()):
            forest = _fanova(points.index.to_frame().astype(float), points.to_numpy(), seed)
    rows = [(axis, forest.get(axis, np.nan), shares.get(axis, np.nan)) for axis in axes]
    frame = pd.DataFrame(rows, columns=["axis", "fanova", "variance_share"])
    return frame.sort_values(["fanova", "variance_share"], ascending=False, kind="stable", ignore_index=True)


def _fanova(ranks: pd.DataFrame, losses: np.ndarray, seed: int) -> dict[str, float]:
    """The fANOVA of optuna over an in-memory study of `ranks` (points, axes); empty when its forest stays flat."""
    import optuna
    from optuna.distributions import FloatDistribution

    # Each rank takes an equal share of its axis, so each value has the same weight.
    space = {axis: FloatDistribution(-0.5, float(ranks[axis].max()) + 0.5) for axis in ranks}
    loudness = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study()
        study.add_trials(
            [
                optuna.create_trial(params=point, distributions=space, value=float(loss))
                for point, loss in zip(ranks.to_dict("records"), losses, strict=True)
            ]
        )
        trees = 64 if len(losses) <= MANY else 16
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=seed)
        return {axis: float(share) for axis, share in evaluator.evaluate(study).items()}
    except RuntimeError:  # every bootstrap sample happened to be constant
        return {}
    finally:
        optuna.logging.set_verbosity(loudness)


def pareto(frame: pd.DataFrame, cost: str, metric: str) -> np.ndarray:
    """Mask (rows,) of the Pareto set: no other row is at most as costly and at most as bad, and better in one.

    Rows where either number is not finite are outside it.
    """
    costs, losses = frame[cost].to_numpy(float), frame[metric].to_numpy(float)
    known = np.isfinite(costs) & np.isfinite(losses)
    no_worse = (costs <= costs[:, None]) & (losses <= losses[:, None])
    better = (costs < costs[:, None]) | (losses < losses[:, None])
    return known & ~(no_worse & better & known).any(axis=1)


def simplest(configurations: pd.DataFrame, tied: Collection[str]) -> str:
    """The configuration among `tied` with the fewest parameters, then the shortest training, then the best mean.

    `configurations` is as `by_configuration` gives it. Raises ValueError when it holds none of `tied`.
    """
    rows = configurations[configurations["configuration"].isin(list(tied))]
    if not len(rows):
        raise ValueError("tied: none of these configurations stands in the table")
    return str(rows.sort_values(["parameters", "seconds", "mean"])["configuration"].iloc[0])


@np.errstate(invalid="ignore")  # an infinite forecast makes some measures NaN
def test_table(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per forecaster: name, mae, rmse, r2, mape, smape, mase, wape and the closeness shares in percent.

    MAE and RMSE are in data units, MASE is the mean over series. The shares are named share_excellent,
    share_good, share_acceptable and share_needs_improvement. Where the first of `tests` gives quantiles, wql,
    coverage, width and crps as `quantiles.measured` has them, at its levels.
    """
    rows, levels = [], _levels(tests)
    for name, table in tests.items():
        actual, forecast, series, scale = _arrays(table)
        shares = metrics.closeness(actual, forecast)
        rows.append(
            {
                "name": name,
                **metrics.overall(actual, forecast, series, scale),
                **{f"share_{label.lower().replace(' ', '_')}": share for label, share in shares.items()},
                **(interval_calibration.measured(table, levels) if levels else {}),
            }
        )
    return pd.DataFrame(rows)


@np.errstate(invalid="ignore")
def by_series(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per forecaster and series: name, series, mae, rmse (data units), r2, mape, smape, mase, wape.

    Where the first of `tests` gives quantiles, wql, coverage, width and crps too, at its levels.
    """
    levels, rows = _levels(tests), []
    for name, table in tests.items():
        own = dict(iter(table.groupby("series", sort=False))) if levels else {}
        for series, measured in metrics.per_series(*_arrays(table)).items():
            more = interval_calibration.measured(own[series], levels) if levels else {}
            rows.append({"name": name, "series": series, **measured, **more})
    return pd.DataFrame(rows, columns=["name", "series", *metrics.POINT, *(QUANTILE_MEASURES if levels else ())])


def by_step(tests: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per forecaster and step of the horizon: name, step, mae (data units), mase (mean over series).

    Where the first of `tests` gives quantiles, wql, coverage, width and crps too, at its levels.
    """
    return _parted(tests, "step", {name: table["step"] for name, table in tests.items()})


def by_category(tests: Mapping[str, pd.DataFrame], of: Mapping[str, str]) -> pd.DataFrame:
    """One row per forecaster and value of a category, where `of` tells that of each series.

    Columns: name, value, mae (data units), mase (mean over series), and those of quantiles as `by_step` has
    them. Series of which `of` tells nothing stand together under `unknown`.
    """
    parts = {name: table["series"].astype(str).map(dict(of)).fillna("unknown") for name, table in tests.items()}
    return _parted(tests, "value", parts)


@np.errstate(invalid="ignore")
def _parted(tests: Mapping[str, pd.DataFrame], label: str, parts: Mapping[str, pd.Series]) -> pd.DataFrame:
    """The measures of each forecaster for each value of its `parts` (rows,), under the column `label`."""
    levels, rows = _levels(tests), []
    for name, table in tests.items():
        for value, own in table.groupby(parts[name].to_numpy()):
            found = metrics.overall(*_arrays(own))
            more = interval_calibration.measured(own, levels) if levels else {}
            rows.append({"name": name, label: value, "mae": found["mae"], "mase": found["mase"], **more})
    return pd.DataFrame(rows, columns=["name", label, "mae", "mase", *(QUANTILE_MEASURES if levels else ())])


def origin_losses(table: pd.DataFrame) -> pd.Series:
    """Mean absolute error in units of `scale` for each origin, over series and steps, in the order of time.

    The index is the time of the origin's first step. Series whose scale is 0 are left out, as they are of MASE.
    """
    times = pd.Index(table["time"].unique()).sort_values()
    origins = times[times.get_indexer(table["time"]) - (table["step"].to_numpy() - 1)]
    errors = (table["actual"] - table["forecast"]).abs() / table["scale"].where(table["scale"] > 0)
    return errors.groupby(origins.rename("origin")).mean().dropna().rename("loss")


def against_baselines(tests: Mapping[str, pd.DataFrame], winner: str, horizon: int) -> pd.DataFrame:
    """The forecaster `winner` against each other one of `tests`, over the origins that both forecast.

    Columns: name; mase, of that baseline; percent, the winner's MASE against it (negative: the winner is better;
    NaN where the baseline's is 0); dm_statistic and p_value of `diebold_mariano` on `origin_losses`, `horizon`
    counted in origins; verdict on the winner, `better` or `worse` where p is below 5 %, else `tied`, also when
    there are too few origins to test (p is NaN). Raises KeyError when `winner` is not in `tests`.
    """
    own, mases = origin_losses(tests[winner]), test_table(tests).set_index("name")["mase"]
    rows = []
    for name in tests:
        if name == winner:
            continue
        both = pd.concat([own, origin_losses(tests[name])], axis=1, join="inner").to_numpy()
        ours, theirs = both[np.isfinite(both).all(axis=1)].T
        test = diebold_mariano(ours, theirs, horizon)
        mase = float(mases[name])
        verdict = "tied"
        if test.p_value < 0.05:
            verdict = "better" if test.mean_difference < 0 else "worse"
        percent = 100 * (float(mases[winner]) / mase - 1) if mase else float("nan")
        rows.append((name, mase, percent, test.statistic, test.p_value, verdict))
    return pd.DataFrame(rows, columns=["name", "mase", "percent", "dm_statistic", "p_value", "verdict"])


def _finite(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    return runs[np.isfinite(runs[metric].to_numpy(float))]


def _constant(values: np.ndarray) -> bool:
    return len(values) == 0 or bool(np.ptp(values) == 0)


def _group_means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """For each of `values` the mean of its group."""
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    return (sums / np.maximum(counts, 1))[groups]


def _additive(values: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Least-squares fit of `values` by one number per code of `a` plus one per code of `b`."""
    dummies = np.hstack([np.eye(a.max() + 1)[a], np.eye(b.max() + 1)[b]])
    return dummies @ np.linalg.lstsq(dummies, values, rcond=None)[0]


def _levels(tests: Mapping[str, pd.DataFrame]) -> tuple[float, ...]:
    return interval_calibration.levels(next(iter(tests.values()))) if tests else ()


def _arrays(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Actual, forecast, series and scale, each (points,)."""
    numbers = [table[column].to_numpy(float) for column in ("actual", "forecast", "scale")]
    return numbers[0], numbers[1], table["series"].to_numpy(), numbers[2]
