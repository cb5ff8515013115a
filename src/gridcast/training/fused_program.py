"""A compiled program that trains and validates sibling runs side by side, each in a lane of its own.

Siblings differ in values that the program takes as input (learning rate, dropout, seed, and the windows of their
series), so one compilation serves all of them. The program knows nothing of epochs, early stopping or files: those are
in `lane` and `fused_fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gridcast.config.grid import Run
from gridcast.data.dataset import Dataset
from gridcast.training import keras_fit, objectives


class NetworkState(NamedTuple):
    """Values of a network's trainable variables, of its other variables, and of its optimizer's.

    Inside a program each array has a first axis for the lanes.
    """

    trainable: list[Any]
    fixed: list[Any]
    slots: list[Any]


@dataclass(frozen=True)
class RunWindows:
    """The windows of one run as `arrays` for the program, and how many of them are the run's own.

    `count` training windows of `training` (n, 2) make `steps` batches, `validated` of `validation`
    (parts, size, 2) are for validation; the rest only fills the shape that all runs share.
    """

    arrays: dict[str, Any]
    count: int
    steps: int
    forecast_shape: tuple[int, int]


class FusedProgram:
    """Training and validation of `width` siblings of `run`, compiled once; holds the state of all lanes.

    Runs of single series share it, each with windows of its own, in arrays with room for those of
    the longest series. Runs of all series together have the same windows.
    """

    def __init__(self, dataset: Dataset, run: Run, width: int) -> None:
        self.dataset, self.width = dataset, width
        self.shares_windows = run.series is None
        self.network = keras_fit.compiled_network(dataset, run)
        self.objective = objectives.objective_of(dataset, run)
        self.lookback = run.configuration.lookback
        fixed = [id(variable) for variable in self.network.non_trainable_variables]
        kept = objectives.final_weights(self.objective, self.network)[len(self.network.trainable_weights) :]
        self._kept = [fixed.index(id(variable)) for variable in kept]
        self.room, self.validated = (self._room(span) for span in ("train", "validation"))
        self.size = keras_fit.batch_size(run, self.room)
        self.steps = self._batches(self.room)
        parts = -(-self.validated // keras_fit.MAX_VALIDATION_BATCH)
        self.parts = parts, -(-self.validated // parts)
        # An argument, not a constant of the program: it then serves other data of the same shape too.
        self.panel = jax.tree.map(jnp.asarray, objectives.panel_arrays(dataset))
        self.state: Any = None
        self.seconds_per_batch = 0.0  # of all lanes, as last measured; 0 until then
        self._start_of_seed: dict[int, NetworkState] = {}
        self._windows_of_series: dict[str | None, RunWindows] = {}
        windows_axis = None if self.shares_windows else 0
        advance = self._over_lanes(self._train_steps, (0, 0, 0, None, None, windows_axis, None))
        self._advance = jax.jit(advance, donate_argnums=(0, 1))
        self._validate = jax.jit(self._over_lanes(self._validation_pass, (0, windows_axis, None)))

    def _room(self, span: str) -> int:
        """Most windows of `span` that a run may have.

        For single series it is rounded up to a power of two, so that more data sets share a program.
        """
        index = self.dataset.origins(span, self.lookback)
        if self.shares_windows:
            return len(index)
        longest = int(np.bincount(index[:, 0]).max())
        return 1 << (longest - 1).bit_length()

    def _batches(self, count: int) -> int:
        """Batches of an epoch on `count` windows."""
        batches = -(-count // self.size)
        return min(batches, self.dataset.training.steps or batches)

    def windows(self, series: str | None) -> RunWindows:
        """Return the windows of a run of `series`, or of all series together."""
        if series not in self._windows_of_series:
            training, validation = (
                self.dataset.origins(span, self.lookback, series) for span in ("train", "validation")
            )
            arrays = {
                "training": np.resize(training, (self.room, 2)),
                "count": np.int32(len(training)),
                "validation": np.resize(validation, (*self.parts, 2)),
                "validated": np.int32(len(validation)),
            }
            if self.shares_windows:
                arrays = jax.tree.map(jnp.asarray, arrays)
            shape = len(validation), self.dataset.preprocessing.horizon
            self._windows_of_series[series] = RunWindows(arrays, len(training), self._batches(len(training)), shape)
        return self._windows_of_series[series]

    def stacked_windows(self, by_slot: Mapping[int, RunWindows]) -> Any:
        """Return the arrays of the windows of every lane, stacked; where all lanes have the same, once.

        `by_slot` has those of the lanes that train; an idle lane gets those of another one.
        """
        any_windows = next(iter(by_slot.values()))
        if self.shares_windows:
            return any_windows.arrays
        of_lanes = [by_slot.get(slot, any_windows).arrays for slot in range(self.width)]
        return jax.tree.map(lambda *arrays: np.stack(arrays), *of_lanes)

    def _over_lanes(self, function: Callable[..., Any], axes: tuple[int | None, ...]) -> Callable[..., Any]:
        """`function` of one lane, mapped over all of them; `axes` are the lane axes of its arguments.

        A single lane is not mapped: with a batch axis of one, XLA would multiply slowly.
        """
        if self.width > 1:
            return jax.vmap(function, in_axes=axes)

        def of_single_lane(*arguments: Any) -> Any:
            without_axis = [
                argument if axis is None else jax.tree.map(lambda array: array[0], argument)
                for argument, axis in zip(arguments, axes, strict=True)
            ]
            return jax.tree.map(lambda array: array[None], function(*without_axis))

        return of_single_lane

    def initial_state(self, run: Run) -> NetworkState:
        """Return the state in which `run` begins.

        The weights are drawn once per seed: neither learning rate nor dropout changes what is drawn.
        """
        if run.seed not in self._start_of_seed:
            network = keras_fit.compiled_network(self.dataset, run)
            network.optimizer.build(network.trainable_variables)
            self._start_of_seed[run.seed] = NetworkState(
                [np.array(variable.value) for variable in network.trainable_variables],
                [np.array(variable.value) for variable in network.non_trainable_variables],
                [np.array(variable.value) for variable in network.optimizer.variables],
            )
        start, settings, network = self._start_of_seed[run.seed], run.configuration, self.network
        network.optimizer.build(network.trainable_variables)
        fixed = start.fixed
        if self.objective.plugin is None:  # the siblings of a plug-in agree in the dropout
            fixed = _with_value(fixed, network.non_trainable_variables, "rate", settings.dropout)
        return NetworkState(
            start.trainable,
            fixed,
            _with_value(start.slots, network.optimizer.variables, "learning_rate", settings.learning_rate),
        )

    def final_weights(self, state: NetworkState) -> list[np.ndarray]:
        """Return the arrays in the `state` of one lane that make a trained model, see `objectives.final_weights`."""
        return [*state.trainable, *(state.fixed[number] for number in self._kept)]

    def put(self, slot: int, state: NetworkState) -> None:
        """Put a run with this `state` into lane `slot`."""
        if self.state is None:
            self.state = jax.tree.map(lambda array: jnp.asarray(np.stack([array] * self.width)), state)
            return
        of_lanes = jax.tree.map(np.array, self.state)
        for lanes, array in zip(jax.tree.leaves(of_lanes), jax.tree.leaves(state), strict=True):
            lanes[slot] = array
        self.state = jax.tree.map(jnp.asarray, of_lanes)

    def set_learning_rates(self, by_slot: Mapping[int, float]) -> None:
        """Set the learning rate of each lane in `by_slot`."""
        at = [variable.name for variable in self.network.optimizer.variables].index("learning_rate")
        rates = np.array(self.state.slots[at])
        for slot, rate in by_slot.items():
            rates[slot] = rate
        self.state.slots[at] = jnp.asarray(rates)

    def advance(self, sums: Any, positions: Any, batches: tuple[int, int], windows: Any) -> Any:
        """Train all lanes on the `batches` [start, stop) and return their `sums` (width, 2) of loss and error so far.

        `positions` (width, steps, size) are the windows of each batch, as rows of the training windows.
        """
        start, stop = batches
        self.state, sums = self._advance(self.state, sums, positions, start, stop, windows, self.panel)
        return sums

    def validate(self, windows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return, for all lanes, the objective's output (width, n, horizon) on validation, its mean loss and error."""
        output, losses, errors = map(np.asarray, self._validate(self.state, windows, self.panel))
        return output, losses, errors

    def states(self) -> list[NetworkState]:
        """Return the state of each lane, as NumPy arrays."""
        of_lanes = jax.tree.map(np.asarray, self.state)
        return [jax.tree.map(lambda array, slot=slot: array[slot], of_lanes) for slot in range(self.width)]

    def _train_steps(
        self,
        state: NetworkState,
        sums: Any,
        positions: Any,
        start: Any,
        stop: Any,
        windows: dict[str, Any],
        panel: dict[str, Any],
    ) -> Any:
        """One lane after the batches [start, stop) of `positions` (steps, size), and its sums of loss and error.

        The last batch is padded with windows of weight zero; like the others it is its own mean. Batches beyond those
        of the lane's own `windows`, which a longer lane still trains on, leave it as it is.
        """
        optimizer = self.network.optimizer
        count = self.room if self.shares_windows else windows["count"]

        def criterion(trainable: Any, fixed: Any, inputs: Any, target: Any, weights: Any) -> Any:
            output, fixed = self.network.stateless_call(trainable, fixed, inputs, training=True)
            mean = jnp.sum(weights * self.objective.loss(target, output)) / self.size
            error = jnp.sum(weights * self.objective.error(target, output)) / self.size
            return mean, (fixed, error)

        def train_batch(number: Any, carry: Any) -> Any:
            (trainable, fixed, slots), sums = carry
            real = jnp.minimum(self.size, count - number * self.size)
            weights = jnp.where(jnp.arange(self.size) < real, self.size / real, 0.0)
            inputs, target = self.objective.read(panel, windows["training"][positions[number]], jnp)
            gradient = jax.value_and_grad(criterion, has_aux=True)
            (loss, (fixed, error)), gradients = gradient(trainable, fixed, inputs, target, weights)
            trainable, slots = optimizer.stateless_apply(slots, gradients, trainable)
            after = NetworkState(list(trainable), list(fixed), list(slots)), sums + jnp.stack([loss, error])
            if self.shares_windows or self.width == 1:
                return after
            return jax.tree.map(lambda new, old: jnp.where(number * self.size < count, new, old), after, carry)

        return jax.lax.fori_loop(start, stop, train_batch, (state, sums))

    def _validation_pass(self, state: NetworkState, windows: dict[str, Any], panel: dict[str, Any]) -> Any:
        """The objective's output (n, horizon) of one lane over the validation span, its mean loss and mean error."""
        objective = self.objective

        def of_part(index: Any) -> tuple[Any, ...]:
            inputs, target = objective.read(panel, index, jnp, context=False)
            output = self.network.stateless_call(state.trainable, state.fixed, inputs, training=False)[0]
            judged = (objective.validation_output, objective.loss, objective.error)
            return tuple(function(target, output) for function in judged)

        parts = jax.lax.map(of_part, windows["validation"])
        output, losses, errors = (values.reshape((-1, *values.shape[2:])) for values in parts)
        if self.shares_windows:
            count = self.validated
            return output[:count], jnp.mean(losses[:count]), jnp.mean(errors[:count])
        real = jnp.arange(len(losses)) < windows["validated"]
        loss, error = (jnp.sum(jnp.where(real, values, 0.0)) / windows["validated"] for values in (losses, errors))
        return output, loss, error


def _with_value(values: list[Any], variables: list[Any], name: str, value: float) -> list[Any]:
    """`values` with `value` in place of that of each of the `variables` called `name`."""
    pairs = zip(values, variables, strict=True)
    return [np.asarray(value, array.dtype) if variable.name == name else array for array, variable in pairs]
