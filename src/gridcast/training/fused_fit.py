"""Sibling runs, trained abreast in one compiled program; what each of them learns, it would have learnt alone."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from gridcast.config import grid
from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.runtime.errors import Diverged, GridcastError
from gridcast.training import checkpoint, keras_backend, keras_fit, objectives
from gridcast.training.atomic_bundle import DamagedError
from gridcast.training.lane_count import lane_count
from gridcast.training.result import PausedRun, TrainingResult

PAUSE = 0.5
"""Seconds of training between two looks at the clock, at Ctrl-C and at the losses."""
FORMAT = "fused-2"
_LOG = logging.getLogger("gridcast")
State = tuple[list[Any], list[Any], list[Any]]
"""Values of a network's trainable variables, of its others, of its optimizer; in a program, of all lanes."""


def train(
    dataset: Dataset,
    runs: Sequence[Run],
    *,
    state_paths: Sequence[Path | None],
    siblings: int,
    until: int | None = None,
) -> list[TrainingResult | PausedRun | GridcastError]:
    """What became of each of `runs`, which differ in learning rate, dropout, seed and series alone.

    A run that was interrupted while it kept its state at its path in `state_paths` goes on there, to the
    same bits whatever is trained beside it. `siblings` counts the runs of the whole grid that share
    the program. A run that has not come to its end after `until` epochs is paused, and kept. The
    error is that of a loss that is no longer finite, or of a run that takes more than
    `dataset.training.max_minutes`, of which the lanes that train abreast have equal shares.
    """
    program = _program(dataset, runs[0], siblings)
    last = min(until or dataset.training.epochs, dataset.training.epochs)
    waiting = deque(Lane(program, run, path, last) for run, path in zip(runs, state_paths, strict=True))
    everyone = list(waiting)
    active: dict[int, Lane] = {}
    while waiting or active:
        for slot in range(program.width):
            while slot not in active and waiting:
                lane = waiting.popleft()
                own = lane.begin()
                if not lane.over:
                    active[slot] = lane
                    program.put(slot, own)
        if active:
            program.epoch(active)
        active = {slot: lane for slot, lane in active.items() if not lane.over}
    found = [lane.outcome() for lane in everyone]
    for lane in everyone:
        if lane.path is not None and lane.ended:
            checkpoint.remove(lane.path)
        lane.stopping.set_model(None)  # else the two would hold each other until they are collected
    return found


_latest: dict[Any, Program] = {}
"""The program of the group before, by what makes it: often the next group is of the same siblings."""


def _program(dataset: Dataset, run: Run, siblings: int) -> Program:
    width = lane_count(run.configuration, siblings, gpu=jax.default_backend() != "cpu")
    made_of = grid.shared_program(run), width, id(dataset)
    if made_of not in _latest:
        _latest.clear()
        keras_backend.free_programs()
        _latest[made_of] = Program(dataset, run, width)
    return _latest[made_of]


