"""The networks of a probabilistic forecast, and paths sampled from them."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest

from gridcast.config import Configuration

pytestmark = pytest.mark.usefixtures("jax_backend")

N, LOOKBACK, HORIZON, LAGS = 3, 6, 5, (1, 2, 4, 6)
FEATURES = len(LAGS) + 3


def configuration(layer="GRU", layers=1):
    return Configuration(layer=layer, layers=layers, units=5, lookback=LOOKBACK)


def shape(parameters=3):
    from gridcast.models.autoregressive import AutoregressiveShape

    return AutoregressiveShape(LOOKBACK, HORIZON, FEATURES, parameters, categories=(3, 4))


def windows(seed=0):
    random = np.random.default_rng(seed)
    return {
        "signal": random.normal(size=(N, LOOKBACK + HORIZON, FEATURES)).astype(np.float32),
        "static": np.array([[0, 3], [2, 0], [1, 1]], np.int32),
    }


def drawn(network, seed=0):
    """The same network with weights so large that every one of them shows."""
    random = np.random.default_rng(seed)
    network.set_weights([random.normal(size=w.shape) * 0.4 if w.ndim else w for w in network.get_weights()])
    return network


def networks(*given, **more):
    from gridcast.models import autoregressive, quantile_regression

    return {
        "autoregressive": autoregressive.build_autoregressive(*given, **more),
        "direct": quantile_regression.build_quantile_regression(*given, unknown_features=2, **more),
    }


@pytest.mark.parametrize("layer", ["GRU", "LSTM"])
@pytest.mark.parametrize("kind", ["autoregressive", "direct"])
def test_a_network_and_its_portable_twin_answer_the_same(kind, layer, tmp_path):
    import keras

    network = drawn(networks(configuration(layer), shape(), 3)[kind])
    answer = network.predict_on_batch(windows())
    assert answer.shape == (N, HORIZON if kind == "direct" else LOOKBACK + HORIZON, 3)
    twin = networks(configuration(layer), shape(), portable=True)[kind]
    twin.set_weights([np.array(weight) for weight in network.trainable_weights])
    twin.save(tmp_path / "twin.keras")
    with zipfile.ZipFile(tmp_path / "twin.keras") as file:
        assert "gridcast" not in file.read("config.json").decode()
    again = keras.saving.load_model(tmp_path / "twin.keras")
    np.testing.assert_allclose(again.predict_on_batch(windows()), answer, atol=1e-6)


def changed(network, first, features):
    """Steps of the answer that change with these features of the signal from step `first` on."""
    other = windows()
    other["signal"][:, first:, features] += 1
    before, after = (network.predict_on_batch(read) for read in (windows(), other))
    return np.flatnonzero(np.any(before != after, axis=(0, 2))).tolist()


def test_no_step_reads_a_later_one():
    network = drawn(networks(configuration("LSTM", 2), shape())["autoregressive"])
    assert changed(network, 8, slice(None)) == [8, 9, 10]


def test_quantiles_read_no_lag_within_the_horizon():
    network = drawn(networks(configuration(), shape())["direct"])
    assert changed(network, LOOKBACK, slice(0, 2)) == []
    assert changed(network, LOOKBACK + 2, slice(2, None)) == [2, 3, 4]
    assert changed(network, LOOKBACK - 1, slice(0, 2)) == [0, 1, 2, 3, 4]


def test_the_seed_decides_the_weights():
    for kind in ("autoregressive", "direct"):
        one, same, other = (networks(configuration(), shape(), seed)[kind].get_weights() for seed in (1, 1, 2))
        assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
        assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def sampled(network, count, seed=0, horizon=HORIZON, seen=None):
    from gridcast.runtime import sampling
    from gridcast.runtime.likelihoods import LIKELIHOODS
    from gridcast.runtime.windows import WindowInputs

    own = LIKELIHOODS["student-t"]

    def draw(raw, scale, generator):
        if seen is not None:
            seen.append(raw)
        return own.draw(raw, scale, generator)

    read = windows() | {"signal": windows()["signal"][:, : LOOKBACK + horizon]}
    inputs = WindowInputs(read, np.zeros(len(SCALES)), SCALES, LOOKBACK, LAGS)
    return sampling.sample_paths(network, replace(own, draw=draw), inputs, count=count, seed=seed)


SCALES = np.array([1.0, 10.0, 0.1])


@pytest.mark.parametrize("layer", ["GRU", "LSTM"])
def test_each_step_of_a_path_is_drawn_from_the_distribution_after_the_steps_before(layer):
    network = drawn(networks(configuration(layer, 2), shape())["autoregressive"])
    seen = []
    path = sampled(network, 1, seen=seen)[:, 0] / SCALES[:, None]
    fed = windows()
    for step in range(HORIZON):
        for feature, lag in enumerate(LAGS):
            if lag <= step:
                fed["signal"][:, LOOKBACK + step, feature] = path[:, step - lag]
    np.testing.assert_allclose(np.stack(seen, axis=1), network.predict_on_batch(fed)[:, LOOKBACK:], atol=1e-5)


def test_paths_follow_from_their_seed_and_a_shorter_horizon_is_the_beginning_of_a_longer_one():
    network = networks(configuration(), shape())["autoregressive"]
    paths = sampled(network, 50)
    assert paths.shape == (N, 50, HORIZON)
    np.testing.assert_array_equal(paths, sampled(network, 50))
    assert not np.array_equal(paths, sampled(network, 50, seed=1))
    np.testing.assert_array_equal(sampled(network, 50, horizon=2), paths[:, :, :2])


def test_the_first_step_of_many_paths_has_the_quantiles_of_its_distribution():
    from scipy import stats

    network, seen = networks(configuration(), shape())["autoregressive"], []
    paths = sampled(network, 20_000, seen=seen, horizon=1)[:, :, 0]
    for window, path in enumerate(paths):
        location, spread, freedom = seen[window][0]
        other = stats.t(2 + np.logaddexp(0, freedom), location, np.logaddexp(0, spread) + 1e-4)
        for level in (0.1, 0.5, 0.9):
            share = np.mean(path / SCALES[window] <= other.ppf(level))
            assert share == pytest.approx(level, abs=5 * np.sqrt(level * (1 - level) / 20_000))
