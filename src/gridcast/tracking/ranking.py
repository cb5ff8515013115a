"""Rank the MLflow runs of a sweep by a metric."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gridcast.config import selection_metrics
from gridcast.config.selection_metrics import BUILT_IN_METRICS, HIGHER_IS_BETTER
from gridcast.evaluation import detection_table
from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.runtime.errors import GridcastError
from gridcast.tracking.mlflow_runs import CONFIGURATION_TAG, DIRECTION_TAG, FOLD_TAG, KEY_TAG, run_name

ONLINE_PREFIX = "val_online_"
"""Prefix of metrics of the scores that a follower of a stream has; in hindsight they are called `val_...`."""


def best_run(runs: Sequence[Any], metric: str, last_fold: int = 0) -> Any:
    """Return the run to be tested: the best seed, on the last fold, of the best configuration.

    The configuration has the best mean over seeds and folds, see `best_configuration_runs`; the last fold
    has the longest training span.
    """
    return best_on_fold(best_configuration_runs(runs, metric, last_fold), metric, last_fold)


def best_configuration_runs(runs: Sequence[Any], metric: str, last_fold: int = 0) -> list[Any]:
    """Return the runs of the configuration with the best mean over seeds and folds.

    Left out are runs whose metric is not finite, configurations with fewer such runs than others (a mean
    over few runs may be luck) and those without one on the last fold. Raises GridcastError if none is left.
    """
    check_online_metric(runs, metric)
    groups: dict[str, list[Any]] = {}
    for run in runs:
        if has_finite(run, metric):
            groups.setdefault(run.data.tags[CONFIGURATION_TAG], []).append(run)
    if not groups:
        raise GridcastError(f"no run has a finite {metric}")
    groups = {name: group for name, group in groups.items() if any(_fold(run) == last_fold for run in group)}
    if not groups:
        raise GridcastError(f"no run of the last fold has a finite {metric}")
    size = max(map(len, groups.values()))
    complete = [group for group in groups.values() if len(group) == size]

    def rank(group: list[Any]) -> tuple[float, str]:
        """The mean; ties go to the smaller key, so that the order of recording does not matter."""
        return float(np.mean([cost(run, metric) for run in group])), min(run.data.tags[KEY_TAG] for run in group)

    return min(complete, key=rank)


def rank_runs(runs: Sequence[Any], metric: str, last_fold: int = 0) -> list[Any]:
    """Return the runs on the last fold whose metric is finite, best first. Raises GridcastError if there is none."""
    check_online_metric(runs, metric)
    finite = [run for run in runs if _fold(run) == last_fold and has_finite(run, metric)]
    if not finite:
        raise GridcastError(f"no run has a finite {metric}")
    return sorted(finite, key=lambda run: (cost(run, metric), run.data.tags[KEY_TAG]))


def best_on_fold(runs: Sequence[Any], metric: str, fold: int) -> Any:
    """Return the best of `runs` on `fold`."""
    on_fold = [run for run in runs if _fold(run) == fold]
    return min(on_fold, key=lambda run: (cost(run, metric), run.data.tags[KEY_TAG]))


def is_higher_better(run: Any, metric: str) -> bool:
    """Whether a higher value of `metric` is better; of a metric of one's own its runs say so."""
    if metric in HIGHER_IS_BETTER or metric in BUILT_IN_METRICS:
        return metric in HIGHER_IS_BETTER
    return metric in run.data.tags.get(DIRECTION_TAG, "").split()


def cost(run: Any, metric: str) -> float:
    """Return the value of `metric` of an MLflow run as a number of which the lower is the better."""
    value = float(run.data.metrics[metric])
    return selection_metrics.cost(metric, value, is_higher_better=is_higher_better(run, metric))


def comparable_error(measures: Mapping[str, float]) -> float:
    """Return the error that gates compare, the lower the better: MASE, or 1 - AUC-PR of a detector."""
    return measures["mase"] if "mase" in measures else 1 - measures.get("auc_pr", math.nan)


def check_online_metric(runs: Sequence[Any], metric: str) -> None:
    """Raise GridcastError where runs of version 0.1 have the `metric` in hindsight only: they would be left out."""
    in_hindsight = metric.replace(ONLINE_PREFIX, "val_")
    if in_hindsight == metric:
        return
    former = [run for run in runs if has_finite(run, in_hindsight) and metric not in run.data.metrics]
    if former:
        raise GridcastError(
            f"{len(former)} of {len(runs)} runs are of version 0.1 and lack {metric}: write "
            f"selection.metric: {in_hindsight}, which all of them have, or delete these runs in MLflow and run again"
        )


def has_finite(run: Any, metric: str) -> bool:
    """Whether an MLflow run has a finite value of `metric`."""
    # MLflow's SQL stores record infinity as the largest float; a comparison with NaN is False.
    return bool(abs(run.data.metrics.get(metric, np.nan)) < sys.float_info.max)


def test_measures(run: Any) -> dict[str, float]:
    """Return the measures of an MLflow run on the test span, by their short names (`mase` for `test_mase`)."""
    return {
        name.removeprefix(TEST_PREFIX): value
        for name, value in run.data.metrics.items()
        if name.startswith(TEST_PREFIX)
    }


def measures_by_name(runs: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Return the measures of several MLflow runs on the test span, by the names of the runs.

    Those of detectors are of one kind of scores, see `detection_table.like_with_like`.
    """
    return detection_table.like_with_like({run_name(run): test_measures(run) for run in runs})


def _fold(run: Any) -> int:
    return int(run.data.tags.get(FOLD_TAG, 0))
