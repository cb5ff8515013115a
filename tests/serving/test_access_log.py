"""Access log entries are written in batches, soon after the responses, and none is lost."""

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


def context(name, **fields):
    return RequestContext(name, 0.0, "/predict", "/predict", **fields)


def counts(metrics):
    lines = metrics.render(type("Models", (), {"all": lambda _: [], "swaps": 0})()).decode().splitlines()
    return {
        line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(("gridcast_re", "gridcast_se"))
    }


def test_answers_of_a_moment_are_lines_of_the_log_and_counts_a_moment_later(log):
    metrics = PrometheusMetrics()

    async def answer():
        entries = access_log.AccessLog(metrics)
        entries.add(context("a", model="sales", rows=7, series=2), "POST", 200)
        entries.add(context("b", key="k"), "POST", 422)
        assert not log.getvalue()
        await asyncio.sleep(5 * access_log.WRITE_DELAY)
        first = log.getvalue()
        entries.add(context("c"), "GET", 200)
        entries.write()  # as at the end of a service, or for GET /metrics
        entries.write()
        return first

    first = asyncio.run(answer())
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert first.count("\n") == 2
    assert [line["request"] for line in lines] == ["a", "b", "c"]
    assert lines[0].keys() == {"time", "level", "event", "request", "method", "route", "status", "model", "rows", "ms"}
    assert (lines[1]["key"], lines[1]["status"]) == ("k", 422)
    found = counts(metrics)
    assert found['gridcast_requests_total{route="/predict",status="200"}'] == 2
    assert found['gridcast_requests_total{route="/predict",status="422"}'] == 1
    assert found['gridcast_series_total{model="sales"}'] == 2
