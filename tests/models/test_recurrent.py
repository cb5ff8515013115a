"""The recurrent forecaster in every form that the grid can ask for."""

import itertools
import json
import zipfile

import numpy as np
import pytest

from gridcast.config import Configuration

pytestmark = pytest.mark.usefixtures("jax_backend")

FORMS = list(itertools.product(["GRU", "LSTM"], [False, True], [False, True], [1, 2]))
N, LOOKBACK, CHANNELS, HORIZON, AHEAD = 3, 5, 4, 2, 3


def configuration(layer="GRU", bidirectional=False, attention=True, layers=1):
    return Configuration(
        layer=layer, bidirectional=bidirectional, attention=attention, layers=layers, units=6, lookback=LOOKBACK
    )


def full_shape():
    from gridcast.models.recurrent import NetworkShape

    return NetworkShape(LOOKBACK, CHANNELS, HORIZON, AHEAD, series=4, categories=(3, 2))


def windows(seed=0):
    random = np.random.default_rng(seed)
    return {
        "history": random.normal(size=(N, LOOKBACK, CHANNELS)).astype(np.float32),
        "ahead": random.normal(size=(N, HORIZON, AHEAD)).astype(np.float32),
        "series": np.array([0, 3, 1], np.int32),
        "static": np.array([[0, 1], [2, 0], [1, 1]], np.int32),
    }


def parameters(form, shape):
    """How many weights the network must have, from the equations of its layers."""
    layer, bidirectional, attention, layers = form
    units, width, total = 6, shape.channels, 0
    for _ in range(layers):
        gates, biases = {"GRU": (3, 2), "LSTM": (4, 1)}[layer]  # Keras's GRU has two biases a gate
        total += (1 + bidirectional) * gates * (width * units + units**2 + biases * units)
        width = units * (1 + bidirectional)
    if attention:
        total += width * units + units + units
    context = width + shape.horizon * shape.ahead
    embedded = ([shape.series] if shape.series > 1 else []) + list(shape.categories)
    for codes in embedded:
        total += codes * int(np.ceil(np.sqrt(codes)))
        context += int(np.ceil(np.sqrt(codes)))
    return total + (context + 1) * shape.horizon


def trained(network):
    """How many weights are trained; the rate of a dropout is a value of the network too."""
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_shapes_and_weights_of_its_equations(form):
    from gridcast.models.recurrent import build_recurrent

    network = build_recurrent(configuration(*form), full_shape())
    assert {tensor.name: tensor.shape for tensor in network.inputs} == {
        "history": (None, LOOKBACK, CHANNELS),
        "ahead": (None, HORIZON, AHEAD),
        "series": (None,),
        "static": (None, 2),
    }
    assert network.output_shape == (None, HORIZON)
    assert trained(network) == parameters(form, full_shape())


@pytest.mark.parametrize(
    "form",
    [
        ("GRU", False, False, 1),
        ("LSTM", False, True, 1),
        ("GRU", True, False, 1),
        ("GRU", False, True, 2),
        ("LSTM", True, True, 2),
    ],
)
def test_a_saved_network_and_its_portable_twin_forecast_the_same(form, tmp_path):
    import keras

    from gridcast.models.recurrent import build_recurrent

    network = build_recurrent(configuration(*form), full_shape(), seed=3)
    forecast = network.predict_on_batch(windows())
    assert forecast.shape == (N, HORIZON)

    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(again.predict_on_batch(windows()), forecast)

    twin = build_recurrent(configuration(*form), full_shape(), portable=True)
    twin.set_weights([np.array(weight) for weight in network.trainable_weights])
    np.testing.assert_allclose(twin.predict_on_batch(windows()), forecast, atol=1e-6)
    twin.save(tmp_path / "twin.keras")
    with zipfile.ZipFile(tmp_path / "twin.keras") as file:
        saved = file.read("config.json").decode()
    assert "gridcast" not in saved
    assert json.loads(saved)["class_name"] == "Functional"


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ({}, {"history"}),
        ({"ahead": 2}, {"history", "ahead"}),
        ({"series": 3}, {"history", "series"}),
        ({"categories": (2,)}, {"history", "static"}),
    ],
)
def test_a_network_has_inputs_only_for_existing_columns(sizes, names):
    from gridcast.models.recurrent import NetworkShape, build_recurrent

    shape = NetworkShape(LOOKBACK, CHANNELS, HORIZON, **sizes)
    network = build_recurrent(configuration(attention=False), shape)
    assert {tensor.name for tensor in network.inputs} == names
    assert network.output_shape == (None, HORIZON)
    assert trained(network) == parameters(("GRU", False, False, 1), shape)


def test_every_input_reaches_the_forecast():
    from gridcast.models.recurrent import build_recurrent

    network = build_recurrent(configuration(), full_shape(), seed=3)
    forecast = network.predict_on_batch(windows())
    for name, values in windows().items():
        changed = network.predict_on_batch(windows() | {name: values[::-1].copy()}) != forecast
        assert changed[[0, 2]].all()  # the middle row stays where it is


@pytest.mark.parametrize("attention", [False, True])
def test_the_seed_decides_the_weights(attention):
    from gridcast.models.recurrent import build_recurrent

    built = (build_recurrent(configuration(attention=attention), full_shape(), seed) for seed in (1, 1, 2))
    drawn = [[np.array(weight) for weight in network.trainable_weights] for network in built]
    assert all(np.array_equal(a, b) for a, b in zip(drawn[0], drawn[1], strict=True))
    different = [not np.array_equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True) if np.any(a)]
    assert all(different)
    assert len(different) > 5


def test_stacked_layers_draw_differently():
    from gridcast.models.recurrent import build_recurrent

    network = build_recurrent(configuration(layers=3, attention=False), full_shape(), 1)
    second, third = (network.get_layer(f"recurrent_{depth}").get_weights()[1] for depth in (2, 3))
    assert second.shape == third.shape
    assert not np.allclose(second, third)


def test_the_dropout_of_the_grid_acts_after_every_recurrent_layer():
    from gridcast.models.recurrent import build_recurrent

    network = build_recurrent(configuration(layers=3).model_copy(update={"dropout": 0.35}), full_shape())
    assert [layer.rate for layer in network.layers if layer.name.startswith("dropout")] == [0.35] * 3


@pytest.mark.parametrize("layer", ["GRU", "LSTM"])
def test_no_layer_is_handed_to_cudnn(layer):
    """On a GPU Keras would, both directions of an LSTM at once: its kernel knows no lanes and sums otherwise."""
    import keras

    from gridcast.models.recurrent import build_recurrent

    network = build_recurrent(configuration(layer, bidirectional=True), full_shape())
    for one in (network, keras.models.model_from_json(network.to_json())):
        both = one.get_layer("bidirectional_1")
        assert (both.forward_layer.use_cudnn, both.backward_layer.use_cudnn) == (False, False)
