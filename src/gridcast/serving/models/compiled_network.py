"""Networks as compiled programs of fixed shapes, which answer in a fraction of a millisecond.

Keras's own `predict` prepares for data without end, anew at each call, and keeps state in the
network, so that no two threads may ask it at once. A compiled network has left Keras behind: it goes
from the process that made it to another one, which need not import Keras.
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

from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.per_series import Routes
from gridcast.runtime.sampling import NetworkWeights

BATCH_SIZES = (1, 4, 16, 64, 512)
"""Windows of each compiled program: fewer are filled up, more go through the largest one after the other."""


@dataclass(frozen=True)
class ExportedProgram:
    """Networks of one architecture: `exported` for each of SIZES; `inputs` are the shapes and types it reads."""

    exported: tuple[bytes, ...]
    inputs: Mapping[str, tuple[tuple[int, ...], str]]

    def of(self, size: int) -> Callable[[Any, Mapping[str, np.ndarray]], Any]:
        """What answers `size` windows, one of SIZES, given the weights and what is read of them."""
        return _callable(self.exported[BATCH_SIZES.index(size)])


@dataclass(frozen=True)
class CompiledNetwork:
    """What answers in a network's place, with its `weights`."""

    program: ExportedProgram
    weights: Any

    def warm(self) -> None:
        """Compile for every size, so that no question waits for it."""
        for size in BATCH_SIZES:
            self.predict_on_batch(
                {name: np.zeros((size, *shape), kind) for name, (shape, kind) in self.program.inputs.items()}
            )

    def predict_on_batch(self, read: Mapping[str, np.ndarray]) -> Any:
        """The network's answers (n, ...) to `read`, its inputs by name; of others it takes no notice.

        A list where the network has several outputs.
        """
        own = {name: np.asarray(read[name], kind) for name, (_, kind) in self.program.inputs.items()}
        count = len(next(iter(own.values())))
        found = []
        for start in range(0, count, BATCH_SIZES[-1]):
            part = {name: values[start : start + BATCH_SIZES[-1]] for name, values in own.items()}
            rows = min(count - start, BATCH_SIZES[-1])
            size = next(size for size in BATCH_SIZES if size >= rows)
            if size > rows:
                part = {name: _filled(values, size) for name, values in part.items()}
            answers = self.program.of(size)(self.weights, part)
            several = isinstance(answers, (list, tuple))
            found.append([np.asarray(answer)[:rows] for answer in (answers if several else [answers])])
        whole = found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]
        return whole if several else whole[0]


def _filled(values: np.ndarray, size: int) -> np.ndarray:
    whole = np.zeros((size, *values.shape[1:]), values.dtype)
    whole[: len(values)] = values
    return whole


@functools.lru_cache(maxsize=32 * len(BATCH_SIZES))
def _callable(exported: bytes) -> Callable[[Any, Mapping[str, np.ndarray]], Any]:
    return jax.jit(jax.export.deserialize(bytearray(exported)).call)


@functools.lru_cache(maxsize=32)
def export_program(architecture: str) -> ExportedProgram:
    """The program of a network's `architecture`, in JSON: the same for every version that has it."""
    import keras

    network = keras.models.model_from_json(architecture)
    inputs = {tensor.name: (tuple(tensor.shape[1:]), str(tensor.dtype)) for tensor in network.inputs}

    def run(weights: Any, read: Mapping[str, Any]) -> Any:
        return network.stateless_call(*weights, dict(read), training=False)[0]

    kinds = network.trainable_variables, network.non_trainable_variables
    weights = tuple([jax.ShapeDtypeStruct(one.shape, one.dtype) for one in kind] for kind in kinds)
    exported = []
    for size in BATCH_SIZES:
        read = {name: jax.ShapeDtypeStruct((size, *shape), kind) for name, (shape, kind) in inputs.items()}
        exported.append(bytes(jax.export.export(jax.jit(run))(weights, read).serialize()))
    return ExportedProgram(tuple(exported), inputs)


def compile_network(network: Any) -> CompiledNetwork:
    """A Keras `network` on JAX, compiled and warm."""
    kinds = network.trainable_variables, network.non_trainable_variables
    weights = tuple([jax.numpy.asarray(np.asarray(variable)) for variable in kind] for kind in kinds)
    own = CompiledNetwork(export_program(network.to_json()), weights)
    own.warm()
    return own


def warm_up(model: Any) -> None:
    """Compile the networks of a forecaster or a detector that another process has made, so that no question waits."""
    for one in (model, *getattr(model, "members", ())):
        networks = one.network.members.values() if isinstance(one.network, Routes) else [one.network]
        for network in networks:
            if isinstance(network, CompiledNetwork):
                network.warm()


def compile_forecaster(given: Forecaster) -> Forecaster:
    """The same with every network compiled that answers at once.

    Of those whose sample paths are drawn the weights alone stay: they are stepped in numpy, see `models/sampling.py`.
    """
    if given.members:
        return dataclasses.replace(given, members=tuple(map(compile_forecaster, given.members)))
    if given.routes:
        # Nothing is shared any more, so that nobody need wait; and a lock would not leave its process.
        own = dataclasses.replace(given.network, members=_members(given.network), lock=contextlib.nullcontext())
        return dataclasses.replace(given, network=own)
    sampled = given.quantiles is not None and given.quantiles.sampled
    return dataclasses.replace(
        given, network=NetworkWeights.of(given.network) if sampled else compile_network(given.network)
    )


def _members(routes: Routes) -> dict[str, CompiledNetwork]:
    """Members of one shape share a network, which brings the weights of each in turn."""
    found = {}
    for name, member in routes.members.items():
        member.network.set_weights(member.weights)
        found[name] = compile_network(member.network)
    return found
