"""A forecaster of the registry: the history it is tried on before it is served, and how it is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gridcast.runtime import time_axis
from gridcast.runtime.errors import DataError, TrackingError
from gridcast.runtime.forecaster import FORECAST, Forecaster
from gridcast.runtime.per_series import Route, Routes
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.quantiles import Quantiles
from gridcast.serving.payloads.request_frames import series_frame
from gridcast.tracking import model_loading


def adapt(given: Any) -> Forecaster:
    """The forecaster `given`, which runs by the code that its model carries, run by the code of this gridcast."""
    quantiles = None if given.quantiles is None else Quantiles.from_json(given.quantiles.to_json())
    own, network = Preprocessing.from_json(given.preprocessing.to_json()), given.network
    if given.routes:
        routes = tuple(Route(**dataclasses.asdict(route)) for route in given.routes)
        network = Routes(routes, network.members, network.horizon)
    return Forecaster(own, network, quantiles, tuple(map(adapt, given.members)), given.weights)


def batch_forecasts(forecaster: Forecaster, asked: Sequence[Any]) -> list[Any]:
    """For each question the forecasts (series, horizon, 1 + levels) in data units, or the exception instead."""
    found: list[Any] = [None] * len(asked)
    groups: dict[Any, list[int]] = {}
    for place, one in enumerate(asked):
        # Samples depend on who stands before them, so each is drawn alone.
        alone = place if forecaster.quantiles is not None and forecaster.quantiles.sampled else None
        groups.setdefault((one.horizon, one.levels, alone), []).append(place)
    for (horizon, levels, _), places in groups.items():
        try:
            answers = _quietly(forecaster, [asked[place].placed for place in places], horizon, levels)
        except Exception as error:  # noqa: BLE001 - handed to who asked
            answers = [error] if len(places) == 1 else [_alone(forecaster, asked[place]) for place in places]
        for place, answer in zip(places, answers, strict=True):
            found[place] = answer
    return found


def _alone(forecaster: Forecaster, one: Any) -> Any:
    try:
        return _quietly(forecaster, [one.placed], one.horizon, one.levels)[0]
    except Exception as error:  # noqa: BLE001 - handed to who asked
        return error


def _quietly(forecaster: Forecaster, placed: Sequence[Any], horizon: int, levels: Sequence[float]) -> list[Any]:
    with np.errstate(all="ignore"):  # what is not finite is refused, see `answers`
        return list(forecaster.answers(placed, horizon, levels))


def check(own: Forecaster, carried: model_loading.LoadedModel, examples: Sequence[Mapping[str, Any]]) -> None:
    """Let a model forecast a stored example, or where none is kept a history of usual values.

    Raises TrackingError where it does not forecast finite numbers, or others than the code it carries.
    """
    uri = carried.found.uri
    table = series_frame(own.preprocessing, examples[0]) if examples else sample_history(own.preprocessing)
    try:
        expected, found = (one.predict(table)[FORECAST].to_numpy() for one in (carried, own))
    except DataError as error:
        raise TrackingError(f"{uri}: cannot forecast its sample: {error}") from None
    if len(found) != own.preprocessing.horizon or not np.isfinite(found).all():
        raise TrackingError(f"{uri}: its forecast of a sample is no number for each step")
    if not np.allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()):
        raise TrackingError(
            f"{uri}: was made by a gridcast that forecasts otherwise; train it again, or serve it there"
        )


def sample_history(own: Preprocessing) -> pd.DataFrame:
    """A history of the first series that the model must be able to read, whatever data it was trained on."""
    steps = own.lookback + max(own.lags, default=0) + max(own.usual, default=0)
    end = pd.Timestamp(own.span[1]) if own.span else pd.Timestamp("2020-01-01")
    times = time_axis.steps_after(end, steps + own.horizon, own.frequency, own.weekdays)
    scaled = np.tile(np.linspace(0.2, 0.8, 7), -(-steps // 7))[None, :steps]
    target = own.target_scaler.inverse(scaled, np.array([0]))[0]
    series = {"id": own.series[0], "history": [{"time": time} for time in times[:steps]]}
    table = series_frame(own, series | {"future": [{"time": time} for time in times[steps:]]})
    table[own.target] = np.concatenate([target, np.full(own.horizon, np.nan)])
    known = dict(zip(own.columns, own.fallback[0], strict=True)) if own.fallback else {}
    for name in (*own.past, *own.future_columns):
        table[name] = known[name]
    return table
