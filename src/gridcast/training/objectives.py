"""What a run is trained for: the network it trains, what that reads, its loss and its error.

A `Point` forecast of every step of the horizon, a `Density` of every step, or `Direct`, its quantiles; or what
is `Normal` for sensors.
What they have in common, `fit` and `fused` know by these names; arrays are numpy's or, in a compiled
program, JAX's. `context` says that a density learns from the steps before the horizon too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from gridcast.config import Configuration
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.models import autoencoder, autoregressive, quantile_regression, recurrent
from gridcast.runtime import lag_features, windows
from gridcast.runtime.forecaster import network_inputs
from gridcast.runtime.likelihoods import LIKELIHOODS, QUANTILE, Likelihood, increasing_quantiles
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.quantiles import trained_levels

POINT_LOSSES = {
    "mse": keras.losses.mean_squared_error,
    "mae": keras.losses.mean_absolute_error,
    "huber": keras.losses.huber,
}
PanelArrays = dict[str, Any]
"""The panel as arrays: channels (series, steps, channels), codes (series,), observed (series, steps)."""


def panel_arrays(dataset: Dataset) -> PanelArrays:
    """The arrays of `dataset` that windows are read from."""
    observed = {"observed": dataset.observed} if dataset.preprocessing.lags else {}
    return {"channels": dataset.channels, "codes": dataset.codes.astype(np.int32), **observed}


@dataclass(frozen=True)
class PointObjective:
    """The scaled value of every step of the horizon, judged by a loss of each."""

    configuration: Configuration
    preprocessing: Preprocessing
    categories: tuple[int, ...]

    def build(self, seed: int, *, portable: bool = False) -> keras.Model:
        """The network, not compiled."""
        return recurrent.build(self.configuration, self.shape, seed, portable=portable)

    @property
    def shape(self) -> recurrent.Shape:
        """Sizes of the network; that of one series alone embeds no series and no category."""
        own = self.preprocessing
        ahead = own.channel_count - own.first_known_ahead
        return recurrent.Shape(own.lookback, own.channel_count, own.horizon, ahead, len(own.series), self.categories)

    def read(
        self, data: PanelArrays, index: Any, arrays: Any = np, *, context: bool = True
    ) -> tuple[dict[str, Any], Any]:
        """Inputs and scaled targets (n, horizon) of the windows `index` (n, 2)."""
        read = network_inputs(self.preprocessing, data["channels"], index, data["codes"], arrays)
        return read, windows.future(data["channels"][:, :, 0], index, self.preprocessing.horizon)

    def loss(self, target: Any, output: Any) -> Any:
        """Loss (n,) of each window."""
        return POINT_LOSSES[self.configuration.loss](target, output)

    def error(self, target: Any, output: Any) -> Any:
        """Mean absolute error (n,) of each window, in scaled units."""
        return ops.mean(ops.abs(target - output), axis=1)

    def kept(self, target: Any, output: Any) -> Any:  # noqa: ARG002
        """What is kept of the validation span (n, horizon): the scaled forecasts."""
        return output


@dataclass(frozen=True)
class DensityObjective:
    """The distribution of every observed step, judged by its density in units of the series' scale.

    A target is (n, steps, 4): the value less the window's centre, whether it counts, the scale of the
    window and that of the series, all in data units. In units of the series the losses of all likelihoods compare.
    """

    configuration: Configuration
    preprocessing: Preprocessing
    categories: tuple[int, ...]

    @property
    def likelihood(self) -> Likelihood:
        """The family of distributions."""
        return LIKELIHOODS[self.configuration.likelihood or ""]

    def build(self, seed: int, *, portable: bool = False) -> keras.Model:
        """The network, not compiled."""
        shape = _shape(self.preprocessing, self.categories, self.likelihood.parameters)
        return autoregressive.build(self.configuration, shape, seed, portable=portable)

    def read(
        self, data: PanelArrays, index: Any, arrays: Any = np, *, context: bool = True
    ) -> tuple[dict[str, Any], Any]:
        """Inputs and targets (n, lookback + horizon, 4) of the windows `index` (n, 2); the `context` may not count."""
        read, target = _read(self.preprocessing, data, index, arrays)
        return read, target if context else target[:, -self.preprocessing.horizon :]

    def loss(self, target: Any, output: Any) -> Any:
        """Mean loss (n,) over the steps of each window that count."""
        return _mean(self.kept(target, output), target[..., 1])

    def error(self, target: Any, output: Any) -> Any:
        """Mean absolute error (n,) one step ahead over the steps of each window that count, in scaled units."""
        value, counts, level, scale = (target[..., k] for k in range(4))
        mean = self.likelihood.mean(output[:, -target.shape[1] :], level)
        return _mean(ops.abs(value - mean) / scale, counts)

    def kept(self, target: Any, output: Any) -> Any:
        """The losses of all steps of the target; they are kept of the validation span (n, horizon)."""
        value, _, level, scale = (target[..., k] for k in range(4))
        output = output[:, -target.shape[1] :]
        return -self.likelihood.log_density(output, value, level) - ops.log(scale)


@dataclass(frozen=True)
class QuantileObjective:
    """Quantiles of every step of the horizon, judged by twice the pinball loss, in units of the series' scale.

    Targets are those of a `Density`, of the horizon alone. Source: Koenker, Bassett (1978),
    "Regression Quantiles".
    """

    configuration: Configuration
    preprocessing: Preprocessing
    categories: tuple[int, ...]
    levels: tuple[float, ...]

    def build(self, seed: int, *, portable: bool = False) -> keras.Model:
        """The network, not compiled."""
        own = self.preprocessing
        unknown = sum(lag < own.horizon for lag in own.lags)
        shape = _shape(own, self.categories, len(self.levels))
        return quantile_regression.build(self.configuration, shape, unknown, seed, portable=portable)

    def read(
        self, data: PanelArrays, index: Any, arrays: Any = np, *, context: bool = True
    ) -> tuple[dict[str, Any], Any]:
        """Inputs and targets (n, horizon, 4) of the windows `index` (n, 2)."""
        read, target = _read(self.preprocessing, data, index, arrays)
        return read, target[:, -self.preprocessing.horizon :]

    def loss(self, target: Any, output: Any) -> Any:
        """Mean loss (n,) over the steps of each window that count, and over the levels."""
        return _mean(self.kept(target, output), target[..., 1])

    def error(self, target: Any, output: Any) -> Any:
        """Mean absolute error (n,) of the median over the steps of each window that count, in scaled units."""
        value, counts, level, scale = (target[..., k] for k in range(4))
        median = increasing_quantiles(output, ops)[..., self.levels.index(0.5)] * level
        return _mean(ops.abs(value - median) / scale, counts)

    def kept(self, target: Any, output: Any) -> Any:
        """What is kept of the validation span (n, horizon): the losses."""
        value, _, level, scale = (target[..., k] for k in range(4))
        levels = np.array(self.levels, np.float32)
        short = (value[..., None] - increasing_quantiles(output, ops) * level[..., None]) / scale[..., None]
        return 2 * ops.mean(ops.maximum(levels * short, (levels - 1) * short), axis=-1)


@dataclass(frozen=True)
class DetectorObjective:
    """A window of all sensors and the step after it, as a detector rebuilds and predicts them; judged by squares.

    A target is (n, lookback + 1, sensors), of which each kind of detector compares its part. Both are in the window's
    own units, see `windows.units`.
    """

    configuration: Configuration
    preprocessing: Preprocessing

    def build(self, seed: int, *, portable: bool = False) -> keras.Model:
        """The network, not compiled."""
        return autoencoder.build(self.configuration, self.shape, seed, portable=portable)

    @property
    def shape(self) -> autoencoder.Shape:
        """Sizes of the network."""
        return autoencoder.Shape(self.preprocessing.lookback, len(self.preprocessing.series))

    def read(
        self, data: PanelArrays, index: Any, arrays: Any = np, *, context: bool = True
    ) -> tuple[dict[str, Any], Any]:
        """Inputs and targets (n, lookback + 1, sensors) of the windows `index` (n, 2)."""
        history = windows.past(data["channels"], index, self.preprocessing.lookback)
        ahead = windows.future(data["channels"], index, 1)
        own = self.preprocessing
        centre, unit = windows.window_units(history, centred=own.centred, spreads=own.window_spreads)
        whole = arrays.concatenate([history, ahead], axis=1)
        return {"history": (history - centre) / unit}, (whole - centre) / unit

    def loss(self, target: Any, output: Any) -> Any:
        """Mean squared error (n,) of each window; those of what is rebuilt and of what is predicted are added."""
        return sum(ops.mean(ops.square(error), axis=(1, 2)) for error in self._errors(target, output))

    def error(self, target: Any, output: Any) -> Any:
        """Mean absolute error (n,) of each window, added likewise, in scaled units."""
        return sum(ops.mean(ops.abs(error), axis=(1, 2)) for error in self._errors(target, output))

    def kept(self, target: Any, output: Any) -> Any:
        """What is kept of the validation span (n, 1): the losses."""
        return self.loss(target, output)[:, None]

    def _errors(self, target: Any, output: Any) -> list[Any]:
        lookback = self.preprocessing.lookback
        if self.configuration.detector == "reconstruction":
            return [target[:, :lookback] - output]
        if self.configuration.detector == "prediction":
            return [target[:, lookback:] - output]
        error = target - output
        return [error[:, :lookback], error[:, lookback:]]


def _shape(own: Preprocessing, categories: tuple[int, ...], parameters: int) -> autoregressive.Shape:
    features = len(own.lags) + own.channel_count + own.centred  # the level takes the place of the target's channel
    return autoregressive.Shape(own.lookback, own.horizon, features, parameters, categories)


def _read(own: Preprocessing, data: PanelArrays, index: Any, arrays: Any) -> tuple[dict[str, Any], Any]:
    """Inputs and targets (n, lookback + horizon, 4) of the windows `index` (n, 2)."""
    channels, codes = data["channels"], data["codes"]
    around = lag_features.gather_targets(channels, index, own.lookback, own.horizon, 0, arrays)
    centre, level = lag_features.window_units(around[:, : own.lookback], own.centred, arrays)
    steps = index[:, 1, None] + np.arange(-own.lookback, own.horizon)
    counts = data["observed"][index[:, 0, None], steps] & arrays.isfinite(around)
    scale = arrays.asarray(own.target_scaler.scale, np.float32)[codes[index[:, 0]]]
    value = arrays.where(counts, around - centre[:, None], 0.0) * scale[:, None]
    each = (value, counts, (level * scale)[:, None], scale[:, None])
    target = arrays.stack([arrays.broadcast_to(part, value.shape).astype(np.float32) for part in each], axis=2)
    return network_inputs(own, channels, index, codes, arrays), target


def _mean(values: Any, counts: Any) -> Any:
    return ops.sum(ops.where(counts > 0, values, 0.0), axis=1) / ops.maximum(ops.sum(counts, axis=1), 1.0)


Objective = PointObjective | DensityObjective | QuantileObjective | DetectorObjective


def objective_of(dataset: Dataset, run: Run) -> Objective:
    """What `run` is trained for."""
    own = run.configuration, dataset.of(run.configuration, run.series)
    if run.configuration.detector is not None:
        return DetectorObjective(*own)
    categories = dataset.categories if run.series is None else ()
    if run.configuration.likelihood == QUANTILE:
        return QuantileObjective(*own, categories, trained_levels(dataset.probabilistic.quantiles))
    return (
        PointObjective(*own, categories) if run.configuration.likelihood is None else DensityObjective(*own, categories)
    )
