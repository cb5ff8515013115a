"""Where runs are executed: in this process, or in worker processes."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from gridcast import execution
from gridcast.execution import Failure, Place, Pool
from samples import SMALL, planned, sales


def work(shared, task):
    """Trains a run; or does whatever else a test wants to see done by a worker."""
    if task == "fail":
        raise ValueError("this run is no good\nand here is why")
    if task == "look around":
        return os.getpid(), execution.cores(), [name for name in ("mlflow", "tensorflow") if sys.modules.get(name)]
    if isinstance(task, Path):
        return die_once(task)
    from gridcast.training import fit

    return fit.train(shared, task)


def die_once(marker):
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@pytest.fixture(scope="module")
def results(tmp_path_factory, programs):
    """What becomes of the same tasks here and in two workers, by position."""
    folder = tmp_path_factory.mktemp("execution")
    plan = planned(folder, sales(130), **SMALL)
    marker = folder / "died"
    marker.touch()
    found = {}
    for workers in (1, 2):
        if workers == 2:
            marker.unlink()
        with Pool(Place(workers, "jax", programs), plan.material) as pool:
            tasks = ["fail", *plan.runs.values(), "look around", marker]
            found[workers] = dict(pool.execute(work, tasks))
            again = dict(pool.execute(work, ["fail"]))
        assert again == {0: found[workers][0]}
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_raises_becomes_a_failure_and_the_rest_goes_on(results, workers):
    assert sorted(results[workers]) == [0, 1, 2, 3]
    assert results[workers][0] == Failure("ValueError: this run is no good")
    assert not any(isinstance(results[workers][position], Failure) for position in (1, 2, 3))


def test_workers_train_the_same_networks_as_this_process(results):
    from gridcast.training import fit

    here, there = (results[workers][1] for workers in (1, 2))
    assert there.curves == here.curves
    assert there.metrics | {"fit_seconds": 0} == here.metrics | {"fit_seconds": 0}
    for one, other in zip(*(fit.restore(found.files).network.get_weights() for found in (here, there)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_worker_is_a_process_of_its_own_pinned_and_without_mlflow(results):
    assert results[1][2][0] == os.getpid()
    process, cores, loaded = results[2][2]
    assert process != os.getpid()
    assert cores == 1 or not hasattr(os, "sched_setaffinity")
    assert loaded == []


def test_the_task_of_a_killed_worker_is_done_by_another(results):
    assert results[2][3] == "alive"


def test_what_workers_have_to_say_goes_to_a_log(results, programs):
    assert results
    assert (programs / "worker.log").is_file()


def test_no_tasks_start_no_workers(tmp_path):
    with Pool(Place(2, "jax", tmp_path / "cache"), None) as pool:
        assert list(pool.execute(work, [])) == []
    assert not (tmp_path / "cache").exists()


def test_this_process_has_cores():
    assert 1 <= execution.cores() <= (os.cpu_count() or 1)
