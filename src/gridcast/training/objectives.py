"""Training objectives: the network of a run, its inputs and targets, its loss and its error.

`PointObjective`, `DensityObjective` and `QuantileObjective` are for forecasters, `DetectorObjective` is for detectors.
Both training engines use them through the same methods: `build`, `read`, `loss`, `error` and `validation_output`.
Arrays are NumPy's or, in a compiled program, JAX's; `arrays` is the library. With `context` the targets include the
steps before the horizon, from which a density learns too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from gridcast.config import RECURRENT_LAYERS, Configuration, Plugin
from gridcast.config.grid import Run
from gridcast.config.keras_names import name_and_settings
from gridcast.data.dataset import Dataset
from gridcast.models import autoencoder, autoregressive, direct, quantile_regression, recurrent
from gridcast.runtime import lag_features, windows
from gridcast.runtime.errors import ConfigError
from gridcast.runtime.likelihoods import LIKELIHOODS, QUANTILE, Likelihood, increasing_quantiles
from gridcast.runtime.network_inputs import network_inputs
from gridcast.runtime.preprocessing import Preprocessing
from gridcast.runtime.quantiles import trained_levels

POINT_LOSSES = {
    "mse": keras.losses.mean_squared_error,
    "mae": keras.losses.mean_absolute_error,
    "huber": keras.losses.huber,
    "log_cosh": keras.losses.log_cosh,
    "mape": keras.losses.mean_absolute_percentage_error,
    "msle": keras.losses.mean_squared_logarithmic_error,
}
PanelArrays = dict[str, Any]
"""The panel as arrays: channels (series, steps, channels), codes (series,), observed (series, steps)."""


def panel_arrays(dataset: Dataset) -> PanelArrays:
    """Return the arrays of `dataset` that windows are read from."""
    observed = {"observed": dataset.observed} if dataset.preprocessing.lags else {}
    return {"channels": dataset.channels, "codes": dataset.series_codes.astype(np.int32), **observed}


@dataclass(frozen=True)
class PointObjective:
    """Forecasts the scaled value of every step of the horizon; trained by a pointwise loss."""

    configuration: Configuration
    preprocessing: Preprocessing
    categories: tuple[int, ...]
    plugin: Plugin | None = None

    def build(self, seed: int, *, portable: bool = False) -> keras.Model:
        """Return the network, not compiled."""
        return build_point_network(self.configuration, self.shape, seed, plugin=self.plugin, portable=portable)

    @property
    def shape(self) -> recurrent.NetworkShape:
        """Sizes of the network; a network of a single series embeds neither series nor categories."""
        preprocessing = self.preprocessing
        ahead = preprocessing.channel_count - preprocessing.first_known_ahead
        return recurrent.NetworkShape(
            preprocessing.lookback,
            preprocessing.channel_count,
            preprocessing.horizon,
            ahead,
            len(preprocessing.series),
            self.categories,
            *preprocessing.window_spreads,
        )

    def read(
        self,
        panel: PanelArrays,
        index: Any,
        arrays: Any = np,
        *,
        context: bool = True,  # noqa: ARG002
    ) -> tuple[dict[str, Any], Any]:
        """Return inputs and scaled targets (n, horizon) of the windows `index` (n, 2)."""
        inputs = network_inputs(self.preprocessing, panel["channels"], index, panel["codes"], arrays=arrays)
        return inputs, windows.future(panel["channels"][:, :, 0], index, self.preprocessing.horizon)

    def loss(self, target: Any, output: Any) -> Any:
        """Return the loss (n,) of each window."""
        name, settings = name_and_settings(self.configuration.loss)
        return POINT_LOSSES[name](target, output, **settings)

    def error(self, target: Any, output: Any) -> Any:
        """Return the mean absolute error (n,) of each window, in scaled units."""
        return ops.mean(ops.abs(target - output), axis=1)

    def validation_output(self, target: Any, output: Any) -> Any:  # noqa: ARG002
        """Return the scaled forecasts (n, horizon)."""
        return output


@dataclass(frozen=True)
class DensityObjective:
    """Forecasts the distribution of every observed step; trained by its log density in units of the series' scale.

    A target is (n, steps, 4): the value less the window's centre, whether it counts, the scale of the
    window and that of the series, all in data units. In units of the series the losses of different likelihoods are
    comparable.
    """

    configuration: Configuration
    preprocessing: Preprocessing
    categories: tuple[int, ...]
    plugin: None = None  # a plug-in cannot be run step by step

    @property
    def likelihood(self) -> Likelihood:
        """Family of distributions."""
        return LIKELIHOODS[self.configuration.likelihood or ""]

    def build(self, seed: int, *, portable: bool = False) -> keras.Model:
        """Return the network, not compiled."""
        shape = _autoregressive_shape(self.preprocessing, self.categories, self.likelihood.parameters)
        return autoregressive.build_autoregressive(self.configuration, shape, seed, portable=portable)

    def read(
        self, panel: PanelArrays, index: Any, arrays: Any = np, *, context: bool = True
    ) -> tuple[dict[str, Any], Any]:
        """Return inputs and targets of the windows `index` (n, 2): (n, lookback + horizon, 4), or (n, horizon, 4)."""
        inputs, target = _probabilistic_windows(self.preprocessing, panel, index, arrays)
        return inputs, target if context else target[:, -self.preprocessing.horizon :]

    def loss(self, target: Any, output: Any) -> Any:
        """Return the mean loss (n,) over the steps of each window that count."""
        return _mean(self.validation_output(target, output), target[..., 1])

    def error(self, target: Any, output: Any) -> Any:
        """Return the mean absolute error (n,) one step ahead over the steps that count, in scaled units."""
        value, counts, level, scale = (target[..., k] for k in range(4))
        mean = self.likelihood.mean(output[:, -target.shape[1] :], level)
        return _mean(ops.abs(value - mean) / scale, counts)

    def validation_output(self, target: Any, output: Any) -> Any:
        """Return the loss of each step of the target: (n, horizon) on the validation span."""
        value, _, level, scale = (target[..., k] for k in range(4))
        output = output[:, -target.shape[1] :]
        return -self.likelihood.log_density(output, value, level) - ops.log(scale)


@dataclass(frozen=True)
class QuantileObjective:
    """Forecasts quantiles of every step of the horizon; trained by twice the pinball loss, in units of the series.

    Targets are those of `DensityObjective`, of the horizon alone. Source: Koenker, Bassett (1978),
    "Regression Quantiles".
    """

    configuration: Configuration
    preprocessing: Preprocessing
    categories: tuple[int, ...]
    levels: tuple[float, ...]
    plugin: Plugin | None = None

    def build(self, seed: int, *, portable: bool = False) -> keras.Model:
        """Return the network, not compiled."""
        preprocessing = self.preprocessing
        unknown = sum(lag < preprocessing.horizon for lag in preprocessing.lags)
        shape = _autoregressive_shape(preprocessing, self.categories, len(self.levels))
        if self.configuration.is_direct:
            return direct.build_direct_quantiles(
                self.configuration, shape, seed, unknown_features=unknown, portable=portable
            )
        return quantile_regression.build_quantile_regression(
            self.configuration, shape, seed, unknown_features=unknown, plugin=self.plugin, portable=portable
        )

    def read(
        self,
        panel: PanelArrays,
        index: Any,
        arrays: Any = np,
        *,
        context: bool = True,  # noqa: ARG002
    ) -> tuple[dict[str, Any], Any]:
        """Return inputs and targets (n, horizon, 4) of the windows `index` (n, 2)."""
        inputs, target = _probabilistic_windows(self.preprocessing, panel, index, arrays)
        return inputs, target[:, -self.preprocessing.horizon :]

    def loss(self, target: Any, output: Any) -> Any:
        """Return the mean loss (n,) over the levels and over the steps of each window that count."""
        return _mean(self.validation_output(target, output), target[..., 1])

    def error(self, target: Any, output: Any) -> Any:
        """Return the mean absolute error (n,) of the median over the steps that count, in scaled units."""
        value, counts, level, scale = (target[..., k] for k in range(4))
        median = increasing_quantiles(output, ops)[..., self.levels.index(0.5)] * level
        return _mean(ops.abs(value - median) / scale, counts)

    def validation_output(self, target: Any, output: Any) -> Any:
        """Return the loss (n, horizon) of each step, averaged over the levels."""
        value, _, level, scale = (target[..., k] for k in range(4))
        levels = np.array(self.levels, np.float32)
        shortfall = (value[..., None] - increasing_quantiles(output, ops) * level[..., None]) / scale[..., None]
        return 2 * ops.mean(ops.maximum(levels * shortfall, (levels - 1) * shortfall), axis=-1)


@dataclass(frozen=True)
class DetectorObjective:
    """Reconstructs a window of all sensors, predicts the step after it, or both; trained by the mean squared error.

    A target is (n, lookback + 1, sensors), of which each kind of detector is compared with its part. Both are in the
    window's own units, see `windows.window_units`.
    """

    configuration: Configuration
    preprocessing: Preprocessing
    plugin: Plugin | None = None

    def build(self, seed: int, *, portable: bool = False) -> keras.Model:
        """Return the network, not compiled."""
        return autoencoder.build_autoencoder(
            self.configuration, self.shape, seed, plugin=self.plugin, portable=portable
        )

    @property
    def shape(self) -> autoencoder.AutoencoderShape:
        """Sizes of the network."""
        return autoencoder.AutoencoderShape(self.preprocessing.lookback, len(self.preprocessing.series))

    def read(
        self,
        panel: PanelArrays,
        index: Any,
        arrays: Any = np,
        *,
        context: bool = True,  # noqa: ARG002
    ) -> tuple[dict[str, Any], Any]:
        """Return inputs and targets (n, lookback + 1, sensors) of the windows `index` (n, 2)."""
        history = windows.past(panel["channels"], index, self.preprocessing.lookback)
        ahead = windows.future(panel["channels"], index, 1)
        preprocessing = self.preprocessing
        centre, unit = windows.window_units(
            history, centred=preprocessing.centred, spreads=preprocessing.window_spreads
        )
        whole = arrays.concatenate([history, ahead], axis=1)
        return {"history": (history - centre) / unit}, (whole - centre) / unit

    def loss(self, target: Any, output: Any) -> Any:
        """Return the mean squared error (n,) of each window: that of reconstruction plus that of prediction."""
        return sum(ops.mean(ops.square(error), axis=(1, 2)) for error in self._errors(target, output))

    def error(self, target: Any, output: Any) -> Any:
        """Return the mean absolute error (n,) of each window, added up likewise, in scaled units."""
        return sum(ops.mean(ops.abs(error), axis=(1, 2)) for error in self._errors(target, output))

    def validation_output(self, target: Any, output: Any) -> Any:
        """Return the loss (n, 1) of each window."""
        return self.loss(target, output)[:, None]

    def _errors(self, target: Any, output: Any) -> list[Any]:
        lookback = self.preprocessing.lookback
        if self.configuration.detector == "reconstruction":
            return [target[:, :lookback] - output]
        if self.configuration.detector == "prediction":
            return [target[:, lookback:] - output]
        error = target - output
        return [error[:, :lookback], error[:, lookback:]]


def build_point_network(
    configuration: Configuration,
    shape: recurrent.NetworkShape,
    seed: int = 0,
    *,
    plugin: Plugin | None,
    portable: bool,
) -> keras.Model:
    """Return the uncompiled network of a point forecast, recurrent, direct or with a `plugin`."""
    if configuration.is_direct:
        return direct.build_direct(configuration, shape, seed, portable=portable)
    return recurrent.build_recurrent(configuration, shape, seed, plugin=plugin, portable=portable)


def _autoregressive_shape(
    preprocessing: Preprocessing, categories: tuple[int, ...], parameters: int
) -> autoregressive.AutoregressiveShape:
    features = (
        len(preprocessing.lags) + preprocessing.channel_count + preprocessing.centred
    )  # the level takes the place of the target's channel
    return autoregressive.AutoregressiveShape(
        preprocessing.lookback, preprocessing.horizon, features, parameters, categories
    )


def _probabilistic_windows(
    preprocessing: Preprocessing, panel: PanelArrays, index: Any, arrays: Any
) -> tuple[dict[str, Any], Any]:
    """Inputs and targets (n, lookback + horizon, 4) of the windows `index` (n, 2)."""
    channels, codes = panel["channels"], panel["codes"]
    values = lag_features.gather_targets(
        channels, index, before=preprocessing.lookback, after=preprocessing.horizon, arrays=arrays
    )
    centre, level = lag_features.window_units(values[:, : preprocessing.lookback], preprocessing.centred, arrays)
    steps = index[:, 1, None] + np.arange(-preprocessing.lookback, preprocessing.horizon)
    counts = panel["observed"][index[:, 0, None], steps] & arrays.isfinite(values)
    scale = arrays.asarray(preprocessing.target_scaler.scale, np.float32)[codes[index[:, 0]]]
    value = arrays.where(counts, values - centre[:, None], 0.0) * scale[:, None]
    columns = (value, counts, (level * scale)[:, None], scale[:, None])
    target = arrays.stack([arrays.broadcast_to(part, value.shape).astype(np.float32) for part in columns], axis=2)
    return network_inputs(preprocessing, channels, index, codes, arrays=arrays), target


def _mean(values: Any, counts: Any) -> Any:
    return ops.sum(ops.where(counts > 0, values, 0.0), axis=1) / ops.maximum(ops.sum(counts, axis=1), 1.0)


def final_weights(objective: Objective, network: keras.Model) -> list[Any]:
    """Return the variables of `network` that make a trained model, in an order that all networks of `objective` share.

    Those that are not trained count in a plug-in: they may be statistics of its inputs. In gridcast's own networks they
    are settings, which the network that is saved has as constants.
    """
    fixed = network.non_trainable_weights if objective.plugin is not None else ()
    return [*network.trainable_weights, *fixed]


Objective = PointObjective | DensityObjective | QuantileObjective | DetectorObjective


def objective_of(dataset: Dataset, run: Run) -> Objective:
    """Return the objective of `run` on `dataset`."""
    settings = run.configuration
    preprocessing, plugin = dataset.preprocessing_for(settings, run.series), _plugin_of(dataset, settings)
    if settings.detector is not None:
        return DetectorObjective(settings, preprocessing, plugin)
    categories = dataset.category_sizes if run.series is None else ()
    if settings.likelihood is None:
        return PointObjective(settings, preprocessing, categories, plugin)
    if settings.likelihood == QUANTILE:
        levels = trained_levels(dataset.probabilistic.quantiles)
        return QuantileObjective(settings, preprocessing, categories, levels, plugin)
    if settings.layer not in RECURRENT_LAYERS:
        raise ConfigError(
            f"likelihood: {settings.likelihood} is not supported with layer {settings.layer}: sample paths are drawn "
            "step by step, which only recurrent networks can; write likelihood: quantile"
        )
    return DensityObjective(settings, preprocessing, categories)


def _plugin_of(dataset: Dataset, settings: Configuration) -> Plugin | None:
    if settings.is_plugin and settings.layer not in dataset.plugins.networks:
        raise ConfigError(f"layer: {settings.layer} is not one of gridcast's networks; bring it with --plugin FILE")
    return dataset.plugins.networks.get(settings.layer)