@dataclass
class Lane:
    """One run on its way through a program: its curves, its best weights, its EarlyStopping."""

    program: Program
    run: Run
    path: Path | None
    until: int
    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in checkpoint.CURVES})
    seconds: float = 0.0
    error: GridcastError | None = None
    stop_training: bool = False  # EarlyStopping takes the lane for its model
    best: list[np.ndarray] = field(default_factory=list)
    forecasts: np.ndarray | None = None
    saved: float = 0.0
    warned: bool = False

    def __post_init__(self) -> None:
        self.stopping = keras.callbacks.EarlyStopping(mode="min", patience=self.program.dataset.training.patience)
        self.stopping.set_model(self)
        self.stopping.on_train_begin()
        self.windows = self.program.windows(self.run.series)
        self.generator = np.random.default_rng(self.run.seed)
        self.order = np.arange(self.windows.count)
        for _ in range(2):  # stock Keras looks at a batch before the first epoch, and then shuffles once more
            self.generator.shuffle(self.order)

    def begin(self) -> State:
        """The state to go on from: what was kept, else the first one of the run's seed."""
        self.saved = time.perf_counter()
        own = self.program.start(self.run)
        if self.path is None:
            return own
        blank = self._arrays(own, own[0], np.zeros(self.windows.forecast_shape, np.float32))
        try:
            state, arrays, _ = checkpoint.read(self.path, FORMAT, blank)
        except FileNotFoundError:
            return own
        except (DamagedError, OSError) as error:
            _LOG.warning("%s; the run starts over", error)
            checkpoint.remove(self.path)
            return own
        self.curves, self.stop_training, self.seconds = state["curves"], state["stopped"], state["seconds"]
        self.order, self.forecasts = arrays["order"], arrays["forecasts"]
        self.generator.bit_generator.state = state["generator"]
        for name, value in state["stopping"].items():
            setattr(self.stopping, name, value)
        parts: dict[str, list[np.ndarray]] = {"best": [], "trainable": [], "fixed": [], "slots": []}
        for name, array in arrays.items():
            if "-" in name:
                parts[name.partition("-")[0]].append(array)
        self.best = parts["best"]
        return parts["trainable"], parts["fixed"], parts["slots"]

    @property
    def ended(self) -> bool:
        """Whether the run has come to its own end."""
        return self.error is None and (self.stop_training or self.epoch > self.program.dataset.training.epochs)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to train, for now or for good."""
        return self.error is not None or self.stop_training or self.epoch > self.until

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.curves["loss"]) + 1

    def spend(self, seconds: float, loss: float) -> None:
        """Count `seconds` of training; fail when there were too many, or when the `loss` so far is not finite."""
        self.seconds += seconds
        limit = self.program.dataset.training.max_minutes
        if not math.isfinite(loss):
            self.fail(Diverged(f"the loss is no longer finite in epoch {self.epoch}; a lower learning rate may help"))
            if self.path is not None:
                checkpoint.remove(self.path)
        elif limit is not None and self.seconds > 60 * limit:
            told = f"exceeded training.max_minutes ({limit:g}) in epoch {self.epoch}"
            self.fail(GridcastError(f"{told}; raise it, or make the network smaller"))

    def fail(self, error: GridcastError) -> None:
        """End the run without a result."""
        self.error = error

    def end_epoch(self, logs: dict[str, float], own: State, forecasts: np.ndarray) -> None:
        """Add to the curves, keep what is best, stop when patience is at its end, save when it is time."""
        for name, curve in self.curves.items():
            curve.append(logs[name])
        number = self.epoch - 2
        self.stopping.on_epoch_end(number, logs)
        if self.stopping.best_epoch == number:
            self.best, self.forecasts = [value.copy() for value in own[0]], forecasts.copy()
        self.generator.shuffle(self.order)
        if self.path is None:
            return
        # What is over waits for its siblings: it is not to be lost with them.
        if self.over or time.perf_counter() - self.saved >= self.program.dataset.training.checkpoint_seconds:
            self._save(self.path, own)
            self.saved = time.perf_counter()

    def _arrays(self, own: State, best: list[np.ndarray], forecasts: np.ndarray) -> dict[str, np.ndarray]:
        named = zip(("best", "trainable", "fixed", "slots"), (best, *own), strict=True)
        found = {f"{part}-{number}": array for part, arrays in named for number, array in enumerate(arrays)}
        return found | {"order": self.order, "forecasts": forecasts}

    def _save(self, path: Path, own: State) -> None:
        assert self.forecasts is not None
        state = {
            "curves": self.curves,
            "stopped": self.stop_training,
            "seconds": self.seconds,
            "stopping": {name: getattr(self.stopping, name) for name in ("wait", "best", "best_epoch")},
            "generator": self.generator.bit_generator.state,
        }
        try:
            checkpoint.write(path, FORMAT, state, self._arrays(own, self.best, self.forecasts))
        except OSError as error:
            if not self.warned:
                _LOG.warning("%s: the state of the run cannot be saved (%s); training goes on", path, error)
            self.warned = True

    def outcome(self) -> TrainingResult | PausedRun | GridcastError:
        """What the run leaves, or has so far, or why it failed."""
        if self.error is not None:
            return self.error
        assert self.forecasts is not None
        curves = {name: tuple(curve) for name, curve in self.curves.items()}
        if not self.ended:
            return PausedRun(curves, self.seconds)
        return keras_fit.finish(self.program.dataset, self.run, self.best, self.forecasts, curves, self.seconds)


@dataclass(frozen=True)
class Windows:
    """What one run reads: `arrays` as the program takes them, and how many of their windows are its own.

    `count` training windows of `training` (n, 2) make `steps` batches, `validated` of `validation`
    (parts, size, 2) are for validation; what is more only fills the shape that all runs share.
    """

    arrays: dict[str, Any]
    count: int
    steps: int
    forecast_shape: tuple[int, int]


class Program:
    """An epoch of `width` siblings of `run`, compiled once; holds the state of its lanes.

    Runs of single series share it, each with windows of its own, in arrays with room for those of
    the longest series. Runs of all series together have the same windows.
    """

    def __init__(self, dataset: Dataset, run: Run, width: int) -> None:
        self.dataset, self.width, self.together = dataset, width, run.series is None
        self.network = keras_fit.compiled_network(dataset, run)
        self.objective = objectives.objective_of(dataset, run)
        self.lookback = run.configuration.lookback
        self.room, self.validated = (self._room(span) for span in ("train", "validation"))
        self.size = keras_fit.batch_size(run, self.room)
        self.steps = self._batches(self.room)
        parts = -(-self.validated // keras_fit.MAX_VALIDATION_BATCH)
        self.parts = parts, -(-self.validated // parts)
        # Arguments, not constants: the compiled program then serves other data of the same shape.
        self.data = jax.tree.map(jnp.asarray, objectives.panel_arrays(dataset))
        self.state: Any = None
        self.starts: dict[int, State] = {}
        self.known: dict[str | None, Windows] = {}
        self.pace = 0.0
        own = None if self.together else 0
        self._advance = jax.jit(self._abreast(self._steps, (0, 0, 0, None, None, own, None)), donate_argnums=(0, 1))
        self._validate = jax.jit(self._abreast(self._forecast, (0, own, None)))

    def _room(self, span: str) -> int:
        """How many windows of `span` a run may have; for single series the next power of two: more share a program."""
        index = self.dataset.origins(span, self.lookback)
        return len(index) if self.together else 1 << int(np.bincount(index[:, 0]).max() - 1).bit_length()

    def _batches(self, count: int) -> int:
        """Batches of an epoch on so many windows."""
        whole = -(-count // self.size)
        return min(whole, self.dataset.training.steps or whole)

    def windows(self, series: str | None) -> Windows:
        """Those of a run of `series`, or of all together."""
        if series not in self.known:
            training, validation = (
                self.dataset.origins(span, self.lookback, series) for span in ("train", "validation")
            )
            arrays = {
                "training": np.resize(training, (self.room, 2)),
                "count": np.int32(len(training)),
                "validation": np.resize(validation, (*self.parts, 2)),
                "validated": np.int32(len(validation)),
            }
            if self.together:
                arrays = jax.tree.map(jnp.asarray, arrays)
            shape = len(validation), self.dataset.preprocessing.horizon
            self.known[series] = Windows(arrays, len(training), self._batches(len(training)), shape)
        return self.known[series]

    def _read_by(self, active: dict[int, Lane]) -> Any:
        """Arrays of the windows of every lane, one after the other; where all have the same, once."""
        lanes = [active[slot].windows.arrays if slot in active else None for slot in range(self.width)]
        some = next(arrays for arrays in lanes if arrays is not None)
        if self.together:
            return some
        return jax.tree.map(lambda *arrays: np.stack(arrays), *(arrays or some for arrays in lanes))

    def _abreast(self, function: Any, axes: tuple[int | None, ...]) -> Any:
        """`function` of one lane, for all of them; with a batch axis of one XLA would multiply slowly."""
        if self.width > 1:
            return jax.vmap(function, in_axes=axes)

        def alone(*arguments: Any) -> Any:
            own = [
                a if axis is None else jax.tree.map(lambda v: v[0], a) for a, axis in zip(arguments, axes, strict=True)
            ]
            return jax.tree.map(lambda value: value[None], function(*own))

        return alone

    def start(self, run: Run) -> State:
        """The state from which `run` begins; drawn once for all of its seed: learning rate and dropout draw nothing."""
        if run.seed not in self.starts:
            network = keras_fit.compiled_network(self.dataset, run)
            network.optimizer.build(network.trainable_variables)
            self.starts[run.seed] = (
                [np.array(variable.value) for variable in network.trainable_variables],
                [np.array(variable.value) for variable in network.non_trainable_variables],
                [np.array(variable.value) for variable in network.optimizer.variables],
            )
        trainable, fixed, slots = self.starts[run.seed]
        settings, network = run.configuration, self.network
        network.optimizer.build(network.trainable_variables)
        return (
            trainable,
            _replaced(fixed, network.non_trainable_variables, "rate", settings.dropout),
            _replaced(slots, network.optimizer.variables, "learning_rate", settings.learning_rate),
        )

    def put(self, slot: int, own: State) -> None:
        """Let a run with the state `own` train in lane `slot`."""
        if self.state is None:
            self.state = jax.tree.map(lambda array: jnp.asarray(np.stack([array] * self.width)), own)
            return
        whole = jax.tree.map(np.array, self.state)
        for into, array in zip(jax.tree.leaves(whole), jax.tree.leaves(own), strict=True):
            into[slot] = array
        self.state = jax.tree.map(jnp.asarray, whole)

    def epoch(self, active: dict[int, Lane]) -> None:
        """Train every lane of `active` for an epoch and validate it; the other lanes idle."""
        started = time.perf_counter()
        positions = np.zeros((self.width, self.steps, self.size), np.int32)
        for slot, lane in active.items():
            flat = positions[slot].reshape(-1)
            flat[:] = np.resize(lane.order, len(flat))
        self._set_rates(active)
        sums, done, steps = jnp.zeros((self.width, 2)), 0, max(lane.windows.steps for lane in active.values())
        placed, read = jnp.asarray(positions), jax.tree.map(jnp.asarray, self._read_by(active))
        while done < steps and not all(lane.over for lane in active.values()):
            # The first call compiles and tells nothing of the pace.
            todo = max(1, int(PAUSE / self.pace)) if self.pace else 1
            until = min(steps, done + todo)
            begun = time.perf_counter()
            self.state, sums = self._advance(self.state, sums, placed, done, until, read, self.data)
            losses = np.asarray(sums)[:, 0]
            self.pace = (time.perf_counter() - begun) / (until - done) if done else self.pace or PAUSE
            done = until
            self._spend(active, started, losses)
            started = time.perf_counter()
        validated = self._validate(self.state, read, self.data)
        forecasts, val_losses, val_errors = (np.asarray(found) for found in validated)
        self._spend(active, started, val_losses)
        sums = np.asarray(sums)
        whole = jax.tree.map(np.asarray, self.state)
        for slot, lane in active.items():
            if not lane.over:
                values = *(sums[slot] / lane.windows.steps), val_losses[slot], val_errors[slot]
                logs = dict(zip(("loss", "mae", "val_loss", "val_mae"), map(float, values), strict=True))
                own = jax.tree.map(lambda array, slot=slot: array[slot], whole)
                lane.end_epoch(logs, own, forecasts[slot][: lane.windows.forecast_shape[0]])

    def _set_rates(self, active: dict[int, Lane]) -> None:
        """Give each lane the learning rate of its epoch."""
        at = [variable.name for variable in self.network.optimizer.variables].index("learning_rate")
        rates = np.array(self.state[2][at])
        for slot, lane in active.items():
            rates[slot] = self.dataset.learning_rate(lane.run.configuration, lane.epoch - 1)
        self.state[2][at] = jnp.asarray(rates)

    @staticmethod
    def _spend(active: dict[int, Lane], started: float, losses: np.ndarray) -> None:
        running = {slot: lane for slot, lane in active.items() if not lane.over}
        seconds = time.perf_counter() - started
        for slot, lane in running.items():
            lane.spend(seconds / len(running), float(losses[slot]))

    def _steps(
        self,
        state: State,
        sums: Any,
        positions: Any,
        start: Any,
        stop: Any,
        own: dict[str, Any],
        data: dict[str, Any],
    ) -> Any:
        """One lane after the batches [start, stop) of `positions` (steps, size), and its sums of loss and error.

        The last batch is padded with windows of weight zero; like the others it is its own mean. Batches
        beyond those of its `own` windows, which are a longer lane's, leave it as it is.
        """
        optimizer = self.network.optimizer
        count = self.room if self.together else own["count"]

        def criterion(trainable: Any, fixed: Any, read: Any, target: Any, weights: Any) -> Any:
            output, fixed = self.network.stateless_call(trainable, fixed, read, training=True)
            mean = jnp.sum(weights * self.objective.loss(target, output)) / self.size
            error = jnp.sum(weights * self.objective.error(target, output)) / self.size
            return mean, (fixed, error)

        def step(number: Any, carry: Any) -> Any:
            (trainable, fixed, slots), sums = carry
            real = jnp.minimum(self.size, count - number * self.size)
            weights = jnp.where(jnp.arange(self.size) < real, self.size / real, 0.0)
            read, target = self.objective.read(data, own["training"][positions[number]], jnp)
            descent = jax.value_and_grad(criterion, has_aux=True)
            (loss, (fixed, error)), gradients = descent(trainable, fixed, read, target, weights)
            trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
            after = (list(trainable), list(fixed), list(slots)), sums + jnp.stack([loss, error])
            if self.together or self.width == 1:
                return after
            return jax.tree.map(lambda new, old: jnp.where(number * self.size < count, new, old), after, carry)

        return jax.lax.fori_loop(start, stop, step, (state, sums))

    def _forecast(self, state: State, own: dict[str, Any], data: dict[str, Any]) -> tuple[Any, Any, Any]:
        """What is kept (n, horizon) of one lane over the validation span, its mean loss and its mean error."""
        trainable, fixed, _ = state

        def part(index: Any) -> tuple[Any, Any, Any]:
            read, target = self.objective.read(data, index, jnp, context=False)
            output = self.network.stateless_call(trainable, fixed, read, training=False)[0]
            judge = self.objective
            return judge.kept(target, output), judge.loss(target, output), judge.error(target, output)

        kept, losses, errors = (
            values.reshape(-1, *values.shape[2:]) for values in jax.lax.map(part, own["validation"])
        )
        if self.together:
            count = self.validated
            return kept[:count], jnp.mean(losses[:count]), jnp.mean(errors[:count])
        real = jnp.arange(len(losses)) < own["validated"]
        return kept, *(jnp.sum(jnp.where(real, values, 0.0)) / own["validated"] for values in (losses, errors))


def _replaced(values: list[Any], variables: list[Any], name: str, value: float) -> list[Any]:
    """`values` with `value` in place of that of each of the `variables` called `name`."""
    pairs = zip(values, variables, strict=True)
    return [np.asarray(value, own.dtype) if variable.name == name else own for own, variable in pairs]


def epoch_seconds(dataset: Dataset, run: Run, siblings: int) -> tuple[float, float]:
    """Seconds of a run's share in the first epoch, which compiles, and in the second."""
    short = _program(dataset, run, siblings)
    found = []
    active = {slot: Lane(short, run, None, 2) for slot in range(short.width)}
    for slot, lane in active.items():
        short.put(slot, lane.begin())
    for _ in range(2):
        started = time.perf_counter()
        short.epoch(active)
        found.append((time.perf_counter() - started) / short.width)
    return found[0], found[1]
