"""How long a sweep may take."""

import pytest

from gridcast.sweep import time_estimate
from gridcast.sweep.worker_job import WorkerSettings
from small_experiments import SMALL, planned, sales

pytestmark = pytest.mark.usefixtures("jax_backend")


def test_every_run_gets_an_estimate_that_grows_with_its_epochs(tmp_path, programs):
    grid = {"learning_rate": [0.01, 0.001]}
    few = planned(tmp_path, sales(130), **SMALL, grid=grid)
    many = planned(tmp_path, sales(130), **SMALL | {"training": {"epochs": 5000}}, grid=grid)
    place = WorkerSettings(1, "jax", programs)
    short, long = time_estimate.estimate_run_seconds(few, place), time_estimate.estimate_run_seconds(many, place)
    assert list(short) == list(few.runs)
    assert list(long) == list(many.runs)
    assert 0 < max(short.values()) < min(long.values())
