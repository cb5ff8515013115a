"""A model from MLflow: forecast or detect with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from gridcast.api import model_argument
from gridcast.api.choices import check_choice
from gridcast.api.keras_session import keras_session
from gridcast.data.prediction_files import TableOrPath
from gridcast.runtime.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gridcast.tracking.model_loading import LoadedModel, ModelReference


MAX_HORIZON = 100_000
"""Steps that one forecast may have."""


@dataclass(frozen=True)
class _Loaded:
    """The common part of loaded forecasters and detectors."""

    loaded: LoadedModel

    @property
    def reference(self) -> ModelReference:
        """Its exact MLflow URI and run, and its name and version if it is registered."""
        return self.loaded.reference

    @property
    def preprocessing(self) -> Any:
        """The preprocessing: the columns of its table, the lookback, the calendar, the scales."""
        return self.loaded.model.preprocessing


@dataclass(frozen=True)
class LoadedForecaster(_Loaded):
    """A forecaster, with the preprocessing that it carries; `load` returns it.

    >>> forecaster = gridcast.load("retail-daily")
    >>> forecaster.horizon, forecaster.series
    (2, ('apple', 'pear'))
    """

    kind = "forecaster"

    @property
    def horizon(self) -> int:
        """Steps that it was trained to forecast."""
        return int(self.preprocessing.horizon)

    @property
    def series(self) -> tuple[str, ...]:
        """Ids of the series that it knows."""
        return tuple(self.preprocessing.series)

    def predict(
        self,
        history: TableOrPath,
        horizon: int | None = None,
        quantiles: Sequence[float] | None = None,
        *,
        problems: Literal["raise", "column"] = "raise",
        ended: bool = False,
    ) -> pd.DataFrame:
        """Return forecasts in data units: a row for each series and step ahead.

        `history` is a table with the columns of the experiment, a frame or a file; rows after the history, without a
        target, bring future columns. Columns of the answer: those of the series and the time, `forecast`,
        `rolled_forward` (True beyond the trained horizon) and, of a probabilistic model, one such as `q0.1` for each of
        the `quantiles`. `horizon` and `quantiles` default to those of training.

        A series that cannot be forecast raises DataError; with `problems="column"` the others are forecast, and
        the reason is in a column `problem`. A series that ended before the others is such a problem, unless `ended`
        forecasts are wanted, each from its own last step.

        >>> forecaster = gridcast.load("retail-daily")
        >>> forecaster.predict(frame, horizon=3).groupby("product").size().to_dict()
        {'apple': 3, 'pear': 3}
        """
        check_choice("problems", problems, ("raise", "column"))
        forecasts, found = self.predict_each_series(history, horizon, quantiles, ended=ended)
        if found and problems == "raise":
            first = next(iter(found.values()))
            more = f" (and so {len(found) - 1:,} other series)" if len(found) > 1 else ""
            raise DataError(f"{shown_table(history)}: {first}{more}; problems='column' forecasts the others")
        return forecasts

    def predict_each_series(
        self,
        history: TableOrPath,
        horizon: int | None = None,
        quantiles: Sequence[float] | None = None,
        *,
        ended: bool = False,
    ) -> tuple[pd.DataFrame, dict[str, str]]:
        """Return the forecasts of `predict`, and the problem of each faulty series by its id."""
        from gridcast.data import prediction_files

        if horizon is not None and not 1 <= horizon <= MAX_HORIZON:
            raise ConfigError(f"--horizon: must be from 1 to {MAX_HORIZON:,} (got {horizon})")
        table = prediction_files.read_series_table(history, self.preprocessing)
        try:
            return self.loaded.predict_each_series(table, horizon, quantiles, ended=ended)
        except DataError as error:
            raise DataError(f"{shown_table(history)}: {error}") from None


@dataclass(frozen=True)
class LoadedDetector(_Loaded):
    """A detector, with the preprocessing that it carries; `load` returns it."""

    kind = "detector"

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the sensors, which are columns of a table."""
        return tuple(self.preprocessing.series)

    @property
    def threshold(self) -> float:
        """The score above which a step is anomalous; a running threshold starts there."""
        return float(self.loaded.model.threshold)

    def predict(self, readings: TableOrPath, *, wait: int | None = None) -> pd.DataFrame:
        """Return a row for each step: time, score, threshold, anomaly, and the contribution of each sensor.

        `readings` is a table with the columns of the experiment, a frame or a file. Scores are those in hindsight; with
        `wait`, those of a follower of a stream who waits that many steps. Raises DataError.

        >>> detector = gridcast.load("plant")
        >>> detector.predict(readings).columns.tolist()
        ['time', 'score', 'threshold', 'anomaly', 'flow', 'heat']
        """
        from gridcast.data import prediction_files
        from gridcast.runtime.errors import is_data_error

        table = prediction_files.read_sensor_table(readings, self.preprocessing)
        try:
            scores: pd.DataFrame = self.loaded.model.predict(table, None if wait is None else {"wait": wait})
        except Exception as error:
            if is_data_error(error):
                raise DataError(f"{shown_table(readings)}: {error}") from None
            raise
        return scores


def load(model: str | Path) -> LoadedForecaster | LoadedDetector:
    """Return a forecaster or a detector from MLflow.

    `model` is a registered name or an experiment file, which mean the champion, or an MLflow URI such as
    `models:/retail-daily@champion` or `runs:/RUN_ID/model`. Raises ConfigError, UnknownModel, TrackingError.

    >>> model = gridcast.load("models:/retail-daily@champion")
    >>> model.kind, model.reference.version
    ('forecaster', '1')
    """
    return load_reference(model_argument.find_model(model))


def load_uri(model: str, uri: str) -> LoadedForecaster | LoadedDetector:
    """Return the model that an MLflow URI names in the store `uri`."""
    from gridcast.tracking import model_loading

    return load_reference(model_loading.find_model(model, uri), uri)


def load_reference(
    reference: ModelReference, uri: str | None = None, *, cache: Path | None = None
) -> LoadedForecaster | LoadedDetector:
    """Return the model of a reference in the store `uri`; Keras starts if it has not yet."""
    from gridcast.runtime.loading import kind_of
    from gridcast.tracking import model_loading

    with keras_session(cache=cache):
        loaded = model_loading.load_model(reference.uri, uri)
    return LoadedDetector(loaded) if kind_of(loaded.model) == "detector" else LoadedForecaster(loaded)


def load_forecaster(model: str | Path) -> LoadedForecaster:
    """Return a forecaster, see `load`. Raises ConfigError for a detector."""
    loaded = load(model)
    if isinstance(loaded, LoadedDetector):
        raise ConfigError(f"{model}: is an anomaly detector; score a table with it: gridcast detect {model} FILE")
    return loaded


def shown_table(source: TableOrPath) -> str:
    """Return what messages call a table: its path, without a password, or the DataFrame."""
    from gridcast.data.file_bytes import shown
    from gridcast.data.parse_fields import shown_source

    return shown(shown_source(source if isinstance(source, pd.DataFrame) else str(source)))


def model_title(model: ModelReference) -> str:
    """Return `NAME version N` of a registered model, else its URI."""
    return f"{model.name} version {model.version}" if model.name else model.uri
