"""Answers are written down together, soon after they were given, and none is lost."""

import asyncio
import io
import json
import logging

import pytest

from gridcast.serving import access_log, json_logging
from gridcast.serving.prometheus import PrometheusMetrics
from gridcast.serving.request_context import RequestContext


@pytest.fixture
def log():
    stream, logger = io.StringIO(), logging.getLogger(json_logging.LOGGER_NAME)
    before, logger.handlers = logger.handlers, [logging.StreamHandler(stream)]
    yield stream
    logger.handlers = before


def visit(name, **known):
    return RequestContext(name, 0.0, "/predict", "/predict", **known)


def counted(counters):
    told = counters.text(type("Models", (), {"all": lambda _: [], "swaps": 0})()).decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in told if line.startswith(("gridcast_re", "gridcast_se"))}


def test_answers_of_a_moment_are_lines_of_the_log_and_counts_a_moment_later(log):
    counters = PrometheusMetrics()

    async def answer():
        own = access_log.AccessLog(counters)
        own.add(visit("a", model="sales", rows=7, series=2), "POST", 200)
        own.add(visit("b", key="k"), "POST", 422)
        assert not log.getvalue()
        await asyncio.sleep(5 * access_log.WRITE_DELAY)
        first = log.getvalue()
        own.add(visit("c"), "GET", 200)
        own.write()  # as the end of a service, or somebody who asks for the counts
        own.write()
        return first

    first = asyncio.run(answer())
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert first.count("\n") == 2
    assert [line["request"] for line in lines] == ["a", "b", "c"]
    assert lines[0].keys() == {"time", "level", "event", "request", "method", "route", "status", "model", "rows", "ms"}
    assert (lines[1]["key"], lines[1]["status"]) == ("k", 422)
    found = counted(counters)
    assert found['gridcast_requests_total{route="/predict",status="200"}'] == 2
    assert found['gridcast_requests_total{route="/predict",status="422"}'] == 1
    assert found['gridcast_series_total{model="sales"}'] == 2
