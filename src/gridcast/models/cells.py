"""GRU and LSTM with the weights and equations of Keras's layers, arranged to train faster on a CPU."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

State = list[Any]


def _loop(layer: Any, sequences: Any, first: Any, step: Any) -> tuple[Any, Any, State]:
    """Return the last output (n, units), all outputs (n, lookback, units) and the last state.

    `first` maps the first inputs (n, channels) to a state, whose first part is the output; `step` maps a state and
    inputs to the next state. The initial state is zero, and so is its product with the recurrent kernel and the
    gradient of it: the first step leaves the product out, which saves a seventh of the work at a lookback of 7.
    """
    steps = ops.swapaxes(sequences, 0, 1)
    if layer.go_backwards:
        steps = ops.flip(steps, axis=0)
    state = initial = first(steps[0])

    def body(state: Any, inputs: Any) -> tuple[Any, Any]:
        state = step(state, inputs)
        return state, state[0]

    state, later = ops.scan(body, initial, steps[1:])
    if not layer.return_sequences:
        return state[0], ops.expand_dims(state[0], 1), list(state)
    outputs = ops.concatenate([ops.expand_dims(initial[0], 0), later])
    return state[0], ops.swapaxes(outputs, 0, 1), list(state)


@keras.saving.register_keras_serializable(package="gridcast")
class GRU(keras.layers.GRU):
    """Gated recurrent unit whose reset gate is applied after the recurrent product, as in Keras's default.

    z = σ(W_z x + U_z h + b), r = σ(W_r x + U_r h + b), c = tanh(W_c x + b + r · (U_c h + b'))
    h' = z · h + (1 - z) · c
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args, **kwargs | {"use_cudnn": False}
        )  # it cannot be vectorised over lanes, and computes other equations

    def inner_loop(self, sequences: Any, *_: Any, **__: Any) -> tuple[Any, Any, State]:
        """Return the last output, all outputs and the last state over `sequences` (n, lookback, channels).

        The initial state is zero; masks are ignored.
        """
        cell = self.cell
        bias, inner_bias = cell.bias[0], cell.bias[1]

        def gates(inputs: Any, inner: Any) -> tuple[Any, Any]:
            """The update gate, and the share of the new candidate in the output."""
            x_update, x_reset, x_new = ops.split(ops.matmul(inputs, cell.kernel) + bias, 3, axis=-1)
            h_update, h_reset, h_new = ops.split(inner, 3, axis=-1)
            update = ops.sigmoid(x_update + h_update)
            return update, (1 - update) * ops.tanh(x_new + ops.sigmoid(x_reset + h_reset) * h_new)

        def first(inputs: Any) -> tuple[Any]:
            return (gates(inputs, ops.expand_dims(inner_bias, 0))[1],)

        def step(state: tuple[Any], inputs: Any) -> tuple[Any]:
            update, new = gates(inputs, ops.matmul(state[0], cell.recurrent_kernel) + inner_bias)
            return (update * state[0] + new,)

        return _loop(self, sequences, first, step)


@keras.saving.register_keras_serializable(package="gridcast")
class LSTM(keras.layers.LSTM):
    """Long short-term memory.

    i, f, o = σ(W x + U h + b), g = tanh(W_g x + U_g h + b), c' = f · c + i · g, h' = o · tanh(c')
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args, **kwargs | {"use_cudnn": False}
        )  # it cannot be vectorised over lanes, and computes other equations

    def inner_loop(self, sequences: Any, *_: Any, **__: Any) -> tuple[Any, Any, State]:
        """Return the last output, all outputs and the last state over `sequences` (n, lookback, channels).

        The initial state is zero; masks are ignored.
        """
        cell = self.cell

        def first(inputs: Any) -> tuple[Any, Any]:
            enter, _, new, leave = ops.split(ops.matmul(inputs, cell.kernel) + cell.bias, 4, axis=-1)
            carry = ops.sigmoid(enter) * ops.tanh(new)
            return ops.sigmoid(leave) * ops.tanh(carry), carry

        def step(state: tuple[Any, Any], inputs: Any) -> tuple[Any, Any]:
            hidden, carry = state
            activations = ops.matmul(inputs, cell.kernel) + ops.matmul(hidden, cell.recurrent_kernel) + cell.bias
            enter, forget, new, leave = ops.split(activations, 4, axis=-1)
            carry = ops.sigmoid(forget) * carry + ops.sigmoid(enter) * ops.tanh(new)
            return ops.sigmoid(leave) * ops.tanh(carry), carry

        return _loop(self, sequences, first, step)
