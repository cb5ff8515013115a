"""Networks, callbacks, optimizers and losses of one's own: refused before training, or trained and saved whole."""

import inspect
import sys
from dataclasses import replace

import numpy as np
import pytest

from gridcast import config
from gridcast.config import Configuration, keras_names, plugins, yaml_reader
from gridcast.config.grid import Run
from gridcast.models.baselines.dataset_task import baseline_task
from gridcast.models.baselines.plugin_forecast import plugin_forecast
from gridcast.runtime import loading
from gridcast.runtime.errors import ConfigError
from small_experiments import SMALL, planned, sales

pytestmark = pytest.mark.usefixtures("jax_backend")

LAYERS = """
import keras
from keras import layers, ops

@keras.saving.register_keras_serializable(package="own")
class Scale(layers.Layer):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape):
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="rate")

    def call(self, values, training=False):
        if training:
            self.seen.assign(self.seen + 1)
        return values * self.factor + self.seen

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

def scaled(sequence, configuration, *, factor=0.5):
    hidden = layers.BatchNormalization()(layers.Flatten()(sequence))
    hidden = layers.Dropout(configuration.dropout)(layers.Dense(configuration.units, activation="tanh")(hidden))
    return Scale(factor)(hidden)

NETWORKS = {"Scaled": scaled}
"""
BROKEN = """
from keras import layers, ops, random, regularizers

class Half(layers.Layer):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, values):
        return values * self.factor

    def get_config(self):
        return super().get_config()

def net(sequence, configuration, *, kernel=3):
    signal = layers.Flatten()(sequence)
    return {body}

def drift(task):
    return {baseline}

NETWORKS = {{"Net": net}}
BASELINES = {{"drift": drift}}
CALLBACKS = {{"halve": lambda configuration: 3}}
"""


@pytest.fixture
def plan_of(tmp_path, monkeypatch):
    def plan(text, **sections):
        own = plugins.from_text("own.py", text)
        monkeypatch.setattr(config, "parse", lambda content, _="": yaml_reader.parse(content, "own.yaml", own))
        return planned(tmp_path, sales(130), **{**SMALL, "training": {"epochs": 2, "patience": 2}, **sections})

    return plan


def broken(body="signal", baseline="task.target[task.index[:, 0], task.index[:, 1], None] * [1, 1]"):
    return BROKEN.format(body=body, baseline=baseline)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "sequence",
            r"own\.py, line 15: network 'Net' \(kernel 3\) must return features of shape \(n, features\) from",
        ),
        ("3", r"own\.py, line 15: network 'Net' \(kernel 3\) must return features .* and returns 3"),
        ("signal + layers.Nothing", r"own\.py, line 17: network 'Net' \(kernel 3\): AttributeError"),
        ("layers.Dense(3)(signal[:, :, None, None])[..., 0, 0] + ops.ones(7)", r"own\.py, line 17: network 'Net'"),
        ("layers.Lambda(lambda v: v)(signal)", "cannot be saved and read"),
        ("Half(0.5)(signal)", "computes other values after it was saved and read"),
        ("layers.Dense(2, kernel_regularizer='l2')(signal)", "adds losses of its own"),
    ],
)
def test_a_broken_network_is_refused_with_file_and_line_before_the_first_epoch(plan_of, body, expected):
    with pytest.raises(ConfigError, match=expected):
        plan_of(broken(body), grid={"layer": ["Net"]})


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("task.nothing", r"own\.py, line 20: baseline 'drift': AttributeError"),
        (
            "task.index[:, :1]",
            r"own\.py, line 19: baseline 'drift' must return points \(n, horizon\) of shape \(3, 2\)",
        ),
        ("task.index * float('nan')", r"own\.py, line 19: baseline 'drift' returns 6 of 6 values that are not finite"),
    ],
)
def test_a_broken_baseline_is_refused_with_file_and_line(plan_of, baseline, expected):
    with pytest.raises(ConfigError, match=expected):
        plan_of(broken(baseline=baseline), baselines=["drift"])


def test_a_callback_needs_stock_keras_and_must_be_one(plan_of):
    with pytest.raises(ConfigError, match=r"callback 'halve' must return a Keras callback, and returns 3"):
        plan_of(broken(), training={"callbacks": ["halve"]})
    with pytest.raises(ConfigError, match=r"training\.engine: 'fused' trains without Keras's fit"):
        plan_of(broken(), training={"callbacks": ["halve"], "engine": "fused"})


def test_sample_paths_of_a_plug_in_are_refused_with_the_remedy(plan_of):
    with pytest.raises(ConfigError, match=r"layer Net: sample paths .* write likelihood: quantile"):
        plan_of(broken(), task="probabilistic", transform={}, grid={"layer": ["Net"]})


def test_both_engines_train_a_network_with_layers_and_statistics_of_its_own(plan_of):
    from gridcast.training import fused_fit, keras_fit

    plan = plan_of(LAYERS, grid={"layer": ["Scaled"], "factor": [0.25], "dropout": [0.1, 0.4]})
    runs = list(plan.runs.values())
    alone = [keras_fit.train(plan.dataset, run) for run in runs]
    [fused] = fused_fit.train(plan.dataset, runs[:1], state_paths=[None], siblings=1)
    np.testing.assert_allclose(fused.curves["val_loss"], alone[0].curves["val_loss"], rtol=1e-5)
    assert alone[0].curves["loss"] != alone[1].curves["loss"]

    frame = sales(130)
    name = next(file for file in fused.files if file.startswith("gridcast_plugin_"))
    del sys.modules[name.removesuffix(".py")]  # as in a process that never saw the plug-in
    answers = [loading.load_from_bytes(one.files).predict(frame)["forecast"] for one in (fused, alone[0])]
    np.testing.assert_allclose(*answers, rtol=1e-4)
    [batches_seen] = [array for array in loading.load_from_bytes(fused.files).network.get_weights() if array.ndim == 0]
    assert batches_seen == 6 * fused.metrics["best_epoch"]


