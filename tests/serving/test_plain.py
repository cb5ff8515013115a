"""The shortest way to an answer: it says what the general one says, and leaves to it whatever is not plain."""

import copy
import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from gridcast.serving.models import forecaster_adapter
from gridcast.serving.payloads import fast_path, request_parsing, response_building, schemas
from gridcast.serving.rate_limits import RequestLimits
from small_service import DAYS, ENSEMBLE, POINT, QUANTILES, ROUTED, SAMPLED, WATCHED, question

pytestmark = pytest.mark.xdist_group("serving")
OTHERS = (ENSEMBLE, QUANTILES, ROUTED, SAMPLED, WATCHED)


@pytest.fixture(scope="module")
def models(server):
    """Those of a service, which are compiled."""
    return server.service.models


@pytest.fixture
def short(models):
    """The shortest way of a model that nothing was asked of yet."""
    return fast_path.Plain(models.get(POINT).model)


def parsed(asked):
    return schemas.PredictRequest.model_validate(asked)


def general(models, asked):
    """The question as it is asked the general way, and its answer."""
    served = models.get(asked["model"])
    read = request_parsing.parse_forecast(parsed(asked), served, RequestLimits(), dt.datetime(2100, 1, 1))
    [found] = forecaster_adapter.batch_forecasts(served.model, [read])
    return read, response_building.forecast_items(read, found, served)


def changed(asked, draw):
    """The same days with other values."""
    other = copy.deepcopy(asked)
    for step in other["series"][0]["history"]:
        step |= {name: float(draw.uniform(0, 300)) for name in step if name != "time"}
    return other


def test_other_values_on_the_same_days_get_the_answer_that_they_get_the_general_way(models, short):
    asked = question(POINT, 30)
    assert short.answer(parsed(asked)) is None
    for horizon in (1, None):
        one = asked | {"horizon": horizon}
        short.learn(parsed(one), general(models, one)[0])
    draw = np.random.default_rng(0)
    for series, horizon in (("apple", 1), ("apple", 2), ("pear", 1), ("pear", None)):
        other = changed(asked, draw) | {"horizon": horizon}
        other["series"][0]["id"] = series
        found, expected = short.answer(parsed(other)), general(models, other)[1]
        assert [one["id"] for one in found] == [series]
        assert len(found[0]["points"]) == (horizon or models.get(POINT).own.horizon)
        for one, wanted in zip(found[0]["points"], expected[0]["points"], strict=True):
            assert one == wanted | {"value": pytest.approx(wanted["value"], rel=1e-6)}


@pytest.mark.parametrize(
    "change",
    [
        lambda asked: asked["series"][0]["history"].pop(),
        lambda asked: asked["series"][0]["history"].reverse(),
        lambda asked: asked["series"][0].update(id="plum"),
        lambda asked: asked["series"][0].update(id=None),
        lambda asked: asked["series"].append(asked["series"][0] | {"id": "pear"}),
        lambda asked: asked["series"][0].update(future=[{"time": "2030-01-01"}]),
        lambda asked: asked.update(quantiles=[0.5]),
        lambda asked: asked.update(horizon=3),
        lambda asked: asked["series"][0]["history"][3].update(value=1e31),
        lambda asked: asked["series"][0]["history"][3].update(draught=1.0),
        *(
            lambda asked, value=value: asked["series"][0]["history"][3].update(price=value)
            for value in (True, "7", None, float("nan"), float("inf"), 10**400)
        ),
        lambda asked: asked["series"][0]["history"][3].pop("price"),
    ],
)
def test_what_is_not_plain_is_left_to_the_general_way(models, short, change):
    asked = question(POINT, 30, horizon=2)
    short.learn(parsed(asked), general(models, asked)[0])
    assert short.answer(parsed(asked))
    change(asked)
    assert short.answer(parsed(asked)) is None


def test_days_are_remembered_of_one_series_without_a_filled_step_and_not_for_ever(models, short, monkeypatch):
    monkeypatch.setattr(fast_path, "REMEMBERED", 2)
    both, *asked = question(POINT, 30, ("apple", "pear")), *(question(POINT, days) for days in (20, 21, 22))
    read = general(models, asked[0])[0]
    stretched = replace(read, placed=replace(read.placed, times=read.placed.times - np.timedelta64(1, "D")))
    short.learn(parsed(asked[0]), stretched)
    assert short.answer(parsed(asked[0])) is None
    for one in (both, *asked):
        short.learn(parsed(one), general(models, one)[0])
    assert [short.answer(parsed(one)) is None for one in (both, *asked)] == [True, True, True, False]


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_that_does_more_than_to_read_one_window_has_no_short_way(models, name):
    short = fast_path.Plain(models.get(name).model)
    if name != WATCHED:
        asked = question(name, DAYS)
        short.learn(parsed(asked), general(models, asked)[0])
        assert short.answer(parsed(asked)) is None
    assert short.answer(parsed(question(POINT, DAYS))) is None
