"""What the winner leans on, told on the validation span: the test span is for one number alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gridcast.data import series_statistics
from gridcast.data.dataset import Dataset
from gridcast.evaluation import permutation_importance
from gridcast.runtime import loading
from gridcast.runtime.forecaster import Forecaster, network_inputs

MAX_WINDOWS = 2000
"""Most windows that are shuffled."""
MAX_STEPS = 40_000
"""Most steps that the shuffled windows read together, so that any lookback takes a few seconds."""
MAX_SAMPLED_WINDOWS = 100
"""Most windows that are shuffled where a forecast is made of sample paths."""
SAMPLED_REPEATS = 2
"""Shuffles of each part where a forecast is made of sample paths."""
MAX_PATHS = 25
"""Most sample paths of each forecast."""


def explain_forecaster(dataset: Dataset, files: dict[str, bytes]) -> dict[str, Any]:
    """Permutation importance, and attention by lag where the network has it, of the forecaster in `files`.

    Over at most `WINDOWS` windows of the validation span, the same in every call. Plain lists and numbers, under
    windows, error, permuted (as `importance.permutation`) and attention (as `importance.attention`, may be empty).
    Nothing for a forecaster of many networks, of which each leans on something else.
    """
    forecaster, random = loading.load_from_bytes(files), np.random.default_rng(0)
    if forecaster.routes:
        return {}
    forecaster = _with_few_paths(forecaster)
    own, sampled = forecaster.preprocessing, forecaster.quantiles is not None
    index = dataset.origins("validation", own.lookback)
    size = min(len(index), MAX_SAMPLED_WINDOWS if sampled else MAX_WINDOWS, max(1, MAX_STEPS // own.lookback))
    index = index[np.sort(random.choice(len(index), size, replace=False))]
    channels = [*own.channel_names, *(["age"] if own.has_age else [])]
    error, permuted = permutation_importance.part_importance(
        forecaster.forecast,
        dataset.channels,
        index,
        dataset.series_codes,
        dataset.targets(index),
        series_statistics.naive_scale(np.where(dataset.observed, dataset.target, np.nan)[:, : dataset.spans.train]),
        permutation_importance.input_parts(
            channels, own.first_known_ahead, own.lookback + max(own.lags, default=0), own.horizon
        ),
        random,
        SAMPLED_REPEATS if sampled else 5,
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
    few = quantiles and replace(quantiles, paths=min(quantiles.paths, MAX_PATHS))
    return replace(forecaster, quantiles=few, members=members)


def _attention(forecaster: Forecaster, dataset: Dataset, index: np.ndarray) -> list[dict[Any, Any]]:
    if forecaster.members or "attention_weights" not in [layer.name for layer in forecaster.network.layers]:
        return []
    window = network_inputs(forecaster.preprocessing, dataset.channels, index, dataset.series_codes)
    return permutation_importance.attention_by_lag(forecaster.attention_weights(window)).to_dict("records")
