"""The deployable whole: preprocessing, network, postprocessing.

This module and what it imports travel inside every logged model, so they import numpy, pandas and
Keras only, each other by relative paths, and Keras only once a network is needed.
"""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .data import aggregation, axis, exhibition, gaps, lagged, windows
from .data.preprocessing import Preprocessing
from .errors import DataError, suggest
from .models.quantiles import Quantiles
from .routing import ROUTES, Member, Route, Routes
from .routing import read as read_routes

NETWORK, SETTINGS, MEMBERS = "model.keras", "forecaster.json", "members.json"
FORECAST, ROLLED, ANSWERED = "forecast", "rolled_forward", "model"
SERIES, TIME = "__series__", "__time__"
"""Marked, since a covariate may well be called `time`."""
LOG = logging.getLogger("gridcast")
"""By its name, as this module has another one inside a model."""
CHUNK = 4096
"""Windows that go through the network at once."""


def inputs(preprocessing: Preprocessing, channels: Any, index: Any, series: Any, arrays: Any = np) -> dict[str, Any]:
    """What the network reads for each window of `index` (n, 2), under the names of its inputs.

    `channels` is (rows, steps, channels); `series` (rows,) gives the code of the series in each row.
    `arrays` is the library that all of them belong to: numpy, or jax.numpy inside a compiled program.
    """
    own, known, codes = preprocessing, preprocessing.known_ahead, series[index[:, 0]]
    found: dict[str, Any] = {}
    if own.lags:
        size = arrays.asarray(own.sizes, np.float32)[codes]
        reach = own.lookback, own.horizon, own.lags, known
        found["signal"] = lagged.signal(channels, index, *reach, size, own.centred, arrays)
    else:
        found["history"] = windows.inputs(channels, index, own.lookback)
        if channels.shape[2] > known:
            found["ahead"] = windows.ahead(channels[:, :, known:], index, own.horizon)
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

    @property
    def lookbacks(self) -> np.ndarray:
        """Steps that are read of each series (series,)."""
        same = [self.preprocessing.lookback] * len(self.preprocessing.series)
        return np.array([route.lookback for route in self.routes] or same)

    def scaled(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray) -> np.ndarray:
        """Forecasts (n, horizon) in scaled units of the windows `index` (n, 2)."""
        done = []
        for start in range(0, len(index), CHUNK):
            part = index[start : start + CHUNK]
            read = inputs(self.preprocessing, channels, part, series)
            done.append(np.asarray(self.network.predict_on_batch(read), float))
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
        read = inputs(own, channels, index, series)
        units = self.units_of(channels, index, series)
        return self.quantiles.of(self.network, read, *units, own.lags, own.lookback, levels, seed)

    def samples_of(self, channels: np.ndarray, index: np.ndarray, series: np.ndarray, seed: int = 0) -> np.ndarray:
        """Sample paths (n, paths, horizon) in data units of the windows `index` (n, 2), where it draws some."""
        own, units = self.preprocessing, self.units_of(channels, index, series)
        read = inputs(own, channels, index, series)
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
        context = lagged.gather(channels, index, own.lookback, 0, 0)
        size = own.target_scaler.scale[series[index[:, 0]]]
        centre, scale = lagged.units(context, own.centred)
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
        horizon, levels, seed = self._asked(params or {})
        span = horizon if self.quantiles is not None and self.quantiles.sampled else own.horizon
        rows, ids, keys = _checked(table, own)
        codes = np.array([own.series.index(name) for name in ids])
        whole = -(-horizon // span) * span  # the network forecasts whole horizons
        matrix = _Matrices.of(rows, ids, codes, own, whole)
        origin = matrix.origin
        _long_enough(matrix, ids, codes, own, self.lookbacks[codes])
        _exhibition_told(matrix.target, origin, ids, codes, own)
        columns = _known(matrix, origin, ids, codes, own, whole)
        target, told = matrix.target, []
        for step in range(0, horizon, span):
            index = np.stack([np.arange(len(ids)), origin + step], axis=1)
            # NaN beyond the origin is never read: windows end before it.
            channels = own.channels(target, columns, matrix.times, codes)
            if self.quantiles is None:
                ahead = self.forecast(channels, index, codes)
            else:
                found = self.quantiles_of(channels, index, codes, (0.5, *levels), seed, span)
                ahead = found[..., 0]
                told.append(found[..., 1:])
            for k in range(span):
                target[np.arange(len(ids)), origin + step + k] = ahead[:, k]
        series, steps = np.divmod(np.arange(len(ids) * horizon), horizon)
        at = origin[series] + steps
        answer: dict[str, Any] = {key: [values[i] for i in series] for key, values in keys.items()}
        answer |= {own.time: matrix.times[at], FORECAST: target[series, at]}
        for k, level in enumerate(levels):
            answer[label(level)] = np.concatenate(told, axis=1)[series, steps, k]
        answer[ROLLED] = steps >= own.horizon
        answer |= {ANSWERED: [self.routes[code].model for code in codes[series]]} if self.routes else {}
        return pd.DataFrame(answer)

    def _asked(self, params: Mapping[str, Any]) -> tuple[int, tuple[float, ...], int]:
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


def label(level: float) -> str:
    """Name of the column of forecasts at `level`, such as `q0.1`."""
    return f"q{level:g}"


def load(folder: Path | str) -> Forecaster:
    """The forecaster kept in `folder`: `forecaster.json` with `model.keras`, `routes.json` or `members.json`."""
    folder = Path(folder)
    if (folder / ROUTES).exists():
        whole = _read(folder, SETTINGS)
        return replace(whole, network=_routes(folder, whole.preprocessing.horizon))
    if (folder / MEMBERS).exists():
        kept = json.loads((folder / MEMBERS).read_text(encoding="utf-8"))
        members = tuple(_read(folder, *files) for files in kept["members"])
        return replace(_read(folder, SETTINGS), members=members, weights=kept["weights"] and tuple(kept["weights"]))
    return _read(folder, SETTINGS, NETWORK)


def _read(folder: Path, settings: str, network: str | None = None) -> Forecaster:
    """What the files of these names say."""
    import keras

    content = json.loads((folder / settings).read_text(encoding="utf-8"))
    return Forecaster(
        Preprocessing.from_json(content),
        keras.saving.load_model(folder / network, compile=False) if network else None,
        Quantiles.from_json(content["quantiles"]) if "quantiles" in content else None,
    )


def _routes(folder: Path, horizon: int) -> Routes:
    """The networks kept in `folder`: one is built for each shape, the others of it bring their weights."""
    import keras

    routes = read_routes((folder / ROUTES).read_text(encoding="utf-8"))
    built: dict[bytes, Any] = {}
    members = {}
    for name in dict.fromkeys(route.network for route in routes if route.network is not None):
        with zipfile.ZipFile(folder / name) as kept:
            shape = kept.read("config.json")
        if shape in built:
            built[shape].load_weights(folder / name)
        else:
            built[shape] = keras.saving.load_model(folder / name, compile=False)
        members[name] = Member(built[shape], built[shape].get_weights())
    return Routes(routes, members, horizon)


def _load_pyfunc(path: str) -> Forecaster:
    """Door for `mlflow.pyfunc.load_model`, which calls it by this name."""
    return load(path)


def _checked(table: pd.DataFrame, own: Preprocessing) -> tuple[pd.DataFrame, list[str], dict[str, list[str]]]:
    """Rows with the columns SERIES, TIME, target and covariates; the ids found; and their key columns."""
    wanted = [*own.keys, own.time, own.target, *own.past, *own.future_columns]
    for column in wanted:
        if column not in table.columns:
            near = suggest(column, map(str, table.columns))
            raise DataError(f"no column '{column}'{near} (needed: {', '.join(wanted)})")
    table = table.reset_index(drop=True)
    keys = [table[column].astype(str) for column in own.keys]
    name = keys[0] if keys else pd.Series(own.series[0], index=table.index)
    for key in keys[1:]:
        name = name + "/" + key
    rows = pd.DataFrame({SERIES: name, TIME: _stamps(table[own.time], own.time)})
    for column in (own.target, *own.past, *own.future_columns):
        try:
            rows[column] = pd.to_numeric(table[column]).astype(float)
        except (ValueError, TypeError) as error:
            raise DataError(f"column '{column}': {error}") from None
        if np.isinf(rows[column]).any():
            raise DataError(f"column '{column}', row {int(np.flatnonzero(np.isinf(rows[column]))[0])}: infinite value")
    if not len(rows):
        raise DataError("the table has no rows")
    firsts = rows.drop_duplicates(SERIES).index
    ids = [str(found) for found in rows[SERIES][firsts]]
    for found in ids:
        if found not in own.series:
            raise DataError(f"series '{found}' was not in the training data{suggest(found, own.series)}")
    _warn_of_categories(table, rows[SERIES], own)
    if own.aggregate != "none":
        rows = aggregation.history(rows, own.frequency, own.aggregate, SERIES, TIME, own.target)
    again = rows.duplicated([SERIES, TIME]).to_numpy()
    if again.any():
        row = int(np.flatnonzero(again)[0])
        raise DataError(f"row {row}: series '{rows[SERIES].iloc[row]}' at {rows[TIME].iloc[row]} stands twice")
    return rows, ids, {column: key[firsts].tolist() for column, key in zip(own.keys, keys, strict=True)}


def _warn_of_categories(table: pd.DataFrame, names: pd.Series, own: Preprocessing) -> None:
    """Log what the table says of a series otherwise than its training did."""
    for k, (column, words) in enumerate(own.categories):
        if column not in table.columns or column in own.keys:
            continue
        trained = {name: words[codes[k] - 1] for name, codes in zip(own.series, own.static, strict=True)}
        # A column of whole numbers with empty fields comes as 1.0, 2.0.
        given, own_words = (t.astype(str).str.removesuffix(".0") for t in (table[column], names.map(trained)))
        other = np.flatnonzero((given != own_words) & table[column].notna())
        if len(other):
            word, name = given.iloc[other[0]], names.iloc[other[0]]
            unseen = "" if word in words else ", unseen in training"
            LOG.warning(
                f"column '{column}': series '{name}' is '{word}'{unseen}, and was trained as '{trained[name]}', which "
                f"is used ({names.iloc[other].nunique()} such series); train again to learn of the change"
            )


def _stamps(given: pd.Series, column: str) -> pd.Series:
    """Time stamps without a time zone, in UTC where they came with one, as in training."""
    kind = None if given.dtype.kind in "Mm" else "ISO8601"
    times = pd.to_datetime(given, format=kind, utc=True, errors="coerce")
    if times.isna().any():
        row = int(np.flatnonzero(times.isna())[0])
        raise DataError(f"column '{column}', row {row}: '{given.iloc[row]}' is no date such as 2011-12-31")
    return times.dt.tz_localize(None)


@dataclass(frozen=True)
class _Matrices:
    """The table placed on an axis that goes on `horizon` steps beyond the last history.

    `target` is (series, steps), its gaps filled, `columns` (series, steps, columns), `origin` the
    first step to forecast of each series.
    """

    times: pd.DatetimeIndex
    target: np.ndarray
    columns: np.ndarray
    origin: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, ids: list[str], codes: np.ndarray, own: Preprocessing, horizon: int) -> _Matrices:
        history = rows[rows[own.target].notna()]
        if not len(history):
            raise DataError(f"column '{own.target}': no value; history needs {own.lookback} steps per series")
        seen = pd.DatetimeIndex(np.unique(history[TIME].to_numpy()))
        if own.calendar == "regular":
            seen = axis.regular(seen, own.frequency)
        elif own.closed is not None:
            seen = axis.opened(seen, own.weekdays, own.closed)
        times = pd.DatetimeIndex(seen.append(axis.following(seen[-1], horizon, own.frequency, own.weekdays)))
        # Rows on stamps that are no steps of the axis would vanish in silence.
        off = ~rows[TIME].isin(times) & (rows[TIME] <= times[-1])
        if off.any() and own.calendar == "regular":
            raise DataError(f"time {rows[TIME][off].iloc[0]} is off the axis of frequency {own.frequency}")
        rows = rows[rows[TIME].isin(times)]
        where = pd.Index(ids).get_indexer(pd.Index(rows[SERIES])), times.get_indexer(pd.DatetimeIndex(rows[TIME]))
        names = (own.target, *own.past, *own.future_columns)
        values = np.full((len(names), len(ids), len(times)), np.nan)
        for k, column in enumerate(names):
            values[k][where] = rows[column].to_numpy(float)
        target = values[0]
        missing = np.isnan(target)
        target[:, : len(seen)] = gaps.fill(target[:, : len(seen)], own.gaps)
        origin = len(seen) - np.argmax(np.isfinite(target[:, : len(seen)])[:, ::-1], axis=1)
        # As in training, a row without a target brings nothing but the future of its future columns.
        values[1 : 1 + len(own.past), missing] = np.nan
        values[1:, missing & (np.arange(len(times)) < origin[:, None])] = np.nan
        columns = np.moveaxis(values[1:], 0, 2)
        if own.usual:
            flags = exhibition.known(target, np.array(own.usual)[codes]).astype(float)
            flags[np.arange(len(times)) >= origin[:, None]] = np.nan
            columns = np.insert(columns, len(own.past), flags, axis=2)
        return cls(times, target, columns, origin)


