"""Additive attention, against the same computation in NumPy."""

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("jax_backend")
SEQUENCE = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
UNITS = 4


@pytest.fixture(scope="module")
def network(jax_backend):
    """The context of a sequence, with a bias (zero at first) that would tell a mistake."""
    import keras

    from gridcast.models.attention import AdditiveAttention

    attention = AdditiveAttention(UNITS, seed=1, name="attention")
    inputs = keras.Input(SEQUENCE.shape[1:])
    found = keras.Model(inputs, attention(inputs))
    attention.bias.assign(np.linspace(-1, 1, UNITS))
    return found


def naive(kernel, bias, score):
    """Equations 5 and 6 of the paper, window by window and step by step."""
    contexts, shares = [], []
    for steps in SEQUENCE.astype(float):
        scores = np.array([score[:, 0] @ np.tanh(kernel.T @ step + bias) for step in steps])
        shares.append(np.exp(scores) / np.exp(scores).sum())
        contexts.append(sum(share * step for share, step in zip(shares[-1], steps, strict=True)))
    return np.array(contexts), np.array(shares)


def test_context_and_shares_are_those_of_the_paper(network):
    import keras

    shares = keras.ops.convert_to_numpy(network.get_layer("attention").weights_of(SEQUENCE))
    context = network.predict_on_batch(SEQUENCE)
    expected_context, expected_shares = naive(*(w.astype(float) for w in network.get_weights()))
    np.testing.assert_allclose(context, expected_context, atol=1e-6)
    np.testing.assert_allclose(shares, expected_shares, atol=1e-6)
    assert shares.shape == (5, 7)
    assert shares.min() > 0
    assert np.ptp(shares) > 0.05  # not the same for every step
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


def test_the_layer_is_registered_and_comes_back_from_a_saved_file(network, tmp_path):
    import keras

    from gridcast.models.attention import AdditiveAttention

    network.save(tmp_path / "attention.keras")
    again = keras.saving.load_model(tmp_path / "attention.keras")
    layer = again.get_layer("attention")
    assert type(layer) is AdditiveAttention
    assert (layer.units, layer.seed) == (UNITS, 1)
    np.testing.assert_array_equal(again.predict_on_batch(SEQUENCE), network.predict_on_batch(SEQUENCE))


def test_stock_layers_compute_the_same_with_the_same_weights(network):
    import keras

    from gridcast.models.attention import stock_attention

    inputs = keras.Input(SEQUENCE.shape[1:])
    context = stock_attention(inputs, UNITS)
    stock = keras.Model(inputs, context)
    assert [w.shape for w in stock.get_weights()] == [w.shape for w in network.get_weights()]
    stock.set_weights(network.get_weights())
    both = keras.Model(inputs, [context, stock.get_layer("attention_weights").output])
    found, shares = both.predict_on_batch(SEQUENCE)
    np.testing.assert_allclose(found, network.predict_on_batch(SEQUENCE), atol=1e-6)
    weights = (w.astype(float) for w in network.get_weights())
    np.testing.assert_allclose(shares[:, :, 0], naive(*weights)[1], atol=1e-6)
