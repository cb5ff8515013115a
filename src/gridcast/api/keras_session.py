"""Keras in the process of the caller: started when it is first needed, on the backend that it runs on already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from gridcast.api.folders import cache_if_present
from gridcast.training import keras_backend


@contextlib.contextmanager
def keras_session(backend: str | None = None, cache: Path | None = None) -> Iterator[None]:
    """Have Keras run on `backend` (None: on its present one, else on JAX) in the block.

    While it runs on JAX, TensorFlow cannot be imported; afterwards the caller may do so as before. Raises
    GridcastError where Keras runs on another backend.
    """
    was_hidden = keras_backend.hides_tensorflow()
    keras_backend.start(backend or keras_backend.loaded_backend() or "jax", cache or cache_if_present())
    try:
        yield
    finally:
        if not was_hidden:
            keras_backend.allow_tensorflow()
