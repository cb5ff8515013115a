"""The plainest question, answered the shortest way: values of one series on days that were asked of before.

The general way touches so much memory that nothing of it stays in a core's cache, and so takes ten times as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridcast.runtime import time_axis
from gridcast.runtime.detector import Detector
from gridcast.runtime.forecaster import Forecaster
from gridcast.serving.models.compiled_network import CompiledNetwork
from gridcast.serving.payloads import schemas, timestamps
from gridcast.serving.payloads.request_types import ForecastRequest
from gridcast.serving.payloads.timestamps import MAX_MAGNITUDE, parse_timestamps

REMEMBERED = 256
"""Histories of which the days are remembered."""


@dataclass(frozen=True)
class Days:
    """What the days of a history decide, and the steps that are wanted: network channels (1, lookback + horizon,
    channels), of which those that its values fill are yet to be written, and the stamps of the steps.
    """

    channels: np.ndarray
    stamps: list[str]


class Plain:
    """Forecasts of `model` for one series whose window lacks no step, where nothing is told of the steps ahead.

    Any other question has no answer here, nor one with something wrong, nor has a model that does more than read one
    window and forecast values: what is general answers them. From there `learn` remembers the days of a question that
    was answered, so that whatever can be wrong with days was looked at.
    """

    def __init__(self, model: Forecaster | Detector) -> None:
        own = model.preprocessing
        self._own, self._days = own, dict[tuple[tuple[str, ...], int], Days]()
        self._possible = (
            isinstance(model, Forecaster)
            and isinstance(model.network, CompiledNetwork)
            and model.quantiles is None
            and own.aggregate == "none"
            and not (own.future_columns or own.usual or own.aged)
        )
        if self._possible:
            program = model.network.program
            self._network, self._weights, self._inputs = program.of(1), model.network.weights, set(program.inputs)
            self._scalers = own.target_scaler, *own.scalers
            self._static = np.array(own.static, np.int32)
            self._codes = np.arange(len(own.series), dtype=np.int32)

    def learn(self, question: schemas.PredictRequest, asked: ForecastRequest) -> None:
        """Remember the days of a `question` that was answered as `asked`."""
        texts, own, placed = tuple([step.time for step in question.series[0].history]), self._own, asked.placed
        back, horizon = own.lookback, asked.horizon
        if (
            not self._possible
            or len(question.series) > 1
            or len(texts) > time_axis.MAX_CACHED_STEPS
            or horizon > own.horizon
        ):
            return
        if placed.origin[0] != back or not np.array_equal(parse_timestamps(texts, "")[-back:], placed.times[:back]):
            return  # steps were filled
        if len(self._days) >= REMEMBERED:
            self._days.clear()
        channels = own.channels(placed.target, placed.columns, placed.times, placed.codes)
        self._days[texts, horizon] = Days(channels, timestamps.format_timestamps(placed.times[back : back + horizon]))

    def answer(self, question: schemas.PredictRequest) -> list[dict[str, Any]] | None:
        """The forecasts as `answers.forecasts` tells them; None where the general way is to be taken."""
        own, series = self._own, question.series[0]
        texts = tuple([step.time for step in series.history])
        days = self._days.get((texts, question.horizon or own.horizon))
        code = 0 if series.id is None and len(own.series) == 1 else own.codes.get(series.id or "")
        if days is None or code is None:
            return None
        if len(question.series) > 1 or series.future or question.quantiles is not None:
            return None
        given = [schemas.extra_fields(step) for step in series.history]
        rows: list[list[Any]] = [
            [step.value, *map(extra.get, own.past)] for step, extra in zip(series.history, given, strict=True)
        ]
        numbers = [number for row in rows for number in row]
        if {*map(len, given)} != {len(own.past)} or not {*map(type, numbers)} <= {float, int}:
            return None
        try:
            if not sum(map(abs, numbers)) <= MAX_MAGNITUDE:  # nor is NaN
                return None
            found = self._forecast(rows[-own.lookback :], days, code)
        except (ArithmeticError, ValueError):
            return None
        points = [
            {"time": stamp, "value": value, "rolled_forward": False}
            for stamp, value in zip(days.stamps, found, strict=False)  # whole horizons are forecast
        ]
        return [{"id": own.series[code], "points": points}] if math.isfinite(sum(found)) else None

    def _forecast(self, rows: list[list[float]], days: Days, code: int) -> list[float]:
        """Forecasts of each step in data units from `rows` of the value and past columns of each step in the window.

        Number by number: so few of them are sooner done than numpy begins. Raises ArithmeticError or ValueError where
        there is no such number.
        """
        own, channels = self._own, days.channels.copy()
        scalers = [(one.log1p, float(one.offset[code]), float(one.scale[code])) for one in self._scalers]
        channels[0, : own.lookback, : own.known_ahead] = [
            [
                ((math.log1p(number) if log1p else number) - offset) / scale
                for number, (log1p, offset, scale) in zip(row, scalers, strict=True)
            ]
            for row in rows
        ]
        read = {
            "history": channels[:, : own.lookback],
            "ahead": channels[:, own.lookback :, own.known_ahead :],
            "series": self._codes[code : code + 1],
            "static": self._static[code : code + 1],
        }
        scaled = np.asarray(self._network(self._weights, {name: read[name] for name in self._inputs}))[0].tolist()
        log1p, offset, scale = scalers[0]
        found = [number * scale + offset for number in scaled]
        return list(map(math.expm1, found)) if log1p else found