def _long_enough(
    matrix: _Matrices, ids: list[str], codes: np.ndarray, own: Preprocessing, lookbacks: np.ndarray
) -> None:
    for row, (name, code, lookback) in enumerate(zip(ids, codes, lookbacks, strict=True)):
        origin, reads = int(matrix.origin[row]), int(lookback)
        if own.lags:
            reads += own.lags[-1]
            begin = pd.Timestamp(own.begins[code])
            if matrix.times[0] <= begin:  # the whole of it: lags before its first step are 0, as in training
                reads = min(reads, max(own.lookback, int((matrix.times[:origin] >= begin).sum())))
        recent = matrix.target[row, max(0, origin - reads) : origin]
        if len(recent) < reads or np.isnan(recent).any():
            named = f"series '{name}'" if own.keys else "the series"
            raise DataError(
                f"{named}: {int(np.isfinite(recent).sum())} of the last {reads} steps of history have a value; "
                f"the model reads {reads}"
            )


def _exhibition_told(
    target: np.ndarray, origin: np.ndarray, ids: list[str], codes: np.ndarray, own: Preprocessing
) -> None:
    """Refuse a history that begins among zeros, of which nobody can tell whether they go on from before."""
    for row, name in enumerate(ids if own.usual else ()):
        first, usual = origin[row] - own.lookback, own.usual[codes[row]]
        begun = int(np.argmax(np.isfinite(target[row])))
        if first - begun < usual and not target[row, begun : first + 1].any():
            raise DataError(
                f"series '{name}': its history begins with zeros, too few to tell a stretch without exhibition from "
                f"a habit of up to {usual}; give at least {own.lookback + usual} steps of history"
            )


def _known(
    matrix: _Matrices, origin: np.ndarray, ids: list[str], codes: np.ndarray, own: Preprocessing, horizon: int
) -> np.ndarray:
    """Covariate columns without NaN: history carried forward, the future as given."""
    columns = matrix.columns.copy()
    fallback = np.array(own.fallback)[codes] if own.fallback else np.zeros((len(ids), 0))
    for k, name in enumerate(own.columns):
        if k >= len(own.columns) - len(own.future_columns):
            for row, start in enumerate(origin):
                gap = np.isnan(columns[row, start : start + horizon, k])
                if gap.any():
                    stamp = matrix.times[start + int(np.argmax(gap))]
                    raise DataError(
                        f"column '{name}': series '{ids[row]}' has no value at {stamp}; a future column must be "
                        f"known for each of the {horizon} steps ahead: add rows with it and an empty '{own.target}'"
                    )
        values = gaps.forward(columns[:, :, k])
        columns[:, :, k] = np.where(np.isnan(values), fallback[:, k, None], values)
    return columns
