"""What the winner leans on, told on the validation span: the test span is for one number alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gridcast.data import series_statistics
from gridcast.data.dataset import Dataset
from gridcast.evaluation import permutation_importance
from gridcast.runtime import loading
from gridcast.runtime.forecaster import Forecaster, inputs

WINDOWS, STEPS = 2000, 40_000
"""Most windows that are shuffled, and most steps that they read together: a few seconds for any lookback."""
SAMPLED, REPEATS, PATHS = 100, 2, 25
"""Most windows, shuffles of each part, and paths of each forecast, where it is made of sample paths."""


def explain(dataset: Dataset, files: dict[str, bytes]) -> dict[str, Any]:
    """Permutation importance, and attention by lag where the network has it, of the forecaster in `files`.

    Over at most `WINDOWS` windows of the validation span, the same in every call. Plain lists and numbers, under
    windows, error, permuted (as `importance.permutation`) and attention (as `importance.attention`, may be empty).
    Nothing for a forecaster of many networks, of which each leans on something else.
    """
    forecaster, random = loading.restore(files), np.random.default_rng(0)
    if forecaster.routes:
        return {}
    forecaster = _with_few_paths(forecaster)
    own, sampled = forecaster.preprocessing, forecaster.quantiles is not None
    index = dataset.origins("validation", own.lookback)
    size = min(len(index), SAMPLED if sampled else WINDOWS, max(1, STEPS // own.lookback))
    index = index[np.sort(random.choice(len(index), size, replace=False))]
    channels = [*own.covariates, *(["age"] if own.aged else [])]
    error, permuted = permutation_importance.permutation(
        forecaster.forecast,
        dataset.channels,
        index,
        dataset.codes,
        dataset.actual(index),
        series_statistics.naive_scale(np.where(dataset.observed, dataset.target, np.nan)[:, : dataset.spans.train]),
        permutation_importance.parts(channels, own.known_ahead, own.lookback + max(own.lags, default=0), own.horizon),
        random,
        REPEATS if sampled else 5,
    )
    return {
        "windows": len(index),
        "error": error,
        "permuted": permuted.to_dict("records"),
        "attention": _attention(forecaster, dataset, index),
    }


def _with_few_paths(forecaster: Forecaster) -> Forecaster:
    """The same with at most `PATHS` sample paths: the same ones are drawn before and after a shuffle."""
    quantiles, members = forecaster.quantiles, tuple(map(_with_few_paths, forecaster.members))
    few = quantiles and replace(quantiles, paths=min(quantiles.paths, PATHS))
    return replace(forecaster, quantiles=few, members=members)


def _attention(forecaster: Forecaster, dataset: Dataset, index: np.ndarray) -> list[dict[Any, Any]]:
    if forecaster.members or "attention_weights" not in [layer.name for layer in forecaster.network.layers]:
        return []
    window = inputs(forecaster.preprocessing, dataset.channels, index, dataset.codes)
    return permutation_importance.attention(forecaster.attention_weights(window)).to_dict("records")
