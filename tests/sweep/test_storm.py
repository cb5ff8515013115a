"""A small storm: one sweep, disturbed in three ways, ends as if nothing had happened.

Outages are those of test_faults.py, interrupts those of test_end_to_end.py; `make storm` has all of them.
"""

import os

import pytest

import storm
from gridcast.sweep import worker_process

PLANNED = ("worker", "double", "parent")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The storm and its summary: `run_storm` compares what it left with an undisturbed sweep."""
    os.environ |= worker_process.WORKER_ENVIRONMENT
    grid = {"units": [4, 8], "learning_rate": [0.01, 0.003]}
    folder = tmp_path_factory.mktemp("storm")
    return storm.run_storm(1, folder, grid, 40, 0, PLANNED)


def test_every_run_key_is_finished_once_with_the_metrics_of_an_undisturbed_sweep(small):
    assert "4 run keys, 4 FINISHED, 0 duplicates, 0 RUNNING, metrics and curves" in small[1]
    assert set(small[0].seen) == set(PLANNED)


def test_a_killed_worker_does_not_end_the_sweep(small):
    assert small[0].seen["worker"] == [1]
    assert storm.RETRY_TEXT in small[0].output(None)


def test_the_workers_of_a_killed_parent_end_by_themselves(small):
    assert small[0].seen["parent"] == [2]


def test_of_two_starts_the_second_waits_for_the_first(small):
    (printed,) = small[0].seen["double"]
    assert storm.WAITING_TEXT in printed
