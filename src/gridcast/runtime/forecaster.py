"""The deployable whole: preprocessing, network, postprocessing.

This module and what it imports travel inside every logged model, so they import numpy, pandas and
Keras only, each other by relative paths, and Keras only once a network is needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from . import input_table, lag_features, windows
from .errors import DataError
from .input_table import ForecastInput
from .per_series import Route, Routes
from .preprocessing import Preprocessing
from .quantiles import Quantiles

NETWORK_FILE, SETTINGS_FILE, MEMBERS_FILE = "model.keras", "forecaster.json", "members.json"
FORECAST, ROLLED_FORWARD, ANSWERING_MODEL = "forecast", "rolled_forward", "model"
MAX_WINDOWS_PER_BATCH = 4096
"""Windows that go through the network at once."""


def network_inputs(
    preprocessing: Preprocessing, channels: Any, index: Any, series: Any, arrays: Any = np
) -> dict[str, Any]:
    """What the network reads for each window of `index` (n, 2), under the names of its inputs.

    `channels` is (rows, steps, channels); `series` (rows,) gives the code of the series in each row.
    `arrays` is the library that all of them belong to: numpy, or jax.numpy inside a compiled program.
    """
    own, known, codes = preprocessing, preprocessing.known_ahead, series[index[:, 0]]
    found: dict[str, Any] = {}
    if own.lags:
        size = arrays.asarray(own.sizes, np.float32)[codes]
        reach = own.lookback, own.horizon, own.lags, known
        found["signal"] = lag_features.lagged_inputs(channels, index, *reach, size, own.centred, arrays)
    else:
        found["history"] = windows.past(channels, index, own.lookback)
        if channels.shape[2] > known:
            found["ahead"] = windows.future(channels[:, :, known:], index, own.horizon)
    if len(own.series) > 1 and not own.lags:
        found["series"] = codes.astype(np.int32)
    if preprocessing.static and preprocessing.static[0]:
        found["static"] = arrays.asarray(preprocessing.static, np.int32)[codes]
    return found


@dataclass(frozen=True)
class Forecaster:
    """A trained network with everything needed to turn a table into forecasts in data units.

    That of a probabilistic forecast has `quantiles`. An ensemble has no network: its forecasts are
    those of its `members`, each of which reads as far back as it was trained to, in the mean by their
    `weights`, which add up to 1, or in the median where there are none.
    """

    preprocessing: Preprocessing
    network: Any
    quantiles: Quantiles | None = None
    members: tuple[Forecaster, ...] = ()
    weights: tuple[float, ...] | None = None

    @property
    def routes(self) -> tuple[Route, ...]:
        """Who answers for each series, where that differs; else none."""
        return self.network.routes if isinstance(self.network, Routes) else ()

    @cached_property
    def lookbacks(self) -> np.ndarray:
        """Steps that are read of each series (series,)."""
        same = [self.preprocessing.lookback] * len(self.preprocessing.series)
        return np.array([route.lookback for route in self.routes] or same)

    def scaled(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Forecasts (n, horizon) in scaled units of the windows `index` (n, 2)."""
        done = []
        for start in range(0, len(index), MAX_WINDOWS_PER_BATCH):
            part = index[start : start + MAX_WINDOWS_PER_BATCH]
            read = network_inputs(self.preprocessing, channels, part, series)
            done.append(np.asarray(self.network.predict_on_batch(read), float))
        if len(done) == 1:
            return done[0]
        return np.concatenate(done) if done else np.zeros((0, self.preprocessing.horizon))

    def forecast(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Forecasts (n, horizon) in data units of the windows `index` (n, 2): with quantiles, the median."""
        if self.members:
            return self._combined([member.forecast(channels, index, series) for member in self.members])
        if self.quantiles is not None:
            return self.quantiles_of(channels, index, series, (0.5,))[..., 0]
        scaler = self.preprocessing.target_scaler
        return scaler.inverse(self.scaled(channels, index, series), series[index[:, 0]])

    def quantiles_of(
        self,
        channels: np.ndarray,
        index: np.ndarray,
        series: np.ndarray,
        levels: Sequence[float],
        seed: int = 0,
        horizon: int | None = None,
    ) -> np.ndarray:
        """Quantiles (n, horizon, levels) in data units of the windows `index` (n, 2).

        `horizon` is the trained one where not given; only samples go on beyond it.
        """
        assert self.quantiles is not None
        if self.members:
            given = [one.quantiles_of(channels, index, series, levels, seed, horizon) for one in self.members]
            return self._combined(given)
        own = replace(self.preprocessing, horizon=horizon or self.preprocessing.horizon)
        read = network_inputs(own, channels, index, series)
        units = self.units_of(channels, index, series)
        return self.quantiles.of(self.network, read, *units, own.lags, own.lookback, levels, seed)

    def samples_of(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray, seed: int = 0) -> np.ndarray:
        """Sample paths (n, paths, horizon) in data units of the windows `index` (n, 2), where it draws some."""
        own, units = self.preprocessing, self.units_of(channels, index, series)
        read = network_inputs(own, channels, index, series)
        assert self.quantiles is not None
        return self.quantiles.samples(self.network, read, *units, own.lags, own.lookback, seed)

    def _combined(self, given: list[np.ndarray]) -> np.ndarray:
        """What the members say, as one: quantile by quantile, so that these stay in order."""
        if self.weights is None:
            return np.asarray(np.median(given, axis=0))
        return np.asarray(np.tensordot(self.weights, given, axes=1))

    def units_of(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Centre and scale (n,) in data units, in which a network with quantiles sees the windows `index` (n, 2)."""
        own = self.preprocessing
        context = lag_features.gather_targets(channels, index, own.lookback, 0, 0)
        size = own.target_scaler.scale[series[index[:, 0]]]
        centre, scale = lag_features.window_units(context, own.centred)
        return centre * size, scale * size

    def predict(self, table: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Forecasts in data units from a tidy table with the experiment's own column names.

        Rows with a target are history, at least `lookback` steps per series; rows after them
        without one bring the future columns. Gaps are filled as in training. `params["horizon"]`
        (default: as trained) may go beyond the trained horizon: the forecast is then fed back, past
        columns keep their last value, and such steps are marked. Returns one row per series and
        step: the key columns, the time column, `forecast`, `rolled_forward`, and `model` where
        series have models of their own: which one answered. Raises DataError.

        A probabilistic model's `forecast` is the median, followed by a column for each of
        `params["quantiles"]` (default: as the experiment wanted), such as `q0.1`. It reads as far
        back as its longest lag, where a series is that old, and samples on beyond its horizon;
        `params["seed"]` (default 0) decides the samples.

        An observed calendar has the steps that the table shows. A table of some series may lack days
        on which others alone were seen, so in daily data with filled gaps every date of a usual
        weekday is a step too, but for the days off known from the data; a later day off is then
        filled like a gap.

        A series that was not in the training data is refused. Its static categories are those of its
        training: a table need not bring them, and where it brings others, seen in training or not,
        they are passed over with a warning.
        """
        own = self.preprocessing
        horizon, levels, seed = self.asked(params or {})
        asked = self.read(table, horizon)
        [found] = self.answers([asked], horizon, levels, seed)
        series, steps = np.divmod(np.arange(len(asked.ids) * horizon), horizon)
        answer: dict[str, Any] = {key: [values[i] for i in series] for key, values in asked.keys.items()}
        answer |= {own.time: asked.times[asked.origin[series] + steps], FORECAST: found[series, steps, 0]}
        answer |= {quantile_column(level): found[series, steps, 1 + k] for k, level in enumerate(levels)}
        answer[ROLLED_FORWARD] = steps >= own.horizon
        answer |= {ANSWERING_MODEL: [self.routes[code].model for code in asked.codes[series]]} if self.routes else {}
        return pd.DataFrame(answer)

    def read(self, table: pd.DataFrame, horizon: int) -> ForecastInput:
        """What `answers` forecasts `horizon` steps of: a table, see `predict`. Raises DataError."""
        return self._within_reach(
            input_table.read_table(table, self.preprocessing, self.lookbacks, self._whole(horizon))
        )

    def placed(
        self, ids: Sequence[str], where: np.ndarray, stamps: np.ndarray, values: np.ndarray, horizon: int
    ) -> ForecastInput:
        """The same of rows that are checked already, see `request.placed`. Raises DataError."""
        own, whole = self.preprocessing, self._whole(horizon)
        return self._within_reach(input_table.from_checked_rows(ids, where, stamps, values, own, self.lookbacks, whole))

    def _within_reach(self, request: ForecastInput) -> ForecastInput:
        """The request without the steps that no network reads."""
        return request.since(max(0, int(request.origin.min()) - self._reach))

    @cached_property
    def _reach(self) -> int:
        """Steps that some network reads back."""
        every = [one.preprocessing for one in (self, *self.members)]
        return max(own.lookback + max(own.lags, default=0) for own in every)

    def answers(
        self, asked: Sequence[ForecastInput], horizon: int, levels: Sequence[float] = (), seed: int = 0
    ) -> list[np.ndarray]:
        """Forecasts (series, horizon, 1 + levels) in data units of each that is `asked`: the forecast, then quantiles.

        All go through the network together, and each is answered as it would be alone, but for samples,
        which are drawn for all of them from one `seed`. Raises DataError, see `predict`.
        """
        own, span = self.preprocessing, self._span(horizon)
        ends = itertools.accumulate((len(one.ids) for one in asked), initial=0)
        parts = [slice(start, end) for start, end in itertools.pairwise(ends)]
        codes, origin = (np.concatenate([getattr(one, name) for one in asked]) for name in ("codes", "origin"))
        targets, found = [one.target.copy() for one in asked], []
        channels = np.full((len(codes), max(target.shape[1] for target in targets), own.width), np.nan, np.float32)
        for step in range(0, horizon, span):
            # NaN beyond the origin is never read: windows end before it.
            for part, one, target in zip(parts, asked, targets, strict=True):
                channels[part, : target.shape[1]] = own.channels(target, one.columns, one.times, one.codes)
            index = np.stack([np.arange(len(codes)), origin + step], axis=1)
            if self.quantiles is None:
                found.append(self.forecast(channels, index, codes)[..., None])
            else:
                found.append(self.quantiles_of(channels, index, codes, (0.5, *levels), seed, span))
            for part, target in zip(parts, targets, strict=True):
                steps = origin[part, None] + step + np.arange(span)
                target[np.arange(len(target))[:, None], steps] = found[-1][part, :, 0]
        together = np.concatenate(found, axis=1)[:, :horizon]
        return [together[part] for part in parts]

    def _span(self, horizon: int) -> int:
        """Steps that are forecast at once where `horizon` are wanted: as trained, but samples go on."""
        return horizon if self.quantiles is not None and self.quantiles.sampled else self.preprocessing.horizon

    def _whole(self, horizon: int) -> int:
        """Steps that the network forecasts where `horizon` are wanted: whole horizons."""
        span = self._span(horizon)
        return -(-horizon // span) * span

    def asked(self, params: Mapping[str, Any]) -> tuple[int, tuple[float, ...], int]:
        """Horizon, levels and seed that `params` ask for. Raises DataError."""
        horizon = params.get("horizon")
        horizon = self.preprocessing.horizon if horizon is None else int(horizon)
        if horizon < 1:
            raise DataError(f"horizon: must be at least 1 (got {horizon})")
        levels = params.get("quantiles")
        if self.quantiles is None:
            if levels is not None:
                raise DataError("quantiles: this model forecasts values alone; train one with task: probabilistic")
            return horizon, (), 0
        chosen = self.quantiles.levels if levels is None else tuple(map(float, np.ravel(levels)))
        for level in chosen:
            if not 0 < level < 1:
                raise DataError(f"quantiles: must lie between 0 and 1 (got {level:g})")
        return horizon, chosen, int(params.get("seed") or 0)

    def attention_weights(self, window: Mapping[str, np.ndarray]) -> np.ndarray:
        """Share of each time step (n, lookback) in the context of each window; rows add up to 1.

        `window` holds the network's inputs by name, as `inputs` makes them. Raises ValueError for a
        network without attention.
        """
        import keras

        if self.routes or self.members or "attention_weights" not in [layer.name for layer in self.network.layers]:
            raise ValueError("the network has no attention; train one with attention: true")
        shares = keras.Model(self.network.input, self.network.get_layer("attention_weights").output)
        return np.asarray(shares.predict_on_batch(dict(window)))[:, :, 0]


def quantile_column(level: float) -> str:
    """Name of the column of forecasts at `level`, such as `q0.1`."""
    return f"q{level:g}"
