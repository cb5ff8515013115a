"""Bring up Keras on its backend, quietly and with compiled programs kept on disk."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gridcast.runtime.errors import GridcastError

XLA_CORES = "1"
"""XLA divides work by the cores that it sees, and the last bits of a sum follow."""
MAX_CACHE_BYTES = 2**28
"""Bytes of compiled programs that are kept, those used last; the programs of a network take 140,000."""
HIDDEN_PACKAGES = ("sklearn", "matplotlib")
"""What Keras imports where it is there, for wrappers and pictures of its own: half the time of its import."""


def start(backend: str, cache: Path) -> None:
    """Import Keras on `backend` (jax or tensorflow); JAX keeps its compiled programs under `cache`, see `keep`.

    On JAX the process cannot import TensorFlow from here on, until `release`.
    """
    import_keras(backend)
    if backend == "jax":
        use_program_cache(cache)
    else:
        import tensorflow

        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        tensorflow.config.threading.set_intra_op_parallelism_threads(1)


def use_program_cache(cache: Path) -> None:
    """Let JAX keep its compiled programs under `cache`, and look for them there. Keras is not imported.

    Where JAX's own JAX_COMPILATION_CACHE_DIR names a folder, it keeps them there, for many projects.
    """
    os.environ.setdefault("NPROC", XLA_CORES)
    with _quiet():
        import jax

    shared = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    jax.config.update("jax_compilation_cache_dir", shared or str(cache.absolute() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # XLA's own caches are a GPU's; named, their path is part of every key: a moved project compiled anew.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    if not shared:
        trim_program_cache(cache.absolute() / "jax", MAX_CACHE_BYTES)


def start_inference(cache: Path) -> None:
    """Make this process one that asks small programs, one after the other, and trains nothing: see `keep`."""
    # A version is loaded by another process, on the same GPU where there is one: neither is to take all its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    use_program_cache(cache)
    import jax

    # To hand a program of a tenth of a millisecond to another thread, and to wait for it, takes longer than it does.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def import_keras(backend: str) -> None:
    """Import Keras on `backend`, and do nothing that would hinder a process from being forked off JAX."""
    loaded = sys.modules.get("keras")
    if loaded is not None and loaded.backend.backend() != backend:
        there = loaded.backend.backend()
        raise GridcastError(f"this process has Keras on {there} already; start it anew for {backend}")
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("NPROC", XLA_CORES)
    if backend == "jax":
        # Keras looks for TensorFlow whenever it writes a file; finding it costs three seconds and a
        # screenful of banners.
        sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]
    with _quiet(), _hidden(*HIDDEN_PACKAGES):
        import keras  # noqa: F401 - the import is the work


def trim_program_cache(folder: Path, most: int) -> None:
    """Remove the files of `folder` that were not used for longest, until all have `most` bytes."""
    found = []
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # another worker may do the same
            known = path.stat()
            found.append((max(known.st_atime, known.st_mtime), known.st_size, path))
    size = sum(size for _, size, _ in found)
    for _, freed, path in sorted(found):
        if size <= most:
            return
        path.unlink(missing_ok=True)
        size -= freed


def free_programs() -> None:
    """Give back what Keras and JAX keep of networks that are no longer used: some 15 MB each."""
    import keras

    keras.utils.clear_session()
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()


def allow_tensorflow() -> None:
    """Let this process import TensorFlow again."""
    if sys.modules.get("tensorflow", ...) is None:
        del sys.modules["tensorflow"]


@contextlib.contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Inside, those of `packages` that nobody has imported yet cannot be imported."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing reaches standard error while compiled libraries announce themselves."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
