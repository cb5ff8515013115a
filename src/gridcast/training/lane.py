"""One run on its way through a fused program: its curves, its early stopping and its state on disk."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from gridcast.config.grid import Run
from gridcast.config.selection_metrics import curve_name
from gridcast.runtime.errors import GridcastError
from gridcast.training import limits, run_state
from gridcast.training.atomic_bundle import DamagedError
from gridcast.training.finished_run import FinishedTraining, curve_names, followed_value, training_result
from gridcast.training.fused_program import FusedProgram, NetworkState
from gridcast.training.progress import ProgressReporter
from gridcast.training.result import PausedRun, TrainingResult
from gridcast.training.run_state import FUSED_FORMAT, RunState

PARTS = ("best", "trainable", "fixed", "slots")
"""Prefixes of the arrays in a saved state: the best weights, then the fields of `NetworkState`."""
_LOG = logging.getLogger("gridcast")


# A lane imitates `keras_fit.train`, so that a run gives the same result by either engine (to rounding: the compiled
# epoch sums in another order). Whatever changes in one of the two places must change in the other:
#
# - Order of the windows. `WindowBatches` shuffles when it is made. `fit` then takes one batch to build the network,
#   and resets the data set before the first epoch, which shuffles once more. From then on the order is shuffled at the
#   end of every epoch. Hence two shuffles in `__post_init__` and one in `end_epoch`, by a generator of the same seed.
# - Batches. All have the same size; the last one is filled up with windows of weight zero and is its own mean, like
#   the others, so its windows weigh more. The loss of an epoch is the mean over its batches. See `WindowBatches` and
#   `FusedProgram._train_steps`.
# - Validation comes after the last batch of an epoch, with the weights of that moment. Its loss is the mean over
#   windows, and `end_epoch` reads it before the order is shuffled again.
# - Early stopping and the best epoch. Keras's own EarlyStopping decides. It only sets `stop_training` on its model, so
#   the lane gives itself to it as the model. Where it notes a new best epoch, ModelCheckpoint would save the network;
#   the lane copies its final weights, and the validation output, which stock Keras computes again at the end.


@dataclass
class Lane:
    """A run in a lane of `program`, trained up to the epoch `until`; its state is saved at `path`, if it has one."""

    program: FusedProgram
    run: Run
    path: Path | None
    until: int
    curves: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)  # the start of the run and the end of each epoch
    reporter: ProgressReporter | None = None
    error: GridcastError | None = None
    stop_training: bool = False  # set by EarlyStopping, whose model the lane is
    best_weights: list[np.ndarray] = field(default_factory=list)
    best_output: np.ndarray | None = None
    last_save: float = 0.0
    has_warned: bool = False

    def __post_init__(self) -> None:
        self.curves = {name: [] for name in curve_names(self.program.dataset)}
        self.early_stopping = keras.callbacks.EarlyStopping(mode="min", patience=self.program.dataset.training.patience)
        self.early_stopping.set_model(self)
        self.early_stopping.on_train_begin()
        self.windows = self.program.windows(self.run.series)
        self.generator = np.random.default_rng(self.run.seed)
        self.order = np.arange(self.windows.count)
        for _ in range(2):
            self.generator.shuffle(self.order)

    def begin(self) -> NetworkState:
        """Return the state to train on from: the one at `path` if there is one, else the first one of the run."""
        state = self._first_state()
        self.times = self.times or [time.time()]
        self._report()
        return state

    def _report(self) -> None:
        if self.reporter is not None:
            self.reporter.update(self.times, self.curves)

    def _first_state(self) -> NetworkState:
        self.last_save = time.perf_counter()
        initial = self.program.initial_state(self.run)
        if self.path is None:
            return initial
        like = self._arrays(
            initial, self.program.final_weights(initial), np.zeros(self.windows.forecast_shape, np.float32)
        )
        try:
            state = run_state.read_state(self.path, FUSED_FORMAT, like)
        except FileNotFoundError:
            return initial
        except (DamagedError, OSError) as error:
            _LOG.warning("%s; the run starts over", error)
            run_state.remove_state(self.path)
            return initial
        values, arrays = state.values, state.arrays
        if values["curves"].keys() != self.curves.keys():  # another metric was followed
            run_state.remove_state(self.path)
            return initial
        self.curves, self.stop_training, self.seconds = values["curves"], values["stopped"], values["seconds"]
        self.times = run_state.epoch_times(values)
        self.order, self.best_output = arrays["order"], arrays["forecasts"]
        self.generator.bit_generator.state = values["generator"]
        for name, value in values["stopping"].items():
            setattr(self.early_stopping, name, value)
        by_part: dict[str, list[np.ndarray]] = {part: [] for part in PARTS}
        for name, array in arrays.items():
            part, dash, _ = name.partition("-")
            if dash:
                by_part[part].append(array)
        self.best_weights, *network = (by_part[part] for part in PARTS)
        return NetworkState(*network)

    @property
    def epoch(self) -> int:
        """The epoch in training, from 1."""
        return len(self.curves["loss"]) + 1

    @property
    def is_complete(self) -> bool:
        """Whether the run has come to its own end, by early stopping or by the number of epochs."""
        return self.error is None and (
            self.stop_training or self.epoch > self.program.dataset.epochs_of(self.run.configuration)
        )

    @property
    def is_over(self) -> bool:
        """Whether the lane has nothing more to train: complete, failed, or paused at `until`."""
        return self.error is not None or self.stop_training or self.epoch > self.until

    def spend(self, seconds: float, loss: float) -> None:
        """Add `seconds` of training; fail the run when there were too many, or when `loss` so far is not finite."""
        self.seconds += seconds
        max_minutes = self.program.dataset.training.max_minutes
        if not math.isfinite(loss):
            self.error = limits.diverged(self.epoch)
            if self.path is not None:
                run_state.remove_state(self.path)
        elif max_minutes is not None and self.seconds > 60 * max_minutes:
            self.error = limits.out_of_time(max_minutes, self.epoch)

    def end_epoch(self, logs: dict[str, float], state: NetworkState, output: np.ndarray) -> None:
        """Append `logs` to the curves, keep the best epoch, decide on early stopping, and save if it is time.

        `output` (n, horizon) is that of the objective on the validation span.
        """
        followed = self.program.dataset.followed_metric
        values = logs | (
            {curve_name(followed): followed_value(self.program.dataset, self.run, output)} if followed else {}
        )
        for name, curve in self.curves.items():
            curve.append(values[name])
        self.times.append(time.time())
        self._report()
        number = self.epoch - 2  # from 0, as Keras counts
        self.early_stopping.on_epoch_end(number, logs)
        if self.early_stopping.best_epoch == number:
            self.best_weights = [value.copy() for value in self.program.final_weights(state)]
            self.best_output = output.copy()
        self.generator.shuffle(self.order)
        if self.path is None:
            return
        # A run that is over waits for its siblings; if they are interrupted, its result must not be lost with them.
        interval = self.program.dataset.training.checkpoint_seconds
        if self.is_over or time.perf_counter() - self.last_save >= interval:
            self._save(self.path, state)
            self.last_save = time.perf_counter()

    def _arrays(
        self, state: NetworkState, best_weights: list[np.ndarray], best_output: np.ndarray
    ) -> dict[str, np.ndarray]:
        """All arrays of a saved state, by name."""
        named = zip(PARTS, (best_weights, *state), strict=True)
        arrays = {f"{part}-{number}": array for part, values in named for number, array in enumerate(values)}
        return arrays | {"order": self.order, "forecasts": best_output}

    def _save(self, path: Path, state: NetworkState) -> None:
        assert self.best_output is not None
        values = {
            "curves": self.curves,
            "stopped": self.stop_training,
            "seconds": self.seconds,
            "times": self.times,
            "stopping": {name: getattr(self.early_stopping, name) for name in ("wait", "best", "best_epoch")},
            "generator": self.generator.bit_generator.state,
        }
        arrays = self._arrays(state, self.best_weights, self.best_output)
        try:
            run_state.write_state(path, FUSED_FORMAT, RunState(values, arrays))
        except OSError as error:
            if not self.has_warned:
                _LOG.warning("%s: the state of the run cannot be saved (%s); training goes on", path, error)
            self.has_warned = True

    def result(self) -> TrainingResult | PausedRun | GridcastError:
        """Return the result of the run, its progress so far if it is paused, or the error that ended it."""
        if self.error is not None:
            return self.error
        assert self.best_output is not None
        curves = {name: tuple(curve) for name, curve in self.curves.items()}
        if not self.is_complete:
            return PausedRun(curves, self.seconds, tuple(self.times))
        finished = FinishedTraining(self.best_weights, self.best_output, curves, self.seconds, tuple(self.times))
        try:
            return training_result(self.program.dataset, self.run, finished)
        except GridcastError as error:  # of a metric of one's own; the lanes beside it go on
            return error

    def close(self) -> None:
        """Remove the saved state of a complete run, and let the lane be freed at once."""
        if self.path is not None and self.is_complete:
            run_state.remove_state(self.path)
        # The lane and its EarlyStopping refer to each other; neither would be freed before a garbage collection.
        self.early_stopping.set_model(None)
