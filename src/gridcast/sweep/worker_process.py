"""Worker processes: their environment, how they start, and what prepares one for the tasks of a sweep.

The workers of this machine are single-threaded processes, each pinned to one core. They are forked from a process
that has done the imports already (Python's forkserver, see `forkserver_preload`), so that a worker starts in a
fraction of a second. A cluster's workers are started by their user; they only get the data and their preparation.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import multiprocessing
import os
import platform
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from multiprocessing import forkserver, spawn
from pathlib import Path
from typing import Any

import psutil

from gridcast.runtime.errors import ConfigError, GridcastError

WORKER_ENVIRONMENT = {
    # Training allocates and frees the same megabytes at every step. With its default thresholds, malloc returns
    # them to the system each time, which costs a third of the training time.
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    # One thread per process: the workers fill the cores.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Several processes may share a GPU, so none may reserve its memory at the start.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
DEVICE_FOLDER = Path("/dev")
MAX_START_ATTEMPTS = 3
"""Times that the workers of this machine are started if one of them dies before it is ready."""
WORKER_PROCESS_NAME = "Dask Worker process"
"""Begins the names that Dask gives to its processes."""
MATCHED_PACKAGES = ("gridcast", "keras", "jax", "numpy", "dask", "distributed")
"""Packages that a cluster's workers must have in the same version as the sweep."""


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_gpus() -> list[str]:
    """Return the numbers of the GPUs that JAX would use here, empty if it is installed without GPU support.

    They are those of the machine, or of CUDA_VISIBLE_DEVICES if that is set; none if JAX_PLATFORMS is `cpu`.
    """
    has_plugin = any(importlib.util.find_spec(f"jax_cuda{release}_plugin") for release in (12, 13))
    if not has_plugin or os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    installed = range(len(list(DEVICE_FOLDER.glob("nvidia[0-9]*"))))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, installed)))
    return [number.strip() for number in visible.split(",") if number.strip()]


def prepare_forkserver(backend: str) -> None:
    """Start the process from which the workers of this machine are forked, and let it import what they need.

    Returns at once; called early, the imports are done when the first worker starts, and no worker repeats
    them. TensorFlow cannot be forked once it is imported, and not every system forks safely: there nothing
    is done, and each worker imports for itself.
    """
    if _start_method(backend) == "forkserver":
        multiprocessing.get_context("forkserver").set_forkserver_preload(["gridcast.sweep.forkserver_preload"])
        with _environment_variables(WORKER_ENVIRONMENT | {"KERAS_BACKEND": backend}):
            forkserver.ensure_running()


def _start_method(backend: str) -> str:
    return "forkserver" if backend == "jax" and sys.platform == "linux" else "spawn"


@contextlib.contextmanager
def _environment_variables(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that start inside the block."""
    previous = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def local_cluster(count: int, *, memory: int | None, backend: str, folder: Path) -> Iterator[Any]:
    """Start `count` workers on this machine, each with at most `memory` bytes (None: its share of the machine).

    Yield Dask's cluster of them. Raises GridcastError if they do not start.
    """
    import dask
    from distributed.system import MEMORY_LIMIT

    folder.mkdir(parents=True, exist_ok=True)
    prepare_forkserver(backend)
    settings = {
        "distributed.worker.multiprocessing-method": _start_method(backend),
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.scheduler.allowed-failures": 0,  # the pool itself counts failures and tries again
        # A worker over its limit is ended at once: its only memory is that of a running task, so there is
        # nothing that Dask could move to the disk, and a pause would never end.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 1.0,
        # Dask monitors itself many times a second, on the cores that train.
        "distributed.worker.memory.monitor-interval": "500ms",
        "distributed.worker.profile.enabled": False,
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.admin.system-monitor.gil.enabled": False,
    }
    # A nanny reads the settings whenever it starts a process, so they must hold until the end of the block.
    memory = memory or MEMORY_LIMIT // count
    with dask.config.set(settings), _without_main_script(), _start_cluster(count, memory, folder) as cluster:
        yield cluster


@contextlib.contextmanager
def _without_main_script() -> Iterator[None]:
    """Keep workers that start inside the block from running the script of this process again.

    Python prepares each new process by importing the main module of its parent, so that a script without
    `if __name__ == "__main__"` would start a sweep in each worker. Workers need nothing of it.
    """
    original = spawn.get_preparation_data

    def preparation_data(name: str) -> dict[str, Any]:
        data = original(name)
        if name.startswith(WORKER_PROCESS_NAME):
            data = {key: value for key, value in data.items() if not key.startswith("init_main")}
        return data

    spawn.get_preparation_data = preparation_data
    try:
        yield
    finally:
        spawn.get_preparation_data = original


def kill_workers(cluster: Any) -> None:
    """Kill the workers of Dask's cluster on this machine, which would else end their tasks first."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        with contextlib.suppress(psutil.NoSuchProcess):
            if nanny.pid:
                psutil.Process(nanny.pid).kill()


def _start_cluster(count: int, memory: int, folder: Path) -> Any:
    """Return Dask's cluster on this machine. Raises GridcastError if a worker dies at each of several starts."""
    from distributed import LocalCluster

    for attempts_left in reversed(range(MAX_START_ATTEMPTS)):
        try:
            return LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                memory_limit=memory,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                local_directory=str(folder),
            )
        except RuntimeError as error:
            if not attempts_left:
                raise GridcastError(f"the workers of this machine do not start: {error.__cause__ or error}") from error
    raise AssertionError("unreachable")


def worker_plugin(shared: Any, backend: str, folder: Path | None) -> Any:
    """Return the Dask plugin that every worker gets before its first task: the `shared` data, and its preparation.

    `folder` is where workers of this machine keep what outlives them; None for a cluster's workers, which
    share a folder of their own on each host.
    """
    from distributed import WorkerPlugin

    class PrepareWorker(WorkerPlugin):
        """Prepares a new worker: versions checked, Ctrl-C ignored, pinned to a core, Keras imported."""

        def __init__(self) -> None:
            self.shared, self.versions, self.refusal = shared, _package_versions(), ""

        def setup(self, worker: Any) -> None:
            # First the versions: the rest imports gridcast's modules, which may differ.
            for package, worker_version in _package_versions().items():
                if worker_version != self.versions[package]:
                    # Dask reports what is raised here only for workers that were there before the sweep; one
                    # that comes later keeps the reason and raises it with its first task.
                    self.refusal = (
                        f"--scheduler: worker {worker.address} has {package} {worker_version}, the sweep has "
                        f"{self.versions[package]}; other versions train other weights, so install the same version"
                    )
                    raise ConfigError(self.refusal)
            if folder is not None:
                self.cache = folder.absolute()
                set_up_worker(worker.name, self.cache)
            else:
                self.cache = Path(worker.local_directory).parent / "gridcast"
            self.cache.mkdir(parents=True, exist_ok=True)
            from gridcast.training import keras_backend

            keras_backend.start(backend, self.cache)

    return PrepareWorker()


def _package_versions() -> dict[str, str]:
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    return versions | {name: version(name) for name in MATCHED_PACKAGES}


def set_up_worker(name: Any, cache: Path) -> None:
    """Prepare a worker process of this machine; its `name` is its number, from 0.

    It ignores Ctrl-C, which reaches every process of the terminal: the parent alone decides when it ends. It is
    pinned to one core, because the system would otherwise move it between cores, away from its warm caches. It
    sees one GPU, if there are any. What it writes to standard error goes to `worker.log` in `cache`.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(name) % len(cores)]})
    if gpus := available_gpus():
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(name) % len(gpus)]
    log = os.open(cache / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    os.close(log)
