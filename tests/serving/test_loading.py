"""A version that another process loads answers as if it had been loaded here."""

import os
import pickle
from multiprocessing import util

import numpy as np
import pandas as pd
import pytest
import warm_python

from gridcast.runtime.errors import TrackingError
from gridcast.runtime.forecaster import Forecaster
from gridcast.serving.models import loading
from gridcast.tracking import model_loading
from small_service import FRAME, KINDS, READINGS, WATCHED

pytestmark = pytest.mark.xdist_group("serving")
ALL = (*KINDS, WATCHED)


@pytest.fixture(scope="module")
def found(shop):
    return [model_loading.find_model(name, shop.uri) for name in ALL]


@pytest.fixture(scope="module")
def from_subprocess(shop, found, programs):
    return dict(zip(ALL, loading.load_in_subprocess(programs, found, shop.uri, niceness=0), strict=True))


def networks(model):
    if isinstance(model, Forecaster) and model.members:
        return [network for member in model.members for network in networks(member)]
    return list(model.network.members.values()) if getattr(model, "routes", ()) else [model.network]


@pytest.fixture
def _warm(monkeypatch):
    """The process that loads starts with the imports done."""
    monkeypatch.setattr(util, "spawnv_passfds", warm_python.fork)


@pytest.mark.parametrize("name", ALL)
def test_models_from_another_process_answer_the_same_without_keras(shop, found, from_subprocess, name):
    [here] = loading.load([found[ALL.index(name)]], shop.uri)
    there = from_subprocess[name]
    assert {type(network).__name__ for network in networks(there.model)} in (
        {"CompiledNetwork"},
        {"CancellableWeights"},
    )
    assert there.examples == here.examples
    table = READINGS if name == WATCHED else FRAME
    pd.testing.assert_frame_equal(there.model.predict(table), here.model.predict(table))


@pytest.mark.usefixtures("_warm")
def test_its_error_for_a_version_that_cannot_be_loaded_is_raised_here(shop, found, programs):
    missing = found[0].__class__(**vars(found[0]) | {"uri": "models:/nobody/7"})
    with pytest.raises(TrackingError, match="nobody"):
        loading.load_in_subprocess(programs, [missing], shop.uri, niceness=0)


@pytest.mark.usefixtures("_warm")
def test_a_process_that_dies_raises_an_error(found, programs):
    class Deadly:
        """Ends the process that unpickles it."""

        uri = found[0].uri

        def __reduce__(self):
            return os._exit, (1,)

    with pytest.raises(TrackingError, match="the process that loads it died"):
        loading.load_in_subprocess(programs, [Deadly()], None, niceness=0)


def test_programs_leave_their_process_as_they_are(from_subprocess):
    network = from_subprocess["sales"].model.network
    again = pickle.loads(pickle.dumps(network))
    read = {name: np.ones((3, *shape), kind) for name, (shape, kind) in network.program.inputs.items()}
    np.testing.assert_array_equal(again.predict_on_batch(read), network.predict_on_batch(read))
