"""Explanation of a forecaster by permutation importance and attention, on the validation span.

The test span stays for the test metrics alone: explaining on it would spend it once more.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gridcast.data.dataset import Dataset
from gridcast.evaluation import permutation_importance
from gridcast.runtime import loading
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.naive_scale import naive_scale
from gridcast.runtime.network_inputs import network_inputs

MAX_WINDOWS = 2000
"""Most windows that are shuffled."""
MAX_STEPS = 40_000
"""Most steps that the shuffled windows read together, so that any lookback takes a few seconds."""
REPEATS = 5
"""Shuffles of each part of the input."""
MAX_SAMPLED_WINDOWS = 100
"""Most windows that are shuffled where a forecast is made of sample paths."""
SAMPLED_REPEATS = 3
"""Shuffles of each part where a forecast is made of sample paths."""
MAX_PATHS = 25
"""Most sample paths of each forecast."""


def explain_forecaster(dataset: Dataset, files: dict[str, bytes]) -> dict[str, Any]:
    """Return permutation importance, and attention by lag where the network has it, of the forecaster in `files`.

    Over at most `MAX_WINDOWS` windows of the validation span, the same in every call. Plain lists and numbers, under
    windows, repeats, error, permuted (the rows of `permutation_importance.part_importance`) and attention (those of
    `permutation_importance.attention_by_lag`, or none). Empty for a forecaster with a model per series, each of which
    would need an explanation of its own, and for one with baselines, which do not read windows alone.
    """
    forecaster, generator = loading.load_from_bytes(files), np.random.default_rng(0)
    if forecaster.routes or forecaster.reads_history:
        return {}
    forecaster = _with_few_paths(forecaster)
    preprocessing, is_sampled = forecaster.preprocessing, forecaster.quantiles is not None
    lookback = preprocessing.lookback
    index = dataset.origins("validation", lookback)
    size = min(len(index), MAX_SAMPLED_WINDOWS if is_sampled else MAX_WINDOWS, max(1, MAX_STEPS // lookback))
    index = index[np.sort(generator.choice(len(index), size, replace=False))]
    training_target = np.where(dataset.observed, dataset.target, np.nan)[:, : dataset.spans.train]
    windows = permutation_importance.ScoredWindows(
        channels=dataset.channels,
        index=index,
        codes=dataset.series_codes,
        actual=dataset.targets(index),
        scale=naive_scale(training_target),
    )
    parts = permutation_importance.input_parts(
        [*preprocessing.channel_names, *(["age"] if preprocessing.has_age else [])],
        first_known_ahead=preprocessing.first_known_ahead,
        lookback=lookback + max(preprocessing.lags, default=0),
        horizon=preprocessing.horizon,
    )
    repeats = SAMPLED_REPEATS if is_sampled else REPEATS
    error, importance = permutation_importance.part_importance(
        forecaster.forecast, windows, parts, generator=generator, repeats=repeats
    )
    return {
        "windows": len(index),
        "repeats": repeats,
        "error": error,
        "permuted": importance.to_dict("records"),
        "attention": _attention(forecaster, dataset, index),
    }


def _with_few_paths(forecaster: Forecaster) -> Forecaster:
    """The forecaster with at most `MAX_PATHS` sample paths: the same ones are drawn before and after a shuffle."""
    quantiles = forecaster.quantiles and replace(forecaster.quantiles, paths=min(forecaster.quantiles.paths, MAX_PATHS))
    return replace(forecaster, quantiles=quantiles, members=tuple(map(_with_few_paths, forecaster.members)))


def _attention(forecaster: Forecaster, dataset: Dataset, index: np.ndarray) -> list[dict[Any, Any]]:
    if forecaster.members or "attention_weights" not in [layer.name for layer in forecaster.network.layers]:
        return []
    inputs = network_inputs(forecaster.preprocessing, dataset.channels, index, dataset.series_codes)
    return permutation_importance.attention_by_lag(forecaster.attention_weights(inputs)).to_dict("records")
