"""Worker processes: their surroundings, their start, and what makes one ready for the work of a sweep."""

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
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from gridcast.runtime.errors import ConfigError, GridcastError

WORKER_ENVIRONMENT = {
    # Training frees and takes the same megabytes at every step: giving them back costs a third of the time.
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Several processes may share a GPU: none is to take its memory at once.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
DEVICE_FOLDER = Path("/dev")
MAX_START_ATTEMPTS = 3
"""How often the workers of this machine are started where one of them dies before it is ready."""
MATCHED_PACKAGES = ("gridcast", "keras", "jax", "numpy", "dask", "distributed")
"""Packages of which a cluster's workers must have the version that the parent has."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_gpus() -> list[str]:
    """Numbers of the GPUs that JAX would use here, if it was installed with what it needs for them.

    Those of the machine, or of CUDA_VISIBLE_DEVICES where that is set; none where JAX_PLATFORMS is `cpu`.
    """
    plugged = any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))
    if not plugged or os.environ.get("JAX_PLATFORMS") == "cpu":
        return []
    there = range(len(list(DEVICE_FOLDER.glob("nvidia[0-9]*"))))
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, there)))
    return [number.strip() for number in shown.split(",") if number.strip()]


def prepare_forkserver(backend: str) -> None:
    """Begin to import, in a process of its own, what the workers of this machine need: they are forked from it.

    Returns at once; called early, the imports are done when the first worker starts, and no later
    one repeats them. TensorFlow cannot be forked once imported, nor do all systems fork safely: there
    nothing is done, and each worker imports for itself.
    """
    if _start_method(backend) == "forkserver":
        multiprocessing.get_context("forkserver").set_forkserver_preload(["gridcast.sweep.forkserver_preload"])
        with _environment_variables(WORKER_ENVIRONMENT | {"KERAS_BACKEND": backend}):
            forkserver.ensure_running()


def _start_method(backend: str) -> str:
    return "forkserver" if backend == "jax" and sys.platform == "linux" else "spawn"


@contextlib.contextmanager
def _environment_variables(variables: dict[str, str]) -> Iterator[None]:
    """Processes that start inside see `variables`."""
    kept = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def local_cluster(count: int, memory: int | None, backend: str, folder: Path) -> Iterator[str]:
    """`count` workers of this machine, each with `memory` bytes (None: its share); yields their scheduler's address."""
    import dask
    from distributed.system import MEMORY_LIMIT

    folder.mkdir(parents=True, exist_ok=True)
    prepare_forkserver(backend)
    settings = {
        "distributed.worker.multiprocessing-method": _start_method(backend),
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.scheduler.allowed-failures": 0,  # the pool itself counts and tries again
        # A worker over its limit is ended, never slowed down: nothing in it can be put off.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": 1.0,
        # Dask watches itself many times a second, on the cores that train.
        "distributed.worker.memory.monitor-interval": "500ms",
        "distributed.worker.profile.enabled": False,
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.admin.system-monitor.gil.enabled": False,
    }
    # Nannies read how to start a process whenever they do it, so the settings hold until the end.
    with dask.config.set(settings), _start_cluster(count, memory or MEMORY_LIMIT // count, folder) as local:
        yield local.scheduler_address


def _start_cluster(count: int, memory: int, folder: Path) -> Any:
    """Dask's own cluster on this machine. Raises GridcastError when a worker dies at each of some starts."""
    from distributed import LocalCluster

    for left in reversed(range(MAX_START_ATTEMPTS)):
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
            if not left:
                raise GridcastError(f"the workers of this machine do not start: {error.__cause__ or error}") from error
    raise AssertionError("unreachable")


def worker_plugin(shared: Any, backend: str, folder: Path | None) -> Any:
    """What Dask sends to each worker before its first task: `shared`, and how to make the worker ready.

    `folder` is where workers of this machine keep what outlives them; None for a cluster's workers,
    which have one of their own each host.
    """
    from distributed import WorkerPlugin

    class Start(WorkerPlugin):
        """Makes a fresh worker ready: deaf to Ctrl-C, pinned, quiet, Keras imported, data at hand."""

        def __init__(self) -> None:
            self.shared, self.versions, self.refusal = shared, _package_versions(), ""

        def setup(self, worker: Any) -> None:
            for package, theirs in _package_versions().items():
                if theirs != self.versions[package]:
                    # Dask listens to what is raised here only where the worker was there before the sweep.
                    self.refusal = (
                        f"--scheduler: worker {worker.address} has {package} {theirs}, the sweep has "
                        f"{self.versions[package]}; other versions train other weights, install the same"
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

    return Start()


def _package_versions() -> dict[str, str]:
    return {
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in MATCHED_PACKAGES},
    }


def set_up_worker(name: Any, cache: Path) -> None:
    """What a worker process of this machine does first; the parent alone decides when it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[int(name) % len(allowed)]})
    if found := available_gpus():
        os.environ["CUDA_VISIBLE_DEVICES"] = found[int(name) % len(found)]
    log = os.open(cache / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    os.close(log)
