"""Networks as compiled programs of fixed shapes, which run in a fraction of a millisecond.

Keras's own `predict` sets up a data pipeline in each call and keeps state in the network, so that two threads cannot
use it at once. A compiled network no longer needs Keras: it can be sent to another process that never imports it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.export
import numpy as np

from gridcast.runtime.detector import Detector, with_latent_output
from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.per_series import Routes
from gridcast.runtime.sampling import NetworkWeights, State
from gridcast.serving.cancellation import check_cancelled

BATCH_SIZES = (1, 4, 16, 64, 512)
"""Windows of each program: a smaller batch is padded, a larger one is split into batches of the largest size."""


@dataclass(frozen=True)
class ExportedProgram:
    """The networks of one architecture: `exported` programs, one for each of BATCH_SIZES.

    `inputs` holds shape and type of each input of the network by its name.
    """

    exported: tuple[bytes, ...]
    inputs: Mapping[str, tuple[tuple[int, ...], str]]

    def for_batch_size(self, size: int) -> Callable[[Any, Mapping[str, np.ndarray]], Any]:
        """Return the function of weights and inputs for `size` windows, one of BATCH_SIZES."""
        return _compiled_program(self.exported[BATCH_SIZES.index(size)])


@dataclass(frozen=True)
class CompiledNetwork:
    """A compiled program with the `weights` of one network; it takes the place of a Keras network."""

    program: ExportedProgram
    weights: Any

    def warm_up(self) -> None:
        """Compile for every batch size, so that no request has to wait for it."""
        for size in BATCH_SIZES:
            self.predict_on_batch(
                {name: np.zeros((size, *shape), kind) for name, (shape, kind) in self.program.inputs.items()}
            )

    def predict_on_batch(self, inputs: Mapping[str, np.ndarray]) -> Any:
        """Return the output (n, ...) for `inputs` by name; a list if the network has several outputs.

        Arrays that the network does not read are ignored.
        """
        arrays = {name: np.asarray(inputs[name], kind) for name, (_, kind) in self.program.inputs.items()}
        count = len(next(iter(arrays.values())))
        batches = []
        for start in range(0, count, BATCH_SIZES[-1]):
            check_cancelled()
            batch = {name: values[start : start + BATCH_SIZES[-1]] for name, values in arrays.items()}
            rows = min(count - start, BATCH_SIZES[-1])
            size = next(size for size in BATCH_SIZES if size >= rows)
            if size > rows:
                batch = {name: _padded(values, size) for name, values in batch.items()}
            outputs = self.program.for_batch_size(size)(self.weights, batch)
            has_several = isinstance(outputs, (list, tuple))
            batches.append([np.asarray(output)[:rows] for output in (outputs if has_several else [outputs])])
        whole = batches[0] if len(batches) == 1 else [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        return whole if has_several else whole[0]


@dataclass(frozen=True)
class CancellableWeights(NetworkWeights):
    """Weights of which sample paths are drawn as long as somebody waits for them."""

    def step(self, common: np.ndarray, recent: np.ndarray, states: list[State]) -> tuple[np.ndarray, list[State]]:
        """Return raw parameters and states as NetworkWeights does."""
        check_cancelled()
        return super().step(common, recent, states)


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    padded = np.zeros((size, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


@functools.lru_cache(maxsize=32 * len(BATCH_SIZES))
def _compiled_program(exported: bytes) -> Callable[[Any, Mapping[str, np.ndarray]], Any]:
    return jax.jit(jax.export.deserialize(bytearray(exported)).call)


@functools.lru_cache(maxsize=32)
def export_program(architecture: str) -> ExportedProgram:
    """Return the program of a network's `architecture`, in JSON: the same for every version with that architecture."""
    import keras

    return _exported(keras.models.model_from_json(architecture))


def _exported(network: Any) -> ExportedProgram:
    inputs = {tensor.name: (tuple(tensor.shape[1:]), str(tensor.dtype)) for tensor in network.inputs}

    def run(weights: Any, arrays: Mapping[str, Any]) -> Any:
        trainable, non_trainable = weights
        return network.stateless_call(trainable, non_trainable, dict(arrays), training=False)[0]

    weights = tuple(
        [jax.ShapeDtypeStruct(variable.shape, variable.dtype) for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    )
    exported = []
    for size in BATCH_SIZES:
        arrays = {name: jax.ShapeDtypeStruct((size, *shape), kind) for name, (shape, kind) in inputs.items()}
        exported.append(bytes(jax.export.export(jax.jit(run))(weights, arrays).serialize()))
    return ExportedProgram(tuple(exported), inputs)


def compile_network(network: Any) -> CompiledNetwork:
    """Return a Keras `network` on JAX, compiled and warm."""
    from gridcast.training.carried_code import foreign_objects

    weights = tuple(
        [jax.numpy.asarray(np.asarray(variable)) for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables)
    )
    # Layers of plug-ins may have one name and other code in another version.
    is_own = foreign_objects(network)
    compiled = CompiledNetwork(_exported(network) if is_own else export_program(network.to_json()), weights)
    compiled.warm_up()
    return compiled


def compile_forecaster(forecaster: Forecaster) -> Forecaster:
    """Return the forecaster with compiled networks.

    Of a network whose sample paths are drawn only the weights are kept: NumPy steps them, see `runtime/sampling.py`.
    """
    if forecaster.members:
        return dataclasses.replace(forecaster, members=tuple(map(compile_forecaster, forecaster.members)))
    if forecaster.routes:
        # Compiled members share no state, so they need no lock; and a lock could not be sent to another process.
        routes = dataclasses.replace(
            forecaster.network, members=_compile_members(forecaster.network), lock=contextlib.nullcontext()
        )
        return dataclasses.replace(forecaster, network=routes)
    if forecaster.baseline is not None:
        return forecaster
    is_sampled = forecaster.quantiles is not None and forecaster.quantiles.sampled
    network = CancellableWeights.of(forecaster.network) if is_sampled else compile_network(forecaster.network)
    return dataclasses.replace(forecaster, network=network)


def _compile_members(routes: Routes) -> dict[str, CompiledNetwork]:
    """The networks of the routes; those of one architecture share a Keras network, which takes on their weights."""
    compiled = {}
    for name, member in routes.members.items():
        member.network.set_weights(member.weights)
        compiled[name] = compile_network(member.network)
    return compiled


def compile_detector(detector: Detector) -> Detector:
    """Return the detector with compiled networks."""
    if detector.members:
        return dataclasses.replace(detector, members=tuple(map(compile_detector, detector.members)))
    if detector.is_simple:
        return detector
    return dataclasses.replace(detector, network=compile_network(with_latent_output(detector.network)))


def warm_up(model: Forecaster | Detector) -> None:
    """Compile the networks of a model that came from another process, so that no request has to wait for it."""
    for member in (model, *model.members):
        networks = member.network.members.values() if isinstance(member.network, Routes) else [member.network]
        for network in networks:
            if isinstance(network, CompiledNetwork):
                network.warm_up()
