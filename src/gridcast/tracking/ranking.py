"""Rank the MLflow runs of a sweep by a metric."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from gridcast.evaluation.artifact_files import TEST_PREFIX
from gridcast.runtime.errors import GridcastError
from gridcast.tracking.mlflow_runs import CONFIGURATION_TAG, FOLD_TAG, KEY_TAG


def best_run(runs: list[Any], metric: str, last: int = 0) -> Any:
    """The MLflow run to be tested: of the configuration with the best mean over seeds and folds, see `leading`,
    the best seed on the `last` fold, which had the most to learn from.
    """
    return best_on_fold(best_configuration_runs(runs, metric, last), metric, last)


def best_configuration_runs(runs: list[Any], metric: str, last: int = 0) -> list[Any]:
    """The runs of the configuration with the best mean over seeds and folds.

    Runs whose metric is not finite are left out, and configurations with fewer runs than others, or
    none on the `last` fold: a mean over few is luck. Raises GridcastError when none is left.
    """
    groups: dict[str, list[Any]] = {}
    for run in runs:
        # SQL stores keep an infinite value as the largest number there is.
        if abs(run.data.metrics.get(metric, np.nan)) < sys.float_info.max:
            groups.setdefault(run.data.tags[CONFIGURATION_TAG], []).append(run)
    if not groups:
        raise GridcastError(f"no run has a finite {metric}")
    groups = {name: group for name, group in groups.items() if any(_fold(run) == last for run in group)}
    if not groups:
        raise GridcastError(f"no run of the last fold has a finite {metric}")
    most = max(map(len, groups.values()))
    whole = [group for group in groups.values() if len(group) == most]

    def rank(group: list[Any]) -> tuple[float, str]:
        """The mean; among equals the smaller key, whichever was recorded first."""
        return float(np.mean([run.data.metrics[metric] for run in group])), min(run.data.tags[KEY_TAG] for run in group)

    return min(whole, key=rank)


def rank_runs(runs: Sequence[Any], metric: str, last: int = 0) -> list[Any]:
    """The runs on the `last` fold whose metric is finite, best first. Raises GridcastError when there is none."""
    own = [run for run in runs if _fold(run) == last and abs(run.data.metrics.get(metric, np.nan)) < sys.float_info.max]
    if not own:
        raise GridcastError(f"no run has a finite {metric}")
    return sorted(own, key=lambda run: (run.data.metrics[metric], run.data.tags[KEY_TAG]))


def best_on_fold(group: list[Any], metric: str, last: int) -> Any:
    """Of `group` the best run on the `last` fold."""
    own = [run for run in group if _fold(run) == last]
    return min(own, key=lambda run: (run.data.metrics[metric], run.data.tags[KEY_TAG]))


def _fold(run: Any) -> int:
    return int(run.data.tags.get(FOLD_TAG, 0))


def test_measures(run: Any) -> dict[str, float]:
    """The test measures of an MLflow run, under their short names."""
    return {
        name.removeprefix(TEST_PREFIX): value
        for name, value in run.data.metrics.items()
        if name.startswith(TEST_PREFIX)
    }
