"""Training of sibling runs side by side in one compiled program; each learns what it would have learnt alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gridcast.config import grid
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.runtime.errors import GridcastError
from gridcast.training import keras_backend
from gridcast.training.fused_program import FusedProgram
from gridcast.training.lane import Lane
from gridcast.training.lane_count import lane_count
from gridcast.training.progress import ProgressReporter
from gridcast.training.result import PausedRun, TrainingResult

CHECK_INTERVAL = 0.5
"""Seconds of training in one call of the program; between two calls the clock, the losses and Ctrl-C are checked."""


def train(
    dataset: Dataset,
    runs: Sequence[Run],
    *,
    state_paths: Sequence[Path | None],
    siblings: int,
    until: int | None = None,
    reporters: Sequence[ProgressReporter | None] | None = None,
) -> list[TrainingResult | PausedRun | GridcastError]:
    """Return the result of each of `runs`, which differ in learning rate, dropout, seed and series alone.

    A run continues from the state at its path in `state_paths`, if there is one, to the same bits whatever is
    trained beside it. `siblings` counts the runs of the whole grid that share the program. A run that has not come to
    its end after `until` epochs is saved and returned as paused. While it trains, its epochs go to its own of
    `reporters`. The error of a run is returned in its place: that of a loss that is no longer finite, or of more than
    `dataset.training.max_minutes` of training, in which lanes that train at the same time have equal shares.
    """
    program = _shared_program(dataset, runs[0], siblings)
    lanes = [
        Lane(program, run, path, _last_epoch(dataset, run, until), reporter=reporter)
        for run, path, reporter in zip(runs, state_paths, reporters or [None] * len(runs), strict=True)
    ]
    waiting = deque(lanes)
    active: dict[int, Lane] = {}
    while waiting or active:
        for slot in range(program.width):
            while slot not in active and waiting:
                lane = waiting.popleft()
                state = lane.begin()
                if not lane.is_over:
                    active[slot] = lane
                    program.put(slot, state)
        if active:
            train_epoch(program, active)
        active = {slot: lane for slot, lane in active.items() if not lane.is_over}
    results = [lane.result() for lane in lanes]
    for lane in lanes:
        lane.close()
    return results


def _last_epoch(dataset: Dataset, run: Run, until: int | None) -> int:
    epochs = dataset.epochs_of(run.configuration)
    return min(until or epochs, epochs)


def train_epoch(program: FusedProgram, active: Mapping[int, Lane]) -> None:
    """Train every lane of `active`, by slot, for an epoch and validate it; the other lanes of `program` idle."""
    clock = _SharedClock(active)
    epoch_steps = max(lane.windows.steps for lane in active.values())
    positions = np.zeros((program.width, program.steps, program.size), np.int32)
    for slot, lane in active.items():
        flat = positions[slot].reshape(-1)
        flat[:] = np.resize(lane.order, len(flat))
    program.set_learning_rates(
        {slot: program.dataset.learning_rate(lane.run.configuration, lane.epoch - 1) for slot, lane in active.items()}
    )
    windows = program.stacked_windows({slot: lane.windows for slot, lane in active.items()})
    windows, placed = jax.tree.map(jnp.asarray, windows), jnp.asarray(positions)
    sums, done = jnp.zeros((program.width, 2)), 0
    while done < epoch_steps and not all(lane.is_over for lane in active.values()):
        # The first call compiles, so its pace is unknown: it takes a single batch.
        count = max(1, int(CHECK_INTERVAL / program.seconds_per_batch)) if program.seconds_per_batch else 1
        stop = min(epoch_steps, done + count)
        started = time.perf_counter()
        sums = program.advance(sums, placed, (done, stop), windows)
        losses = np.asarray(sums)[:, 0]  # waits until the program has ended
        if done:
            program.seconds_per_batch = (time.perf_counter() - started) / (stop - done)
        else:  # the first call of an epoch may compile; until another one is measured, one batch is taken at a time
            program.seconds_per_batch = program.seconds_per_batch or CHECK_INTERVAL
        done = stop
        clock.split(losses)
    outputs, val_losses, val_errors = program.validate(windows)
    clock.split(val_losses)
    totals, states = np.asarray(sums), program.states()
    for slot, lane in active.items():
        if not lane.is_over:
            loss, mae = totals[slot] / lane.windows.steps
            logs = {"loss": loss, "mae": mae, "val_loss": val_losses[slot], "val_mae": val_errors[slot]}
            output = outputs[slot][: lane.windows.forecast_shape[0]]
            lane.end_epoch({name: float(value) for name, value in logs.items()}, states[slot], output)


class _SharedClock:
    """Shares out the time of training among the lanes that train."""

    def __init__(self, active: Mapping[int, Lane]) -> None:
        self.active, self.started = active, time.perf_counter()

    def split(self, losses: np.ndarray) -> None:
        """Give each lane that is not over its share of the time since the last split, and its loss so far."""
        running = {slot: lane for slot, lane in self.active.items() if not lane.is_over}
        seconds = time.perf_counter() - self.started
        for slot, lane in running.items():
            lane.spend(seconds / len(running), float(losses[slot]))
        self.started = time.perf_counter()


_latest: dict[Any, FusedProgram] = {}
"""The program of the last group, by all that it depends on: the next group often consists of the same siblings."""


def _shared_program(dataset: Dataset, run: Run, siblings: int) -> FusedProgram:
    width = lane_count(run.configuration, siblings, gpu=jax.default_backend() != "cpu")
    key = grid.shared_program(run), width, id(dataset)
    if key not in _latest:
        _latest.clear()
        keras_backend.free_programs()
        _latest[key] = FusedProgram(dataset, run, width)
    return _latest[key]


def epoch_seconds(dataset: Dataset, run: Run, siblings: int) -> tuple[float, float]:
    """Return the seconds of a run's share in the first epoch, which compiles, and in the second."""
    program = _shared_program(dataset, run, siblings)
    active = {slot: Lane(program, run, None, 2) for slot in range(program.width)}
    for slot, lane in active.items():
        program.put(slot, lane.begin())
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        train_epoch(program, active)
        seconds.append((time.perf_counter() - started) / program.width)
    return seconds[0], seconds[1]
