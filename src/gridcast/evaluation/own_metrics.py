"""Metrics of one's own on arrays and tables of forecasts, with errors that name the function and its place."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from gridcast.config.selection_metrics import Metric, check_own_name
from gridcast.runtime.errors import ConfigError, GridcastError


def evaluate(metric: Metric, name: str, actual: np.ndarray, forecast: np.ndarray, **optional: object) -> float:
    """Return `metric` of the forecasts (windows, horizon); it gets those of the `optional` arguments that it takes.

    Raises GridcastError, with file and line, where the function raises an error or returns no number.
    """
    arguments = {key: value for key, value in optional.items() if key in metric.optional_arguments}
    try:
        value = np.asarray(metric.function(actual, forecast, **arguments), float)
    except Exception as error:  # whatever the function of a stranger raises
        raise GridcastError(f"metric {name} ({place_of(metric)}): {type(error).__name__}: {error}") from error
    if value.shape != ():
        raise GridcastError(
            f"metric {name} ({place_of(metric)}): must return one number, not an array of shape {value.shape}"
        )
    return float(value)


def place_of(metric: Metric) -> str:
    """Return the file and the line where the function of `metric` begins."""
    code = getattr(metric.function, "__code__", None)
    return f"{code.co_filename}, line {code.co_firstlineno}" if code else repr(metric.function)


def evaluate_table(metric: Metric, name: str, table: pd.DataFrame, levels: Sequence[float] = ()) -> float:
    """Return `metric` of a table of `forecast_table`; where its windows are not whole, each row counts as a window.

    Raises GridcastError as `evaluate` does.
    """
    steps = table["step"].to_numpy()
    horizon = int(steps.max())
    is_whole = len(steps) % horizon == 0 and np.array_equal(steps, np.resize(np.arange(1, horizon + 1), len(steps)))
    shape = (-1, horizon if is_whole else 1)
    first = table.iloc[:: shape[1]]
    columns = [f"q{level:g}" for level in levels]
    has_levels = bool(columns) and set(columns) <= set(table)
    return evaluate(
        metric,
        name,
        table["actual"].to_numpy(float).reshape(shape),
        table["forecast"].to_numpy(float).reshape(shape),
        scale=first["scale"].to_numpy(float),
        series=pd.factorize(first["series"])[0],
        quantiles=table[columns].to_numpy(float).reshape(*shape, len(columns)) if has_levels else None,
        levels=np.array(levels) if has_levels else None,
    )


def evaluate_all(metrics: Mapping[str, Metric], table: pd.DataFrame, levels: Sequence[float]) -> dict[str, float]:
    """Return each of `metrics` of a table of `forecast_table`, by name."""
    return {name: evaluate_table(metric, name, table, levels) for name, metric in metrics.items()}


def digest_of(metric: Metric) -> str:
    """Return a digest of the text of the function, or of its compiled form where the text is not at hand."""
    try:
        content = inspect.getsource(metric.function).encode()
    except (OSError, TypeError):
        code = getattr(metric.function, "__code__", None)
        content = code.co_code if code else repr(metric.function).encode()
    return hashlib.sha256(content + metric.direction.encode()).hexdigest()[:16]


def check_metrics(metrics: Mapping[str, Metric], horizon: int, levels: Sequence[float]) -> None:
    """Raise ConfigError, with file and line, for a metric that fails or is not a finite number on made-up forecasts.

    It is called before anything is trained.
    """
    random = np.random.default_rng(0)
    actual = random.uniform(1, 10, (12, horizon))
    forecast = actual + random.normal(0, 0.5, actual.shape)
    quantiles = np.stack([forecast + level - 0.5 for level in levels], axis=-1) if levels else None
    for name, metric in metrics.items():
        check_own_name(name)
        try:
            value = evaluate(
                metric,
                name,
                actual,
                forecast,
                scale=np.ones(len(actual)),
                series=np.arange(len(actual)) % 3,
                quantiles=quantiles,
                levels=np.array(levels) if levels else None,
            )
        except GridcastError as error:
            raise ConfigError(f"{error} (on made-up forecasts of 12 windows and {horizon} steps)") from error
        if not np.isfinite(value):
            raise ConfigError(
                f"metric {name} ({place_of(metric)}): returned {value} for made-up forecasts of 12 windows and "
                f"{horizon} steps without a zero; it must return a finite number"
            )
