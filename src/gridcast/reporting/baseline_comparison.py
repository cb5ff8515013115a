"""The winner against each baseline on the test span: pure functions on frames, which `forecast_tables` describes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridcast.evaluation import significance
from gridcast.evaluation.origin_losses import WQL, Measure, origin_losses, series_losses, shared_points
from gridcast.evaluation.significance import DieboldMariano
from gridcast.reporting.interval_calibration import has_levels

BETTER, WORSE, TIED, UNCLEAR, UNTESTED = "better", "worse", "tied", "unclear", "untested"
COMPARISON_COLUMNS = (
    "name",
    "error",
    "winner_error",
    "percent",
    "statistic",
    "p_value",
    "origins",
    "verdict",
    "reason",
)
MEASURES_COMPARED = {"mase": "MASE", "mae": "MAE", "rmse": "RMSE", "wape": "WAPE", "wql": "WQL"}
"""Measures whose disagreement is named, by name."""
MIN_SERIES = 5
"""Series below which none can be called one of a few that decide a mean."""


@dataclass(frozen=True)
class SeriesSummary:
    """How the series stand behind a mean over them.

    `winner_median` is the median over `series` of the winner's error, `won` in how many of them the winner is ahead of
    the baseline `reference` (None: there is none). `deciding` are the fewest series that make up half of the mean, the
    largest first, with their `share` of it; none where these are more than one and more than a tenth of all. Without
    them the winner's error is `percent_without` against the reference (NaN where there is none).
    """

    series: int
    winner_median: float
    reference: str | None
    won: int
    deciding: tuple[str, ...]
    share: float
    percent_without: float


def compare_baselines(
    tests: Mapping[str, pd.DataFrame],
    winner: str,
    *,
    overlap: int,
    measure: Measure,
    relevant: float,
    levels: Sequence[float] = (),
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Compare the forecaster `winner` with each other one of `tests` by `measure`, over the points that both forecast.

    Columns: name; error and winner_error, of both (of WQL before its division by the actual values); percent, the
    winner's error relative to the other (negative: the winner is better; NaN where the other is 0); statistic and
    p_value of `diebold_mariano` on `origin_losses`, the mean of which is the error: percent and p value are about the
    same difference. `overlap` is how many neighbouring origins share a step. p_value is corrected for the number of
    baselines by Holm's method.

    verdict on the winner: `tied` where the difference is shown to be below the share `relevant` of the baseline's error
    (two one-sided tests, Bonferroni over the baselines), else `better` or `worse` where p_value is at most `alpha`,
    else `unclear`; `untested` where no test is possible, for the `reason` in words. Baselines without the quantile
    `levels` that the weighted quantile loss needs are left out. Raises KeyError when `winner` is not in `tests`.
    """
    table = tests[winner]
    others = [name for name in tests if name != winner and (measure != WQL or has_levels(tests[name], levels))]
    rows, compared = [], []
    for name in others:
        sides = shared_points(table, tests[name])
        losses = pd.concat([origin_losses(side, measure, levels) for side in sides], axis=1).to_numpy(float)
        winner_error, error = losses.mean(axis=0) if len(losses) else (math.nan, math.nan)
        finite = losses if np.isfinite(losses).all() else losses[:0]
        test = significance.diebold_mariano(finite[:, 0], finite[:, 1], overlap)
        percent = 100 * (float(winner_error) / float(error) - 1) if error else math.nan
        reason = "" if test.degrees else _reason(losses, overlap)
        rows.append((name, error, winner_error, percent, test.statistic, test.p_value, len(losses), "", reason))
        compared.append(test)
    frame = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    frame["p_value"] = significance.holm(frame["p_value"].to_numpy(float))
    tied_alpha = alpha / max(len(others), 1)
    frame["verdict"] = [
        _verdict(test, p_value, margin=relevant * error, alpha=alpha, tied_alpha=tied_alpha)
        for test, p_value, error in zip(compared, frame["p_value"], frame["error"], strict=True)
    ]
    return frame


def _verdict(test: DieboldMariano, p_value: float, *, margin: float, alpha: float, tied_alpha: float) -> str:
    if not test.degrees:
        return UNTESTED
    if test.estimate.p_within(margin) <= tied_alpha:
        return TIED
    if p_value <= alpha:
        return BETTER if test.mean_difference < 0 else WORSE
    return UNCLEAR


def _reason(losses: np.ndarray, overlap: int) -> str:
    """Return why the `losses` (origins, 2) could not be tested."""
    origins = len(losses)
    if not np.isfinite(losses).all():
        return "an error is not finite"
    if origins < 2:
        return "one origin" if origins else "no forecast in common"
    if origins < significance.MIN_ORIGINS:
        return f"{origins} origins are too few"
    if overlap > 1:
        return f"{origins} origins, of which {overlap} at a time share steps"
    return f"the errors of {origins} origins depend on each other too much"


def summarize_series(
    tests: Mapping[str, pd.DataFrame],
    winner: str,
    *,
    reference: str | None,
    measure: Measure,
    levels: Sequence[float] = (),
) -> SeriesSummary:
    """Return how the series stand behind the winner's error by `measure`, and against the baseline `reference`."""
    own = series_losses(tests[winner], measure, levels)
    other = own * np.nan
    if reference is not None:
        sides = shared_points(tests[winner], tests[reference])
        own_shared, other = (series_losses(side, measure, levels) for side in sides)
        won = int((own_shared < other).sum())
    else:
        own_shared, won = own, 0
    ranked = own.sort_values(ascending=False)
    shares = ranked.cumsum() / ranked.sum()
    count = int((shares < 0.5).sum()) + 1
    few = len(own) >= MIN_SERIES and count <= max(1, len(own) // 10) and bool(np.isfinite(shares.iloc[-1]))
    deciding = list(ranked.index[:count]) if few else []
    rest = own_shared.index.difference(deciding)
    without = 100 * (own_shared[rest].sum() / other[rest].sum() - 1) if few and other[rest].sum() > 0 else math.nan
    return SeriesSummary(
        series=len(own),
        winner_median=float(own.median()),
        reference=reference,
        won=won,
        deciding=tuple(map(str, deciding)),
        share=float(shares.iloc[count - 1]) if few else math.nan,
        percent_without=float(without),
    )


def lower_by_other_measures(measures: pd.DataFrame, winner: str, measure: Measure) -> dict[str, list[str]]:
    """Return for each baseline the measures by which it and the winner change places, compared with `measure`.

    `measures` is the frame of `measure_table`; the values are titles, and baselines without such measures are left out.
    """
    table = measures.set_index("name")
    columns = {name: title for name, title in MEASURES_COMPARED.items() if name in table and name != measure.name}
    own = table.loc[winner]
    found = {}
    for name, row in table.drop(index=winner).iterrows():
        ahead = own[measure.name] < row[measure.name]
        titles = [
            title
            for column, title in columns.items()
            if np.isfinite([own[column], row[column]]).all() and own[column] != row[column]
            if (own[column] < row[column]) != ahead
        ]
        if titles and np.isfinite(row[measure.name]):
            found[str(name)] = titles
    return found
