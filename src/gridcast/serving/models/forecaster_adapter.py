"""Adapt a forecaster from the registry to this version of the code, check it on a sample, answer batches with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.runtime import step_rule
from gridcast.runtime.answer_columns import FORECAST
from gridcast.runtime.baseline_model import BaselineModel
from gridcast.runtime.errors import DataError, TrackingError
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.per_series import Route, Routes
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.quantiles import Quantiles
from gridcast.serving.payloads.request_frames import series_frame
from gridcast.serving.payloads.request_types import ForecastRequest
from gridcast.tracking.model_loading import LoadedModel


def adapt(carried: Any) -> Forecaster:
    """Return a forecaster of this version's code from the `carried` one, whose classes come from its model's code.

    Only attributes that models of version 0.1.0 have too are read off it.
    """
    quantiles = None if carried.quantiles is None else Quantiles.from_json(carried.quantiles.to_json())
    network = carried.network
    if carried.routes:
        routes = tuple(Route(**dataclasses.asdict(route)) for route in carried.routes)
        baselines = {name: _adapt_baseline(one) for name, one in getattr(network, "baselines", {}).items()}
        network = Routes(routes, network.members, network.horizon, baselines=baselines)
    elif getattr(carried, "baseline", None) is not None:
        network = _adapt_baseline(network)
    return Forecaster(
        preprocessing=Preprocessing.adopt(carried.preprocessing),
        network=network,
        quantiles=quantiles,
        members=tuple(map(adapt, carried.members)),
        weights=carried.weights,
    )


def _adapt_baseline(carried: Any) -> BaselineModel:
    return BaselineModel.from_bytes(carried.to_bytes())


def batch_forecasts(forecaster: Forecaster, requests: Sequence[ForecastRequest]) -> list[np.ndarray | Exception]:
    """Return the forecasts (series, horizon, 1 + levels), in data units, of each request, or its exception."""
    results: list[Any] = [None] * len(requests)
    groups: dict[tuple[int, tuple[float, ...], int | None], list[int]] = {}
    for position, request in enumerate(requests):
        # Samples depend on the requests before them in a batch, so these are drawn one by one.
        is_sampled = forecaster.quantiles is not None and forecaster.quantiles.sampled
        group = request.horizon, request.levels, position if is_sampled else None
        groups.setdefault(group, []).append(position)
    for positions in groups.values():
        group_requests = [requests[position] for position in positions]
        try:
            group_results: Sequence[Any] = _forecast(forecaster, group_requests)
        except Exception as error:  # noqa: BLE001 - returned to whom it belongs
            alone = len(positions) == 1
            group_results = [error] if alone else [_forecast_alone(forecaster, one) for one in group_requests]
        for position, result in zip(positions, group_results, strict=True):
            results[position] = result
    return results


def _forecast_alone(forecaster: Forecaster, request: ForecastRequest) -> np.ndarray | Exception:
    try:
        return _forecast(forecaster, [request])[0]
    except Exception as error:  # noqa: BLE001 - returned to whom it belongs
        return error


def _forecast(forecaster: Forecaster, requests: Sequence[ForecastRequest]) -> list[np.ndarray]:
    """Forecasts of requests with the same horizon and levels."""
    inputs = [request.forecast_input for request in requests]
    with np.errstate(all="ignore"):  # results that are not finite become an error response
        return list(forecaster.forecast_all(inputs, requests[0].horizon, requests[0].levels))


def check(forecaster: Forecaster, carried: LoadedModel, examples: Sequence[Mapping[str, Any]]) -> None:
    """Forecast a stored example, or a typical history if there is none, and compare with the `carried` model.

    Raises TrackingError if the forecast is not finite, or differs from that of the code that the model carries.
    """
    uri, preprocessing = carried.reference.uri, forecaster.preprocessing
    table = series_frame(preprocessing, examples[0]) if examples else sample_history(preprocessing)
    try:
        expected, forecast = (model.predict(table)[FORECAST].to_numpy() for model in (carried, forecaster))
    except DataError as error:
        raise TrackingError(f"{uri}: cannot forecast its sample: {error}") from None
    if len(forecast) != preprocessing.horizon:
        raise TrackingError(f"{uri}: forecasts {len(forecast)} steps of a sample, not {preprocessing.horizon}")
    if not np.allclose(forecast, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()):
        raise TrackingError(
            f"{uri}: was made by a version of gridcast that forecasts differently; train it again, or serve it with "
            "that version"
        )


def sample_history(preprocessing: Preprocessing) -> pd.DataFrame:
    """Return a history of the first series that the model must be able to read, whatever it was trained on."""
    steps = preprocessing.lookback + max(preprocessing.lags, default=0) + max(preprocessing.zero_run_limits, default=0)
    end = pd.Timestamp(preprocessing.training_span[1] if preprocessing.training_span else "2020-01-01")
    times = step_rule.steps_after(end, steps + preprocessing.horizon, preprocessing.steps)
    scaled = np.tile(np.linspace(0.2, 0.8, 7), -(-steps // 7))[None, :steps]
    target = preprocessing.target_scaler.inverse(scaled, np.array([0]))[0]
    series = {
        "id": preprocessing.series[0],
        "history": [{"time": time} for time in times[:steps]],
        "future": [{"time": time} for time in times[steps:]],
    }
    table = series_frame(preprocessing, series)
    table[preprocessing.target] = np.concatenate([target, np.full(preprocessing.horizon, np.nan)])
    if preprocessing.fallback:
        fallback = dict(zip(preprocessing.columns, preprocessing.fallback[0], strict=True))
        for name in (*preprocessing.past, *preprocessing.future_columns):
            table[name] = fallback[name]
    return table
