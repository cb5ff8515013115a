"""One run on stock Keras: `fit` with EarlyStopping and ModelCheckpoint."""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from gridcast import metrics
from gridcast.errors import GridcastError
from gridcast.evaluation import Forecasts
from gridcast.forecaster import NETWORK, SETTINGS, Forecaster, inputs, load
from gridcast.grid import Run
from gridcast.models.recurrent import Shape, build
from gridcast.training import backend
from gridcast.training.material import Material
from gridcast.training.outcome import Outcome

EVALUATION_BATCH = 4096
OPTIMIZERS = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
LOSSES = {"mse": keras.losses.MeanSquaredError, "mae": keras.losses.MeanAbsoluteError, "huber": keras.losses.Huber}


class Batches(keras.utils.PyDataset):
    """Windows gathered batch by batch, every batch of one size so that one compiled program serves all.

    The last batch is padded with windows of weight zero. `exact` weighs the others so that the
    mean over batches is the mean over windows (validation); else each batch is its own mean, as
    Keras has it for a short last batch (training).
    """

    def __init__(
        self, material: Material, index: np.ndarray, lookback: int, size: int, *, exact: bool, shuffle: int | None
    ) -> None:
        super().__init__()
        self.material, self.index, self.size, self.exact = material, index, size, exact
        self.preprocessing = material.of(lookback)
        self.order = np.arange(len(index))
        self.generator = None if shuffle is None else np.random.default_rng(shuffle)
        self.on_epoch_end()

    def __len__(self) -> int:
        """How many batches make an epoch."""
        return math.ceil(len(self.index) / self.size)

    def __getitem__(self, number: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Inputs, scaled targets (size, horizon) and weights (size,) of batch `number`."""
        part = self.order[number * self.size : (number + 1) * self.size]
        real = len(part)
        index = self.index[np.resize(part, self.size)]
        weight = len(self) * self.size / len(self.index) if self.exact else self.size / real
        weights = np.where(np.arange(self.size) < real, weight, 0.0).astype(np.float32)
        read = inputs(self.preprocessing, self.material.channels, index, self.material.codes)
        return read, self.material.scaled(index), weights

    def on_epoch_end(self) -> None:
        """A new order for the next epoch, from the run's own seed."""
        if self.generator is not None:
            self.generator.shuffle(self.order)


def shape(material: Material, lookback: int) -> Shape:
    """Sizes of the network that fits `material`."""
    own = material.preprocessing
    channels = material.channels.shape[2]
    return Shape(lookback, channels, own.horizon, channels - own.known_ahead, len(own.series), material.categories)


def batches(material: Material, run: Run) -> tuple[Batches, Batches]:
    """Training and validation batches of `run`."""
    lookback, size = run.configuration.lookback, run.configuration.batch_size
    train, validation = (material.origins(span, lookback) for span in ("train", "validation"))
    chunks = -(-len(validation) // EVALUATION_BATCH)
    return (
        Batches(material, train, lookback, min(size, len(train)), exact=False, shuffle=run.seed),
        Batches(material, validation, lookback, -(-len(validation) // chunks), exact=True, shuffle=None),
    )


def compiled(material: Material, run: Run) -> keras.Model:
    """The network of `run`, ready to fit, its weights drawn from the run's seed."""
    settings = run.configuration
    network = build(settings, shape(material, settings.lookback), run.seed)
    network.compile(
        optimizer=OPTIMIZERS[settings.optimizer](settings.learning_rate),
        loss=LOSSES[settings.loss](),
        weighted_metrics=[keras.metrics.MeanAbsoluteError(name="mae")],
    )
    return network


def train(material: Material, run: Run) -> Outcome:
    """Train `run` on `material`. Raises GridcastError when the loss is no longer finite."""
    backend.forget()
    started = time.perf_counter()
    network = compiled(material, run)
    training, validation = batches(material, run)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "best.keras")
        callbacks = [
            keras.callbacks.TerminateOnNaN(raise_error=False),
            keras.callbacks.EarlyStopping(patience=material.patience, restore_best_weights=True),
            keras.callbacks.ModelCheckpoint(checkpoint, save_best_only=True),
        ]
        done = network.fit(
            training, validation_data=validation, epochs=material.epochs, callbacks=callbacks, shuffle=False, verbose=0
        )
        curves = {
            name: tuple(map(float, done.history[name]))
            for name in ("loss", "val_loss", "mae", "val_mae")
            if name in done.history
        }
        if not all(np.isfinite(curve).all() for curve in curves.values()) or len(curves) < 4:
            epoch = len(curves["loss"])
            raise GridcastError(f"the loss is no longer finite in epoch {epoch}; a lower learning rate may help")
        network.load_weights(checkpoint)
    seconds = time.perf_counter() - started
    files = _files(network, material, run)
    forecaster = Forecaster(material.of(run.configuration.lookback), network)
    index = validation.index
    scaled = forecaster.scaled(material.channels, index, material.codes)
    forecast = forecaster.preprocessing.target_scaler.inverse(scaled, index[:, 0])
    losses = metrics.point_losses(run.configuration.loss, material.scaled(index), scaled).mean(axis=1)
    best = int(np.argmin(curves["val_loss"]))
    return Outcome(
        curves=curves,
        metrics={
            "best_val_loss": curves["val_loss"][best],
            "best_val_mae": metrics.mae(material.actual(index), forecast),
            "best_epoch": best + 1,
            "epochs_trained": len(curves["loss"]),
            "fit_seconds": seconds,
            "parameters": network.count_params(),
        },
        origin_losses=tuple((int(step), float(losses[index[:, 1] == step].mean())) for step in np.unique(index[:, 1])),
        files=files,
    )


def _files(network: keras.Model, material: Material, run: Run) -> dict[str, bytes]:
    settings = run.configuration
    portable = build(settings, shape(material, settings.lookback), portable=True)
    portable.set_weights(network.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NETWORK)
        portable.save(path)
        content = path.read_bytes()
    return {NETWORK: content, SETTINGS: json.dumps(material.of(settings.lookback).to_json()).encode()}


def restore(files: dict[str, bytes]) -> Forecaster:
    """The forecaster whose `files` an Outcome carries."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        return load(folder)


def evaluate(material: Material, files: dict[str, bytes]) -> Forecasts:
    """Forecasts of the forecaster in `files` over the test span."""
    forecaster = restore(files)
    index = material.origins("test", forecaster.preprocessing.lookback)
    return Forecasts(index, forecaster.forecast(material.channels, index, material.codes))


def epoch_seconds(material: Material, run: Run) -> tuple[float, float]:
    """Seconds of the first epoch, which compiles, and of the second; measured on throw-away weights."""
    network = compiled(material, run)
    training, validation = batches(material, run)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        network.fit(training, validation_data=validation, epochs=1, shuffle=False, verbose=0)
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]
