"""The networks of detectors."""

import numpy as np
import pytest

from gridcast.config import Configuration

pytestmark = pytest.mark.usefixtures("jax_backend")

N, LOOKBACK, SENSORS = 3, 5, 2
STEPS = {"reconstruction": LOOKBACK, "prediction": 1, "both": LOOKBACK + 1}


def network(seed=0, portable=False, **settings):
    from gridcast.models import autoencoder

    own = {"layer": "GRU", "units": 3, "latent": 2, "detector": "both", "lookback": LOOKBACK} | settings
    return autoencoder.build_autoencoder(
        Configuration(**own), autoencoder.AutoencoderShape(LOOKBACK, SENSORS), seed, portable=portable
    )


def history(seed=0):
    return {"history": np.random.default_rng(seed).normal(size=(N, LOOKBACK, SENSORS)).astype(np.float32)}


@pytest.mark.parametrize(
    "settings",
    [
        {"detector": "reconstruction"},
        {"detector": "prediction", "layer": "LSTM"},
        {"detector": "both", "layers": 2, "bidirectional": True, "attention": True},
    ],
    ids=lambda settings: settings["detector"],
)
def test_a_network_and_its_portable_twin_answer_the_same(settings):
    own = network(3, **settings)
    answer = own.predict_on_batch(history())
    assert answer.shape == (N, STEPS[settings["detector"]], SENSORS)
    twin = network(portable=True, **settings)
    twin.set_weights([np.array(weight) for weight in own.trainable_weights])
    np.testing.assert_allclose(twin.predict_on_batch(history()), answer, rtol=1e-5, atol=1e-6)


def test_the_output_depends_on_a_window_through_its_latent_numbers_only():
    import keras

    own = network(layers=2)
    encoder = keras.Model(own.inputs, own.get_layer("latent").output)
    assert encoder.output.shape == (None, 2)
    decoder = keras.Model(own.get_layer("latent").output, own.outputs)
    np.testing.assert_allclose(
        decoder.predict_on_batch(encoder.predict_on_batch(history())), own.predict_on_batch(history()), rtol=1e-5
    )
