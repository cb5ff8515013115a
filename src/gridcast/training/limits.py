"""Limits of a run: its training time, and a loss that must stay finite."""

from __future__ import annotations

import math
import time
from typing import Any

import keras

from gridcast.runtime.errors import Diverged, GridcastError


def diverged(epoch: int) -> Diverged:
    """Return the error of a run whose loss is no longer finite in `epoch`, from 1."""
    return Diverged(f"the loss is no longer finite in epoch {epoch}; a lower learning rate may help")


def out_of_time(max_minutes: float, epoch: int) -> GridcastError:
    """Return the error of a run that exceeds its `max_minutes` in `epoch`, from 1."""
    return GridcastError(
        f"exceeded training.max_minutes ({max_minutes:g}) in epoch {epoch}; raise it, or make the network smaller"
    )


class TrainingClock:
    """Seconds of training that a run has taken, including those before an interruption."""

    def __init__(self, max_minutes: float | None = None) -> None:
        self.max_minutes, self.before, self.started = max_minutes, 0.0, time.perf_counter()

    def spent(self) -> float:
        """Return the seconds taken so far."""
        return self.before + time.perf_counter() - self.started

    def left(self) -> float:
        """Return the seconds that the run may still take; infinite without `max_minutes`."""
        return math.inf if self.max_minutes is None else 60 * self.max_minutes - self.spent()


class LimitsCallback(keras.callbacks.Callback):
    """Ends a run as soon as its loss is no longer finite or its time is over.

    Raises Diverged or GridcastError out of `fit`. The checks cost a microsecond per batch; Keras has the loss as a
    float at every batch anyway.
    """

    def __init__(self, clock: TrainingClock) -> None:
        super().__init__()
        self.clock, self.epoch = clock, 0

    def on_epoch_begin(self, epoch: int, *_: Any) -> None:
        """Note the epoch for error messages."""
        self.epoch = epoch + 1

    def on_train_batch_begin(self, *_: Any, **__: Any) -> None:
        """Raise GridcastError when the time is over."""
        if self.clock.left() < 0:
            raise out_of_time(self.clock.max_minutes or 0.0, self.epoch)

    on_test_batch_begin = on_train_batch_begin

    def on_train_batch_end(self, _: int, logs: dict[str, float]) -> None:
        """Raise Diverged at the first loss, or other number in `logs`, that is not finite."""
        if not all(map(math.isfinite, logs.values())):
            raise diverged(self.epoch)

    on_epoch_end = on_train_batch_end
