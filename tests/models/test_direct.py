"""Networks that forecast all steps at once: their shapes, what they read, and where training starts."""

import numpy as np
import pytest

from gridcast.config import Configuration

pytestmark = pytest.mark.usefixtures("jax_backend")

LAYERS = ("linear", "nhits")
N, LOOKBACK, HORIZON, CHANNELS, AHEAD = 3, 12, 4, 5, 3
FEATURES, UNKNOWN, LEVELS = 6, 2, 3


def configuration(layer, **settings):
    return Configuration(layer=layer, units=6, lookback=LOOKBACK, **settings)


def point(layer, seed=0, *, portable=False, sizes=None, **settings):
    from gridcast.models.direct import build_direct
    from gridcast.models.recurrent import NetworkShape

    sizes = {"channels": CHANNELS, "ahead": AHEAD, "series": 4, "categories": (3, 2)} if sizes is None else sizes
    shape = NetworkShape(lookback=LOOKBACK, horizon=HORIZON, **sizes)
    return build_direct(configuration(layer, **settings), shape, seed, portable=portable)


def quantiles(layer, seed=0, *, portable=False, **settings):
    from gridcast.models.autoregressive import AutoregressiveShape
    from gridcast.models.direct import build_direct_quantiles

    shape = AutoregressiveShape(LOOKBACK, HORIZON, FEATURES, LEVELS, (3, 2))
    own = configuration(layer, **settings)
    return build_direct_quantiles(own, shape, seed, unknown_features=UNKNOWN, portable=portable)


def windows():
    random = np.random.default_rng(0)
    return {
        "history": random.normal(size=(N, LOOKBACK, CHANNELS)).astype(np.float32),
        "ahead": random.normal(size=(N, HORIZON, AHEAD)).astype(np.float32),
        "signal": random.normal(size=(N, LOOKBACK + HORIZON, FEATURES)).astype(np.float32),
        "series": np.array([0, 3, 1], np.int32),
        "static": np.array([[0, 1], [2, 0], [1, 1]], np.int32),
    }


def answer(network, **changes):
    inputs = windows() | changes
    return np.asarray(network.predict_on_batch({one.name: inputs[one.name] for one in network.inputs}))


def drawn(network):
    """The network with random weights: its own make it forecast the last value."""
    random = np.random.default_rng(1)
    network.set_weights(
        [weight if weight.ndim == 0 else random.normal(size=weight.shape) / 3 for weight in network.get_weights()]
    )
    return network


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("build", [point, quantiles])
def test_the_portable_twin_is_of_stock_layers_and_forecasts_the_same_when_read_again(layer, build, tmp_path):
    import keras

    network, twin = drawn(build(layer, layers=2)), build(layer, layers=2, portable=True)
    twin.set_weights([np.array(weight) for weight in network.trainable_weights])
    twin.save(tmp_path / "twin.keras")
    assert "gridcast" not in twin.to_json()
    again = keras.saving.load_model(tmp_path / "twin.keras")
    np.testing.assert_allclose(answer(again), answer(network), rtol=1e-4, atol=1e-5)
    assert answer(network).shape == ((N, HORIZON) if build is point else (N, HORIZON, LEVELS))


@pytest.mark.parametrize("layer", LAYERS)
def test_before_training_the_forecast_is_the_last_value(layer):
    from gridcast.runtime.likelihoods import increasing_quantiles

    last = windows()["history"][:, -1:, 0]
    np.testing.assert_allclose(answer(point(layer)), np.repeat(last, HORIZON, axis=1), rtol=1e-6)
    last = windows()["signal"][:, LOOKBACK, None, :1]
    levels = increasing_quantiles(answer(quantiles(layer)), np)
    np.testing.assert_allclose(levels, last + np.broadcast_to([-1, 0, 1], (N, HORIZON, LEVELS)), atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_every_input_reaches_the_forecast(layer):
    network = drawn(point(layer))
    before = answer(network)
    for name in ("history", "ahead", "series", "static"):
        assert (answer(network, **{name: windows()[name][::-1].copy()}) != before)[[0, 2]].all()
    for channel in range(CHANNELS):
        history = windows()["history"]
        history[:, -1, channel] += 1
        assert (answer(network, history=history) != before).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_level_that_training_has_not_seen_moves_the_forecast_by_as_much(layer):
    network, history = drawn(point(layer)), windows()["history"]
    before = answer(network)
    history[:, :, 0] += 7
    np.testing.assert_allclose(answer(network, history=history), before + 7, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_quantiles_read_the_target_before_the_origin_and_no_lag_within_the_horizon(layer):
    network, signal = drawn(quantiles(layer)), windows()["signal"]
    before = answer(network)
    signal[:, LOOKBACK, 1:UNKNOWN] += 1
    signal[:, LOOKBACK + 1 :, :UNKNOWN] += 1
    np.testing.assert_array_equal(answer(network, signal=signal), before)
    for step in (1, LOOKBACK):
        changed = windows()["signal"]
        changed[:, step, 0] += 1
        assert (answer(network, signal=changed) != before).any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ({"channels": 1}, {"history"}),
        ({"channels": 2}, {"history"}),
        ({"channels": 3, "ahead": 2}, {"history", "ahead"}),
        ({"channels": 1, "series": 3}, {"history", "series"}),
        ({"channels": 1, "categories": (2,)}, {"history", "static"}),
    ],
)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_network_has_inputs_only_for_existing_columns(layer, sizes, names):
    network = point(layer, sizes=sizes)
    assert {tensor.name for tensor in network.inputs} == names
    assert network.output_shape == (None, HORIZON)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_seed_decides_the_weights_and_the_grid_the_dropout(layer):
    one, same, other = (point(layer, seed, dropout=0.35).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    rates = [layer.rate for layer in point(layer, dropout=0.35, portable=True).layers if "dropout" in layer.name]
    assert len(rates) >= 2
    assert set(rates) == {0.35}


def test_the_linear_map_has_a_weight_for_each_step_and_no_more():
    bare = point("linear", sizes={"channels": 1})
    assert sum(weight.size for weight in bare.get_weights() if weight.ndim) == (LOOKBACK + 1) * HORIZON


@pytest.mark.parametrize(
    ("lookback", "horizon", "expected"),
    [
        (1, 1, ((1, 1), (1, 1), (1, 1))),
        (24, 12, ((4, 4), (2, 2), (1, 1))),
        (168, 24, ((16, 8), (4, 3), (1, 1))),
        (500, 96, ((16, 8), (4, 3), (1, 1))),
    ],
)
def test_steps_of_the_stacks_follow_from_lookback_and_horizon(lookback, horizon, expected):
    from gridcast.models.nhits import stack_steps

    assert stack_steps(lookback, horizon) == expected


def test_a_path_passes_through_its_knots_and_is_straight_between_them():
    from gridcast.models.nhits import interpolation

    np.testing.assert_allclose([0, 4, 1] @ interpolation(8, 4), [0, 1, 2, 3, 4, 3, 2, 1])
    np.testing.assert_array_equal(interpolation(3, 1), np.eye(3))
    np.testing.assert_array_equal(interpolation(1, 1), [[1]])


def test_pools_are_counted_from_the_last_step():
    from gridcast.models.nhits import pooled

    values = np.array([[9, 1, 5, 2, 3]], np.float32)
    np.testing.assert_array_equal(pooled(values, 2), [[5, 3]])
    assert pooled(values, 1) is values