def test_a_run_goes_on_from_its_state_to_the_same_bits(plan_of, tmp_path):
    from gridcast.training import fused_fit

    plan = plan_of(LAYERS, grid={"layer": ["Scaled"]}, training={"epochs": 3, "checkpoint_seconds": 0.0})
    [run] = plan.runs.values()
    [whole] = fused_fit.train(plan.dataset, [run], state_paths=[None], siblings=1)
    fused_fit.train(plan.dataset, [run], state_paths=[tmp_path / "state"], siblings=1, until=1)
    [resumed] = fused_fit.train(plan.dataset, [run], state_paths=[tmp_path / "state"], siblings=1)
    assert resumed.curves == whole.curves
    pairs = zip(*(loading.load_from_bytes(one.files).network.get_weights() for one in (whole, resumed)), strict=True)
    for left, right in pairs:
        np.testing.assert_array_equal(left, right)


def test_two_versions_of_a_layer_live_in_one_process(plan_of):
    from gridcast.training import fused_fit

    plan = plan_of(LAYERS, grid={"layer": ["Scaled"]}, training={"epochs": 1})
    [result] = fused_fit.train(plan.dataset, list(plan.runs.values()), state_paths=[None], siblings=1)
    before = loading.load_from_bytes(result.files).predict(sales(130))["forecast"]
    plugins.from_text("own.py", LAYERS.replace("values * self.factor", "values * 1000"))  # registers the same name
    after = loading.load_from_bytes(result.files).predict(sales(130))["forecast"]
    np.testing.assert_array_equal(before, after)


def test_quantiles_and_detectors_are_made_of_a_plug_in_too(plan_of):
    from gridcast.models import autoencoder
    from gridcast.training import objectives

    sections = {"task": "probabilistic", "transform": {"scale": "mean-abs"}, "baseline": {"likelihood": "quantile"}}
    plan = plan_of(broken(), grid={"layer": ["Net"]}, **sections)
    [run] = plan.runs.values()
    assert objectives.objective_of(plan.dataset, run).build(0).output_shape[:2] == (None, 2)
    settings = Configuration(layer="Net", kernel=3, lookback=6, units=4, detector="both", latent=2)
    shape = autoencoder.AutoencoderShape(6, 2)
    network = autoencoder.build_autoencoder(settings, shape, plugin=plan.dataset.plugins.networks["Net"])
    assert network.output_shape == (None, 7, 2)


def test_a_plug_in_baseline_gets_quantiles_from_its_errors_in_training(plan_of):
    plan = plan_of(broken(baseline="task.target[task.index[:, 0], task.index[:, 1] - 1, None] * [1, 1]"))
    task = replace(baseline_task(plan.dataset, 7), levels=(0.1, 0.9))
    forecast = plugin_forecast(plan.experiment.plugins.baselines["drift"], task)
    series, origin = task.index.T
    np.testing.assert_array_equal(forecast.point[:, 1], task.target[series, origin - 1])
    assert (forecast.quantiles[..., 0] < forecast.quantiles[..., 1]).all()


def test_every_optimizer_has_the_settings_that_it_is_said_to_have_and_trains(plan_of):
    from gridcast.training import keras_fit

    for name, own in keras_names.OPTIMIZERS.items():
        accepted = inspect.signature(keras_fit.OPTIMIZERS[name]).parameters
        assert {*own, "weight_decay", "clipnorm", "clipvalue", "global_clipnorm"} <= accepted.keys()
    assert keras_fit.OPTIMIZERS.keys() == keras_names.OPTIMIZERS.keys()


def test_settings_of_an_optimizer_and_of_a_loss_act_alike_in_both_engines(plan_of):
    from gridcast.evaluation import metrics
    from gridcast.training import fused_fit, keras_fit, objectives

    plan = plan_of(broken())
    adamw = keras_names.optimizer_text({"name": "adamw", "weight_decay": 0.5, "clipnorm": 0.01})
    base = plan.reference_run.configuration
    runs = [
        Run(base.model_copy(update={"optimizer": optimizer, "loss": "huber delta=0.5"}), 0)
        for optimizer in ("adam", adamw)
    ]
    plain, decayed = (fused_fit.train(plan.dataset, [run], state_paths=[None], siblings=1)[0] for run in runs)
    stock = keras_fit.train(plan.dataset, runs[1])
    np.testing.assert_allclose(decayed.curves["loss"], stock.curves["loss"], rtol=1e-5)
    assert decayed.curves["loss"] != plain.curves["loss"]
    actual, forecast = np.array([[1.0, 2.0, 0.5]]), np.array([[1.2, -1.0, 4.0]])
    for loss in ("mse", "mae", "huber", "huber delta=0.5", "log_cosh", "mape", "msle"):
        objective = objectives.objective_of(plan.dataset, Run(base.model_copy(update={"loss": loss}), 0))
        points = metrics.point_losses(loss, actual, forecast)
        np.testing.assert_allclose(points.mean(axis=1), objective.loss(actual, forecast), rtol=1e-5)
