"""Training of one run by stock Keras: `fit` with EarlyStopping and ModelCheckpoint."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.config.grid import Run
from gridcast.config.keras_names import name_and_settings
from gridcast.config.plugins import raised_at
from gridcast.config.selection_metrics import curve_name
from gridcast.data.dataset import Dataset
from gridcast.runtime.errors import ConfigError, Diverged
from gridcast.training import keras_backend, objectives
from gridcast.training.batches import WindowBatches
from gridcast.training.checkpoint import CheckpointCallback, ResumableParts
from gridcast.training.finished_run import FinishedTraining, curve_names, followed_value, training_result
from gridcast.training.limits import LimitsCallback, TrainingClock
from gridcast.training.progress import ProgressReporter
from gridcast.training.result import PausedRun, TrainingResult
from gridcast.training.run_state import BEST_NETWORK

MAX_VALIDATION_BATCH = 4096
"""Most windows of a validation batch."""
OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
    "lion": keras.optimizers.Lion,
    "nadam": keras.optimizers.Nadam,
    "adamax": keras.optimizers.Adamax,
    "lamb": keras.optimizers.Lamb,
    "adagrad": keras.optimizers.Adagrad,
    "adadelta": keras.optimizers.Adadelta,
}
"""By their names in `config.keras_names`."""


def make_batches(dataset: Dataset, run: Run) -> tuple[WindowBatches, WindowBatches]:
    """Return the training and the validation batches of `run`."""
    lookback = run.configuration.lookback
    train, validation = (dataset.origins(span, lookback, run.series) for span in ("train", "validation"))
    validation_batches = -(-len(validation) // MAX_VALIDATION_BATCH)
    validation_size = -(-len(validation) // validation_batches)
    return (
        WindowBatches(dataset, train, run, size=batch_size(run, len(train)), exact=False, shuffle=run.seed),
        WindowBatches(dataset, validation, run, size=validation_size, exact=True, shuffle=None),
    )


def batch_size(run: Run, windows: int) -> int:
    """Return the size of training batches of `run`, which has as many training `windows`.

    Never more than the windows, but for runs of single series, so that one compiled program serves all series.
    """
    size = run.configuration.batch_size
    return min(size, windows) if run.series is None else size


def compiled_network(dataset: Dataset, run: Run) -> keras.Model:
    """Return the network of `run`, ready to fit, its weights drawn from the run's seed."""
    settings, objective = run.configuration, objectives.objective_of(dataset, run)
    network = objective.build(run.seed)
    optimizer, options = name_and_settings(settings.optimizer)
    network.compile(
        optimizer=OPTIMIZERS[optimizer](settings.learning_rate, **options),
        loss=objective.loss,
        weighted_metrics=[keras.metrics.MeanMetricWrapper(objective.error, name="mae")],
    )
    return network


