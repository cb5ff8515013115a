"""Checkpoints of a run on stock Keras: a callback that collects its curves and saves its state."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from gridcast.training import run_state
from gridcast.training.atomic_bundle import DamagedError
from gridcast.training.batches import WindowBatches
from gridcast.training.limits import TrainingClock
from gridcast.training.progress import ProgressReporter
from gridcast.training.run_state import CURVES, STOCK_FORMAT, RunState

_LOG = logging.getLogger("gridcast")


@dataclass(frozen=True)
class ResumableParts:
    """The objects of a run whose states together are the state of the run.

    `batches` are those of training; `best_weights` writes the best network of all epochs to a file. `followed` returns
    values of the present network that become curves beside those of Keras; `curves` names all of them.
    """

    network: keras.Model
    batches: WindowBatches
    clock: TrainingClock
    early_stopping: keras.callbacks.EarlyStopping
    best_weights: keras.callbacks.ModelCheckpoint
    followed: Callable[[], dict[str, float]] = dict
    curves: tuple[str, ...] = CURVES


class CheckpointCallback(keras.callbacks.Callback):
    """Collects the curves of a run, and saves its state at `path` so that `resume` can continue it.

    Saved at the first end of an epoch that comes `interval` seconds or more after the last save. This callback must
    be the last one. Then the early stopping and the best weights of an epoch are settled when it saves, and what Keras
    resets at the beginning of training is restored after that.
    """

    def __init__(
        self,
        path: Path | None,
        parts: ResumableParts,
        *,
        interval: float,
        until: int,
        reporter: ProgressReporter | None = None,
    ) -> None:
        super().__init__()
        assert parts.batches.generator is not None
        self.generator = parts.batches.generator
        self.path, self.parts, self.interval, self.until = path, parts, interval, until
        self.curves: dict[str, list[float]] = {name: [] for name in parts.curves}
        self.times: list[float] = []  # the start of the run and the end of each epoch
        self.reporter = reporter
        self.stopped_early = False
        self._to_restore: RunState | None = None
        self._last_save = parts.clock.spent()
        self._has_warned = False

    @property
    def is_over(self) -> bool:
        """Whether there are no more epochs to train, by early stopping or by `until`."""
        return self.stopped_early or self.epochs >= self.until

    @property
    def epochs(self) -> int:
        """The number of epochs trained so far."""
        return len(self.curves["loss"])

    def resume(self) -> None:
        """Read the state at `path`, if there is one; a damaged one is removed with a warning.

        Afterwards `epochs` counts the epochs of that state, and the run may be over already.
        """
        self._read_state()
        self.times = self.times or [time.time()]
        self._report()

    def _report(self) -> None:
        if self.reporter is not None:
            self.reporter.update(self.times, self.curves)

    def _read_state(self) -> None:
        if self.path is None:
            return
        self.parts.network.optimizer.build(self.parts.network.trainable_variables)
        try:
            state = run_state.read_state(self.path, STOCK_FORMAT, self._arrays())
        except FileNotFoundError:
            return
        except (DamagedError, OSError) as error:
            _LOG.warning("%s; the run starts over", error)
            self.remove()
            return
        if state.values["curves"].keys() != self.curves.keys():  # another metric was followed
            self.remove()
            return
        Path(self.parts.best_weights.filepath).write_bytes(state.best_network)
        self.times = run_state.epoch_times(state.values)
        self.curves, self.stopped_early = state.values["curves"], state.values["stopped"]
        self.parts.clock.before += state.values["seconds"]
        self._last_save = self.parts.clock.spent()
        self._to_restore = state

    def _arrays(self) -> dict[str, np.ndarray]:
        """All that training changes: weights, states of the random generators, optimizer, order of the windows."""
        arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in self._variables().items()}
        return arrays | {"order": self.parts.batches.order}

    def _variables(self) -> dict[str, Any]:
        variables = [*self.parts.network.variables, *self.parts.network.optimizer.variables]
        return {f"variable-{number}": variable for number, variable in enumerate(variables)}

    def on_train_begin(self, *_: Any) -> None:
        """Restore the state that `resume` read: by now Keras has shuffled the windows and reset EarlyStopping."""
        if self._to_restore is None:
            return
        values, arrays = self._to_restore.values, self._to_restore.arrays
        for name, variable in self._variables().items():
            variable.assign(arrays[name])
        self.parts.batches.order = arrays["order"]
        self.generator.bit_generator.state = values["generator"]
        for name, value in values["stopping"].items():
            setattr(self.parts.early_stopping, name, value)
        self.parts.best_weights.best = values["best"]
        self._to_restore = None

    def on_epoch_end(self, _: int, logs: dict[str, float]) -> None:
        """Append to the curves, and save the state if it is time."""
        values = {**logs, **self.parts.followed()}
        for name, curve in self.curves.items():
            curve.append(float(values[name]))
        self.times.append(time.time())
        self._report()
        self.stopped_early = self.parts.network.stop_training
        if self.path is not None and self.parts.clock.spent() - self._last_save >= self.interval:
            self.save()
            self._last_save = self.parts.clock.spent()

    def save(self) -> None:
        """Save the state, if there is a path for it; only the first failure is logged."""
        if self.path is None:
            return
        stopping_fields = ("wait", "best", "best_epoch", "stopped_epoch")
        values = {
            "curves": self.curves,
            "stopped": self.stopped_early,
            "seconds": self.parts.clock.spent(),
            "times": self.times,
            "stopping": {name: getattr(self.parts.early_stopping, name) for name in stopping_fields},
            "best": self.parts.best_weights.best,
            "generator": self.generator.bit_generator.state,
        }
        try:
            best_network = Path(self.parts.best_weights.filepath).read_bytes()
            run_state.write_state(self.path, STOCK_FORMAT, RunState(values, self._arrays(), best_network))
        except OSError as error:
            if not self._has_warned:
                _LOG.warning("%s: the state of the run cannot be saved (%s); training goes on", self.path, error)
            self._has_warned = True

    def remove(self) -> None:
        """Remove the state of the run from disk."""
        if self.path is not None:
            run_state.remove_state(self.path)
