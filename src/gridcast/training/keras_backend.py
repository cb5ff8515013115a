"""Start Keras on its backend, without banners and with compiled programs cached on disk."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from gridcast.runtime.errors import ConfigError, GridcastError

XLA_CORES = "1"
"""Number of cores that XLA may see: it divides work by it, and the last bits of a sum depend on the division."""
MAX_CACHE_BYTES = 2**28
"""Most bytes of compiled programs in the cache, those used last; the programs of a network take 140,000."""
HIDDEN_PACKAGES = ("sklearn", "matplotlib")
"""Packages that Keras imports if installed, for wrappers and plots we do not use: half the time of its import."""
_PROGRAM_NAME = re.compile(r".+-[0-9a-f]{64}-(cache|atime)")


def has_tensorflow() -> bool:
    """Whether TensorFlow is installed; it is not imported."""
    # Not importlib.util.find_spec: on JAX, sys.modules says that there is no TensorFlow, see `import_keras`.
    return PathFinder.find_spec("tensorflow") is not None


def require_backend(backend: str) -> None:
    """Raise ConfigError with the remedy where `backend` needs TensorFlow, which is not installed."""
    if backend == "tensorflow" and not has_tensorflow():
        raise ConfigError("--backend tensorflow: it is not installed; run: pip install 'gridcast[tensorflow]'")


def start(backend: str, cache: Path) -> None:
    """Import Keras on `backend` (jax or tensorflow); JAX caches its programs under `cache`, see `use_program_cache`.

    On JAX the process cannot import TensorFlow from then on, until `allow_tensorflow`. Raises GridcastError where
    Keras runs on another backend already.
    """
    import_keras(backend)
    if backend == "jax":
        use_program_cache(cache)
    else:
        import tensorflow

        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        tensorflow.config.threading.set_intra_op_parallelism_threads(1)


def use_program_cache(cache: Path) -> None:
    """Make JAX cache its compiled programs under `cache`. Keras is not imported.

    If JAX's own JAX_COMPILATION_CACHE_DIR names a folder, the cache is there instead, shared by many projects.
    """
    os.environ.setdefault("NPROC", XLA_CORES)
    with _quiet():
        import jax

    shared = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", shared or str(cache.absolute() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # XLA's own caches serve GPUs only. If enabled, their path is part of every key of JAX's cache, and a project that
    # is moved would compile everything again.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    if not shared:
        trim_program_cache(cache.absolute() / "jax", MAX_CACHE_BYTES)


def start_inference(cache: Path) -> None:
    """Set up this process to run small programs one after the other, without training; see `use_program_cache`."""
    # Another process loads new model versions, on the same GPU if there is one: neither may take all of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    use_program_cache(cache)
    import jax

    # A program takes a tenth of a millisecond; handing it to another thread and waiting for it would take longer.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def loaded_backend() -> str | None:
    """Return the backend that Keras runs on in this process, None if it is not imported yet."""
    keras = sys.modules.get("keras")
    return None if keras is None else str(keras.backend.backend())


def import_keras(backend: str) -> None:
    """Import Keras on `backend`, starting no thread, so that processes can still be forked from this one.

    Raises GridcastError where Keras runs on another backend already, and ConfigError as `require_backend`.
    """
    require_backend(backend)
    current = loaded_backend()
    if current not in (None, backend):
        raise GridcastError(
            f"Keras runs on {current} in this process already; use a new process for {backend}, in which "
            f"KERAS_BACKEND={backend} is set before Keras is imported"
        )
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("NPROC", XLA_CORES)
    if backend == "jax":
        # On JAX, Keras still tries to import TensorFlow whenever it writes a file. Where it is installed, that costs
        # three seconds and a screenful of banners, for nothing. A module that is None in sys.modules raises
        # ImportError at once, which Keras takes for "not installed". A TensorFlow that is imported already stays.
        # `allow_tensorflow` undoes this.
        sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]
    with _quiet(), _hidden(*HIDDEN_PACKAGES):
        import keras  # noqa: F401 - the import is the work


def trim_program_cache(folder: Path, max_bytes: int) -> None:
    """Remove the least recently used programs in `folder` until the others have `max_bytes` at most."""
    files = []
    for path in filter(is_program, folder.glob("*")):
        with contextlib.suppress(OSError):  # another worker may be trimming too
            status = path.stat()
            files.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= max_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size


def is_program(path: Path) -> bool:
    """Whether a file is a compiled program of JAX's cache, or the time of its last use, by its name."""
    return _PROGRAM_NAME.fullmatch(path.name) is not None


def free_programs() -> None:
    """Free the memory that Keras and JAX hold for networks no longer used: some 15 MB each."""
    import keras

    keras.utils.clear_session()
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()


def hides_tensorflow() -> bool:
    """Whether this process cannot import TensorFlow, see `import_keras`."""
    return sys.modules.get("tensorflow", ...) is None


def allow_tensorflow() -> None:
    """Allow this process to import TensorFlow again, see `import_keras`."""
    if hides_tensorflow():
        del sys.modules["tensorflow"]


@contextlib.contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Context in which those of `packages` that are not imported yet cannot be imported."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Context in which nothing reaches standard error: compiled libraries write their banners past sys.stderr."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
