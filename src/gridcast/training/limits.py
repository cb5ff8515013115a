"""Limits of a run: its time, and a loss that must stay finite."""

from __future__ import annotations

import math
import time
from typing import Any

import keras

from gridcast.runtime.errors import Diverged, GridcastError


class TrainingClock:
    """Seconds that a run has taken, those before an interruption included."""

    def __init__(self, max_minutes: float | None = None) -> None:
        self.max_minutes, self.before, self.started = max_minutes, 0.0, time.perf_counter()

    def spent(self) -> float:
        """Seconds taken so far."""
        return self.before + time.perf_counter() - self.started

    def left(self) -> float:
        """Seconds that the run may still take; infinite without `max_minutes`."""
        return math.inf if self.max_minutes is None else 60 * self.max_minutes - self.spent()


class LimitsCallback(keras.callbacks.Callback):
    """Ends a run as soon as its loss is no longer finite or its time is over.

    Raises Diverged or GridcastError out of `fit`. Keras hands the loss over as a float at every
    batch anyway; the look at it and at the clock takes a microsecond.
    """

    def __init__(self, clock: TrainingClock) -> None:
        super().__init__()
        self.clock, self.epoch = clock, 0

    def on_epoch_begin(self, epoch: int, *_: Any) -> None:
        """Note the epoch that errors name."""
        self.epoch = epoch + 1

    def on_train_batch_begin(self, *_: Any, **__: Any) -> None:
        """Stop when the time is over."""
        if self.clock.left() < 0:
            raise GridcastError(
                f"exceeded training.max_minutes ({self.clock.max_minutes:g}) in epoch {self.epoch}; "
                "raise it, or make the network smaller"
            )

    on_test_batch_begin = on_train_batch_begin

    def on_train_batch_end(self, _: int, logs: dict[str, float]) -> None:
        """Stop at the first loss, or other number in `logs`, that is not finite."""
        if not all(map(math.isfinite, logs.values())):
            raise Diverged(f"the loss is no longer finite in epoch {self.epoch}; a lower learning rate may help")

    on_epoch_end = on_train_batch_end
