"""Compiled networks answer as Keras does, however many windows there are."""

from dataclasses import replace

import numpy as np
import pytest

from gridcast.runtime.forecaster import Forecaster
from gridcast.runtime.per_series import Route, RoutedNetwork, Routes
from small_experiments import SMALL, planned, sales

pytestmark = pytest.mark.usefixtures("jax_backend")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("compiled"), sales(130), **SMALL)


@pytest.fixture(scope="module")
def network(own, jax_backend):
    from gridcast.training import objectives

    return objectives.objective_of(own.dataset, own.reference_run).build(0, portable=True)


def read(network, count):
    random = np.random.default_rng(0)
    found = {}
    for tensor in network.inputs:
        size = (count, *tensor.shape[1:])
        codes = tensor.dtype == "int32"
        found[tensor.name] = random.integers(0, 2, size).astype(np.int32) if codes else random.normal(size=size)
    return found


@pytest.mark.parametrize("count", [1, 2, 8, 9, 65, 513, 1100])
def test_its_answers_are_those_of_keras(network, count):
    from gridcast.serving.models.compiled_network import compile_network

    given = read(network, count)
    found = compile_network(network).predict_on_batch(given | {"unknown": np.zeros(count)})
    np.testing.assert_allclose(found, network.predict_on_batch(given), atol=1e-5)


@pytest.mark.usefixtures("one_batch_size")
@pytest.mark.parametrize("layer", ["linear", "nhits"])
def test_networks_that_forecast_all_steps_at_once_are_compiled_too(own, layer):
    from gridcast.serving.models.compiled_network import compile_network
    from gridcast.training import objectives

    settings = own.reference_run.configuration.model_copy(update={"layer": layer})
    network = objectives.objective_of(own.dataset, replace(own.reference_run, configuration=settings)).build(
        0, portable=True
    )
    random = np.random.default_rng(1)
    network.set_weights([random.normal(size=weight.shape) for weight in network.get_weights()])
    given = read(network, 3)
    found = compile_network(network).predict_on_batch(given)
    np.testing.assert_allclose(found, network.predict_on_batch(given), rtol=1e-4, atol=1e-5)


def test_networks_of_one_architecture_share_a_program_and_keep_their_weights(network):
    from gridcast.serving.models.compiled_network import compile_network

    given = read(network, 3)
    first = compile_network(network)
    before, kept = first.predict_on_batch(given), network.get_weights()
    network.set_weights([weight + 0.1 for weight in kept])
    second = compile_network(network)
    network.set_weights(kept)
    assert second.program is first.program
    np.testing.assert_array_equal(first.predict_on_batch(given), before)
    assert not np.allclose(second.predict_on_batch(given), before)


def test_a_forecaster_of_many_networks_has_each_compiled(own, network):
    from gridcast.serving.models import compiled_network

    kept = network.get_weights()
    members = {"a": RoutedNetwork(network, kept), "b": RoutedNetwork(network, [weight + 0.1 for weight in kept])}
    routes = Routes((Route("one", 7, "a"), Route("other", 7, "b")), members, 2)
    made = compiled_network.compile_forecaster(Forecaster(own.dataset.preprocessing, routes))
    assert {type(member) for member in made.network.members.values()} == {compiled_network.CompiledNetwork}
    given = read(network, 6)
    np.testing.assert_allclose(made.network.predict_on_batch(given), routes.predict_on_batch(given), atol=1e-5)
    network.set_weights(kept)
    single = Forecaster(own.dataset.preprocessing, network)
    team = compiled_network.compile_forecaster(
        replace(single, network=None, members=(single, single), weights=(0.5, 0.5))
    )
    assert {type(member.network) for member in team.members} == {compiled_network.CompiledNetwork}
