"""One run on stock Keras: `fit` with EarlyStopping and ModelCheckpoint."""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from gridcast.config import Configuration
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.evaluation import metrics
from gridcast.models.recurrent import Shape, build
from gridcast.runtime.errors import Diverged
from gridcast.runtime.forecaster import NETWORK_FILE, SETTINGS_FILE
from gridcast.training import calibration, keras_backend, objectives
from gridcast.training.batches import WindowBatches
from gridcast.training.checkpoint import BEST, CheckpointCallback
from gridcast.training.limits import LimitsCallback, TrainingClock
from gridcast.training.result import PausedRun, TrainingResult

MAX_VALIDATION_BATCH = 4096
OPTIMIZERS = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}


def make_batches(dataset: Dataset, run: Run) -> tuple[WindowBatches, WindowBatches]:
    """Training and validation batches of `run`."""
    lookback = run.configuration.lookback
    train, validation = (dataset.origins(span, lookback, run.series) for span in ("train", "validation"))
    chunks, size = -(-len(validation) // MAX_VALIDATION_BATCH), batch_size(run, len(train))
    return (
        WindowBatches(dataset, train, run, size, exact=False, shuffle=run.seed),
        WindowBatches(dataset, validation, run, -(-len(validation) // chunks), exact=True, shuffle=None),
    )


def batch_size(run: Run, windows: int) -> int:
    """Windows that go through the network together; runs of single series keep it, so that one program serves all."""
    size = run.configuration.batch_size
    return min(size, windows) if run.series is None else size


def compiled_network(dataset: Dataset, run: Run) -> keras.Model:
    """The network of `run`, ready to fit, its weights drawn from the run's seed."""
    settings, own = run.configuration, objectives.objective_of(dataset, run)
    network = own.build(run.seed)
    network.compile(
        optimizer=OPTIMIZERS[settings.optimizer](settings.learning_rate),
        loss=own.loss,
        weighted_metrics=[keras.metrics.MeanMetricWrapper(own.error, name="mae")],
    )
    return network


def train(
    dataset: Dataset, run: Run, *, state_path: Path | None = None, until: int | None = None
) -> TrainingResult | PausedRun:
    """Train `run` on `dataset`; a run that was interrupted while it kept its state at `state_path` goes on there.

    Either way the same weights come out, to the bit on JAX. A run that has not come to its end after
    `until` epochs is paused, and kept. Raises GridcastError when the loss is no
    longer finite, and when the run takes more than `dataset.training.max_minutes`; its state then stays at
    `state_path` for a start with more time.
    """
    keras_backend.free_programs()
    clock = TrainingClock(dataset.training.max_minutes)
    network = compiled_network(dataset, run)
    training, validation = make_batches(dataset, run)
    with tempfile.TemporaryDirectory() as folder:
        # The best weights come back from the file below, so EarlyStopping need not keep them too.
        stopping = keras.callbacks.EarlyStopping(patience=dataset.training.patience, restore_best_weights=False)
        best_so_far = keras.callbacks.ModelCheckpoint(Path(folder, BEST), save_best_only=True)
        pace = keras.callbacks.LearningRateScheduler(lambda epoch: dataset.learning_rate(run.configuration, epoch))
        until = min(until or dataset.training.epochs, dataset.training.epochs)
        seconds = dataset.training.checkpoint_seconds
        progress = CheckpointCallback(state_path, seconds, clock, network, training, stopping, best_so_far, until)
        progress.resume()
        try:
            if not progress.over:
                network.fit(
                    training,
                    validation_data=validation,
                    initial_epoch=progress.epochs,
                    epochs=until,
                    callbacks=[LimitsCallback(clock), pace, stopping, best_so_far, progress],
                    shuffle=False,
                    verbose=0,
                )
                if not progress.stopped and until < dataset.training.epochs:
                    progress.save()
        except Diverged:
            progress.remove()
            raise
        curves = {name: tuple(curve) for name, curve in progress.curves.items()}
        seconds = clock.spent()
        if not progress.stopped and progress.epochs < dataset.training.epochs:
            return PausedRun(curves, seconds)
        network.load_weights(best_so_far.filepath)
    best = [np.array(variable) for variable in network.trainable_variables]
    outcome = finish(dataset, run, best, _kept(network, validation), curves, seconds)
    progress.remove()
    return outcome


def _kept(network: keras.Model, validation: WindowBatches) -> np.ndarray:
    """What the objective keeps of each window of the validation span (n, horizon)."""
    found = []
    for number in range(len(validation)):
        read, target, _ = validation[number]
        found.append(np.asarray(validation.objective.kept(target, network.predict_on_batch(read))))
    return np.concatenate(found)[: len(validation.index)]


def finish(
    dataset: Dataset,
    run: Run,
    best: Sequence[np.ndarray],
    kept: np.ndarray,
    curves: dict[str, tuple[float, ...]],
    seconds: float,
) -> TrainingResult:
    """What `run` leaves, from its `best` trainable weights and what was `kept` of their validation (n, horizon)."""
    settings = run.configuration
    preprocessing = dataset.of(settings, run.series)
    index = dataset.origins("validation", settings.lookback, run.series)
    network = _portable(objectives.objective_of(dataset, run))
    network.set_weights(best)
    content, by_series = preprocessing.to_json(), {}
    at, steps = int(np.argmin(curves["val_loss"])), np.unique(index[:, 1])
    if settings.detector is not None:
        losses = kept.mean(axis=1)
        measured, whole = calibration.calibrate_detector(dataset, settings, network)
        measured["best_val_mae"] = curves["val_mae"][at]
        content = whole.to_json()
        steps = steps[steps % dataset.preprocessing.lookback == 0]  # of windows that share no step
    elif settings.likelihood is None:
        forecast = dataset.preprocessing.target_scaler.inverse(np.asarray(kept, float), index[:, 0])
        losses = metrics.point_losses(settings.loss, dataset.scaled(index), kept).mean(axis=1)
        errors = np.abs(forecast - dataset.actual(index)).mean(axis=1)
        measured = {"best_val_mae": float(errors.mean())}
        by_series = {int(row): float(errors[index[:, 0] == row].mean()) for row in np.unique(index[:, 0])}
    else:
        losses = kept.mean(axis=1)
        measured, quantiles = calibration.calibrate_quantiles(dataset, settings, network, index)
        content["quantiles"] = quantiles.to_json()
    return TrainingResult(
        curves=curves,
        metrics={
            "best_val_loss": curves["val_loss"][at],
            **measured,
            "best_epoch": at + 1,
            "epochs_trained": len(curves["loss"]),
            "fit_seconds": seconds,
            "parameters": network.count_params(),
        },
        origin_losses=tuple((int(step), float(losses[index[:, 1] == step].mean())) for step in steps),
        files={NETWORK_FILE: _saved(network), SETTINGS_FILE: json.dumps(content).encode()},
        series_errors=tuple(by_series.items()),
    )


def _portable(own: objectives.Objective) -> keras.Model:
    """The network to be saved, for its weights to be set: of many series one after the other, built once."""
    if isinstance(own, objectives.PointObjective):
        return _built(own.configuration, own.shape)
    return own.build(0, portable=True)


@functools.lru_cache(maxsize=8)
def _built(configuration: Configuration, shape: Shape) -> keras.Model:
    return build(configuration, shape, portable=True)


def _saved(network: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NETWORK_FILE)
        network.save(path)
        return path.read_bytes()


def epoch_seconds(dataset: Dataset, run: Run) -> tuple[float, float]:
    """Seconds of the first epoch, which compiles, and of the second; measured on throw-away weights."""
    network = compiled_network(dataset, run)
    training, validation = make_batches(dataset, run)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        network.fit(training, validation_data=validation, epochs=1, shuffle=False, verbose=0)
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]
