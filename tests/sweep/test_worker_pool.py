"""Where runs are executed: in this process, or in worker processes."""

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from gridcast.runtime import loading
from gridcast.sweep import dask_workers, dispatch, worker_process
from gridcast.sweep.worker_job import TaskFailure, WorkerSettings
from gridcast.sweep.worker_pool import WorkerPool
from small_experiments import SMALL, planned, sales


def work(shared, task, context):
    """Trains a run; or does whatever else a test wants to see done by a worker."""
    if task == "fail":
        raise ValueError("this run is no good\nand here is why")
    if task == "parents":
        return os.getpid(), os.getppid(), sorted(sys.modules.keys() & {"keras", "jax", "distributed", "mlflow"})
    if task == "look around":
        return (
            os.getpid(),
            worker_process.available_cores(),
            [name for name in ("mlflow", "tensorflow") if sys.modules.get(name)],
        )
    if isinstance(task, Path):
        return die_once(task)
    if task == "gluttony":
        hoard = np.ones(400_000_000)
        time.sleep(60)
        return hoard
    if task == "no space once":
        if not (context.cache / "full").exists():
            (context.cache / "full").touch()
            raise OSError(errno.ENOSPC, "No space left on device")
        return "written"
    from gridcast.training import keras_fit

    return keras_fit.train(shared, task)


def die(shared, task, context):
    if isinstance(task, Path):
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


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
        with WorkerPool(WorkerSettings(workers, "jax", programs), plan.dataset) as pool:
            (programs / "full").unlink(missing_ok=True)
            tasks = ["fail", *plan.runs.values(), "look around", marker, "no space once"]
            found[workers] = dict(pool.execute(work, tasks, retries=1))
            again = dict(pool.execute(work, ["fail"]))
        assert again == {0: found[workers][0]}
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_raises_becomes_a_failure_and_the_rest_goes_on(results, workers):
    assert sorted(results[workers]) == [0, 1, 2, 3, 4]
    assert results[workers][0] == TaskFailure("ValueError: this run is no good")
    assert not any(isinstance(results[workers][position], TaskFailure) for position in (1, 2, 3))


def test_workers_train_the_same_networks_as_this_process(results):

    here, there = (results[workers][1] for workers in (1, 2))
    assert there.curves == here.curves
    assert there.metrics | {"fit_seconds": 0} == here.metrics | {"fit_seconds": 0}
    for one, other in zip(
        *(loading.load_from_bytes(found.files).network.get_weights() for found in (here, there)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_worker_is_a_process_of_its_own_pinned_and_without_mlflow(results):
    assert results[1][2][0] == os.getpid()
    process, cores, loaded = results[2][2]
    assert process != os.getpid()
    assert cores == 1 or not hasattr(os, "sched_setaffinity")
    assert loaded == []


def test_the_task_of_a_killed_worker_is_done_by_another(results):
    assert results[2][3] == "alive"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_could_not_write_is_tried_again(results, workers):
    assert results[workers][4] == "written"


def test_a_worker_over_its_memory_limit_fails_its_task_alone(programs):
    with WorkerPool(WorkerSettings(2, "jax", programs, memory=2 * 2**30), None) as pool:
        found = dict(pool.execute(work, ["gluttony", "look around"]))
    assert re.fullmatch(
        r"its worker used [2-4]\.\d GiB, more than its memory limit \(--memory-limit\)", found[0].reason
    )
    assert not isinstance(found[1], TaskFailure)


def test_a_task_that_kills_its_worker_is_tried_as_often_as_allowed_and_fails_alone(programs, tmp_path, caplog):
    with WorkerPool(WorkerSettings(2, "jax", programs), None) as pool, caplog.at_level("WARNING", "gridcast"):
        found = dict(pool.execute(die, [tmp_path, "look around"], retries=1))
    assert "died" in found[0].reason
    assert caplog.text.count("tried again (1 of 1)") == 1
    assert found[1] == "alive"


def test_workers_start_afresh_after_some_tasks(programs, monkeypatch):
    monkeypatch.setattr(dask_workers, "TASKS_PER_WORKER", 1)
    with WorkerPool(WorkerSettings(2, "jax", programs), None) as pool:
        found = dict(pool.execute(work, ["look around"] * 3))
    assert len({process for process, _, _ in found.values()}) >= 3


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers have other parents")
def test_a_worker_that_is_killed_while_it_starts_is_started_again(programs):
    killed = []

    def kill() -> None:
        while not killed:
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if "forkserver" in " ".join(process.parent().cmdline()):
                        time.sleep(0.05)  # it exists, and has not registered yet
                        process.kill()
                        killed.append(process.pid)
                        return

    thread = threading.Thread(target=kill)
    thread.start()
    with WorkerPool(WorkerSettings(2, "jax", programs), None) as pool:
        found = dict(pool.execute(work, ["look around"] * 2))
    thread.join()
    assert {place[1] for place in found.values()} == {1}
    assert killed[0] not in {place[0] for place in found.values()}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each worker imports for itself")
def test_workers_are_forked_from_one_process_that_has_the_imports_done(programs, monkeypatch):
    monkeypatch.setattr(dask_workers, "TASKS_PER_WORKER", 1)
    with WorkerPool(WorkerSettings(2, "jax", programs), None) as pool:
        found = list(dict(pool.execute(work, ["parents"] * 3)).values())
    assert len({process for process, _, _ in found}) >= 3
    assert len({parent for _, parent, _ in found} - {os.getpid()}) == 1
    assert found[0][2] == ["distributed", "jax", "keras"]


@dataclass(frozen=True)
class Kin:
    """A task of a family."""

    family: str | None


def test_a_worker_keeps_to_its_family_then_takes_one_that_nobody_has_then_helps():
    tasks = [Kin(family) for family in "aabbc"] + [Kin(None)]
    latest = {"one": "a", "two": "b"}
    assert dispatch._choose_task([1, 3, 4, 5], tasks, "one", latest) == 1
    assert dispatch._choose_task([3, 4, 5], tasks, "one", latest) == 4
    assert dispatch._choose_task([3], tasks, "one", latest) == 3
    assert dispatch._choose_task([3, 5], tasks, "three", latest) == 5
    assert dispatch._choose_task(range(6), tasks, "one", {}) == 0


def test_what_workers_have_to_say_goes_to_a_log(results, programs):
    assert results
    assert (programs / "worker.log").is_file()


def test_no_tasks_start_no_workers(tmp_path):
    with WorkerPool(WorkerSettings(2, "jax", tmp_path / "cache"), None) as pool:
        assert list(pool.execute(work, [])) == []
    assert not (tmp_path / "cache").exists()


def test_this_process_has_cores():
    assert 1 <= worker_process.available_cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, ["0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "3, 5,7"}, ["3", "5", "7"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"JAX_PLATFORMS": "cpu"}, []),
    ],
)
def test_gpus_are_those_that_the_user_shows(monkeypatch, tmp_path, variables, found):
    for name in ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / name).touch()
    monkeypatch.setattr(worker_process, "DEVICE_FOLDER", tmp_path)
    assert worker_process.available_gpus() == []  # JAX was installed without what it needs for them
    monkeypatch.setattr(worker_process.importlib.util, "find_spec", lambda name: name == "jax_cuda13_plugin" or None)
    assert worker_process.available_gpus() == found
