"""The deployable forecaster: preprocessing, network and postprocessing.

This module and what it imports travel inside every logged model, so they import numpy, pandas and
Keras only, each other by relative paths, and Keras only once a network is needed.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from . import input_rows, input_table, lag_features, partial_forecast
from .answer_columns import ANSWERING_MODEL, FORECAST, PROBLEM, ROLLED_FORWARD, quantile_column
from .baseline_model import BaselineModel, TargetHistory
from .errors import DataError, NotFinite
from .forecast_params import parse_params
from .input_rows import InputRows
from .input_table import ForecastInput
from .network_inputs import network_inputs
from .per_series import Route, Routes
from .preprocessing import Preprocessing
from .quantiles import Quantiles
from .series_problems import SeriesProblems
from .target_range import TargetRange, ranges_of_model
from .windows import WindowInputs

LOG = logging.getLogger("gridcast")
"""Named explicitly: inside a logged model, __name__ is that of the package that carries this file."""
MAX_NAMED = 5
"""Series that a warning names."""
MAX_WINDOWS_PER_BATCH = 4096
"""Windows that go through the network at once."""


@dataclass(frozen=True)
class Forecaster:
    """A trained network with everything needed to turn a table into forecasts in data units.

    In place of a network there may be a BaselineModel. A probabilistic forecaster has `quantiles`. An ensemble has no
    network: it combines the forecasts of its `members`, each with the lookback it was trained with, by their weighted
    mean (`weights` add up to 1), or by their median if there are no weights.
    """

    preprocessing: Preprocessing
    network: Any
    quantiles: Quantiles | None = None
    members: tuple[Forecaster, ...] = ()
    weights: tuple[float, ...] | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        """The model that answers for each series (series,), where series have models of their own; else empty."""
        return self.network.routes if isinstance(self.network, Routes) else ()

    @property
    def baseline(self) -> BaselineModel | None:
        """The baseline that forecasts in place of a network, if one does."""
        return self.network if isinstance(self.network, BaselineModel) else None

    @cached_property
    def reads_history(self) -> bool:
        """Whether it reads the target as it is, and as far back as the table goes, beside the windows of networks."""
        has_baseline = self.baseline is not None or any(route.baseline for route in self.routes)
        return has_baseline or any(member.reads_history for member in self.members)

    @cached_property
    def lookbacks(self) -> np.ndarray:
        """Steps that are read of each series (series,)."""
        common = [self.preprocessing.lookback] * len(self.preprocessing.series)
        return np.array([route.lookback for route in self.routes] or common)

    def predict_scaled(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Return the network's forecasts (n, horizon), in scaled units, of the windows `index` (n, 2)."""
        batches = []
        for start in range(0, len(index), MAX_WINDOWS_PER_BATCH):
            part = index[start : start + MAX_WINDOWS_PER_BATCH]
            inputs = network_inputs(self.preprocessing, channels, part, series)
            batches.append(np.asarray(self.network.predict_on_batch(inputs), float))
        if len(batches) == 1:
            return batches[0]
        return np.concatenate(batches) if batches else np.zeros((0, self.preprocessing.horizon))

    def forecast(
        self, channels: np.ndarray, index: np.ndarray, series: np.ndarray, history: TargetHistory | None = None
    ) -> np.ndarray:
        """Return forecasts (n, horizon), in data units, of the windows `index` (n, 2): with quantiles, the median.

        A forecaster that `reads_history` needs the `history`.
        """
        if self.members:
            return self._combined([member.forecast(channels, index, series, history) for member in self.members])
        if self.quantiles is not None:
            return self.quantiles_of(channels, index, series, (0.5,), history=history)[..., 0]
        if self.baseline is not None:
            return self.baseline.forecast(self.preprocessing, channels, index, series, history).point
        codes = series[index[:, 0]]
        forecasts = self.preprocessing.target_scaler.inverse(self.predict_scaled(channels, index, series), codes)
        for name in dict.fromkeys(route.baseline for route in self.routes if route.baseline):
            rows = np.flatnonzero([self.routes[code].baseline == name for code in codes])
            model: BaselineModel = self.network.baselines[name]
            forecasts[rows] = model.forecast(self.preprocessing, channels, index[rows], series, history).point
        return self.preprocessing.floored(forecasts)

    def quantiles_of(
        self,
        channels: np.ndarray,
        index: np.ndarray,
        series: np.ndarray,
        levels: Sequence[float],
        *,
        seed: int = 0,
        horizon: int | None = None,
        history: TargetHistory | None = None,
    ) -> np.ndarray:
        """Return quantiles (n, horizon, levels), in data units, of the windows `index` (n, 2).

        `horizon` defaults to that of training; only a network that samples, or a baseline that is fitted in use, can go
        beyond it. A forecaster that `reads_history` needs the `history`.
        """
        assert self.quantiles is not None
        if self.members:
            return self._combined(
                [
                    member.quantiles_of(channels, index, series, levels, seed=seed, horizon=horizon, history=history)
                    for member in self.members
                ]
            )
        if self.baseline is not None:
            answer = self.baseline.forecast(
                self.preprocessing, channels, index, series, history, levels=levels, horizon=horizon
            )
            assert answer.quantiles is not None
            return answer.quantiles
        inputs = self._window_inputs(channels, index, series, horizon or self.preprocessing.horizon)
        return self.quantiles.compute(self.network, inputs, levels, seed)

    def samples_of(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray, seed: int = 0) -> np.ndarray:
        """Return sample paths (n, paths, horizon), in data units, of the windows `index` (n, 2).

        Only for a network that samples.
        """
        assert self.quantiles is not None
        inputs = self._window_inputs(channels, index, series, self.preprocessing.horizon)
        return self.quantiles.draw(self.network, inputs, seed)

    def units_of(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return centre and scale (n,), in data units, in which a network with quantiles reads each window."""
        context = lag_features.gather_targets(channels, index, before=self.preprocessing.lookback, after=0)
        centre, scale = lag_features.window_units(context, self.preprocessing.centred)
        series_scale = self.preprocessing.target_scaler.scale[series[index[:, 0]]]
        return centre * series_scale, scale * series_scale

    def _window_inputs(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray, horizon: int) -> WindowInputs:
        preprocessing = replace(self.preprocessing, horizon=horizon)
        arrays = network_inputs(preprocessing, channels, index, series)
        centre, scale = self.units_of(channels, index, series)
        return WindowInputs(arrays, centre, scale, preprocessing.lookback, preprocessing.lags)

    def _combined(self, forecasts: list[np.ndarray]) -> np.ndarray:
        """The members' `forecasts` as one: quantile by quantile, so that these stay in order."""
        if self.weights is None:
            return np.asarray(np.median(forecasts, axis=0))
        return np.asarray(np.tensordot(self.weights, forecasts, axes=1))

    def predict(self, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return forecasts in data units from a tidy table with the experiment's own column names.

        Rows with a target are history, at least `lookback` steps per series; rows after them without a target bring
        the future columns. Gaps are filled as in training. `params["horizon"]` (default: as trained) may exceed the
        trained horizon: the forecast is then fed back, past columns keep their last value, and such steps are marked.
        Returns a row for each series and step: the key columns, the time column, `forecast`, `rolled_forward`, and
        `model`, the one that answered, where series have models of their own. Raises DataError.

        For a probabilistic model `forecast` is the median, followed by a column such as `q0.1` for each of
        `params["quantiles"]` (default: those of the experiment). A network that samples reads back to its longest lag,
        as far as the series goes, and continues its samples beyond the trained horizon; `params["seed"]` (default 0)
        seeds them.

        With an observed calendar the steps are those of the table. A table of some of the series may lack days on
        which only others have rows; so in daily data with filled gaps every date on a usual weekday is a step too,
        except the closed dates known from training. A closed date after training is therefore filled like a gap.

        A series that was not in the training data is refused. Static categories are those of training: the table
        need not have them, and where they differ, they are ignored with a warning.
        """
        horizon, levels, seed = parse_params(params or {}, self.preprocessing.horizon, self.quantiles)
        laid_out = self.read_table(table, horizon)
        [forecasts] = self.forecast_all([laid_out], horizon, levels, seed)
        for row in np.flatnonzero(~np.isfinite(forecasts).all(axis=(1, 2))):
            raise NotFinite(partial_forecast.not_finite_sentence(laid_out, int(row), self.lookbacks))
        return self.tabulate(laid_out, forecasts, levels)

    def predict_each_series(
        self, table: pd.DataFrame, params: Mapping[str, Any] | None = None, *, ended: bool = False
    ) -> tuple[pd.DataFrame, dict[str, str]]:
        """Return the forecasts of `predict`, and what is wrong with single series, by their ids.

        A series with a fault has a row for each step after the newest history of the table, without a forecast; the
        reason is in a column `problem`, which only such answers have. A series whose last value lies further back than
        the model reads has ended: that is a fault too, unless `ended` forecasts are asked for, from its own end.

        Raises DataError for what is wrong with the whole table, and where no series can be forecast.
        """
        horizon, levels, seed = parse_params(params or {}, self.preprocessing.horizon, self.quantiles)
        problems = SeriesProblems()
        rows, ids, keys = input_rows.checked_rows(table, self.preprocessing, problems)
        sound = [name for name in ids if name not in problems]
        if not sound:
            raise DataError(next(iter(problems.values())))
        arrays = input_rows.as_arrays(rows, sound, self.preprocessing)
        laid_out = self.input_from_rows(arrays, horizon, problems=problems, ended=ended)
        [forecasts] = self.forecast_all([laid_out], horizon, levels, seed)
        is_finite = np.isfinite(forecasts).all(axis=(1, 2))
        for row in np.flatnonzero(~is_finite):
            problems.add(laid_out.ids[row], partial_forecast.not_finite_sentence(laid_out, int(row), self.lookbacks))
        if not is_finite.any():
            raise DataError(next(iter(problems.values())))
        laid_out = partial_forecast.with_keys(laid_out.take(np.flatnonzero(is_finite)), ids, keys)
        answered = self.tabulate(laid_out, forecasts[is_finite], levels)
        if not problems:
            return answered, {}
        newest = pd.Timestamp(arrays.stamps[~np.isnan(arrays.values[0])].max())
        empty = partial_forecast.empty_rows(problems, newest, horizon, self.preprocessing, ids=ids, keys=keys)
        order = np.repeat([ids.index(name) for name in (*laid_out.ids, *problems)], horizon)
        together = pd.concat([answered, empty], ignore_index=True)[[*answered.columns, PROBLEM]]
        return together.iloc[np.argsort(order, kind="stable")].reset_index(drop=True), dict(problems)

    def tabulate(self, laid_out: ForecastInput, forecasts: np.ndarray, levels: Sequence[float]) -> pd.DataFrame:
        """Return forecasts (series, horizon, 1 + levels) as the table that `predict` describes."""
        horizon = forecasts.shape[1]
        series, steps = np.divmod(np.arange(len(laid_out.ids) * horizon), horizon)
        columns: dict[str, Any] = {key: [values[row] for row in series] for key, values in laid_out.keys.items()}
        columns[self.preprocessing.time] = self.preprocessing.with_zone(laid_out.times[laid_out.origin[series] + steps])
        columns[FORECAST] = forecasts[series, steps, 0]
        columns |= {quantile_column(level): forecasts[series, steps, 1 + k] for k, level in enumerate(levels)}
        columns[ROLLED_FORWARD] = steps >= self.preprocessing.horizon
        if self.routes:
            columns[ANSWERING_MODEL] = [self.routes[code].model for code in laid_out.codes[series]]
        return pd.DataFrame(columns)

    def read_table(self, table: pd.DataFrame, horizon: int) -> ForecastInput:
        """Return the input for `forecast_all` that a table, see `predict`, makes. Raises DataError."""
        rows, ids, keys = input_rows.checked_rows(table, self.preprocessing)
        laid_out = self.input_from_rows(input_rows.as_arrays(rows, ids, self.preprocessing), horizon)
        ended = input_table.ended_rows(laid_out, self.preprocessing, self.lookbacks)
        if len(ended):
            names = ", ".join(laid_out.ids[row] for row in ended[:MAX_NAMED])
            LOG.warning(
                f"{len(ended)} series end long before the newest step of the table ({names}): their forecasts start at "
                "their own ends"
            )
        return replace(laid_out, keys=keys)

    def input_from_rows(
        self, rows: InputRows, horizon: int, *, problems: SeriesProblems | None = None, ended: bool = True
    ) -> ForecastInput:
        """Return the input for `forecast_all` that rows, checked already, make.

        Raises DataError; with `problems`, what is wrong with single series is put there, and the others are returned.
        Without `ended`, a series of `input_table.ended_rows` is one of them.
        """
        problems = SeriesProblems(strict=True) if problems is None else problems
        laid_out = input_table.from_checked_rows(
            rows,
            self.preprocessing,
            lookbacks=self.lookbacks,
            horizon=self._whole_spans(horizon),
            ranges=self._ranges,
            problems=problems,
            ended=ended,
        )
        if not len(laid_out.ids):
            raise DataError(next(iter(problems.values())))
        laid_out = self._within_reach(laid_out)
        self._warn_of_bounds(laid_out)
        return laid_out

    def _warn_of_bounds(self, laid_out: ForecastInput) -> None:
        """Warn, once for each column of this model, of values that are read as the bound that they lie beyond."""
        for column, sentence in input_table.beyond_bounds(laid_out, self.preprocessing).items():
            if column not in self._warned:
                self._warned.add(column)
                LOG.warning(sentence)

    @cached_property
    def _warned(self) -> set[str]:
        """Columns of which values beyond their bounds were warned of."""
        return set()

    @cached_property
    def _ranges(self) -> tuple[TargetRange, ...]:
        """The values of the target that the model needs."""
        return ranges_of_model(self)

    def _within_reach(self, laid_out: ForecastInput) -> ForecastInput:
        """The input without the steps that no network reads."""
        if self.reads_history:
            return laid_out
        return laid_out.starting_at(max(0, int(laid_out.origin.min()) - self._reach))

    @cached_property
    def _reach(self) -> int:
        """Steps before the origin that some network reads."""
        every = [model.preprocessing for model in (self, *self.members)]
        return max(one.lookback + max(one.lags, default=0) for one in every)

    def forecast_all(
        self, inputs: Sequence[ForecastInput], horizon: int, levels: Sequence[float] = (), seed: int = 0
    ) -> list[np.ndarray]:
        """Return forecasts (series, horizon, 1 + levels), in data units, of each of `inputs`: forecast, then quantiles.

        All inputs go through the network together. Each result is the same as alone, but for samples, which are drawn
        for all of them from one `seed`. Raises DataError, see `predict`.
        """
        if self.reads_history and len(inputs) > 1:  # each has steps of its own
            return [self.forecast_all([one], horizon, levels, seed)[0] for one in inputs]
        span = self._span(horizon)
        codes = np.concatenate([one.codes for one in inputs])
        origin = np.concatenate([one.origin for one in inputs])
        ends = itertools.accumulate((len(one.ids) for one in inputs), initial=0)
        parts = [slice(start, end) for start, end in itertools.pairwise(ends)]
        targets = [one.target.copy() for one in inputs]
        # Axes differ in length. What is NaN beyond an axis is never read, as windows end before the origin.
        length = max(target.shape[1] for target in targets)
        channels = np.full((len(codes), length, self.preprocessing.channel_count), np.nan, np.float32)
        forecasts = []
        for step in range(0, horizon, span):
            for part, one, target in zip(parts, inputs, targets, strict=True):
                channels[part, : target.shape[1]] = self.preprocessing.channels(
                    target, one.columns, one.times, one.codes
                )
            index = np.stack([np.arange(len(codes)), origin + step], axis=1)
            history = TargetHistory(targets[0], pd.DatetimeIndex(inputs[0].times)) if self.reads_history else None
            forecasts.append(self.with_quantiles(channels, index, codes, levels, seed=seed, span=span, history=history))
            # Beyond the trained horizon the forecast is the history of the next span.
            for part, target in zip(parts, targets, strict=True):
                steps = origin[part, None] + step + np.arange(span)
                target[np.arange(len(target))[:, None], steps] = forecasts[-1][part, :, 0]
        together = np.concatenate(forecasts, axis=1)[:, :horizon]
        return [together[part] for part in parts]

    def with_quantiles(
        self,
        channels: np.ndarray,
        index: np.ndarray,
        codes: np.ndarray,
        levels: Sequence[float],
        *,
        seed: int = 0,
        span: int | None = None,
        history: TargetHistory | None = None,
    ) -> np.ndarray:
        """Return forecasts (n, span, 1 + levels): with quantiles the median, then these."""
        if self.quantiles is not None:
            return self.quantiles_of(channels, index, codes, (0.5, *levels), seed=seed, horizon=span, history=history)
        if self.baseline is not None:
            answer = self.baseline.forecast(self.preprocessing, channels, index, codes, history, horizon=span)
            return answer.point[..., None]
        return self.forecast(channels, index, codes, history)[..., None]

    def _span(self, horizon: int) -> int:
        """Steps that are forecast at once: those of training; all, by samples or a baseline that is fitted in use."""
        if self.baseline is not None and self.baseline.is_fitted_in_use:
            return horizon
        return horizon if self.quantiles is not None and self.quantiles.sampled else self.preprocessing.horizon

    def _whole_spans(self, horizon: int) -> int:
        """Steps that the network forecasts for `horizon` steps in all: a multiple of the trained horizon."""
        span = self._span(horizon)
        return -(-horizon // span) * span

    def attention_weights(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the share of each time step (n, lookback) in the context of each window; rows add up to 1.

        `inputs` are those of `network_inputs`. Raises ValueError for a network without attention.
        """
        import keras

        if "attention_weights" not in [layer.name for layer in getattr(self.network, "layers", ())]:
            raise ValueError("the network has no attention; train one with attention: true")
        attention = keras.Model(self.network.input, self.network.get_layer("attention_weights").output)
        return np.asarray(attention.predict_on_batch(dict(inputs)))[:, :, 0]
