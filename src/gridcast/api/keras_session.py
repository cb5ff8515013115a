"""Keras in the process of the caller: started when it is first needed, on the backend that it runs on already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gridcast.api import folders
from gridcast.training import keras_backend


@contextlib.contextmanager
def keras_session(backend: str = "jax", cache: Path | None = None) -> Iterator[None]:
    """Have Keras run in the block: on `backend`, or on that which the caller started already; models run on both."""
    with tensorflow_as_before():
        cache = cache or folders.cache_if_present(folders.CACHE)
        keras_backend.start(keras_backend.loaded_backend() or backend, cache)
        yield


@contextlib.contextmanager
def tensorflow_as_before() -> Iterator[None]:
    """Let the caller import TensorFlow after the block if that was possible before: Keras on JAX hides it."""
    was_hidden = keras_backend.hides_tensorflow()
    try:
        yield
    finally:
        if not was_hidden:
            keras_backend.allow_tensorflow()