def train(
    dataset: Dataset,
    run: Run,
    *,
    state_path: Path | None = None,
    until: int | None = None,
    reporter: ProgressReporter | None = None,
) -> TrainingResult | PausedRun:
    """Train `run` on `dataset`, continuing from the state at `state_path` if there is one.

    Interrupted or not, the same weights come out, to the bit on JAX. A run that has not come to its end after
    `until` epochs is saved and returned as paused. While it trains, its epochs go to `reporter`. Raises GridcastError
    when the loss is no longer finite, and when the run takes more than `dataset.training.max_minutes`; its state then
    stays at `state_path` for a start with more time. Callbacks of one's own have states that nobody can save, so that a
    run with them starts over.
    """
    keras_backend.free_programs()
    training = dataset.training
    epochs = dataset.epochs_of(run.configuration)
    until = min(until or epochs, epochs)
    state_path = None if training.callbacks else state_path
    network = compiled_network(dataset, run)
    batches, validation = make_batches(dataset, run)
    with tempfile.TemporaryDirectory() as folder:
        parts = _resumable_parts(dataset, network, batches, Path(folder, BEST_NETWORK))
        parts = replace(parts, followed=lambda: _followed(dataset, run, network, validation))
        checkpoint = CheckpointCallback(
            state_path, parts, interval=training.checkpoint_seconds, until=until, reporter=reporter
        )
        checkpoint.resume()
        own = _rate_and_own_callbacks(dataset, run)
        callbacks = [LimitsCallback(parts.clock), *own, parts.early_stopping, parts.best_weights, checkpoint]
        try:
            if not checkpoint.is_over:
                network.fit(
                    batches,
                    validation_data=validation,
                    initial_epoch=checkpoint.epochs,
                    epochs=until,
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
                if not checkpoint.stopped_early and until < epochs:
                    checkpoint.save()
        except Diverged:
            checkpoint.remove()
            raise
        curves = {name: tuple(curve) for name, curve in checkpoint.curves.items()}
        seconds, times = parts.clock.spent(), tuple(checkpoint.times)
        if not checkpoint.stopped_early and checkpoint.epochs < epochs:
            return PausedRun(curves, seconds, times)
        network.load_weights(parts.best_weights.filepath)
    final = objectives.final_weights(objectives.objective_of(dataset, run), network)
    best_weights = [np.array(variable) for variable in final]
    finished = FinishedTraining(best_weights, _validation_output(network, validation), curves, seconds, times)
    result = training_result(dataset, run, finished)
    checkpoint.remove()
    return result


def _rate_and_own_callbacks(dataset: Dataset, run: Run) -> list[keras.callbacks.Callback]:
    """The callback that sets the learning rate of each epoch, and the plug-ins; these may set a constant one."""
    own = own_callbacks(dataset, run.configuration)
    if own and dataset.training.decay == "none":
        return own
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: dataset.learning_rate(run.configuration, epoch))
    return [schedule, *own]


def own_callbacks(dataset: Dataset, configuration: Configuration) -> list[keras.callbacks.Callback]:
    """Return a new Keras callback of each plug-in that the experiment names. Raises ConfigError with file and line."""
    callbacks = []
    for name in dataset.training.callbacks:
        plugin = dataset.plugins.callbacks[name]
        try:
            callback = plugin.function(configuration)
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises
            where = raised_at(error, plugin.source.file, plugin.line)
            raise ConfigError(f"{where}: callback '{name}': {type(error).__name__}: {error}") from None
        if not isinstance(callback, keras.callbacks.Callback):
            raise ConfigError(
                f"{plugin.where}: callback '{name}' must return a Keras callback, and returns {callback!r}"
            )
        callbacks.append(callback)
    return callbacks


def _resumable_parts(
    dataset: Dataset, network: keras.Model, batches: WindowBatches, best_network: Path
) -> ResumableParts:
    return ResumableParts(
        network=network,
        batches=batches,
        clock=TrainingClock(dataset.training.max_minutes),
        # The best weights come back from their file, so EarlyStopping need not keep them too.
        early_stopping=keras.callbacks.EarlyStopping(patience=dataset.training.patience, restore_best_weights=False),
        best_weights=keras.callbacks.ModelCheckpoint(best_network, save_best_only=True),
        curves=curve_names(dataset),
    )


def _followed(dataset: Dataset, run: Run, network: keras.Model, validation: WindowBatches) -> dict[str, float]:
    """The followed metric of the present network under the name of its curve; empty where none is followed."""
    if not dataset.followed_metric:
        return {}
    output = _validation_output(network, validation)
    return {curve_name(dataset.followed_metric): followed_value(dataset, run, output)}


def _validation_output(network: keras.Model, validation: WindowBatches) -> np.ndarray:
    """The objective's output (n, horizon) for each window of the validation span."""
    outputs = []
    for number in range(len(validation)):
        inputs, target, _ = validation[number]
        output = network.predict_on_batch(inputs)
        outputs.append(np.asarray(validation.objective.validation_output(target, output)))
    return np.concatenate(outputs)[: len(validation.index)]


def epoch_seconds(dataset: Dataset, run: Run) -> tuple[float, float]:
    """Return the seconds of the first epoch, which compiles, and of the second; the weights are thrown away."""
    network = compiled_network(dataset, run)
    batches, validation = make_batches(dataset, run)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        network.fit(batches, validation_data=validation, epochs=1, shuffle=False, verbose=0)
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]
